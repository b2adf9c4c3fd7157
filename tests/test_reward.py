"""The reward of a graph and its gradient, against enumeration of all graphs."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from scipy.special import expit

from skst.graph import reward as rewards
from skst.graph import spatial_graph
from skst.graph.reward import GraphReward, policy_gradient

EDGES = np.array([[0, 0, 1, 2, 0, 3], [1, 2, 2, 3, 3, 4]])


N_SPOTS = 5


def _reward(edges=EDGES, n_spots=N_SPOTS, n_neighbors=2, seed=0, scales=(2, 3)):
    """A reward with random terms and random communities."""
    rng = np.random.default_rng(seed)
    agreement, distance = rng.normal(size=(2, edges.shape[1]))
    reward = GraphReward(edges, agreement, distance, n_spots=n_spots, n_neighbors=n_neighbors)
    i, j = edges
    labels = [rng.integers(0, k, n_spots) for k in scales]
    reward.partitions = [(part, part[i] == part[j]) for part in labels]
    return reward, agreement, distance


def _modularity(edges, weights, n_spots, labels):
    """Newman's formula, dense."""
    A = np.zeros((n_spots, n_spots))
    A[tuple(edges)] = weights
    A = A + A.T
    degree, total = A.sum(axis=1), A.sum()
    if total == 0:
        return 0.0
    return ((A - np.outer(degree, degree) / total) * (labels[:, None] == labels)).sum() / total


def _worth(reward, agreement, distance, a):
    """The reward of one graph from its definition."""
    k, n_spots = reward.k, reward.n_spots
    n_wanted = k * n_spots / 2
    degree = np.bincount(EDGES.ravel(), np.tile(a, 2), n_spots)
    return (
        np.mean([_modularity(EDGES, a, n_spots, labels) for labels, _ in reward.partitions])
        + (rewards.AGREEMENT * a @ agreement - rewards.COMPACTNESS * a @ distance) / n_wanted
        - rewards.MEAN_DEGREE * (a.sum() / n_wanted - 1) ** 2
        - rewards.SPOT_DEGREE * np.mean((degree / k - 1) ** 2)
    )


def _all_graphs(p):
    """Every choice of edges, with its probability."""
    for edges in product([0.0, 1.0], repeat=len(p)):
        a = np.array(edges)
        yield a, np.prod(np.where(a == 1, p, 1 - p))


def _expected(logits, reward, agreement, distance):
    """Expected reward and entropy by enumeration of all graphs."""
    p = expit(logits)
    value = sum(share * _worth(reward, agreement, distance, a) for a, share in _all_graphs(p))
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum()
    return value + rewards.ENTROPY * entropy / reward.n_wanted


def test_gradient_is_unbiased():
    reward, agreement, distance = _reward()
    logits = np.random.default_rng(1).normal(size=EDGES.shape[1])
    mean, value = np.zeros(len(logits)), 0.0
    for a, share in _all_graphs(expit(logits)):
        gradient, terms = policy_gradient(logits, reward, [a.astype(bool)])
        mean += share * gradient
        value += share * terms["reward"]
    steps = 1e-5 * np.eye(len(logits))
    exact = [
        (_expected(logits + s, reward, agreement, distance) - _expected(logits - s, reward, agreement, distance)) / 2e-5
        for s in steps
    ]
    np.testing.assert_allclose(mean, exact, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(value, _expected(logits, reward, agreement, distance), rtol=1e-9)


def test_weights_of_the_terms():
    names = ("AGREEMENT", "COMPACTNESS", "MEAN_DEGREE", "SPOT_DEGREE", "ENTROPY")
    assert [getattr(rewards, name) for name in names] == [0.2, 0.05, 10, 0.1, 0.02]


def test_draws_are_averaged():
    reward = _reward()[0]
    logits = np.zeros(EDGES.shape[1])
    a, b = np.array([[1, 0, 1, 1, 0, 0], [0, 1, 1, 0, 1, 1]], dtype=bool)
    both, one, other = (policy_gradient(logits, reward, drawn)[0] for drawn in ([a, b], [a], [b]))
    np.testing.assert_allclose(both, (one + other) / 2)
    assert not np.allclose(one, other)


def test_expansion_leaves_little_to_chance():
    rng = np.random.default_rng(0)
    edges = np.array(sparse.triu(spatial_graph(rng.random((300, 2)), n_neighbors=10), k=1).coords)
    reward = _reward(edges, 300, 6, scales=(4, 8))[0]
    logits = rng.normal(-0.5, 1, edges.shape[1])
    p = expit(logits)
    feature = rng.normal(size=len(p))
    ours, plain = [], []
    for _ in range(60):
        drawn = [rng.random(len(p)) < p for _ in range(2)]
        ours.append(policy_gradient(logits, reward, drawn)[0] @ feature)
        values = [reward.modularity(a) for a in drawn]
        plain.append((values[0] - values[1]) / 2 * ((drawn[0] * 1.0 - drawn[1]) @ feature))
    assert np.std(ours) < 0.2 * np.std(plain)


@settings(max_examples=40, deadline=None)
@given(
    weights=hnp.arrays(np.float64, EDGES.shape[1], elements=st.floats(0.05, 1)),
    labels=hnp.arrays(np.int64, (2, N_SPOTS), elements=st.integers(0, 3)),
)
def test_modularity_is_newmans(weights, labels):
    reward = _reward()[0]
    i, j = EDGES
    reward.partitions = [(part, part[i] == part[j]) for part in labels]

    def dense(w):
        return np.mean([_modularity(EDGES, w, N_SPOTS, part) for part in labels])

    np.testing.assert_allclose(reward.modularity(weights), dense(weights), atol=1e-12)
    steps = 1e-6 * np.eye(len(weights))
    slope = [(dense(weights + s) - dense(weights - s)) / 2e-6 for s in steps]
    np.testing.assert_allclose(reward.modularity_slope(weights), slope, atol=1e-7)


def test_a_graph_without_edges_has_a_reward():
    reward = _reward()[0]
    assert reward.modularity(np.zeros(EDGES.shape[1], dtype=bool)) == 0
    terms, slope = reward.exact(np.zeros(EDGES.shape[1]))
    np.testing.assert_allclose(terms["cost"], rewards.MEAN_DEGREE + rewards.SPOT_DEGREE)
    assert (slope > 0).all()


def test_communities_are_clusters_of_the_embedding():
    rng = np.random.RandomState(0)
    group = np.repeat(np.arange(8), 20)
    embedding = (np.eye(8)[group] * 9 + rng.normal(scale=0.1, size=(160, 8))).astype(np.float32)
    reward = _reward(np.array([[0, 0, 5], [1, 150, 45]]), 160)[0]
    reward.settle(embedding, rng)
    assert [len(np.unique(labels)) for labels, _ in reward.partitions] == list(rewards.RESOLUTIONS)
    labels, same = reward.partitions[0]
    assert ((labels[:, None] == labels) == (group[:, None] == group)).all() and same.tolist() == [True, False, False]


def test_communities_of_a_sample_are_those_of_all_spots(monkeypatch):
    monkeypatch.setattr(rewards, "MAX_CLUSTERED", 100)
    group = np.repeat(np.arange(8), 20)
    embedding = (np.eye(8)[group] * 9 + np.random.default_rng(0).normal(scale=0.1, size=(160, 8))).astype(np.float32)
    reward = _reward(np.array([[0], [1]]), 160)[0]
    reward.settle(embedding, np.random.RandomState(0))
    labels = reward.partitions[0][0]
    assert len(labels) == 160 and ((labels[:, None] == labels) == (group[:, None] == group)).mean() > 0.9
