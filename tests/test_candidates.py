"""Candidate edges: what the policy sees of them, against brute force."""

import numpy as np
from scipy import sparse

from skst.graph import candidates, spatial_graph
from skst.graph.candidates import FEATURES, Candidates, chance_cosine, edge_features
from skst.inputs.spots import Spots


def test_features_against_brute_force():
    rng = np.random.default_rng(0)
    n_spots, batch = 30, np.repeat([0, 1], 15)
    spots = Spots(None, None, rng.integers(0, 6, (n_spots, 2)) * 1.0, batch)
    expression, surroundings = rng.normal(size=(2, n_spots, 4))
    expression[3] = 0
    graph = spatial_graph(spots.coordinates, n_neighbors=5, batch=batch)
    edges = np.array(sparse.triu(graph, k=1).coords)
    found = edge_features(edges, spots, expression, surroundings)
    neighbors = [np.flatnonzero(row) for row in graph.toarray()]

    def length(i, j):
        return np.linalg.norm(spots.coordinates[i] - spots.coordinates[j])

    def cosine(vectors, i, j):
        norms = np.linalg.norm(vectors[i]) * np.linalg.norm(vectors[j])
        return vectors[i] @ vectors[j] / norms if norms else 0.0

    reach = np.array([np.mean([length(i, j) for j in neighbors[i]]) for i in range(n_spots)])
    relative = reach / np.where(batch == 0, np.median(reach[batch == 0]), np.median(reach[batch == 1]))
    pairs = {
        "distance": lambda i, j: length(i, j) / np.sqrt(reach[i] * reach[j]),
        "expression": lambda i, j: cosine(expression, i, j),
        "surroundings": lambda i, j: cosine(surroundings, i, j),
    }

    def rank(name, i, j):
        own = np.array([pairs[name](i, other) for other in neighbors[i]])
        value = pairs[name](i, j)
        below, equal = (own < value - 1e-9).sum(), (np.abs(own - value) <= 1e-9).sum()
        return (below + (equal - 1) / 2) / (len(own) - 1)

    for e, (i, j) in enumerate(edges.T):
        values = {name: pair(i, j) for name, pair in pairs.items()}
        values |= {f"{name}_rank": (rank(name, i, j) + rank(name, j, i)) / 2 for name in pairs}
        values["degree"] = np.log(len(neighbors[i]) * len(neighbors[j])) / 2
        values["density"] = -np.log(relative[i] * relative[j]) / 2
        np.testing.assert_allclose(found[e], [values[name] for name in FEATURES], rtol=1e-5, atol=1e-5)

    chance = chance_cosine(expression, batch)
    for code in (0, 1):
        members = np.flatnonzero(batch == code)
        pairwise = [cosine(expression, i, j) for i in members for j in members if i != j]
        np.testing.assert_allclose(chance[members], np.mean(pairwise), atol=1e-12)


def test_cosines_in_parts_are_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    spots, vectors = Spots(None, None, rng.random((40, 2)), None), rng.normal(size=(40, 3))
    edges = np.array(sparse.triu(spatial_graph(spots.coordinates), k=1).coords)
    whole = edge_features(edges, spots, vectors, vectors)
    monkeypatch.setattr(candidates, "CHUNK", 7)
    np.testing.assert_array_equal(edge_features(edges, spots, vectors, vectors), whole)


def test_components_are_averaged_twice_over_the_expected_graph():
    rng, edges = np.random.default_rng(0), np.array([[0, 0, 1, 2, 0, 3], [1, 2, 2, 3, 3, 4]])
    p, scores = rng.random(6), rng.normal(size=(5, 3)).astype(np.float32)
    A = np.eye(5)
    A[tuple(edges)] = A[tuple(edges[::-1])] = p
    A /= A.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(Candidates(edges, None, scores, None).averaged(p), A @ A @ scores, rtol=1e-4)
