"""SpaLLMFusion: two views, fused and partitioned, and on tissue that was not fitted."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import Pipeline
from spallm_fits import ari_of, lexical, quick_fusion

from skst import SpaLLMFusion, SpatialGraphTransformer
from skst.datasets import fetch_osmfish, mask_counts
from skst.embedding.fusion import ViewFusion
from skst.partition import ConsensusMixture

STRATEGIES = ("expression", "functional", "concat", "weighted")
# The default mixture with a third of its starts, one by one on the three views of all strategies but one.
FEW = ConsensusMixture(n_views=3, n_init=3, n_keep=1)


def _unit(values):
    values = np.asarray(values, dtype=float) - np.mean(values, axis=0)
    return values / np.sqrt(values.var(axis=0).sum())


# Strategies


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_finds_domains_and_predicts_what_it_fitted(tissue, strategy):
    few = clone(FEW).set_params(n_views=1 if strategy == "functional" else 3)
    fitted = quick_fusion(strategy=strategy, clusterer=few).fit(tissue)
    assert ari_of(fitted, tissue) > (0.3 if strategy == "functional" else 0.7)
    assert fitted.labels_.shape == (400,) and fitted.n_clusters_ == 4
    assert fitted.embedding_.dtype == np.float32
    assert (fitted.text_ is None) == (strategy == "expression")
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)
    np.testing.assert_allclose(fitted.transform(tissue), fitted.embedding_, atol=1e-3)
    np.testing.assert_array_equal(clone(fitted).fit_predict(tissue), fitted.labels_)


def test_fused_embeddings_equal_their_formulas(tissue):
    weights = {"alpha": 0.7, "beta": 0.4}
    spatial = SpatialGraphTransformer()
    fitted = {name: quick_fusion(spatial=spatial, strategy=name, **weights).fit(tissue) for name in STRATEGIES}
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
    fitted = quick_fusion(strategy=strategy, beta=0.4).fit(tissue)
    assert fitted.spatial_.n_views_ == 3
    views = np.split(fitted.embedding_, 3, axis=1)
    own = np.split(fitted.spatial_.embedding_, 3, axis=1)
    alone = quick_fusion(spatial=SpatialGraphTransformer(), strategy=strategy, beta=0.4).fit(tissue)
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
        align: quick_fusion(spatial=SpatialGraphTransformer(), align=align, alpha=0, beta=1).fit(tissue)
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
    labels = quick_fusion(alpha=1.0, beta=0.5).fit_predict(tissue)
    scaled = quick_fusion(alpha=20.0, beta=10.0).fit_predict(tissue)
    assert adjusted_rand_score(labels, scaled) > 0.99
    without_text = quick_fusion(beta=0).fit(tissue)
    expression = quick_fusion(strategy="expression").fit(tissue)
    np.testing.assert_allclose(without_text.embedding_, expression.embedding_, atol=1e-5)
    assert adjusted_rand_score(without_text.labels_, expression.labels_) > 0.99
    only_text = quick_fusion(alpha=0, beta=2, align="none").fit_predict(tissue)
    assert adjusted_rand_score(only_text, quick_fusion(strategy="functional").fit_predict(tissue)) > 0.99


def test_text_is_read(tissue):
    own = quick_fusion(strategy="functional").fit(tissue)
    other = quick_fusion(strategy="functional", text=lexical(control="permuted", random_state=0)).fit(tissue)
    assert not np.allclose(own.embedding_, other.embedding_, atol=1e-2)


# Order and containers


def test_order_of_genes_and_spots_does_not_matter(tissue):
    labels = quick_fusion(clusterer=FEW).fit_predict(tissue)
    rng = np.random.default_rng(0)
    genes, spots = rng.permutation(tissue.n_vars), rng.permutation(tissue.n_obs)
    assert adjusted_rand_score(labels, quick_fusion(clusterer=FEW).fit_predict(tissue[:, genes])) > 0.97
    kmeans = quick_fusion().fit(tissue)
    np.testing.assert_array_equal(kmeans.predict(tissue[spots, genes]), kmeans.labels_[spots])
    assert adjusted_rand_score(kmeans.labels_[spots], quick_fusion().fit_predict(tissue[spots])) > 0.97


def test_arrays_with_coordinates_give_what_an_anndata_gives(tissue):
    expected = quick_fusion().fit(tissue)
    places = {"coordinates": tissue.obsm["spatial"]}
    named = quick_fusion(gene_names=tissue.var_names)
    for model, X in ((named, tissue.X), (named, tissue.X.toarray()), (quick_fusion(), tissue.to_df())):
        fitted = clone(model).fit(X, **places)
        assert adjusted_rand_score(fitted.labels_, expected.labels_) > 0.99
        np.testing.assert_array_equal(fitted.predict(X, **places), fitted.labels_)
        np.testing.assert_allclose(fitted.transform(X, **places), fitted.embedding_, atol=1e-3)


def test_keys_of_an_anndata(slices):
    expected = quick_fusion(n_clusters=3, batch_key="batch").fit(slices)
    renamed = slices.copy()
    renamed.layers["counts"], renamed.X = renamed.X, renamed.X * 0
    renamed.obsm["places"] = renamed.obsm.pop("spatial")
    renamed.obs["slice"] = renamed.obs.pop("batch")
    model = quick_fusion(n_clusters=3, layer="counts", spatial_key="places", batch_key="slice").fit(renamed)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(model.predict(renamed), expected.labels_)


@pytest.mark.filterwarnings("error:X has feature names")
def test_sub_transformers_may_give_frames(tissue):
    expected = quick_fusion().fit(tissue)
    frames = quick_fusion(
        spatial=SpatialGraphTransformer("views").set_output(transform="pandas"),
        text=lexical().set_output(transform="pandas"),
    ).fit(tissue)
    np.testing.assert_array_equal(frames.labels_, expected.labels_)
    np.testing.assert_array_equal(frames.predict(tissue), expected.labels_)
    assert type(frames.embedding_) is type(frames.transform(tissue)) is np.ndarray


def test_other_parts_can_be_given(tissue):
    spatial = Pipeline([("graph", SpatialGraphTransformer()), ("pca", PCA(5))])
    fitted = quick_fusion(spatial=spatial, clusterer=GaussianMixture(n_init=2), n_vote_neighbors=0).fit(tissue)
    assert fitted.embedding_.shape == (400, 5) and fitted.clusterer_.n_components == 4
    assert ari_of(fitted, tissue) > 0.6
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)
    assert not hasattr(spatial[0], "embedding_")  # a copy is fitted


def test_seeds_of_parts(tissue):
    first = quick_fusion(text=lexical(control="gaussian"), random_state=0).fit(tissue)
    again = quick_fusion(text=lexical(control="gaussian"), random_state=0).fit(tissue)
    other = quick_fusion(text=lexical(control="gaussian"), random_state=1).fit(tissue)
    np.testing.assert_array_equal(first.embedding_, again.embedding_)
    assert not np.array_equal(first.text_.gene_vectors_, other.text_.gene_vectors_)
    own = [quick_fusion(text=lexical(control="gaussian", random_state=5), random_state=s).fit(tissue) for s in (0, 1)]
    np.testing.assert_array_equal(own[0].text_.gene_vectors_, own[1].text_.gene_vectors_)


def test_progress(tissue, capsys):
    quick_fusion().fit(tissue)
    assert capsys.readouterr().out == ""
    quick_fusion(verbose=1, n_clusters=None).fit(tissue)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all(line.startswith("[SpaLLMFusion]") for line in lines)


# Number of domains


def test_the_number_of_domains_is_estimated(tissue):
    fitted = quick_fusion(n_clusters=None).fit(tissue)
    curve = fitted.n_clusters_curve_
    assert curve.loc[curve["chosen"], "n_clusters"].tolist() == [fitted.n_clusters_]
    assert curve["n_clusters"].min() <= fitted.n_clusters_ <= curve["n_clusters"].max()
    assert fitted.clusterer_.n_clusters == fitted.n_clusters_ and len(set(fitted.labels_)) <= fitted.n_clusters_
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)


def test_a_given_number_leaves_no_curve_of_an_earlier_fit(tissue):
    fitted = quick_fusion(n_clusters=None).fit(tissue).set_params(n_clusters=4).fit(tissue)
    assert not hasattr(fitted, "n_clusters_curve_")


# Without names or places


def test_without_gene_names_it_is_expression(tissue):
    places = {"coordinates": tissue.obsm["spatial"]}
    expected = quick_fusion(strategy="expression").fit(tissue.X, **places)
    for strategy in ("weighted", "concat"):
        with pytest.warns(UserWarning, match="X has no gene names"):
            fitted = quick_fusion(strategy=strategy).fit(tissue.X, **places)
        np.testing.assert_allclose(fitted.embedding_, expected.embedding_, atol=1e-5)
        assert adjusted_rand_score(fitted.labels_, expected.labels_) > 0.99
        np.testing.assert_array_equal(fitted.predict(tissue.X, **places), fitted.labels_)
    with (
        pytest.warns(UserWarning, match="X has no gene names"),
        pytest.raises(ValueError, match="strategy='functional' has nothing.*gene names that a table"),
    ):
        quick_fusion(strategy="functional").fit(tissue.X, **places)
    with pytest.raises(ValueError, match="X has no gene names"):
        quick_fusion(text=lexical(on_missing="error")).fit(tissue.X, **places)


def test_without_coordinates_nothing_is_averaged(tissue):
    with pytest.warns(UserWarning, match="X has no coordinates"):
        fitted = quick_fusion().fit(tissue.to_df())
    with pytest.warns(UserWarning, match="X has no coordinates"):
        np.testing.assert_array_equal(fitted.predict(tissue.to_df()[:50]), fitted.labels_[:50])
    with pytest.raises(ValueError, match="X has no coordinates"):
        quick_fusion(spatial=SpatialGraphTransformer(on_missing="error")).fit(tissue.to_df())


# Slices


def test_several_slices(slices):
    fitted = quick_fusion(n_clusters=3, clusterer=FEW, batch_key="batch").fit(slices)
    assert ari_of(fitted, slices) > 0.7
    np.testing.assert_array_equal(fitted.predict(slices), fitted.labels_)
    for name in slices.obs["batch"].unique():
        rows = (slices.obs["batch"] == name).to_numpy()
        np.testing.assert_array_equal(fitted.predict(slices[rows]), fitted.labels_[rows])
    arrays = quick_fusion(n_clusters=3, clusterer=FEW, gene_names=slices.var_names)
    arrays.fit(slices.X, coordinates=slices.obsm["spatial"], batch=slices.obs["batch"])
    np.testing.assert_array_equal(arrays.labels_, fitted.labels_)


def test_domains_carry_over_to_an_unseen_slice(slices):
    seen = (slices.obs["batch"] != "slice3").to_numpy()
    fitted = SpaLLMFusion(text=lexical(), n_clusters=3, batch_key="batch", random_state=0).fit(slices[seen])
    unseen = slices[~seen].copy()
    predicted = fitted.predict(unseen)
    assert adjusted_rand_score(unseen.obs["label"], predicted) > 0.7
    np.testing.assert_array_equal(fitted.predict(unseen[:, ::-1]), predicted)


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
    assert ari_of(expression, osmfish) > 0.55
    fewer = clone(FEW).set_params(n_leading=(10, 15), n_init=2)
    weighted = quick_fusion(n_clusters=11, clusterer=fewer).fit(osmfish)
    assert ari_of(weighted, osmfish) > 0.5
    masked = mask_counts(osmfish, 0.75, random_state=0)
    poor = clone(alone).set_params(clusterer=fewer).fit(masked)
    assert ari_of(poor, osmfish) > 0.45
