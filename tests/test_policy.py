"""The graph learner: reward and gradient against enumeration, graphs against truth."""

import tracemalloc
import warnings
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skst import SpatialGraphTransformer
from skst.datasets import make_spatial_domains
from skst.graph import averaging_operator, spatial_graph
from skst.graph import reward as rewards
from skst.graph.candidates import FEATURES, edge_features
from skst.graph.learner import HISTORY, SpatialGraphLearner, _Adam, _warn_degenerate
from skst.graph.reward import GraphReward, policy_gradient
from skst.inputs.spots import Spots

EDGES = np.array([[0, 0, 1, 2, 0, 3], [1, 2, 2, 3, 3, 4]])
N_SPOTS = 5


@pytest.fixture
def learner():
    return SpatialGraphLearner(random_state=0)


@pytest.fixture(scope="module")
def deep():
    """600 cells of 4 types in 5 layers that share them in different proportions."""
    return make_spatial_domains(600, n_cell_types=4, depth=1000, effect=3, random_state=0)


@pytest.fixture(scope="module")
def learnt(deep):
    return SpatialGraphLearner(random_state=0).fit(deep.X, deep.obsm["spatial"])


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


def _homophily(graph, labels):
    """Share of edges within a domain; mean over spots of the share of their edges."""
    edges = graph.tocoo()
    same = labels[edges.row] == labels[edges.col]
    return same.mean(), np.mean(np.bincount(edges.row, same) / np.bincount(edges.row))


@pytest.mark.parametrize("pattern", ["layers", "rings", "patches"])
@pytest.mark.parametrize(("n_cell_types", "share"), [(None, 0.75), (4, 0.93)])
def test_edges_stay_within_domains(pattern, n_cell_types, share):
    adata = make_spatial_domains(600, pattern=pattern, n_cell_types=n_cell_types, depth=1000, effect=3, random_state=1)
    xy, labels = adata.obsm["spatial"], adata.obs["label"].to_numpy()
    learner = SpatialGraphLearner(random_state=0).fit(adata.X, xy)
    found = _homophily(learner.graph_, labels)
    nearest = spatial_graph(xy, n_neighbors=5)
    assert nearest.nnz <= learner.graph_.nnz * 1.02
    for ours, theirs in zip(found, _homophily(nearest, labels), strict=True):
        assert 1 - ours < share * (1 - theirs)


def test_the_graph_is_one(learnt, deep):
    graph, chance = learnt.graph_, learnt.probabilities_
    assert graph.dtype == chance.dtype == np.float32 and graph.shape == (600, 600)
    assert set(graph.data) == {1.0} and graph.diagonal().sum() == 0
    assert (graph != graph.T).nnz == (chance != chance.T).nnz == 0
    assert graph.nnz == 6 * 600 and np.diff(graph.indptr).min() >= 1
    candidates = spatial_graph(deep.obsm["spatial"], n_neighbors=18)
    np.testing.assert_array_equal(chance.indices, candidates.indices)
    dense, likely = graph.toarray() > 0, chance.toarray()
    best = (likely == likely.max(axis=1, keepdims=True)) & (likely > 0)
    np.testing.assert_array_equal(dense, (likely > 0.5) | best | best.T)


@pytest.mark.parametrize("n_neighbors", [1, 4, 9])
def test_the_degree_is_held(deep, learner, n_neighbors):
    graph = learner.set_params(n_neighbors=n_neighbors, max_epochs=20).fit(deep.X, deep.obsm["spatial"]).graph_
    at_least_one = np.diff(graph.indptr).min() >= 1
    assert at_least_one and (graph.nnz == n_neighbors * 600 if n_neighbors > 1 else graph.nnz < 2 * 600)
    if n_neighbors > 1:
        assert abs(learner.history_["mean_degree"].iloc[-1] - n_neighbors) < 0.1 * n_neighbors


def test_training_raises_the_reward(learnt):
    history = learnt.history_
    assert tuple(history.columns) == HISTORY and len(history) == 100
    assert history["reward"].iloc[-10:].mean() > history["reward"].iloc[:3].mean() + 0.1
    terms = history[["modularity", "agreement", "compactness", "entropy"]].sum(axis=1) - history["cost"]
    np.testing.assert_allclose(history["reward"], terms)
    np.testing.assert_allclose(history["baseline"], history["modularity"], atol=0.05)
    assert not np.array_equal(history["baseline"], history["modularity"])
    assert learnt.policy_.loc["expression", "weight"] > 0 > learnt.policy_.loc["distance", "weight"]


