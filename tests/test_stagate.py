"""STAGATE: its formulas written out densely, its mini-batches, and what it makes of odd tissues."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tissues import dense_attention, elu, random_tissue, whole_batch
from torch_geometric.nn import MessagePassing

from skst.embedding.encoders.attention import neighbor_sum
from skst.embedding.encoders.base import GraphBatches
from skst.embedding.encoders.stagate import STAGATE, STAGATENetwork
from skst.nn.batches import tiles

N_INPUTS, N_LATENT = 5, 3


def _network(n_hidden=4, n_inputs=N_INPUTS, dtype=torch.float64, **options):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return STAGATENetwork(n_inputs, n_hidden, N_LATENT, **options).to(dtype)


def _dense(network, inputs, average, types):
    """Embedding and reconstruction by the formulas of the paper."""
    first, second = (network.first.detach().numpy(), network.second.detach().numpy())
    hidden = inputs @ first.T
    linked = average.toarray() > 0

    def attention(ends, linked):
        return dense_attention(*(hidden @ ends.detach().numpy().T).T, linked)

    weights = attention(network.ends, linked)
    if share := network.pruned_weight:
        pruned = attention(network.pruned_ends, linked & (types[:, None] == types))
        weights = (1 - share) * weights + share * pruned
    latent = elu(weights @ hidden) @ second.T
    return latent, elu(weights @ (latent @ second)) @ first


@pytest.mark.parametrize("n_hidden", [4, 9])
@pytest.mark.parametrize("pruned_weight", [0.0, 0.3, 1.0])
def test_network_is_the_formula(n_hidden, pruned_weight):
    inputs, average, *_ = random_tissue(n_neighbors=None, kind="radius", radius=0.08)
    assert (np.diff(average.indptr) == 1).any()  # some spots are alone
    inputs, types = inputs.astype(np.float64), np.arange(len(inputs)) % 3
    network = _network(n_hidden, pruned_weight=pruned_weight)
    batch = whole_batch(inputs, average, n_core=40, type=types)
    latent, decoded = _dense(network, inputs, average, types)
    output = network(batch)
    np.testing.assert_allclose(output[0].detach(), latent, atol=1e-12)
    np.testing.assert_allclose(output[1].detach(), decoded, atol=1e-12)
    np.testing.assert_allclose(network.embed(batch).detach(), latent[:40], atol=1e-12)
    weight, value = network.losses(output, batch)["reconstruction"]
    assert weight == 1
    np.testing.assert_allclose(value.item(), np.mean((decoded - inputs)[:40] ** 2), rtol=1e-12)
    assert set(network.losses(output, batch)) == set(network.terms)


def test_every_parameter_learns():
    inputs, average, *_ = random_tissue()
    network = _network(dtype=torch.float32, pruned_weight=0.5)
    batch = whole_batch(inputs, average, type=np.arange(len(inputs)) % 2)
    network.losses(network(batch), batch)["reconstruction"][1].backward()
    assert all(parameter.grad.abs().max() > 1e-6 for parameter in network.parameters())
    assert len(list(network.parameters())) == 4  # the decoder has none of its own


class _Messages(MessagePassing):
    def forward(self, values, weights, edges):
        return self.propagate(edges, values=values, weights=weights, size=(len(values),) * 2)

    def message(self, values_j, weights):
        return weights[:, None] * values_j


@settings(max_examples=30, deadline=None)
@given(n_nodes=st.integers(1, 8), n_columns=st.integers(1, 4), share=st.floats(0, 1), seed=st.integers(0, 999))
def test_sum_over_neighbours_and_its_gradient_are_those_of_message_passing(n_nodes, n_columns, share, seed):
    generator = torch.Generator().manual_seed(seed)
    target, source = torch.nonzero(torch.rand(n_nodes, n_nodes, generator=generator) < share).T
    edges = torch.stack([source, target])
    found = []
    for layer in (neighbor_sum, _Messages(aggr="sum")):
        generator.manual_seed(seed)
        values, weights, gradient = (
            torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
            for shape in [(n_nodes, n_columns), (len(source),), (n_nodes, n_columns)]
        )
        total = layer(values, weights, edges)
        found.append((total, *torch.autograd.grad((total * gradient).sum(), (values, weights))))
    for own, other in zip(*found, strict=True):
        torch.testing.assert_close(own, other)


def test_pruned_attention_keeps_to_the_own_type():
    inputs, average, *_ = random_tissue()
    types = np.arange(len(inputs)) % 2
    network = _network(dtype=torch.float32, pruned_weight=1.0)
    before = network(whole_batch(inputs, average, type=types))
    moved = inputs + 3 * types[:, None].astype(np.float32)
    after = network(whole_batch(moved, average, type=types))
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(old[types == 0], new[types == 0])
        assert (old[types == 1] - new[types == 1]).abs().min(dim=0).values.max() > 1e-3


@pytest.mark.parametrize("pruned_weight", [0.0, 0.5])
def test_mini_batches_add_up_to_the_full_graph(pruned_weight):
    inputs, average, points, _ = random_tissue(300)
    inputs, average = inputs.astype(np.float64), average.astype(np.float64)
    more = {"type": np.arange(len(inputs)) % 3}
    network = _network(pruned_weight=pruned_weight)
    parts = tiles(points, 10)
    rng = np.random.RandomState(0)
    found = []
    for split in (None, parts):
        network.zero_grad()
        total, n_seen = 0.0, 0
        for batch, _ in GraphBatches(inputs, average, more, hops=STAGATE._hops, parts=split, random_state=rng):
            loss = network.losses(network(batch), batch)["reconstruction"][1] * batch.n_core / len(inputs)
            loss.backward()
            total, n_seen = total + loss.item(), n_seen + batch.n_core
        assert n_seen == len(inputs)
        found.append((total, [parameter.grad.clone() for parameter in network.parameters()]))
    (full, gradients), (patched, others) = found
    assert len(parts) > 8  # more than one batch
    np.testing.assert_allclose(patched, full, rtol=1e-12)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other)


def test_order_of_spots_does_not_matter():
    expression, average, *_ = random_tissue()
    order = np.random.default_rng(3).permutation(len(expression))
    network = _network(dtype=torch.float32)
    embedding = network.embed(whole_batch(expression, average))
    shuffled = network.embed(whole_batch(expression[order], average[order][:, order].sorted_indices()))
    torch.testing.assert_close(shuffled, embedding[order])


def test_new_spots_get_the_nearest_type_and_no_spot_is_kept():
    expression, average, points, _ = random_tissue(2000)
    encoder = STAGATE(pruned_weight=0.5, n_types=4, max_epochs=1)
    encoder.fit_embed(expression, average, N_LATENT, points=points, random_state=0)
    centres = encoder._centres
    assert centres.shape == (4, N_INPUTS)
    new = random_tissue(50, seed=1)[0]
    distances = ((new[:, None] - centres) ** 2).sum(axis=2)
    np.testing.assert_array_equal(encoder._more_of_new(new)["type"], distances.argmin(axis=1))
    assert len(pickle.dumps(encoder)) < expression.nbytes


@pytest.mark.parametrize("wrong", [{"pruned_weight": 1.1}, {"pruned_weight": -0.1}, {"n_types": 0}, {"n_hidden": 0}])
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        STAGATE(**wrong).fit_embed(*random_tissue()[:2], N_LATENT)
