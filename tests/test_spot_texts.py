"""Sentences that are longer than a model reads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skst import GeneTextEncoder, LLMDSCClusterer
from skst.datasets import make_spatial_domains
from skst.text import LexicalBackend
from skst.text.spot_texts import split_sentence
from skst.text.tokens import count_tokens


class Short:
    """Words into vectors, no more than `max_tokens` of a text; remembers what it was given."""

    name = "short"

    def __init__(self, max_tokens):
        self.max_tokens, self.texts = max_tokens, []

    def __deepcopy__(self, memo):
        return self

    def encode(self, texts):
        self.texts += texts
        return LexicalBackend().encode(texts)


@given(st.lists(st.text("ABCDEFGHIJ0123456789-", min_size=1, max_size=12), min_size=1, max_size=60), st.integers(3, 40))
def test_pieces_hold_all_genes_in_order_and_are_short(symbols, max_tokens):
    pieces = split_sentence(" ".join(symbols), max_tokens)
    assert " ".join(pieces).split(" ") == symbols
    assert all(count_tokens(piece) <= max_tokens - 2 or " " not in piece for piece in pieces)
    if count_tokens(" ".join(symbols)) <= max_tokens - 2:
        assert len(pieces) == 1


@pytest.fixture(scope="module")
def cells():
    return make_spatial_domains(n_samples=60, n_genes=80, n_domains=2, depth=300, random_state=0)


def _sentences(model, cells, **parameters):
    encoder = GeneTextEncoder(model=model, mode="sentence", k_g=50, **parameters).set_params(
        descriptions__species="mouse", model__cache=False
    )
    return encoder.fit_transform(cells)


def test_vector_of_a_long_sentence_is_the_mean_of_its_pieces(cells):
    whole, pieces = Short(None), Short(20)
    _sentences(whole, cells)
    found = _sentences(pieces, cells)
    texts = [text for text in dict.fromkeys(whole.texts) if text != "No gene is expressed."]
    assert all(count_tokens(text) <= 18 for text in pieces.texts) and any(count_tokens(text) > 18 for text in texts)
    for text in texts[:10]:
        parts = split_sentence(text, 20)
        sizes = [len(part.split(" ")) for part in parts]
        expected = np.average(LexicalBackend().encode(parts), axis=0, weights=sizes)
        assert np.isclose(found, expected, atol=1e-6).all(axis=1).any()


def test_a_context_that_is_long_enough_changes_nothing(cells):
    np.testing.assert_array_equal(_sentences(Short(5000), cells), _sentences(Short(None), cells))


def test_prompts_are_not_split(cells):
    model = Short(20)
    GeneTextEncoder(model=model, mode="prompt", k_g=50).set_params(
        descriptions__species="mouse", model__cache=False
    ).fit_transform(cells)
    assert any(count_tokens(text) > 18 for text in model.texts)


@pytest.mark.filterwarnings("ignore:Text vectors are predicted")
def test_pieces_are_averaged_where_vectors_are_predicted_too(cells):
    found = _sentences(Short(20), cells, max_texts=30, random_state=0)
    assert found.shape[0] == 60 and np.isfinite(found).all()


def test_cell_types_are_found_with_as_many_genes_as_published(cells):
    text = GeneTextEncoder(model=Short(20), mode="dual", k_g=2048).set_params(
        descriptions__species="mouse", model__cache=False
    )
    model = LLMDSCClusterer(2, text=text, n_top_genes=(80,), random_state=0).set_params(
        network__n_networks=1, network__max_epochs=2
    )
    assert len(set(model.fit_predict(cells))) == 2