def test_the_first_epoch_is_rewarded_by_the_definition(deep, learner):
    X, xy = deep.X, deep.obsm["spatial"]
    learner.set_params(max_epochs=1).fit(X, xy)
    found = learner._survey(learner._read(X, xy, None, reset=False)[0])
    seen = dict(zip(FEATURES, found.features.T.astype(float), strict=True))
    distance, n_wanted = seen["distance"], 3 * 600
    alike = seen["expression"] - found.chance[found.edges[0]]
    # It begins with the number of edges that is wanted, by distance alone.
    p = expit(logit(n_wanted / len(distance)) - (distance - distance.mean()) / distance.std())
    first = learner.history_.iloc[0]
    np.testing.assert_allclose(first["agreement"], rewards.AGREEMENT * p @ alike / n_wanted, rtol=1e-4)
    np.testing.assert_allclose(first["compactness"], -rewards.COMPACTNESS * p @ distance / n_wanted, rtol=1e-4)
    np.testing.assert_allclose(first["mean_degree"], 2 * p.sum() / 600, rtol=1e-4)


def test_steps_are_those_of_adam():
    weights = np.array([0.0, 1.0, -2.0])
    theirs, ours = torch.tensor(weights, requires_grad=True), _Adam(weights.copy())
    optimizer = torch.optim.Adam([theirs], betas=(0.9, 0.99), eps=0.0, maximize=True)
    for step, gradient in enumerate(np.random.default_rng(0).normal(size=(5, 3))):
        optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        theirs.grad = torch.tensor(gradient)
        optimizer.step()
        ours.climb(gradient, 0.1 / (step + 1))
    np.testing.assert_allclose(ours.weights, theirs.detach(), rtol=1e-9)


def test_steps_shrink_in_the_second_half(deep, learner, monkeypatch):
    rates = []
    monkeypatch.setattr(_Adam, "climb", lambda self, gradient, lr: rates.append(lr))
    learner.set_params(max_epochs=8, lr=0.5).fit(deep.X, deep.obsm["spatial"])
    assert rates == [0.5] * 5 + [0.375, 0.25, 0.125]


def test_an_untrained_policy_goes_by_distance(deep, learner):
    xy = deep.obsm["spatial"]
    learner.set_params(max_epochs=0).fit(deep.X, xy)
    assert learner.history_.empty
    lengths = sparse.coo_array(learner.probabilities_)
    distance = np.linalg.norm(xy[lengths.row] - xy[lengths.col], axis=1)
    assert np.corrcoef(distance, lengths.data)[0, 1] < -0.8
    nearest = spatial_graph(xy, n_neighbors=5)
    assert learner.graph_.multiply(nearest).nnz > 0.95 * nearest.nnz


def test_order_and_units_do_not_matter(deep, learner, learnt):
    X, xy = deep.X, deep.obsm["spatial"]
    order = np.random.default_rng(0).permutation(600)
    permuted = clone(learner).fit(X[order], xy[order])
    assert (permuted.graph_ != learnt.graph_[order][:, order]).nnz == 0
    rescaled = clone(learner).fit(4 * X, xy * 0.25)  # powers of 2, which round alike
    assert (rescaled.graph_ != learnt.graph_).nnz == 0
    shifted = clone(learner).fit(X.toarray(), xy + 1024)
    assert shifted.graph_.multiply(learnt.graph_).nnz > 0.98 * learnt.graph_.nnz


def test_probabilities_are_logistic_in_the_features(deep, learnt):
    X, xy = deep.X, deep.obsm["spatial"]
    near, wide = (averaging_operator(spatial_graph(xy, n_neighbors=k)).toarray().astype(float) for k in (6, 18))
    own = learnt.pca_.scores(X, sparse.csr_array(near, dtype=np.float32)).astype(float)
    expression = (near @ own + near @ near @ own) / 2 - learnt.pca_.offset_
    edges = np.array(sparse.triu(sparse.coo_array(wide), k=1).coords)
    features = edge_features(edges, Spots(None, None, xy, None), expression, wide @ wide @ own - learnt.pca_.offset_)
    policy = learnt.policy_
    np.testing.assert_allclose(features.mean(axis=0), policy["mean"], atol=1e-3)
    np.testing.assert_allclose(features.std(axis=0), policy["scale"], atol=1e-3)
    logits = ((features - policy["mean"].to_numpy()) / policy["scale"].to_numpy()) @ policy["weight"].to_numpy()
    expected = expit(logits + learnt.intercept_)
    found = learnt.probabilities_.toarray()[edges[0], edges[1]]
    # Cosines of short vectors magnify what float32 leaves out: at a few edges it shows.
    difference = np.abs(found - expected)
    assert np.quantile(difference, 0.999) < 0.01 and difference.max() < 0.03


