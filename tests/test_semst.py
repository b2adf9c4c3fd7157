"""SemSTClusterer: domains, places and slices, and its place in scikit-learn."""

import pickle

import numpy as np
import pytest
import torch
from scipy import sparse
from semst_fits import lexical, quick_semst
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tissues import ari

from skst import SemSTClusterer
from skst.datasets import fetch_starmap, make_spatial_domains
from skst.model_selection import NoSplit, labels_scorer
from skst.partition import ConsensusMixture

FUSIONS = ("fsm", "concat", "add", "cross_attention", None)


def _same_but_for_ties(embedding, expected):
    """Averaged expression is the same; a tie among expression neighbours can move a few spots of the first network.

    The axes of the second one, which starts at random, have arbitrary signs.
    """
    np.testing.assert_allclose(embedding[:, :20], expected[:, :20], atol=1e-4)
    assert np.mean(np.abs(embedding[:, 20:40] - expected[:, 20:40]) > 5e-3) < 0.01


# Domains


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_finds_domains_and_predicts_what_it_fitted(tissue, fusion):
    fitted = quick_semst(fusion=fusion, network__max_epochs=15).fit(tissue)
    assert ari(fitted, tissue) > 0.75
    assert fitted.labels_.shape == (400,) and set(fitted.labels_) == set(range(4)) and fitted.n_clusters_ == 4
    assert fitted.embedding_.shape == (400, 60) and fitted.embedding_.dtype == np.float32
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)
    np.testing.assert_allclose(fitted.transform(tissue), fitted.embedding_, atol=1e-4)
    assert (fitted.text_ is None) == (fusion is None) and (fitted.modulation_ is None) == (fusion != "fsm")
    for view in np.split(fitted.embedding_, 3, axis=1):
        assert view.var(axis=0).sum() == pytest.approx(1, rel=1e-3)


def test_the_default_consensus_takes_views_apart(tissue):
    fitted = quick_semst(clusterer="mixture", fusion=None).fit(tissue)
    assert fitted.clusterer_.n_views == 3 and ari(fitted, tissue) > 0.75
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)
    assert quick_semst(clusterer="mixture", fusion=None, network__start="random").fit(tissue).clusterer_.n_views == 2


