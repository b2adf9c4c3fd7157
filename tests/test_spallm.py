"""SpaLLMFusion: two views, fused and partitioned; searched, cached, and on tissue that was not fitted."""

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, GroupKFold, ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skst import GeneTextEncoder, SpaLLMFusion, SpatialGraphTransformer
from skst.datasets import fetch_osmfish, mask_counts
from skst.embedding.fusion import ViewFusion
from skst.model_selection import NoSplit, labels_scorer, predict_scorer
from skst.partition import ConsensusMixture

STRATEGIES = ("expression", "functional", "concat", "weighted")
# The default mixture with a third of its starts, one by one on the three views of all strategies but one.
FEW = ConsensusMixture(n_views=3, n_init=3, n_keep=1)


def _text(**parameters):
    return GeneTextEncoder().set_params(model="lexical", **parameters)


def _fusion(**parameters):
    """Quick to fit: k-means in place of the mixture."""
    defaults = {"text": _text(), "n_clusters": 4, "clusterer": "kmeans", "random_state": 0}
    return SpaLLMFusion(**(defaults | parameters))


def _ari(fitted, adata):
    return adjusted_rand_score(adata.obs["label"], fitted.labels_)


def _unit(values):
    values = np.asarray(values, dtype=float) - np.mean(values, axis=0)
    return values / np.sqrt(values.var(axis=0).sum())


# Strategies


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_finds_domains_and_predicts_what_it_fitted(tissue, strategy):
    few = clone(FEW).set_params(n_views=1 if strategy == "functional" else 3)
    fitted = _fusion(strategy=strategy, clusterer=few).fit(tissue)
    assert _ari(fitted, tissue) > (0.3 if strategy == "functional" else 0.7)
    assert fitted.labels_.shape == (400,) and fitted.n_clusters_ == 4
    assert fitted.embedding_.dtype == np.float32
    assert (fitted.text_ is None) == (strategy == "expression")
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)
    np.testing.assert_allclose(fitted.transform(tissue), fitted.embedding_, atol=1e-3)
    np.testing.assert_array_equal(clone(fitted).fit_predict(tissue), fitted.labels_)


def test_fused_embeddings_equal_their_formulas(tissue):
    weights = {"alpha": 0.7, "beta": 0.4}
    spatial = SpatialGraphTransformer()
    fitted = {name: _fusion(spatial=spatial, strategy=name, **weights).fit(tissue) for name in STRATEGIES}
    structure = _unit(fitted["weighted"].spatial_.embedding_)
    columns = structure.shape[1]
    meaning = fitted["weighted"].spatial_.average(
        fitted["weighted"].text_.transform(tissue), coordinates=tissue.obsm["spatial"]
    )
    meaning = _unit(PCA(columns, svd_solver="full").fit_transform(meaning))
    left, _, right = np.linalg.svd(meaning.T @ structure)
    close = {"atol": 5e-3 * np.abs(structure).max()}
    np.testing.assert_allclose(fitted["expression"].embedding_, 0.7 * structure, **close)
    weighted = 0.7 * structure + 0.4 * meaning @ (left @ right)
    np.testing.assert_allclose(fitted["weighted"].embedding_, weighted, **close)
    functional, concat = fitted["functional"].embedding_, fitted["concat"].embedding_
    signs = np.sign((functional * meaning).sum(axis=0))
    np.testing.assert_allclose(functional, meaning * signs, **close)
    np.testing.assert_allclose(concat[:, :columns], 0.7 * structure, **close)
    np.testing.assert_allclose(concat[:, columns:], 0.4 * functional, **close)


@pytest.mark.parametrize("strategy", ["expression", "concat", "weighted"])
def test_each_view_is_fused_as_if_it_were_alone(tissue, strategy):
    fitted = _fusion(strategy=strategy, beta=0.4).fit(tissue)
    assert fitted.spatial_.n_views_ == 3
    views = np.split(fitted.embedding_, 3, axis=1)
    own = np.split(fitted.spatial_.embedding_, 3, axis=1)
    alone = _fusion(spatial=SpatialGraphTransformer(), strategy=strategy, beta=0.4).fit(tissue)
    np.testing.assert_allclose(views[0], alone.embedding_, atol=1e-4)
    for view, structure in zip(views, own, strict=True):
        text = view[:, -structure.shape[1] :] - (strategy != "concat") * structure
        if strategy == "concat":
            np.testing.assert_allclose(view[:, : structure.shape[1]], structure, atol=1e-4)
        assert np.sqrt(text.var(axis=0).sum()) == pytest.approx(0.0 if strategy == "expression" else 0.4, abs=1e-3)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_scales_and_centres_of_views_do_not_matter(strategy):
    rng = np.random.default_rng(0)
    structure, meaning = rng.normal(size=(50, 4)), rng.normal(size=(50, 9)).astype(np.float32)
    expected = ViewFusion(strategy).fit_fuse(structure, meaning)
    fusion = ViewFusion(strategy)
    np.testing.assert_allclose(fusion.fit_fuse(70 * structure - 3, 20 * meaning + 1), expected, atol=1e-4)
    np.testing.assert_allclose(fusion.fuse(70 * structure[:5] - 3, 20 * meaning[:5] + 1), expected[:5], atol=1e-4)
    assert fusion.fit_fuse(structure, meaning.astype(np.float64)).dtype == expected.dtype == np.float32


