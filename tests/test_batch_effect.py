"""Slices that differ by more than their domains: what is taken for an effect of batch, and what is left alone."""

import sys

import numpy as np
import pytest
from llmdsc_fits import FEW
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from skst import SpaLLMFusion, SpatialGraphTransformer
from skst.datasets import make_spatial_domains
from skst.embedding import harmony
from skst.embedding.shifts import SliceShifts

N_DOMAINS = 4


def thinned(adata, strength=1.0, seed=0):
    """The same tissue by another batch: each gene is caught with an efficiency of its own."""
    rng = np.random.default_rng(seed)
    kept = np.exp(-strength * np.abs(rng.normal(size=adata.n_vars)))
    changed = adata.copy()
    changed.X = rng.binomial(np.asarray(adata.X.toarray(), dtype=int), kept).astype(np.float32)
    return changed


def joined(*slices):
    import anndata

    return anndata.concat(list(slices), index_unique="-", label="part")


def fusion(batch_effect="shift", **parameters):
    spatial = SpatialGraphTransformer("views", n_components=8, batch_effect=batch_effect)
    return SpaLLMFusion(
        spatial,
        strategy="expression",
        n_clusters=N_DOMAINS,
        clusterer=FEW,
        batch_key="part",
        random_state=0,
        **parameters,
    )


def ari(adata, labels):
    return adjusted_rand_score(adata.obs["label"], labels)


def shares(labels, adata):
    """Share of each domain in each slice."""
    return np.stack(
        [np.bincount(labels[adata.obs["part"] == part], minlength=9) for part in adata.obs["part"].unique()]
    )


@pytest.fixture(scope="module")
def parts():
    """Three slices of a tissue, of which nothing but chance sets apart."""
    whole = make_spatial_domains(2400, n_genes=80, n_domains=N_DOMAINS, n_slices=3, depth=900, effect=3, random_state=0)
    return [whole[whole.obs["batch"] == name].copy() for name in whole.obs["batch"].unique()]


@pytest.fixture(scope="module")
def alike(parts):
    return joined(*parts[:2])


@pytest.fixture(scope="module")
def apart(parts):
    return joined(parts[0], thinned(parts[1]))


@pytest.fixture(scope="module")
def fitted(apart):
    return fusion().fit(apart)


def test_an_effect_of_batch_is_taken_out(apart, fitted):
    without = fusion(None).fit(apart)
    assert ari(apart, without.labels_) < 0.6 < 0.9 < ari(apart, fitted.labels_)
    assert (fitted.spatial_.batch_shift_ > 0.01).all() and without.spatial_.batch_shift_ is None


def test_slices_that_only_chance_sets_apart_stay_as_they_are(alike):
    settings = {"n_components": 8, "batch_key": "part"}
    model = SpatialGraphTransformer("views", batch_effect="shift", **settings).fit(alike)
    np.testing.assert_array_equal(model.batch_shift_, 0)
    np.testing.assert_array_equal(model.embedding_, SpatialGraphTransformer("views", **settings).fit_transform(alike))


@pytest.mark.parametrize("batch_effect", ["shift", "harmony"])
def test_one_slice_stays_as_it_is(parts, batch_effect):
    one = joined(parts[0])
    model = SpatialGraphTransformer(batch_effect=batch_effect, batch_key="part").fit(one)
    np.testing.assert_array_equal(model.embedding_, SpatialGraphTransformer().fit_transform(parts[0]))
    np.testing.assert_array_equal(model.transform(one), model.embedding_)


def test_slices_that_nobody_names_are_told_of(parts):
    with pytest.warns(
        UserWarning, match="batch_effect='shift' is given but X names no slices, so nothing is corrected"
    ):
        model = SpatialGraphTransformer(batch_effect="shift").fit(parts[0])
    np.testing.assert_array_equal(model.embedding_, SpatialGraphTransformer().fit_transform(parts[0]))


def test_slices_of_the_fit_are_predicted_as_they_were_whatever_they_are_called(apart, fitted):
    np.testing.assert_array_equal(fitted.predict(apart), fitted.labels_)
    renamed = apart[::-1].copy()
    renamed.obs["part"] = renamed.obs["part"].map({"0": "x", "1": "a"})
    np.testing.assert_array_equal(fitted.predict(renamed), fitted.labels_[::-1])
    for part in ("0", "1"):
        rows = np.flatnonzero(apart.obs["part"] == part)
        np.testing.assert_array_equal(fitted.predict(apart[rows].copy()), fitted.labels_[rows])


