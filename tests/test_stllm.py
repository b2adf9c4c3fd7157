"""STLLMClusterer: what is told, what of it is read, what it is worth in the embedding, and what lasts beyond fit."""

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score

from skst import GeneTextEncoder, SemSTClusterer, SpaLLMFusion, SpatialGraphTransformer, STLLMClusterer, limits
from skst.datasets import make_spatial_domains
from skst.graph import SpatialGraphLearner, SpatialNeighbors, averaging_operator, spatial_graph
from skst.inspection import semantic_permutation_test
from skst.narration import TissueNarrator
from skst.settings import GraphNetwork
from skst.text import TextModel
from skst.text.text_vectors import TextVectors

LEVELS = ("spot", "neighborhood", "region")


@pytest.fixture(scope="module")
def _layers():
    return make_spatial_domains(240, n_genes=80, n_domains=3, random_state=0)


@pytest.fixture
def layers(_layers, bare_home):
    """One slice of 240 spots in 3 layers, 80 genes."""
    return _layers.copy()


class Reader:
    """A language model that keeps what it read; its vectors are those of the lexical model, or all alike."""

    def __init__(self, alike=False):
        self.alike = alike
        self.texts = []

    def encode(self, texts):
        self.texts.extend(texts)
        vectors = TextVectors("lexical")(texts)
        return np.ones_like(vectors) if self.alike else vectors

    def __deepcopy__(self, memo):
        return self  # so that what clones read is kept here


def _text(**parameters):
    return GeneTextEncoder().set_params(**({"model": "lexical"} | parameters))


def _stllm(**parameters):
    quick = {"text": _text(), "n_clusters": 3, "narration__n_regions": 6, "graph": "knn", "clusterer": "kmeans"}
    return STLLMClusterer().set_params(**(quick | {"random_state": 0} | parameters))


def _ari(fitted, adata):
    return adjusted_rand_score(adata.obs["label"], fitted.labels_)


# Domains


@pytest.mark.parametrize("graph", ["learned", "knn", SpatialNeighbors("radius", radius=150.0)], ids=str)
def test_domains_are_found_and_predicted(layers, graph):
    fitted = _stllm(graph=graph, clusterer="mixture").fit(layers)
    assert _ari(fitted, layers) > 0.8 and set(fitted.labels_) == {0, 1, 2} and fitted.n_clusters_ == 3
    assert fitted.embedding_.shape == (240, 60) and fitted.embedding_.dtype == np.float32
    np.testing.assert_array_equal(fitted.predict(layers), fitted.labels_)
    np.testing.assert_allclose(fitted.transform(layers), fitted.embedding_, atol=1e-5)
    assert isinstance(fitted.graph_, SpatialGraphLearner if graph == "learned" else SpatialNeighbors)
    assert (fitted.history_ is None) == (graph != "learned") and fitted.graph_ is not graph


