"""GraphST: its formulas written out densely, its mini-batches, and what the contrast learns."""

from functools import partial

import numpy as np
import pytest
import torch
from tissues import random_tissue, whole_batch

from skst.embedding.encoders.base import GraphBatches
from skst.embedding.encoders.graphst import GraphST, GraphSTNetwork

_tissue = partial(random_tissue, n_spots=30, dtype=np.float64)


def _network(n_inputs=5, reconstruction_weight=10.0, contrast_weight=1.0):
    torch.manual_seed(0)
    network = GraphSTNetwork(n_inputs, 7, reconstruction_weight, contrast_weight).double()
    network.offset.data.fill_(0.3)
    return network


def _cross_entropy(logits, truth):
    p = 1 / (1 + np.exp(-logits))
    return -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()


def test_loss_is_that_of_the_paper():
    inputs, average, *_ = _tissue()
    network, A = _network(), average.toarray()
    batch = whole_batch(inputs, average)
    torch.manual_seed(5)
    order = torch.randperm(30).numpy()
    torch.manual_seed(5)
    losses = network.losses(network(batch), batch)

    first, second = (layer.weight.detach().numpy().T for layer in (network.encode, network.decode))
    M, offset = network.discriminate.weight.detach().numpy(), network.offset.item()
    Z, shuffled = A @ inputs @ first, A @ inputs[order] @ first
    expected = np.square(A @ Z @ second - inputs).mean()
    assert losses["reconstruction"][0] == 10.0
    np.testing.assert_allclose(losses["reconstruction"][1].item(), expected, rtol=1e-10)

    H, shuffled = np.maximum(Z, 0), np.maximum(shuffled, 0)
    expected = 0.0
    for own, other in ((H, shuffled), (shuffled, H)):
        around = A @ own
        around = 1 / (1 + np.exp(-around / np.linalg.norm(around, axis=1, keepdims=True)))
        logits = np.stack(
            [[spot @ M @ g + offset for spot, g in zip(who, around, strict=True)] for who in (own, other)]
        )
        expected += _cross_entropy(logits, np.array([[1.0], [0.0]]))
    np.testing.assert_allclose(losses["contrast"][1].item(), expected, rtol=1e-10)


def test_the_embedding_is_the_reconstruction_of_the_core():
    inputs, average, *_ = _tissue()
    network, A = _network(contrast_weight=3.0), average.toarray()
    batch = whole_batch(inputs, average, n_core=20)
    first, second = (layer.weight.detach().numpy().T for layer in (network.encode, network.decode))
    np.testing.assert_allclose(network.embed(batch).detach(), (A @ A @ inputs @ first @ second)[:20], atol=1e-12)
    assert network.losses(network(batch), batch)["contrast"][0] == 3.0


def test_patch_has_the_reconstruction_of_the_whole_tissue():
    inputs, average, *_ = _tissue(n_spots=80)
    network = _network(contrast_weight=0.0)
    whole = whole_batch(inputs, average)
    parts = np.array_split(np.random.default_rng(1).permutation(80), 24)
    patches = [batch for batch, _ in GraphBatches(inputs, average, {}, hops=2, parts=parts, random_state=np.random)]
    assert len(patches) == 3
    values = [network.losses(network(batch), batch)["reconstruction"][1] * batch.n_core for batch in patches]
    expected = network.losses(network(whole), whole)["reconstruction"][1] * 80
    torch.testing.assert_close(sum(values), expected)
    found, wanted = (torch.autograd.grad(loss, network.encode.weight)[0] for loss in (sum(values), expected))
    torch.testing.assert_close(found, wanted)


def test_contrast_learns_who_lives_where():
    # Two halves of a tissue with expression of their own: neighbourhoods tell which spot belongs.
    _, average, points, _ = _tissue(n_spots=200, dtype=np.float32)
    inputs = np.where(points[:, :1] < 0.5, [[1.0, 0.0, 0.2]], [[0.0, 1.0, 0.2]]).astype(np.float32)
    encoder = GraphST(reconstruction_weight=0.0, max_epochs=300, lr=1e-2)
    encoder.fit_embed(inputs, average, 3, points=points, random_state=0)
    contrast = encoder.history_["contrast"]
    assert contrast.iloc[0] == pytest.approx(2 * np.log(2), rel=0.2)
    assert contrast.tail(20).mean() < 0.8 * contrast.iloc[0]


def test_without_contrast_it_is_not_computed():
    inputs, average, points, _ = _tissue(dtype=np.float32)
    encoder = GraphST(contrast_weight=0.0, max_epochs=2)
    encoder.fit_embed(inputs, average, 3, points=points, random_state=0)
    assert "contrast" not in encoder.history_