def test_agreement_is_above_chance_in_each_slice(learner):
    rng = np.random.default_rng(0)
    batch = np.repeat([0, 1], 150)
    X = rng.poisson(np.array([[90] * 10 + [10] * 10, [10] * 10 + [90] * 10])[batch])  # slices differ, places do not
    learner.set_params(max_epochs=2).fit(X.astype(np.float32), rng.random((300, 2)), batch=batch)
    assert learner.history_["agreement"].abs().max() < 0.25 * rewards.AGREEMENT


def test_random_state_decides(deep, learner, learnt):
    X, xy = deep.X, deep.obsm["spatial"]
    again = clone(learner).fit(X, xy)
    other = clone(learner).set_params(random_state=1).fit(X, xy)
    assert again.history_.drop(columns="dur").equals(learnt.history_.drop(columns="dur"))
    assert (again.graph_ != learnt.graph_).nnz == 0
    assert not np.array_equal(other.policy_["weight"], learnt.policy_["weight"])
    assert other.graph_.multiply(learnt.graph_).nnz > 0.9 * learnt.graph_.nnz


def test_new_spots_are_joined_by_the_same_policy(deep, learnt):
    assert (learnt.build(deep.X, deep.obsm["spatial"]) != learnt.graph_).nnz == 0
    part = np.flatnonzero(deep.obsm["spatial"][:, 0] > np.median(deep.obsm["spatial"][:, 0]))
    graph = learnt.build(deep.X[part], deep.obsm["spatial"][part])
    assert graph.multiply(learnt.graph_[part][:, part]).nnz > 0.85 * graph.nnz
    new = make_spatial_domains(400, n_cell_types=4, depth=1000, effect=3, random_state=0)
    labels, graph = new.obs["label"].to_numpy(), learnt.build(new.X, new.obsm["spatial"])
    nearest = spatial_graph(new.obsm["spatial"], n_neighbors=5)
    assert _homophily(graph, labels)[0] > _homophily(nearest, labels)[0] + 0.02
    assert 3 < graph.nnz / 400 < 9


def test_slices_are_apart(learner):
    adata = make_spatial_domains(450, n_slices=3, depth=1000, random_state=0)
    X, xy, batch = adata.X, adata.obsm["spatial"], adata.obs["batch"]
    learner.fit(X, xy, batch=batch)
    edges = learner.graph_.tocoo()
    codes = batch.cat.codes.to_numpy()
    assert (codes[edges.row] == codes[edges.col]).all() and np.diff(learner.graph_.indptr).min() >= 1
    renamed = clone(learner).fit(X, xy, batch=batch.map({"slice1": "c", "slice2": "a", "slice3": "b"}))
    assert (renamed.graph_ != learner.graph_).nnz == 0
    alone = learner.build(X[codes == 1], xy[codes == 1])
    together = learner.build(X, xy, batch=batch)[codes == 1][:, codes == 1]
    assert (alone != together).nnz == 0


@pytest.mark.parametrize("n_spots", [1, 2, 3, 10])
@pytest.mark.parametrize("places", ["apart", "one", "3d"])
def test_few_spots(learner, n_spots, places):
    rng = np.random.default_rng(0)
    X = rng.poisson(20, (n_spots, 8)).astype(np.float32)
    xy = {"apart": rng.random((n_spots, 2)), "one": np.ones((n_spots, 2)), "3d": rng.random((n_spots, 3))}[places]
    graph = learner.fit(X, xy).graph_
    degree = np.diff(graph.indptr)
    assert graph.shape == (n_spots, n_spots) and (degree >= min(1, n_spots - 1)).all()
    wanted = n_spots * min(6, n_spots - 1)
    assert graph.nnz == wanted or (places == "one" and 0.8 * wanted < graph.nnz < wanted)  # equal edges stay or go
    assert (learner.build(X, xy) != graph).nnz == 0


