"""Expression averaged over spatial neighbours and reduced by PCA: a floor that is hard to beat.

Everything up to the PCA is sparse, and the PCA itself never sees a dense matrix when there are many genes:
it multiplies by the averaging operator and the expression in turn.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.utils.extmath import svd_flip

# With fewer molecules in a profile, taking its square root and then averaging loses more than averaging first.
SUFFICIENT_DEPTH = 800.0
MAX_POOLING = 16
# Up to here the covariance of the genes is formed; beyond, it is only ever multiplied by.
DENSE_GENES = 500


def top_variance(X, n_genes):
    """Indices, ascending, of the `n_genes` columns of largest variance."""
    mean = np.asarray(X.mean(axis=0), dtype=np.float64).ravel()
    squares = X.multiply(X) if sparse.issparse(X) else np.square(X)
    variance = np.asarray(squares.mean(axis=0), dtype=np.float64).ravel() - mean**2
    return np.sort(np.argsort(-variance, kind="stable")[:n_genes])


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
    size = np.median(np.asarray(X.sum(axis=1)))
    return float(size * len(rows) / weights.multiply(weights).sum())


def pooling_hops(X, average):
    """Fewest hops (at most 16) whose pooled depth is sufficient; 0 if that of the spots is."""
    for n_hops in range(MAX_POOLING + 1):
        if pooled_depth(X, average, n_hops) >= SUFFICIENT_DEPTH:
            return n_hops
    return MAX_POOLING


def propagate(average, values, n_hops):
    """Multiply `values` by the averaging operator `n_hops` times."""
    for _ in range(n_hops):
        values = average @ values
    return values


def principal_axes(X, average, n_hops, n_components, random_state):
    """Leading principal axes of the expression averaged over `n_hops` hops.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n_spots, n_genes), float32
        Expression.
    average : csr_array of shape (n_spots, n_spots)
        Averaging operator.
    n_hops : int
        Number of times it is applied.
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
    share = propagate(average.T, np.full(n_spots, 1.0 / n_spots), n_hops)
    mean = np.asarray(share @ X, dtype=np.float64).ravel()
    if n_genes <= DENSE_GENES or n_components >= n_genes:
        dense = X.toarray() if sparse.issparse(X) else X
        dense = propagate(average, dense, n_hops) - mean.astype(np.float32)
        covariance = np.zeros((n_genes, n_genes))
        for rows in np.array_split(dense, 1 + n_spots // 100_000):
            covariance += rows.T @ rows
        axes = np.linalg.eigh(covariance)[1]
    else:

        def covariance_product(v):
            v = v.ravel().astype(np.float32)
            smooth = propagate(average, X @ v, n_hops) - np.float32(mean @ v)
            back = propagate(average.T, smooth, n_hops)
            return X.T @ back - mean.astype(np.float32) * smooth.sum()

        operator = LinearOperator((n_genes, n_genes), matvec=covariance_product, dtype=np.float32)
        start = random_state.uniform(-1, 1, n_genes).astype(np.float32)
        axes = eigsh(operator, k=n_components, v0=start)[1]
    axes = axes[:, ::-1][:, :n_components]
    axes = svd_flip(axes, None, u_based_decision=True)[0] if n_genes > 1 else np.ones_like(axes)
    return axes.astype(np.float32), mean.astype(np.float32)
