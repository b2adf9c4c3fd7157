"""Which clusterer, and what the neighbours say."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import clone

from skst.graph.build import spatial_graph
from skst.inputs.labels import Labels, column_of
from skst.inputs.places import read_batch, read_coordinates
from skst.inputs.rows import match_rows
from skst.inputs.types import RandomState
from skst.metrics import agreement_matrix
from skst.partition.communities import GraphCommunities
from skst.partition.mixture import ConsensusMixture
from skst.partition.numbers import renumber

CLUSTERERS = ("mixture", "kmeans", "leiden", "louvain")
_COLLAPSED = 0.95


def make_clusterer(clusterer: Any, n_clusters: int, random_state: RandomState = None, *, n_views: int = 1) -> Any:
    """An unfitted clusterer from its name, or a copy of the one given.

    Parameters
    ----------
    clusterer : {"mixture", "kmeans", "leiden", "louvain"}, estimator or None
        Name, None for "mixture", or a scikit-learn clusterer or mixture with ``fit`` and ``predict``.
    n_clusters : int
        Set on the copy as ``n_clusters`` or, for a mixture, ``n_components``.
    random_state : int, RandomState instance or None, default=None
        Set on a copy that has ``random_state=None``.
    n_views : int, default=1
        Embeddings of equal width that stand side by side, which "mixture" looks at one by one.

    Returns
    -------
    estimator

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If the estimator takes no number of clusters.

    Examples
    --------
    >>> from skst.partition import make_clusterer
    >>> make_clusterer("kmeans", 7, random_state=0)
    KMeans(n_clusters=7, n_init=10, random_state=0)
    """
    if clusterer is None or isinstance(clusterer, str):
        if clusterer not in (None, *CLUSTERERS):
            raise ValueError(f"clusterer={clusterer!r} is not one of {CLUSTERERS}, nor an estimator.")
        if clusterer == "kmeans":
            from sklearn.cluster import KMeans

            return KMeans(n_clusters, n_init=10, random_state=random_state)
        if clusterer in ("leiden", "louvain"):
            return GraphCommunities(n_clusters, method=clusterer, random_state=random_state)
        return ConsensusMixture(n_clusters, n_views=n_views, random_state=random_state)
    copy = clone(clusterer)
    parameters = copy.get_params(deep=False)
    count = next((name for name in ("n_clusters", "n_components") if name in parameters), None)
    if count is None:
        raise TypeError(
            f"clusterer={type(copy).__name__} has neither n_clusters nor n_components; use a clusterer that is told "
            "the number of domains."
        )
    copy.set_params(**{count: n_clusters})
    if "random_state" in parameters and parameters["random_state"] is None:
        copy.set_params(random_state=random_state)
    return copy


def soft_labels(
    clusterer: Any,
    embedding: np.ndarray,
    labels: NDArray[np.integer],
    n_clusters: int,
    numbers: dict[int, int] | None = None,
) -> NDArray[np.float64]:
    """Share of each cluster in each row of an embedding.

    Parameters
    ----------
    clusterer : estimator
        Fitted; its ``predict_proba`` is used where it has one.
    embedding : ndarray of shape (n_spots, n_components)
    labels : ndarray of int of shape (n_spots,)
        Cluster of each row, from 0 on.
    n_clusters : int
        Columns wanted, at least.
    numbers : dict of int to int, default=None
        From what the clusterer calls its clusters to what `labels` do, where that differs.

    Returns
    -------
    ndarray of shape (n_spots, n_clusters), float64
        Rows sum to 1.  Without ``predict_proba``, Student's t kernel around the mean of each cluster; a cluster without
        rows has no share.
    """
    if hasattr(clusterer, "predict_proba"):
        shares = clusterer.predict_proba(embedding.astype(np.float64))
        return shares if numbers is None else shares[:, np.argsort(renumber(np.arange(shares.shape[1]), numbers))]
    from sklearn.metrics.pairwise import euclidean_distances

    present = np.unique(labels)
    means = np.stack([embedding[labels == label].mean(axis=0, dtype=np.float64) for label in present])
    kernel = 1.0 / (1.0 + euclidean_distances(embedding.astype(np.float64), means, squared=True))
    shares = np.zeros((len(embedding), max(n_clusters, int(present.max()) + 1)))
    shares[:, present] = kernel / kernel.sum(axis=1, keepdims=True)
    return shares


def warn_of_collapse(labels: NDArray[np.integer], n_clusters: int, advice: str, rows: str = "cells") -> None:
    """Warn if fewer than `n_clusters` clusters hold rows, or one of several holds more than 95 %.

    Parameters
    ----------
    labels : ndarray of int of shape (n_spots,)
        Cluster of each row, from 0 on.
    n_clusters : int
        Clusters asked for.
    advice : str
        What to do about it.
    rows : str, default="cells"
        What a row is.
    """
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    found, largest = int((sizes > 0).sum()), sizes.max() / len(labels)
    percent = int(100 * largest)  # rounded down: 100 is one cluster alone
    if found < n_clusters or (n_clusters > 1 and largest > _COLLAPSED):
        warnings.warn(
            f"The partition has collapsed: of {n_clusters} clusters {found} hold {rows}, and one holds {percent}% of "
            f"them; {advice}.",
            UserWarning,
            stacklevel=5,
        )


def agreement_medoid(labelings: Sequence[Labels]) -> tuple[int, NDArray[np.float64]]:
    """The partition that agrees best with all others, by adjusted Rand index.

    Parameters
    ----------
    labelings : sequence of array-like of shape (n_spots,)
        Partitions of the same spots, from several seeds, settings or methods.

    Returns
    -------
    index : int
        Which of them it is.
    agreement : ndarray of shape (n_labelings,), float64
        Mean adjusted Rand index of each with the others; 1 if it is the only one.

    Examples
    --------
    >>> from skst.partition import agreement_medoid
    >>> agreement_medoid([[0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 0, 1]])[0]
    0
    """
    pairs = agreement_matrix(labelings)
    others = len(pairs) - 1
    agreement = (pairs.sum(axis=1) - 1) / others if others else np.ones(1)
    return int(agreement.argmax()), agreement


def majority_vote(
    labels: Labels, coordinates: ArrayLike, *, n_neighbors: int = 18, batch: ArrayLike | None = None
) -> np.ndarray:
    """Give each spot the commonest label among itself and its spatial neighbours.

    Parameters
    ----------
    labels : array-like of shape (n_spots,)
        Labels: integers from 0, or names.
    coordinates : array-like of shape (n_spots, 2) or (n_spots, 3)
        Positions.
    n_neighbors : int, default=18
        Neighbours that vote: 18 are two rings of a hexagonal lattice.
    batch : array-like of shape (n_spots,), default=None
        Slice of each spot; only spots of one slice are neighbours.

    Returns
    -------
    ndarray of shape (n_spots,)
        A tie between its own label and others leaves a spot its own, one among others gives it the lowest of them.  No
        label disappears: where the vote would erase one, its spots keep it.

    Examples
    --------
    >>> from skst.partition import majority_vote
    >>> majority_vote([0, 0, 1, 0, 0], [[0, 0], [0, 1], [0, 2], [0, 3], [0, 4]], n_neighbors=2)
    array([0, 0, 1, 0, 0])
    >>> majority_vote([0, 0, 1, 0, 1], [[0, 0], [0, 1], [0, 2], [0, 3], [9, 9]], n_neighbors=2)
    array([0, 0, 0, 0, 1])
    """
    coordinates, batch = match_rows(labels, origin="labels", coordinates=coordinates, batch=batch)
    labels = np.asarray(labels)
    n_spots = len(labels)
    if labels.dtype.kind not in "iu":
        codes, names = pd.factorize(column_of(labels, "labels"), sort=True)
        if (codes < 0).any():
            raise ValueError(f"labels are missing for {(codes < 0).sum()} spots; give each one.")
        return np.asarray(names)[majority_vote(codes, coordinates, n_neighbors=n_neighbors, batch=batch)]
    places, codes = read_coordinates(coordinates, n_spots), read_batch(batch, n_spots)
    if places is None:
        raise ValueError("coordinates are None, but neighbours vote; pass one place a spot.")
    # No edge joins two slices, so that one graph at a time is enough.
    members = [np.arange(n_spots)] if codes is None else np.split(np.argsort(codes, kind="stable"), _ends(codes))
    voted, n_labels = np.empty_like(labels), labels.max() + 1
    for rows in members:
        own = labels[rows]
        votes = sparse.csr_array((np.ones(len(rows)), (np.arange(len(rows)), own)), shape=(len(rows), n_labels))
        graph = spatial_graph(places[rows], n_neighbors=n_neighbors)
        voted[rows] = (graph @ votes + 1.5 * votes).toarray().argmax(axis=1)
    # Giving one label back its spots may take the last ones from another, which then gets its own back.
    while (erased := np.isin(labels, np.setdiff1d(labels, voted))).any():
        voted[erased] = labels[erased]
    return voted


def _ends(codes):
    """Where the rows of one code end and those of the next begin, once they are sorted."""
    return np.cumsum(np.bincount(codes))[:-1]