def test_a_seed_determines_everything(tissue):
    model = quick_semst(text=lexical(control="gaussian"), network__start="random")
    first, again = clone(model).fit(tissue), clone(model).fit(tissue)
    for name in ("embedding_", "labels_", "denoised_"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    np.testing.assert_array_equal(first.modulation_, again.modulation_)
    steps = ["network", "epoch", "train_loss", "zinb", "text"]
    assert first.history_[steps].equals(again.history_[steps])
    other = clone(model).set_params(random_state=1).fit(tissue)
    assert not np.allclose(other.embedding_, first.embedding_, atol=1e-2)


def test_starts(tissue):
    fitted = {start: quick_semst(network__start=start).fit(tissue) for start in ("averaged", "random", "both")}
    assert fitted["random"].embedding_.shape == (400, 40)
    columns = [fitted[start].embedding_ for start in ("averaged", "both")]
    assert columns[0].shape == columns[1].shape == (400, 60)
    # The first view is averaged expression, and the first network begins there; the second does not.
    np.testing.assert_array_equal(columns[0][:, :40], columns[1][:, :40])
    near, far = (np.abs(part[:, :20] - part[:, 40:]).max() for part in columns)
    assert near < 0.2 < far
    assert not np.array_equal(columns[0][:, :20], columns[0][:, 20:40])


def test_order_of_spots_does_not_matter(tissue, semst):
    rows = np.random.default_rng(0).permutation(tissue.n_obs)
    shuffled = quick_semst().fit(tissue[rows])
    assert adjusted_rand_score(shuffled.labels_, semst.labels_[rows]) > 0.97
    _same_but_for_ties(shuffled.embedding_, semst.embedding_[rows])
    np.testing.assert_array_equal(semst.predict(tissue[rows]), semst.labels_[rows])


def test_order_of_genes_does_not_matter(tissue, semst):
    genes = np.random.default_rng(0).permutation(tissue.n_vars)
    np.testing.assert_array_equal(semst.predict(tissue[:, genes]), semst.labels_)
    shuffled = quick_semst().fit(tissue[:, genes])
    assert adjusted_rand_score(shuffled.labels_, semst.labels_) > 0.9
    # A random start draws a decoder for the genes as they come; averaged expression does not.
    _same_but_for_ties(shuffled.embedding_, semst.embedding_)
    names = [
        np.asarray(tissue.var_names)[part.denoised_genes_]
        for part in (semst, quick_semst(network__n_top_genes=40).fit(tissue))
    ]
    assert len(names[0]) == 120 and len(names[1]) == 40
    assert (np.diff(semst.denoised_genes_) > 0).all()


def test_library_sizes_do_not_matter_much(tissue):
    model = quick_semst(network__max_epochs=20)
    labels = clone(model).fit_predict(tissue)
    factors = np.random.default_rng(0).integers(1, 6, tissue.n_obs)
    tissue.X = sparse.diags_array(factors.astype(np.float32)) @ tissue.X
    assert adjusted_rand_score(clone(model).fit_predict(tissue), labels) > 0.85


def test_containers(tissue, semst):
    places = {"coordinates": tissue.obsm["spatial"]}
    named = quick_semst(gene_names=tissue.var_names)
    for model, X in ((named, tissue.X), (named, tissue.X.toarray()), (quick_semst(), tissue.to_df())):
        fitted = clone(model).fit(X, **places)
        assert adjusted_rand_score(fitted.labels_, semst.labels_) > 0.97
        _same_but_for_ties(fitted.embedding_, semst.embedding_)
        np.testing.assert_array_equal(fitted.predict(X, **places), fitted.labels_)


def test_the_number_of_domains_is_estimated(tissue):
    fitted = quick_semst(n_clusters=None, fusion=None).fit(tissue)
    curve = fitted.n_clusters_curve_
    assert curve.loc[curve["chosen"], "n_clusters"].tolist() == [fitted.n_clusters_]
    assert set(fitted.labels_) <= set(range(fitted.n_clusters_)) and 2 <= fitted.n_clusters_ <= 8
    assert not hasattr(fitted.set_params(n_clusters=4).fit(tissue), "n_clusters_curve_")


def test_the_settings_of_the_paper(tissue):
    model = SemSTClusterer.paper(4, text=lexical(), network__max_epochs=15, random_state=0)
    published = {
        "network__n_networks": 1,
        "network__start": "random",
        "network__n_components": 64,
        "network__zero_inflation": True,
        "network__lr": 5e-4,
        "network__patience": None,
        "graph__kind": "knn",
        "graph__n_neighbors": 15,
        "losses__text": 0.0,
        "losses__balanced": False,
        "clusterer": "kmeans",
        "n_vote_neighbors": 0,
    }
    assert published.items() <= model.get_params().items()
    assert SemSTClusterer.paper().network.max_epochs == 200 and model.network.max_epochs == 15
    assert model.n_expression_neighbors == 15 and model.fusion == "fsm" and model.n_clusters == 4
    fitted = model.fit(tissue)
    assert fitted.embedding_.shape == (400, 64) and len(fitted.history_) == 15
    assert ari(fitted, tissue) > 0.3
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)


# Places


def test_without_coordinates_expression_is_used_alone(bare_home):
    deep = make_spatial_domains(300, n_genes=120, n_domains=3, depth=1000, random_state=0)
    frame = deep.to_df()
    with pytest.warns(UserWarning, match="X has no coordinates"):
        fitted = quick_semst(n_clusters=3, clusterer="mixture").fit(frame)
    assert ari(fitted, deep) > 0.6
    assert "spatial" not in fitted.history_ and "correlation" in fitted.history_
    with pytest.warns(UserWarning, match="X has no coordinates"):
        np.testing.assert_array_equal(fitted.predict(frame), fitted.labels_)
    with pytest.raises(ValueError, match="X has no coordinates"):
        quick_semst(on_missing="error").fit(frame)


@pytest.mark.parametrize("batch_size", ["auto", 8])
def test_edges_do_not_cross_slices(slices, batch_size):
    model = quick_semst(
        n_clusters=3, batch_key="batch", network__batch_size=batch_size, network__max_epochs=3, text=lexical(k_g=5)
    )
    apart = clone(model).fit(slices)
    slices.obsm["spatial"] = slices.obsm["spatial"].copy()
    for name in slices.obs["batch"].unique():  # the slices lie on each other
        rows = (slices.obs["batch"] == name).to_numpy()
        slices.obsm["spatial"][rows] -= slices.obsm["spatial"][rows].min(axis=0)
    together = clone(model).fit(slices)
    _same_but_for_ties(together.embedding_, apart.embedding_)
    assert adjusted_rand_score(together.labels_, apart.labels_) > 0.97
    np.testing.assert_array_equal(together.predict(slices), together.labels_)
    blurred = clone(model).set_params(batch_key=None).fit(slices)
    assert not np.allclose(blurred.embedding_, apart.embedding_, atol=0.1)


