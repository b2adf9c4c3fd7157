"""Batches of the network of SemST, and its training."""

import numpy as np
import pytest
import torch
from some_spots import Each, double, interrupt, some_network, some_spots, train_quickly

from skst.nn import training
from skst.nn.autoencoder import SpotBatch
from skst.nn.batches import Halo
from skst.nn.ensemble import embed_all
from skst.nn.training import resolve_device

# --- batches ---


def test_one_batch_of_all_spots_is_made_once():
    spots = some_spots()
    (first, label), (again, _) = next(iter(spots)), next(iter(spots))
    assert len(list(spots)) == 1 and first is again and label is None
    assert len(spots) == first.n_core == 60
    np.testing.assert_array_equal(first.counts, spots.counts.toarray())
    np.testing.assert_allclose(first.log_size[:, 0], np.log(spots.sizes), rtol=1e-6)


def test_a_batch_that_comes_again_is_moved_once(monkeypatch):
    moved = []
    to = SpotBatch.to
    monkeypatch.setattr(SpotBatch, "to", lambda self, device: (moved.append(self.n_core), to(self, device))[1])
    train_quickly(some_network(), some_spots(), max_epochs=3)
    assert moved == [60]
    moved.clear()
    tiles = some_spots(150, size=6, rng=np.random.RandomState(0))
    train_quickly(some_network(), tiles, max_epochs=2)
    assert len(moved) == 2 * tiles.n_batches and sum(moved) == 2 * 150


@pytest.mark.parametrize("asked", [False, True])
def test_a_gpu_is_asked_for_sums_that_repeat_themselves(asked):
    seen = []
    torch.use_deterministic_algorithms(asked)
    try:
        for device in ("cpu", "cuda"):
            with training.repeatable(device):
                seen.append(torch.are_deterministic_algorithms_enabled())
            assert torch.are_deterministic_algorithms_enabled() is asked
    finally:
        torch.use_deterministic_algorithms(False)
    assert seen == [asked, True]


def test_batches_of_tiles_see_each_spot_once_with_what_is_its_own():
    spots = some_spots(150, size=6, rng=np.random.RandomState(0))
    # Something that tells spots apart.
    spots.sizes = np.exp(np.arange(150) / 100)
    dense = spots.operators[0].toarray()
    for _ in range(2):
        seen = []
        for batch, _ in spots:
            core = np.round(100 * batch.log_size[:, 0].numpy()).astype(int)
            seen.append(core)
            assert batch.n_core == len(core) < len(batch.semantic)
            np.testing.assert_array_equal(batch.counts, spots.counts[core].toarray())
            np.testing.assert_array_equal(batch.semantic[: len(core)], spots.semantic[core])
            found = np.zeros((len(core), len(core)), dtype=int)
            np.add.at(found, tuple(batch.edges.numpy()), 1)
            np.testing.assert_array_equal(found, (dense[np.ix_(core, core)] > 0) & ~np.eye(len(core), dtype=bool))
        assert len(seen) == 4  # 25 tiles, at most 8 in a batch
        np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(150))


def test_all_spots_are_embedded_alike_however_they_were_trained():
    network = some_network()
    whole, tiled = some_spots(150), some_spots(150, size=10)
    embedding = embed_all(network, whole)
    np.testing.assert_array_equal(embed_all(network, tiled), embedding)
    assert tiled.whole().counts is None and whole.whole() is next(iter(whole))[0]
    batch = double(whole.whole())
    with torch.no_grad():
        expected = network.double().embed(batch)[0]
    np.testing.assert_allclose(embedding, expected, atol=1e-5)
    # A core with its ring of neighbours has the representation that it has in the whole.
    network.float()
    for core in tiled.tiles[:3]:
        patch = Halo(tiled.operators, hops=1)(core)
        part = network.embed(tiled.batch(patch.nodes, patch.operators, patch.n_core))[0]
        assert len(patch.nodes) < 150
        np.testing.assert_allclose(part.detach(), embedding[core], atol=1e-5)


