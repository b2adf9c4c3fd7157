"""Expression averaged over spatial neighbours and reduced by PCA: a floor that is hard to beat.

Everything up to the PCA is sparse, and the PCA itself never sees a dense matrix when there are many genes:
it multiplies by the averaging operator and the expression in turn.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.utils.extmath import svd_flip

from skst.expression.counts import column_variance, library_sizes, median_depth, scale_depth, square_root
from skst.expression.noise import mean_beyond, noise_over_mean, noise_ratio
from skst.expression.pooling import fewest_hops, pooling_hops
from skst.expression.survey import Survey
from skst.inputs.blocks import row_blocks, some_columns
from skst.inputs.types import Matrix

# Near and next-to-near spots alike: one hop leaves noise in shallow tissue, two blur a small one.
HOP_WEIGHTS = (0.0, 0.5, 0.5)
# Up to here the covariance of the genes is formed; beyond, it is only ever multiplied by.
DENSE_GENES = 500
# Pooling fills a sparse matrix: of the genes to choose from, so many are pooled at a time.
POOLED_GENES = 1000
# Columns of anything that are averaged at a time.
SPREAD_COLUMNS = 64


def propagate(average: csr_array, values: Matrix, weights: ArrayLike) -> Matrix:
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


def single_hop(n_hops: int) -> NDArray[np.float32]:
    """Weights for :func:`propagate` that average over exactly `n_hops` hops."""
    return np.eye(n_hops + 1, dtype=np.float32)[n_hops]


def principal_axes(
    X: Matrix,
    average: csr_array,
    weights: ArrayLike,
    n_components: int,
    random_state: np.random.RandomState,
    gene_scales: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
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
    gene_scales : ndarray of shape (n_genes,), float32, default=None
        What columns of X are multiplied by first; nothing by default.

    Returns
    -------
    axes : ndarray of shape (n_genes, n_components), float32
        Orthonormal columns in order of variance.
    mean : ndarray of shape (n_genes,), float32
        Mean of the averaged expression.
    noise : float
        Mean variance along other directions; along the last axis where there is no other.
    """
    n_spots, n_genes = X.shape
    scales = np.ones(n_genes, dtype=np.float32) if gene_scales is None else gene_scales
    share = propagate(average.T, np.full(n_spots, 1.0 / n_spots), weights)
    mean = sum(np.asarray(share[rows] @ block, dtype=np.float64).ravel() for rows, block in row_blocks(X)) * scales
    if n_genes <= DENSE_GENES or n_components >= n_genes:
        dense = X.toarray() if sparse.issparse(X) else X.copy()
        for i in range(0, n_genes, SPREAD_COLUMNS):  # in their place: averages of all genes are not held twice
            some = slice(i, i + SPREAD_COLUMNS)
            dense[:, some] = propagate(average, dense[:, some], weights) * scales[some]
        dense -= mean.astype(np.float32)
        covariance = np.zeros((n_genes, n_genes))
        for rows in np.array_split(dense, 1 + n_spots // 100_000):
            covariance += rows.T @ rows
        sizes, axes = np.linalg.eigh(covariance)
        noise = sizes[:-n_components].mean() if n_components < n_genes else sizes[0]
    else:

        def covariance_product(v):
            v = v.ravel().astype(np.float32)
            smooth = propagate(average, X @ (scales * v), weights) - np.float32(mean @ v)
            return scales * (X.T @ propagate(average.T, smooth, weights))

        operator = LinearOperator((n_genes, n_genes), matvec=covariance_product, dtype=np.float32)
        start = random_state.uniform(-1, 1, n_genes).astype(np.float32)
        axes = eigsh(operator, k=n_components, v0=start)[1]
        noise = mean_beyond(covariance_product, axes)
    axes = axes[:, ::-1][:, :n_components]
    axes = svd_flip(axes, None, u_based_decision=True)[0] if n_genes > 1 else np.ones_like(axes)
    return axes.astype(np.float32), mean.astype(np.float32), max(float(noise), 0.0) / n_spots


class AveragedPCA:
    """Principal components of stabilised expression averaged over a graph.

    Parameters
    ----------
    n_components : int
        Axes wanted; fewer where there are fewer spots or genes.
    n_hops : int or "auto", default="auto"
        Hops to average over, see :class:`~skst.SpatialGraphTransformer`.
    n_top_genes : int or None, default=3000
        Genes of largest variance that are kept, None for all.
    normalize : bool, default=True
        Whether to scale, pool and take square roots.
    equal_noise : bool, default=False
        Whether genes are scaled to noise of one variance, see :func:`~skst.expression.noise.noise_over_mean`; only
        with `normalize`.

    Attributes
    ----------
    kept_ : ndarray of int
        Indices, ascending, of the genes kept.
    gene_scales_ : ndarray of shape (n_genes,), float32
        What square roots are multiplied by.
    axes_ : ndarray of shape (n_kept, n_components), float32
        Principal axes of scaled square roots, times the scales of genes, so that square roots as they are have the
        scores; and scaled so that the averaged scores of ``fit`` have a total variance of 1.
    offset_ : ndarray of shape (n_components,), float32
        Mean of the averaged expression on these axes.
    mean_ : ndarray of shape (n_kept,), float32
        Mean of the averaged, scaled square roots.
    variances_, noise_
        Variance of these along each axis, and along any other direction.
    counts_ : ndarray of shape (n_genes,), float64
        Total of each gene.
    n_pool_, hop_weights_, depth_
        Hops of pooling, weights of the hops of averaging, and the depth that pooled counts are scaled to.
    """

    def __init__(self, n_components, *, n_hops="auto", n_top_genes=3000, normalize=True, equal_noise=False):
        self.n_components = n_components
        self.n_hops = n_hops
        self.n_top_genes = n_top_genes
        self.normalize = normalize
        self.equal_noise = equal_noise

    # What scores are moved by: those of genes that were not measured, see skst.expression.panels.
    _shift: NDArray[np.float32] | None = None

    def fit_scores(self, X: Matrix, average: csr_array, random_state: np.random.RandomState) -> NDArray[np.float32]:
        """Find the axes; return the score of each spot by its own expression, before it is averaged.

        Parameters
        ----------
        X : ndarray or csr_array of shape (n_spots, n_genes), float32
            Raw counts, or anything if `normalize` is false.
        average : csr_array of shape (n_spots, n_spots)
            Averaging operator.
        random_state : RandomState
            Draws the start vector of the iterative solver.

        Returns
        -------
        ndarray of shape (n_spots, n_components), float32
        """
        has_edges = average.nnz > X.shape[0]
        self._choose_hops(has_edges, lambda: pooling_hops(X, average))
        sizes = self._sizes(X, average)
        self.depth_ = median_depth(sizes)
        self._scale_genes(noise_over_mean(X, average) if self._equal else np.ones(X.shape[1]))
        self.kept_ = self._choose_genes(X, average, sizes)
        values = self._values(some_columns(X, self.kept_), average, sizes)
        gene_scales = self.gene_scales_[self.kept_]
        n_components = min(self.n_components, *values.shape)
        axes, self.mean_, self.noise_ = principal_axes(
            values, average, self.hop_weights_, n_components, random_state, gene_scales
        )
        offset = self.mean_ @ axes
        axes *= gene_scales[:, None]
        scores = np.asarray(values @ axes, dtype=np.float32)
        averaged = propagate(average, scores, self.hop_weights_)
        self.counts_ = np.asarray(X.sum(axis=0, dtype=np.float64)).ravel()
        self.variances_ = averaged.var(axis=0, dtype=np.float64)
        return scores * self._keep_axes(axes, offset, self.variances_.sum())

    def learn(self, seen: Survey) -> None:
        """Hops, depth and scales of genes of a tissue that was seen in parts; genes are chosen if need not be pooled.

        Parameters
        ----------
        seen : Survey
            Of the whole; ``reach`` up to ``MAX_POOLING`` hops where `n_hops` is "auto".
        """
        median = float(np.median(seen.sizes))
        self._choose_hops(
            seen.n_edges > len(seen.sizes), lambda: fewest_hops(lambda n: median * seen.n_sampled / seen.reach[n])
        )
        self.depth_, self.counts_ = median_depth(seen.sizes), seen.counts
        noise = noise_ratio(seen.noise, self.depth_) if self._equal else np.ones(len(seen.counts))  # type: ignore[arg-type]
        self._scale_genes(noise)
        self.keep_genes(seen.values.variance)

    def keep_genes(self, variance: NDArray[np.float64]) -> None:
        """Keep the genes that vary most, by the variance of what :meth:`values` gives, at any depth.

        Parameters
        ----------
        variance : ndarray of shape (n_genes,)
        """
        self.kept_ = np.arange(len(variance))
        if self.n_top_genes is not None and self.n_top_genes < len(variance):
            ranked = np.argsort(-variance * np.square(self.gene_scales_), kind="stable")
            self.kept_ = np.sort(ranked[: self.n_top_genes])

    def learn_axes(self, axes: np.ndarray, mean: np.ndarray, sizes: np.ndarray, noise: float, n_rows: int) -> None:
        """Take axes that were found elsewhere.

        Parameters
        ----------
        axes : ndarray of shape (n_kept, n_components)
            Principal axes of values of the genes that are kept, times the scales of genes.
        mean : ndarray of shape (n_kept,)
            Mean of those, averaged over hops.
        sizes : ndarray of shape (n_components,)
            Variance of the averaged scores on each axis, summed over rows.
        noise : float
            The same along other directions, on average; along the last axis where there is no other.
        n_rows : int
        """
        scales = self.gene_scales_[self.kept_]
        axes = axes.astype(np.float32)
        self.mean_, self.variances_, self.noise_ = (mean * scales).astype(np.float32), sizes / n_rows, noise / n_rows
        self._keep_axes(axes * scales[:, None], self.mean_ @ axes, sizes.sum() / n_rows)

    def values(self, X: Matrix, average: csr_array, genes: NDArray[np.integer]) -> Matrix:
        """Stabilised expression of some genes, not yet scaled nor averaged over hops; X holds all genes.

        Where counts are pooled it is dense, as the pooled counts of many genes are no longer sparse.
        """
        some = some_columns(X, genes)
        if self.n_pool_ and sparse.issparse(some):
            some = some.toarray()
        return self._values(some, average, self._sizes(X, average))

    def scores_of(self, values: Matrix) -> NDArray[np.float32]:
        """Score of each spot by stabilised expression of the genes that are kept."""
        axes, scale = self._unscaled
        scores = np.asarray(values @ axes, dtype=np.float32) * scale
        return scores if self._shift is None else scores + self._shift

    def scores(self, X: Matrix, average: csr_array) -> NDArray[np.float32]:
        """Score of each spot by its own expression; parameters and result as in :meth:`fit_scores`."""
        return self.scores_of(self._values(some_columns(X, self.kept_), average, self._sizes(X, average)))

    def components(self, n_genes: int) -> NDArray[np.float32]:
        """Axes as rows over all genes, ndarray of shape (n_components, n_genes), float32; zero for those not kept."""
        components = np.zeros((self.axes_.shape[1], n_genes), dtype=np.float32)
        components[:, self.kept_] = self.axes_.T
        return components

    def expression(self, X: Matrix, average: csr_array) -> NDArray[np.float32]:
        """Stabilised expression of the genes kept, ndarray of shape (n_spots, n_kept), float32."""
        values = self._values(some_columns(X, self.kept_), average, self._sizes(X, average))
        return np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float32)

    def average(self, scores: NDArray[np.float32], average: csr_array) -> NDArray[np.float32]:
        """Scores averaged over the graph and centred: the embedding."""
        return self.settle(self.averaged(scores, average))

    def averaged(self, scores: NDArray[np.float32], average: csr_array) -> NDArray[np.float32]:
        """Scores averaged over the graph, not centred."""
        return propagate(average, scores, self.hop_weights_)

    def settle(self, averaged: NDArray[np.float32]) -> NDArray[np.float32]:
        """Averaged scores, centred."""
        return averaged - self.offset_

    def spread(self, values: Matrix, average: csr_array) -> Matrix:
        """Anything about spots, averaged over the hops that the embedding sees, pooling included."""
        if sparse.issparse(values) or values.ndim == 1:
            return self._spread(values, average)
        # Vectors of a million texts exist twice, and not once for each step of each hop.
        step = SPREAD_COLUMNS
        parts = [self._spread(values[:, i : i + step], average) for i in range(0, values.shape[1], step)]
        return np.hstack(parts) if parts else values

    def _spread(self, values, average):
        pooled = propagate(average, values, single_hop(self.n_pool_))
        return propagate(average, pooled, self.hop_weights_)

    def genes(
        self, variances: np.ndarray, n_genes: int
    ) -> tuple[NDArray[np.integer], NDArray[np.float32], NDArray[np.float32]]:
        """The genes that vary most along the axes, and how their rates follow the embedding; not with `equal_noise`.

        Parameters
        ----------
        variances : ndarray of shape (n_components,), float64
            Of the columns of the embedding of ``fit``.
        n_genes : int
            Genes wanted.

        Returns
        -------
        genes : ndarray of int
            Columns of the counts of ``fit``, ascending.
        log_rates : ndarray of float32
            Logarithm of the share that each has of the counts.
        loadings : ndarray of shape (n_genes, n_components), float32
            Change of that logarithm with each column of the embedding, to first order.
        """
        variance = np.square(self.axes_, dtype=np.float64) @ variances
        chosen = np.sort(np.argsort(-variance, kind="stable")[:n_genes])
        genes = self.kept_[chosen]
        rates = np.maximum(self.counts_[genes], 0.5) / max(self.counts_.sum(), 1.0)
        # A root is the embedding times the axes over their squared length, and log rate changes by 2 d root / root.
        squared = np.maximum(np.square(self.axes_, dtype=np.float64).sum(axis=0), np.finfo(np.float32).tiny)
        root = np.sqrt(np.maximum(rates * self.depth_, 1e-3))
        loadings = 2.0 * self.axes_[chosen] / squared / root[:, None]
        return genes, np.log(rates).astype(np.float32), loadings.astype(np.float32)

    @property
    def scaled_variances(self) -> NDArray[np.float64]:
        """Variance of each column of the embedding of ``fit``."""
        return self.variances_ * np.square(self._unscaled[1], dtype=np.float64)

    @property
    def _equal(self):
        return self.normalize and self.equal_noise

    def _choose_hops(self, has_edges, n_pool):
        self.n_pool_ = 0
        if not has_edges:
            self.hop_weights_ = single_hop(0)
        elif self.n_hops == "auto":
            self.n_pool_ = n_pool() if self.normalize else 0
            self.hop_weights_ = np.array(HOP_WEIGHTS, dtype=np.float32)
        else:
            self.hop_weights_ = single_hop(self.n_hops)

    def _scale_genes(self, noise):
        self.gene_scales_ = (1.0 / np.sqrt(noise)).astype(np.float32)

    def _keep_axes(self, axes, offset, variance):
        """Scale axes so that averaged scores have a total variance of 1; return the scale."""
        total = float(np.sqrt(variance))
        scale = np.float32(1.0 / total if total > 0 else 1.0)
        # Other spots go through the same two steps, so that those of fit come out the same to the last digit.
        self._unscaled = axes, scale
        self.axes_, self.offset_ = axes * scale, offset * scale
        return scale

    def _choose_genes(self, X, average, sizes):
        n_genes = X.shape[1]
        if self.n_top_genes is None or self.n_top_genes >= n_genes:
            return np.arange(n_genes)
        step = POOLED_GENES if self.n_pool_ else n_genes
        columns = X.tocsc() if sparse.issparse(X) else X
        variance = [
            column_variance(self._values(columns[:, i : i + step], average, sizes)) for i in range(0, n_genes, step)
        ]
        variance = np.concatenate(variance) * np.square(self.gene_scales_)
        return np.sort(np.argsort(-variance, kind="stable")[: self.n_top_genes])

    def _sizes(self, X, average):
        return propagate(average, library_sizes(X), single_hop(self.n_pool_))

    def _values(self, X, average, sizes):
        """Stabilised expression of some genes, before it is averaged over hops."""
        if not self.normalize:
            return X
        if sparse.issparse(X):
            X = X.tocsr()
        pooled = propagate(average, X, single_hop(self.n_pool_))
        return square_root(scale_depth(pooled, self.depth_, sizes))
