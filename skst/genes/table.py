"""Read tables of precomputed gene vectors, GenePT's pickle among them, without running what a file says."""

import csv
import gzip
import io
import math
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from skst._contract import is_anndata


def read_gene_vectors(source):
    """Read a table of gene vectors.

    Parameters
    ----------
    source : str, path-like, dict, DataFrame or AnnData
        A table in memory (a dict of gene name to vector, a DataFrame with gene names as index or first
        column, an AnnData with genes as observations) or a file, told by its extension:

        - ``.csv``, ``.tsv``, ``.txt``, also with ``.gz``: gene names in the first column, with or without a
          header;
        - ``.parquet``, ``.pq``: gene names as index or first column, then one number a column, or one list
          column;
        - ``.npz``: arrays ``genes`` of shape (n_genes,) and ``vectors`` of shape (n_genes, d);
        - ``.h5ad``: genes in ``obs_names``, vectors in ``X``;
        - ``.pickle``, ``.pkl``: a dict of str to list of float or 1-d array, as GenePT publishes it.  Nothing
          but str, list, dict, float and arrays of plain numbers is unpickled, so a manipulated file cannot
          run code.

    Returns
    -------
    names : ndarray of str of shape (n_genes,), object
        Gene names; where one occurs more than once, its last vector is kept.
    vectors : ndarray of shape (n_genes, d), float32

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If a parquet file is given and pyarrow is not installed.
    TypeError
        If `source` is of another type.
    ValueError
        If the extension is unknown, the content cannot be read as such a table, or vectors are empty, of
        different lengths, or not finite.

    Warns
    -----
    UserWarning
        If gene names are repeated.

    Examples
    --------
    >>> from skst.genes.table import read_gene_vectors
    >>> names, vectors = read_gene_vectors({"INS": [0.5, 1.0], "GCG": [0.25, 0.0]})
    >>> names.tolist(), vectors.shape
    (['INS', 'GCG'], (2, 2))
    """
    if isinstance(source, dict):
        return _table(list(source), list(source.values()), "the dict")
    if isinstance(source, pd.DataFrame):
        return _table(*_split_frame(source), "the DataFrame")
    if is_anndata(source):
        return _table(*_split_anndata(source), "the AnnData")
    try:
        path = Path(source).expanduser()
    except TypeError:
        raise TypeError(
            f"Gene vectors are a {type(source).__name__}; pass a path, a dict of gene to vector, or a DataFrame."
        ) from None
    extension = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    read = _READERS.get(extension)
    if read is None or (path.suffix.lower() == ".gz" and read is not _read_text):
        raise ValueError(
            f"Gene vectors {str(path)!r} have an unknown extension; use .parquet, .npz, .csv, .tsv, .h5ad or .pickle."
        )
    if not path.is_file():
        raise FileNotFoundError(f"Gene vectors {str(path)!r} are not a file; check the path.")
    try:
        names, rows = read(path)
    except (ImportError, _UnsafePickleError):
        raise
    except Exception as error:  # each format's reader has its own
        reason = " ".join(str(error).split())[:150]
        raise ValueError(
            f"Gene vectors {str(path)!r} cannot be read as .{extension} ({type(error).__name__}: {reason}); "
            "see read_gene_vectors for what the file must hold."
        ) from error
    return _table(names, rows, repr(str(path)))


def _table(names, rows, origin):
    """Check names and vectors, and keep the last vector of each name."""
    if len(names) == 0:
        raise ValueError(f"Gene vectors in {origin} are empty; give at least one gene.")
    odd = next((name for name in names if not isinstance(name, str) or not name), None)
    if odd is not None:
        raise ValueError(f"Gene vectors in {origin} have {odd!r} as a gene name; name every gene by a text.")
    if not isinstance(rows, np.ndarray):
        rows = _stack(names, rows, origin)
    if rows.ndim != 2 or len(rows) != len(names) or rows.shape[1] == 0 or rows.dtype.kind not in "fiub":
        raise ValueError(
            f"Gene vectors in {origin} are {rows.dtype} of shape {rows.shape} for {len(names)} genes; give "
            "one row of numbers a gene."
        )
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(rows, dtype=np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"Gene vectors in {origin} hold NaN or infinite numbers for {(~finite).sum()} genes, such as "
            f"{names[np.argmin(finite)]!r}; drop these genes."
        )
    names = np.array(names, dtype=object)
    repeated = pd.Index(names).duplicated(keep="last")
    if repeated.any():
        warnings.warn(
            f"Gene vectors in {origin} repeat {repeated.sum()} names, such as {names[repeated][0]!r}; the "
            "last vector of each is used, drop the others if that is not meant.",
            UserWarning,
            stacklevel=3,
        )
    return names[~repeated], vectors[~repeated]


def _stack(names, rows, origin):
    vectors = []
    for name, row in zip(names, rows, strict=True):
        try:
            with np.errstate(over="ignore"):
                vector = np.asarray(row, dtype=np.float32)
        except (TypeError, ValueError):
            vector = None
        if vector is None or vector.ndim != 1:
            raise ValueError(
                f"Gene vectors in {origin} hold something else than a list of numbers for {name!r}; give one "
                "number a dimension."
            )
        if vectors and len(vector) != len(vectors[0]):
            raise ValueError(
                f"Gene vectors in {origin} have {len(vectors[0])} numbers for {names[0]!r} but {len(vector)} "
                f"for {name!r}; give all genes vectors of one length."
            )
        vectors.append(vector)
    return np.stack(vectors)


def _split_frame(frame):
    if frame.index.inferred_type not in ("string", "categorical") and frame.shape[1] > 1:
        frame = frame.set_index(frame.columns[0])
    names = frame.index.tolist()
    if frame.shape[1] == 1 and frame.dtypes.iloc[0].kind == "O":
        return names, frame.iloc[:, 0].tolist()
    return names, frame.to_numpy()


