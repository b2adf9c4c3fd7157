"""Slices that lack genes of a fit, which are unknown and not zero, and fits to the genes that slices share."""

import anndata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmdsc_fits import FEW
from scipy import sparse
from sklearn.metrics import adjusted_rand_score
from stllm_fits import quick_stllm
from tissues import hops

from skst import GeneTextEncoder, SpaLLMFusion, SpatialGraphTransformer, limits
from skst.datasets import make_spatial_domains
from skst.embedding import panels
from skst.expression.panels import conditional_axes, on_genes, share_of_counts
from skst.graph import averaging_operator, spatial_graph
from skst.inputs.columns import take_columns
from skst.text import LexicalBackend
from skst.text.gene_sums import gene_sums, weights_of_genes

N_GENES = 60
LACKS = r"X lacks 20 of the 60 genes seen in fit, which are taken as unknown, and with them \d+\.\d % of the variance"


@pytest.fixture(scope="module")
def slices():
    """Two slices of a tissue."""
    whole = make_spatial_domains(500, n_genes=N_GENES, n_domains=4, n_slices=2, depth=900, effect=3, random_state=0)
    return [whole[whole.obs["batch"] == name].copy() for name in whole.obs["batch"].unique()]


@pytest.fixture(scope="module")
def fitted(slices):
    return SpatialGraphTransformer("views", n_components=6).fit(slices[0])


@pytest.fixture(scope="module")
def fusion(slices):
    return SpaLLMFusion(n_clusters=4, text=GeneTextEncoder(model="lexical"), clusterer=FEW, random_state=0).fit(
        slices[0]
    )


@pytest.fixture(scope="module")
def present():
    """Genes of a panel: two in three, in the order of the fit."""
    return ~np.isin(np.arange(N_GENES), np.random.RandomState(0).permutation(N_GENES)[:20])


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 30))
def test_conditional_axes_are_those_of_the_dense_normal_distribution(n_genes, n_axes, seed):
    rng = np.random.default_rng(seed)
    n_axes = min(n_axes, n_genes)
    axes = np.linalg.qr(rng.normal(size=(n_genes, n_axes)))[0]
    noise, own = rng.uniform(0.1, 2), rng.uniform(0.5, 9, n_axes)
    some = rng.uniform(size=n_genes) < 0.6
    some[0] = True
    weights, lost = conditional_axes(axes, own + noise, noise, some)
    covariance = axes * own @ axes.T + noise * np.eye(n_genes)
    expected = np.linalg.solve(covariance[np.ix_(some, some)], covariance[some] @ axes)
    np.testing.assert_allclose(weights[some], expected, atol=1e-8)
    assert not weights[~some].any()
    known = expected.T @ covariance[np.ix_(some, some)] @ expected
    assert lost == pytest.approx(1 - np.trace(known) / (own + noise).sum(), abs=1e-8)


def test_nothing_is_lost_with_all_genes_and_all_without():
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 3)))[0]
    for some, share in ((np.ones(9, dtype=bool), 0.0), (np.zeros(9, dtype=bool), 1.0)):
        weights, lost = conditional_axes(axes, np.array([4.0, 3.0, 2.0]), 0.5, some)
        np.testing.assert_allclose(weights, axes * some[:, None], atol=1e-12)
        assert lost == pytest.approx(share, abs=1e-12)
    flat = conditional_axes(axes, np.zeros(3), 0.0, np.arange(9) < 4)  # nothing varies, so nothing is lost
    assert np.isfinite(flat[0]).all() and flat[1] == 0
    # Without noise as many genes as axes tell all.
    assert conditional_axes(axes, np.array([4.0, 3.0, 2.0]), 0.0, np.arange(9) < 3)[1] < 1e-4


