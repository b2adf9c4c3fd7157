"""Read tables of precomputed gene vectors, GenePT's pickle among them, without running what a file says."""

import csv
import math
import warnings
import zipfile
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skst.files.hdf5 import read_h5ad
from skst.files.plain_pickle import read_plain_pickle
from skst.files.untrusted import RefusedError, check_sparse, open_text, refused, told, unfolded_limit
from skst.inputs.rows import is_anndata

_MAX_GENES = 2**20
_MAX_DIMENSIONS = 2**16
_PARQUET_ROWS = 512


def read_gene_vectors(source: Any) -> tuple[NDArray[np.object_], NDArray[np.float32]]:
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
          but such a dict is unpickled, so a manipulated file can neither run code nor fill the memory; lists
          of numpy scalars are read up to about a million numbers.

        A file from elsewhere is not trusted.  It is refused if it shows data of other files, takes
        more memory than 256 MiB and fifty times its size (``.h5ad`` two hundred times), or holds more than
        1,048,576 genes or vectors of more than 65,536 numbers.

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
        return _table(*_split_frame(source), "the DataFrame")  # type: ignore[call-arg]
    if is_anndata(source):
        return _table(*_split_anndata(source), "the AnnData")  # type: ignore[call-arg]
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
    except (ImportError, RefusedError):
        raise
    except Exception as error:  # each format's reader has its own
        raise ValueError(
            f"Gene vectors {str(path)!r} cannot be read as .{extension} ({type(error).__name__}: {told(error)}); "
            "see read_gene_vectors for what the file must hold."
        ) from error
    _check_size(path, n_genes=len(names))
    names, vectors = _table(names, rows, repr(str(path)))
    _check_size(path, len(names), vectors.shape[1])
    return names, vectors


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
        except (TypeError, ValueError, OverflowError):
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
    check_sparse(adata.X, "X of the AnnData of gene vectors")
    matrix = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    return adata.obs_names.astype(str).tolist(), matrix


def _called(path):
    return f"Gene vectors {str(path)!r}"


def _read_text(path):
    separator = "," if ".csv" in path.name.lower() else "\t"
    with open_text(path, _called(path)) as file:
        lines = csv.reader(file, delimiter=separator)
        fields = next(lines)
        has_header = _is_header(fields)
        # Pandas makes a table of as many columns as the first line has that is not blank, however long that takes.
        rows = lines if has_header else chain([fields], lines)
        row = next((row for row in rows if len(row) > 1 or "".join(row).strip()), [])
        _check_size(path, n_dimensions=max(len(fields), len(row)) - 1)
    with open_text(path, _called(path)) as file:
        # The header is skipped, for R writes none for the first column; and the converter keeps a gene called
        # "NA" or "NAN" from being read as missing, which pandas 3 does even to the texts that a converter returns.
        options = {"header": None, "skiprows": int(has_header), "converters": {0: _alone}, "nrows": _MAX_GENES + 1}
        frame = pd.read_csv(file, sep=separator, **options)
    return [name for (name,) in frame[0]], frame.iloc[:, 1:].to_numpy()


def _alone(name):
    return (name,)


def _check_size(path, n_genes=1, n_dimensions=1):
    if n_genes > _MAX_GENES:
        raise refused(_called(path), f"they are of {n_genes} genes", f"give {_MAX_GENES} at most")
    if n_dimensions > _MAX_DIMENSIONS:
        raise refused(_called(path), f"they have {n_dimensions} numbers a gene", f"give {_MAX_DIMENSIONS} at most")


def _is_header(fields):
    """True unless the fields after the first are numbers that do not simply count the dimensions."""
    try:
        numbers = [float(field) for field in fields[1:]]
    except ValueError:
        return True
    return numbers in [list(range(start, start + len(numbers))) for start in (0, 1)]


def _read_parquet(path):
    try:
        from pyarrow import Table
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ImportError('A parquet file needs pyarrow; install it with pip install "skst[parquet]".') from None
    with ParquetFile(path) as file:
        facts = file.metadata
        _check_size(path, facts.num_rows, facts.num_columns - 1)
        # Repeated values take no room in the file, so they are counted as declared, and again as they are read.
        groups = map(facts.row_group, range(facts.num_row_groups))
        n_numbers = sum(group.column(i).num_values for group in groups for i in range(group.num_columns))
        batches, left = [], unfolded_limit(path)
        if n_numbers * np.dtype(np.float32).itemsize > left:
            raise _too_large(path)
        for batch in file.iter_batches(_PARQUET_ROWS):
            batches.append(batch)
            left -= batch.nbytes
            if left < 0:
                raise _too_large(path)
        return _split_frame(Table.from_batches(batches, schema=file.schema_arrow).to_pandas())


def _too_large(path):
    fault = f"they unfold to more than {unfolded_limit(path)} bytes"
    return refused(_called(path), fault, "give a file that holds them as they are")


def _read_npz(path):
    with zipfile.ZipFile(path) as archive:
        # Numpy asks for the memory that a header declares, and a few bytes unfold to as much.
        infos = [archive.getinfo(f"{key}.npy") for key in ("genes", "vectors")]
        if sum(info.file_size for info in infos) > unfolded_limit(path):
            raise _too_large(path)
        genes, vectors = (_read_member(path, archive, info) for info in infos)
    if genes.ndim != 1:
        raise refused(_called(path), f"genes have the shape {genes.shape}", "give one name a row of vectors")
    return genes.astype(str).tolist(), vectors


def _read_member(path, archive, info):
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(info) as member:
        shape, _, dtype = read_header[np.lib.format.read_magic(member)](member)
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize != info.file_size - member.tell():
            fault = f"{info.filename} is not of the shape {shape} and type {dtype} that it declares"
            raise refused(_called(path), fault, "write it again with numpy.savez")
        member.seek(0)
        return np.lib.format.read_array(member, allow_pickle=False)


def _read_h5ad(path):
    adata = read_h5ad(path, _called(path))
    if math.prod(adata.shape) * 8 > unfolded_limit(path):
        raise _too_large(path)
    return _split_anndata(adata)


def _read_pickle(path):
    content = read_plain_pickle(path.read_bytes())
    return list(content), list(content.values())


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
