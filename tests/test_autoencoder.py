"""The network of SemST, where it starts, and its loss, against dense brute force in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from some_spots import WEIGHTS, double, some_network, some_spots, train_quickly
from torch.distributions import NegativeBinomial

from skst.nn import SemanticModulation
from skst.nn.training import SpotNet


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
    spots = some_spots(12)
    network = some_network(**options).double()
    weights = WEIGHTS | {"balanced": balanced}
    batch = double(spots.batch(np.arange(12), spots.operators, n_core))
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
    spots = some_spots()
    history, _ = train_quickly(some_network(), spots, max_epochs=1, weights=dict.fromkeys(WEIGHTS, 0.0))
    assert list(history) == ["epoch", "train_loss", "zinb", "dur"]
    assert history["train_loss"][0] == pytest.approx(history["zinb"][0])
    history, _ = train_quickly(some_network(), spots, max_epochs=1)
    total = history["zinb"] + 0.3 * history["correlation"] + 0.7 * history["spatial"] + 0.2 * history["text"]
    np.testing.assert_allclose(history["train_loss"], total, rtol=1e-5)


# --- the network ---


@pytest.mark.parametrize("fusion", ["fsm", "add", "cross_attention", "concat", None])
def test_a_network_can_start_at_averaged_expression(fusion):
    spots = some_spots()
    batch = next(iter(spots))[0]
    network = some_network(fusion=fusion)
    loadings, log_rates = torch.randn(7, 4), torch.randn(7)
    network.start_decoder(log_rates)
    for branch in network.branches:
        torch.nn.init.zeros_(branch.second.bias)
    network.start_averaged(loadings)
    out = network(batch)
    torch.testing.assert_close(out.embedding, batch.start[0])
    assert out.moved.item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(out.log_mean, batch.start[0] @ loadings.T + log_rates + batch.log_size)
    history, _ = train_quickly(network, spots, max_epochs=10)
    assert history["train_loss"].iloc[-1] < history["train_loss"][0]
    assert not torch.allclose(network(batch).embedding, batch.start[0], atol=1e-2)


def test_without_a_residual_the_start_does_not_matter():
    batch = next(iter(some_spots()))[0]
    moved = batch._replace(start=[start + 1 for start in batch.start])
    for residual in (False, True):
        network = some_network(residual=residual)
        assert torch.allclose(network(batch).embedding, network(moved).embedding) != residual


def test_without_convolutions_the_branches_are_what_is_given():
    batch = next(iter(some_spots()))[0]
    network = some_network(convolve=False, fusion=None)
    expected = torch.cat(batch.start, dim=1) @ network.fuse.project.weight.T
    torch.testing.assert_close(network(batch).embedding, expected)


def test_the_decoder_starts_with_hardly_any_dropout():
    network = some_network(zero_inflation=True)
    network.start_decoder(torch.zeros(7))
    logits = network(next(iter(some_spots()))[0]).dropout_logits
    assert logits.shape == (60, 7) and (logits == logits[0, 0]).all() and torch.sigmoid(logits[0, 0]) < 0.1
    assert some_network()(next(iter(some_spots()))[0]).dropout_logits is None