def test_alignments(tissue):
    fitted = {
        align: _fusion(spatial=SpatialGraphTransformer(), align=align, alpha=0, beta=1).fit(tissue)
        for align in ("procrustes", "regression", "none")
    }
    structure = _unit(fitted["none"].spatial_.embedding_)
    meaning = {align: model.embedding_.astype(float) for align, model in fitted.items()}
    gap = {align: np.linalg.norm(values - structure) for align, values in meaning.items()}
    assert gap["regression"] < gap["procrustes"] < gap["none"]
    # A rotation keeps distances between spots, a regression does not.
    gram = {align: values @ values.T for align, values in meaning.items()}
    np.testing.assert_allclose(gram["procrustes"], gram["none"], atol=1e-3 * gram["none"].max())
    assert not np.allclose(gram["regression"], gram["none"], atol=1e-2 * gram["none"].max())
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))[0]
    best = min(np.linalg.norm(meaning["none"] @ r - structure) for r in (np.eye(20), rotation, rotation.T))
    assert gap["procrustes"] < best
    np.testing.assert_allclose(fitted["regression"].transform(tissue), meaning["regression"], atol=1e-3)


def test_weights_count_in_proportion(tissue):
    labels = _fusion(alpha=1.0, beta=0.5).fit_predict(tissue)
    scaled = _fusion(alpha=20.0, beta=10.0).fit_predict(tissue)
    assert adjusted_rand_score(labels, scaled) > 0.99
    without_text = _fusion(beta=0).fit(tissue)
    expression = _fusion(strategy="expression").fit(tissue)
    np.testing.assert_allclose(without_text.embedding_, expression.embedding_, atol=1e-5)
    assert adjusted_rand_score(without_text.labels_, expression.labels_) > 0.99
    only_text = _fusion(alpha=0, beta=2, align="none").fit_predict(tissue)
    assert adjusted_rand_score(only_text, _fusion(strategy="functional").fit_predict(tissue)) > 0.99


def test_text_is_read(tissue):
    own = _fusion(strategy="functional").fit(tissue)
    other = _fusion(strategy="functional", text=_text(control="permuted", random_state=0)).fit(tissue)
    assert not np.allclose(own.embedding_, other.embedding_, atol=1e-2)


# Order and containers


def test_order_of_genes_and_spots_does_not_matter(tissue):
    labels = _fusion(clusterer=FEW).fit_predict(tissue)
    rng = np.random.default_rng(0)
    genes, spots = rng.permutation(tissue.n_vars), rng.permutation(tissue.n_obs)
    assert adjusted_rand_score(labels, _fusion(clusterer=FEW).fit_predict(tissue[:, genes])) > 0.97
    kmeans = _fusion().fit(tissue)
    np.testing.assert_array_equal(kmeans.predict(tissue[spots, genes]), kmeans.labels_[spots])
    assert adjusted_rand_score(kmeans.labels_[spots], _fusion().fit_predict(tissue[spots])) > 0.97


def test_arrays_with_coordinates_give_what_an_anndata_gives(tissue):
    expected = _fusion().fit(tissue)
    places = {"coordinates": tissue.obsm["spatial"]}
    named = _fusion(gene_names=tissue.var_names)
    for model, X in ((named, tissue.X), (named, tissue.X.toarray()), (_fusion(), tissue.to_df())):
        fitted = clone(model).fit(X, **places)
        assert adjusted_rand_score(fitted.labels_, expected.labels_) > 0.99
        np.testing.assert_array_equal(fitted.predict(X, **places), fitted.labels_)
        np.testing.assert_allclose(fitted.transform(X, **places), fitted.embedding_, atol=1e-3)


def test_keys_of_an_anndata(slices):
    expected = _fusion(n_clusters=3, batch_key="batch").fit(slices)
    renamed = slices.copy()
    renamed.layers["counts"], renamed.X = renamed.X, renamed.X * 0
    renamed.obsm["places"] = renamed.obsm.pop("spatial")
    renamed.obs["slice"] = renamed.obs.pop("batch")
    model = _fusion(n_clusters=3, layer="counts", spatial_key="places", batch_key="slice").fit(renamed)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(model.predict(renamed), expected.labels_)