def test_domains_carry_over_to_an_unseen_slice(slices):
    seen = (slices.obs["batch"] != "slice3").to_numpy()
    fitted = quick_semst(n_clusters=3, batch_key="batch").fit(slices[seen])
    unseen = slices[~seen].copy()
    predicted = fitted.predict(unseen)
    assert adjusted_rand_score(unseen.obs["label"], predicted) > 0.7
    assert fitted.transform(unseen).shape == (150, 60)
    np.testing.assert_array_equal(fitted.predict(unseen[:, ::-1]), predicted)
    places = {"coordinates": unseen.obsm["spatial"], "batch": ["new"] * 150}
    np.testing.assert_array_equal(fitted.predict(unseen, **places), predicted)


# Part of scikit-learn


def test_pickle(tissue, semst):
    dumped = pickle.dumps(semst)
    again = pickle.loads(dumped)
    np.testing.assert_array_equal(again.predict(tissue), semst.labels_)
    np.testing.assert_array_equal(again.denoised_, semst.denoised_)
    # Twice the spots with the same networks: more embedding, modulation and labels, but no counts and no graphs.
    n_columns = semst.embedding_.shape[1] + 2 * semst.modulation_.alpha.shape[1]
    half = quick_semst().fit(tissue[:200])
    assert len(dumped) - len(pickle.dumps(half)) < 200 * (4 * n_columns + 8) + 4_000


def test_clone_keeps_parameters_alone(tissue, epoch_watch):
    watch = epoch_watch()
    model = quick_semst(network__callbacks=[watch], text=lexical(k_g=7))
    fitted = clone(model).fit(tissue)
    assert not hasattr(clone(fitted), "labels_") and clone(fitted).text.k_g == 7
    parameters = model.get_params()
    model.fit(tissue)
    assert model.get_params().keys() == parameters.keys()
    assert all(model.get_params()[name] is value for name, value in parameters.items())
    np.testing.assert_array_equal(clone(fitted).fit_predict(tissue), fitted.labels_)


def test_grid_search(tissue):
    grid = {"losses__text": [0.1, 1.0], "text__k_g": [5, 20]}
    truth = tissue.obs["label"].to_numpy(dtype=object)
    truth[:30] = None
    search = GridSearchCV(quick_semst(), grid, cv=NoSplit(), scoring=labels_scorer("ari"), error_score="raise")
    search.fit(tissue, truth)
    results = search.cv_results_
    assert results["params"][2] == {"losses__text": 1.0, "text__k_g": 5}
    labels = quick_semst(text=lexical(k_g=5), losses__text=1.0).fit_predict(tissue)
    assert results["mean_test_score"][2] == pytest.approx(adjusted_rand_score(truth[30:], labels[30:]))
    assert len(results["params"]) == 4 and search.best_score_ > 0.7


def test_in_a_pipeline(tissue, semst):
    pipeline = make_pipeline(FunctionTransformer(), quick_semst())
    np.testing.assert_array_equal(pipeline.fit_predict(tissue), semst.labels_)
    np.testing.assert_array_equal(pipeline.predict(tissue), pipeline[-1].labels_)


def test_set_output(tissue):
    fitted = quick_semst().set_output(transform="pandas").fit(tissue)
    out = fitted.transform(tissue)
    assert out.columns.tolist() == [f"semstclusterer{i}" for i in range(60)]
    np.testing.assert_allclose(out, fitted.embedding_, atol=1e-4)


def test_the_state_of_torch_is_left_as_it_was(tissue):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = quick_semst(fusion=None).fit(tissue)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    np.testing.assert_array_equal(quick_semst(fusion=None).fit(tissue).embedding_, first.embedding_)


# Real tissue


@pytest.fixture
def starmap():
    try:
        return fetch_starmap(download_if_missing=False)
    except OSError:
        pytest.skip("STARmap is not in the data home")


def test_real_tissue(starmap):
    few = ConsensusMixture(n_views=3, n_init=3, n_keep=1)  # a third of the starts of the default
    fitted = SemSTClusterer(7, fusion=None, clusterer=few, random_state=0).fit(starmap)
    assert ari(fitted, starmap) > 0.7
