"""stCluster: its losses written out densely, its mini-batches, and what it makes of odd tissues."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from tissues import dense_attention, elu, random_tissue, whole_batch

from skst.embedding.encoders import stcluster
from skst.embedding.encoders.base import GraphBatches
from skst.embedding.encoders.stcluster import StCluster, StClusterNetwork
from skst.embedding.encoders.stcluster_losses import cluster_task, contrast, spatial_task
from skst.nn.batches import tiles

N_INPUTS, N_LATENT = 5, 3
WEIGHTS = {"reconstruction": 2.0, "contrast": 1.0, "spatial": 0.5, "cluster": 0.25}


def _batch(inputs, average, n_core=None):
    return whole_batch(inputs, average, n_core, type=np.arange(len(inputs)) % 3)


def _network(n_hidden=4, n_inputs=N_INPUTS, dtype=torch.float64, weights=WEIGHTS, **options):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = StClusterNetwork(n_inputs, n_hidden, N_LATENT, weights=weights, **options).to(dtype)
        torch.nn.init.normal_(network.first.bias)
    return network


def _dense(network, inputs, linked):
    """z by the formula, over the edges of a dense matrix: a row for the spot that they go to."""
    W, bias, V = (p.detach().numpy() for p in (network.first.weight, network.first.bias, network.second.weight))
    v_s, v_r = network.ends.detach().numpy()
    weights = dense_attention(inputs @ W.T @ v_r, inputs @ W.T @ v_s, linked)
    return elu(weights @ inputs @ W.T + bias) @ V.T


def _cosines(first, second):
    lengths = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (first, second)]
    first, second = (
        np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
        for rows, length in zip((first, second), lengths, strict=True)
    )
    return first @ second.T


def _dense_contrast(first, second, temperature):
    total = 0.0
    for one, two in ((first, second), (second, first)):
        for i in range(len(one)):
            across, within = (np.exp(_cosines(one, other)[i] / temperature) for other in (two, one))
            total -= np.log(across[i] / (across.sum() + within.sum() - across[i]))
    return total / (2 * len(first))


@pytest.mark.parametrize("n_hidden", [4, 9])
def test_network_is_the_formula(n_hidden):
    inputs, average, *_ = random_tissue(n_neighbors=None, kind="radius", radius=0.08)
    assert (np.diff(average.indptr) == 1).any()  # some spots are alone
    inputs = inputs.astype(np.float64)
    network = _network(n_hidden)
    batch = _batch(inputs, average, n_core=40)
    expected = _dense(network, inputs, average.toarray() > 0)
    np.testing.assert_allclose(network(batch)[2].detach(), expected, atol=1e-12)
    np.testing.assert_allclose(network.embed(batch).detach(), expected[:40], atol=1e-12)


def test_terms_are_weighted_and_look_at_the_core():
    inputs, average, *_ = random_tissue()
    network = _network()
    batch = _batch(inputs.astype(np.float64), average, n_core=40)
    output = network(batch)
    losses = network.losses(output, batch)
    assert {name: weight for name, (weight, _) in losses.items()} == WEIGHTS
    latent = output[2].detach().numpy()
    decoded = latent @ network.decode.weight.detach().numpy().T
    np.testing.assert_allclose(losses["reconstruction"][1].item(), np.square(decoded - inputs)[:40].mean(), rtol=1e-12)
    expected = spatial_task(output[2], batch.edges, batch.more["type"], 40)
    assert losses["spatial"][1].item() == expected.item()
    assert losses["cluster"][1].item() == cluster_task(output[2][:40], network.centroids).item()
    off = _network(weights={**WEIGHTS, "contrast": 0.0, "cluster": 0})
    assert set(off.losses(output, batch)) == {"reconstruction", "spatial"}


def test_every_parameter_learns():
    inputs, average, *_ = random_tissue()
    network = _network(dtype=torch.float32)
    batch = _batch(inputs, average)
    sum(weight * value for weight, value in network.losses(network(batch), batch).values()).backward()
    assert all(parameter.grad.abs().max() > 1e-6 for parameter in network.parameters())


@settings(max_examples=40, deadline=None)
@given(
    n_spots=st.integers(1, 7),
    n_columns=st.integers(1, 4),
    temperature=st.floats(0.05, 5),
    zeros=st.booleans(),
    seed=st.integers(0, 999),
)
def test_contrast_is_the_dense_sum(n_spots, n_columns, temperature, zeros, seed):
    first, second = np.random.default_rng(seed).normal(size=(2, n_spots, n_columns))
    if zeros:
        first[0] = 0
    found = contrast(torch.as_tensor(first), torch.as_tensor(second), temperature)
    expected = _dense_contrast(first, second, temperature)
    np.testing.assert_allclose(found.item(), expected, rtol=1e-9, atol=1e-12)
    assert found > -1e-12


@settings(max_examples=40, deadline=None)
@given(n_nodes=st.integers(1, 9), n_core=st.integers(1, 9), share=st.floats(0, 1), seed=st.integers(0, 999))
def test_spatial_task_is_the_dense_sum(n_nodes, n_core, share, seed):
    n_core, rng = min(n_core, n_nodes), np.random.default_rng(seed)
    latent, types = rng.normal(size=(n_nodes, 2)), rng.integers(3, size=n_nodes)
    linked = (rng.random((n_nodes, n_nodes)) < share) | np.eye(n_nodes, dtype=bool)  # rows: where an edge goes to
    edges = torch.as_tensor(np.argwhere(linked)[:, ::-1].T.copy())
    found = spatial_task(torch.as_tensor(latent), edges, torch.as_tensor(types), n_core).item()

    weight = np.where(types[:, None] == types, 1, 0.04) * (linked & ~np.eye(n_nodes, dtype=bool))
    cosines = _cosines(latent, latent)
    pull = (weight * np.square(1 - cosines))[:n_core].sum() / max(weight[:n_core].sum(), 1e-9)
    push = np.square(cosines[:n_core, :n_core]).mean()
    np.testing.assert_allclose(found, (pull + push) / 2, rtol=1e-9, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(n_spots=st.integers(1, 7), n_types=st.integers(1, 4), seed=st.integers(0, 999))
def test_cluster_task_is_the_divergence_from_a_fixed_target(n_spots, n_types, seed):
    rng = np.random.default_rng(seed)
    latent, centroids = 3 * rng.normal(size=(n_spots, 2)), rng.normal(size=(n_types, 2))
    moving = torch.tensor(latent, requires_grad=True)
    found = cluster_task(moving, torch.as_tensor(centroids))
    found.backward()

    def shares(latent):
        q = 1 / (1 + np.square(latent[:, None] - centroids).sum(axis=2))
        return q / q.sum(axis=1, keepdims=True)

    q = shares(latent)
    p = q**2 / q.sum(axis=0)
    p /= p.sum(axis=1, keepdims=True)

    def divergence(latent):
        return (p * np.log(p / shares(latent))).sum() / n_spots

    np.testing.assert_allclose(found.item(), divergence(latent), rtol=1e-7, atol=1e-12)
    step = np.zeros_like(latent)
    step[0, 0] = 1e-5
    slope = (divergence(latent + step) - divergence(latent - step)) / 2e-5  # p stays
    np.testing.assert_allclose(moving.grad[0, 0].item(), slope, rtol=1e-4, atol=1e-8)


def _views_and_edges(monkeypatch, network, batch, n_times=1):
    """z without dropped edges, the last two views, and for each view so far its edges and its spots."""
    output, kept = network(batch), []
    gather = StClusterNetwork._gather

    def spy(self, sent, scores, edges, spots):
        kept.append((edges, spots))
        return gather(self, sent, scores, edges, spots)

    monkeypatch.setattr(StClusterNetwork, "_gather", spy)
    for _ in range(n_times):
        views = list(network._views(*output, batch))
    return output[2].detach().numpy(), views, kept


def test_views_lose_edges_between_unlike_spots(monkeypatch):
    inputs, average, *_ = random_tissue(200)
    network = _network(edge_dropout=0.3)
    batch = _batch(inputs.astype(np.float64), average, n_core=180)
    latent, _, kept = _views_and_edges(monkeypatch, network, batch, n_times=200)
    counts = np.zeros((2, 200, 200))
    for i, (edges, spots) in enumerate(kept):
        assert sorted(spots.tolist()) == list(range(180))
        counts[i % 2][edges[1], edges[0]] += 1 / 200
    linked = average.toarray() > 0
    linked[180:] = False
    gap = 1 - _cosines(latent, latent)
    others = linked & ~np.eye(200, dtype=bool)
    for count, rate in zip(counts, (0.15, 0.3), strict=True):
        expected = np.minimum(rate * gap / gap[linked].mean(), 0.7)
        assert expected[linked].max() == 0.7 or rate < 0.3  # the cap is reached
        assert not count[~linked].any()
        np.testing.assert_allclose(np.diag(count)[:180], 1)  # no self-loop is lost
        deviation = (1 - count - expected)[others]
        assert np.abs(deviation).max() < 5 * 0.5 / np.sqrt(200) and abs(deviation.mean()) < 0.01


def test_views_are_of_a_sample_of_the_core(monkeypatch):
    inputs, average, *_ = random_tissue(300)
    inputs = inputs.astype(np.float64)
    monkeypatch.setattr(stcluster, "CONTRASTED", 50)
    network = _network(edge_dropout=0.3)
    _, views, kept = _views_and_edges(monkeypatch, network, _batch(inputs, average, n_core=280))
    for view, (edges, spots) in zip(views, kept, strict=True):
        assert len(set(spots.tolist())) == 50 and spots.max() < 280
        linked = np.eye(300, dtype=bool)
        linked[edges[1], edges[0]] = True
        np.testing.assert_allclose(view.detach(), _dense(network, inputs, linked)[spots], atol=1e-12)
        assert set(edges[1].tolist()) == set(spots.tolist())
    assert torch.equal(*(spots for _, spots in kept))
    assert (views[0] - views[1]).abs().max() > 1e-3


def test_mini_batches_add_up_to_the_full_graph():
    inputs, average, points, _ = random_tissue(300)
    inputs, average = inputs.astype(np.float64), average.astype(np.float64)
    more = {"type": np.arange(len(inputs)) % 3}
    network = _network(weights={"reconstruction": 1.0, "contrast": 0, "spatial": 0, "cluster": 0})
    whole = network(next(iter(GraphBatches(inputs, average, more, hops=1)))[0])[2].detach()
    more["number"] = np.arange(len(inputs))
    parts = tiles(points, 10)
    found = []
    for split in (None, parts):
        network.zero_grad()
        total = 0.0
        for batch, _ in GraphBatches(inputs, average, more, hops=StCluster._hops, parts=split, random_state=np.random):
            output = network(batch)
            loss = network.losses(output, batch)["reconstruction"][1] * batch.n_core / len(inputs)
            loss.backward()
            total += loss.item()
            # The spatial task also looks at the neighbours of the core.
            seen = batch.edges[0, batch.edges[1] < batch.n_core].unique()
            torch.testing.assert_close(output[2][seen].detach(), whole[batch.more["number"][seen]])
        found.append((total, [p.grad.clone() for p in network.parameters() if p.grad is not None]))
    (full, gradients), (patched, others) = found
    assert len(parts) > 8  # more than one batch
    np.testing.assert_allclose(patched, full, rtol=1e-12)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other)


def test_parameters_reach_the_network():
    weights = {"reconstruction": 1.0, "contrast": 2.0, "spatial": 3.0, "cluster": 4.0}
    given = {f"{name}_weight": weight for name, weight in weights.items()}
    encoder = StCluster(max_epochs=1, edge_dropout=0.2, **given)
    encoder.fit_embed(*random_tissue()[:2], N_LATENT, random_state=0)
    network = encoder.network_
    assert network.weights == weights and network.edge_dropout == 0.2


def test_dropout_and_temperature_act_on_the_contrast():
    inputs, average, *_ = random_tissue()
    batch = _batch(inputs.astype(np.float64), average)
    values = []
    for options in ({}, {"temperature": 2.0}, {"edge_dropout": 0.9}):
        network = _network(**options)
        torch.manual_seed(0)
        values.append(network.losses(network(batch), batch)["contrast"][1].item())
    assert len({round(value, 6) for value in values}) == 3


def test_centroids_start_at_encoded_types():
    rng = np.random.default_rng(0)
    expression = (10 * rng.normal(size=(3, 4))[np.arange(60) % 3]).astype(np.float32)
    alone = sparse.eye_array(60, dtype=np.float32, format="csr")
    encoder = StCluster(n_types=3, max_epochs=1, lr=1e-30)
    encoder.fit_embed(expression, alone, 2, random_state=0)
    network = encoder.network_
    inputs = torch.as_tensor((expression - encoder._centre) / encoder._scale)
    spots = network.second(torch.nn.functional.elu(network.first(inputs)))
    assert torch.cdist(spots, network.centroids).amin(dim=1).max() < 1e-4
    assert len(encoder.network_.centroids) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"contrast_weight": -1.0},
        {"edge_dropout": 1.5},
        {"n_types": 0},
        {"cluster_weight": -0.1},
    ],
)
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StCluster(**wrong).fit_embed(*random_tissue()[:2], N_LATENT)
