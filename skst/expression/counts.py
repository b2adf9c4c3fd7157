"""Normalisation of counts, the same for every estimator."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skst import limits
from skst.inputs.blocks import row_blocks, row_sums
from skst.inputs.types import Matrix


def library_sizes(X: Matrix) -> NDArray[np.float64]:
    """Row sums, float64."""
    return row_sums(X)


def telling_sums(X: Matrix) -> NDArray[np.float64]:
    """Row sums with a weight of its own for each gene, which tell rows apart where plain sums do not, float64."""
    weights = np.random.RandomState(0).uniform(1, 2, X.shape[1])
    step = max(1, limits.HELD_ENTRIES // max(1, len(weights)))
    sums = []
    for _, block in row_blocks(X):
        # In the order of a sparse matrix: rounding must not tell dense counts from sparse ones.
        parts = [block] if sparse.issparse(block) else np.split(block, range(step, len(block), step))
        sums += [sparse.csr_array(part) @ weights for part in parts]
    return np.concatenate(sums)


def column_variance(X: Matrix) -> NDArray[np.float64]:
    """Variance of each column, float64."""
    mean = np.asarray(X.mean(axis=0, dtype=np.float64)).ravel()
    squares = X.multiply(X) if sparse.issparse(X) else np.square(X)
    return np.asarray(squares.mean(axis=0, dtype=np.float64)).ravel() - mean**2


def median_depth(sizes: NDArray[np.float64]) -> float:
    """Median of the library sizes that are not zero; 1 if all are."""
    return float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else 1.0


def depth_factors(depth: float, sizes: NDArray[np.float64]) -> NDArray[np.float32]:
    """What rows are multiplied by so that library sizes become `depth`; 0 for rows of zeros."""
    return np.divide(depth, sizes, out=np.zeros_like(sizes), where=sizes > 0).astype(np.float32)


def scale_depth(X: Matrix, depth: float, sizes: NDArray[np.float64] | None = None) -> Matrix:
    """Scale each row from its library size to `depth`; a row of zeros stays as it is.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n_spots, n_genes)
        Counts.
    depth : float
        Common library size.
    sizes : ndarray of shape (n_spots,), default=None
        Library sizes, where X holds only some of the genes; row sums by default.

    Returns
    -------
    ndarray or csr_array of shape (n_spots, n_genes), float32
    """
    sizes = library_sizes(X) if sizes is None else sizes
    factors = depth_factors(depth, sizes)
    if sparse.issparse(X):
        values = np.repeat(factors, np.diff(X.indptr))
        values *= X.data
        return sparse.csr_array((values, X.indices, X.indptr), shape=X.shape)
    return X * factors[:, None]


def square_root(X: Matrix) -> Matrix:
    """Square root of every entry, which makes the variance of counts the same for weak and strong genes."""
    if sparse.issparse(X):
        return sparse.csr_array((np.sqrt(X.data), X.indices, X.indptr), shape=X.shape)
    return np.sqrt(X)
