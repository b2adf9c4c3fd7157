"""Text of SemSTClusterer: what it adds, its controls, and how it is left out."""

import numpy as np
import pytest
from semst_fits import lexical, quick_semst
from tissues import ari

# Text


def test_text_is_read_and_can_be_left_out(tissue):
    without = quick_semst(fusion=None, text=None).fit(tissue)  # needs no model
    assert without.text_ is None and without.modulation_ is None
    trained = {"network__max_epochs": 20, "network__start": "averaged", "network__n_networks": 1}
    own = quick_semst(**trained).fit(tissue)
    permuted = quick_semst(text=lexical(control="permuted"), **trained).fit(tissue)
    np.testing.assert_array_equal(own.embedding_[:, :20], permuted.embedding_[:, :20])
    assert not np.allclose(own.embedding_, permuted.embedding_, atol=1e-3)
    assert not np.allclose(own.embedding_, quick_semst(fusion=None, **trained).fit(tissue).embedding_, atol=1e-3)


@pytest.mark.parametrize("control", ["permuted", "unrelated", "gaussian"])
def test_controls_of_text(tissue, control):
    fitted = quick_semst(text=lexical(control=control)).fit(tissue)
    assert fitted.text_.control == control and fitted.modulation_.alpha.any() and ari(fitted, tissue) > 0.7
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)


def test_what_text_adds_has_its_price(tissue):
    spread = []
    for weight in (0.0, 0.1, 100.0):
        fitted = quick_semst(losses__text=weight, network__max_epochs=30, network__n_networks=1).fit(tissue)
        alpha, beta = fitted.modulation_
        assert alpha.shape == beta.shape == (400, 40) and alpha.dtype == np.float32
        spread.append(np.sqrt(np.mean(np.square(fitted.modulation_))))
    assert spread[0] > spread[1] > 2 * spread[2] > 0


def test_modulation_tells_spots_apart(tissue):
    alpha, beta = quick_semst(network__max_epochs=40).fit(tissue).modulation_
    assert alpha.std(axis=0).max() > 1e-3 and beta.std(axis=0).max() > 1e-3
    assert np.isfinite(alpha).all() and np.isfinite(beta).all()


def test_seeds_of_the_text(tissue):
    seeded = [quick_semst(text=lexical(control="permuted"), random_state=seed).fit(tissue).text_ for seed in (0, 0, 1)]
    assert seeded[0].random_state == seeded[1].random_state != seeded[2].random_state
    own = quick_semst(text=lexical(random_state=5)).fit(tissue)
    assert own.text_.random_state == 5 and own.text is not own.text_ and not hasattr(own.text, "n_features_in_")


def test_without_gene_names_there_is_no_text(tissue):
    places = {"coordinates": tissue.obsm["spatial"]}
    with pytest.warns(UserWarning, match="X has no gene names"):
        fitted = quick_semst().fit(tissue.X, **places)
    assert fitted.text_ is None and fitted.modulation_ is None
    expected = quick_semst(fusion=None).fit(tissue.X, **places)
    np.testing.assert_array_equal(fitted.labels_, expected.labels_)
    np.testing.assert_array_equal(fitted.predict(tissue.X, **places), fitted.labels_)
    with pytest.raises(ValueError, match="X has no gene names"):
        quick_semst(text=lexical(on_missing="error")).fit(tissue.X, **places)
