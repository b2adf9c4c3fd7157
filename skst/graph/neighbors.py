"""Graphs as parameters of an estimator: which spots are neighbours, by distance or learnt."""

import numbers
from typing import Any, Self

from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator

from skst._constraints import HasMethods, Interval, StrOptions
from skst.graph.build import KINDS, spatial_graph
from skst.graph.learner import SpatialGraphLearner

LEARNED = "learned"
# What an estimator accepts as `graph`.
GRAPH = [StrOptions({*KINDS, LEARNED}), HasMethods(["fit", "build"])]


class SpatialNeighbors(BaseEstimator):
    """Join spots to those that are near, slice by slice.

    Parameters
    ----------
    kind : {"knn", "radius", "delaunay"}, default="knn"
        Join each spot to its `n_neighbors` nearest spots, to all within `radius`, or to its neighbours in the Delaunay
        triangulation of its slice; see :func:`skst.graph.spatial_graph`.
    n_neighbors : int, default=6
        Neighbours of a spot for ``kind="knn"``; 6 is the number of a hexagonal lattice.
    radius : float, default=None
        Reach for ``kind="radius"``, in units of the coordinates.

    Attributes
    ----------
    graph_ : csr_array of shape (n_spots, n_spots), float32
        Graph of the spots seen in ``fit``: zeros and ones, symmetric, empty diagonal, no edge between slices.
        Left out of a pickle, as it is made again in no time.

    See Also
    --------
    SpatialGraphLearner : Learns which of the near spots belong together.

    Examples
    --------
    >>> from skst import SpatialGraphTransformer
    >>> from skst.datasets import make_spatial_domains
    >>> from skst.graph import SpatialNeighbors
    >>> adata = make_spatial_domains(n_samples=300, random_state=0)
    >>> SpatialGraphTransformer(graph=SpatialNeighbors(n_neighbors=10)).fit(adata).graph_.graph_.shape
    (300, 300)
    """

    _parameter_constraints = {
        "kind": [StrOptions(set(KINDS))],
        "n_neighbors": [Interval(numbers.Integral, 1, None, closed="left")],
        "radius": [Interval(numbers.Real, 0, None, closed="neither"), None],
    }

    def __init__(self, kind="knn", *, n_neighbors=6, radius=None):
        self.kind = kind
        self.n_neighbors = n_neighbors
        self.radius = radius

    def __getstate__(self):
        return {name: value for name, value in super().__getstate__().items() if name != "graph_"}

    def fit(self, X: object, coordinates: ArrayLike, *, batch: ArrayLike | None = None) -> Self:
        """Build the graph of spots and keep it.

        Parameters
        ----------
        X : object
            Ignored.
        coordinates : array-like of shape (n_spots, 2) or (n_spots, 3)
            Positions.
        batch : array-like of shape (n_spots,), default=None
            Slice of each spot.

        Returns
        -------
        SpatialNeighbors
            Itself, fitted.
        """
        self.graph_ = self.build(X, coordinates, batch=batch)
        return self

    def build(self, X: object, coordinates: ArrayLike, *, batch: ArrayLike | None = None) -> csr_array:
        """Graph of any spots; parameters as in :meth:`fit`.

        Returns
        -------
        csr_array of shape (n_spots, n_spots), float32
        """
        self._validate_params()
        return spatial_graph(coordinates, kind=self.kind, n_neighbors=self.n_neighbors, radius=self.radius, batch=batch)


def as_graph(graph: Any, normalize: bool = True) -> Any:
    """What builds the graph that a name stands for.

    Parameters
    ----------
    graph : {"knn", "radius", "delaunay", "learned"} or object with ``fit`` and ``build``
    normalize : bool, default=True
        Whether a graph that is to be learnt sees raw counts.

    Returns
    -------
    SpatialNeighbors, SpatialGraphLearner or the object itself
    """
    if not isinstance(graph, str):
        return graph
    return SpatialGraphLearner(normalize=bool(normalize)) if graph == LEARNED else SpatialNeighbors(graph)