def test_a_seed_determines_everything(layers):
    model = _stllm(graph="learned", text=_text(control="gaussian"))
    first, again = clone(model).fit(layers), clone(model).fit(layers)
    for name in ("embedding_", "labels_"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.domains_.equals(again.domains_)
    assert first.history_.drop(columns="dur").equals(again.history_.drop(columns="dur"))
    other = clone(model).set_params(random_state=1).fit(layers)
    assert not np.allclose(other.embedding_, first.embedding_, atol=1e-3)


def test_order_of_spots_does_not_matter(layers):
    model = _stllm(graph="learned")
    fitted = clone(model).fit(layers)
    rows = np.random.default_rng(0).permutation(layers.n_obs)
    shuffled = clone(model).fit(layers[rows])
    np.testing.assert_allclose(shuffled.embedding_, fitted.embedding_[rows], atol=1e-4)
    assert [shuffled.describe(i) for i in range(240)] == [fitted.describe(row) for row in rows]
    assert adjusted_rand_score(shuffled.labels_, fitted.labels_[rows]) == 1
    assert shuffled.domains_["text"].tolist() == fitted.domains_["text"].tolist()
    np.testing.assert_array_equal(fitted.predict(layers[rows]), fitted.labels_[rows])


def test_order_of_genes_does_not_matter(layers):
    model = _stllm()  # training of a graph turns rounding into other edges
    fitted = clone(model).fit(layers)
    genes = np.random.default_rng(0).permutation(layers.n_vars)
    shuffled = clone(model).fit(layers[:, genes])
    np.testing.assert_allclose(shuffled.embedding_, fitted.embedding_, atol=1e-4)
    np.testing.assert_array_equal(shuffled.labels_, fitted.labels_)
    np.testing.assert_array_equal(fitted.predict(layers[:, genes]), fitted.labels_)


def test_a_tissue_is_told_in_the_same_words_for_every_seed(layers):
    first, other = (_stllm(random_state=seed).fit(layers) for seed in (0, 1))
    assert [first.describe(i) for i in range(240)] == [other.describe(i) for i in range(240)]


def test_containers(layers):
    expected = _stllm().fit(layers)
    places = {"coordinates": layers.obsm["spatial"]}
    named = {"gene_names": layers.var_names}
    for given, X in ((named, layers.X), (named, layers.X.toarray()), ({}, layers.to_df())):
        fitted = _stllm(**given).fit(X, **places)
        np.testing.assert_allclose(fitted.embedding_, expected.embedding_, atol=1e-5)
        np.testing.assert_array_equal(fitted.predict(X, **places), fitted.labels_)


def test_numbers_of_columns(layers):
    assert _stllm(n_components=5).fit(layers).embedding_.shape == (240, 15)


# Levels and weights


@pytest.mark.parametrize("graph", ["knn", SpatialGraphLearner(max_epochs=5, random_state=0)])
def test_without_levels_it_is_expression_alone(layers, graph):
    fitted = _stllm(narration__levels=(), text=None, graph=graph).fit(layers)  # needs no model
    spatial = SpatialGraphTransformer("views", graph=graph)
    fusion = SpaLLMFusion(spatial, strategy="expression", n_clusters=3, clusterer="kmeans", random_state=0).fit(layers)
    np.testing.assert_allclose(fitted.embedding_, fusion.embedding_, atol=1e-6)
    np.testing.assert_array_equal(fitted.labels_, fusion.labels_)
    assert list(fitted.text_report_) == ["texts", "distinct", "read", "seconds"] and fitted.text_report_.empty
    assert fitted.domains_["markers"].str.len().min() > 0


def test_each_level_has_a_say(layers):
    embeddings = [
        _stllm(narration__levels=levels).fit(layers).embedding_
        for levels in (LEVELS, *(tuple({*LEVELS} - {one}) for one in LEVELS))
    ]
    for i, one in enumerate(embeddings):
        for other in embeddings[:i]:
            assert np.abs(one - other).max() > 1e-3
    np.testing.assert_array_equal(
        _stllm(narration__levels=[*LEVELS[::-1], "spot"]).fit(layers).embedding_, embeddings[0]
    )


def test_text_alone_is_what_the_equations_say(layers):
    """Inner products of spots, as the axes of the text view are turned to match expression."""
    fitted = _stllm(alpha=0, beta=1.0, narration__n_regions=9).fit(layers)
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
    assert _ari(fitted, layers) > 0.6


def _leading(values, n_components):
    left, sizes, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    return (left * sizes)[:, : min(n_components, *values.shape)]


def test_weights(layers):
    alone = _stllm(narration__levels=()).fit(layers).embedding_
    np.testing.assert_allclose(_stllm(beta=0).fit(layers).embedding_, alone, atol=1e-6)
    one, two = (_stllm(beta=beta).fit(layers).embedding_ - alone for beta in (0.1, 0.2))
    np.testing.assert_allclose(2 * one, two, atol=1e-5)
    text = _stllm(alpha=0, beta=0.1).fit(layers)
    np.testing.assert_allclose(text.embedding_, one, atol=1e-5)
    np.testing.assert_array_equal(text.predict(layers), text.labels_)


# Reading


def test_each_text_is_read_once(layers):
    reader = Reader()
    fitted = _stllm(narration__k_g=1, text=_text(model=reader)).fit(layers)
    narrator, report = fitted.narrator_, fitted.text_report_
    texts = [narrator.spot_texts(), narrator.neighborhood_texts(), narrator.region_texts()]
    assert sorted(reader.texts) == sorted(text for level in texts for text in set(level))
    assert report.index.tolist() == list(LEVELS) and report["texts"].tolist() == [240, 240, 6]
    assert report["distinct"].tolist() == report["read"].tolist() == [len(set(level)) for level in texts]
    assert report.loc["spot", "distinct"] < 200 and (report["seconds"] > 0).all()


def test_texts_that_are_cached_are_not_read(layers, tmp_path):
    reader = Reader()
    reader.cache_key = "reader"
    model = _stllm(text=_text(model=TextModel(reader, cache=tmp_path / "vectors")))
    first, again = clone(model).fit(layers), clone(model).fit(layers)
    assert first.text_report_["read"].tolist() == first.text_report_["distinct"].tolist()
    assert again.text_report_["read"].tolist() == [0, 0, 0]
    assert again.text_report_["distinct"].equals(first.text_report_["distinct"])
    np.testing.assert_array_equal(again.embedding_, first.embedding_)
    shorter = clone(model).set_params(narration__levels=("region",), narration__max_tokens=60).fit(layers)
    assert shorter.text_report_["read"].tolist() == [6]


def test_descriptions_of_ones_own(layers):
    genes = layers.var_names
    own = pd.DataFrame({"symbol": genes, "name": [f"function of {gene}" for gene in genes], "summary": ""})
    told = _stllm(text=_text(descriptions=own)).fit(layers).narrator_.spot_texts()[0]
    gene = re.search(r"by (\w+) \(", told).group(1)
    assert f"{gene} (function of {gene})" in told


def test_texts_of_spots_may_be_composed(layers):
    reader = Reader()
    composed = _stllm(narration__spot_text="compose", text=_text(model=reader)).fit(layers)
    assert not any(text.startswith("This spot") for text in reader.texts)
    assert {*composed.narrator_.region_texts()} <= {*reader.texts}
    assert composed.text_report_["texts"].tolist() == [0, 240, 6] and composed.text_.mode == "aggregate"
    read = _stllm(narration__spot_text="read").fit(layers)
    assert read.text_ is None and read.embedding_.shape == composed.embedding_.shape
    assert np.abs(read.embedding_ - composed.embedding_).max() > 1e-3
    np.testing.assert_allclose(composed.transform(layers), composed.embedding_, atol=1e-5)
    assert _stllm(narration__spot_text="compose", narration__levels=("region",)).fit(layers).text_ is None


def test_large_data_are_composed_and_slices_are_treated_as_those_of_fit(layers, monkeypatch):
    monkeypatch.setattr(limits, "MAX_READ", 200)
    large, small = _stllm().fit(layers), _stllm().fit(layers[:150])
    assert large.text_ is not None and small.text_ is None
    np.testing.assert_array_equal(large.embedding_, _stllm(narration__spot_text="compose").fit(layers).embedding_)
    np.testing.assert_allclose(
        large.transform(layers[:150]).mean(axis=0), large.embedding_[:150].mean(axis=0), atol=0.1
    )
    reader = Reader()
    small = _stllm(text=_text(model=reader)).fit(layers[:150])
    reader.texts.clear()
    small.transform(layers)
    assert sum(text.startswith(("This spot stands", "No gene")) for text in reader.texts) > 200


def test_texts_that_are_all_alike_say_nothing(layers):
    model = _stllm(text=_text(model=Reader(alike=True)))
    fitted = clone(model).fit(layers)
    np.testing.assert_array_equal(fitted.embedding_, _stllm(narration__levels=()).fit(layers).embedding_)
    np.testing.assert_array_equal(fitted.predict(layers), fitted.labels_)
    with pytest.raises(ValueError, match="alpha=0 leaves text alone, of which there is none"):
        model.set_params(alpha=0).fit(layers)
    fitted = _stllm(narration__n_regions=1).fit(layers)  # one region is told alike everywhere
    np.testing.assert_array_equal(
        fitted.embedding_, _stllm(narration__levels=LEVELS[:2], narration__n_regions=1).fit(layers).embedding_
    )
    np.testing.assert_allclose(fitted.transform(layers), fitted.embedding_, atol=1e-5)


# Controls


def test_controls_change_what_is_told(layers):
    own = _stllm().fit(layers)
    fitted = {name: _stllm(text=_text(control=name)).fit(layers) for name in ("permuted", "unrelated", "gaussian")}
    first = {name: model.describe(5).split("\n")[1] for name, model in fitted.items()}
    assert first["gaussian"] == own.describe(5).split("\n")[1]
    names = [gene for gene in own.narrator_.weights_.index if f" {gene} (" in first["gaussian"]]
    assert names and not any(name in first["unrelated"] for name in names)
    assert first["permuted"] != first["gaussian"] and "(" in first["permuted"] and "(" not in first["unrelated"]
    for model in fitted.values():
        assert np.abs(model.embedding_ - own.embedding_).max() > 1e-3 and _ari(model, layers) > 0.6
        np.testing.assert_allclose(model.transform(layers), model.embedding_, atol=1e-5)
    assert fitted["gaussian"].text_report_["read"].tolist() == [0, 0, 0]


def test_permuted_genes_keep_their_functions(layers):
    fitted = [
        _stllm(narration__levels=("region",), text=_text(control=control)).fit(layers) for control in (None, "permuted")
    ]
    told = [{*re.findall(r"(\w+) \(([^()]+)\)", " ".join(model.narrator_.spot_texts()))} for model in fitted]
    functions = dict(told[0])
    shared = [(gene, function) for gene, function in told[1] if gene in functions]
    assert len(shared) > 5 and all(functions[gene] == function for gene, function in shared)


@pytest.mark.parametrize("spot_text", ["read", "compose"])
@pytest.mark.parametrize("control", ["permuted", "gaussian"])
def test_a_control_is_drawn_by_the_seed_of_the_text(layers, control, spot_text):
    def embedding(seed, text_seed):
        text = _text(control=control, random_state=text_seed)
        return (
            _stllm(text=text, narration__levels=("spot",), narration__spot_text=spot_text, random_state=seed)
            .fit(layers)
            .embedding_
        )

    drawn = embedding(0, 5)
    np.testing.assert_allclose(embedding(1, 5), drawn, atol=1e-5)
    assert np.abs(embedding(0, 6) - drawn).max() > 1e-3


def test_it_can_be_asked_whether_the_text_mattered(layers):
    result = semantic_permutation_test(
        _stllm(), layers, n_permutations=1, n_seeds=1, metrics=["coherence"], random_state=0
    )
    assert {"permuted", "gaussian"} <= {*result.tests["control"]}
    assert result.scores["value"].between(0.5, 1).all()


# What is missing


def test_without_coordinates(layers):
    del layers.obsm["spatial"]
    with pytest.warns(UserWarning, match="X has no coordinates"):
        fitted = _stllm(graph="learned").fit(layers)
    assert fitted.graph_ is None and fitted.history_ is None
    assert "It lies" not in fitted.describe(0) and "has no neighbours" in fitted.describe(0)
    assert fitted.domains_["depth"].isna().all()
    with pytest.warns(UserWarning, match="X has no coordinates"):
        np.testing.assert_array_equal(fitted.predict(layers), fitted.labels_)
    with pytest.raises(ValueError, match="X has no coordinates"):
        _stllm(on_missing="error").fit(layers)
    with pytest.raises(ValueError, match="the graph was to be learnt in fit, which had none"):
        fitted.predict(layers, coordinates=np.random.default_rng(0).uniform(size=(240, 2)))


def test_without_gene_names(layers):
    X, places = layers.X, {"coordinates": layers.obsm["spatial"]}
    with pytest.warns(UserWarning, match="X has no gene names, so STLLMClusterer goes on without text"):
        fitted = _stllm().fit(X, **places)
    np.testing.assert_array_equal(fitted.labels_, _stllm(narration__levels=()).fit(layers).labels_)
    np.testing.assert_array_equal(fitted.predict(X, **places), fitted.labels_)
    assert fitted.text_report_.empty and set(fitted.domains_["markers"]) == {""}
    with pytest.raises(ValueError, match="X has no gene names"):
        _stllm(on_missing="error").fit(X, **places)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="alpha=0 leaves text alone.*pass gene names"):
        _stllm(alpha=0).fit(X, **places)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _stllm(narration__levels=(), on_missing="error").fit(X, **places)


