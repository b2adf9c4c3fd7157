"""Checks of what comes from outside, made before compiled code or memory has to stand for it.

Sparse matrices whose indices lead out of them and files that unfold to a thousand times their size are refused
here in a sentence.  Nothing here knows what the data mean.
"""

import gzip
import io
import os
from itertools import chain
from types import SimpleNamespace
from typing import IO, Any, Protocol

import numpy as np
from scipy import sparse

_ANY_FILE_BYTES = 2**28
_MAX_LINE = 2**22
_BLOCK = 2**20

_ANEW = "it is damaged, so read it or make it anew"


class RefusedError(ValueError):
    """Input from outside that is not used; the message says why."""


def refused(name: str, fault: str, fix: str) -> RefusedError:
    """The error that says what is wrong with `name`, and what to do."""
    return RefusedError(f"{name} cannot be used: {fault}; {fix}.")


def told(error: BaseException) -> str:
    """The message of another library's error within a sentence: one line, not long, no full stop."""
    return " ".join(str(error).split())[:150].replace(". ", ", ").rstrip(".")


def unfolded_limit(path: str | os.PathLike[str], times: int = 50) -> int:
    """How many bytes the content of a file may take: plenty for a small one, many `times` its size for any other."""
    return _ANY_FILE_BYTES + times * os.path.getsize(path)


# Sparse matrices


def check_sparse(matrix: object, name: str) -> None:
    """Check that a scipy sparse matrix is one, down to every index.

    Scipy takes the arrays of a matrix at their word, and its compiled code reads and writes wherever the
    indices lead.  Nothing is copied or changed here.  Indices out of order or repeated are no fault.

    Parameters
    ----------
    matrix : object
        A sparse matrix or array of any format; anything else passes.
    name : str
        What an error calls it.

    Raises
    ------
    ValueError
        If lengths, types or indices do not fit.

    Examples
    --------
    >>> from scipy import sparse
    >>> from skst.files.untrusted import check_sparse
    >>> X = sparse.csr_matrix([[1, 0], [0, 2]])
    >>> check_sparse(X, "X")
    >>> X.indices[1] = 5
    >>> check_sparse(X, "X")
    Traceback (most recent call last):
    ...
    skst.files.untrusted.RefusedError: X cannot be used: its column indices go from 0 to 5 where there are 2; it is \
damaged, so read it or make it anew.
    """
    if fault := _sparse_fault(matrix):
        raise refused(name, fault, _ANEW)


def checked_csr(
    data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int], name: str
) -> sparse.csr_matrix:
    """The csr_matrix of arrays that a file holds, checked before scipy takes them."""
    parts = SimpleNamespace(format="csr", data=data, indices=indices, indptr=indptr, shape=shape)
    if fault := _csr_fault(parts) or _remainder_fault(parts):
        raise refused(name, fault, _ANEW)
    return sparse.csr_matrix((data, indices, indptr), shape=shape)


def check_anndata(adata: Any, name: str) -> None:
    """Check every sparse matrix of an AnnData from a file; see :func:`check_sparse`."""
    waiting = [("X", adata.X), ("uns", adata.uns)]
    waiting += [(part, getattr(adata, part)) for part in ("layers", "obsm", "varm", "obsp", "varp")]
    if adata.raw is not None:
        waiting += [("raw.X", adata.raw.X), ("raw.varm", adata.raw.varm)]
    while waiting:
        where, value = waiting.pop()
        if hasattr(value, "items") and not sparse.issparse(value) and not hasattr(value, "iloc"):
            # Since anndata 0.13, X is among the layers, too, and is called None there.
            waiting += [(f"{where}[{key!r}]", part) for key, part in value.items() if key is not None]
        if fault := _sparse_fault(value) or _remainder_fault(value):
            raise refused(name, f"in {where[:80]}, {fault}", _ANEW)


def _sparse_fault(matrix: Any) -> str:
    if not sparse.issparse(matrix):
        return ""
    if not all(isinstance(size, int | np.integer) and size >= 0 for size in matrix.shape):
        return f"its shape is {matrix.shape}"
    return _FAULTS[matrix.format](matrix)


