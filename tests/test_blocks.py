"""Large matrices a block of rows at a time: the same as all rows at once."""

import numpy as np
import pytest
from scipy import sparse

from skst import limits
from skst.embedding.fusion import ViewFusion
from skst.embedding.sliced import blocks
from skst.expression.axes import CellExpression
from skst.expression.counts import library_sizes
from skst.expression.gene_views import GeneViews
from skst.expression.scale import centre_and_scale
from skst.graph import spatial_graph
from skst.graph.build import averaging_operator
from skst.inputs.blocks import column_sums, is_whole, row_blocks, row_sums, some_columns
from skst.inputs.order import content_order
from skst.inputs.slices import slices_in_memory
from skst.inputs.spots import Spots
from skst.nn import NormalizedCut
from skst.results import data_hash

MAKE = [np.asarray, sparse.csr_array]


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(0.6, size=(60, 30)).astype(np.float32)


@pytest.fixture
def small_blocks(monkeypatch):
    """Call it, and blocks are of a few rows."""
    return lambda: monkeypatch.setattr(limits, "BLOCK_ENTRIES", 100)


@pytest.mark.parametrize("make", MAKE)
def test_blocks_are_all_rows_in_order(counts, make, small_blocks):
    X = make(counts)
    ((rows, block),) = row_blocks(X)
    assert block is X and rows == slice(0, 60)
    small_blocks()
    found = list(row_blocks(X))
    assert len(found) > 5
    dense = [block.toarray() if sparse.issparse(block) else block for _, block in found]
    np.testing.assert_array_equal(np.vstack(dense), counts)
    np.testing.assert_array_equal(np.concatenate([counts[rows] for rows, _ in found]), counts)
    assert [block.shape for _, block in row_blocks(make(np.zeros((1, 3))))] == [(1, 3)]


@pytest.mark.parametrize("make", MAKE)
def test_sums_and_orders_are_those_of_all_rows(counts, make, small_blocks):
    X = make(counts)
    places = np.random.default_rng(1).integers(0, 3, size=(60, 2)).astype(float)
    expected = [
        library_sizes(X),
        content_order(X),
        content_order(X, axis=1),
        content_order(X, places),
        [data_hash(Spots(X, None, places, None))],
    ]
    small_blocks()
    for power in (1, 2, 3):
        np.testing.assert_array_equal(row_sums(X, power), (counts.astype(float) ** power).sum(axis=1))
        np.testing.assert_array_equal(column_sums(X, power), (counts.astype(float) ** power).sum(axis=0))
    found = [
        library_sizes(X),
        content_order(X),
        content_order(X, axis=1),
        content_order(X, places),
        [data_hash(Spots(X, None, places, None))],
    ]
    for own, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(own, other)


def test_what_tells_data_apart_is_not_their_form(counts, small_blocks, monkeypatch):
    noisy = counts + np.random.default_rng(1).random(counts.shape, dtype=np.float32)
    expected = data_hash(Spots(sparse.csr_array(noisy), None, None, None))
    small_blocks()
    monkeypatch.setattr(limits, "HELD_ENTRIES", 70)
    assert data_hash(Spots(noisy, None, None, None)) == expected


def test_whole_numbers_are_told_wherever_they_lie(counts, small_blocks):
    small_blocks()
    assert is_whole(counts) and is_whole(np.asfortranarray(counts)) and is_whole(np.empty(0))
    counts[59, 29] = 0.5
    assert not is_whole(counts) and not is_whole(counts[:, ::-1])