@pytest.mark.parametrize("method", ["smooth", "views"])
@pytest.mark.parametrize("sliced", [True, False])
def test_a_slice_is_embedded_by_what_is_expected(method, sliced, slices, present):
    model = SpatialGraphTransformer(method, n_components=4)
    model.fit(slices[:1] if sliced else slices[0])
    assert model.n_pool_ == 0
    with pytest.warns(UserWarning, match=LACKS):
        found = model.transform(slices[1][:, present])
    X = slices[1].X.toarray().astype(np.float64)[:, present]
    counts = slices[0].X.toarray().astype(np.float64).sum(axis=0)
    average = averaging_operator(spatial_graph(slices[1].obsm["spatial"]))
    parts = []
    for pca in getattr(model._pca, "pcas_", [model._pca]):
        depth = pca.depth_ * counts[present].sum() / counts.sum()
        roots = np.sqrt(X / X.sum(axis=1, keepdims=True) * depth) * pca.gene_scales_[present]
        axes = pca.axes_ / pca.gene_scales_[:, None]
        scale = np.linalg.norm(axes, axis=0)
        axes = axes / scale
        covariance = axes * (pca.variances_ - pca.noise_) @ axes.T + pca.noise_ * np.eye(N_GENES)
        regression = np.linalg.solve(covariance[np.ix_(present, present)], covariance[present] @ axes)
        parts.append(((roots - pca.mean_[present]) @ regression + pca.mean_ @ axes) * scale)
    if method == "smooth":
        expected = hops(average, model.hop_weights_) @ parts[0] - model._pca.offset_
    else:
        kinds = [(kind, hops(average, weights)) for kind, weights in model._pca._views]
        scaled = zip(kinds, model._pca._scales, strict=True)
        expected = np.hstack([(A @ parts[kind] - centre) * scale for (kind, A), (centre, scale) in scaled])
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_noise_and_variances_are_those_of_the_fit(slices):
    pca = SpatialGraphTransformer(n_components=4).fit(slices[0])._pca
    average = averaging_operator(spatial_graph(slices[0].obsm["spatial"]))
    averaged = hops(average, pca.hop_weights_) @ pca.expression(slices[0].X.astype(np.float32), average)
    sizes = np.sort(np.linalg.eigvalsh(np.cov(averaged.T, ddof=0)))
    np.testing.assert_allclose(pca.variances_, sizes[::-1][:4], rtol=1e-3)
    assert pca.noise_ == pytest.approx(sizes[:-4].mean(), rel=1e-3)
    in_slices = SpatialGraphTransformer(n_components=4).fit(slices[:1])._pca
    np.testing.assert_allclose(in_slices.variances_, pca.variances_, rtol=1e-3)
    assert in_slices.noise_ == pytest.approx(pca.noise_, rel=1e-3)
    np.testing.assert_allclose(in_slices.counts_, pca.counts_)


def _quietly(call, X):
    with pytest.warns(UserWarning, match="lacks? .*genes seen in fit, which are taken as unknown"):
        return call(X)


def test_the_form_of_a_panel_does_not_matter(slices, fusion, present, tmp_path):
    part = slices[1][:, present].copy()
    expected = _quietly(fusion.transform, part)
    np.testing.assert_array_equal(_quietly(fusion.transform, part[:, ::-1].copy()), expected)
    dense = part.copy()
    dense.X = dense.X.toarray()
    np.testing.assert_allclose(_quietly(fusion.transform, dense), expected, atol=1e-5)
    deeper = part.copy()
    deeper.X = deeper.X * 3
    np.testing.assert_allclose(_quietly(fusion.transform, deeper), expected, atol=1e-5)
    others = slices[1][:, :9].copy()
    others.var_names = [f"NEW{i}" for i in range(9)]
    more = anndata.concat([part, others], axis=1)
    more.obsm["spatial"] = part.obsm["spatial"]
    more.X = sparse.csr_matrix(more.X)
    # What a panel holds beside is left out of library sizes, as it is where no gene is absent.
    np.testing.assert_array_equal(_quietly(fusion.transform, more), expected)
    part.write_h5ad(tmp_path / "part.h5ad")
    for listed in ([part], [part[:, ::-1].copy()], [tmp_path / "part.h5ad"]):
        np.testing.assert_allclose(_quietly(fusion.transform, listed)[0], expected, atol=1e-5)
        labels = _quietly(fusion.predict, listed)[0]
        np.testing.assert_array_equal(labels, _quietly(fusion.predict, part))


