"""The ensemble of networks of SemST: what it decodes, the axes it is read on, and its seeds."""

import numpy as np
import pytest
import torch
from some_spots import WEIGHTS, Each, interrupt, some_network, some_spots

from skst.nn import training
from skst.nn.ensemble import NetworkEnsemble, _turn

# --- the ensemble ---


def _ensemble(spots, seeds=(1, 2), from_average=(True, False), zero_inflation=False, fusion="fsm", **options):
    shape = {"n_features": 4, "n_hidden": 8, "n_components": 4, "n_semantic": 6, "n_genes": 7, "fusion": fusion}
    rng = np.random.default_rng(0)
    loadings, log_rates = rng.normal(size=(7, 4)).astype("f4"), rng.normal(size=7).astype("f4")
    ensemble = NetworkEnsemble(shape | {"zero_inflation": zero_inflation}, loadings, log_rates)
    options = {"max_epochs": 6, "patience": None, "device": "cpu", "callbacks": None, "verbose": 0} | options
    said = []
    fitted = ensemble.fit(spots, seeds, from_average, lr=1e-2, say=said.append, weights=WEIGHTS, **options)
    assert len(said) == len(fitted)
    return ensemble, fitted


def test_rates_are_those_that_the_networks_decode():
    spots = some_spots()
    ensemble, embeddings = _ensemble(spots)
    batch = next(iter(spots))[0]
    with torch.no_grad():
        decoded = [torch.exp(network(batch).log_mean - batch.log_size).numpy() for network in ensemble.networks]
    np.testing.assert_allclose(ensemble.rates(embeddings), np.mean(decoded, axis=0), rtol=2e-3)
    assert not np.allclose(decoded[0], decoded[1], rtol=0.05)


def test_representations_are_of_unit_variance_and_made_again():
    spots = some_spots()
    ensemble, embeddings = _ensemble(spots)
    for fitted, again in zip(embeddings, ensemble.embed(spots), strict=True):
        np.testing.assert_allclose(again, fitted, atol=1e-6)
        assert fitted.shape == (60, 4) and fitted.dtype == np.float32
        assert fitted.var(axis=0).sum() == pytest.approx(1, rel=1e-4)
        np.testing.assert_allclose(fitted.mean(axis=0), 0, atol=1e-5)


def test_a_random_start_is_read_on_axes_that_do_not_depend_on_its_basis():
    network = some_network()
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(50, 4)).astype(np.float32)
    mixing = rng.normal(size=(4, 4))
    grams, unmixed = [], []
    weight = network.decoder.weight.detach().clone()
    for basis in (np.eye(4), mixing):
        moved = (raw @ basis).astype(np.float32)
        network.decoder.weight.data = weight @ torch.as_tensor(np.linalg.inv(basis).T, dtype=torch.float32)
        for canonical, found in ((True, grams), (False, unmixed)):
            turn = _turn(network, moved, canonical)
            embedding = (moved - turn.centre) @ turn.axes
            found.append(embedding @ embedding.T)
            # Whatever the axes, the rates are those that the network decodes.
            logs = moved @ network.decoder.weight.detach().numpy().T + network.decoder.bias.detach().numpy()
            np.testing.assert_allclose(embedding @ turn.weight + turn.bias, logs, atol=1e-3)
    np.testing.assert_allclose(grams[0], grams[1], atol=1e-3)
    assert not np.allclose(unmixed[0], unmixed[1], atol=1e-2)


def test_a_unit_step_moves_the_counts_alike_along_every_axis():
    network = some_network()
    turn = _turn(network, np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32), canonical=True)
    steps = turn.weight * np.exp(turn.bias / 2)  # of square roots of rates, twice
    gram = steps @ steps.T
    np.testing.assert_allclose(gram, gram[0, 0] * np.eye(4), atol=1e-3 * gram[0, 0])


def test_seeds_determine_the_networks_and_nothing_else_does():
    spots = some_spots()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, embeddings = _ensemble(spots)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    for again, expected in zip(_ensemble(spots)[1], embeddings, strict=True):
        np.testing.assert_array_equal(again, expected)
    _, alike = _ensemble(spots, seeds=(1, 1), from_average=(False, False))
    np.testing.assert_array_equal(alike[0], alike[1])
    _, apart = _ensemble(spots, seeds=(1, 2), from_average=(False, False))
    assert not np.allclose(np.abs(apart[0]), np.abs(apart[1]), atol=1e-2)
    assert first.history["network"].tolist() == [0] * 6 + [1] * 6 and first.history.columns[0] == "network"


def test_random_starts_learn_twice_as_fast():
    rates = []
    _ensemble(some_spots(), callbacks=[Each(lambda net: rates.append(net.lr))], max_epochs=1)
    assert rates == [1e-2, 2e-2]


def test_factors_are_those_of_each_network_side_by_side():
    spots = some_spots()
    ensemble, _ = _ensemble(spots)
    alpha, beta = ensemble.factors(spots.semantic)
    assert alpha.shape == beta.shape == (60, 16) and alpha.dtype == np.float32
    for i, network in enumerate(ensemble.networks):
        expected = network.fuse.factors(torch.as_tensor(spots.semantic))
        for found, part in zip((alpha, beta), expected, strict=True):
            np.testing.assert_allclose(found[:, 8 * i : 8 * i + 8], part.detach(), atol=1e-6)
    assert np.abs(alpha).max() > 1e-3
    for chunked, whole in zip(ensemble.factors(spots.semantic, chunk=7), (alpha, beta), strict=True):
        np.testing.assert_allclose(chunked, whole, atol=1e-6)
    assert _ensemble(spots, fusion="add")[0].factors(spots.semantic) is None


def test_an_interrupt_leaves_the_networks_trained_so_far(monkeypatch):
    spots = some_spots()
    likelihood = training.zinb_loss
    calls = []

    def tenth(*args):
        calls.append(0)
        return interrupt() if len(calls) == 10 else likelihood(*args)

    monkeypatch.setattr(training, "zinb_loss", tenth)
    ensemble, embeddings = _ensemble(spots, seeds=(1, 2, 3), from_average=(True, False, True))
    assert ensemble.interrupted and len(embeddings) == len(ensemble.networks) == len(ensemble.embed(spots)) == 2
    assert ensemble.history.groupby("network").size().tolist() == [6, 3]
    assert ensemble.rates(embeddings).shape == (60, 7)
    assert ensemble.factors(spots.semantic)[0].shape == (60, 16)
