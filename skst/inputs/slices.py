"""Tissue as a sequence of slices, of which one at a time is in memory.

No edge of a spatial graph joins two slices, so averages, variances and covariances are sums over slices.  X is then a
list of AnnData or of files, one a slice, or one AnnData whose counts stay in their file and whose ``batch_key`` names
slices.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from skst._progress import progress_bar
from skst.files.untrusted import check_sparse, told
from skst.inputs.columns import Columns, given_names, take_columns, warn_of_duplicates
from skst.inputs.containers import in_memory
from skst.inputs.gene_names import any_named, clean_names
from skst.inputs.matrix import check_finite, check_matrix
from skst.inputs.places import read_batch, read_coordinates
from skst.inputs.rows import is_anndata
from skst.inputs.shared import columns_of_slice, shared_columns
from skst.inputs.sources import FileCounts, TableCounts, file_behind, is_lazy, look_into, stamp_of
from skst.inputs.spots import Spots, Where, computable, layer_of
from skst.inputs.types import Matrix

_PATH = (str, bytes, os.PathLike)


@dataclass(frozen=True)
class Slice:
    """One slice: where its spots lie, and how its counts are read.

    Attributes
    ----------
    called : str
        What messages call it.
    counts : FileCounts or TableCounts
    places : ndarray of shape (n_spots, n_dimensions)
    columns : ndarray of int or None
        Columns in the order of ``fit``, -1 for genes that it lacks; None where they are in it.
    n_genes : int
        Of ``fit``.
    reader : str
        Name of the estimator.
    """

    called: str
    counts: FileCounts | TableCounts
    places: NDArray[np.float64]
    columns: NDArray[np.integer] | None
    n_genes: int
    reader: str

    @property
    def present(self) -> NDArray[np.bool_] | None:
        """Fitted genes that it has, where others are unknown; None if it has all."""
        return None if self.columns is None or (self.columns >= 0).all() else self.columns >= 0

    @property
    def at_hand(self) -> bool:
        """Whether its counts are in memory."""
        return isinstance(self.counts, TableCounts) and not is_lazy(self.counts.matrix)

    def read(self, rows: NDArray[np.integer] | None = None) -> Matrix:
        """Counts of some spots, of all by default, float32, of the genes that were fitted; zeros of those it lacks."""
        with of_slice(self.called):
            matrix = self.counts.read(rows)
            check_sparse(matrix, "X")
            matrix = check_matrix(matrix if self.columns is None else take_columns(matrix, self.columns), self.reader)
            check_finite(matrix)
            return computable(matrix)


class Slices:
    """Slices in order, and what is known of all their spots.

    Parameters
    ----------
    slices : sequence of Slice
    rows : sequence of ndarray of int
        Which rows of all that is told of the spots are those of each slice.
    names, genes : ndarray of str of shape (n_genes,) or None
        What X calls the genes, and what they are called.
    n_genes : int
    listed : bool
        Whether X was a list, so that what is told of new spots is a list, too.
    """

    def __init__(self, slices, rows, *, names, genes, n_genes, listed):
        self.slices = list(slices)
        self.rows = rows
        self.names = names
        self.genes = genes
        self.n_genes = n_genes
        self.listed = listed
        self.n_spots = sum(map(len, rows))

    @property
    def places(self) -> NDArray[np.float64]:
        """Places of all spots."""
        return self.joined([one.places for one in self.slices])

    def spots(self, sizes: NDArray[np.float64] | None = None) -> Spots:
        """All spots without their counts, in whose place there are their sums, or nothing at all.

        Parameters
        ----------
        sizes : ndarray of shape (n_spots,), default=None
        """
        held = np.zeros((self.n_spots, 0)) if sizes is None else sizes[:, None]
        batch = self.joined([np.full(len(rows), number) for number, rows in enumerate(self.rows)])
        return Spots(held, self.genes, self.places, batch)

    def map(
        self, function: Callable[..., Any], own: Sequence[tuple], *constant: Any, name: str, verbose: int = 0
    ) -> Iterator[Any]:
        """What a function says of each slice, in order: ``function(slice, *own, *constant)``.

        Slices that lie in files are tasks of joblib, so that ``joblib.parallel_config`` says who reads them.

        Parameters
        ----------
        function : callable
            Picklable.
        own : sequence of tuple
            What it is told of each slice beside it.
        *constant
            What it is told of all.
        name : str
            Stands before a bar of progress.
        verbose : int, default=0
            Whether there is one.
        """
        tasks = [joblib.delayed(function)(one, *told, *constant) for one, told in zip(self.slices, own, strict=True)]
        if all(one.counts.portable for one in self.slices):
            found = joblib.Parallel(return_as="generator")(tasks)
        else:
            found = (call(*arguments, **keywords) for call, arguments, keywords in tasks)
        with progress_bar(len(self.slices), name, "slices", shown=bool(verbose)) as advance:
            for one in found:
                yield one
                advance()

    def groups(self, most: int) -> list["Slices"]:
        """The same in parts of about so many spots, each a list of slices that follow each other.

        Parameters
        ----------
        most : int
        """
        sizes = np.array(list(map(len, self.rows)))
        turns = np.flatnonzero(np.diff((np.cumsum(sizes) - 1) // most)) + 1
        told = {"names": self.names, "genes": self.genes, "n_genes": self.n_genes, "listed": True}
        parts = []
        for members in np.split(np.arange(len(sizes)), turns):
            rows = np.split(np.arange(sizes[members].sum()), np.cumsum(sizes[members])[:-1])
            parts.append(Slices([self.slices[number] for number in members], rows, **told))
        return parts

    def joined(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """What is told of the spots of each slice, as one array in the order of the rows of X."""
        parts = list(parts)
        whole = np.empty((self.n_spots, *parts[0].shape[1:]), dtype=np.result_type(*parts))
        for rows, part in zip(self.rows, parts, strict=True):
            whole[rows] = part
        return whole

    def given_back(self, values: np.ndarray) -> Any:
        """What is told of all spots in the form of X: a list of arrays where that is a list."""
        return [values[rows] for rows in self.rows] if self.listed else values


def is_listed(X: Any) -> bool:
    """Whether `X` is a list or tuple with an AnnData or a path in it, so that its items are meant to be slices."""
    return isinstance(X, (list, tuple)) and any(is_anndata(item) or isinstance(item, _PATH) for item in X)


def stays_in_file(X: Any, where: Where) -> bool:
    """Whether `X` is an AnnData of which rows can be read without the others, and `where` says what its slices are."""
    if not is_anndata(X) or where.batch_key is None or X.is_view:
        return False
    matrix = X.X if where.layer is None else X.layers.get(where.layer)
    return is_lazy(matrix)


def open_slices(
    X: Any,
    where: Where,
    *,
    coordinates: ArrayLike | None = None,
    batch: ArrayLike | None = None,
    fitted: Columns | None = None,
    reader: str = "the estimator",
) -> Slices:
    """Slices of a list, or of an AnnData whose counts stay in their file; nothing is read but names and places.

    Parameters
    ----------
    X : list of AnnData, list of paths, or AnnData
        Of which :func:`is_listed` or :func:`stays_in_file` is true.
    where : Where
        Where in each of them things are.
    coordinates, batch : object
        Not taken: every slice has its own.
    fitted : Columns, default=None
        What ``fit`` saw; None in ``fit``.
    reader : str
        Name of the estimator that reads.

    Returns
    -------
    Slices

    Raises
    ------
    TypeError, ValueError
        In one sentence that names the slice, if one cannot be used.
    """
    fixes = {"coordinates": "put the places of each slice into its obsm", "batch": "give each batch as one item"}
    for argument, value in (("coordinates", coordinates), ("batch", batch)):
        if value is not None:
            raise ValueError(
                f"{argument}= is given, but X is read slice by slice; leave {argument} out, and {fixes[argument]}."
            )
    listed = not is_anndata(X)
    found = _listed(list(X), where) if listed else _batches(X, where)
    seen = shared_columns([names for _, _, names, _ in found]) if fitted is None else fitted
    slices: list[Slice] = []
    for called, counts, names, places in found:
        with of_slice(called):
            columns = columns_of_slice(names, seen, "of the first slice" if fitted is None else "seen in fit")
            if slices and places.shape[1] != slices[0].places.shape[1]:
                raise ValueError(
                    f"its places have {places.shape[1]} dimensions where those of the first slice have "
                    f"{slices[0].places.shape[1]}; give all slices as many"
                )
        slices.append(Slice(called, counts, places, columns, len(names) if columns is None else len(columns), reader))
    if listed:
        ends = np.cumsum([0, *(len(one.places) for one in slices)])
        rows = [np.arange(*span) for span in zip(ends[:-1], ends[1:], strict=True)]
    else:
        rows = [one.counts.rows for one in slices]
    n_genes = slices[0].n_genes
    called = given_names(where.gene_names, seen.names, n_genes) if where.gene_names is not None else seen.names
    genes = called if called is not None and any_named(called) else None
    if fitted is None and genes is not None:
        warn_of_duplicates(genes)
    return Slices(slices, rows, names=seen.names, genes=genes, n_genes=n_genes, listed=listed)


def slices_in_memory(spots: Spots, reader: str) -> Slices:
    """The slices of spots that were read, so that parts of them can be worked on one after the other.

    Parameters
    ----------
    spots : Spots
        With places.
    reader : str
        Name of the estimator that has read them.

    Returns
    -------
    Slices
    """
    n_spots, n_genes = spots.X.shape
    codes, places = spots.batch, spots.coordinates
    assert places is not None
    members: list[Any] = [None] if codes is None else _members(codes)
    called = ["X" if rows is None else f"The slice that begins at spot {rows[0]} of X" for rows in members]
    columns = None if spots.present is None else np.where(spots.present, np.arange(n_genes), -1)
    slices = [
        Slice(name, TableCounts(spots.X, rows), places if rows is None else places[rows], columns, n_genes, reader)
        for name, rows in zip(called, members, strict=True)
    ]
    rows = [np.arange(n_spots)] if codes is None else members
    return Slices(slices, rows, names=spots.genes, genes=spots.genes, n_genes=n_genes, listed=False)


def _members(codes):
    """Rows of each slice."""
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])


def _listed(items, where):
    """Called, counts, names and places of each item of a list."""
    paths = [isinstance(item, _PATH) for item in items]
    for item, is_path in zip(items, paths, strict=True):
        if is_path != paths[0] or not (is_path or is_anndata(item)):
            raise TypeError(
                f"X is a list that holds a {type(items[0]).__name__} and a {type(item).__name__}; give one AnnData a "
                "slice, or one path a slice."
            )
    keys = [os.path.realpath(os.fsdecode(item)) if paths[0] else id(item) for item in items]
    repeated = pd.Index(keys).duplicated()
    if repeated.any():
        second = int(np.flatnonzero(repeated)[0])
        what = repr(os.fsdecode(items[second])) if paths[0] else "one AnnData"
        raise ValueError(f"X names {what} twice, as slices {keys.index(keys[second])} and {second}; give each once.")
    return [(_of_path if paths[0] else _of_table)(item, number, where) for number, item in enumerate(items)]


def _of_path(item, number, where):
    path = os.path.abspath(os.path.expanduser(os.fsdecode(item)))
    called = f"Slice {number} of X, {os.fsdecode(item)[-120:]!r},"
    if not os.path.exists(path):
        raise FileNotFoundError(f"{called} is not there; check the path.")
    with of_slice(called):
        stamp = stamp_of(path)
        table = look_into(path, where.layer, where.spatial_key, where.batch_key)
        _check_one(table.batch, where.batch_key)
        places = _placed(table.places, table.n_spots, where.spatial_key)
    return called, FileCounts(path, where.layer, None, stamp), clean_names(table.names), places


def _of_table(adata, number, where):
    called = f"Slice {number} of X"
    with of_slice(called):
        matrix = layer_of(adata, where.layer)
        _check_one(adata.obs[where.batch_key] if where.batch_key in adata.obs else None, where.batch_key)
        places = _placed(in_memory(adata.obsm.get(where.spatial_key)), adata.n_obs, where.spatial_key)
    return called, _counts(matrix, None), clean_names(adata.var_names), places


def _batches(adata, where):
    """The same for each slice of an AnnData."""
    if where.batch_key not in adata.obs:
        raise ValueError(
            f"batch_key={where.batch_key!r} is not a column of X.obs, which has {list(adata.obs)}; name one of these."
        )
    labels = np.asarray(adata.obs[where.batch_key])
    codes = read_batch(labels, adata.n_obs)
    matrix, names = layer_of(adata, where.layer), clean_names(adata.var_names)
    with of_slice("X"):
        places = _placed(in_memory(adata.obsm.get(where.spatial_key)), adata.n_obs, where.spatial_key)
    members = _members(codes)
    return [(f"Slice {str(labels[rows[0]])!r} of X", _counts(matrix, rows), names, places[rows]) for rows in members]


def _counts(matrix, rows):
    """Where counts are: in a file that others can read, too, if that is known."""
    path = file_behind(matrix) if is_lazy(matrix) else None
    name = "" if path is None else getattr(matrix, "group", matrix).name.strip("/")
    if name == "X" or name.startswith("layers/"):
        return FileCounts(path, name.partition("/")[2] or None, rows, stamp_of(path))
    return TableCounts(matrix, rows)


def _check_one(batch, key):
    """Raise if a column of slices names several in what is to be one."""
    found = [] if batch is None else pd.unique(np.asarray(batch).astype(object))
    if len(found) > 1:
        raise ValueError(
            f"it is an item of a list, but batch_key={key!r} names {len(found)} slices in it; give each alone"
        )


def _placed(places, n_spots, key):
    """Places of the spots of a slice; of no dimension where none are read."""
    if n_spots == 0:
        raise ValueError("it has no spots; leave it out")
    if key is None:
        return np.zeros((n_spots, 0))
    if places is None:
        raise ValueError(
            f"there is no obsm[{key!r}]; put the places of its spots there, or name their key by spatial_key="
        )
    return read_coordinates(places, n_spots)


@contextmanager
def of_slice(called: str) -> Iterator[None]:
    """Say of which slice an error is.

    Parameters
    ----------
    called : str
        What the slice is called, the beginning of a sentence.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, OSError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{called} cannot be used: {_clause(error)}.") from error


def _clause(error):
    """An error as a part of a sentence: whole if the words are ours, and else cut short."""
    text = " ".join(str(error).split()).rstrip(".")
    text = text.removeprefix("the file cannot be used: ").removeprefix("X cannot be used: ")
    ours = isinstance(error, ValueError)
    return text if ours else f"it is broken ({type(error).__name__}: {told(error)}); write it anew"
