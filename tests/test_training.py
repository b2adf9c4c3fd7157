"""The network of SemST, its batches, its training and the ensemble, against dense brute force in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import sparse
from skorch.callbacks import Callback
from torch.distributions import NegativeBinomial

from skst.graph import averaging_operator, nearest_neighbors, spatial_graph
from skst.nn import SemanticModulation, SparseOperator, training
from skst.nn.autoencoder import SpotAutoencoder, SpotBatch
from skst.nn.batches import Halo, tiles
from skst.nn.ensemble import NetworkEnsemble, _turn, embed_all
from skst.nn.training import SpotBatches, SpotNet, resolve_device, train

WEIGHTS = {"correlation_weight": 0.3, "spatial_weight": 0.7, "text_weight": 0.2, "balanced": True}


def _operators(n, n_neighbors=3, seed=0):
    """Averages over neighbours on a plane, and in a space of features."""
    rng = np.random.default_rng(seed)
    found = nearest_neighbors(rng.normal(size=(n, 5)), n_neighbors)
    rows = np.repeat(np.arange(n), found.shape[1])
    directed = sparse.coo_array((np.ones(found.size), (rows, found.ravel())), shape=(n, n)).tocsr()
    places = rng.uniform(size=(n, 2))
    return places, [averaging_operator(spatial_graph(places, n_neighbors=n_neighbors)), averaging_operator(directed)]


def _spots(n=60, n_features=4, n_genes=7, n_semantic=6, seed=0, size=None, rng=None):
    """Spots with counts, as an estimator prepares them; in tiles of `size` spots if it is given."""
    places, operators = _operators(n, seed=seed)
    draws = np.random.default_rng(seed)
    features = draws.normal(size=(n, n_features)).astype(np.float32)
    counts = draws.poisson(3 * np.exp(features @ draws.normal(size=(n_features, n_genes)) / 3)).astype(np.float32)
    return SpotBatches(
        [operator @ features for operator in operators],
        [operator @ features for operator in operators],
        operators,
        draws.normal(size=(n, n_semantic)).astype(np.float32),
        counts=sparse.csr_array(counts),
        sizes=counts.sum(axis=1) + 1,
        tiles=None if size is None else tiles(places, size),
        random_state=rng,
    )


def _network(seed=0, **options):
    """A network in which every weight has a gradient: none is zero, and biases keep ReLUs alive."""
    torch.manual_seed(seed)
    options = {"fusion": "fsm"} | options
    network = SpotAutoencoder(4, 8, 4, 6, 7, **options)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.normal_(std=0.4)
            if name.endswith("bias"):
                parameter.abs_()
    return network


def _train(network, batches, **options):
    options = {
        "max_epochs": 5,
        "lr": 1e-2,
        "patience": None,
        "device": "cpu",
        "callbacks": None,
        "verbose": 0,
    } | options
    return train(network, batches, **({"weights": WEIGHTS} | options))


# --- the whole loss ---


def _double(batch):
    """A batch in float64."""

    def cast(part):
        if isinstance(part, list):
            return [cast(item) for item in part]
        if isinstance(part, SparseOperator):
            return SparseOperator(sparse.csr_array(part._forward.to_dense().double().numpy()))
        return part.double() if torch.is_tensor(part) and part.is_floating_point() else part

    return SpotBatch(*(cast(part) for part in batch))


def _dense_loss(network, batch, weights):
    """Eqs. of the paper on dense N x N matrices, entry by entry where that is clearer."""
    n = batch.n_core
    dense = [operator._forward.to_dense() for operator in batch.operators]
    views = []
    for branch, x, start, A in zip(network.branches, batch.averaged, batch.start, dense, strict=True):
        hidden = torch.relu(x @ branch.first.weight.T + branch.first.bias)
        view = A @ hidden @ branch.second.weight.T + branch.second.bias
        views.append((view + start if network.residual else view)[:n])
    H, W = torch.cat(views, dim=1), network.fuse.project.weight.T
    plain = Z = H @ W
    if isinstance(network.fuse, SemanticModulation):
        factors = network.fuse.mlp(batch.semantic[:n])
        alpha, beta = factors[:, : H.shape[1]], factors[:, H.shape[1] :]
        Z = ((1 + alpha) * H + beta) @ W

    mean = torch.exp(batch.log_size + Z @ network.decoder.weight.T + network.decoder.bias)
    theta = network.log_dispersion.exp()
    log_nb = NegativeBinomial(theta.expand_as(mean), logits=mean.log() - theta.log()).log_prob(batch.counts)
    if network.dropout is not None:
        pi = torch.sigmoid(Z @ network.dropout.weight.T + network.dropout.bias)
        log_nb = torch.log(pi * (batch.counts == 0) + (1 - pi) * log_nb.exp())
    zinb = -log_nb.mean()

    d = views[0].shape[1]
    S = torch.stack([torch.stack([F.cosine_similarity(a, b, dim=0) for b in views[1].T]) for a in views[0].T])
    correlation = (S.diagonal() - 1).square().sum() / d + (S - S.diagonal().diag()).square().sum() / (d * (d - 1))

    c = F.cosine_similarity(Z[:, None], Z[None], dim=2)
    edge = (dense[0][:n, :n] > 0) & ~torch.eye(n, dtype=torch.bool)
    apart = 0.69374797 + 0.5 * c + 0.12009575 * c**2  # stands for log(1 + exp(c)), as documented
    together = -torch.log(torch.sigmoid(c))
    if weights["balanced"]:
        spatial = (together[edge].mean() + apart[~edge].mean()) / 2
    else:
        spatial = (together[edge].sum() + apart[~edge].sum()) / (2 * n**2)

    text = (Z - plain).square().mean() / plain.detach().square().mean()
    return (
        zinb
        + weights["correlation_weight"] * correlation
        + weights["spatial_weight"] * spatial
        + weights["text_weight"] * text
    )


@pytest.mark.parametrize("n_core", [12, 7])
@pytest.mark.parametrize(
    ("options", "balanced"),
    [
        ({}, True),
        ({"zero_inflation": True, "residual": False}, False),
        ({"fusion": None, "zero_inflation": True}, True),
    ],
)
def test_the_loss_and_its_gradient_are_the_dense_ones(options, balanced, n_core):
    spots = _spots(12)
    network = _network(**options).double()
    weights = WEIGHTS | {"balanced": balanced}
    batch = _double(spots.batch(np.arange(12), spots.operators, n_core))
    net = SpotNet(network, **weights, device="cpu").initialize()
    net.history.new_epoch()
    net.history.new_batch()
    parameters = dict(network.named_parameters())
    loss = net.get_loss(net.infer(batch), None, X=batch)
    expected = _dense_loss(network, batch, weights)
    torch.testing.assert_close(loss, expected, rtol=1e-8, atol=1e-8)
    ours, theirs = (torch.autograd.grad(value, list(parameters.values())) for value in (loss, expected))
    for name, our, their in zip(parameters, ours, theirs, strict=True):
        assert their.abs().max() > 1e-6, name
        torch.testing.assert_close(our, their, rtol=1e-6, atol=1e-8, msg=lambda text, name=name: f"{name}: {text}")


def test_terms_without_a_weight_are_left_out():
    spots = _spots()
    history, _ = _train(_network(), spots, max_epochs=1, weights=dict.fromkeys(WEIGHTS, 0.0))
    assert list(history) == ["epoch", "train_loss", "zinb", "dur"]
    assert history["train_loss"][0] == pytest.approx(history["zinb"][0])
    history, _ = _train(_network(), spots, max_epochs=1)
    total = history["zinb"] + 0.3 * history["correlation"] + 0.7 * history["spatial"] + 0.2 * history["text"]
    np.testing.assert_allclose(history["train_loss"], total, rtol=1e-5)


# --- the network ---


@pytest.mark.parametrize("fusion", ["fsm", "add", "cross_attention", "concat", None])
def test_a_network_can_start_at_averaged_expression(fusion):
    spots = _spots()
    batch = next(iter(spots))[0]
    network = _network(fusion=fusion)
    loadings, log_rates = torch.randn(7, 4), torch.randn(7)
    network.start_decoder(log_rates)
    for branch in network.branches:
        torch.nn.init.zeros_(branch.second.bias)
    network.start_averaged(loadings)
    out = network(batch)
    torch.testing.assert_close(out.embedding, batch.start[0])
    assert out.moved.item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(out.log_mean, batch.start[0] @ loadings.T + log_rates + batch.log_size)
    history, _ = _train(network, spots, max_epochs=10)
    assert history["train_loss"].iloc[-1] < history["train_loss"][0]
    assert not torch.allclose(network(batch).embedding, batch.start[0], atol=1e-2)


def test_without_a_residual_the_start_does_not_matter():
    batch = next(iter(_spots()))[0]
    moved = batch._replace(start=[start + 1 for start in batch.start])
    for residual in (False, True):
        network = _network(residual=residual)
        assert torch.allclose(network(batch).embedding, network(moved).embedding) != residual


def test_without_convolutions_the_branches_are_what_is_given():
    batch = next(iter(_spots()))[0]
    network = _network(convolve=False, fusion=None)
    expected = torch.cat(batch.start, dim=1) @ network.fuse.project.weight.T
    torch.testing.assert_close(network(batch).embedding, expected)


def test_the_decoder_starts_with_hardly_any_dropout():
    network = _network(zero_inflation=True)
    network.start_decoder(torch.zeros(7))
    logits = network(next(iter(_spots()))[0]).dropout_logits
    assert logits.shape == (60, 7) and (logits == logits[0, 0]).all() and torch.sigmoid(logits[0, 0]) < 0.1
    assert _network()(next(iter(_spots()))[0]).dropout_logits is None


# --- batches ---


def test_one_batch_of_all_spots_is_made_once():
    spots = _spots()
    (first, label), (again, _) = next(iter(spots)), next(iter(spots))
    assert len(list(spots)) == 1 and first is again and label is None
    assert len(spots) == first.n_core == 60
    np.testing.assert_array_equal(first.counts, spots.counts.toarray())
    np.testing.assert_allclose(first.log_size[:, 0], np.log(spots.sizes), rtol=1e-6)


def test_batches_of_tiles_see_each_spot_once_with_what_is_its_own():
    spots = _spots(150, size=6, rng=np.random.RandomState(0))
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
    network = _network()
    whole, tiled = _spots(150), _spots(150, size=10)
    embedding = embed_all(network, whole)
    np.testing.assert_array_equal(embed_all(network, tiled), embedding)
    assert tiled.whole().counts is None and whole.whole() is next(iter(whole))[0]
    batch = _double(whole.whole())
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
    spots = _spots()
    spots.counts = None
    batch = next(iter(spots))[0]
    assert batch.counts is batch.log_size is batch.edges is None
    assert _network().embed(batch)[0].shape == (60, 4)


# --- training ---


class _Each(Callback):
    """Calls a function at the end of each epoch."""

    def __init__(self, call):
        self.call = call

    def on_epoch_end(self, net, **kwargs):
        self.call(net)


def test_the_loss_of_an_epoch_is_a_mean_over_spots():
    # Nothing is learnt and no neighbour left out, so the likelihood of all spots is what the history should say.
    network, spots = _network(), _spots(150, rng=np.random.RandomState(0))
    frozen = {"lr": 1e-12, "max_epochs": 1}
    expected = _train(network, spots, **frozen)[0].loc[0, "zinb"]
    spots.tiles = [np.arange(130), *np.split(np.arange(130, 150), 20)]
    spots._halo = Halo(spots.operators, hops=1)
    losses = []
    record = _Each(lambda net: losses.extend(net.history[-1, "batches", :, "zinb"]))
    history, _ = _train(network, spots, **frozen, callbacks=[record])
    assert history.loc[0, "zinb"] == pytest.approx(expected, rel=1e-5)
    assert len(losses) == 3 and abs(np.mean(losses) - expected) > 1e-3  # of very unequal batches


def test_training_lowers_the_loss_and_leaves_a_readable_history():
    seen = []
    history, interrupted = _train(_network(), _spots(), max_epochs=12, callbacks=[_Each(seen.append)])
    assert len(seen) == 12 and not interrupted
    assert list(history) == ["epoch", "train_loss", "zinb", "correlation", "spatial", "text", "dur"]
    assert history["epoch"].tolist() == list(range(1, 13))
    assert history["train_loss"].iloc[-1] < history["train_loss"][0] - 0.1
    assert np.isfinite(history.to_numpy()).all()


def test_patience():
    frozen = {"max_epochs": 30, "lr": 1e-12}
    assert len(_train(_network(), _spots(), patience=3, **frozen)[0]) == 4
    assert len(_train(_network(), _spots(), patience=None, **frozen)[0]) == 30
    assert len(_train(_network(), _spots(), patience=3, max_epochs=30)[0]) > 4


def _raise(*args, **kwargs):
    raise KeyboardInterrupt


def test_a_stop_by_a_callback_is_no_interrupt():
    def stop_third(net):
        if len(net.history) == 3:
            raise KeyboardInterrupt

    history, interrupted = _train(_network(), _spots(), max_epochs=9, callbacks=[_Each(stop_third)])
    assert len(history) == 3 and not interrupted


def test_an_interrupt_ends_training_and_keeps_finished_epochs(monkeypatch):
    network, spots = _network(), _spots()
    likelihood = training.zinb_loss
    calls = []

    def third(*args):
        calls.append(0)
        return _raise() if len(calls) == 3 else likelihood(*args)

    monkeypatch.setattr(training, "zinb_loss", third)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    history, interrupted = _train(network, spots, max_epochs=9)
    assert interrupted and history["epoch"].tolist() == [1, 2] and len(calls) == 3
    assert all(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    calls.clear()
    monkeypatch.setattr(training, "zinb_loss", _raise)
    history, interrupted = _train(network, spots)
    assert interrupted and len(history) == 0 and "train_loss" in history


@pytest.mark.parametrize("moment", ["on_train_begin", "on_train_end"])
def test_an_interrupt_outside_of_the_epochs_goes_up(moment, monkeypatch):
    monkeypatch.setattr(_Each, moment, _raise)
    with pytest.raises(KeyboardInterrupt):
        _train(_network(), _spots(), callbacks=[_Each(id)])


def test_the_device_is_found(monkeypatch):
    assert resolve_device("meta") == "meta"
    with pytest.raises(ValueError, match=r"device='toaster' .*; use \"auto\" or \"cpu\"\."):
        resolve_device("toaster")
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert resolve_device("auto") == expected


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
    spots = _spots()
    ensemble, embeddings = _ensemble(spots)
    batch = next(iter(spots))[0]
    with torch.no_grad():
        decoded = [torch.exp(network(batch).log_mean - batch.log_size).numpy() for network in ensemble.networks]
    np.testing.assert_allclose(ensemble.rates(embeddings), np.mean(decoded, axis=0), rtol=2e-3)
    assert not np.allclose(decoded[0], decoded[1], rtol=0.05)


def test_representations_are_of_unit_variance_and_made_again():
    spots = _spots()
    ensemble, embeddings = _ensemble(spots)
    for fitted, again in zip(embeddings, ensemble.embed(spots), strict=True):
        np.testing.assert_allclose(again, fitted, atol=1e-6)
        assert fitted.shape == (60, 4) and fitted.dtype == np.float32
        assert fitted.var(axis=0).sum() == pytest.approx(1, rel=1e-4)
        np.testing.assert_allclose(fitted.mean(axis=0), 0, atol=1e-5)


def test_a_random_start_is_read_on_axes_that_do_not_depend_on_its_basis():
    network = _network()
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
    network = _network()
    turn = _turn(network, np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32), canonical=True)
    steps = turn.weight * np.exp(turn.bias / 2)  # of square roots of rates, twice
    gram = steps @ steps.T
    np.testing.assert_allclose(gram, gram[0, 0] * np.eye(4), atol=1e-3 * gram[0, 0])


def test_seeds_determine_the_networks_and_nothing_else_does():
    spots = _spots()
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
    _ensemble(_spots(), callbacks=[_Each(lambda net: rates.append(net.lr))], max_epochs=1)
    assert rates == [1e-2, 2e-2]


def test_factors_are_those_of_each_network_side_by_side():
    spots = _spots()
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
    spots = _spots()
    likelihood = training.zinb_loss
    calls = []

    def tenth(*args):
        calls.append(0)
        return _raise() if len(calls) == 10 else likelihood(*args)

    monkeypatch.setattr(training, "zinb_loss", tenth)
    ensemble, embeddings = _ensemble(spots, seeds=(1, 2, 3), from_average=(True, False, True))
    assert ensemble.interrupted and len(embeddings) == len(ensemble.networks) == len(ensemble.embed(spots)) == 2
    assert ensemble.history.groupby("network").size().tolist() == [6, 3]
    assert ensemble.rates(embeddings).shape == (60, 7)
    assert ensemble.factors(spots.semantic)[0].shape == (60, 16)
