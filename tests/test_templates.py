"""Texts of genes and cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from skst.genes import load_marker_descriptions
from skst.genes.ranking import FEWEST_GENES, K_RULES, MOST_GENES, adaptive_k, rank_genes
from skst.genes.templates import CELL_EMPTY_V1, CELL_PROMPT_V1, GENE_CARD_V1, cell_text, cell_texts, gene_text
from skst.text import controls as words
from skst.text.controls import unrelated_names, unrelated_text
from skst.text.regression import TextRegression

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
        ranked = sorted((-value, symbol) for value, symbol in zip(row, symbols, strict=True) if value > 0 and symbol)
        expected.append(cell_text([symbol for _, symbol in ranked[:k]], "sentence"))
    order = np.random.default_rng(seed).permutation(X.shape[1])
    assert cell_texts(X, symbols, k, "sentence") == expected
    assert cell_texts(sparse.csr_array(X[:, order]), symbols[order], k, "sentence") == expected


COUNTS = arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 70)), elements=st.integers(-1, 9))


def _k_by_hand(row, rule):
    shares = sorted((float(value) for value in row if value > 0), reverse=True)
    total, k = sum(shares), 0
    if rule == "entropy":
        k = round(np.exp(-sum(v / total * np.log(v / total) for v in shares)))
    else:
        while 2 * sum(shares[:k]) < total:
            k += 1
    return min(max(k, FEWEST_GENES), MOST_GENES)


@settings(max_examples=60, deadline=None)
@given(X=COUNTS, scale=st.floats(1e-6, 1e6), seed=st.integers(0, 99))
@pytest.mark.parametrize("rule", K_RULES)
def test_adaptive_k_equals_its_formula_at_any_scale_and_order(rule, X, scale, seed):
    expected = [_k_by_hand(row, rule) for row in X]
    order = np.random.default_rng(seed).permutation(X.shape[1])
    assert adaptive_k(X, rule).tolist() == expected
    assert adaptive_k(sparse.csr_array((X * np.float32(scale))[:, order]), rule).tolist() == expected


def test_adaptive_k_knows_even_and_steep_spots():
    X = np.zeros((4, 80))
    X[0, :24], X[1, :3], X[2] = 7, 5, 1
    assert adaptive_k(X, "entropy").tolist() == [24, FEWEST_GENES, MOST_GENES, FEWEST_GENES]
    assert adaptive_k(X, "mass").tolist() == [12, FEWEST_GENES, 40, FEWEST_GENES]
    with pytest.raises(ValueError, match="rule='half' is not one of"):
        adaptive_k(X, "half")


@pytest.mark.parametrize("rule", K_RULES)
def test_adaptive_rules_count_only_genes_that_can_be_named(rule):
    X = np.repeat([[1.0, 1000.0]], [30, 1], axis=1)
    symbols = np.array([f"G{i}" for i in range(30)] + [""], dtype=object)
    ranked = rank_genes(X, symbols, rule)
    assert np.diff(ranked.starts).tolist() == [30 if rule == "entropy" else 15]


@settings(max_examples=40, deadline=None)
@given(X=COUNTS, rows=st.lists(st.integers(0, 5), max_size=8))
def test_taken_spots_are_ranked_as_if_alone(X, rows):
    rows = np.array([row % len(X) for row in rows], dtype=int)
    symbols = np.array([f"G{i:02d}" for i in range(X.shape[1])], dtype=object)
    taken = rank_genes(X, symbols, 7).take(rows)
    for i, row in enumerate(rows):
        alone = rank_genes(X[[row]], symbols, 7)
        np.testing.assert_array_equal(taken.columns[taken.starts[i] : taken.starts[i + 1]], alone.columns)


LISTS = (
    words.LOOKS_V1,
    words.STUFFS_V1,
    words.THINGS_V1,
    words.DEEDS_V1,
    words.PEOPLE_V1,
    words.PLACES_V1,
    words.TIMES_V1,
)


def test_unrelated_texts_are_the_same_everywhere_and_distinct():
    # The words are cached as vectors: a change of any of them needs a new version.
    assert (
        [len(set(entries)) for entries in LISTS] == [len(entries) for entries in LISTS] == [64, 64, 64, 16, 32, 32, 16]
    )
    assert unrelated_text("SST") == (
        "The janitor bought the broad denim hammer near the hotel on Friday morning, beside another long tile mug."
    )
    symbols = load_marker_descriptions()["symbol"].tolist() + [f"LOC{i}" for i in range(30_000)]
    texts = [unrelated_text(symbol) for symbol in symbols]
    assert len(set(texts)) == len(set(symbols))
    assert len({text[:40] for text in texts}) > 5000  # the hash reaches every word, not the last ones only


def test_unrelated_names_are_distinct_stable_and_not_genes():
    markers = load_marker_descriptions()["symbol"].to_numpy(dtype=object)
    symbols = np.concatenate([markers, [f"LOC{i}" for i in range(20_000)], ["", markers[0]]]).astype(object)
    names = unrelated_names(symbols)
    assert names[-2] == "" and names[-1] == names[0] and len(set(names)) == len(set(symbols))
    # What stands for a gene is the same thing in both kinds of text.
    same = [name in unrelated_text(symbol) for name, symbol in zip(names, symbols, strict=True)]
    assert np.mean(same) > 0.9
    order = np.random.default_rng(0).permutation(len(symbols))
    np.testing.assert_array_equal(unrelated_names(symbols[order]), names[order])
    assert (unrelated_names(markers) == names[: len(markers)]).mean() > 0.9
    genes = {symbol.upper() for symbol in markers}
    assert not genes & {word.upper() for name in names for word in name.split()}
    with pytest.raises(ValueError, match="X has 131073 distinct gene symbols but control='unrelated'"):
        unrelated_names(np.array([str(i) for i in range(2**17 + 1)], dtype=object))


def _ranked_spots(n, seed=0):
    rng = np.random.default_rng(seed)
    symbols = np.array([f"G{i:02d}" for i in range(20)], dtype=object)
    return rank_genes(rng.poisson(rng.gamma(1, 1, size=(n, 20))), symbols, 8)


def _described(ranked):
    """Densely, what a text regression knows of each text."""
    F = np.zeros((len(ranked.starts) - 1, 4, 20))
    for i, (start, end) in enumerate(zip(ranked.starts, ranked.starts[1:], strict=False)):
        for rank, gene in enumerate(ranked.columns[start:end]):
            F[i, :, gene] = 1, 1 / (1 + rank / 10), 1 / (1 + rank), rank == end - start - 1
    return F.reshape(len(F), -1)


def test_text_regression_equals_dense_ridge_and_leaving_out_one_by_one():
    ranked = _ranked_spots(60)
    rng = np.random.default_rng(1)
    F = _described(ranked)
    Y = F @ rng.normal(size=(80, 5)) + rng.normal(size=(60, 5))
    regression = TextRegression().fit(ranked, Y)

    def ridge(rows, alpha, at):
        mean, centre = F[rows].mean(0), Y[rows].mean(0)
        D = F[rows] - mean
        return (F[at] - mean) @ np.linalg.solve(D.T @ D + alpha * np.eye(80), D.T @ (Y[rows] - centre)) + centre

    everyone = np.arange(60)
    errors = {
        alpha: sum(np.sum((ridge(np.delete(everyone, i), alpha, i) - Y[i]) ** 2) for i in everyone)
        for alpha in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    }
    assert regression.alpha_ == min(errors, key=errors.get)
    assert regression.r2_ == pytest.approx(1 - min(errors.values()) / np.sum((Y - Y.mean(0)) ** 2), abs=1e-6)
    np.testing.assert_allclose(regression.predict(ranked), ridge(everyone, regression.alpha_, everyone), atol=1e-4)


def test_text_regression_predicts_new_texts_as_well_as_it_says():
    ranked, new = _ranked_spots(600), _ranked_spots(400, seed=2)
    weights = np.random.default_rng(1).normal(size=(80, 6))
    noise = np.random.default_rng(3).normal(size=(1000, 6)) * 2
    Y = np.vstack([_described(ranked), _described(new)]) @ weights + noise
    regression = TextRegression().fit(ranked, Y[:600])
    held_out = 1 - np.sum((regression.predict(new) - Y[600:]) ** 2) / np.sum((Y[600:] - Y[:600].mean(0)) ** 2)
    assert 0.3 < regression.r2_ < 0.95 and held_out == pytest.approx(regression.r2_, abs=0.05)


def test_text_regression_without_variance_or_known_genes():
    ranked = _ranked_spots(30)
    regression = TextRegression().fit(ranked, np.ones((30, 3)))
    assert regression.r2_ == 1
    strange = rank_genes(np.eye(3), np.array(["A", "B", "C"], dtype=object), 5)
    strange = strange._replace(columns=strange.columns + 100)
    np.testing.assert_allclose(regression.predict(strange), 1)