def _remainder_fault(matrix: Any) -> str:
    """Scipy takes no notice of values behind the last row, which in a file have been lost."""
    if getattr(matrix, "format", None) not in ("csr", "csc") or matrix.indptr[-1] == len(matrix.data):
        return ""
    return f"its indptr ends at {matrix.indptr[-1]} where {len(matrix.data)} values are stored"


def _index_fault(index: object, bound: int, what: str) -> str:
    if not isinstance(index, np.ndarray) or index.ndim != 1 or index.dtype.kind not in "iu":
        return f"its {what} are no array of integers"
    if index.size == 0:
        return ""
    # Read without a sign, a negative number is larger than any other, so the largest tells of both ends.
    unsigned = index.view(index.dtype.str.replace("i", "u"))
    if unsigned.max() < (min(bound, 2 ** (8 * index.itemsize - 1)) if index.dtype.kind == "i" else bound):
        return ""
    return f"its {what} go from {index.min()} to {index.max()} where there are {bound}"


def _compressed_fault(matrix: Any, n_major: int, n_minor: int, what: str) -> str:
    data, indices, indptr = matrix.data, matrix.indices, matrix.indptr
    if not isinstance(indptr, np.ndarray) or indptr.ndim != 1 or indptr.dtype.kind not in "iu":
        return "its indptr is no array of integers"
    if len(indptr) != n_major + 1:
        return f"its indptr has {len(indptr)} entries where {n_major + 1} are due"
    if indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any():
        return "its indptr does not rise from 0"
    if np.shape(data)[:1] != np.shape(indices)[:1]:
        return f"it has {len(data)} values for {np.size(indices)} indices"
    if indptr[-1] > len(data):
        return f"its indptr ends at {indptr[-1]} where {len(data)} values are stored"
    return _index_fault(indices, n_minor, what)


def _csr_fault(matrix: Any) -> str:
    n_rows, n_columns = (1, *matrix.shape)[-2:]  # an array of one dimension is one row
    return _flat_fault(matrix.data) or _compressed_fault(matrix, n_rows, n_columns, "column indices")


def _csc_fault(matrix: Any) -> str:
    n_rows, n_columns = matrix.shape
    return _flat_fault(matrix.data) or _compressed_fault(matrix, n_columns, n_rows, "row indices")


