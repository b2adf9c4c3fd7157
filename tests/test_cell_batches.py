"""LLMDSCClusterer on batches that differ by more than their cell types."""

import sys

import anndata
import numpy as np
import pytest
from llmdsc_fits import quick_llmdsc
from sklearn.metrics import adjusted_rand_score

from skst.datasets import make_spatial_domains


def by_another_kit(adata, seed):
    """The same cells by another batch: each gene is caught with an efficiency of its own."""
    rng = np.random.default_rng(seed)
    changed = adata.copy()
    changed.X = rng.poisson(adata.X.toarray() * np.exp(0.7 * rng.normal(size=adata.n_vars))).astype(np.float32)
    return changed


@pytest.fixture(scope="module")
def batches():
    whole = make_spatial_domains(900, n_genes=80, n_domains=4, n_slices=3, depth=1500, effect=4, random_state=0)
    parts = [whole[whole.obs["batch"] == name].copy() for name in whole.obs["batch"].unique()]
    for part in parts:
        del part.obsm["spatial"]
    return [parts[0], by_another_kit(parts[1], 0), by_another_kit(parts[2], 5)]


@pytest.fixture(scope="module")
def apart(batches):
    return anndata.concat(batches[:2], label="part", index_unique="-")


@pytest.fixture(scope="module")
def fitted(apart):
    return fits(apart)


def fits(X, batch_effect="shift", **parameters):
    settings = {"align_to": None, "batch_key": "part", "network__n_components": 8} | parameters
    return quick_llmdsc(batch_effect=batch_effect, **settings).fit(X)


def ari(adata, labels):
    return adjusted_rand_score(adata.obs["label"], labels)


def test_an_effect_of_batch_is_taken_out_and_told(apart, fitted):
    without = fits(apart, None)
    assert ari(apart, without.labels_) < 0.6 < 0.85 < ari(apart, fitted.labels_)
    assert (fitted.batch_shift_ > 0.01).all() and without.batch_shift_ is None


def test_batches_of_the_fit_are_predicted_as_they_were_also_alone(apart, fitted):
    np.testing.assert_array_equal(fitted.predict(apart[::-1].copy()), fitted.labels_[::-1])
    for part in ("0", "1"):
        rows = np.flatnonzero(apart.obs["part"] == part)
        np.testing.assert_array_equal(fitted.predict(apart[rows].copy()), fitted.labels_[rows])


def test_a_batch_never_seen_is_brought_to_the_others(batches, apart, fitted):
    new = batches[2]
    found = fitted.predict(new, batch=np.zeros(new.n_obs))
    assert ari(new, found) > 0.8
    assert ari(new, found) > ari(new, fits(apart, None).predict(new, batch=np.zeros(new.n_obs))) + 0.1


def test_items_of_a_list_are_batches(batches, apart, fitted):
    model = fits(batches[:2], batch_key=None)
    np.testing.assert_array_equal(model.labels_, fitted.labels_)
    np.testing.assert_array_equal(np.concatenate(model.predict(batches[:2])), model.labels_)
    copies = [batch.copy() for batch in batches[:2]]
    model.write(copies)
    np.testing.assert_array_equal(copies[1].obs["cluster"].cat.codes, model.labels_[copies[0].n_obs :])
    assert not copies[0].uns["cluster"]["predicted"]


def test_arrays_are_told_their_batches(apart, fitted):
    X, batch = apart.X.toarray(), apart.obs["part"].to_numpy()
    model = quick_llmdsc(batch_effect="shift", align_to=None, network__n_components=8)
    np.testing.assert_array_equal(model.fit_predict(X, batch=batch), fitted.labels_)
    with pytest.raises(ValueError, match="batch"):
        model.fit(X, batch=batch[1:])
    with pytest.raises(ValueError, match="X is an empty list"):
        fitted.predict([])
    with pytest.warns(UserWarning, match="batch_effect='shift' is given but X names no slices"):
        assert model.fit(X).batch_shift_ is None


def test_harmony_corrects_the_axes_of_each_choice_of_genes(apart, simple_harmony):
    model = fits(apart, "harmony", align_to="structure")  # with text, too
    assert ari(apart, model.labels_) > 0.85 and (model.batch_shift_ > 0.01).all()
    np.testing.assert_array_equal(model.predict(apart), model.labels_)


def test_counts_are_not_corrected(apart, monkeypatch):
    with pytest.raises(ValueError, match="batch_effect='shift' corrects axes, but inputs='counts'"):
        fits(apart, inputs="counts")
    monkeypatch.setitem(sys.modules, "harmonypy", None)
    with pytest.raises(ImportError, match="needs harmonypy"):
        fits(apart, "harmony")
