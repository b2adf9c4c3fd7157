"""A fitted estimator reads with the model that it was fitted with, or says that it cannot."""

import gzip
import os
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skst import GeneTextEncoder, LLMDSCClusterer, SpaLLMFusion, SpatialGraphTransformer, STLLMClusterer
from skst.text import LexicalBackend


class Model:
    """Vectors of letters, told apart by name and key."""

    def __init__(self, name="first", key="first 1", shift=0.0):
        self.name, self.key, self.shift = name, key, shift

    def encode(self, texts):
        letters = np.array([[text.lower().count(letter) for letter in "aeioulnrst"] for text in texts], dtype=float)
        return np.roll(letters, int(self.shift), axis=1)


def _text(**parameters):
    return GeneTextEncoder().set_params(**({"model": Model()} | parameters))


def _estimators(**text):
    return [
        _text(mode="prompt", k_g=5, **text),
        _text(mode="dual", k_g=5, **text),
        SpatialGraphTransformer(semantic=_text(mode="prompt", k_g=5, **text), random_state=0),
        STLLMClusterer(4, text=_text(**text), clusterer="kmeans", random_state=0).set_params(narration__n_regions=5),
        LLMDSCClusterer(4, text=_text(mode="dual", k_g=5, **text), n_top_genes=40, random_state=0).set_params(
            network__n_networks=1, network__max_epochs=2, clusterer="kmeans"
        ),
    ]


def _name(estimator):
    return type(estimator).__name__ + (f" {estimator.mode}" if hasattr(estimator, "mode") else "")


def _encoder(fitted):
    """The part of a fitted estimator that reads."""
    for name in ("semantic_", "_encoder", "text_"):
        if getattr(fitted, name, None) is not None:
            return getattr(fitted, name)
    return fitted


@pytest.mark.parametrize("estimator", _estimators(), ids=_name)
@pytest.mark.parametrize("other", [Model("second", "second"), Model(key="first 2", shift=1)], ids=["name", "key"])
def test_another_model_is_refused(small, estimator, other):
    fitted = clone(estimator).fit(small)
    before = fitted.transform(small)
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_allclose(loaded.transform(small), before, atol=1e-5)
    _encoder(loaded).model = other
    with pytest.raises(ValueError, match=rf"model: {other.name} .*is not the one that was fitted, first \(first 1\)"):
        loaded.transform(small)
    if hasattr(loaded, "predict"):
        with pytest.raises(ValueError, match="is not the one that was fitted"):
            loaded.predict(small)


@pytest.fixture
def installed(monkeypatch):
    """What "auto" can find: set `installed.model` to the name of a model, or None."""

    class Installed:
        model = "m1"

        def resolve(self, model, device="auto", batch_size=64, reading=None):
            if model == "auto":
                model = self.model or "lexical"
            if model == "lexical":
                return LexicalBackend()
            if model != self.model:
                raise ValueError(f"model={model!r} is not to be had.")
            return Model(model, model)

    installed = Installed()
    monkeypatch.setattr("skst.text.models.resolve_backend", installed.resolve)
    return installed


@pytest.mark.parametrize("estimator", _estimators(model="auto"), ids=_name)
def test_auto_never_falls_back_after_fit(small, installed, estimator):
    fitted = clone(estimator).fit(small)
    before = fitted.transform(small)
    installed.model = None
    with pytest.raises(ValueError, match="model='m1' is not to be had"):
        fitted.transform(small)
    installed.model = "m2"
    with pytest.raises(ValueError, match="model='m1' is not to be had"):
        fitted.transform(small)
    installed.model = "m1"
    np.testing.assert_allclose(fitted.transform(small), before, atol=1e-5)


def test_auto_that_fell_back_stays_there(small, installed):
    installed.model = None
    fitted = _text(mode="sentence", model="auto").fit(small)
    before = fitted.transform(small)
    installed.model = "m1"
    np.testing.assert_array_equal(fitted.transform(small), before)


