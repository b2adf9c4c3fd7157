"""Candidate edges between spots, and what can be said of each."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

# What the policy sees of a candidate edge, in the order of the columns.
FEATURES = (
    "distance",
    "expression",
    "surroundings",
    "distance_rank",
    "expression_rank",
    "surroundings_rank",
    "degree",
    "density",
)
# Distances and cosines as close as this are equal but for rounding.
TIE = 1e-6
# Edges whose cosines are found at a time.
CHUNK = 1 << 18


class Candidates(NamedTuple):
    """Candidate edges and the spots that they join.

    Attributes
    ----------
    edges : ndarray of int of shape (2, n_edges)
        The two spots of each edge, which is listed once.
    features : ndarray of shape (n_edges, n_features), float32
        Columns as in FEATURES.
    scores : ndarray of shape (n_spots, n_components), float32
        Principal components of each spot by its own expression.
    chance : ndarray of shape (n_spots,), float64
        Mean cosine, by expression, of two spots of its slice.
    """

    edges: np.ndarray
    features: np.ndarray
    scores: np.ndarray
    chance: np.ndarray

    def averaged(self, p: NDArray[np.float64]) -> NDArray[np.float32]:
        """Scores averaged twice over the expected graph, p the probabilities of the edges; shaped as they are."""
        n_spots = len(self.scores)
        average = sparse.coo_array((p.astype(np.float32), tuple(self.edges)), shape=(n_spots, n_spots)).tocsr()
        average = average + average.T + sparse.eye_array(n_spots, dtype=np.float32)
        average = sparse.diags_array(1 / average.sum(axis=1)) @ average
        return average @ (average @ self.scores)


def edge_features(edges, spots, expression, surroundings):
    """What the policy sees of each edge.

    Parameters
    ----------
    edges : ndarray of int of shape (2, n_edges)
        The two spots of each edge.
    spots : Spots
        Their coordinates and slices.
    expression, surroundings : ndarray of shape (n_spots, n_components)
        Components averaged narrowly and widely, centred.

    Returns
    -------
    ndarray of shape (n_edges, n_features), float32
        Columns as in FEATURES; neither order of two spots nor the units of coordinates and components matter.
    """
    from sklearn.preprocessing import normalize

    i, j = edges
    n_spots = len(spots.coordinates)
    lengths = np.linalg.norm(spots.coordinates[i] - spots.coordinates[j], axis=1)
    degree = spot_sums(edges, None, n_spots)
    reach = spot_sums(edges, lengths, n_spots) / np.maximum(degree, 1)
    scale = np.sqrt(reach[i] * reach[j])
    distance = lengths / np.where(scale > 0, scale, 1)  # no reach is no length either: all candidates in one place
    alike, around = _cosine(normalize(expression), edges), _cosine(normalize(surroundings), edges)
    columns = [
        distance,
        alike,
        around,
        *(_rank(values, edges, n_spots) for values in (distance, alike, around)),
        np.log(degree[i] * degree[j]) / 2,
        -np.log(_relative(reach, spots.batch)[edges]).mean(axis=0),
    ]
    return np.column_stack(columns).astype(np.float32)


def _relative(reach, batch):
    """Reach of each spot in units of the median of its slice, at least a thousandth."""
    slices = pd.Series(reach).groupby(np.zeros(len(reach)) if batch is None else batch)
    median = slices.transform("median").to_numpy()
    return np.maximum(np.divide(reach, median, out=np.ones_like(reach), where=median > 0), 1e-3)


def _cosine(units, edges):
    parts = np.array_split(edges, 1 + edges.shape[1] // CHUNK, axis=1)
    return np.concatenate([np.einsum("ij,ij->i", units[i], units[j]) for i, j in parts])


def _rank(values, edges, n_spots):
    """Share of the other candidates that an edge exceeds (ties by half), mean over both of its spots."""
    spots, values = edges.ravel(), np.tile(values, 2)
    order = np.lexsort((values, spots))
    fresh = np.append(True, (np.diff(spots[order]) > 0) | (np.diff(values[order]) > TIE))[: len(order)]
    run = np.cumsum(fresh) - 1
    place = np.bincount(run, np.arange(len(run))) / np.bincount(run)
    degree = np.bincount(spots, minlength=n_spots)
    first = np.cumsum(degree) - degree
    rank = np.empty(len(order))
    rank[order] = place[run]
    share = (rank - first[spots]) / np.maximum(degree[spots] - 1, 1)
    return share.reshape(2, -1).mean(axis=0)


def chance_cosine(vectors: np.ndarray, batch: NDArray[np.integer] | None) -> NDArray[np.float64]:
    """Mean cosine of two different spots of its slice, for each spot; float64."""
    from sklearn.preprocessing import normalize

    units = normalize(vectors)
    batch = np.zeros(len(units), dtype=np.int64) if batch is None else batch
    chance = np.zeros(len(units))
    for code in np.unique(batch):
        members = batch == code
        own = units[members].astype(np.float64)
        pairs = len(own) * (len(own) - 1)
        chance[members] = (np.square(own.sum(axis=0)).sum() - np.square(own).sum()) / max(pairs, 1)
    return chance


def spot_sums(edges, weights, n_spots):
    """Sum of the weights of the edges of each spot, float64."""
    return sum(np.bincount(ends, weights, minlength=n_spots) for ends in edges)
