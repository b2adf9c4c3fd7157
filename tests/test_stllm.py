"""STLLMClusterer: domains, what text is worth in the embedding, and what goes on where something is missing."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from stllm_fits import LEVELS, lexical, quick_stllm
from tissues import ari

from skst import SpaLLMFusion, SpatialGraphTransformer
from skst.graph import SpatialGraphLearner, SpatialNeighbors, averaging_operator, spatial_graph
from skst.text.text_vectors import TextVectors

# Domains


@pytest.mark.parametrize("graph", ["learned", "knn", SpatialNeighbors("radius", radius=150.0)], ids=str)
def test_domains_are_found_and_predicted(layers, graph):
    fitted = quick_stllm(graph=graph, clusterer="mixture").fit(layers)
    assert ari(fitted, layers) > 0.8 and set(fitted.labels_) == {0, 1, 2} and fitted.n_clusters_ == 3
    assert fitted.embedding_.shape == (240, 60) and fitted.embedding_.dtype == np.float32
    np.testing.assert_array_equal(fitted.predict(layers), fitted.labels_)
    np.testing.assert_allclose(fitted.transform(layers), fitted.embedding_, atol=1e-5)
    assert isinstance(fitted.graph_, SpatialGraphLearner if graph == "learned" else SpatialNeighbors)
    assert (fitted.history_ is None) == (graph != "learned") and fitted.graph_ is not graph


def test_a_seed_determines_everything(layers):
    model = quick_stllm(graph="learned", text=lexical(control="gaussian"))
    first, again = clone(model).fit(layers), clone(model).fit(layers)
    for name in ("embedding_", "labels_"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.domains_.equals(again.domains_)
    assert first.history_.drop(columns="dur").equals(again.history_.drop(columns="dur"))
    other = clone(model).set_params(random_state=1).fit(layers)
    assert not np.allclose(other.embedding_, first.embedding_, atol=1e-3)


def test_order_of_spots_does_not_matter(layers):
    model = quick_stllm(graph="learned")
    fitted = clone(model).fit(layers)
    rows = np.random.default_rng(0).permutation(layers.n_obs)
    shuffled = clone(model).fit(layers[rows])
    np.testing.assert_allclose(shuffled.embedding_, fitted.embedding_[rows], atol=1e-4)
    assert [shuffled.describe(i) for i in range(240)] == [fitted.describe(row) for row in rows]
    assert adjusted_rand_score(shuffled.labels_, fitted.labels_[rows]) == 1
    assert shuffled.domains_["text"].tolist() == fitted.domains_["text"].tolist()
    np.testing.assert_array_equal(fitted.predict(layers[rows]), fitted.labels_[rows])


def test_order_of_genes_does_not_matter(layers):
    model = quick_stllm()  # training of a graph turns rounding into other edges
    fitted = clone(model).fit(layers)
    genes = np.random.default_rng(0).permutation(layers.n_vars)
    shuffled = clone(model).fit(layers[:, genes])
    np.testing.assert_allclose(shuffled.embedding_, fitted.embedding_, atol=1e-4)
    np.testing.assert_array_equal(shuffled.labels_, fitted.labels_)
    np.testing.assert_array_equal(fitted.predict(layers[:, genes]), fitted.labels_)


def test_a_tissue_is_told_in_the_same_words_for_every_seed(layers):
    first, other = (quick_stllm(random_state=seed).fit(layers) for seed in (0, 1))
    assert [first.describe(i) for i in range(240)] == [other.describe(i) for i in range(240)]


def test_containers(layers, stllm):
    places = {"coordinates": layers.obsm["spatial"]}
    named = {"gene_names": layers.var_names}
    for given, X in ((named, layers.X), (named, layers.X.toarray()), ({}, layers.to_df())):
        fitted = quick_stllm(**given).fit(X, **places)
        np.testing.assert_allclose(fitted.embedding_, stllm.embedding_, atol=1e-5)
        np.testing.assert_array_equal(fitted.predict(X, **places), fitted.labels_)


def test_numbers_of_columns(layers):
    assert quick_stllm(n_components=5).fit(layers).embedding_.shape == (240, 15)


# Levels and weights


@pytest.mark.parametrize("graph", ["knn", SpatialGraphLearner(max_epochs=5, random_state=0)])
def test_without_levels_it_is_expression_alone(layers, graph):
    fitted = quick_stllm(narration__levels=(), text=None, graph=graph).fit(layers)  # needs no model
    spatial = SpatialGraphTransformer("views", graph=graph)
    fusion = SpaLLMFusion(spatial, strategy="expression", n_clusters=3, clusterer="kmeans", random_state=0).fit(layers)
    np.testing.assert_allclose(fitted.embedding_, fusion.embedding_, atol=1e-6)
    np.testing.assert_array_equal(fitted.labels_, fusion.labels_)
    assert list(fitted.text_report_) == ["texts", "distinct", "read", "seconds"] and fitted.text_report_.empty
    assert fitted.domains_["markers"].str.len().min() > 0


def test_each_level_has_a_say(layers):
    embeddings = [
        quick_stllm(narration__levels=levels).fit(layers).embedding_
        for levels in (LEVELS, *(tuple({*LEVELS} - {one}) for one in LEVELS))
    ]
    for i, one in enumerate(embeddings):
        for other in embeddings[:i]:
            assert np.abs(one - other).max() > 1e-3
    np.testing.assert_array_equal(
        quick_stllm(narration__levels=[*LEVELS[::-1], "spot"]).fit(layers).embedding_, embeddings[0]
    )


def test_text_alone_is_what_the_equations_say(layers):
    """Inner products of spots, as the axes of the text view are turned to match expression."""
    fitted = quick_stllm(alpha=0, beta=1.0, narration__n_regions=9).fit(layers)
    spatial = SpatialGraphTransformer().fit(layers)
    average = averaging_operator(spatial_graph(layers.obsm["spatial"])).toarray()
    hops = [np.linalg.matrix_power(average, k) for k in range(3)]
    spread = sum(weight * hop for weight, hop in zip(spatial.hop_weights_, hops, strict=True))
    spread = spread @ np.linalg.matrix_power(average, spatial.n_pool_)
    narrator, encode = fitted.narrator_, TextVectors("lexical")
    vectors = [encode(narrator.spot_texts()), encode(narrator.neighborhood_texts())]
    vectors.append(encode(narrator.region_texts())[narrator.region_index_])
    views = [spread @ _leading(values, 64) for values in vectors]
    views = [(view - view.mean(axis=0)) / np.sqrt(view.var(axis=0).mean()) for view in views]
    text = _leading(np.hstack(views), 20)
    text /= np.sqrt(text.var(axis=0).sum())
    for view in np.split(fitted.embedding_, 3, axis=1):
        np.testing.assert_allclose(view @ view.T, text @ text.T, atol=1e-3)
    assert ari(fitted, layers) > 0.6


def _leading(values, n_components):
    left, sizes, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    return (left * sizes)[:, : min(n_components, *values.shape)]


def test_weights(layers):
    alone = quick_stllm(narration__levels=()).fit(layers).embedding_
    np.testing.assert_allclose(quick_stllm(beta=0).fit(layers).embedding_, alone, atol=1e-6)
    one, two = (quick_stllm(beta=beta).fit(layers).embedding_ - alone for beta in (0.1, 0.2))
    np.testing.assert_allclose(2 * one, two, atol=1e-5)
    text = quick_stllm(alpha=0, beta=0.1).fit(layers)
    np.testing.assert_allclose(text.embedding_, one, atol=1e-5)
    np.testing.assert_array_equal(text.predict(layers), text.labels_)


# What is missing


def test_without_coordinates(layers):
    del layers.obsm["spatial"]
    with pytest.warns(UserWarning, match="X has no coordinates"):
        fitted = quick_stllm(graph="learned").fit(layers)
    assert fitted.graph_ is None and fitted.history_ is None
    assert "It lies" not in fitted.describe(0) and "has no neighbours" in fitted.describe(0)
    assert fitted.domains_["depth"].isna().all()
    with pytest.warns(UserWarning, match="X has no coordinates"):
        np.testing.assert_array_equal(fitted.predict(layers), fitted.labels_)
    with pytest.raises(ValueError, match="X has no coordinates"):
        quick_stllm(on_missing="error").fit(layers)
    with pytest.raises(ValueError, match="the graph was to be learnt in fit, which had none"):
        fitted.predict(layers, coordinates=np.random.default_rng(0).uniform(size=(240, 2)))


def test_without_gene_names(layers):
    X, places = layers.X, {"coordinates": layers.obsm["spatial"]}
    with pytest.warns(UserWarning, match="X has no gene names, so STLLMClusterer goes on without text"):
        fitted = quick_stllm().fit(X, **places)
    np.testing.assert_array_equal(fitted.labels_, quick_stllm(narration__levels=()).fit(layers).labels_)
    np.testing.assert_array_equal(fitted.predict(X, **places), fitted.labels_)
    assert fitted.text_report_.empty and set(fitted.domains_["markers"]) == {""}
    with pytest.raises(ValueError, match="X has no gene names"):
        quick_stllm(on_missing="error").fit(X, **places)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="alpha=0 leaves text alone.*pass gene names"):
        quick_stllm(alpha=0).fit(X, **places)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick_stllm(narration__levels=(), on_missing="error").fit(X, **places)


def test_genes_without_a_symbol(layers):
    layers.var_names = [f"ENSG{i:011}" for i in range(layers.n_vars)]
    with pytest.warns(UserWarning, match="None of the 80 gene names of X, such as 'ENSG00000000000'.*without text"):
        fitted = quick_stllm().fit(layers)
    np.testing.assert_array_equal(fitted.labels_, quick_stllm(narration__levels=()).fit(layers).labels_)
    with pytest.raises(ValueError, match="None of the 80 gene names"):
        quick_stllm(on_missing="error").fit(layers)
    with pytest.raises(ValueError, match="alpha=0 leaves text alone"), warnings.catch_warnings(action="ignore"):
        quick_stllm(alpha=0).fit(layers)
    assert ari(quick_stllm(narration__levels=()).fit(layers), layers) > 0.6


# Parameters


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"narration__levels": ("spot", "organ")}, "levels hold 'organ', which is not one of"),
        ({"alpha": 0, "narration__levels": ()}, "alpha=0 leaves text alone"),
        ({"alpha": 0, "beta": 0}, "pass gene names, levels and beta above 0"),
        ({"text": lexical(control="shuffled")}, "The 'control' parameter of GeneTextEncoder must be"),
        ({"n_clusters": 241}, "n_clusters=241 is larger than the 240 spots"),
        ({"graph": "radius"}, "radius=None, but graph='radius' needs"),
    ],
)
def test_parameters_that_cannot_be(layers, parameters, match):
    with pytest.raises(ValueError, match=match):
        quick_stllm(**parameters).fit(layers)


def test_progress(layers, capsys):
    quick_stllm().fit(layers)
    assert capsys.readouterr() == ("", "")
    quick_stllm(verbose=1, n_clusters=None).fit(layers)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[STLLMClusterer]")]
    assert len(lines) == 6 and lines[0].endswith("graph of 240 spots: knn")
    assert "region: 6 texts, 6 distinct, 6 read in" in lines[3]
