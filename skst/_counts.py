"""Normalisation of counts, the same for every estimator."""

import numpy as np
from scipy import sparse


def median_depth(X):
    """Median row sum of the rows that are not empty; 1 if all are."""
    sums = np.asarray(X.sum(axis=1, dtype=np.float64)).ravel()
    return float(np.median(sums[sums > 0])) if (sums > 0).any() else 1.0


def scale_depth(X, depth):
    """Scale each row to sum to `depth`; a row of zeros stays as it is.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n_spots, n_genes)
        Counts.
    depth : float
        Common library size.

    Returns
    -------
    ndarray or csr_array of shape (n_spots, n_genes), float32
    """
    sums = np.asarray(X.sum(axis=1, dtype=np.float64)).ravel()
    factors = np.divide(depth, sums, out=np.zeros_like(sums), where=sums > 0).astype(np.float32)
    if sparse.issparse(X):
        values = X.data * np.repeat(factors, np.diff(X.indptr))
        return sparse.csr_array((values, X.indices, X.indptr), shape=X.shape)
    return X * factors[:, None]


def square_root(X):
    """Square root of every entry, which makes the variance of counts the same for weak and strong genes."""
    if sparse.issparse(X):
        return sparse.csr_array((np.sqrt(X.data), X.indices, X.indptr), shape=X.shape)
    return np.sqrt(X)