@pytest.mark.filterwarnings("error:X has feature names")
def test_sub_transformers_may_give_frames(tissue):
    expected = _fusion().fit(tissue)
    frames = _fusion(
        spatial=SpatialGraphTransformer("views").set_output(transform="pandas"),
        text=_text().set_output(transform="pandas"),
    ).fit(tissue)
    np.testing.assert_array_equal(frames.labels_, expected.labels_)
    np.testing.assert_array_equal(frames.predict(tissue), expected.labels_)
    assert type(frames.embedding_) is type(frames.transform(tissue)) is np.ndarray


def test_other_parts_can_be_given(tissue):
    spatial = Pipeline([("graph", SpatialGraphTransformer()), ("pca", PCA(5))])
    fitted = _fusion(spatial=spatial, clusterer=GaussianMixture(n_init=2), n_vote_neighbors=0).fit(tissue)
    assert fitted.embedding_.shape == (400, 5) and fitted.clusterer_.n_components == 4
    assert _ari(fitted, tissue) > 0.6
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)
    assert not hasattr(spatial[0], "embedding_")  # a copy is fitted


def test_seeds_of_parts(tissue):
    first = _fusion(text=_text(control="gaussian"), random_state=0).fit(tissue)
    again = _fusion(text=_text(control="gaussian"), random_state=0).fit(tissue)
    other = _fusion(text=_text(control="gaussian"), random_state=1).fit(tissue)
    np.testing.assert_array_equal(first.embedding_, again.embedding_)
    assert not np.array_equal(first.text_.gene_vectors_, other.text_.gene_vectors_)
    own = [_fusion(text=_text(control="gaussian", random_state=5), random_state=s).fit(tissue) for s in (0, 1)]
    np.testing.assert_array_equal(own[0].text_.gene_vectors_, own[1].text_.gene_vectors_)


def test_progress(tissue, capsys):
    _fusion().fit(tissue)
    assert capsys.readouterr().out == ""
    _fusion(verbose=1, n_clusters=None).fit(tissue)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all(line.startswith("[SpaLLMFusion]") for line in lines)


# Number of domains


def test_the_number_of_domains_is_estimated(tissue):
    fitted = _fusion(n_clusters=None).fit(tissue)
    curve = fitted.n_clusters_curve_
    assert curve.loc[curve["chosen"], "n_clusters"].tolist() == [fitted.n_clusters_]
    assert curve["n_clusters"].min() <= fitted.n_clusters_ <= curve["n_clusters"].max()
    assert fitted.clusterer_.n_clusters == fitted.n_clusters_ and len(set(fitted.labels_)) <= fitted.n_clusters_
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)


def test_a_given_number_leaves_no_curve_of_an_earlier_fit(tissue):
    fitted = _fusion(n_clusters=None).fit(tissue).set_params(n_clusters=4).fit(tissue)
    assert not hasattr(fitted, "n_clusters_curve_")


# Without names or places


def test_without_gene_names_it_is_expression(tissue):
    places = {"coordinates": tissue.obsm["spatial"]}
    expected = _fusion(strategy="expression").fit(tissue.X, **places)
    for strategy in ("weighted", "concat"):
        with pytest.warns(UserWarning, match="X has no gene names"):
            fitted = _fusion(strategy=strategy).fit(tissue.X, **places)
        np.testing.assert_allclose(fitted.embedding_, expected.embedding_, atol=1e-5)
        assert adjusted_rand_score(fitted.labels_, expected.labels_) > 0.99
        np.testing.assert_array_equal(fitted.predict(tissue.X, **places), fitted.labels_)
    with (
        pytest.warns(UserWarning, match="X has no gene names"),
        pytest.raises(ValueError, match="strategy='functional' has nothing.*gene names that a table"),
    ):
        _fusion(strategy="functional").fit(tissue.X, **places)
    with pytest.raises(ValueError, match="X has no gene names"):
        _fusion(text=_text(on_missing="error")).fit(tissue.X, **places)


def test_without_coordinates_nothing_is_averaged(tissue):
    with pytest.warns(UserWarning, match="X has no coordinates"):
        fitted = _fusion().fit(tissue.to_df())
    with pytest.warns(UserWarning, match="X has no coordinates"):
        np.testing.assert_array_equal(fitted.predict(tissue.to_df()[:50]), fitted.labels_[:50])
    with pytest.raises(ValueError, match="X has no coordinates"):
        _fusion(spatial=SpatialGraphTransformer(on_missing="error")).fit(tissue.to_df())


# Slices


