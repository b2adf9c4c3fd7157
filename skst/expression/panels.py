"""Axes of expression read by some of their genes, where the others were not measured."""

import copy

import numpy as np
from numpy.typing import NDArray

from skst.expression.smooth import AveragedPCA
from skst.expression.views import AveragedViews

# Of the largest variance: there is noise of so much at least, and each axis has as much of its own beyond it, so that
# nothing is divided by nothing.
_LEAST_NOISE, _LEAST_OWN = 1e-6, 1e-9


def conditional_axes(
    axes: NDArray[np.floating], variances: NDArray[np.floating], noise: float, present: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    r"""What expects the scores on principal axes from some of the genes.

    Expression is taken to be :math:`y = W z + \epsilon`, with axes W, scores z of known variances and noise of one
    variance in all genes (probabilistic PCA [1]_).  Of the genes present p and those absent a, with
    :math:`R = \sigma^2 (\Lambda - \sigma^2)^{-1}`,

    .. math:: E[W^T y \mid y_p] = (I + R) (W_p^T W_p + R)^{-1} W_p^T y_p

    which is least squares on the axes with R as ridge, and the scores themselves where no gene is absent.

    Parameters
    ----------
    axes : ndarray of shape (n_genes, n_components)
        W, orthonormal.
    variances : ndarray of shape (n_components,)
        Of the scores, noise included.
    noise : float
        Variance of the noise of a gene.
    present : ndarray of bool of shape (n_genes,)

    Returns
    -------
    weights : ndarray of shape (n_genes, n_components), float64
        What expression, less its mean, is multiplied by; zero for genes that are absent.
    lost : float
        Share of the variance of the scores that is not known then: 0 if all genes are present, 1 if none is.

    References
    ----------
    .. [1] M. E. Tipping and C. M. Bishop, "Probabilistic principal component analysis", Journal of the Royal
       Statistical Society B 61, 611-622 (1999).

    Examples
    --------
    >>> import numpy as np
    >>> from skst.expression.panels import conditional_axes
    >>> axis, present = np.full((4, 1), 0.5), np.array([True, True, True, False])
    >>> weights, lost = conditional_axes(axis, np.array([5.0]), 1.0, present)
    >>> weights.ravel().tolist(), lost
    ([0.625, 0.625, 0.625, 0.0], 0.0625)
    """
    own = np.where(present[:, None], axes, 0.0).astype(np.float64)
    largest = float(variances.max(initial=0.0))
    if largest <= 0:
        return own, 0.0
    known = own.T @ own
    noise = max(noise, _LEAST_NOISE * largest)
    ridge = np.diag(noise / np.maximum(variances - noise, _LEAST_OWN * largest))
    unknown = np.eye(len(ridge)) - known
    turn = np.linalg.solve(known + ridge, np.eye(len(ridge)) + ridge)  # of the right side, so transposed
    lost = noise * np.trace(unknown @ turn) / variances.sum()
    return own @ turn, float(np.clip(lost, 0.0, 1.0))


def on_genes(pca: AveragedPCA | AveragedViews, present: NDArray[np.bool_]) -> tuple[AveragedPCA | AveragedViews, float]:
    """Fitted axes that read some of the genes, and expect of the others what these tell.

    Library sizes are of the genes that are present.  So the depth that they are brought to is that of the fit times the
    share of its counts in these genes.

    Parameters
    ----------
    pca : AveragedPCA or AveragedViews
        Fitted.
    present : ndarray of bool of shape (n_genes,)
        Genes that were measured; columns of the others are zeros in what is embedded.

    Returns
    -------
    pca : AveragedPCA or AveragedViews
        A copy that embeds likewise; the same object if all genes are there.
    lost : float
        Share of the variance on the axes that is not known, see :func:`conditional_axes`; the larger one of two kinds
        of axes.
    """
    if present.all():
        return pca, 0.0
    some = copy.copy(pca)
    if isinstance(some, AveragedViews):
        parts = [on_genes(part, present) for part in some.pcas_]
        some.pcas_ = [part for part, _ in parts]
        return some, max(lost for _, lost in parts)
    axes, scale = some._unscaled
    gene_scales = some.gene_scales_[some.kept_].astype(np.float64)[:, None]
    orthonormal = axes / gene_scales
    weights, lost = conditional_axes(orthonormal, some.variances_, some.noise_, present[some.kept_])
    some._unscaled = (weights * gene_scales).astype(np.float32), scale
    some._shift = (some.mean_ @ (orthonormal - weights)).astype(np.float32) * scale
    some.depth_ = some.depth_ * share_of_counts(some.counts_, present)
    return some, lost


def share_of_counts(counts: NDArray[np.floating], present: NDArray[np.bool_]) -> float:
    """Share of the counts of a fit that are of some genes; 1 if there are none.

    Parameters
    ----------
    counts : ndarray of shape (n_genes,)
        Totals.
    present : ndarray of bool of shape (n_genes,)
    """
    total = float(counts.sum(dtype=np.float64))
    return float(counts[present].sum(dtype=np.float64)) / total if total > 0 else 1.0
