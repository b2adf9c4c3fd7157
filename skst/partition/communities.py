"""Leiden and Louvain communities, searched to a wanted number."""

import numbers
import random
import warnings
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skst import limits
from skst._constraints import Interval, StrOptions
from skst.partition.mixture import check_n_clusters

_MAX_SEED = np.iinfo(np.int32).max


class GraphCommunities(ClusterMixin, BaseEstimator):
    """Leiden or Louvain communities of the nearest-neighbour graph, at the resolution that gives `n_clusters`.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of communities wanted; the resolution is searched by bisection.
    method : {"leiden", "louvain"}, default="leiden"
        Optimiser of the modularity.
    n_neighbors : int, default=15
        Neighbours in the graph, which is weighted by the overlap (Jaccard) of neighbourhoods.
    max_iter : int, default=30
        Resolutions tried.
    random_state : int, RandomState instance or None, default=None
        Seeds the optimiser.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_spots,)
        Communities, the largest first.
    n_clusters_ : int
        Number of communities found.
    resolution_ : float
        Resolution that gave them.
    n_iter_ : int
        Number of resolutions tried.
    embedding_ : ndarray of shape (n_spots, n_components), float32
        Rows seen in ``fit``: a new row joins the community of the nearest of them.
    n_features_in_ : int
        Number of columns seen in ``fit``.

    Warns
    -----
    UserWarning
        If no resolution gives `n_clusters`; the nearest count is kept.

    Raises
    ------
    ValueError
        If `n_clusters` is larger than the number of rows.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from skst.partition import GraphCommunities
    >>> X, y = make_blobs(300, centers=3, random_state=0, cluster_std=0.5)
    >>> GraphCommunities(3, random_state=0).fit(X).n_clusters_
    3
    """

    _parameter_constraints = {
        "n_clusters": [Interval(numbers.Integral, 1, None, closed="left")],
        "method": [StrOptions({"leiden", "louvain"})],
        "n_neighbors": [Interval(numbers.Integral, 1, None, closed="left")],
        "max_iter": [Interval(numbers.Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, n_clusters=8, *, method="leiden", n_neighbors=15, max_iter=30, random_state=None):
        self.n_clusters = n_clusters
        self.method = method
        self.n_neighbors = n_neighbors
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Search the resolution and assign each row to a community.

        Parameters
        ----------
        X : array-like of shape (n_spots, n_components)
            Embedding.
        y : None
            Ignored.

        Returns
        -------
        self : GraphCommunities
        """
        from sklearn.neighbors import NearestNeighbors

        self._validate_params()
        X = validate_data(self, X, dtype=np.float32)
        check_n_clusters(self.n_clusters, len(X))
        seed = check_random_state(self.random_state).randint(_MAX_SEED)
        membership = self._search(_neighbor_overlap(X, self.n_neighbors, seed), seed)
        by_size = pd.Series(membership).value_counts().index
        self._nearest = NearestNeighbors(n_neighbors=1).fit(X)
        self._communities = pd.Index(by_size).get_indexer(membership)
        self.embedding_ = X
        # Exact duplicates of a row may lie in different communities: predict settles it for both.
        self.labels_ = self._predict(X)
        self.n_clusters_ = len(np.unique(self.labels_))
        if self.n_clusters_ != self.n_clusters:
            warnings.warn(
                f"No resolution tried gives n_clusters={self.n_clusters} {self.method} communities, {self.n_clusters_} "
                "were kept; raise max_iter, change n_neighbors, or use clusterer='mixture'.",
                UserWarning,
                stacklevel=2,
            )
        return self

    def _search(self, graph, seed):
        """Bisect the logarithm of the resolution until the count fits; keep the nearest count otherwise."""
        low, high, best = np.log(1e-3), np.log(50.0), None
        self.n_iter_ = 0
        for _ in range(self.max_iter):
            middle = (low + high) / 2
            membership = _communities(graph, self.method, np.exp(middle), seed)
            self.n_iter_ += 1
            n_found = len(np.unique(membership))
            if best is None or abs(n_found - self.n_clusters) < best[0]:
                best = abs(n_found - self.n_clusters), membership, float(np.exp(middle))
            if n_found == self.n_clusters:
                break
            low, high = (middle, high) if n_found < self.n_clusters else (low, middle)
        self.resolution_ = best[2]
        return best[1]

    def _predict(self, X):
        return self._communities[self._nearest.kneighbors(X, return_distance=False).ravel()]

    def predict(self, X: ArrayLike) -> NDArray[np.integer]:
        """Community of the nearest row seen in ``fit``.

        Parameters
        ----------
        X : array-like of shape (n_spots, n_components)
            Embedding.

        Returns
        -------
        ndarray of int of shape (n_spots,)
        """
        check_is_fitted(self)
        return self._predict(validate_data(self, X, dtype=np.float32, reset=False))


def _neighbor_overlap(X, n_neighbors, seed):
    """Symmetric graph of nearest neighbours weighted by the Jaccard overlap of their neighbourhoods."""
    from sklearn.neighbors import NearestNeighbors

    k = min(n_neighbors, len(X) - 1)
    if k < 1:
        return sparse.coo_array((len(X), len(X)))
    if len(X) > limits.MAX_EXACT_COMMUNITIES:
        try:
            from pynndescent import NNDescent
        except ImportError as error:
            raise ImportError(
                f'Communities of {len(X)} rows need approximate neighbours: pip install "skst[large]".'
            ) from error
        neighbors = NNDescent(X, n_neighbors=k + 1, random_state=seed).neighbor_graph[0]
    else:
        neighbors = NearestNeighbors(n_neighbors=k + 1).fit(X).kneighbors(X, return_distance=False)
    size = neighbors.size
    members = sparse.csr_array((np.ones(size), neighbors.ravel(), np.arange(0, size + 1, k + 1)), shape=(len(X),) * 2)
    edges = (members + members.T).tocoo()
    keep = edges.row < edges.col
    rows, cols = edges.row[keep], edges.col[keep]
    shared = np.zeros(len(rows))
    for start in range(0, len(rows), 200_000):
        part = slice(start, start + 200_000)
        shared[part] = members[rows[part]].multiply(members[cols[part]]).sum(axis=1)
    weights = shared / (2 * (k + 1) - shared)
    return sparse.coo_array((weights, (rows, cols)), shape=(len(X),) * 2)


def _communities(graph, method, resolution, seed):
    import igraph

    edges = np.column_stack([graph.row, graph.col])
    network = igraph.Graph(n=graph.shape[0], edges=edges)
    igraph.set_random_number_generator(random.Random(seed))
    try:
        if method == "leiden":
            found = network.community_leiden(
                objective_function="modularity", weights=graph.data, resolution=resolution, n_iterations=3
            )
        else:
            found = network.community_multilevel(weights=graph.data, resolution=resolution)
    finally:
        igraph.set_random_number_generator(random)
    return np.asarray(found.membership)
