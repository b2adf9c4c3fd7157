"""Graphs as parameters of an estimator: which spots are neighbours, by distance or learnt."""

import numbers
import warnings
from typing import Any, Self

import joblib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator

from skst._constraints import HasMethods, Interval, StrOptions
from skst.graph.build import KINDS, spatial_graph
from skst.graph.learner import SpatialGraphLearner
from skst.inputs.spots import Spots

LEARNED = "learned"
# What an estimator accepts as `graph`; a text that names no kind is a key of ``obsp``.
GRAPH = [str, "sparse matrix", HasMethods(["fit", "build"])]


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


class GivenGraph(BaseEstimator):
    """A graph that was made elsewhere; each entry above zero joins two spots, and weights are not heeded.

    Parameters
    ----------
    graph : str or sparse matrix of shape (n_spots, n_spots)
        Key of ``obsp`` of an AnnData, or the graph itself.
    """

    _parameter_constraints = {"graph": [str, "sparse matrix"]}

    def __init__(self, graph):
        self.graph = graph

    def of(self, spots: Spots) -> csr_array:
        """Graph of some spots.

        Parameters
        ----------
        spots : Spots
            With the graph that an AnnData held under the key.

        Returns
        -------
        csr_array of shape (n_spots, n_spots), float32
            Zeros and ones, empty diagonal, no edge between slices.

        Raises
        ------
        ValueError
            If there is none, or it is of other spots.
        """
        is_key = isinstance(self.graph, str)
        given = spots.graph if is_key else self.graph
        if given is None:
            raise ValueError(
                f"graph={self.graph!r} is none of {(*KINDS, LEARNED)}, and X has no obsp[{self.graph!r}]; name one of "
                "these or a key of X.obsp, or pass the matrix."
            )
        called = f"obsp[{self.graph!r}]" if is_key else "graph"
        n_spots = spots.X.shape[0]
        if given.shape != (n_spots, n_spots):
            fix = "give one row and one column a spot" + ("" if is_key else ", or a key of X.obsp for data that change")
            raise ValueError(f"{called} has the shape {given.shape}, but there are {n_spots} spots; {fix}.")
        edges = sparse.coo_array(given)
        if not np.isfinite(edges.data).all() or edges.data.min(initial=0) < 0:
            raise ValueError(f"{called} holds NaN, infinite or negative entries; give 1 for an edge and 0 for none.")
        kept = (edges.data > 0) & (edges.row != edges.col)
        if spots.batch is not None:
            kept &= spots.batch[edges.row] == spots.batch[edges.col]
        ones = np.ones(int(kept.sum()), dtype=np.float32)
        graph = sparse.csr_array((ones, (edges.row[kept], edges.col[kept])), shape=given.shape)
        graph = sparse.csr_array(graph + graph.T)
        graph.data[:] = 1  # whether it is told once, in parts, or from both ends
        if n_spots > 1 and not graph.nnz:
            warnings.warn(f"{called} joins no spot to another, so only their own expression is used.", stacklevel=5)
        return graph

    def fit_to(self, spots: Spots) -> csr_array:
        """Graph of the spots of ``fit``; a matrix is of these alone from now on."""
        self._places = joblib.hash((spots.coordinates, spots.batch))
        return self.of(spots)

    def of_others(self, spots: Spots) -> csr_array:
        """Graph of other spots than those of ``fit``, which only a key can tell."""
        same = joblib.hash((spots.coordinates, spots.batch)) == self._places
        if not isinstance(self.graph, str) and not same:
            raise ValueError(
                "graph is a matrix of the spots of fit, and X has others, or has them in another order; fit with a key "
                "of X.obsp, which each X can have."
            )
        return self.of(spots)

    def fit(self, X: object, coordinates: ArrayLike, *, batch: ArrayLike | None = None) -> Self:
        """Do nothing; parameters as in :meth:`SpatialNeighbors.fit`."""
        return self

    def build(self, X: np.ndarray, coordinates: ArrayLike, *, batch: NDArray[np.integer] | None = None) -> csr_array:
        """The graph, if it was given as a matrix; parameters as in :meth:`SpatialNeighbors.build`."""
        return self.of(Spots(X, None, None, batch))


def as_graph(graph: Any, normalize: bool = True) -> Any:
    """What builds the graph that a name stands for.

    Parameters
    ----------
    graph : {"knn", "radius", "delaunay", "learned"}, key of ``obsp``, sparse matrix, or object
        An object has ``fit`` and ``build``.
    normalize : bool, default=True
        Whether a graph that is to be learnt sees raw counts.

    Returns
    -------
    SpatialNeighbors, SpatialGraphLearner, GivenGraph or the object itself
    """
    if sparse.issparse(graph) or (isinstance(graph, str) and graph not in (*KINDS, LEARNED)):
        return GivenGraph(graph)
    if not isinstance(graph, str):
        return graph
    return SpatialGraphLearner(normalize=bool(normalize)) if graph == LEARNED else SpatialNeighbors(graph)