def test_vectors_of_genes_need_no_model_after_fit(small, installed):
    fitted = SpaLLMFusion(text=_text(model="auto"), n_clusters=4, clusterer="kmeans", random_state=0).fit(small)
    installed.model = None
    np.testing.assert_array_equal(fitted.predict(small), fitted.labels_)


# What memory= may return


def _fusion(memory, **text):
    text = _text(**({"descriptions__detail": "symbol"} | text))
    return SpaLLMFusion(
        text=text, n_clusters=4, strategy="functional", clusterer="kmeans", memory=memory, random_state=0
    )


def _write(path, small, seed):
    vectors = np.random.default_rng(seed).normal(size=(small.n_vars, 6)).round(3)
    np.savetxt(path, np.column_stack([small.var_names, vectors.astype(str)]), fmt="%s", delimiter=",")


def test_memory_of_a_file_of_vectors(small, tmp_path):
    path = tmp_path / "vectors.csv"
    _write(path, small, 1)
    first = _fusion(tmp_path / "memory", vectors=path).fit(small)
    again = _fusion(tmp_path / "memory", vectors=path).fit(small)
    assert again.from_cache_ == {"spatial": True, "text": True}
    np.testing.assert_array_equal(again.embedding_, first.embedding_)
    stat = path.stat()
    _write(path, small, 2)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # a file may say that it has not changed
    second = _fusion(tmp_path / "memory", vectors=path).fit(small)
    assert second.from_cache_ == {"spatial": True, "text": False}
    np.testing.assert_array_equal(second.embedding_, _fusion(None, vectors=path).fit(small).embedding_)
    assert not np.array_equal(second.embedding_, first.embedding_)


def test_memory_of_a_model(small, installed, tmp_path):
    memory = tmp_path / "memory"
    installed.model = None
    assert _fusion(memory, model="auto").fit(small).text_.backend_name_ == "lexical"
    installed.model = "m1"
    found = _fusion(memory, model="auto").fit(small)
    assert found.text_.backend_name_ == "m1" and not found.from_cache_["text"]
    assert _fusion(memory, model="auto").fit(small).from_cache_["text"]


@pytest.mark.parametrize("given", [True, False])
def test_memory_of_descriptions(small, tmp_path, monkeypatch, given):
    path = tmp_path / "home" / "gene_text" / "human.tsv.gz"
    path.parent.mkdir(parents=True)
    monkeypatch.setenv("SKST_DATA_HOME", str(tmp_path / "home"))
    parameters = {"descriptions__detail": "summary", "descriptions__table": path if given else None}
    for number, said in enumerate(("Makes myelin.", "Binds calcium.")):
        rows = [f"{gene}\t{said} Like {gene}." for gene in small.var_names]
        path.write_bytes(gzip.compress("\n".join(["symbol\tsummary", *rows]).encode(), mtime=0))
        found = _fusion(tmp_path / "memory", **parameters).fit(small)
        assert not found.from_cache_["text"], number
        fresh = _fusion(None, **parameters).fit(small)
        np.testing.assert_array_equal(found.text_.gene_vectors_, fresh.text_.gene_vectors_)
    assert _fusion(tmp_path / "memory", **parameters).fit(small).from_cache_["text"]


def test_a_mode_that_was_set_after_fit(small):
    fitted = _text(mode="dual", k_g=5).fit(small)
    for mode in ("prompt", "aggregate"):
        with pytest.raises(ValueError, match=f"mode='{mode}' was set after a fit with 'dual'; fit again"):
            fitted.set_params(mode=mode).transform(small)
    fitted.set_params(mode="dual").transform(small)


@pytest.mark.filterwarnings("ignore:The behavior of array concatenation:FutureWarning")
def test_strings_of_pandas_3(small):
    with pd.option_context("future.infer_string", True):
        report = _text().fit(small).gene_report_
    assert report["symbol"].tolist() == _text().fit(small).gene_report_["symbol"].tolist()