def test_genes_without_a_symbol(layers):
    layers.var_names = [f"ENSG{i:011}" for i in range(layers.n_vars)]
    with pytest.warns(UserWarning, match="None of the 80 gene names of X, such as 'ENSG00000000000'.*without text"):
        fitted = _stllm().fit(layers)
    np.testing.assert_array_equal(fitted.labels_, _stllm(narration__levels=()).fit(layers).labels_)
    with pytest.raises(ValueError, match="None of the 80 gene names"):
        _stllm(on_missing="error").fit(layers)
    with pytest.raises(ValueError, match="alpha=0 leaves text alone"), warnings.catch_warnings(action="ignore"):
        _stllm(alpha=0).fit(layers)
    assert _ari(_stllm(narration__levels=()).fit(layers), layers) > 0.6


# Slices


def test_slices_do_not_touch(slices):
    model = _stllm(batch_key="batch", graph="learned")
    apart = clone(model).fit(slices)
    assert _ari(apart, slices) > 0.6
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
    depth = pd.Series(_stllm(batch_key="batch", narration__levels=()).fit(slices).narrator_.depth_)
    by_slice = depth.groupby(slices.obs["batch"].to_numpy()).agg(["min", "max"])
    assert by_slice.to_numpy().tolist() == [[0, 1]] * 3


