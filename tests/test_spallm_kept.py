"""SpaLLMFusion whose embeddings are kept, and searched by scikit-learn."""

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV, GroupKFold, ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from spallm_fits import ari_of, lexical, quick_fusion

from skst import SpatialGraphTransformer
from skst.model_selection import NoSplit, labels_scorer, predict_scorer

# Cache of the embeddings


def _hits(fitted):
    return fitted.from_cache_["spatial"], fitted.from_cache_["text"]


def test_memory_keeps_the_embeddings(tissue, tmp_path):
    fusion = quick_fusion(memory=str(tmp_path / "memory"), random_state=0)
    plain = quick_fusion().fit(tissue)
    assert _hits(plain) == (False, False)
    first = clone(fusion).fit(tissue)
    assert _hits(first) == (False, False)
    np.testing.assert_array_equal(first.labels_, plain.labels_)
    again = clone(fusion).fit(tissue)
    assert _hits(again) == (True, True)
    np.testing.assert_array_equal(again.embedding_, first.embedding_)
    np.testing.assert_array_equal(again.predict(tissue), plain.labels_)
    for weights in ParameterGrid({"alpha": [0.5, 2], "beta": [0, 1.5]}):
        fitted = clone(fusion).set_params(**weights).fit(tissue)
        assert _hits(fitted) == (True, True)
        np.testing.assert_array_equal(fitted.embedding_, quick_fusion(**weights).fit(tissue).embedding_)
    for parameters in ({"align": "none"}, {"strategy": "concat"}, {"n_clusters": 3}, {"clusterer": "leiden"}):
        assert _hits(clone(fusion).set_params(**parameters).fit(tissue)) == (True, True)
    assert _hits(clone(fusion).set_params(text__weighting="abundance").fit(tissue)) == (True, False)
    assert _hits(clone(fusion).set_params(spatial=SpatialGraphTransformer(n_components=7)).fit(tissue)) == (False, True)


def test_k_g_changes_the_text_alone(tissue, tmp_path):
    fusion = quick_fusion(memory=joblib.Memory(tmp_path, verbose=0), text=lexical(mode="sentence"))
    clone(fusion).fit(tissue)
    other = clone(fusion).set_params(text__k_g=7).fit(tissue)
    assert _hits(other) == (True, False)
    assert _hits(clone(other).fit(tissue)) == (True, True)
    np.testing.assert_array_equal(other.labels_, quick_fusion(text=lexical(mode="sentence", k_g=7)).fit_predict(tissue))


def test_other_data_are_not_taken_from_memory(tissue, tmp_path):
    fusion = quick_fusion(memory=str(tmp_path / "memory"))
    clone(fusion).fit(tissue)
    assert _hits(clone(fusion).fit(tissue.copy())) == (True, True)
    counts = tissue.copy()
    counts.X = counts.X.copy()
    counts.X.data[0] += 1
    renamed = tissue.copy()
    renamed.var_names = [*tissue.var_names[1:], tissue.var_names[0]]
    fewer = tissue[:-1]
    for other in (counts, renamed, fewer):
        assert _hits(clone(fusion).fit(other)) == (False, False)
    moved = tissue.copy()
    moved.obsm["spatial"] = moved.obsm["spatial"][::-1].copy()
    assert not clone(fusion).fit(moved).from_cache_["spatial"]
    halves = np.repeat(["a", "b"], 200)
    assert not clone(fusion).fit(tissue, batch=halves).from_cache_["spatial"]
    layered = tissue.copy()
    layered.layers["half"] = layered.X[::-1].copy()
    assert _hits(clone(fusion).set_params(layer="half").fit(layered)) == (False, False)
    own_layer = clone(fusion).set_params(spatial=SpatialGraphTransformer("views", layer="half"))
    assert _hits(clone(own_layer).fit(layered)) == (True, True)
    layered.layers["half"] = layered.X[:, ::-1].copy()
    assert _hits(clone(own_layer).fit(layered)) == (False, True)


# Searches


GRID = {"alpha": [1.0], "beta": [0.0, 0.5], "text__k_g": [5, 10]}


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_over_one_slice(tissue, tmp_path, n_jobs):
    fusion = quick_fusion(memory=str(tmp_path / "memory"), text=lexical(mode="sentence"))
    search = GridSearchCV(fusion, GRID, cv=NoSplit(), scoring=labels_scorer("ari"), n_jobs=n_jobs, error_score="raise")
    truth = tissue.obs["label"].to_numpy(dtype=object)
    truth[:30] = None
    search.fit(tissue, truth)
    for parameters, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        labels = clone(fusion).set_params(memory=None, **parameters).fit_predict(tissue)
        assert score == pytest.approx(adjusted_rand_score(truth[30:], labels[30:]))
    assert search.best_score_ > 0.6
    # One spatial embedding, one text embedding for each k_g.
    stored = len(list((tmp_path / "memory").rglob("output.pkl")))
    if n_jobs is None:
        assert _hits(search.best_estimator_) == (True, True) and stored == 3
    else:  # processes that begin in one folder together may undo each other's entries, which costs time alone
        assert any(_hits(search.best_estimator_)) and 2 <= stored <= 6


@pytest.mark.parametrize("scoring", [predict_scorer("ari"), "adjusted_rand_score"])
def test_grid_over_slices(slices, scoring):
    search = GridSearchCV(
        quick_fusion(n_clusters=3, batch_key="batch"),
        {"beta": [0.0, 0.5], "text__k_g": [5]},
        cv=GroupKFold(3),
        scoring=scoring,
        error_score="raise",
    )
    search.fit(slices, slices.obs["label"], groups=slices.obs["batch"])
    assert search.best_score_ > 0.6
    assert search.predict(slices).shape == (450,)


def test_grid_over_a_pipeline(slices):
    pipeline = Pipeline([("same", FunctionTransformer()), ("domains", quick_fusion(n_clusters=3, batch_key="batch"))])
    grid = {"domains__alpha": [1.0], "domains__beta": [0.0, 0.5], "domains__text__k_g": [5, 10]}
    options = {"error_score": "raise", "scoring": labels_scorer("ari"), "cv": NoSplit()}
    search = GridSearchCV(pipeline, grid, **options).fit(slices, slices.obs["label"])
    assert search.best_score_ == ari_of(search.best_estimator_[-1], slices) > 0.6
    held_out = options | {"scoring": "adjusted_rand_score", "cv": GroupKFold(3), "n_jobs": 2}
    search = GridSearchCV(pipeline, {"domains__beta": [0.0, 0.5]}, **held_out)
    search.fit(slices, slices.obs["label"], groups=slices.obs["batch"])
    assert search.best_score_ > 0.6
