"""How much of the variance of each gene no neighbour shares."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, issparse

from skst.expression.counts import depth_factors, library_sizes, median_depth
from skst.inputs.types import Matrix

# Of the median: no gene is so much quieter than others as a few spots, or none that hold it, would make it seem.
LEAST_SHARE = 0.5
DENSE_ENTRIES = 2**21
# Vectors by which a mean of many eigenvalues that are much alike is estimated, to some 2 %.
_N_DRAWS = 4


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
    sizes = library_sizes(X)
    depth = median_depth(sizes)
    return noise_ratio(noise_sums(X, average, depth, sizes), depth)


class NoiseSums(NamedTuple):
    """What of :func:`noise_over_mean` adds up over parts of a tissue that no edge joins.

    Attributes
    ----------
    between, within : ndarray of shape (n_genes,), float64
        Half of the weighted squared differences of neighbours, and counts, both brought to `depth`.
    weight : float
        Sum of the weights between different spots.
    n_spots : int
    depth : float
    """

    between: NDArray[np.float64]
    within: NDArray[np.float64]
    weight: float
    n_spots: int
    depth: float


def noise_sums(
    X: Matrix,
    average: csr_array,
    depth: float,
    sizes: NDArray[np.float64],
    core: NDArray[np.integer] | None = None,
) -> NoiseSums:
    """What a part of a tissue adds to the noise of genes.

    Parameters
    ----------
    X, average
        As in :func:`noise_over_mean`.
    depth : float
        Any depth that counts are brought to.
    sizes : ndarray of shape (n_spots,)
        Library sizes.
    core : ndarray of int, default=None
        Rows that count, where others are there as their neighbours alone; all by default.

    Returns
    -------
    NoiseSums
    """
    n_spots = X.shape[0]
    between = (average - diags_array(average.diagonal())).tocsr()
    inside = np.ones(n_spots, dtype=bool)
    if core is not None:
        inside = np.zeros(n_spots, dtype=bool)
        inside[core] = True
        between = (diags_array(inside.astype(between.dtype)) @ between).tocsr()
    total = float(between.sum(dtype=np.float64))
    factors = depth_factors(depth, sizes)
    ends = between.sum(axis=0, dtype=np.float64) + between.sum(axis=1, dtype=np.float64)
    # Dense columns, as averages over neighbours are no longer sparse: a few at a time.
    columns = X.tocsc() if issparse(X) else X
    step = max(1, DENSE_ENTRIES // n_spots)
    parts = [
        _noise(columns[:, i : i + step], factors, between, ends, slice(None) if core is None else inside)
        for i in range(0, X.shape[1], step)
    ]
    noise, mean = np.concatenate(parts, axis=1)
    return NoiseSums(noise, mean, total, int(inside.sum()), depth)


def add_noise(parts: Sequence[NoiseSums]) -> NoiseSums:
    """The sums of a tissue from those of its parts; each may be at a depth of its own."""
    depth = parts[0].depth
    # Squared differences go with the square of the depth, counts with the depth itself.
    between = np.sum([part.between * (depth / part.depth) ** 2 for part in parts], axis=0)
    within = np.sum([part.within * (depth / part.depth) for part in parts], axis=0)
    return NoiseSums(between, within, sum(part.weight for part in parts), sum(part.n_spots for part in parts), depth)


def noise_ratio(sums: NoiseSums, depth: float) -> NDArray[np.float64]:
    """The result of :func:`noise_over_mean`, from its sums.

    Parameters
    ----------
    sums : NoiseSums
    depth : float
        Median depth of the tissue.
    """
    if sums.weight <= 0:
        return np.ones(len(sums.between))
    noise, mean = np.stack([sums.between, sums.within]) / np.array([[sums.weight], [sums.n_spots]])
    ratio = np.divide(noise, mean, out=np.zeros_like(noise), where=mean > 0)
    least = LEAST_SHARE * np.median(ratio[mean > 0]) if (mean > 0).any() else 0.0
    if least <= 0:
        return np.ones_like(ratio)
    return np.maximum(ratio, least) * (depth / sums.depth)


def mean_beyond(product: Callable[[np.ndarray], np.ndarray], axes: np.ndarray) -> float:
    """Mean of the eigenvalues of a symmetric matrix that its leading axes leave, by random vectors (Hutchinson).

    Parameters
    ----------
    product : callable
        Multiplies a vector by the matrix.
    axes : ndarray of shape (n, n_axes)
        Leading eigenvectors, fewer than n.

    Returns
    -------
    float
    """
    n, n_axes = axes.shape
    draws = np.random.RandomState(0).choice([-1.0, 1.0], size=(_N_DRAWS, n))
    beyond = draws - (draws @ axes) @ axes.T
    return float(sum(one @ product(one) for one in beyond)) / (_N_DRAWS * (n - n_axes))


def _noise(columns, factors, between, ends, inside):
    """Half of the weighted sum of squared differences of neighbours, and the sum over spots."""
    dense = (columns.toarray() if issparse(columns) else columns) * factors[:, None]
    cross = np.einsum("ij,ij->j", dense, between @ dense, dtype=np.float64)
    return 0.5 * (ends @ np.square(dense)) - cross, dense[inside].sum(axis=0, dtype=np.float64)
