"""STAGATE: its formulas written out densely, its mini-batches, and what it makes of odd tissues."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch_geometric.nn import MessagePassing

from skst import SpatialGraphTransformer
from skst.graph.build import averaging_operator, spatial_graph
from skst.graph.encoders.attention import neighbor_sum
from skst.graph.encoders.base import GraphBatch, GraphBatches
from skst.graph.encoders.stagate import STAGATE, STAGATENetwork
from skst.nn.batches import tiles
from skst.nn.propagation import SparseOperator

N_INPUTS, N_LATENT = 5, 3


def _tissue(n_spots=60, n_inputs=N_INPUTS, seed=0, **graph):
    rng = np.random.default_rng(seed)
    points = rng.uniform(size=(n_spots, 2))
    expression = rng.normal(size=(n_spots, n_inputs)).astype(np.float32)
    return expression, averaging_operator(spatial_graph(points, **{"n_neighbors": 4, **graph})), points


def _batch(inputs, average, n_core=None, **more):
    places = average.tocoo()
    more = {name: torch.as_tensor(part) for name, part in more.items()}
    edges = torch.as_tensor(np.stack([places.col, places.row]).astype(np.int64))
    return GraphBatch(torch.as_tensor(inputs), SparseOperator(average), edges, more, n_core or len(inputs))


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
        v_s, v_r = ends.detach().numpy()
        scores = 1 / (1 + np.exp(-((hidden @ v_s)[:, None] + (hidden @ v_r)[None])))
        weights = np.where(linked, np.exp(scores), 0)
        return weights / weights.sum(axis=1, keepdims=True)

    def elu(x):
        return np.where(x > 0, x, np.expm1(x))

    weights = attention(network.ends, linked)
    if share := network.pruned_weight:
        pruned = attention(network.pruned_ends, linked & (types[:, None] == types))
        weights = (1 - share) * weights + share * pruned
    latent = elu(weights @ hidden) @ second.T
    return latent, elu(weights @ (latent @ second)) @ first


@pytest.mark.parametrize("n_hidden", [4, 9])
@pytest.mark.parametrize("pruned_weight", [0.0, 0.3, 1.0])
def test_network_is_the_formula(n_hidden, pruned_weight):
    inputs, average, _ = _tissue(n_neighbors=None, kind="radius", radius=0.08)
    assert (np.diff(average.indptr) == 1).any()  # some spots are alone
    inputs, types = inputs.astype(np.float64), np.arange(len(inputs)) % 3
    network = _network(n_hidden, pruned_weight=pruned_weight)
    batch = _batch(inputs, average, n_core=40, type=types)
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
    inputs, average, _ = _tissue()
    network = _network(dtype=torch.float32, pruned_weight=0.5)
    batch = _batch(inputs, average, type=np.arange(len(inputs)) % 2)
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
    inputs, average, _ = _tissue()
    types = np.arange(len(inputs)) % 2
    network = _network(dtype=torch.float32, pruned_weight=1.0)
    before = network(_batch(inputs, average, type=types))
    moved = inputs + 3 * types[:, None].astype(np.float32)
    after = network(_batch(moved, average, type=types))
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(old[types == 0], new[types == 0])
        assert (old[types == 1] - new[types == 1]).abs().min(dim=0).values.max() > 1e-3


@pytest.mark.parametrize("pruned_weight", [0.0, 0.5])
def test_mini_batches_add_up_to_the_full_graph(pruned_weight):
    inputs, average, points = _tissue(300)
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


@pytest.mark.parametrize("pruned_weight", [0.0, 0.5])
def test_tiles_embed_as_the_whole_does(pruned_weight):
    expression, average, points = _tissue(900)
    encoder = STAGATE(pruned_weight=pruned_weight, max_epochs=5, n_hidden=8)
    embedding = encoder.fit_embed(expression, average, N_LATENT, points=points, random_state=0)
    np.testing.assert_allclose(encoder.embed(expression, average, points=points), embedding, atol=1e-6)
    encoder.set_params(batch_size=10)
    for where in (points, None):
        np.testing.assert_allclose(encoder.embed(expression, average, points=where), embedding, atol=1e-5)


def test_mini_batches_train():
    expression, average, points = _tissue(300, n_inputs=2)
    encoder = STAGATE(max_epochs=20, batch_size=10, lr=1e-2)
    encoder.fit_embed(expression, average, 2, points=points, random_state=0)
    losses = encoder.history_["train_loss"]
    assert losses.iloc[-1] < 0.8 * losses.iloc[0]


def test_order_of_spots_does_not_matter():
    expression, average, _ = _tissue()
    order = np.random.default_rng(3).permutation(len(expression))
    network = _network(dtype=torch.float32)
    embedding = network.embed(_batch(expression, average))
    shuffled = network.embed(_batch(expression[order], average[order][:, order].sorted_indices()))
    torch.testing.assert_close(shuffled, embedding[order])


def test_the_random_state_decides():
    expression, average, points = _tissue()

    def embed(random_state):
        encoder = STAGATE(max_epochs=3, pruned_weight=0.5)
        return encoder.fit_embed(expression, average, N_LATENT, points=points, random_state=random_state)

    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(embed(0), embed(0))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.abs(embed(0) - embed(1)).max() > 1e-3


@pytest.mark.parametrize("pruned_weight", [0.0, 0.5])
def test_domains_emerge_from_noise(pruned_weight):
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(500, 2))
    domain = (3 * points[:, 0]).astype(int)
    expression = rng.normal(size=(500, 10)).astype(np.float32)
    expression[:, :3] += 1.7 * np.eye(3, dtype=np.float32)[domain]
    average = averaging_operator(spatial_graph(points))
    encoder = STAGATE(pruned_weight=pruned_weight, n_types=3, max_epochs=100)
    embedding = encoder.fit_embed(expression, average, 4, points=points, random_state=0)

    def agreement(values):
        return adjusted_rand_score(domain, KMeans(3, n_init=5, random_state=0).fit_predict(values))

    assert agreement(embedding) > agreement(expression) + 0.15


@pytest.mark.parametrize("pruned_weight", [0.0, 0.5])
@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize("shape", [(1, 4), (2, 4), (30, 1), (1, 1), (30, 4)])
def test_small_tissues(shape, edges, pruned_weight):
    expression, average, _ = _tissue(*shape)
    if not edges:
        average = sparse.eye_array(len(expression), dtype=np.float32, format="csr")
    for values in (expression, np.zeros_like(expression)):
        encoder = STAGATE(pruned_weight=pruned_weight, max_epochs=2)
        embedding = encoder.fit_embed(values, average, 20, random_state=0)
        assert embedding.shape == (len(values), min(20, *shape))
        assert embedding.dtype == np.float32
        assert np.isfinite(embedding).all()
        assert np.isfinite(encoder.embed(expression, average)).all()


def test_a_slice_is_embedded_as_if_it_were_alone():
    expression, average, points = _tissue(80, batch=np.repeat([0, 1], 40))
    slices = np.repeat([0, 1], 40)
    encoder = STAGATE(max_epochs=3, batch_size=20)
    both = encoder.fit_embed(expression, average, N_LATENT, points=points, batch=slices, random_state=0)
    alone = encoder.embed(expression[:40], average[:40, :40], points=points[:40], batch=slices[:40])
    np.testing.assert_allclose(alone, both[:40], atol=1e-5)


def test_new_spots_get_the_nearest_type_and_no_spot_is_kept():
    expression, average, points = _tissue(2000)
    encoder = STAGATE(pruned_weight=0.5, n_types=4, max_epochs=1)
    encoder.fit_embed(expression, average, N_LATENT, points=points, random_state=0)
    centres = encoder._centres
    assert centres.shape == (4, N_INPUTS)
    new = _tissue(50, seed=1)[0]
    distances = ((new[:, None] - centres) ** 2).sum(axis=2)
    np.testing.assert_array_equal(encoder._more_of_new(new)["type"], distances.argmin(axis=1))
    assert len(pickle.dumps(encoder)) < expression.nbytes


def test_published_parameters_exist():
    expression, average, points = _tissue()
    encoder = STAGATE(**STAGATE._published)
    assert clone(encoder).get_params() == encoder.get_params()
    encoder.set_params(max_epochs=2)
    assert encoder.fit_embed(expression, average, N_LATENT, points=points).shape == (60, N_LATENT)
    assert encoder.network_.first.shape == (512, N_INPUTS)
    SpatialGraphTransformer(**STAGATE._published_spatial)


@pytest.mark.parametrize("wrong", [{"pruned_weight": 1.1}, {"pruned_weight": -0.1}, {"n_types": 0}, {"n_hidden": 0}])
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        STAGATE(**wrong).fit_embed(*_tissue()[:2], N_LATENT)
