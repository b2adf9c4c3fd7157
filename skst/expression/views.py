"""Several embeddings of one tissue, which differ in what cannot be known."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from skst.expression.scale import centre_and_scale
from skst.expression.smooth import HOP_WEIGHTS, AveragedPCA, propagate
from skst.expression.survey import Survey
from skst.inputs.types import Matrix


class View(NamedTuple):
    """What one embedding is made of.

    Attributes
    ----------
    equal_noise : bool
        Whether genes are scaled to noise of one variance.
    hop_weights : sequence of float
        Weight of each number of hops, from 0, over which square roots are averaged.
    """

    equal_noise: bool
    hop_weights: ArrayLike


# Strong genes are the best witnesses where counts are good, and the worst where entries are lost.
VIEWS = (View(False, HOP_WEIGHTS), View(True, HOP_WEIGHTS), View(True, (0.0, 1.0)))


class AveragedViews:
    """Embeddings of :class:`~skst.expression.smooth.AveragedPCA` side by side, one for each of ``VIEWS``.

    Parameters and methods are those of that class.  Axes are found once for genes scaled to equal noise and once for
    genes as they are; scores on both stand side by side, and each view averages its own over its own hops.

    Attributes
    ----------
    n_views_ : int
        Embeddings; one, that of the class there, where `n_hops` is a number, X is taken as it is, or no spot has a
        neighbour.
    n_pool_, hop_weights_, counts_
        As there; the hops are those over which text is averaged.
    """

    def __init__(self, n_components, *, n_hops="auto", n_top_genes=3000, normalize=True):
        self.n_components = n_components
        self.n_hops = n_hops
        self.n_top_genes = n_top_genes
        self.normalize = normalize

    def fit_scores(self, X: Matrix, average: csr_array, random_state: np.random.RandomState) -> NDArray[np.float32]:
        """Find the axes; return the scores of each spot before they are averaged, as columns of all axes."""
        self._make(average.nnz > X.shape[0])
        scores = [pca.fit_scores(X, average, random_state) for pca in self.pcas_]
        self._plan()
        self._scales = [centre_and_scale(propagate(average, scores[kind], weights)) for kind, weights in self._views]
        return np.hstack(scores)

    def learn(self, seen: Survey) -> None:
        """As :meth:`AveragedPCA.learn <skst.expression.smooth.AveragedPCA.learn>`, for both kinds of axes."""
        self._make(seen.n_edges > len(seen.sizes))
        for pca in self.pcas_:
            pca.learn(seen)
        self._plan()

    def learn_scales(self, averaged: NDArray[np.float32]) -> None:
        """Learn what centres and scales each view, from averaged scores of all spots."""
        self._scales = [centre_and_scale(part) for part in np.split(averaged, self.n_views_, axis=1)]

    def scores(self, X: Matrix, average: csr_array) -> NDArray[np.float32]:
        """Scores of other spots; parameters and result as in :meth:`fit_scores`."""
        return np.hstack([pca.scores(X, average) for pca in self.pcas_])

    def components(self, n_genes: int) -> NDArray[np.float32]:
        """Axes of both kinds as rows over all genes."""
        return np.vstack([pca.components(n_genes) for pca in self.pcas_])

    def average(self, scores: NDArray[np.float32], average: csr_array) -> NDArray[np.float32]:
        """Scores averaged over the graph, each view centred and of a total variance of 1: the embeddings."""
        return self.settle(self.averaged(scores, average))

    def averaged(self, scores: NDArray[np.float32], average: csr_array) -> NDArray[np.float32]:
        """Scores averaged over the graph for each view, neither centred nor scaled."""
        parts = np.split(scores, len(self.pcas_), axis=1)
        return np.hstack([propagate(average, parts[kind], weights) for kind, weights in self._views])

    def settle(self, averaged: NDArray[np.float32]) -> NDArray[np.float32]:
        """Averaged scores, each view centred and scaled, in their place."""
        for part, (centre, scale) in zip(np.split(averaged, self.n_views_, axis=1), self._scales, strict=True):
            part -= centre
            part *= scale
        return averaged

    def spread(self, values: Matrix, average: csr_array) -> Matrix:
        """Anything about spots, averaged over the hops of ``hop_weights_``, pooling included."""
        return self.pcas_[0].spread(values, average)

    def _make(self, has_edges):
        several = self.n_hops == "auto" and self.normalize and has_edges
        settings = {"n_hops": self.n_hops, "n_top_genes": self.n_top_genes, "normalize": self.normalize}
        self._kinds = (False, True) if several else (False,)
        self.pcas_ = [AveragedPCA(self.n_components, equal_noise=kind, **settings) for kind in self._kinds]

    def _plan(self):
        """Which views are averaged from which axes."""
        self.n_pool_, self.hop_weights_ = self.pcas_[0].n_pool_, self.pcas_[0].hop_weights_
        self.counts_ = self.pcas_[0].counts_
        views = VIEWS if len(self._kinds) > 1 else (View(False, self.hop_weights_),)
        self._views = [(self._kinds.index(view.equal_noise), view.hop_weights) for view in views]
        self.n_views_ = len(self._views)
