"""Text of LLMDSCClusterer follows the structure, has its share, and can be left out."""

import numpy as np
import pytest
import torch
from llmdsc_fits import lexical, quick_llmdsc
from sklearn.base import clone

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


# Text


@pytest.mark.parametrize("batch_size", ["auto", 64])
def test_text_follows_the_structure_and_does_not_move_it(cells, batch_size):
    # The same seeds are drawn for all: networks are equal to the last digit.
    model = quick_llmdsc(network__batch_size=batch_size, losses__n_contrast=50)
    aligned = clone(model).fit(cells)
    other_text = {"text": lexical(control="permuted"), "losses__align": 5.0}
    for change in ({"losses__align": 0.0}, {"align_to": None}, other_text):
        other = clone(model).set_params(**change).fit(cells)
        np.testing.assert_array_equal(other.structural_embedding_, aligned.structural_embedding_)
        if other.text_ is not None:
            assert not np.array_equal(other.semantic_embedding_, aligned.semantic_embedding_)


def test_shared_layers_are_moved_by_text(cells):
    model = quick_llmdsc(align_to="shared", network__n_networks=1)
    fitted = [clone(model).set_params(losses__align=weight).fit(cells) for weight in (0.1, 1.0)]
    assert not torch.equal(*(one.networks_[0].encoder[0].weight for one in fitted))


def test_the_share_of_text(cells):
    fitted = {weight: quick_llmdsc(text_weight=weight).fit(cells) for weight in (0.0, 1.0)}
    for weight, name in ((0.0, "structural_embedding_"), (1.0, "semantic_embedding_")):
        np.testing.assert_array_equal(fitted[weight].embedding_[:, :32], getattr(fitted[weight], name))
    without = quick_llmdsc(align_to=None).fit(cells)
    assert without.text_ is None and without.semantic_embedding_ is None
    np.testing.assert_array_equal(without.embedding_, fitted[0.0].embedding_)
    np.testing.assert_array_equal(without.labels_, fitted[0.0].labels_)
    assert "alignment" not in without.history_


def test_text_comes_near_the_structure(cells):
    fitted = quick_llmdsc(network__max_epochs=30, network__n_networks=1).fit(cells)
    structure, text = fitted.structural_embedding_, fitted.semantic_embedding_
    cosine = (structure * text).sum(axis=1) / np.linalg.norm(structure, axis=1) / np.linalg.norm(text, axis=1)
    others = np.roll(text, 151, axis=0)
    by_chance = (structure * others).sum(axis=1) / np.linalg.norm(structure, axis=1) / np.linalg.norm(others, axis=1)
    assert np.median(cosine) > 0.7 > 0.4 > np.median(by_chance)


def test_without_gene_names_there_is_no_text(cells):
    with pytest.warns(UserWarning, match="X has no gene names"):
        fitted = quick_llmdsc().fit(cells.X)
    assert fitted.text_ is None and fitted.semantic_embedding_ is None
    expected = quick_llmdsc(align_to=None).fit(cells.X)
    np.testing.assert_array_equal(fitted.labels_, expected.labels_)
    np.testing.assert_array_equal(fitted.predict(cells.X), fitted.labels_)
    with pytest.raises(ValueError, match="X has no gene names"):
        quick_llmdsc(text=lexical(on_missing="error")).fit(cells.X)