def test_tiles_of_a_panel_are_alike(slices, fitted, present, monkeypatch):
    parts = [slices[1][:, present].copy()]
    expected = _quietly(fitted.transform, parts)[0]
    monkeypatch.setattr(limits, "TILE_ENTRIES", N_GENES * 45)
    np.testing.assert_allclose(_quietly(fitted.transform, parts)[0], expected, atol=1e-5)


@pytest.mark.parametrize("n_genes", [1, 6, 20])
@pytest.mark.parametrize("sliced", [True, False])
def test_axes_of_all_directions_leave_the_smallest_for_noise(n_genes, sliced, slices):
    few = [one[:, :n_genes].copy() for one in slices]
    model = SpatialGraphTransformer(n_components=20).fit(few[:1] if sliced else few[0])
    assert model.n_components_ == n_genes
    assert model._pca.noise_ == pytest.approx(model._pca.variances_.min(), rel=1e-2)
    if n_genes > 1:
        whole, found = model.transform(few[1]), _quietly(model.transform, few[1][:, :-1])
        zeroed = few[1].copy()
        zeroed.X = sparse.csr_matrix(zeroed.X.toarray() * (np.arange(n_genes) < n_genes - 1))
        assert np.square(found - whole).sum() < 0.7 * np.square(model.transform(zeroed) - whole).sum()


def test_pooled_counts_are_brought_to_the_same_depth(slices, present):
    shallow = [one.copy() for one in slices]
    for one in shallow:
        one.X = sparse.csr_matrix(np.random.default_rng(0).binomial(one.X.toarray().astype(int), 0.1), dtype=np.float32)
    model = SpatialGraphTransformer(n_components=4).fit(shallow[0])
    assert model.n_pool_ > 0
    found = _quietly(model.transform, shallow[1][:, present])
    whole = model.transform(shallow[1])
    zeroed = shallow[1].copy()
    zeroed.X = sparse.csr_matrix(zeroed.X.toarray() * present)

    def error(values):
        return ((values - whole) ** 2).sum() / ((whole - whole.mean(axis=0)) ** 2).sum()

    assert error(found) < 0.5 * error(model.transform(zeroed))
    np.testing.assert_allclose(_quietly(model.transform, [shallow[1][:, present].copy()])[0], found, atol=1e-4)


def test_all_genes_there_is_as_before(slices, fitted):
    pca, lost = on_genes(fitted._pca, np.ones(N_GENES, dtype=bool))
    assert pca is fitted._pca and lost == 0
    expected = fitted.transform(slices[1])
    np.testing.assert_array_equal(fitted.transform(slices[1][:, ::-1]), expected)
    np.testing.assert_array_equal(fitted.transform(slices[:1])[0], fitted.transform(slices[0][:, ::-1]))


def test_a_panel_leaves_the_fit_as_it_is(slices, fitted, present):
    expected = fitted.transform(slices[1])
    _quietly(fitted.transform, slices[1][:, present])
    _quietly(fitted.transform, [slices[1][:, present].copy()])
    np.testing.assert_array_equal(fitted.transform(slices[1]), expected)


def test_unknown_is_not_zero(slices):
    """The genes that vary most are absent: domains are found by the others, and not if those are taken for zeros."""
    model = SpaLLMFusion(strategy="expression", n_clusters=4, clusterer=FEW, random_state=0).fit(slices[0])
    whole = model.predict(slices[1])
    X = slices[0].X.toarray()
    lacking = np.argsort(-np.sqrt(X / X.sum(axis=1, keepdims=True)).var(axis=0))[:15]
    some = ~np.isin(np.arange(N_GENES), lacking)
    found = _quietly(model.predict, slices[1][:, some])
    zeroed = slices[1].copy()
    zeroed.X = sparse.csr_matrix(zeroed.X.toarray() * some)
    assert adjusted_rand_score(found, whole) > 0.5 > adjusted_rand_score(model.predict(zeroed), whole) + 0.1


