"""Expression averaged over spatial neighbours and reduced by PCA: a floor that is hard to beat.

Everything up to the PCA is sparse, and the PCA itself never sees a dense matrix when there are many genes:
it multiplies by the averaging operator and the expression in turn.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.utils.extmath import svd_flip

from skst._counts import library_sizes

# Fewer molecules than this in a spot, and averaging square roots loses what averaging counts keeps.
SUFFICIENT_DEPTH = 500.0
# Where counts have to be averaged first, profiles are made this deep, over no more than so many hops.
POOLED_DEPTH = 1500.0
MAX_POOLING = 16
# Near and next-to-near spots alike: one hop leaves noise in shallow tissue, two blur a small one.
HOP_WEIGHTS = (0.0, 0.5, 0.5)
# Up to here the covariance of the genes is formed; beyond, it is only ever multiplied by.
DENSE_GENES = 500
# Pooling fills a sparse matrix: of the genes to choose from, so many are pooled at a time.
POOLED_GENES = 1000


def column_variance(X):
    """Variance of each column, float64."""
    mean = np.asarray(X.mean(axis=0, dtype=np.float64)).ravel()
    squares = X.multiply(X) if sparse.issparse(X) else np.square(X)
    return np.asarray(squares.mean(axis=0, dtype=np.float64)).ravel() - mean**2


def pooled_depth(X, average, n_hops):
    """Effective number of molecules behind a spot's profile after averaging over `n_hops` hops.

    Averaging with weights w reduces noise as ``1 / sum(w**2)`` spots pooled with equal weight would, so the
    depth is the median library size over the mean sum of squared weights.  The sum is estimated from the rows
    of at most 500 spots, evenly spaced.
    """
    rows = np.unique(np.linspace(0, X.shape[0] - 1, 500).astype(int))
    weights = sparse.eye_array(X.shape[0], dtype=np.float32, format="csr")[rows]
    for _ in range(n_hops):
        weights = weights @ average
    return float(np.median(library_sizes(X)) * len(rows) / weights.multiply(weights).sum())


def pooling_hops(X, average):
    """0 if spots are deep enough, else the fewest hops (at most 16) that make pooled profiles so."""
    if pooled_depth(X, average, 0) >= SUFFICIENT_DEPTH:
        return 0
    for n_hops in range(1, MAX_POOLING):
        if pooled_depth(X, average, n_hops) >= POOLED_DEPTH:
            return n_hops
    return MAX_POOLING


def propagate(average, values, weights):
    """Weighted sum of averages over 0, 1, 2, ... hops.

    Parameters
    ----------
    average : csr_array of shape (n_spots, n_spots)
        Averaging operator, or its transpose.
    values : ndarray or csr_array of shape (n_spots,) or (n_spots, n_columns)
        What is averaged.
    weights : sequence of float
        Weight of each number of hops, from 0 on.

    Returns
    -------
    ndarray or csr_array of the shape of `values`
    """
    *weights, last = np.asarray(weights, dtype=np.float32)
    total = values if last == 1 else values * last
    for weight in reversed(weights):
        total = average @ total
        if weight:
            total = total + values * weight
    return total


def single_hop(n_hops):
    """Weights for :func:`propagate` that average over exactly `n_hops` hops."""
    return np.eye(n_hops + 1, dtype=np.float32)[n_hops]


def principal_axes(X, average, weights, n_components, random_state):
    """Leading principal axes of averaged expression.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n_spots, n_genes), float32
        Expression.
    average : csr_array of shape (n_spots, n_spots)
        Averaging operator.
    weights : sequence of float
        Weight of each number of hops, as in :func:`propagate`; they sum to 1.
    n_components : int
        Axes wanted, at most ``min(n_spots, n_genes)``.
    random_state : RandomState
        Draws the start vector of the iterative solver.

    Returns
    -------
    axes : ndarray of shape (n_genes, n_components), float32
        Orthonormal columns in order of variance.
    mean : ndarray of shape (n_genes,), float32
        Mean of the averaged expression.
    """
    n_spots, n_genes = X.shape
    share = propagate(average.T, np.full(n_spots, 1.0 / n_spots), weights)
    mean = np.asarray(share @ X, dtype=np.float64).ravel()
    if n_genes <= DENSE_GENES or n_components >= n_genes:
        dense = X.toarray() if sparse.issparse(X) else X
        dense = propagate(average, dense, weights) - mean.astype(np.float32)
        covariance = np.zeros((n_genes, n_genes))
        for rows in np.array_split(dense, 1 + n_spots // 100_000):
            covariance += rows.T @ rows
        axes = np.linalg.eigh(covariance)[1]
    else:

        def covariance_product(v):
            v = v.ravel().astype(np.float32)
            smooth = propagate(average, X @ v, weights) - np.float32(mean @ v)
            return X.T @ propagate(average.T, smooth, weights)

        operator = LinearOperator((n_genes, n_genes), matvec=covariance_product, dtype=np.float32)
        start = random_state.uniform(-1, 1, n_genes).astype(np.float32)
        axes = eigsh(operator, k=n_components, v0=start)[1]
    axes = axes[:, ::-1][:, :n_components]
    axes = svd_flip(axes, None, u_based_decision=True)[0] if n_genes > 1 else np.ones_like(axes)
    return axes.astype(np.float32), mean.astype(np.float32)