@pytest.mark.parametrize("flaw", ["constant", "zero", "duplicated", "lonely slice"])
def test_poor_data(deep, learner, flaw):
    X, xy, batch = deep.X[:200], deep.obsm["spatial"][:200], np.zeros(200)
    if flaw == "duplicated":
        X, xy = X[np.arange(200) // 4], xy[np.arange(200) // 4]
    elif flaw == "lonely slice":
        batch[0] = 1
    else:
        X = np.full((200, 5), flaw == "constant", dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = learner.set_params(max_epochs=20).fit(X, xy, batch=batch).graph_
    degree = np.diff(graph.indptr)
    assert (degree[batch == 0] >= 1).all() and graph.nnz >= 5.9 * 199
    assert np.isfinite(learner.policy_["weight"]).all() and np.isfinite(learner.history_["reward"]).all()
    if flaw == "duplicated":
        copies = np.arange(200) // 4
        assert graph.toarray()[copies[:, None] == copies].sum() == 200 * 3
    if flaw == "lonely slice":
        assert degree[0] == 0


@pytest.mark.parametrize(
    ("logits", "state"),
    [
        (np.full(100, 0.3), "as probable as each other"),
        (np.linspace(-9, -4, 100), "hardly any edges"),
        (np.linspace(4, 9, 100), "nearly all"),
    ],
)
def test_a_degenerate_policy_is_named(logits, state):
    with pytest.warns(UserWarning, match=f"degenerate, .*{state}.*lower lr") as caught:
        _warn_degenerate(logits, n_wanted=30)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _warn_degenerate(np.linspace(-4, 3, 100), n_wanted=30)


def test_fit_detects_a_degenerate_policy(learner):
    same = np.ones((15, 5), dtype=np.float32)  # all candidates of each other
    with pytest.warns(UserWarning, match="as probable as each other") as caught:
        learner.fit(same, np.ones((15, 2)))
    assert len(caught) == 1 and np.diff(learner.graph_.indptr).min() >= 1


def test_candidates_are_three_times_the_neighbors(deep):
    by_name = SpatialGraphTransformer(graph="learned", random_state=0).set_params(graph__n_neighbors=8)
    by_name.set_params(graph__max_epochs=1)
    given = SpatialGraphTransformer(
        graph=SpatialGraphLearner(n_candidates=24, n_neighbors=8, max_epochs=1), random_state=0
    )
    learnt = [model.fit(deep).graph_.probabilities_ for model in (by_name, given)]
    assert (learnt[0] != learnt[1]).nnz == 0 and learnt[0].nnz > 24 * deep.n_obs


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"n_neighbors": 7, "n_candidates": 6}, "n_neighbors=7 is more than n_candidates=6.*raise n_candidates"),
        ({"n_neighbors": 0}, "n_neighbors"),
        ({"lr": 0}, "lr"),
        ({"max_epochs": -1}, "max_epochs"),
    ],
)
def test_bad_parameters(learner, parameters, match):
    with pytest.raises(ValueError, match=match):
        learner.set_params(**parameters).fit(np.ones((5, 3)), np.eye(5)[:, :2])


def test_bad_input(deep, learner, learnt):
    X, xy = deep.X, deep.obsm["spatial"]
    with pytest.raises(NotFittedError):
        learner.build(X, xy)
    with pytest.raises(ValueError, match="coordinates=None.*pass"):
        learner.fit(X, None)
    with pytest.raises(ValueError, match="Negative values"):
        learner.fit(-X, xy)
    with pytest.raises(ValueError, match="600 rows|coordinates have 5 rows"):
        learner.fit(X, xy[:5])
    with pytest.raises(ValueError, match="features"):
        learnt.build(X[:, :7], xy)
    normal = clone(learner).set_params(normalize=False, max_epochs=5)
    assert normal.fit(np.random.default_rng(0).normal(size=(60, 9)), xy[:60]).graph_.nnz == 6 * 60


def test_parameters_stay_as_they_are_given(learner, learnt):
    assert learnt.get_params() == learner.get_params() == clone(learnt).get_params()
    assert not hasattr(clone(learnt), "graph_")


def test_memory_is_linear(learner):
    n_spots = 4000
    rng = np.random.default_rng(0)
    X = sparse.random_array((n_spots, 60), density=0.2, rng=rng, dtype=np.float32, format="csr")
    tracemalloc.start()
    try:
        learner.set_params(max_epochs=2, normalize=False).fit(X, rng.random((n_spots, 2)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < n_spots**2 * np.dtype(np.float32).itemsize / 2