def test_genes_that_are_not_there_have_no_weight_in_text():
    rng = np.random.default_rng(0)
    X, vectors = rng.poisson(3.0, (20, 8)).astype(np.float32), rng.normal(size=(8, 5)).astype(np.float32)
    some, share = np.arange(8) < 5, 0.6
    for weighting, mean in (("contrast", rng.uniform(size=8).astype(np.float32)), ("abundance", None)):
        sums = gene_sums(vectors, np.ones(8, dtype=bool), mean, weighting=weighting).on_genes(some, share)
        weights = X[:, some] / X[:, some].sum(axis=1, keepdims=True) * share
        weights = weights if mean is None else np.sqrt(weights) - mean[some]
        np.testing.assert_allclose(sums(X * some), weights @ sums.vectors[some], atol=1e-5)
    np.testing.assert_array_equal(weights_of_genes(X, "contrast", False, share), X)


def test_one_warning_tells_what_is_lost(slices, fusion, present, tmp_path):
    part, fewer = slices[1][:, present].copy(), slices[0][:, present][:, 5:].copy()
    lost = 100 * on_genes(fusion.spatial_._pca, present)[1]
    for call in (fusion.predict, fusion.transform, fusion.write, fusion.spatial_.transform):
        with pytest.warns(UserWarning, match=LACKS) as caught:
            call(part.copy())
        assert len(caught) == 1 and f"with them {lost:.1f} % of" in str(caught[0].message)
    several = r"2 of the 3 slices of X lack up to 25 of the 60 genes seen in fit, .* up to \d+\.\d % of the variance"
    with pytest.warns(UserWarning, match=several) as caught:
        found = fusion.predict([part, slices[0], fewer])
    assert len(caught) == 1
    np.testing.assert_array_equal(found[1], fusion.labels_)


def test_what_is_written_is_what_is_predicted(slices, fusion, present):
    part = slices[1][:, present].copy()
    _quietly(fusion.write, part)
    np.testing.assert_array_equal(part.obs["domain"].astype(int), _quietly(fusion.predict, part))
    np.testing.assert_array_equal(part.obsm["X_domain"], _quietly(fusion.transform, part))
    assert part.uns["domain"]["predicted"]


@pytest.mark.parametrize("told", [(), ("spot", "region")])
def test_texts_tell_nothing_of_genes_that_are_not_there(told, slices, present, monkeypatch):
    model = quick_stllm(n_clusters=4, narration__levels=told).fit(slices[0])
    whole, part = model.predict(slices[1]), slices[1][:, present].copy()
    texts = []
    monkeypatch.setattr(LexicalBackend, "encode", _noted(texts, LexicalBackend.encode))
    with pytest.warns(UserWarning, match=LACKS) as caught:
        found = model.predict(part)
    assert len(caught) == 1 and adjusted_rand_score(found, whole) > 0.5
    assert bool(texts) == bool(told)
    names = set(slices[1].var_names[~present])
    assert not names & {word.strip(",.") for text in texts for word in text.split()}


def _noted(texts, encode):
    return lambda self, some: (texts.extend(some), encode(self, some))[1]


def test_what_composes_texts_of_genes_wants_them_all(slices, present):
    model = quick_stllm(n_clusters=4, narration__levels=("spot",), narration__spot_text="compose").fit(slices[0])
    with pytest.warns(UserWarning, match=LACKS), pytest.raises(ValueError, match="^X lacks 20 of the 60 genes seen"):
        model.predict(slices[1][:, present])
    learnt = quick_stllm(n_clusters=4, narration__levels=(), graph="learned").fit(slices[0])
    with pytest.raises(ValueError, match="^X lacks 20 of the 60 genes seen in fit, such as "):
        learnt.predict(slices[1][:, present])


def test_too_little_is_refused(slices, fusion):
    some = slices[1][:, :4].copy()
    told = r"56 of the 60 genes seen in fit, and with them \d\d\.\d % of the variance on the axes of the embedding, of "
    with pytest.raises(ValueError, match=f"^X lacks {told}which 40 % at most may be unknown; name genes alike, or fit"):
        fusion.predict(some)
    with pytest.raises(ValueError, match=f"^Slice 1 of X cannot be used: it lacks {told}which"):
        fusion.predict([slices[1], some])
    others = some.copy()
    others.var_names = [f"NEW{i}" for i in range(4)]
    with pytest.raises(
        ValueError, match=r"X lacks 60 of the 60 genes seen in fit, such as .* \(its own are like 'NEW0"
    ):
        fusion.predict(others)
    with pytest.raises(ValueError, match=r"Slice 0 of X cannot be used: it lacks 60 of the 60 genes seen in fit"):
        fusion.predict([others])