def test_without_counts_there_is_nothing_to_learn_from():
    spots = some_spots()
    spots.counts = None
    batch = next(iter(spots))[0]
    assert batch.counts is batch.log_size is batch.edges is None
    assert some_network().embed(batch)[0].shape == (60, 4)


def test_the_loss_of_an_epoch_is_a_mean_over_spots():
    # Nothing is learnt and no neighbour left out, so the likelihood of all spots is what the history should say.
    network, spots = some_network(), some_spots(150, rng=np.random.RandomState(0))
    frozen = {"lr": 1e-12, "max_epochs": 1}
    expected = train_quickly(network, spots, **frozen)[0].loc[0, "zinb"]
    spots.tiles = [np.arange(130), *np.split(np.arange(130, 150), 20)]
    spots._halo = Halo(spots.operators, hops=1)
    losses = []
    record = Each(lambda net: losses.extend(net.history[-1, "batches", :, "zinb"]))
    history, _ = train_quickly(network, spots, **frozen, callbacks=[record])
    assert history.loc[0, "zinb"] == pytest.approx(expected, rel=1e-5)
    assert len(losses) == 3 and abs(np.mean(losses) - expected) > 1e-3  # of very unequal batches


def test_training_lowers_the_loss_and_leaves_a_readable_history():
    seen = []
    history, interrupted = train_quickly(some_network(), some_spots(), max_epochs=12, callbacks=[Each(seen.append)])
    assert len(seen) == 12 and not interrupted
    assert list(history) == ["epoch", "train_loss", "zinb", "correlation", "spatial", "text", "dur"]
    assert history["epoch"].tolist() == list(range(1, 13))
    assert history["train_loss"].iloc[-1] < history["train_loss"][0] - 0.1
    assert np.isfinite(history.to_numpy()).all()


def test_patience():
    frozen = {"max_epochs": 30, "lr": 1e-12}
    assert len(train_quickly(some_network(), some_spots(), patience=3, **frozen)[0]) == 4
    assert len(train_quickly(some_network(), some_spots(), patience=None, **frozen)[0]) == 30
    assert len(train_quickly(some_network(), some_spots(), patience=3, max_epochs=30)[0]) > 4


def test_a_stop_by_a_callback_is_no_interrupt():
    def stop_third(net):
        if len(net.history) == 3:
            raise KeyboardInterrupt

    history, interrupted = train_quickly(some_network(), some_spots(), max_epochs=9, callbacks=[Each(stop_third)])
    assert len(history) == 3 and not interrupted


def test_an_interrupt_ends_training_and_keeps_finished_epochs(monkeypatch):
    network, spots = some_network(), some_spots()
    likelihood = training.zinb_loss
    calls = []

    def third(*args):
        calls.append(0)
        return interrupt() if len(calls) == 3 else likelihood(*args)

    monkeypatch.setattr(training, "zinb_loss", third)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    history, interrupted = train_quickly(network, spots, max_epochs=9)
    assert interrupted and history["epoch"].tolist() == [1, 2] and len(calls) == 3
    assert all(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    calls.clear()
    monkeypatch.setattr(training, "zinb_loss", interrupt)
    history, interrupted = train_quickly(network, spots)
    assert interrupted and len(history) == 0 and "train_loss" in history


@pytest.mark.parametrize("moment", ["on_train_begin", "on_train_end"])
def test_an_interrupt_outside_of_the_epochs_goes_up(moment, monkeypatch):
    monkeypatch.setattr(Each, moment, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_quickly(some_network(), some_spots(), callbacks=[Each(id)])


def test_the_device_is_found(monkeypatch):
    assert resolve_device("meta") == "meta"
    with pytest.raises(ValueError, match=r"device='toaster' .*; use \"auto\" or \"cpu\"\."):
        resolve_device("toaster")
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert resolve_device("auto") == expected