def test_all_columns_of_a_sparse_matrix_are_no_copy(counts):
    matrix = sparse.csr_array(counts)
    assert some_columns(matrix, np.arange(30)) is matrix
    # Products of dense rows depend on where in memory a row lies, if not column by column.
    assert some_columns(counts, np.arange(30)).flags.f_contiguous
    np.testing.assert_array_equal(some_columns(counts, np.array([0, 7])), counts[:, [0, 7]])


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_axes_of_cells_do_not_depend_on_blocks(counts, make, small_blocks):
    views = GeneViews(2, (10, 20), 5, 3)
    expected = views.fit_axes(make(counts), np.random.RandomState(0))
    small_blocks()
    found = GeneViews(2, (10, 20), 5, 3).fit_axes(make(counts), np.random.RandomState(0))
    for own, other, again in zip(expected, found, views.axes(make(counts)), strict=True):
        np.testing.assert_allclose(other, own, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(again, own, rtol=1e-5, atol=1e-6)


def test_a_cut_does_not_depend_on_blocks(counts, small_blocks):
    expected = NormalizedCut(counts, deflate=True)
    small_blocks()
    np.testing.assert_allclose(NormalizedCut(counts, deflate=True).leading, expected.leading, rtol=1e-12)


def test_a_cut_takes_the_memory_of_its_matrix_only_if_told_to(counts):
    C = sparse.csr_array(counts)
    NormalizedCut(C)
    np.testing.assert_array_equal(C.toarray(), counts)
    cut = NormalizedCut(C, copy=False)
    np.testing.assert_allclose(sparse.linalg.norm(C, axis=1), (counts.any(axis=1)).astype(float), rtol=1e-6)
    assert cut.n_cells == 60


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_values_of_some_genes_are_those_of_all_and_leave_the_counts(counts, make, small_blocks):
    small_blocks()
    X, genes = make(counts), np.array([1, 4, 20])
    known = CellExpression().fit(X)
    found, every = known.values(X, genes), known.read(X)[0]
    dense = [part.toarray() if sparse.issparse(part) else part for part in (found, every, X)]
    np.testing.assert_array_equal(dense[0], dense[1][:, genes])
    np.testing.assert_array_equal(dense[2], counts)


@pytest.mark.parametrize("strategy", ["expression", "weighted", "concat"])
def test_fusion(strategy, small_blocks):
    rng = np.random.default_rng(0)
    structure, meaning = (rng.normal(size=(60, n)).astype(np.float32) for n in (8, 9))
    fusion = ViewFusion(strategy, beta=0.5, n_views=2)
    expected = fusion.fit_fuse(structure, meaning)
    before = structure.copy()
    small_blocks()
    np.testing.assert_allclose(fusion.fuse(structure, meaning), expected, atol=1e-6)
    np.testing.assert_array_equal(structure, before)
    scales = [centre_and_scale(part) for part in np.split(structure, 2, axis=1)]
    for found, (centre, scale) in zip(scales, fusion._scales, strict=True):
        np.testing.assert_array_equal(found[0], centre)
        assert found[1] == pytest.approx(scale, rel=1e-6)
    # In its place where it is as wide.
    reduced = None if strategy == "expression" else fusion._reduced(meaning)
    fused = fusion.fuse_reduced(structure, reduced, in_place=True)
    np.testing.assert_allclose(fused, expected, atol=1e-6)
    assert np.shares_memory(fused, structure) == (strategy != "concat")


@pytest.mark.parametrize(("n_columns", "n_blocks"), [(20, 2), (40, 1), (80, 9)])
def test_slices_in_memory_are_cut_where_parts_are_many_spots_or_the_whole_is_large(n_columns, n_blocks, monkeypatch):
    for name, value in {"TILE_ENTRIES": 60 * 40, "HELD_ENTRIES": 30 * 20, "HELD_SPOTS": 30}.items():
        monkeypatch.setattr(limits, name, value)
    places = np.random.default_rng(0).uniform(size=(60, 2))
    (one,) = slices_in_memory(Spots(np.ones((60, 3), dtype=np.float32), None, places, None), "a test").slices
    found = list(blocks(one, averaging_operator(spatial_graph(places)), 1, n_columns))
    assert len(found) == n_blocks
    np.testing.assert_array_equal(np.sort(np.concatenate([block.rows for block in found])), np.arange(60))