def test_several_slices(slices):
    fitted = _fusion(n_clusters=3, clusterer=FEW, batch_key="batch").fit(slices)
    assert _ari(fitted, slices) > 0.7
    np.testing.assert_array_equal(fitted.predict(slices), fitted.labels_)
    for name in slices.obs["batch"].unique():
        rows = (slices.obs["batch"] == name).to_numpy()
        np.testing.assert_array_equal(fitted.predict(slices[rows]), fitted.labels_[rows])
    arrays = _fusion(n_clusters=3, clusterer=FEW, gene_names=slices.var_names)
    arrays.fit(slices.X, coordinates=slices.obsm["spatial"], batch=slices.obs["batch"])
    np.testing.assert_array_equal(arrays.labels_, fitted.labels_)


def test_domains_carry_over_to_an_unseen_slice(slices):
    seen = (slices.obs["batch"] != "slice3").to_numpy()
    fitted = SpaLLMFusion(text=_text(), n_clusters=3, batch_key="batch", random_state=0).fit(slices[seen])
    unseen = slices[~seen].copy()
    predicted = fitted.predict(unseen)
    assert adjusted_rand_score(unseen.obs["label"], predicted) > 0.7
    np.testing.assert_array_equal(fitted.predict(unseen[:, ::-1]), predicted)


# Cache of the embeddings


def _hits(fitted):
    return fitted.from_cache_["spatial"], fitted.from_cache_["text"]


def test_memory_keeps_the_embeddings(tissue, tmp_path):
    fusion = _fusion(memory=str(tmp_path / "memory"), random_state=0)
    plain = _fusion().fit(tissue)
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
        np.testing.assert_array_equal(fitted.embedding_, _fusion(**weights).fit(tissue).embedding_)
    for parameters in ({"align": "none"}, {"strategy": "concat"}, {"n_clusters": 3}, {"clusterer": "leiden"}):
        assert _hits(clone(fusion).set_params(**parameters).fit(tissue)) == (True, True)
    assert _hits(clone(fusion).set_params(text__weighting="abundance").fit(tissue)) == (True, False)
    assert _hits(clone(fusion).set_params(spatial=SpatialGraphTransformer(n_components=7)).fit(tissue)) == (False, True)


def test_k_g_changes_the_text_alone(tissue, tmp_path):
    fusion = _fusion(memory=joblib.Memory(tmp_path, verbose=0), text=_text(mode="sentence"))
    clone(fusion).fit(tissue)
    other = clone(fusion).set_params(text__k_g=7).fit(tissue)
    assert _hits(other) == (True, False)
    assert _hits(clone(other).fit(tissue)) == (True, True)
    np.testing.assert_array_equal(other.labels_, _fusion(text=_text(mode="sentence", k_g=7)).fit_predict(tissue))


def test_other_data_are_not_taken_from_memory(tissue, tmp_path):
    fusion = _fusion(memory=str(tmp_path / "memory"))
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
    fusion = _fusion(memory=str(tmp_path / "memory"), text=_text(mode="sentence"))
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
        _fusion(n_clusters=3, batch_key="batch"),
        {"beta": [0.0, 0.5], "text__k_g": [5]},
        cv=GroupKFold(3),
        scoring=scoring,
        error_score="raise",
    )
    search.fit(slices, slices.obs["label"], groups=slices.obs["batch"])
    assert search.best_score_ > 0.6
    assert search.predict(slices).shape == (450,)


def test_grid_over_a_pipeline(slices):
    pipeline = Pipeline([("same", FunctionTransformer()), ("domains", _fusion(n_clusters=3, batch_key="batch"))])
    grid = {"domains__alpha": [1.0], "domains__beta": [0.0, 0.5], "domains__text__k_g": [5, 10]}
    options = {"error_score": "raise", "scoring": labels_scorer("ari"), "cv": NoSplit()}
    search = GridSearchCV(pipeline, grid, **options).fit(slices, slices.obs["label"])
    assert search.best_score_ == _ari(search.best_estimator_[-1], slices) > 0.6
    held_out = options | {"scoring": "adjusted_rand_score", "cv": GroupKFold(3), "n_jobs": 2}
    search = GridSearchCV(pipeline, {"domains__beta": [0.0, 0.5]}, **held_out)
    search.fit(slices, slices.obs["label"], groups=slices.obs["batch"])
    assert search.best_score_ > 0.6


# Real tissue


@pytest.fixture
def osmfish():
    try:
        return fetch_osmfish(download_if_missing=False)
    except OSError:
        pytest.skip("osmFISH is not in the data home")


def test_real_tissue(osmfish):
    alone = SpaLLMFusion(strategy="expression", n_clusters=11, random_state=0)
    expression = clone(alone).fit(osmfish)
    assert _ari(expression, osmfish) > 0.55
    weighted = _fusion(n_clusters=11, clusterer=FEW).fit(osmfish)
    assert _ari(weighted, osmfish) > 0.5
    masked = mask_counts(osmfish, 0.75, random_state=0)
    poor = clone(alone).set_params(clusterer=FEW).fit(masked)
    assert _ari(poor, osmfish) > 0.45
