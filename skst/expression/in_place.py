"""Cells in place: what a spot expresses itself, kept beside what surrounds it."""

import numpy as np
from numpy.typing import NDArray

from skst.expression.axes import CellAxes, CellExpression
from skst.expression.scale import centre_and_scale
from skst.inputs.types import Matrix

# Genes that single cells are told apart by, chosen by their variance among genes of like mean.
N_GENES = 2000


class InPlace:
    r"""Embeddings of surroundings, each with the spot's own principal components beside it.

    With Z an embedding of averages over neighbours, and O the scores of each spot on the principal axes of genes of
    unit variance, both centred and of unit total variance, the embedding is

    .. math:: [\sqrt{w}\, Z, \sqrt{1 - w}\, O]

    so that w is the share of the surroundings in all distances (the lambda of BANKSY [1]_, with other Z and O).

    Parameters
    ----------
    spatial_weight : float
        w; 0 leaves Z out, and 1 leaves Z as it is.
    n_components : int
        Columns of O; fewer where there are fewer spots or genes.
    normalize : bool, default=True
        Whether X holds counts.

    References
    ----------
    .. [1] V. Singhal et al., "BANKSY unifies cell typing and tissue domain segmentation for scalable spatial omics data
       analysis", Nature Genetics 56, 431-441 (2024).
    """

    def __init__(self, spatial_weight, n_components, *, normalize=True):
        self.spatial_weight = spatial_weight
        self.n_components = n_components
        self.normalize = normalize

    def fit_join(
        self, X: Matrix, surroundings: NDArray[np.float32], n_views: int, random_state: np.random.RandomState
    ) -> NDArray[np.float32]:
        """Find the axes, and put both side by side.

        Parameters
        ----------
        X : ndarray or csr_array of shape (n_spots, n_genes), float32
            Expression.
        surroundings : ndarray of shape (n_spots, n_views * n_columns), float32
            Embeddings of equal width.
        n_views : int
            How many it holds.
        random_state : RandomState
            Draws the start vector of the iterative solver.

        Returns
        -------
        ndarray of shape (n_spots, n_columns), float32
            As many embeddings; one, of the spots themselves, if w is 0.
        """
        self.n_views_ = n_views if self.spatial_weight > 0 else 1
        if self.spatial_weight == 1:
            return surroundings
        self._expression = CellExpression(self.normalize).fit(X)
        genes = self._expression.genes("trend", N_GENES)
        values, log_depth = self._expression.read(X)
        self._axes = None
        if len(genes):
            self._axes = CellAxes(self._expression, genes, self.n_components).fit(values, log_depth, random_state)
        self._own_scale = centre_and_scale(self._own(X))
        self._scales = [centre_and_scale(part) for part in np.split(surroundings, n_views, axis=1)]
        return self.join(X, surroundings)

    def join(self, X: Matrix, surroundings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Both side by side, for other spots; parameters and result as in :meth:`fit_join`."""
        if self.spatial_weight == 1:
            return surroundings
        own = _scaled(self._own(X), self._own_scale, 1 - self.spatial_weight)
        if self.spatial_weight == 0:
            return own
        parts = np.split(surroundings, self.n_views_, axis=1)
        weighted = [_scaled(part, scale, self.spatial_weight) for part, scale in zip(parts, self._scales, strict=True)]
        return np.hstack([column for part in weighted for column in (part, own)])

    def spread(self, values: NDArray[np.float32], averaged: NDArray[np.float32]) -> NDArray[np.float32]:
        """Anything about spots in the same mixture: their own `values`, and these averaged over neighbours."""
        if self.spatial_weight == 1:
            return averaged
        w = np.float32(self.spatial_weight)
        return w * averaged + (1 - w) * values

    def _own(self, X):
        if self._axes is None:  # no gene varies
            return np.zeros((X.shape[0], 1), dtype=np.float32)
        return self._axes.transform(*self._expression.read(X))


def _scaled(part, centre_and_factor, share):
    centre, factor = centre_and_factor
    return ((part - centre) * (factor * np.float32(np.sqrt(share)))).astype(np.float32, copy=False)