def _split_anndata(adata):
    matrix = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    return adata.obs_names.astype(str).tolist(), matrix


def _read_text(path):
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        separator = "," if ".csv" in path.name.lower() else "\t"
        fields = next(csv.reader([file.readline()], delimiter=separator))
        file.seek(0)
        # The header is skipped, for R writes none for the first column; and the converter keeps a gene called
        # "NA" or "NAN" from being read as missing.
        frame = pd.read_csv(file, sep=separator, header=None, skiprows=int(_is_header(fields)), converters={0: str})
    return frame[0].tolist(), frame.iloc[:, 1:].to_numpy()


def _is_header(fields):
    """True unless the fields after the first are numbers that do not simply count the dimensions."""
    try:
        numbers = [float(field) for field in fields[1:]]
    except ValueError:
        return True
    return numbers in [list(range(start, start + len(numbers))) for start in (0, 1)]


def _read_parquet(path):
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise ImportError('A parquet file needs pyarrow; install it with pip install "skst[parquet]".') from None
    return _split_frame(pd.read_parquet(path, engine="pyarrow"))


def _read_npz(path):
    with np.load(path, allow_pickle=False) as content:
        return content["genes"].astype(str).tolist(), content["vectors"]


def _read_h5ad(path):
    import anndata

    return _split_anndata(anndata.read_h5ad(path))


def _read_pickle(path):
    content = _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    if not isinstance(content, dict):
        raise _unsafe(f"a {type(content).__name__} where a dict of gene name to vector was expected")
    return list(content), [_resolve(value) for value in content.values()]


_READERS = {
    "csv": _read_text,
    "tsv": _read_text,
    "txt": _read_text,
    "parquet": _read_parquet,
    "pq": _read_parquet,
    "npz": _read_npz,
    "h5ad": _read_h5ad,
    "pickle": _read_pickle,
    "pkl": _read_pickle,
}


class _UnsafePickleError(ValueError):
    """The pickle holds what a table of gene vectors does not need."""


def _unsafe(found):
    return _UnsafePickleError(
        f"Gene vectors in a pickle hold {found}, and only str, list, dict, float and arrays of numbers are "
        "read; convert the table to .npz or .parquet where you trust it."
    )


class _PlainUnpickler(pickle.Unpickler):
    """Unpickle str, list, dict, float and numeric arrays.

    Not even numpy's own functions are handed to the pickle: what it may ask for is stood in for by the
    objects below, which check what they are given.  They are made anew for every use and cannot be altered by
    the pickle, whose BUILD instruction could otherwise set attributes of whatever it holds.
    """

    def find_class(self, module, name):
        module = module.replace("numpy.core.", "numpy._core.")
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            raise _unsafe(repr(f"{module}.{name}"[:80]))
        return _Call(stand_in)


class _Call:
    """A callable that a pickle can call and not change."""

    __slots__ = ("_function",)

    def __init__(self, function):
        self._function = function

    def __call__(self, *args):
        return self._function(*args)

    def __setstate__(self, state):
        raise _unsafe("instructions that alter a function")


class _Array:
    """Receives the state of a pickled array."""

    __slots__ = ("values",)

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) != 5:
            raise _unsafe("an array of an unknown form")
        _, shape, dtype, fortran, data = state
        self.values = _array(data, dtype, shape, "F" if fortran else "C")


class _Dtype:
    """Receives a pickled numeric dtype."""

    __slots__ = ("dtype",)

    def __init__(self, code, *_):
        if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?(f[248]|[iu][1248]|b1)", code):
            raise _unsafe("an array of something else than plain numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        # (version, byte order, subdtype, names, fields, size, alignment, flags): only the byte order may say
        # anything
        plain = isinstance(state, tuple) and len(state) >= 8 and state[2:5] == (None, None, None)
        if not plain or state[1] not in ("<", ">", "|", "="):
            raise _unsafe("an array of something else than plain numbers")
        self.dtype = self.dtype.newbyteorder(state[1])


def _array(data, dtype, shape, order):
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise _unsafe("an array of something else than plain numbers")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise _unsafe("an array of an unknown form")
    if math.prod(shape) * dtype.dtype.itemsize != len(data) or order not in ("C", "F"):
        raise _unsafe("an array whose shape does not fit its content")
    return np.frombuffer(data, dtype=dtype.dtype).reshape(shape, order=order)


def _empty_array(*_):
    return _Array()


def _buffer_array(data, dtype, shape, order):
    array = _Array()
    array.values = _array(data, dtype, shape, order)
    return array


def _scalar(dtype, data):
    return float(_array(data, dtype, (), "C"))


def _latin1(text, encoding):
    # How pickles of protocol 2 and below hold bytes.
    if encoding != "latin1":
        raise _unsafe(f"a text to encode as {encoding}")
    return text.encode("latin1")


_STAND_INS = {
    ("numpy", "ndarray"): _empty_array,
    ("numpy", "dtype"): _Dtype,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _buffer_array,
    ("_codecs", "encode"): _latin1,
    ("builtins", "str"): str,
    ("builtins", "list"): list,
    ("builtins", "dict"): dict,
    ("builtins", "float"): float,
}


def _resolve(value):
    """The vector in a value of the unpickled dict."""
    if isinstance(value, _Array):
        if not hasattr(value, "values"):
            raise _unsafe("an array of an unknown form")
        return value.values
    if isinstance(value, list) and all(type(number) in (float, int) for number in value):
        return value
    raise _unsafe("a vector that is neither a list of numbers nor an array")
