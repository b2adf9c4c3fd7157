"""What a first look at counts tells of a tissue, part by part: sums that add up to what is known of the whole."""

from collections.abc import Sequence
from typing import NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csr_array

from skst.expression.counts import library_sizes, median_depth, scale_depth, square_root, telling_sums
from skst.expression.noise import NoiseSums, add_noise, noise_sums
from skst.inputs.types import Matrix

# Rows of a tissue by which the reach of averages is estimated.
SAMPLED_ROWS = 500


class ColumnSums(NamedTuple):
    """Sums of columns and of their squares, float64.

    Attributes
    ----------
    n_rows : int
    total, squares : ndarray of shape (n_columns,)
    """

    n_rows: int
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, values: Matrix) -> "ColumnSums":
        """The sums of some rows."""
        squared = values.multiply(values) if sparse.issparse(values) else np.square(values)
        total, squares = (np.asarray(part.sum(axis=0, dtype=np.float64)).ravel() for part in (values, squared))
        return cls(values.shape[0], total, squares)

    @classmethod
    def add(cls, parts: Sequence["ColumnSums"]) -> "ColumnSums":
        """The sums of all rows."""
        return cls(*(sum(column) for column in zip(*parts, strict=True)))

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of each column."""
        return self.total / self.n_rows

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of each column."""
        return np.maximum(self.squares / self.n_rows - self.mean**2, 0.0)


class Survey(NamedTuple):
    """What a first look at a part of a tissue tells.

    Attributes
    ----------
    sizes : ndarray of shape (n_spots,), float64
        Library sizes.
    told : ndarray of shape (n_spots,), float64
        What tells spots from each other.
    values : ColumnSums
        Of square roots of shares in the counts; of X where that is taken as it is.
    noise : NoiseSums or None
        None where X is taken as it is.
    reach : ndarray of shape (n_hops + 1,)
        Squared weights of averages over 0, 1, 2, ... hops, summed over the rows that were sampled.
    n_sampled, n_edges : int
        Those rows, and entries of the averaging operator.
    counts : ndarray of shape (n_genes,), float64
        Absolute counts.
    lowest, highest : ndarray of shape (n_genes,)
    fractions : bool
        Whether there are entries that are no whole numbers.
    """

    sizes: NDArray[np.float64]
    told: NDArray[np.float64]
    values: ColumnSums
    noise: NoiseSums | None
    reach: NDArray[np.float64]
    n_sampled: int
    n_edges: int
    counts: NDArray[np.float64]
    lowest: NDArray[np.floating]
    highest: NDArray[np.floating]
    fractions: bool


def sampled_rows(n_spots: int) -> NDArray[np.integer]:
    """Rows, evenly spaced, that stand for all where the reach of averages is estimated."""
    return np.unique(np.linspace(0, n_spots - 1, SAMPLED_ROWS).astype(int))


def reach_of(average: csr_array, rows: NDArray[np.integer], n_hops: int) -> NDArray[np.float64]:
    """Squared weights of averages over 0 to `n_hops` hops, summed over some rows."""
    weights = sparse.eye_array(average.shape[0], dtype=np.float32, format="csr")[rows]
    found = [float(len(rows))]
    for _ in range(n_hops):
        weights = weights @ average
        found.append(float(weights.multiply(weights).sum()))
    return np.array(found)


def survey(X: Matrix, average: csr_array, core: NDArray[np.integer] | None = None, *, normalize: bool = True) -> Survey:
    """Look at a part of a tissue, but for the reach of its averages, which takes no counts.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n_spots, n_genes)
        Counts, or anything if `normalize` is false.
    average : csr_array of shape (n_spots, n_spots)
        Averaging operator.
    core : ndarray of int, default=None
        Rows that count, where others are there as their neighbours alone; all by default.
    normalize : bool, default=True
        Whether X holds counts.

    Returns
    -------
    Survey
    """
    sizes = library_sizes(X)
    noise = None
    if normalize:  # dense, as averages over neighbours are; columns of sparse counts are slow to get at
        dense = X.toarray() if sparse.issparse(X) else X
        noise = noise_sums(dense, average, median_depth(sizes), sizes, core)
        del dense
    if core is not None:
        X, sizes, average = X[core], sizes[core], average[core]
    shares = square_root(scale_depth(X, 1.0, sizes)) if normalize and X.min() >= 0 else X
    entries = X.data if sparse.issparse(X) else X
    lowest, highest = X.min(axis=0), X.max(axis=0)
    if sparse.issparse(X):
        lowest, highest = lowest.toarray().ravel(), highest.toarray().ravel()
    return Survey(
        sizes,
        telling_sums(X),
        ColumnSums.of(shares),
        noise,
        np.zeros(1),
        0,
        average.nnz,
        np.asarray(abs(X).sum(axis=0, dtype=np.float64)).ravel(),
        lowest,
        highest,
        not np.array_equal(entries, np.floor(entries)),
    )


def mark_of(told: NDArray[np.float64], places: NDArray[np.float64]) -> str:
    """What tells a slice from others, hexadecimal: what tells its spots from each other, and their places."""
    return joblib.hash((told, np.ascontiguousarray(places)))


def add_surveys(parts: Sequence[Survey]) -> Survey:
    """What is known of the whole; spots follow each other as the parts do."""
    noise = [part.noise for part in parts if part.noise is not None]
    return Survey(
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([part.told for part in parts]),
        ColumnSums.add([part.values for part in parts]),
        add_noise(noise) if noise else None,
        sum((part.reach for part in parts[1:]), parts[0].reach),
        sum(part.n_sampled for part in parts),
        sum(part.n_edges for part in parts),
        np.sum([part.counts for part in parts], axis=0),
        np.min([part.lowest for part in parts], axis=0),
        np.max([part.highest for part in parts], axis=0),
        any(part.fractions for part in parts),
    )