@pytest.mark.parametrize("graph", ["learned", "knn"])
def test_domains_carry_over_to_an_unseen_slice(slices, graph):
    seen = (slices.obs["batch"] != "slice3").to_numpy()
    fitted = _stllm(batch_key="batch", graph=graph).fit(slices[seen])
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
    fitted = _stllm(graph="learned").fit(layers)
    assert fitted.history_ is fitted.graph_.history_ and len(fitted.history_) == 100
    own = SpatialGraphLearner(max_epochs=7, random_state=3)
    other = _stllm(graph=own).fit(layers)
    assert len(other.history_) == 7 and other.graph_.random_state == 3 and not hasattr(own, "graph_")


# Domains in words


def test_domains_are_told(layers):
    fitted = _stllm().fit(layers)
    domains = fitted.domains_
    np.testing.assert_array_equal(domains["n_spots"], np.bincount(fitted.labels_)[domains["domain"]])
    assert domains["n_spots"].sum() == 240 and domains["share"].sum() == pytest.approx(1)
    assert set(domains["domain"]) == {0, 1, 2} and domains["n_spots"].is_monotonic_decreasing
    values = np.sqrt(layers.X.toarray() / layers.X.sum(axis=1).A)
    for row in domains.itertuples():
        first = row.markers.split(", ")[0]
        assert first in row.text
        inside = fitted.labels_ == row.domain
        gene = values[:, layers.var_names == first]
        assert gene[inside].mean() > gene[~inside].mean()


