"""What the graph learner is given: few spots, poor data, policies that degenerate, and what it refuses."""

import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skst import SpatialGraphTransformer
from skst.graph.learner import SpatialGraphLearner, _warn_degenerate


@pytest.mark.parametrize("n_spots", [1, 2, 3, 10])
@pytest.mark.parametrize("places", ["apart", "one", "3d"])
def test_few_spots(learner, n_spots, places):
    rng = np.random.default_rng(0)
    X = rng.poisson(20, (n_spots, 8)).astype(np.float32)
    xy = {"apart": rng.random((n_spots, 2)), "one": np.ones((n_spots, 2)), "3d": rng.random((n_spots, 3))}[places]
    graph = learner.set_params(max_epochs=20).fit(X, xy).graph_
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