def test_what_is_refused_is_told_by_the_variance(slices, fitted, present, monkeypatch):
    _, lost = on_genes(fitted._pca, present)
    monkeypatch.setattr(panels, "MOST_LOST", lost + 1e-6)
    assert len(_quietly(fitted.transform, slices[1][:, present])) == slices[1].n_obs
    monkeypatch.setattr(panels, "MOST_LOST", lost - 1e-6)
    with pytest.raises(ValueError, match="at most may be unknown"):
        fitted.transform(slices[1][:, present])


@pytest.mark.parametrize(
    "model",
    [
        SpatialGraphTransformer(spatial_weight=0.5),
        SpatialGraphTransformer(graph="learned", random_state=0),
        SpaLLMFusion(SpatialGraphTransformer(spatial_weight=0.5), n_clusters=4, strategy="expression"),
        GeneTextEncoder(model="lexical"),
    ],
    ids=lambda model: type(model).__name__,
)
def test_others_want_all_genes(model, slices, present):
    model.fit(slices[0])
    with pytest.raises(ValueError, match="^X lacks 20 of the 60 genes seen in fit, such as "):
        model.transform(slices[1][:, present])


@pytest.mark.parametrize("form", ["list", "paths"])
def test_slices_of_different_genes_are_fitted_by_those_in_common(form, slices, tmp_path):
    parts = [slices[0][:, :50].copy(), slices[1][:, :9:-1].copy()]
    told = r"The 2 slices of X have 40 genes in common \(slice 0 has fewest, 50\), so these are used and 20 others left"
    X = parts
    if form == "paths":
        X = [tmp_path / f"{number}.h5ad" for number in range(2)]
        for part, path in zip(parts, X, strict=True):
            part.write_h5ad(path)
    model = SpaLLMFusion(n_clusters=4, text=GeneTextEncoder(model="lexical"), clusterer=FEW, random_state=0)
    with pytest.warns(UserWarning, match=told) as caught:
        model.fit(X)
    assert len(caught) == 1 and model.feature_names_in_.tolist() == slices[0].var_names[10:50].tolist()
    expected = SpaLLMFusion(n_clusters=4, text=GeneTextEncoder(model="lexical"), clusterer=FEW, random_state=0)
    expected.fit([one[:, 10:50].copy() for one in slices])
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(np.concatenate(model.predict(X)), model.labels_)


def test_slices_that_share_hardly_a_gene_are_refused(slices):
    parts = [slices[0][:, :30].copy(), slices[1][:, 25:].copy()]
    with pytest.raises(ValueError, match=r"^The 2 slices of X have 5 genes in common \(slice 0 has fewest, 30\), and "):
        SpatialGraphTransformer().fit(parts)
    # A panel that small is taken where nothing is left out.
    assert len(SpatialGraphTransformer().fit([one[:, :5].copy() for one in slices]).embedding_) == 500


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, sparse.csc_matrix])
def test_columns_are_taken_and_zeros_for_others(make):
    X = np.random.default_rng(0).poisson(1.0, (7, 5)).astype(np.int32)
    for order in ([4, 0, 1], [3, -1, 0, -1, 2], [-1, -1]):
        taken = take_columns(make(X), np.array(order))
        taken = taken.toarray() if sparse.issparse(taken) else taken
        assert taken.dtype == X.dtype
        np.testing.assert_array_equal(taken, np.where(np.array(order) >= 0, X[:, order], 0))


def test_share_of_counts():
    assert share_of_counts(np.array([1.0, 2.0, 5.0]), np.array([True, False, True])) == 0.75
    assert share_of_counts(np.zeros(2), np.array([True, False])) == 1.0