def test_a_spot_is_described(layers):
    fitted = _stllm().fit(layers)
    narrator = fitted.narrator_
    assert isinstance(narrator, TissueNarrator)
    told = [narrator.spot_texts()[7], narrator.neighborhood_texts()[7]]
    told.append(narrator.region_texts()[narrator.region_index_[7]])
    assert [part.split("\n", 1)[1] for part in fitted.describe(7).split("\n\n")] == told
    for i in (-1, 240):
        with pytest.raises(IndexError, match=f"i={i} is none of the 240 spots of fit"):
            fitted.describe(i)


def test_a_pickle_leaves_the_narrator_out(layers):
    fitted = _stllm().fit(layers)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(layers), fitted.labels_)
    assert again.domains_.equals(fitted.domains_) and fitted.describe(0)
    with pytest.raises(NotFittedError, match="left out of a pickle; fit again"):
        again.describe(0)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        _stllm().describe(0)
    assert again.fit(layers).describe(0) == fitted.describe(0)


# Parameters


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"narration__levels": ("spot", "organ")}, "levels hold 'organ', which is not one of"),
        ({"alpha": 0, "narration__levels": ()}, "alpha=0 leaves text alone"),
        ({"alpha": 0, "beta": 0}, "pass gene names, levels and beta above 0"),
        ({"text": _text(control="shuffled")}, "The 'control' parameter of GeneTextEncoder must be"),
        ({"n_clusters": 241}, "n_clusters=241 is larger than the 240 spots"),
        ({"graph": "radius"}, "radius=None, but graph='radius' needs"),
    ],
)
def test_parameters_that_cannot_be(layers, parameters, match):
    with pytest.raises(ValueError, match=match):
        _stllm(**parameters).fit(layers)


def test_progress(layers, capsys):
    _stllm().fit(layers)
    assert capsys.readouterr() == ("", "")
    _stllm(verbose=1, n_clusters=None).fit(layers)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[STLLMClusterer]")]
    assert len(lines) == 6 and lines[0].endswith("graph of 240 spots: knn")
    assert "region: 6 texts, 6 distinct, 6 read in" in lines[3]