def test_slices_may_come_in_any_order(apart, fitted):
    order = np.argsort(apart.obs["part"].to_numpy(), kind="stable")[::-1]
    turned = clone(fitted).fit(apart[order].copy())
    assert adjusted_rand_score(turned.labels_, fitted.labels_[order]) > 0.99
    np.testing.assert_allclose(turned.spatial_.batch_shift_, fitted.spatial_.batch_shift_[::-1], rtol=1e-2)


def test_a_batch_never_seen_is_brought_to_the_others(parts, apart, fitted):
    new = joined(thinned(parts[2], seed=5))
    assert ari(new, fitted.predict(new)) > 0.85 > 0.6 > ari(new, fusion(None).fit(apart).predict(new))


def test_one_slice_is_enough_of_a_reference(parts):
    new = joined(thinned(parts[1], 2.0))
    with_it, without = (ari(new, fusion(effect).fit(joined(parts[0])).predict(new)) for effect in ("shift", None))
    assert with_it > 0.9 and with_it > without + 0.05


def test_a_slice_that_departs_no_further_than_those_of_the_fit_is_not_moved(parts, alike):
    settings = {"n_components": 8, "batch_key": "part"}
    model = SpatialGraphTransformer("views", batch_effect="shift", **settings).fit(alike)
    plain = SpatialGraphTransformer("views", **settings).fit(alike)
    np.testing.assert_array_equal(model.transform(joined(parts[2])), plain.transform(joined(parts[2])))


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_domain_that_only_one_slice_has_is_kept(parts, strength):
    lacks = parts[0][parts[0].obs["label"] != parts[0].obs["label"].unique()[0]].copy()
    both = joined(lacks, thinned(parts[1], strength) if strength else parts[1])
    labels = fusion().fit(both).labels_
    assert ari(both, labels) > 0.85
    alone = shares(labels, both)
    assert (alone.argmax(axis=0)[alone.sum(axis=0) > 0] == 1).any()
    own = both.obs["label"] == parts[0].obs["label"].unique()[0]
    assert np.bincount(labels[own]).argmax() not in np.flatnonzero(alone[0] > 0.05 * alone[0].sum())


def test_slices_of_no_domain_in_common_are_not_moved_together(parts):
    names = parts[0].obs["label"].unique()
    halves = [
        part[part.obs["label"].isin(some)].copy() for part, some in zip(parts, (names[:2], names[2:]), strict=False)
    ]
    both = joined(*halves)
    assert ari(both, fusion().fit(both).labels_) > 0.85


@pytest.mark.parametrize("batch_effect", ["shift", "harmony"])
def test_slices_that_are_read_one_at_a_time_come_out_alike(parts, tmp_path, batch_effect, request):
    if batch_effect == "harmony":
        request.getfixturevalue("simple_harmony")
    slices = [parts[0], thinned(parts[1])]
    whole = SpatialGraphTransformer(batch_effect=batch_effect, n_components=6, batch_key="part", random_state=0)
    expected = whole.fit_transform(joined(*slices))
    paths = [tmp_path / f"{i}.h5ad" for i in range(2)]
    for path, one in zip(paths, slices, strict=True):
        one.write_h5ad(path)
    for X in (slices, paths):
        model = clone(whole).set_params(batch_key=None).fit(X)
        signs = np.sign((expected * model.embedding_).sum(axis=0))
        np.testing.assert_allclose(model.embedding_ * signs, expected, atol=5e-3)
        np.testing.assert_array_equal(np.vstack(model.transform(X)), model.embedding_)
        assert len(model.batch_shift_) == 2 and (model.batch_shift_ > 0.01).all()


def test_harmony_brings_slices_together(apart, simple_harmony):
    model = fusion("harmony").fit(apart)
    np.testing.assert_array_equal(model.predict(apart), model.labels_)
    assert ari(apart, model.labels_) > 0.9 > 0.6 > ari(apart, fusion(None).fit(apart).labels_)
    assert (model.spatial_.batch_shift_ > 0.01).all()


