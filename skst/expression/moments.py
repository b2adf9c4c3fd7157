"""Means and covariances of what is averaged over a graph, part by part of a tissue, and their sums."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csr_array
from sklearn.utils.extmath import svd_flip

from skst.expression.smooth import propagate
from skst.inputs.types import Matrix

# Rows that are multiplied in float32 before they are added up in float64.
_ROWS = 20_000
# Columns that are averaged at a time.
_COLUMNS = 256


class Moments(NamedTuple):
    """Means of columns, and products of their deviations, summed over rows.

    Attributes
    ----------
    n_rows : int
    mean : ndarray of shape (n_columns,), float64
    scatter : ndarray of shape (n_columns, n_columns), float64
    """

    n_rows: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]


def averaged_moments(
    values: Matrix, average: csr_array, weights: ArrayLike, core: NDArray[np.integer] | None = None
) -> Moments:
    """Moments of columns that are averaged over hops.

    Parameters
    ----------
    values : ndarray or csr_array of shape (n_spots, n_columns), float32
    average : csr_array of shape (n_spots, n_spots)
        Averaging operator.
    weights : sequence of float
        Weight of each number of hops, as in :func:`~skst.expression.smooth.propagate`.
    core : ndarray of int, default=None
        Rows that count, where others are there as their neighbours alone; all by default.

    Returns
    -------
    Moments
    """
    n_spots, n_columns = values.shape
    dense = np.empty((n_spots if core is None else len(core), n_columns), dtype=np.float32)
    values = values.toarray() if sparse.issparse(values) else values
    for start in range(0, n_columns, _COLUMNS):
        averaged = propagate(average, values[:, start : start + _COLUMNS], weights)
        dense[:, start : start + _COLUMNS] = averaged if core is None else averaged[core]
    return moments_of(dense)


def moments_of(dense: NDArray[np.float32]) -> Moments:
    """Moments of columns as they are; of a matrix of its own, which is centred in place."""
    n_columns = dense.shape[1]
    mean = dense.mean(axis=0, dtype=np.float64)
    dense -= mean.astype(np.float32)
    mean = mean.astype(np.float32).astype(np.float64)
    left = dense.mean(axis=0, dtype=np.float64)  # what rounding the mean leaves
    scatter = np.zeros((n_columns, n_columns))
    for start in range(0, len(dense), _ROWS):
        rows = dense[start : start + _ROWS]
        scatter += rows.T @ rows
    scatter -= len(dense) * np.outer(left, left)
    return Moments(len(dense), mean + left, scatter)


def add_moments(parts: Iterable[Moments]) -> Moments:
    """Moments of all rows from those of parts, which are taken as they come."""
    iterator = iter(parts)
    n_rows, mean, scatter = next(iterator)
    for part in iterator:
        apart = part.mean - mean
        total = n_rows + part.n_rows
        scatter = scatter + part.scatter
        scatter += np.outer(apart, apart) * (n_rows * part.n_rows / total)
        mean = mean + apart * (part.n_rows / total)
        n_rows = total
    return Moments(n_rows, mean, scatter)


def projected(moments: Moments, onto: np.ndarray) -> Moments:
    """Moments of products of the columns with a matrix of shape (n_columns, n_others)."""
    onto = onto.astype(np.float64)
    return Moments(moments.n_rows, moments.mean @ onto, onto.T @ moments.scatter @ onto)


def leading_axes(scatter: NDArray[np.float64], n_components: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leading eigenvectors of a scatter as columns, and their eigenvalues, largest first.

    Parameters
    ----------
    scatter : ndarray of shape (n_columns, n_columns)
    n_components : int

    Returns
    -------
    axes : ndarray of shape (n_columns, n_components)
    sizes : ndarray of shape (n_components,)
    """
    n_columns = len(scatter)
    sizes, axes = np.linalg.eigh(scatter)
    axes, sizes = axes[:, ::-1][:, :n_components], sizes[::-1][:n_components]
    axes = svd_flip(axes, None, u_based_decision=True)[0] if n_columns > 1 else np.ones_like(axes)
    return axes, np.maximum(sizes, 0.0)
