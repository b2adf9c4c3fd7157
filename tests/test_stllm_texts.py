"""What STLLMClusterer reads: each text once, composed where there are many, controls, and domains in words."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from stllm_fits import LEVELS, lexical, quick_stllm
from tissues import ari

from skst import limits
from skst.inspection import semantic_permutation_test
from skst.narration import TissueNarrator
from skst.text import TextModel
from skst.text.text_vectors import TextVectors


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


# Reading


def test_each_text_is_read_once(layers):
    reader = Reader()
    fitted = quick_stllm(narration__k_g=1, text=lexical(model=reader)).fit(layers)
    narrator, report = fitted.narrator_, fitted.text_report_
    texts = [narrator.spot_texts(), narrator.neighborhood_texts(), narrator.region_texts()]
    assert sorted(reader.texts) == sorted(text for level in texts for text in set(level))
    assert report.index.tolist() == list(LEVELS) and report["texts"].tolist() == [240, 240, 6]
    assert report["distinct"].tolist() == report["read"].tolist() == [len(set(level)) for level in texts]
    assert report.loc["spot", "distinct"] < 200 and (report["seconds"] > 0).all()


def test_texts_that_are_cached_are_not_read(layers, tmp_path):
    reader = Reader()
    reader.cache_key = "reader"
    model = quick_stllm(text=lexical(model=TextModel(reader, cache=tmp_path / "vectors")))
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
    told = quick_stllm(text=lexical(descriptions=own)).fit(layers).narrator_.spot_texts()[0]
    gene = re.search(r"by (\w+) \(", told).group(1)
    assert f"{gene} (function of {gene})" in told


def test_texts_of_spots_may_be_composed(layers):
    reader = Reader()
    composed = quick_stllm(narration__spot_text="compose", text=lexical(model=reader)).fit(layers)
    assert not any(text.startswith("This spot") for text in reader.texts)
    assert {*composed.narrator_.region_texts()} <= {*reader.texts}
    assert composed.text_report_["texts"].tolist() == [0, 240, 6] and composed.text_.mode == "aggregate"
    read = quick_stllm(narration__spot_text="read").fit(layers)
    assert read.text_ is None and read.embedding_.shape == composed.embedding_.shape
    assert np.abs(read.embedding_ - composed.embedding_).max() > 1e-3
    np.testing.assert_allclose(composed.transform(layers), composed.embedding_, atol=1e-5)
    assert quick_stllm(narration__spot_text="compose", narration__levels=("region",)).fit(layers).text_ is None


def test_large_data_are_composed_and_slices_are_treated_as_those_of_fit(layers, monkeypatch):
    monkeypatch.setattr(limits, "MAX_READ", 200)
    large, small = quick_stllm().fit(layers), quick_stllm().fit(layers[:150])
    assert large.text_ is not None and small.text_ is None
    np.testing.assert_array_equal(large.embedding_, quick_stllm(narration__spot_text="compose").fit(layers).embedding_)
    np.testing.assert_allclose(
        large.transform(layers[:150]).mean(axis=0), large.embedding_[:150].mean(axis=0), atol=0.1
    )
    reader = Reader()
    small = quick_stllm(text=lexical(model=reader)).fit(layers[:150])
    reader.texts.clear()
    small.transform(layers)
    assert sum(text.startswith(("This spot stands", "No gene")) for text in reader.texts) > 200


def test_texts_that_are_all_alike_say_nothing(layers):
    model = quick_stllm(text=lexical(model=Reader(alike=True)))
    fitted = clone(model).fit(layers)
    np.testing.assert_array_equal(fitted.embedding_, quick_stllm(narration__levels=()).fit(layers).embedding_)
    np.testing.assert_array_equal(fitted.predict(layers), fitted.labels_)
    with pytest.raises(ValueError, match="alpha=0 leaves text alone, of which there is none"):
        model.set_params(alpha=0).fit(layers)
    fitted = quick_stllm(narration__n_regions=1).fit(layers)  # one region is told alike everywhere
    np.testing.assert_array_equal(
        fitted.embedding_, quick_stllm(narration__levels=LEVELS[:2], narration__n_regions=1).fit(layers).embedding_
    )
    np.testing.assert_allclose(fitted.transform(layers), fitted.embedding_, atol=1e-5)


# Controls


def test_controls_change_what_is_told(layers, stllm):
    fitted = {
        name: quick_stllm(text=lexical(control=name)).fit(layers) for name in ("permuted", "unrelated", "gaussian")
    }
    first = {name: model.describe(5).split("\n")[1] for name, model in fitted.items()}
    assert first["gaussian"] == stllm.describe(5).split("\n")[1]
    names = [gene for gene in stllm.narrator_.weights_.index if f" {gene} (" in first["gaussian"]]
    assert names and not any(name in first["unrelated"] for name in names)
    assert first["permuted"] != first["gaussian"] and "(" in first["permuted"] and "(" not in first["unrelated"]
    for model in fitted.values():
        assert np.abs(model.embedding_ - stllm.embedding_).max() > 1e-3 and ari(model, layers) > 0.6
        np.testing.assert_allclose(model.transform(layers), model.embedding_, atol=1e-5)
    assert fitted["gaussian"].text_report_["read"].tolist() == [0, 0, 0]


def test_permuted_genes_keep_their_functions(layers):
    fitted = [
        quick_stllm(narration__levels=("region",), text=lexical(control=control)).fit(layers)
        for control in (None, "permuted")
    ]
    told = [{*re.findall(r"(\w+) \(([^()]+)\)", " ".join(model.narrator_.spot_texts()))} for model in fitted]
    functions = dict(told[0])
    shared = [(gene, function) for gene, function in told[1] if gene in functions]
    assert len(shared) > 5 and all(functions[gene] == function for gene, function in shared)


@pytest.mark.parametrize("spot_text", ["read", "compose"])
@pytest.mark.parametrize("control", ["permuted", "gaussian"])
def test_a_control_is_drawn_by_the_seed_of_the_text(layers, control, spot_text):
    def embedding(seed, text_seed):
        text = lexical(control=control, random_state=text_seed)
        return (
            quick_stllm(text=text, narration__levels=("spot",), narration__spot_text=spot_text, random_state=seed)
            .fit(layers)
            .embedding_
        )

    drawn = embedding(0, 5)
    np.testing.assert_allclose(embedding(1, 5), drawn, atol=1e-5)
    assert np.abs(embedding(0, 6) - drawn).max() > 1e-3


def test_it_can_be_asked_whether_the_text_mattered(layers):
    result = semantic_permutation_test(
        quick_stllm(), layers, n_permutations=1, n_seeds=1, metrics=["coherence"], random_state=0
    )
    assert {"permuted", "gaussian"} <= {*result.tests["control"]}
    assert result.scores["value"].between(0.5, 1).all()


# Domains in words


def test_domains_are_told(layers, stllm):
    domains = stllm.domains_
    np.testing.assert_array_equal(domains["n_spots"], np.bincount(stllm.labels_)[domains["domain"]])
    assert domains["n_spots"].sum() == 240 and domains["share"].sum() == pytest.approx(1)
    assert set(domains["domain"]) == {0, 1, 2} and domains["n_spots"].is_monotonic_decreasing
    values = np.sqrt(layers.X.toarray() / layers.X.sum(axis=1).A)
    for row in domains.itertuples():
        first = row.markers.split(", ")[0]
        assert first in row.text
        inside = stllm.labels_ == row.domain
        gene = values[:, layers.var_names == first]
        assert gene[inside].mean() > gene[~inside].mean()


def test_a_spot_is_described(layers, stllm):
    narrator = stllm.narrator_
    assert isinstance(narrator, TissueNarrator)
    told = [narrator.spot_texts()[7], narrator.neighborhood_texts()[7]]
    told.append(narrator.region_texts()[narrator.region_index_[7]])
    assert [part.split("\n", 1)[1] for part in stllm.describe(7).split("\n\n")] == told
    for i in (-1, 240):
        with pytest.raises(IndexError, match=f"i={i} is none of the 240 spots of fit"):
            stllm.describe(i)


def test_a_pickle_leaves_the_narrator_out(layers, stllm):
    again = pickle.loads(pickle.dumps(stllm))
    np.testing.assert_array_equal(again.predict(layers), stllm.labels_)
    assert again.domains_.equals(stllm.domains_) and stllm.describe(0)
    with pytest.raises(NotFittedError, match="left out of a pickle; fit again"):
        again.describe(0)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        quick_stllm().describe(0)
    assert again.fit(layers).describe(0) == stllm.describe(0)
