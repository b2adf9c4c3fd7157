"""Small tissues, places and blobs, averages and attention written out densely, and how well domains are found."""

import numpy as np
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from skst.embedding.encoders.base import GraphBatches
from skst.graph import averaging_operator, spatial_graph


def random_tissue(n_spots=60, n_inputs=5, n_slices=1, seed=0, dtype=np.float32, **graph):
    """Expression, averaging operator, places and slices."""
    rng = np.random.default_rng(seed)
    points, batch = rng.random((n_spots, 2)), np.arange(n_spots) % n_slices
    average = averaging_operator(spatial_graph(points, batch=batch, **{"n_neighbors": 4, **graph}))
    return rng.normal(size=(n_spots, n_inputs)).astype(dtype), average.astype(dtype), points, batch


def whole_batch(inputs, average, n_core=None, **more):
    """All spots at once; the loss looks at the first `n_core`."""
    whole = next(iter(GraphBatches(inputs, average, more, hops=1)))[0]
    return whole._replace(n_core=n_core or len(inputs))


def dense_attention(of_rows, of_columns, linked):
    """Weights over the edges of a dense matrix, from the logits of their two ends."""
    scores = 1 / (1 + np.exp(-(of_rows[:, None] + of_columns)))
    weights = np.where(linked, np.exp(scores), 0)
    return weights / weights.sum(axis=1, keepdims=True)


def elu(x):
    return np.where(x > 0, x, np.expm1(x))


def some_points(n=40, dims=2, seed=0):
    return np.random.default_rng(seed).uniform(size=(n, dims))


def graph_of(points, kind, batch=None):
    return spatial_graph(points, kind=kind, n_neighbors=3, radius=0.3, batch=batch)


def hops(average, weights):
    """Dense form of what `propagate` multiplies by."""
    dense = average.toarray().astype(float)
    return sum(weight * np.linalg.matrix_power(dense, n) for n, weight in enumerate(weights))


def blobs(n_clusters, n=300, dims=6, seed=0):
    """Blobs on the corners of a simplex: all equally far apart."""
    centers = 12 * np.eye(max(n_clusters, dims))[:n_clusters]
    return make_blobs(n, centers=centers, cluster_std=1.0, random_state=seed)


def ari(fitted, adata):
    """Agreement of the labels of a fit with those that a tissue is made with."""
    return adjusted_rand_score(adata.obs["label"], fitted.labels_)
