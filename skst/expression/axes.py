"""Expression of cells on principal axes: genes chosen, rid of sequencing depth, brought to one variance.

The matrix of cells x genes stays sparse throughout; what is subtracted from it is never written out.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.ndimage import median_filter
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.utils.extmath import svd_flip

from skst.expression.counts import depth_factors, library_sizes, median_depth, scale_depth, square_root
from skst.files.aside import RowsAside
from skst.inputs.blocks import row_blocks
from skst.inputs.types import Matrix

# A gene in fewer cells than this tells nothing about groups of cells.
MIN_CELLS = 3
# Standardised expression ends here: a gene in a handful of cells would make an axis of its own.
CLIP = 10.0
# Genes of like mean that a gene's variance is compared with.
_NEIGHBOURHOOD = 201
# Variance of a count beyond Poisson's, as a share of its squared mean: 1 / 100, little enough for UMI counts.
_DISPERSION = 100.0
# Statistics of genes, and axes, are learnt from so many cells, evenly spaced, where there are more.
MAX_CELLS = 20_000
_BLOCK = 500


class CellExpression:
    """Square roots of counts at one depth, and what is known of every gene.

    Parameters
    ----------
    normalize : bool, default=True
        Whether X holds counts; False takes values as they are.

    Attributes
    ----------
    depth_ : float
        Library size that counts are scaled to.
    mean_, slope_, scale_ : ndarray of shape (n_genes,), float64
        Of each gene: mean, slope on the standardised logarithm of the library size, and standard deviation of the rest.
    """

    def __init__(self, normalize=True):
        self.normalize = normalize

    def fit(self, X: Matrix) -> Self:
        """Learn the statistics of genes.

        Parameters
        ----------
        X : ndarray or csr_array of shape (n_cells, n_genes), float32
            Counts.

        Returns
        -------
        self
        """
        sizes = library_sizes(X)
        self.depth_ = median_depth(sizes)
        logs = np.log(np.maximum(sizes, 1.0))
        self._log_size = logs.mean(), logs.std() or 1.0
        rows = sampled_cells(X.shape[0])
        some = X[rows]
        values, log_depth = self.read(some)
        n = len(rows)
        squares = values.multiply(values) if sparse.issparse(values) else np.square(values)
        self.mean_ = _column_means(values)
        self._variance = _column_means(squares) - self.mean_**2
        centred = log_depth - log_depth.mean()
        spread = float(centred @ centred)
        self.slope_ = np.asarray(values.T @ centred, dtype=np.float64) / spread if spread > 0 else 0 * self.mean_
        rest = self._variance - self.slope_**2 * spread / n
        self.scale_ = np.sqrt(np.maximum(rest, 0.0))
        # Of a gene without variance, rounding alone is left; squares are float32.
        self.scale_[self.scale_ <= 1e-3 * (np.abs(self.mean_) + np.sqrt(np.maximum(self._variance, 0)))] = 0.0
        seen = sum(np.asarray((block > 0).sum(axis=0)).ravel() for _, block in row_blocks(X))
        self._eligible = (self.scale_ > 0) & ((seen >= MIN_CELLS) | (X.shape[0] < 2 * MIN_CELLS) | (not self.normalize))
        self._residual = _residual_variance(some, sizes[rows]) if self.normalize else None
        return self

    def read(self, X: Matrix) -> tuple[Matrix, NDArray[np.float64]]:
        """Stabilised expression, and the standardised logarithm of each cell's library size.

        Parameters
        ----------
        X : ndarray or csr_array of shape (n_cells, n_genes), float32
            Counts.

        Returns
        -------
        values : ndarray or csr_array of shape (n_cells, n_genes), float32
        log_depth : ndarray of shape (n_cells,), float64
        """
        return (square_root(scale_depth(X, self.depth_)) if self.normalize else X), self.log_depth(X)

    def values(self, X: Matrix, genes: NDArray[np.integer]) -> Matrix:
        """Stabilised expression of some genes, a matrix of its own that is changed in place."""
        if isinstance(X, RowsAside):
            found = RowsAside(X.shape[0], len(genes))
            for rows, block in row_blocks(X):
                found.append(sparse.csr_array(self.values(block, genes)), np.arange(rows.start, rows.stop))
            return found
        some = X[:, genes]
        if not self.normalize:
            return some
        factors = depth_factors(self.depth_, library_sizes(X))
        if not sparse.issparse(some):
            some *= factors[:, None]
            return np.sqrt(some, out=some)
        for rows, block in row_blocks(some):
            entries = some.data[some.indptr[rows.start] : some.indptr[rows.stop]]
            entries *= np.repeat(factors[rows], np.diff(block.indptr))
            np.sqrt(entries, out=entries)
        return some

    def log_depth(self, X: Matrix) -> NDArray[np.float64]:
        """Logarithm of each cell's library size, standardised by the cells of ``fit``."""
        centre, scale = self._log_size
        return (np.log(np.maximum(library_sizes(X), 1.0)) - centre) / scale

    def genes(self, criterion: str, n_top_genes: int) -> NDArray[np.integer]:
        """Columns, ascending, of the genes that vary most.

        Parameters
        ----------
        criterion : {"trend", "residual"}
            "trend": by the ratio of a gene's variance to that of genes of like mean.  "residual": by the variance of
            Pearson residuals of its counts, where there are counts.
        n_top_genes : int

        Returns
        -------
        ndarray of int
        """
        if criterion == "residual" and self._residual is not None:
            score = self._residual.copy()
        else:
            score = _excess_variance(self.mean_, self._variance)
        score[~self._eligible] = -np.inf
        n_top_genes = min(n_top_genes, int(self._eligible.sum()))
        return np.sort(np.argsort(-score, kind="stable")[:n_top_genes])


