"""From the graph that an estimator asks for to the operator that averages over it."""

import numpy as np
import pytest

from skst.graph import SpatialGraphLearner, SpatialNeighbors
from skst.graph.operators import fit_operator, operator_of
from skst.inputs.spots import Spots

RNG = np.random.default_rng(0)
SPOTS = Spots(RNG.poisson(3.0, (80, 12)).astype(np.float32), None, RNG.uniform(size=(80, 2)), None)
ASKED = {"spatial_key": "spatial", "strict": False}


def test_what_is_fitted_is_a_copy_that_gives_the_same_operator_again():
    given = SpatialNeighbors(n_neighbors=3)
    operator, graph = fit_operator(given, SPOTS, np.random.RandomState(0), **ASKED)
    assert graph is not given and not hasattr(given, "graph_")
    np.testing.assert_allclose(operator.sum(axis=1), 1, rtol=1e-6)
    assert (operator_of(graph, SPOTS, **ASKED) != operator).nnz == 0


def test_a_seed_of_its_own_is_kept_and_none_is_drawn():
    def seeds_of(own):
        learner = SpatialGraphLearner(max_epochs=1, random_state=own)
        fitted = [fit_operator(learner, SPOTS, np.random.RandomState(seed), **ASKED)[1] for seed in (0, 1)]
        assert learner.random_state == own
        return [graph.random_state for graph in fitted]

    first, second = seeds_of(None)
    assert seeds_of(7) == [7, 7] and None not in (first, second) and first != second


def test_a_learnt_graph_given_by_name_sees_what_its_estimator_sees():
    for normalize in (True, False):
        graph = fit_operator("learned", SPOTS, np.random.RandomState(0), normalize=normalize, **ASKED)[1]
        assert graph.normalize is normalize


def test_without_places_each_spot_is_alone():
    alone = SPOTS._replace(coordinates=None)
    with pytest.warns(UserWarning, match=r"X has no coordinates.*obsm\['spatial'\]"):
        operator, graph = fit_operator("learned", alone, np.random.RandomState(0), **ASKED)
    assert graph is None and (operator.toarray() == np.eye(80)).all()
    with pytest.raises(ValueError, match="the graph was to be learnt in fit, which had none"):
        operator_of(graph, SPOTS, **ASKED)
    with pytest.raises(ValueError, match="X has no coordinates"):
        fit_operator("knn", alone, np.random.RandomState(0), spatial_key="spatial", strict=True)
