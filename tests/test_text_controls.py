"""Controls of GeneTextEncoder: texts of other genes, invented names and noise."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from text_encoders import MODES, KeptBackend, LetterBackend, lexical_encoder

from skst.genes.templates import CELL_EMPTY_V1
from skst.text import GeneTextEncoder
from skst.text.controls import unrelated_names, unrelated_text


def test_controls(counts):
    X, genes = counts
    plain = lexical_encoder(genes).fit(X)
    permuted = lexical_encoder(genes, control="permuted").fit(X)
    assert not np.array_equal(permuted.gene_vectors_, plain.gene_vectors_)
    rows = {row.tobytes() for row in plain.gene_vectors_}
    assert {row.tobytes() for row in permuted.gene_vectors_} == rows and len(rows) == len(genes)
    gaussian = lexical_encoder(genes, control="gaussian").fit(X)
    assert gaussian.gene_vectors_.shape == plain.gene_vectors_.shape
    assert np.sqrt(np.mean(gaussian.gene_vectors_**2)) == pytest.approx(
        np.sqrt(np.mean(plain.gene_vectors_**2)), rel=0.05
    )
    again = lexical_encoder(genes, control="gaussian").fit(X)
    np.testing.assert_array_equal(again.gene_vectors_, gaussian.gene_vectors_)
    other = lexical_encoder(genes, control="gaussian", random_state=1).fit(X)
    assert not np.array_equal(other.gene_vectors_, gaussian.gene_vectors_)


@pytest.mark.parametrize("mode", ["sentence", "prompt", "dual"])
def test_controls_of_cell_texts(counts, mode):
    X, genes = counts
    plain = lexical_encoder(genes, mode=mode).fit(X)
    for control in ("permuted", "gaussian"):
        encoder = lexical_encoder(genes, mode=mode, control=control).fit(X)
        H = encoder.transform(X)
        assert H.shape == (60, 384) and not np.allclose(H, plain.transform(X), atol=1e-3)
        np.testing.assert_allclose(encoder.transform(X[3:5]), H[3:5], atol=1e-5)
        np.testing.assert_allclose(clone(encoder).fit_transform(X), H, atol=1e-5)


def test_permuted_sentence_swaps_names(counts):
    X, genes = counts
    backend = LetterBackend()
    GeneTextEncoder(
        model=backend, mode="sentence", k_g=20, gene_names=genes, control="permuted", random_state=0
    ).fit_transform(X)
    named = {frozenset(text.split()) for text in backend.asked if text != CELL_EMPTY_V1}
    assert {len(names) for names in named} == {int((row > 0).sum()) for row in X if row.any()}
    assert named != {frozenset(genes[row > 0]) for row in X if row.any()}


@pytest.mark.parametrize("k_g", [6, "entropy", "mass"])
@pytest.mark.parametrize("mode", ["sentence", "prompt"])
def test_unrelated_cell_texts_change_nothing_but_the_names(counts, mode, k_g):
    X, genes = counts
    plain, unrelated = LetterBackend(), LetterBackend()
    parameters = {"mode": mode, "k_g": k_g, "gene_names": genes}
    GeneTextEncoder(model=plain, **parameters).fit_transform(X)
    GeneTextEncoder(model=unrelated, control="unrelated", **parameters).fit_transform(X)
    words = dict(zip(genes, unrelated_names(genes), strict=True))
    assert len(set(words.values())) == len(genes)
    pattern = re.compile("|".join(rf"\b{re.escape(gene)}\b" for gene in sorted(genes, key=len, reverse=True)))
    replaced = {pattern.sub(lambda match: words[match.group()], text) for text in plain.asked}
    assert set(unrelated.asked) == replaced and not any(pattern.search(text) for text in replaced)


@pytest.mark.parametrize("mode", MODES)
def test_unrelated_control_is_deterministic_and_cached(counts, mode):
    X, genes = counts
    encoder = lexical_encoder(genes, model=KeptBackend(), mode=mode, control="unrelated", random_state=None)
    H = encoder.fit_transform(X)
    again = clone(encoder)
    np.testing.assert_array_equal(again.fit_transform(X), H)
    assert encoder.cache_misses_ > 0 == again.cache_misses_
    assert again.cache_hits_ == encoder.cache_hits_ + encoder.cache_misses_
    plain = lexical_encoder(genes, mode=mode).fit_transform(X)
    assert H.shape == plain.shape and not np.allclose(H, plain, atol=1e-3)
    columns = np.random.default_rng(1).permutation(len(genes))
    shuffled = clone(encoder).set_params(gene_names=genes[columns])
    np.testing.assert_allclose(shuffled.fit_transform(X[:, columns]), H, atol=1e-4 * np.abs(H).max())


@pytest.mark.parametrize("mode", ["aggregate", "dual"])
def test_unrelated_sentence_of_each_gene(counts, mode):
    X, genes = counts
    backend = LetterBackend()
    encoder = GeneTextEncoder(model=backend, mode=mode, control="unrelated", gene_names=genes).fit(X)
    sentences = [unrelated_text(gene) for gene in genes]
    np.testing.assert_allclose(encoder.gene_vectors_, LetterBackend().encode(sentences), rtol=1e-6)
    report = lexical_encoder(genes).fit(X).gene_report_
    pd.testing.assert_frame_equal(encoder.gene_report_, report)
    described = set(report["text"])
    assert set(sentences) <= set(backend.asked) and not described & set(backend.asked)