class WithoutDepth:
    """Takes from columns of cells what follows the library size, by the slopes of the cells of its first call.

    Parameters
    ----------
    expression : CellExpression
        Fitted.
    """

    def __init__(self, expression):
        self.expression = expression
        self._slope = None

    def __call__(self, columns, X):
        """`columns`, ndarray of shape (n_cells, n_columns), of cells with counts X, without depth."""
        log_depth = self.expression.log_depth(X)
        if self._slope is None:
            spread = float(log_depth @ log_depth)
            self._slope = log_depth @ columns / (spread if spread > 0 else 1.0)
        return columns - np.outer(log_depth, self._slope)


class CellAxes:
    """Leading principal components of some genes of cells, each rid of depth and of unit variance.

    Parameters
    ----------
    expression : CellExpression
        Fitted.
    genes : ndarray of int
        Columns to use.
    n_components : int
        Axes wanted; fewer where there are fewer cells or genes.

    Attributes
    ----------
    axes_ : ndarray of shape (n_genes, n_components), float32
    """

    def __init__(self, expression, genes, n_components):
        self.expression = expression
        self.genes = genes
        self.n_components = n_components

    def fit(self, values: Matrix, log_depth: NDArray[np.float64], random_state: np.random.RandomState) -> Self:
        """Find the axes.

        Parameters
        ----------
        values, log_depth
            As :meth:`CellExpression.read` gives them.
        random_state : RandomState
            Draws the start vector of the iterative solver.

        Returns
        -------
        self
        """
        rows = sampled_cells(values.shape[0])
        clipped, depth = self._clipped(values[rows], log_depth[rows]), log_depth[rows]
        scale = self.expression.scale_[self.genes]
        n, n_genes = clipped.shape
        n_components = min(self.n_components, n, n_genes)
        self._mean = _column_means(clipped) / scale
        centred = depth - depth.mean()
        spread = float(centred @ centred)
        slope = np.asarray(clipped.T @ centred, dtype=np.float64) / scale
        self._slope = slope / spread if spread > 0 else 0 * slope
        self._centre = depth.mean()

        def product(v):
            v = np.asarray(v, dtype=np.float64).reshape(n_genes, -1)
            scores = clipped @ (v / scale[:, None]).astype(np.float32) - self._mean @ v
            scores = scores - np.outer(centred, self._slope @ v)
            back = np.asarray(clipped.T @ scores.astype(np.float32), dtype=np.float64) / scale[:, None]
            return back - np.outer(self._mean, scores.sum(axis=0)) - np.outer(self._slope, centred @ scores)

        if n_components >= n_genes - 1 or n_genes <= _BLOCK:
            axes = np.linalg.eigh(product(np.eye(n_genes)))[1]
        else:
            operator = LinearOperator((n_genes, n_genes), matvec=lambda v: product(v).ravel(), dtype=np.float64)
            axes = eigsh(operator, k=n_components, v0=random_state.uniform(-1, 1, n_genes))[1]
        axes = axes[:, ::-1][:, :n_components]
        self.axes_ = svd_flip(axes, None, u_based_decision=True)[0] if n_genes > 1 else np.ones_like(axes)
        return self

    def transform(self, values: Matrix, log_depth: NDArray[np.float64]) -> NDArray[np.float32]:
        """Scores of cells on the axes.

        Parameters
        ----------
        values, log_depth
            As :meth:`CellExpression.read` gives them.

        Returns
        -------
        ndarray of shape (n_cells, n_components), float32
        """
        scale = self.expression.scale_[self.genes]
        scores = self._clipped(values, log_depth) @ (self.axes_ / scale[:, None]).astype(np.float32)
        scores = scores - self._mean @ self.axes_ - np.outer(log_depth - self._centre, self._slope @ self.axes_)
        return scores.astype(np.float32)

    def _clipped(self, values, log_depth):
        """Values of the genes, none further above what its depth predicts than the clip allows."""
        known = self.expression
        most = known.mean_[self.genes] + CLIP * known.scale_[self.genes]
        values = values[:, self.genes]
        if not sparse.issparse(values):
            most = most + np.outer(log_depth, known.slope_[self.genes])
            return np.minimum(values, np.maximum(most, 0.0)).astype(np.float32)
        rows = np.repeat(log_depth, np.diff(values.indptr))
        most = most[values.indices] + rows * known.slope_[self.genes][values.indices]
        data = np.minimum(values.data, np.maximum(most, 0.0)).astype(np.float32)
        return sparse.csr_array((data, values.indices, values.indptr), shape=values.shape)


