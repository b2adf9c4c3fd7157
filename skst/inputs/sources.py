"""Where the counts of a slice lie, and how some of its rows are read: a file, or a table that may be lazy."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skst.files.hdf5 import open_h5
from skst.inputs.containers import in_memory
from skst.inputs.types import Matrix

# Rows that are read at a time where those that are wanted lie scattered.
_STEP = 2**15


class Stamp(NamedTuple):
    """What tells that a file has been written to.

    Attributes
    ----------
    size : int
        Bytes, those of all files of a folder together.
    written : int
        Nanoseconds of the last change.
    """

    size: int
    written: int


class Table(NamedTuple):
    """What is known of a file before its counts are read.

    Attributes
    ----------
    n_spots : int
    names : ndarray of str of shape (n_genes,)
    places : ndarray of shape (n_spots, n_dimensions) or None
    batch : array-like of shape (n_spots,) or None
    """

    n_spots: int
    names: NDArray[np.object_]
    places: Any
    batch: Any


@dataclass(frozen=True)
class FileCounts:
    """Counts in an .h5ad or .zarr, which another process can read by itself.

    Attributes
    ----------
    path : str
    layer : str or None
        Layer that holds them; None for X.
    rows : ndarray of int or None
        Rows of the file, ascending; None for all.
    stamp : Stamp
        Of the file as it was first seen.
    """

    path: str
    layer: str | None
    rows: NDArray[np.integer] | None
    stamp: Stamp

    portable = True

    def read(self, rows: NDArray[np.integer] | None = None) -> Matrix:
        """Counts of some of the rows, of all by default.

        Raises
        ------
        ValueError
            If the file is not what it was.
        """
        if stamp_of(self.path) != self.stamp:
            raise ValueError("the file has changed since it was first read; leave it alone until the fit is done")
        chosen = rows if self.rows is None else self.rows if rows is None else self.rows[rows]
        with _opened(self.path) as group:
            return read_rows(_dataset(group, self.layer), chosen)


@dataclass(frozen=True)
class TableCounts:
    """Counts of a table at hand, in memory or lazy, which is read where it is.

    Attributes
    ----------
    matrix : ndarray, sparse matrix, dataset of an open file, or dask array
    rows : ndarray of int or None
        As of :class:`FileCounts`.
    """

    matrix: Any
    rows: NDArray[np.integer] | None

    portable = False

    def read(self, rows: NDArray[np.integer] | None = None) -> Matrix:
        """Counts of some of the rows, of all by default."""
        chosen = rows if self.rows is None else self.rows if rows is None else self.rows[rows]
        return read_rows(self.matrix, chosen)


def stamp_of(path: str) -> Stamp:
    """Size and time of the last change of a file, or of all files in a folder."""
    if not os.path.isdir(path):
        found = os.stat(path)
        return Stamp(found.st_size, found.st_mtime_ns)
    found = [os.stat(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names]
    return Stamp(sum(one.st_size for one in found), max((one.st_mtime_ns for one in found), default=0))


def look_into(path: str, layer: str | None, spatial_key: str | None, batch_key: str | None = None) -> Table:
    """What is known of a file before its counts are read; HDF5 files are looked through first.

    Parameters
    ----------
    path : str
        An .h5ad, or the folder of a .zarr.
    layer : str or None
    spatial_key : str or None
        Key of the places in ``obsm``; None where none are read.
    batch_key : str, default=None
        Column of ``obs`` that names slices.

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        If it is no such file, or lacks the layer.
    """
    from anndata.io import read_elem

    if not os.path.isdir(path):
        open_h5(path, "the file").close()
    with _opened(path) as group:
        if not {"X", "obs", "var"} <= set(group):
            raise ValueError("it holds no AnnData; write it by AnnData.write_h5ad or write_zarr")
        shape = _dataset(group, layer).shape
        var = group["var"]
        names = np.asarray(read_elem(var[var.attrs["_index"]]), dtype=object)
        obsm = group["obsm"] if "obsm" in group else {}
        places = read_elem(obsm[spatial_key]) if spatial_key is not None and spatial_key in obsm else None
        batch = read_elem(group["obs"][batch_key]) if batch_key is not None and batch_key in group["obs"] else None
    return Table(int(shape[0]), names, places, batch)


def read_rows(matrix: Any, rows: NDArray[np.integer] | None) -> Matrix:
    """Rows of a table in memory or of one that is lazy, of which no more is read than these lie among.

    Parameters
    ----------
    matrix : ndarray, sparse matrix, dataset of an open file, or dask array
    rows : ndarray of int or None
        In any order; None for all.

    Returns
    -------
    ndarray or sparse matrix
    """
    if rows is None:
        return in_memory(matrix)
    if isinstance(matrix, np.ndarray) or sparse.issparse(matrix):
        return matrix[rows] if not sparse.issparse(matrix) else matrix.tocsr()[rows]
    if len(rows) == 0:
        return in_memory(matrix[:0])
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    parts = []
    start = 0
    while start < len(ordered):
        stop = int(np.searchsorted(ordered, ordered[start] + _STEP))
        first, last = int(ordered[start]), int(ordered[stop - 1]) + 1
        part = in_memory(matrix[first:last])
        parts.append(part if last - first == stop - start else part[ordered[start:stop] - first])
        start = stop
    read = sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else np.concatenate(parts)
    return read if np.array_equal(ordered, rows) else read[np.argsort(order)]


def is_lazy(matrix: Any) -> bool:
    """Whether rows of a table can be read without the others: of a file's, by rows or dense, and of dask's."""
    if matrix is None or isinstance(matrix, np.ndarray) or sparse.issparse(matrix):
        return False
    package = type(matrix).__module__.partition(".")[0]
    if package == "anndata":
        return getattr(matrix, "format", None) == "csr"
    return package in ("h5py", "zarr", "dask") and len(matrix.shape) == 2


def file_behind(matrix: Any) -> str | None:
    """Path of the HDF5 file that a dataset is of, if it is open for reading alone, so that others may read it, too."""
    file = getattr(getattr(matrix, "group", matrix), "file", None)
    if file is None or getattr(file, "mode", None) != "r" or type(file).__module__.partition(".")[0] != "h5py":
        return None
    return os.path.abspath(file.filename)


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    if os.path.isdir(path):
        import zarr

        yield zarr.open_group(path, mode="r")
        return
    import h5py

    with h5py.File(path, "r") as file:
        yield file


def _dataset(group, layer):
    """The counts of an open file, not yet read."""
    from anndata.io import sparse_dataset

    layers = group["layers"] if "layers" in group else {}
    if layer is not None and layer not in layers:
        raise ValueError(f"layer={layer!r} is not among its layers, which are {sorted(layers)}")
    element = group["X"] if layer is None else layers[layer]
    return sparse_dataset(element) if str(element.attrs.get("encoding-type", ""))[:3] in ("csr", "csc") else element
