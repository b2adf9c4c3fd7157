"""How much of the variance of each gene no neighbour shares."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, issparse

from skst.expression.counts import depth_factors, library_sizes, median_depth
from skst.inputs.types import Matrix

# Of the median: no gene is so much quieter than others as a few spots, or none that hold it, would make it seem.
LEAST_SHARE = 0.5
DENSE_ENTRIES = 2**21


def noise_over_mean(X: Matrix, average: csr_array) -> NDArray[np.float64]:
    r"""Variance of each gene that neighbours do not share, over its mean.

    With counts :math:`x` brought to one depth, and :math:`w_{ij}` the weights of the averaging operator between
    different spots,

    .. math:: \phi_g = \frac{\sum_{ij} w_{ij} (x_{ig} - x_{jg})^2}{2 \bar x_g \sum_{ij} w_{ij}}

    For molecules that are drawn alone it is near the same number for weak and strong genes, and square roots have noise
    of one variance.  Where entries are lost whole, or cells that differ lie side by side, it grows with the mean, and
    roots have noise of variance :math:`\phi_g / 4`.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n_spots, n_genes)
        Counts.
    average : csr_array of shape (n_spots, n_spots)
        Averaging operator, with each spot among its own neighbours.

    Returns
    -------
    ndarray of shape (n_genes,), float64
        At least half of the median over the genes that occur; 1 for all where no spot has a neighbour.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> from skst.expression.noise import noise_over_mean
    >>> pairs = csr_array(np.kron(np.eye(2), np.full((2, 2), 0.5)))
    >>> noise_over_mean(np.array([[4.0, 4.0], [4.0, 4.0], [6.0, 2.0], [2.0, 6.0]]), pairs)
    array([1., 1.])
    """
    between = (average - diags_array(average.diagonal())).tocsr()
    total = between.sum(dtype=np.float64)
    if total <= 0:
        return np.ones(X.shape[1])
    sizes = library_sizes(X)
    factors = depth_factors(median_depth(sizes), sizes)
    ends = between.sum(axis=0, dtype=np.float64) + between.sum(axis=1, dtype=np.float64)
    # Dense columns, as averages over neighbours are no longer sparse: a few at a time.
    columns = X.tocsc() if issparse(X) else X
    step = max(1, DENSE_ENTRIES // X.shape[0])
    parts = [_noise(columns[:, i : i + step], factors, between, ends) for i in range(0, X.shape[1], step)]
    noise, mean = np.concatenate(parts, axis=1) / np.array([[total], [X.shape[0]]])
    ratio = np.divide(noise, mean, out=np.zeros_like(noise), where=mean > 0)
    least = LEAST_SHARE * np.median(ratio[mean > 0]) if (mean > 0).any() else 0.0
    return np.maximum(ratio, least) if least > 0 else np.ones_like(ratio)


def _noise(columns, factors, between, ends):
    """Half of the weighted sum of squared differences of neighbours, and the sum over spots."""
    dense = (columns.toarray() if issparse(columns) else columns) * factors[:, None]
    cross = np.einsum("ij,ij->j", dense, between @ dense, dtype=np.float64)
    return 0.5 * (ends @ np.square(dense)) - cross, dense.sum(axis=0, dtype=np.float64)
