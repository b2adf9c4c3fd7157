"""Principal axes of cells and columns of text, against dense brute force in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from skst.expression import axes as module
from skst.expression.axes import CellAxes, CellExpression, WithoutDepth
from skst.expression.gene_views import CRITERIA, GeneViews
from skst.text.columns import TEXT_COLUMNS, TextColumns


def _counts(n=80, n_genes=40, seed=0, depth=1.0):
    """Counts of cells in two groups that differ in some genes, of uneven depth; gene 3 never varies."""
    rng = np.random.default_rng(seed)
    profile = np.exp(rng.normal(1, 1, n_genes)) * np.where(
        np.arange(n)[:, None] % 2, np.exp(rng.normal(0, 0.8, n_genes)), 1
    )
    X = rng.poisson(depth * profile * np.exp(rng.normal(0, 0.5, n))[:, None]).astype(np.float32)
    X[:, 3 % n_genes] = 0
    return X


def _random(seed=0):
    return np.random.RandomState(seed)


class _Dense:
    """What CellExpression and CellAxes stand for, written down with dense matrices in float64."""

    def __init__(self, X):
        self.X = X.astype(np.float64)
        self.sizes = self.X.sum(axis=1)
        self.depth = np.median(self.sizes[self.sizes > 0])
        self.values = np.sqrt(self.X / np.maximum(self.sizes, 1e-300)[:, None] * self.depth)
        logs = np.log(np.maximum(self.sizes, 1))
        self.log_depth = (logs - logs.mean()) / logs.std()
        design = np.column_stack([np.ones(len(X)), self.log_depth])
        coefficients = np.linalg.lstsq(design, self.values, rcond=None)[0]
        self.mean, self.slope = coefficients
        self.scale = (self.values - design @ coefficients).std(axis=0)
        self.design = design

    def standardised(self, genes, clip):
        """Genes without depth, clipped and of unit variance; depth is taken out once more after the clipping."""
        most = self.mean + clip * self.scale + np.outer(self.log_depth, self.slope)
        clipped = np.minimum(self.values, most)[:, genes] / self.scale[genes]
        return clipped - self.design @ np.linalg.lstsq(self.design, clipped, rcond=None)[0]

    def residual_variance(self):
        n = len(self.X)
        mean = np.outer(self.sizes, self.X.sum(axis=0) / self.sizes.sum())
        spread = np.sqrt(mean + mean**2 / 100)
        residual = np.where(spread > 0, (self.X - mean) / np.where(spread > 0, spread, 1), 0)
        return residual.clip(-np.sqrt(n), np.sqrt(n)).var(axis=0)

    def excess_variance(self, neighbourhood=201):
        """Of each gene, over the median of its neighbours in order of the mean; ends are continued."""
        logs = np.log(np.maximum(self.values.var(axis=0), 1e-12))
        order = np.argsort(self.values.mean(axis=0), kind="stable")
        size = min(neighbourhood, len(logs))
        padded = np.pad(logs[order], size, mode="edge")
        start = size - size // 2
        medians = [np.sort(padded[start + i : start + i + size])[size // 2] for i in range(len(logs))]
        excess = np.empty_like(logs)
        excess[order] = logs[order] - medians
        return excess


# What is known of every gene


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_statistics_of_genes_equal_a_regression_on_depth(make):
    X = _counts()
    X[5] = 0
    known, dense = CellExpression().fit(make(X)), _Dense(X)
    assert known.depth_ == dense.depth
    np.testing.assert_allclose(known.mean_, dense.mean, rtol=1e-5)
    np.testing.assert_allclose(known.slope_, dense.slope, atol=1e-5)
    np.testing.assert_allclose(known.scale_, dense.scale, rtol=1e-4)
    assert known.scale_[3] == 0
    values, log_depth = known.read(make(X))
    assert sparse.issparse(values) == (make is not np.asarray) and values.dtype == np.float32
    np.testing.assert_allclose(values.toarray() if sparse.issparse(values) else values, dense.values, rtol=1e-5)
    np.testing.assert_allclose(log_depth, dense.log_depth, rtol=1e-6)


def test_a_gene_that_follows_depth_alone_has_no_variance_left():
    sizes = np.arange(20.0, 80)
    logs = np.log(sizes + 100)
    values = np.column_stack([sizes, 100 - 5 * (logs - logs.mean()), 5 * (logs - logs.mean())]).astype(np.float32)
    known = CellExpression(normalize=False).fit(values)
    assert known.scale_[0] > 0 and known.slope_[1] == pytest.approx(-known.slope_[2], rel=1e-4)
    assert (known.scale_[1:] < 1e-2 * np.abs(known.slope_[1:])).all()


@pytest.mark.parametrize("n", [1, 2, 20, 3001])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_genes_that_are_the_same_in_all_cells_are_told_from_rounding(n, make):
    same = make(np.tile(np.arange(1, 30, dtype=np.float32), (n, 1)))
    known = CellExpression().fit(same)
    assert not known.scale_.any()
    for criterion in CRITERIA:
        assert len(known.genes(criterion, 10)) == 0


# Which genes vary most


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("n_genes", [24, 25, 320, 620])
def test_both_criteria_equal_their_formulas(n_genes, make):
    X = _counts(60, n_genes, depth=0.3)
    known, dense = CellExpression().fit(make(X)), _Dense(X)
    eligible = (dense.scale > 1e-6) & ((X > 0).sum(axis=0) >= 3)
    assert not eligible[3]
    for criterion, score in {"trend": dense.excess_variance(), "residual": dense.residual_variance()}.items():
        score[~eligible] = -np.inf
        for n_top in (1, 10, eligible.sum() - 1):
            found = known.genes(criterion, n_top)
            assert (np.diff(found) > 0).all() and len(found) == n_top
            # Rounding may swap two genes of nearly the same score.
            assert score[found].min() >= np.sort(score)[-n_top] - 1e-4
        np.testing.assert_array_equal(known.genes(criterion, 10**6), np.flatnonzero(eligible))
    assert not np.array_equal(known.genes("trend", 10), known.genes("residual", 10))


def test_genes_in_very_few_cells_are_left_out():
    X = _counts()
    X[:, [10, 11]] = 0
    X[:2, 10] = X[:3, 11] = 50
    for criterion in CRITERIA:
        found = CellExpression().fit(X).genes(criterion, 5)
        assert 10 not in found and 11 in found
    assert 10 in CellExpression(normalize=False).fit(X).genes("trend", 39)
    assert 0 in CellExpression().fit(X[:5]).genes("trend", 40)  # five cells cannot be asked for three


def test_without_counts_there_is_one_criterion():
    X = np.log1p(_counts())
    known = CellExpression(normalize=False).fit(X)
    np.testing.assert_array_equal(known.genes("residual", 10), known.genes("trend", 10))
    np.testing.assert_array_equal(known.read(X)[0], X)


# Axes


@pytest.mark.parametrize("clip", [10.0, 0.5])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_axes_equal_a_dense_decomposition(make, clip, monkeypatch):
    monkeypatch.setattr(module, "CLIP", clip)
    X = _counts(seed=1)
    X[5] = 0
    genes = np.flatnonzero(_Dense(X).scale > 1e-6)[::2]
    known = CellExpression().fit(make(X))
    values, log_depth = known.read(make(X))
    axes = CellAxes(known, genes, 6).fit(values, log_depth, _random())
    scores = axes.transform(values, log_depth)
    R = _Dense(X).standardised(genes, clip)
    U, S, Vt = np.linalg.svd(R, full_matrices=False)
    assert axes.axes_.shape == (len(genes), 6) and scores.shape == (80, 6) and scores.dtype == np.float32
    np.testing.assert_allclose(np.abs(axes.axes_), np.abs(Vt[:6].T), atol=2e-3)
    np.testing.assert_allclose(np.abs(scores), np.abs(U[:, :6] * S[:6]), atol=2e-2)
    np.testing.assert_allclose(scores, R @ axes.axes_, atol=1e-3)
    largest = np.abs(axes.axes_).argmax(axis=0)
    assert (axes.axes_[largest, range(6)] > 0).all()
    np.testing.assert_allclose(scores.T @ _Dense(X).design, 0, atol=1e-2)


def test_iterations_find_the_axes_that_a_decomposition_does(monkeypatch):
    X = sparse.csr_array(_counts(70, 60))
    known = CellExpression().fit(X)
    read = known.read(X)
    genes = known.genes("trend", 50)
    exact = CellAxes(known, genes, 3).fit(*read, _random())
    monkeypatch.setattr(module, "_BLOCK", 10)
    for seed in (0, 1):
        iterated = CellAxes(known, genes, 3).fit(*read, _random(seed))
        np.testing.assert_allclose(iterated.axes_, exact.axes_, atol=1e-3)
        np.testing.assert_allclose(iterated.transform(*read), exact.transform(*read), atol=1e-2)


@settings(max_examples=60, deadline=None)
@given(
    X=st.integers(1, 12).flatmap(
        lambda n: st.integers(1, 6).flatmap(
            lambda m: st.lists(st.lists(st.integers(0, 9), min_size=m, max_size=m), min_size=n, max_size=n)
        )
    )
)
def test_sparse_counts_are_seen_as_dense_ones(X):
    X = np.array(X, dtype=np.float32)
    known = [CellExpression().fit(make(X)) for make in (np.asarray, sparse.csr_array)]
    genes = known[0].genes("trend", 4)
    np.testing.assert_array_equal(genes, known[1].genes("trend", 4))
    if len(genes) == 0:
        return
    axes = []
    for one, make in zip(known, (np.asarray, sparse.csr_array), strict=True):
        values, log_depth = one.read(make(X))
        clipped = CellAxes(one, genes, 3)._clipped(values, log_depth)
        axes.append(clipped.toarray() if sparse.issparse(clipped) else clipped)
        scores = CellAxes(one, genes, 3).fit(values, log_depth, _random()).transform(values, log_depth)
        assert np.isfinite(scores).all() and scores.shape == (len(X), min(3, len(X), len(genes)))
    np.testing.assert_allclose(axes[0], axes[1], rtol=1e-5, atol=1e-5)


def test_an_empty_cell_is_not_clipped_below_zero():
    # Far below all others in depth, where a gene that grows with depth is expected to be negative.
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.normal(7, 0.3, 300))
    profile = np.ones((300, 30))
    profile[:, 0] = 20 * (sizes / np.median(sizes)) ** 2
    X = rng.poisson(sizes[:, None] * profile / profile.sum(axis=1, keepdims=True)).astype(np.float32)
    X[5] = 0
    scores = []
    for make in (np.asarray, sparse.csr_array):
        known = CellExpression().fit(make(X))
        read = known.read(make(X))
        assert known.mean_[0] + module.CLIP * known.scale_[0] + read[1][5] * known.slope_[0] < 0
        scores.append(CellAxes(known, np.arange(30), 3).fit(*read, _random()).transform(*read))
    np.testing.assert_allclose(*scores, atol=1e-3)


def test_cells_are_seen_one_by_one():
    X = sparse.csr_array(_counts())
    views = GeneViews(2, (10, 30), 5, 3).fit(X, _random())
    whole = views.inputs(X)
    rows = np.array([7, 3, 60])
    for some, part in zip(views.inputs(X[rows]), whole, strict=True):
        np.testing.assert_allclose(some, part[rows], atol=1e-6)
    for alone, part in zip(views.inputs(X[[9]]), whole, strict=True):
        np.testing.assert_allclose(alone, part[[9]], atol=1e-6)


def test_a_deeper_cell_moves_along_one_line():
    # All counts of a cell times c: its composition is the same, and what is left is the slope times log(c).
    X = _counts(depth=4)
    known = CellExpression().fit(X)
    axes = CellAxes(known, known.genes("trend", 20), 4).fit(*known.read(X), _random())
    scores = [axes.transform(*known.read(c * X)) for c in (1, 2, 8)]
    once, thrice = scores[1] - scores[0], scores[2] - scores[0]
    assert np.ptp(once, axis=0).max() < 1e-3 < np.abs(once).max()
    np.testing.assert_allclose(thrice, 3 * once, atol=1e-3)


def test_the_unit_of_counts_does_not_matter_to_the_axes():
    X = _counts()
    first, second = (CellExpression().fit(c * X) for c in (1, 5))
    genes = first.genes("trend", 20)
    np.testing.assert_array_equal(second.genes("trend", 20), genes)
    scores = []
    for known, counts in ((first, X), (second, 5 * X)):
        scores.append(CellAxes(known, genes, 4).fit(*known.read(counts), _random()).transform(*known.read(counts)))
    np.testing.assert_allclose(*scores, atol=1e-3)


def test_depth_makes_no_axis():
    """Cells of one kind, ten times as deep or not: nothing that is left tells the deep ones from the others."""
    rng = np.random.default_rng(0)
    deep = np.arange(300) % 2
    X = rng.poisson(np.exp(rng.normal(0.5, 1, 60)) * np.where(deep, 10, 1)[:, None]).astype(np.float32)
    known = CellExpression().fit(X)
    axes = CellAxes(known, known.genes("trend", 60), 5).fit(*known.read(X), _random())
    scores = axes.transform(*known.read(X))
    apart = np.abs(scores[deep == 1].mean(axis=0) - scores[deep == 0].mean(axis=0))
    assert (apart < 0.1 * scores.std(axis=0)).all()
    raw = np.sqrt(X / X.sum(axis=1, keepdims=True))
    raw = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    U = np.linalg.svd(raw, full_matrices=False)[0][:, 0]
    assert abs(U[deep == 1].mean() - U[deep == 0].mean()) > 0.5 * U.std()  # it would have been the first axis


def test_many_cells_are_learnt_from_some(monkeypatch):
    X = _counts(200)
    monkeypatch.setattr(module, "MAX_CELLS", 50)
    rows = np.linspace(0, 199, 50).astype(int)
    known = CellExpression().fit(X)
    values, log_depth = known.read(X)
    np.testing.assert_allclose(known.mean_, values[rows].mean(axis=0), rtol=1e-5)
    genes = known.genes("trend", 10)
    axes = CellAxes(known, genes, 3).fit(values, log_depth, _random())
    np.testing.assert_allclose(axes.transform(values, log_depth)[rows].mean(axis=0), 0, atol=1e-3)
    assert axes.transform(values, log_depth).shape == (200, 3)


# Several looks


def test_choices_that_come_out_alike_are_one():
    X = _counts(n_genes=20)
    views = GeneViews(5, (40, 80), 6, 4).fit(X, _random())
    assert views.which_ == [0] * 5 and len(views.inputs(X)) == 1 and views.inputs(X)[0].shape == (80, 6)
    views = GeneViews(5, (5, 80), 6, 4).fit(X, _random())
    chosen = views.inputs(X)
    assert len(chosen) == 3 and views.which_ == [0, 1, 2, 0, 1]
    assert sorted(part.shape[1] for part in chosen) == [5, 5, 6]


def test_leading_views_differ_in_number_and_in_criterion():
    X = _counts()
    raw = GeneViews(2, (5, 10), 6, 4, raw=True).fit(sparse.csr_array(X), _random())
    known = raw.expression_
    first, second = CRITERIA
    expected = [known.genes(*choice) for choice in ((first, 5), (second, 10), (second, 5), (first, 10))]
    assert raw.which_ == [0, 1]
    for part, genes in zip(raw.inputs(sparse.csr_array(X)), expected, strict=True):
        assert sparse.issparse(part)
        np.testing.assert_array_equal(part.toarray(), X[:, genes])


def test_leading_axes_have_unit_variance_on_average():
    X = _counts()
    views = GeneViews(2, (10, 30), 8, 3).fit(X, _random())
    for part in views.inputs(X):
        variance = part.var(axis=0)
        assert variance[:3].sum() == pytest.approx(3, rel=1e-4) and (np.diff(variance) < 1e-6).all()


@pytest.mark.parametrize("X", [np.zeros((9, 4)), np.ones((9, 4)), np.outer(np.arange(1, 10), [1, 2, 5])])
def test_nothing_that_varies(X):
    with pytest.raises(ValueError, match=r"X has no gene that varies .* \(n_samples=9, n_features=.\)"):
        GeneViews(2, (3,), 5, 2).fit(X.astype(np.float32), _random())


# Columns of text


def test_text_columns_are_principal_components_of_mean_variance_one():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(90, 70)) * np.geomspace(10, 0.1, 70) + 5
    columns = TextColumns(lambda values: values + 3)  # what is made ready may lie anywhere
    values = columns.fit_transform(vectors, 0)
    assert values.shape == (90, TEXT_COLUMNS) and values.dtype == np.float32 and columns.informative_
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-5)
    assert values.var(axis=0).mean() == pytest.approx(1, rel=1e-5)
    centred = vectors - vectors.mean(axis=0)
    U, S, _ = np.linalg.svd(centred, full_matrices=False)
    scale = np.sqrt((S[:TEXT_COLUMNS] ** 2).mean() / 90)
    np.testing.assert_allclose(np.abs(values[:, :20]), np.abs(U[:, :20] * S[:20]) / scale, atol=5e-3)
    np.testing.assert_allclose(columns.transform(vectors), values, atol=1e-4)
    np.testing.assert_allclose(columns.transform(vectors[[3, 50]]), values[[3, 50]], atol=1e-4)


def test_vectors_that_tell_nothing_apart():
    columns = TextColumns(lambda values: values)
    assert not columns.fit_transform(np.ones((9, 5)), 0).any() and not columns.informative_
    # All that tells these apart is taken away before.
    gone = TextColumns(lambda values: values - values)
    vectors = np.random.default_rng(0).normal(size=(9, 5))
    assert not gone.fit_transform(vectors, 0).any() and not gone.informative_
    assert columns.fit_transform(vectors, 0).any() and columns.informative_


def test_depth_is_taken_out_of_text_by_what_was_learnt():
    X = _counts(depth=4)
    known = CellExpression().fit(X)
    log_depth = known.log_depth(X)
    rng = np.random.default_rng(0)
    of_composition = rng.normal(size=(80, 3))
    of_composition -= np.outer(log_depth, log_depth @ of_composition) / (log_depth @ log_depth)
    vectors = of_composition + np.outer(log_depth, [3.0, -2.0, 0.5])
    prepare = WithoutDepth(known)
    np.testing.assert_allclose(prepare(vectors, X), of_composition, atol=1e-6)
    # Later cells by the same slopes, whatever theirs are.
    np.testing.assert_allclose(prepare(vectors[:4], X[:4]), of_composition[:4], atol=1e-6)
    np.testing.assert_allclose(prepare(np.zeros((4, 3)), X[:4]), -np.outer(log_depth[:4], [3.0, -2.0, 0.5]), atol=1e-6)


def test_columns_of_the_text_of_new_cells_do_not_depend_on_their_company():
    X = _counts()
    vectors = np.random.default_rng(0).normal(size=(80, 6))
    columns = TextColumns(WithoutDepth(CellExpression().fit(X)))
    fitted = columns.fit_transform(vectors, 0, X)
    np.testing.assert_allclose(columns.transform(vectors[[5]], X[[5]]), fitted[[5]], atol=1e-5)
