"""Genes that are specific to spots, surroundings and regions: scores against dense arithmetic, and who is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from told_tissues import FUNCTIONS, GENES, lattice, tissue, told

from skst.expression import specificity
from skst.expression.specificity import SpecificGenes, leading
from skst.graph import spatial_graph
from skst.narration.narrator import TissueNarrator


@pytest.mark.parametrize("block", [3, 4096])
def test_scores_equal_dense_arithmetic(monkeypatch, block):
    monkeypatch.setattr(specificity, "_ROWS", block)
    monkeypatch.setattr(specificity, "_COLUMNS", block)
    data = tissue(40, seed=3, n_slices=2)
    data["X"][5] = 0
    order = np.argsort(GENES)[1:]
    sizes = np.maximum(data["X"].sum(axis=1, keepdims=True), 1)
    shares = np.sqrt(data["X"] / sizes)[:, order].astype(np.float64)
    centred = shares.copy()
    for code in (0, 1):
        centred[data["batch"] == code] -= shares[data["batch"] == code].mean(axis=0)
    graph = data["graph"].toarray()
    average = graph / graph.sum(axis=1, keepdims=True)
    weights = (centred * (average @ centred)).sum(axis=0) / (centred**2).sum(axis=0)
    patterned = weights > 0
    assert 2 < patterned.sum()
    weights, centred = weights[patterned], centred[:, patterned]
    scores = weights * np.maximum(centred, 0)
    shared = (average @ np.sqrt(scores)) ** 2

    genes = SpecificGenes(data["X"], data["graph"], GENES, data["batch"])
    np.testing.assert_array_equal(genes.symbols, GENES[order][patterned])
    np.testing.assert_allclose(genes.weights, weights, rtol=1e-5)
    np.testing.assert_array_equal(genes.of_spots(3), leading(scores, 3, 0.1))
    columns, likeness = genes.of_neighbors(3)
    np.testing.assert_array_equal(columns, leading(shared, 3, 0.1))
    lengths = np.sqrt(scores.sum(axis=1) * shared.sum(axis=1))
    np.testing.assert_allclose(likeness, (np.sqrt(scores * shared)).sum(axis=1) / np.maximum(lengths, 1e-9), atol=1e-5)
    spots = np.array([7, 2, 30, 11])
    more, less = genes.differences(spots, 2)
    np.testing.assert_array_equal(more, leading((scores - shared)[spots], 2))
    np.testing.assert_array_equal(less, leading((shared - scores)[spots], 2))

    codes, index = np.unique(data["regions"], return_inverse=True)
    members = sparse.csr_array((index == np.arange(len(codes))[:, None]).astype(float))
    columns, heights = genes.of_regions(members, 4)
    for region in range(len(codes)):
        inside = centred[index == region]
        excess = inside.mean(axis=0)
        errors = np.sqrt((centred**2).mean(axis=0) / len(inside))
        expected = np.where(excess > 3 * errors, weights * excess, 0)
        np.testing.assert_array_equal(columns[region], leading(expected[None], 4)[0])
        assert heights[region] == pytest.approx((weights * excess).sum() * 1e6, abs=2)


def test_weights_leave_out_spots_without_neighbours():
    data = tissue(40)
    linked = data["graph"].toarray()
    linked[:5] = linked[:, :5] = 0
    has_neighbors = linked.any(axis=1)
    assert 0 < (~has_neighbors).sum() < 10
    genes = SpecificGenes(data["X"], sparse.csr_array(linked), GENES)
    centred = genes.values.toarray().astype(np.float64)
    centred -= centred.mean(axis=0)
    average = linked / np.maximum(linked.sum(axis=1, keepdims=True), 1)
    expected = (centred * (average @ centred)).sum(axis=0) / (centred[has_neighbors] ** 2).sum(axis=0)
    np.testing.assert_allclose(genes.weights, expected, rtol=1e-4)


def test_only_genes_of_most_variance_are_looked_at(monkeypatch):
    monkeypatch.setattr(specificity, "_MOST_GENES", 2)
    data = tissue(60)
    variance = np.sqrt(data["X"] / data["X"].sum(axis=1, keepdims=True)).var(axis=0)
    variance[GENES == ""] = 0
    named = SpecificGenes(data["X"], data["graph"], GENES).symbols
    assert 0 < len(named) and {*named} <= {*GENES[np.argsort(variance)[-2:]]}


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.lists(st.integers(-3, 12), min_size=5, max_size=5), min_size=1, max_size=4),
    k=st.integers(1, 8),
    part=st.sampled_from([0.0, 0.3]),
)
def test_leading_equals_sorting_by_hand(scores, k, part):
    for row, found in zip(scores, leading(np.array(scores, dtype=float), k, part), strict=True):
        ranked = sorted((-value, column) for column, value in enumerate(row) if value > 0 and value >= part * max(row))
        assert found.tolist() == ([column for _, column in ranked] + [-1] * k)[:k]


def test_a_gene_high_everywhere_and_a_gene_without_pattern_are_not_named_first():
    rng = np.random.default_rng(0)
    points = lattice(20, 20)
    left = points[:, 0] < 10
    counts = np.column_stack([np.full(400, 500), np.where(left, 30, 3), rng.permutation(np.where(left, 60, 3))])
    symbols = np.array(["ACTB", "MBP", "NOISE"], dtype=object)
    narrator = TissueNarrator().fit(counts, spatial_graph(points), left, symbols=symbols)
    assert narrator.weights_["MBP"] > 0.7 > 0.2 > narrator.weights_.get("NOISE", 0)
    texts = np.array(narrator.neighborhood_texts())
    assert np.mean([text.startswith("The neighbours of this spot share MBP") for text in texts[left]]) > 0.9
    assert narrator.table()["markers"].tolist().count("MBP") == 1


def test_genes_of_one_symbol_are_added_and_a_gene_without_symbol_counts_to_the_library():
    data = tissue()
    X, symbols = data["X"].copy(), GENES.copy()
    X[:, 1] += X[:, 4]
    X[:, 4] = 0
    merged = told(data | {"X": X})
    symbols[4] = "PLP1"
    functions = np.where(symbols == "PLP1", "proteolipid protein 1", FUNCTIONS)
    np.testing.assert_array_equal(told(data | {"symbols": symbols, "functions": functions}), merged)
    without = {"X": data["X"][:, GENES != ""], "symbols": GENES[GENES != ""], "functions": FUNCTIONS[GENES != ""]}
    assert (told(data | without) != told(data)).any()