def _bsr_fault(matrix: Any) -> str:
    data = matrix.data
    if not isinstance(data, np.ndarray) or data.ndim != 3 or 0 in data.shape[1:]:
        return "its data are no array of blocks"
    (n_rows, n_columns), (height, width) = matrix.shape, data.shape[1:]
    if n_rows % height or n_columns % width:
        return f"its shape {matrix.shape} is not made of blocks of {data.shape[1:]}"
    return _compressed_fault(matrix, n_rows // height, n_columns // width, "block indices")


def _coo_fault(matrix: Any) -> str:
    if (fault := _flat_fault(matrix.data)) or len(matrix.coords) != len(matrix.shape):
        return fault or "it has too few or too many axes of indices"
    for axis, (index, size) in enumerate(zip(matrix.coords, matrix.shape, strict=True)):
        if fault := _index_fault(index, size, f"indices of axis {axis}"):
            return fault
        if len(index) != len(matrix.data):
            return f"it has {len(matrix.data)} values for {len(index)} indices"
    return ""


def _dia_fault(matrix: Any) -> str:
    data, offsets = matrix.data, matrix.offsets
    if not isinstance(data, np.ndarray) or data.ndim != 2:
        return "its data are no array of diagonals"
    if not isinstance(offsets, np.ndarray) or offsets.ndim != 1 or offsets.dtype.kind not in "iu":
        return "its offsets are no array of integers"
    if len(offsets) != len(data):
        return f"it has {len(data)} diagonals for {len(offsets)} offsets"
    if len(offsets) and max(-int(offsets.min()), int(offsets.max())) > sum(matrix.shape):
        return f"its offsets go from {offsets.min()} to {offsets.max()} in shape {matrix.shape}"
    return ""


def _lil_fault(matrix: Any) -> str:
    rows, data = matrix.rows, matrix.data
    for part in (rows, data):
        whole = isinstance(part, np.ndarray) and part.dtype == object and part.shape == matrix.shape[:1]
        if not whole or not all(type(row) is list for row in part):
            return "its rows are no lists"
    if any(len(row) != len(values) for row, values in zip(rows, data, strict=True)):
        return "its rows have other lengths than their values"
    indices = list(chain.from_iterable(rows))
    return _index_fault(np.array(indices), matrix.shape[1], "column indices") if indices else ""


def _dok_fault(matrix: Any) -> str:
    if matrix.nnz == 0:
        return ""
    coordinates = np.array(list(matrix.keys())).reshape(matrix.nnz, -1)
    if coordinates.shape[1] != len(matrix.shape):
        return "it has too few or too many axes of indices"
    faults = (
        _index_fault(coordinates[:, axis], size, f"indices of axis {axis}") for axis, size in enumerate(matrix.shape)
    )
    return next(filter(None, faults), "")


def _flat_fault(data: object) -> str:
    return "" if isinstance(data, np.ndarray) and data.ndim == 1 else "its data are no array of one dimension"


_FAULTS = {
    "csr": _csr_fault,
    "csc": _csc_fault,
    "bsr": _bsr_fault,
    "coo": _coo_fault,
    "dia": _dia_fault,
    "lil": _lil_fault,
    "dok": _dok_fault,
}


# Streams


class _Readable(Protocol):
    """A binary stream that fills buffers."""

    def readinto(self, buffer: Any, /) -> int: ...

    def close(self) -> None: ...


def open_text(path: str | os.PathLike[str], name: str | None = None) -> io.TextIOWrapper:
    """Open a text file, compressed if it ends in ``.gz``, that neither unfolds without end nor holds zero bytes.

    Parameters
    ----------
    path : path-like
        The file.
    name : str, default=None
        What an error calls it; by default its path.

    Returns
    -------
    TextIOWrapper
        Its reading raises a ValueError where the file is of another kind.
    """
    opener = gzip.open if str(path).lower().endswith(".gz") else open
    return bounded_text(opener(path, "rb"), unfolded_limit(path), name or repr(str(path)))


def bounded_text(stream: _Readable, limit: int, name: str) -> io.TextIOWrapper:
    """The text in a stream of bytes, as of :func:`open_text`."""
    raw = _Bounded(stream, limit, name)
    return io.TextIOWrapper(io.BufferedReader(raw, _BLOCK), encoding="utf-8-sig", newline="")


class _Bounded(io.RawIOBase):
    """Hands on what a stream of text gives until it gives what text is not."""

    def __init__(self, stream: _Readable, limit: int, name: str) -> None:
        self._stream = stream
        self._limit = self._left = limit
        self._name = name
        self._line = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n_read = self._stream.readinto(buffer)
        block = bytes(buffer[:n_read])
        self._left -= n_read
        end = block.rfind(b"\n")
        self._line = n_read - 1 - end if end >= 0 else self._line + n_read
        fault = ""
        if self._left < 0:
            fault = f"it unfolds to more than {self._limit} bytes"
        elif b"\0" in block:
            fault = "it holds zero bytes, so it is no text"
        elif self._line > _MAX_LINE:
            fault = f"it has a line of more than {_MAX_LINE} bytes"
        if fault:
            raise refused(self._name, fault, "get the file as it was published")
        return n_read

    def close(self) -> None:
        self._stream.close()
        super().close()


def read_bounded(stream: IO[bytes], limit: int, name: str) -> bytes:
    """All bytes of a stream, unless it gives more than `limit`."""
    parts, left = [], limit
    while part := stream.read(_BLOCK):
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise refused(name, f"it unfolds to more than {limit} bytes", "get the file as it was published")
    return b"".join(parts)
