"""Graphs of STLLMClusterer: slices that do not touch, and graphs that are learnt."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from stllm_fits import quick_stllm
from tissues import ari

from skst import SemSTClusterer, SpatialGraphTransformer
from skst.graph import SpatialGraphLearner, SpatialNeighbors
from skst.settings import GraphNetwork

# Slices


def test_slices_do_not_touch(slices):
    model = quick_stllm(batch_key="batch", graph="learned")
    apart = clone(model).fit(slices)
    assert ari(apart, slices) > 0.6
    np.testing.assert_array_equal(apart.predict(slices), apart.labels_)
    names, (i, j) = slices.obs["batch"].to_numpy(), apart.graph_.graph_.nonzero()
    assert len(i) > 0 and (names[i] == names[j]).all()
    slices.obsm["spatial"] = slices.obsm["spatial"].copy()
    for name in slices.obs["batch"].unique():  # the slices lie on each other
        rows = (slices.obs["batch"] == name).to_numpy()
        slices.obsm["spatial"][rows] -= slices.obsm["spatial"][rows].min(axis=0)
    together = clone(model).fit(slices)
    assert adjusted_rand_score(together.labels_, apart.labels_) > 0.97


def test_each_slice_is_told_by_its_own_place(slices):
    depth = pd.Series(quick_stllm(batch_key="batch", narration__levels=()).fit(slices).narrator_.depth_)
    by_slice = depth.groupby(slices.obs["batch"].to_numpy()).agg(["min", "max"])
    assert by_slice.to_numpy().tolist() == [[0, 1]] * 3


@pytest.mark.parametrize("graph", ["learned", "knn"])
def test_domains_carry_over_to_an_unseen_slice(slices, graph):
    seen = (slices.obs["batch"] != "slice3").to_numpy()
    fitted = quick_stllm(batch_key="batch", graph=graph).fit(slices[seen])
    unseen = slices[~seen].copy()
    predicted = fitted.predict(unseen)
    assert adjusted_rand_score(unseen.obs["label"], predicted) > 0.6
    assert fitted.transform(unseen).shape == (150, 60)
    np.testing.assert_array_equal(fitted.predict(unseen[:, ::-1]), predicted)


@pytest.mark.parametrize("graph", ["learned", SpatialGraphLearner(n_candidates=10, max_epochs=5)])
def test_a_learnt_graph_serves_other_estimators(layers, graph):
    network = GraphNetwork(max_epochs=2)
    semst = SemSTClusterer(3, graph=graph, fusion=None, network=network, clusterer="kmeans", random_state=0)
    spatial = SpatialGraphTransformer(graph=graph, random_state=0)
    fewer = clone(spatial).set_params(graph__n_neighbors=5)
    for model, n_neighbors in ((spatial, 6), (fewer, 5), (semst, 6)):
        fitted = model.fit(layers)
        learner = fitted.graph_
        assert isinstance(learner, SpatialGraphLearner) and learner.n_neighbors == n_neighbors
        assert learner.graph_.nnz == 240 * learner.n_neighbors and not hasattr(graph, "graph_")
        np.testing.assert_allclose(fitted.transform(layers), fitted.embedding_, atol=1e-4)
        again = clone(model).fit(layers)
        np.testing.assert_array_equal(again.graph_.graph_.toarray(), learner.graph_.toarray())
    plain = SpatialGraphTransformer(graph=SpatialNeighbors(n_neighbors=5), random_state=0).fit(layers)
    assert np.abs(plain.embedding_ - fewer.embedding_).max() > 1e-3


def test_what_the_learner_did(layers):
    fitted = quick_stllm(graph="learned").fit(layers)
    assert fitted.history_ is fitted.graph_.history_ and len(fitted.history_) == 100
    own = SpatialGraphLearner(max_epochs=7, random_state=3)
    other = quick_stllm(graph=own).fit(layers)
    assert len(other.history_) == 7 and other.graph_.random_state == 3 and not hasattr(own, "graph_")