def sampled_cells(n: int) -> NDArray[np.integer]:
    """All of n rows, or 20,000 of them at even distances."""
    return np.arange(n) if n <= MAX_CELLS else np.linspace(0, n - 1, MAX_CELLS).astype(np.int64)


def _column_means(values):
    """Means of columns in float64; scipy's own add float32 up, and lose four digits of 20,000 cells."""
    return np.ones(values.shape[0]) @ values / values.shape[0]


def _excess_variance(mean, variance):
    """Logarithm of the variance of each gene over the median of genes of like mean."""
    logs = np.log(np.maximum(variance, 1e-12))
    order = np.argsort(mean, kind="stable")
    excess = np.empty_like(logs)
    window = min(_NEIGHBOURHOOD, len(logs))
    excess[order] = logs[order] - median_filter(logs[order], size=window, mode="nearest")
    return excess


def _residual_variance(X, sizes):
    """Variance of the Pearson residuals of each gene under a negative binomial with the library size as offset."""
    total = sizes.sum()
    shares = np.asarray(X.sum(axis=0, dtype=np.float64)).ravel() / (total or 1.0)
    most = np.sqrt(X.shape[0])
    columns = X.tocsc() if sparse.issparse(X) else X
    variance = np.empty(X.shape[1])
    for start in range(0, X.shape[1], _BLOCK):
        block = columns[:, start : start + _BLOCK]
        block = block.toarray() if sparse.issparse(block) else block
        mean = np.outer(sizes, shares[start : start + _BLOCK])
        spread = np.sqrt(mean + mean**2 / _DISPERSION)
        residual = np.divide(block - mean, spread, out=np.zeros_like(mean), where=spread > 0)
        variance[start : start + _BLOCK] = np.clip(residual, -most, most).var(axis=0)
    return variance
