"""Fewer domains from more: a tree over the clusters of one partition."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from skst.partition.numbers import renumber, stable_numbers


def merge_tree(X: np.ndarray, shares: NDArray[np.floating]) -> NDArray[np.integer]:
    """Join the two clusters that are cheapest to join, by Ward's criterion, until one is left.

    Each cluster is a mean of rows and a weight.  To join two costs what that adds to the sum of squared distances of
    rows from their mean.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_components)
        Embedding.
    shares : ndarray of shape (n_rows, n_clusters)
        Share of each cluster in each row; of a partition, 1 in one column.

    Returns
    -------
    ndarray of int of shape (n_clusters - 1, 2)
        As ``children_`` of :class:`sklearn.cluster.AgglomerativeClustering`: row i joins two nodes to node
        ``n_clusters + i``; nodes below ``n_clusters`` are clusters.  Clusters of no weight are joined first.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.partition import merge_tree
    >>> merge_tree(np.array([[0.0], [9.0], [1.0]]), np.eye(3)).tolist()
    [[0, 2], [1, 3]]
    """
    n_clusters = shares.shape[1]
    weights = shares.sum(axis=0, dtype=np.float64)
    means = shares.T @ X / np.maximum(weights, np.finfo(np.float64).tiny)[:, None]
    nodes = np.arange(n_clusters)
    children = np.zeros((n_clusters - 1, 2), dtype=np.int64)
    for i in range(n_clusters - 1):
        apart = np.square(means[:, None] - means).sum(axis=2)
        totals = weights[:, None] + weights
        cost = apart * np.outer(weights, weights) / np.where(totals > 0, totals, 1.0)
        cost[np.tril_indices(len(cost))] = np.inf
        a, b = np.unravel_index(cost.argmin(), cost.shape)
        children[i] = np.sort(nodes[[a, b]])
        if totals[a, b] > 0:
            means[a] = (weights[a] * means[a] + weights[b] * means[b]) / totals[a, b]
        weights[a], nodes[a] = totals[a, b], n_clusters + i
        means, weights, nodes = (np.delete(part, b, axis=0) for part in (means, weights, nodes))
    return children


def cut_tree(children: NDArray[np.integer], present: Iterable[int], n_groups: int) -> dict[int, int]:
    """Group of each cluster when the tree is cut where so many groups are left.

    Parameters
    ----------
    children : ndarray of int of shape (n_clusters - 1, 2)
        From :func:`merge_tree`.
    present : iterable of int
        Clusters that have rows.
    n_groups : int
        From 1 to the number of these.

    Returns
    -------
    dict of int to int
        One of the present clusters, which stands for its group, for each of them.

    Examples
    --------
    >>> from skst.partition.nested import cut_tree
    >>> cut_tree([[0, 2], [1, 3]], [0, 1, 2], 2)
    {1: 1, 0: 0, 2: 0}
    """
    leaves = {cluster: [cluster] for cluster in present}
    for node, pair in enumerate(np.asarray(children).tolist(), start=len(children) + 1):
        if len(leaves) == n_groups:
            break
        joined = [cluster for child in pair for cluster in leaves.pop(child, ())]
        if joined:
            leaves[node] = joined
    return {cluster: min(group) for group in leaves.values() for cluster in group}


def labels_at(labels: NDArray[np.integer], children: NDArray[np.integer], n_groups: int) -> NDArray[np.integer]:
    """Labels of the rows with fewer clusters, the largest first.

    Parameters
    ----------
    labels : ndarray of int of shape (n_rows,)
        Cluster of each row by the numbers of `children`; negative ones stand for no cluster and stay.
    children : ndarray of int of shape (n_clusters - 1, 2)
        From :func:`merge_tree`.
    n_groups : int
        From 1 to the number of clusters that have rows.

    Returns
    -------
    ndarray of int of shape (n_rows,)
        From 0 on.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.partition import labels_at, merge_tree
    >>> X, labels = np.array([[0.0], [9.0], [1.0], [8.0], [2.0]]), np.array([0, 1, 2, 1, 3])
    >>> children = merge_tree(X, labels[:, None] == np.arange(4))
    >>> labels_at(labels, children, 2)
    array([0, 1, 0, 1, 0])
    >>> labels_at(labels, children, 3)
    array([0, 1, 0, 1, 2])
    """
    clusters, place = np.unique(labels, return_inverse=True)
    groups = cut_tree(children, clusters[clusters >= 0].tolist(), n_groups)
    joined = np.array([groups.get(cluster, cluster) for cluster in clusters.tolist()], dtype=np.int64)[place.ravel()]
    return renumber(joined, stable_numbers(joined))
