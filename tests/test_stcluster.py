"""stCluster: its losses written out densely, its mini-batches, and what it makes of odd tissues."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from skst import SpatialGraphTransformer
from skst.graph.build import averaging_operator, spatial_graph
from skst.graph.encoders import stcluster
from skst.graph.encoders.base import GraphBatch, GraphBatches
from skst.graph.encoders.stcluster import StCluster, StClusterNetwork, cluster_task, contrast, spatial_task
from skst.nn.batches import tiles
from skst.nn.propagation import SparseOperator

N_INPUTS, N_LATENT = 5, 3
WEIGHTS = {"reconstruction": 2.0, "contrast": 1.0, "spatial": 0.5, "cluster": 0.25}


def _tissue(n_spots=60, n_inputs=N_INPUTS, seed=0, **graph):
    rng = np.random.default_rng(seed)
    points = rng.uniform(size=(n_spots, 2))
    expression = rng.normal(size=(n_spots, n_inputs)).astype(np.float32)
    return expression, averaging_operator(spatial_graph(points, **{"n_neighbors": 4, **graph})), points


def _batch(inputs, average, n_core=None):
    places = average.tocoo()
    edges = torch.as_tensor(np.stack([places.col, places.row]).astype(np.int64))
    types = torch.arange(len(inputs)) % 3
    return GraphBatch(torch.as_tensor(inputs), SparseOperator(average), edges, {"type": types}, n_core or len(inputs))


def _network(n_hidden=4, n_inputs=N_INPUTS, dtype=torch.float64, weights=WEIGHTS, **options):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = StClusterNetwork(n_inputs, n_hidden, N_LATENT, weights=weights, **options).to(dtype)
        torch.nn.init.normal_(network.first.bias)
    return network


def _elu(x):
    return np.where(x > 0, x, np.expm1(x))


def _dense(network, inputs, linked):
    """z by the formula, over the edges of a dense matrix: a row for the spot that they go to."""
    W, bias, V = (p.detach().numpy() for p in (network.first.weight, network.first.bias, network.second.weight))
    v_s, v_r = network.ends.detach().numpy()
    scores = 1 / (1 + np.exp(-((inputs @ W.T @ v_s)[None] + (inputs @ W.T @ v_r)[:, None])))
    weights = np.where(linked, np.exp(scores), 0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return _elu(weights @ inputs @ W.T + bias) @ V.T


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
    inputs, average, _ = _tissue(n_neighbors=None, kind="radius", radius=0.08)
    assert (np.diff(average.indptr) == 1).any()  # some spots are alone
    inputs = inputs.astype(np.float64)
    network = _network(n_hidden)
    batch = _batch(inputs, average, n_core=40)
    expected = _dense(network, inputs, average.toarray() > 0)
    np.testing.assert_allclose(network(batch)[2].detach(), expected, atol=1e-12)
    np.testing.assert_allclose(network.embed(batch).detach(), expected[:40], atol=1e-12)


def test_terms_are_weighted_and_look_at_the_core():
    inputs, average, _ = _tissue()
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
    inputs, average, _ = _tissue()
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
    inputs, average, _ = _tissue(200)
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
    inputs, average, _ = _tissue(300)
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
    inputs, average, points = _tissue(300)
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


def test_tiles_embed_as_the_whole_does():
    expression, average, points = _tissue(900)
    encoder = StCluster(max_epochs=5, n_hidden=8)
    embedding = encoder.fit_embed(expression, average, N_LATENT, points=points, random_state=0)
    encoder.set_params(batch_size=10)
    for where in (points, None):
        np.testing.assert_allclose(encoder.embed(expression, average, points=where), embedding, atol=1e-5)


def test_mini_batches_train():
    expression, average, points = _tissue(300, n_inputs=2)
    encoder = StCluster(max_epochs=20, batch_size=10, lr=1e-2)
    encoder.fit_embed(expression, average, 2, points=points, random_state=0)
    losses = encoder.history_["reconstruction"]
    assert losses.iloc[-1] < 0.9 * losses.iloc[0]


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


def test_the_random_state_decides():
    expression, average, points = _tissue()

    def embed(random_state):
        return StCluster(max_epochs=3).fit_embed(
            expression, average, N_LATENT, points=points, random_state=random_state
        )

    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(embed(0), embed(0))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.abs(embed(0) - embed(1)).max() > 1e-3


def test_domains_emerge_from_noise():
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(500, 2))
    domain = (3 * points[:, 0]).astype(int)
    expression = rng.normal(size=(500, 10)).astype(np.float32)
    expression[:, :3] += 1.7 * np.eye(3, dtype=np.float32)[domain]
    average = averaging_operator(spatial_graph(points))
    encoder = StCluster(max_epochs=100)
    embedding = encoder.fit_embed(expression, average, 4, points=points, random_state=0)

    def agreement(values):
        return adjusted_rand_score(domain, KMeans(3, n_init=5, random_state=0).fit_predict(values))

    assert agreement(embedding) > agreement(expression) + 0.15


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize("shape", [(1, 4), (2, 4), (30, 1), (1, 1), (30, 4)])
def test_small_tissues(shape, edges):
    expression, average, _ = _tissue(*shape)
    if not edges:
        average = sparse.eye_array(len(expression), dtype=np.float32, format="csr")
    for values in (expression, np.zeros_like(expression)):
        encoder = StCluster(max_epochs=2)
        embedding = encoder.fit_embed(values, average, 20, random_state=0)
        assert embedding.shape == (len(values), min(20, *shape))
        assert embedding.dtype == np.float32
        assert np.isfinite(embedding).all()
        assert np.isfinite(encoder.history_.to_numpy(dtype=float)).all()
        assert np.isfinite(encoder.embed(expression, average)).all()


def test_a_slice_is_embedded_as_if_it_were_alone():
    slices = np.repeat([0, 1], 40)
    expression, average, points = _tissue(80, batch=slices)
    encoder = StCluster(max_epochs=3, batch_size=20)
    both = encoder.fit_embed(expression, average, N_LATENT, points=points, batch=slices, random_state=0)
    alone = encoder.embed(expression[:40], average[:40, :40], points=points[:40], batch=slices[:40])
    np.testing.assert_allclose(alone, both[:40], atol=1e-5)


def test_published_parameters_exist():
    expression, average, points = _tissue()
    encoder = StCluster(**StCluster._published)
    assert clone(encoder).get_params() == encoder.get_params()
    encoder.set_params(max_epochs=2)
    assert encoder.fit_embed(expression, average, N_LATENT, points=points).shape == (60, N_LATENT)
    assert encoder.network_.first.weight.shape == (512, N_INPUTS)
    SpatialGraphTransformer(**StCluster._published_spatial)


@pytest.mark.parametrize(
    "wrong",
    [
        {"contrast_weight": -1.0},
        {"edge_dropout": 1.5},
        {"temperature": 0.0},
        {"n_types": 0},
        {"cluster_weight": -0.1},
    ],
)
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StCluster(**wrong).fit_embed(*_tissue()[:2], N_LATENT)
