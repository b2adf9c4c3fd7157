"""Texts of genes and cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from skst.genes import load_marker_descriptions
from skst.genes.templates import CELL_EMPTY_V1, CELL_PROMPT_V1, GENE_CARD_V1, cell_text, cell_texts, gene_text

GENE = {
    "symbol": "SST",
    "name": "somatostatin",
    "summary": "An inhibitory hormone.",
    "species": "human",
    "entrez_id": "6750",
    "aliases": "SMST|SOM",
    "previous_symbols": "",
}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("symbol", "SST"),
        ("name", "SST: somatostatin."),
        ("summary", "SST: somatostatin. An inhibitory hormone."),
        (
            "card",
            "Gene: SST\nFull name: somatostatin\nNCBI gene id: 6750\nOrganism: Homo sapiens\n"
            "Also known as: SMST, SOM\nSummary: An inhibitory hormone.",
        ),
    ],
)
def test_gene_text(kind, expected):
    assert gene_text(GENE, kind) == expected


def test_gene_text_goes_on_without_fields():
    assert gene_text({"symbol": "SST"}, "summary") == "SST"
    assert gene_text({"symbol": "SST"}, "card") == "Gene: SST"
    assert gene_text({"symbol": "SST", "summary": "A hormone."}) == "SST: A hormone."


def test_card_fields_are_columns_of_the_table():
    assert {field for _, field in GENE_CARD_V1} <= set(load_marker_descriptions().columns)


def test_prompt_asks_before_it_lists():
    text = cell_text(["A", "B"], "prompt")
    assert text.endswith(": A, B.")
    assert text.splitlines()[0] == CELL_PROMPT_V1.splitlines()[0]
    assert cell_text([], "prompt") == cell_text([], "sentence") == CELL_EMPTY_V1


@settings(max_examples=60, deadline=None)
@given(
    X=arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 8)), elements=st.integers(-1, 4)),
    k=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_cell_texts_equal_sorting_by_hand_in_any_column_order(X, k, seed):
    symbols = np.array([f"G{7 * i % 10}" for i in range(X.shape[1])], dtype=object)
    symbols[-1] = "" if X.shape[1] > 2 else symbols[-1]
    expected = []
    for row in X:
        ranked = sorted(
            (-value, symbol) for value, symbol in zip(row, symbols, strict=True) if value > 0 and symbol
        )
        expected.append(cell_text([symbol for _, symbol in ranked[:k]], "sentence"))
    order = np.random.default_rng(seed).permutation(X.shape[1])
    assert cell_texts(X, symbols, k, "sentence") == expected
    assert cell_texts(sparse.csr_array(X[:, order]), symbols[order], k, "sentence") == expected