def test_the_real_harmony_brings_clusters_together():
    pytest.importorskip("harmonypy")
    rng = np.random.default_rng(0)
    domains, slices = rng.integers(3, size=900), rng.integers(2, size=900)
    values = 4 * np.eye(3)[domains] + 0.5 * rng.normal(size=(900, 3)) + np.outer(slices, [0.5, -0.5, 0.5])
    corrected = harmony.SliceHarmony(np.random.RandomState(0)).fit(values, slices).correct(values, slices)
    apart = [
        np.mean(
            [
                np.linalg.norm(
                    some[(domains == d) & (slices == 0)].mean(axis=0)
                    - some[(domains == d) & (slices == 1)].mean(axis=0)
                )
                for d in range(3)
            ]
        )
        for some in (values, corrected)
    ]
    assert apart[1] < 0.5 * apart[0]


def test_harmony_that_is_not_there_is_told_of(apart, monkeypatch):
    monkeypatch.setitem(sys.modules, "harmonypy", None)
    with pytest.raises(ImportError, match=r"needs harmonypy, which is not installed; install skst\[harmony\], or use"):
        SpatialGraphTransformer(batch_effect="harmony", batch_key="part").fit(apart)


def test_other_names_are_refused(apart):
    with pytest.raises(ValueError, match="'batch_effect' parameter of SpatialGraphTransformer must be"):
        SpatialGraphTransformer(batch_effect="combat").fit(apart)


def test_spots_that_are_mapped_to_clusters_of_their_own_stay():
    """A slice that is the reference has no effect of batch."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 3)) + 5 * np.eye(3)[np.arange(200) % 3]
    directions = np.eye(3)
    posterior = np.exp(2 * (values / np.linalg.norm(values, axis=1, keepdims=True) @ directions.T - 1) / 0.1)
    posterior /= posterior.sum(axis=1, keepdims=True)
    sizes = posterior.sum(axis=0)
    means = posterior.T @ values / sizes[:, None]
    np.testing.assert_allclose(harmony._mapped(values, directions, sizes, means), values, atol=1e-8)
    moved = harmony._mapped(values + 0.3, directions, 1e6 * sizes, means)
    assert np.abs(moved.mean(axis=0) - values.mean(axis=0)).max() < 0.05


@pytest.mark.parametrize("n_columns", [1, 3])
def test_few_spots_and_spots_that_are_alike(n_columns):
    for values in (np.zeros((4, n_columns)), np.arange(3.0 * n_columns).reshape(3, n_columns)):
        slices = np.arange(len(values)) % 2
        np.testing.assert_array_equal(SliceShifts().fit(values, slices).correct(values, slices), values)


def test_slices_of_one_spot_neither_spoil_the_others_nor_are_moved():
    rng = np.random.default_rng(0)
    domains = rng.integers(5, size=5000)
    values = 3 * rng.normal(size=(5, 4))[domains] + rng.normal(size=(5000, 4))
    values[1::2] += [0, 3, 0, 0]
    slices = np.arange(5000) % 2
    straight = SliceShifts().fit(values, slices).correct(values, slices)
    alone = [7, 400, 4999]  # more spots than EM sees, so that it misses some of these
    slices[alone] = [2, 3, 4]
    model = SliceShifts().fit(values, slices)
    corrected = model.correct(values, slices)
    others = np.setdiff1d(np.arange(5000), alone)
    np.testing.assert_allclose(corrected[others], straight[others], atol=0.1)
    np.testing.assert_allclose(corrected[alone], values[alone] + model.origin_, atol=1e-5)


def test_a_slice_a_spot_tells_nothing():
    values = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    slices = np.arange(300)
    np.testing.assert_array_equal(SliceShifts().fit(values, slices).correct(values, slices), values)


def test_shifts_are_the_same_whatever_order_spots_come_in():
    rng = np.random.default_rng(0)
    domains, slices = rng.integers(5, size=900), rng.integers(3, size=900)
    values = 3 * rng.normal(size=(5, 4))[domains] + rng.normal(size=(900, 4)) + rng.normal(size=(3, 4))[slices]
    order = rng.permutation(900)
    straight, turned = (
        SliceShifts().fit(v, s).correct(v, s) for v, s in ((values, slices), (values[order], slices[order]))
    )
    np.testing.assert_allclose(turned, straight[order], atol=1e-4)
    # Slices in a row: their shifts are those that were simulated, but for one that all have.
    left = [
        np.mean([straight[(slices == s) & (domains == d)].mean(axis=0) for d in range(5)], axis=0) for s in range(3)
    ]
    assert np.ptp(left, axis=0).max() < 0.35
