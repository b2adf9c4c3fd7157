"""SpaceFlow: its losses written out densely, its mini-batches, and what the penalty does to latent space."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist, pdist
from tissues import random_tissue, whole_batch

from skst.embedding.encoders.base import GraphBatches
from skst.embedding.encoders.spaceflow import (
    SpaceFlow,
    SpaceFlowNetwork,
    _measured_by_extent,
    _PReLU,
    _shuffle,
    spatial_penalty,
)

_tissue = partial(random_tissue, n_spots=40, n_slices=2, dtype=np.float64)


def _network(n_inputs=5, n_hidden=7):
    torch.manual_seed(0)
    network = SpaceFlowNetwork(n_inputs, n_hidden, 1.0, 0.1).double()
    for name, parameter in network.named_parameters():  # nothing where it starts, where mistakes would hide
        if name.endswith(("bias", "slope")):
            torch.nn.init.uniform_(parameter, -0.5, 1.5)
    return network


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("n_inputs", [4, 12])  # the mean is taken before the first weights, and after them
def test_loss_is_that_of_the_paper(n_inputs):
    inputs, average, points, batch = _tissue(n_inputs=n_inputs)
    network, A = _network(n_inputs), average.toarray()
    more = SpaceFlow()._more(inputs, points, batch, 0)
    whole = whole_batch(inputs, average, **more)
    torch.manual_seed(5)
    shuffle, partners = (_shuffle(whole.more["slices"]).numpy() for _ in range(2))
    torch.manual_seed(5)
    losses = network.losses(network(whole), whole)

    p = {name: value.detach().numpy() for name, value in network.named_parameters()}

    def encode(X):
        for layer, slope in (("first", "convolve.activation.slope"), ("second", "activation.slope")):
            X = A @ X @ p[f"convolve.{layer}.weight"].T + p[f"convolve.{layer}.bias"]
            X = np.where(X > 0, X, p[slope] * X)
        return X

    Z, shuffled = encode(inputs), encode(inputs[shuffle])
    judge = p["discriminate.weight"] @ _sigmoid(Z.mean(axis=0))
    expected = -np.log(_sigmoid(Z @ judge)).mean() - np.log(1 - _sigmoid(shuffled @ judge)).mean()
    assert losses["contrast"][0] == 1.0 and losses["spatial"][0] == 0.1
    np.testing.assert_allclose(losses["contrast"][1].item(), expected, rtol=1e-9)

    apart, far = (cdist(of, of)[np.arange(40), partners] for of in (Z, points))
    extent = max(pdist(points[batch == name]).max() for name in (0, 1))
    expected = ((1 - apart / apart.max()) * far / extent).mean()
    np.testing.assert_allclose(losses["spatial"][1].item(), expected, rtol=1e-5)  # coordinates are float32


def test_penalty_is_the_mean_over_all_pairs_of_a_slice():
    _, _, points, _ = _tissue()
    latent = np.arange(40)[:, None] % 3 // 2 * 2.0  # two places in latent space: any draw holds the largest distance
    expected = ((1 - cdist(latent, latent) / 2) * cdist(points, points)).mean()
    torch.manual_seed(0)
    one_slice = torch.zeros(40, dtype=torch.int64)
    latent, points = torch.as_tensor(latent), torch.as_tensor(points)
    found = [spatial_penalty(latent, points, _shuffle(one_slice)).item() for _ in range(2000)]
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / 2000**0.5)


def test_penalty_does_not_depend_on_the_scale_of_latent_space():
    latent, points = (torch.randn(30, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    partners = torch.randperm(30)
    value = spatial_penalty(latent, points, partners)
    torch.testing.assert_close(spatial_penalty(1e6 * latent + 3, points, partners), value)
    # So its gradient goes through the largest distance too: growing Z as a whole gains nothing.
    slope = (torch.autograd.grad(value, latent)[0] * (latent - latent.mean(dim=0))).sum()
    assert abs(slope.item()) < 1e-12


def test_penalty_of_a_collapsed_latent_space():
    latent, points = torch.zeros(6, 3, requires_grad=True), torch.arange(6.0)[:, None]
    value = spatial_penalty(latent, points, torch.tensor([1, 0, 3, 2, 5, 4]))
    value.backward()
    assert value.item() == 1.0 and torch.isfinite(latent.grad).all()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_shuffling_permutes_within_slices(slices):
    slices = torch.tensor(slices)
    order = _shuffle(slices)
    assert sorted(order.tolist()) == list(range(len(slices)))
    assert torch.equal(slices[order], slices)


def test_all_orders_are_as_likely():
    torch.manual_seed(0)
    slices = torch.tensor([1, 0, 1, 1])
    orders, counts = np.unique([_shuffle(slices).numpy() for _ in range(3000)], axis=0, return_counts=True)
    assert len(orders) == 6 and np.abs(counts - 500).max() < 5 * 500**0.5


@given(st.integers(1, 25), st.integers(1, 3), st.integers(1, 3), st.floats(1e-3, 1e6), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_coordinates_are_measured_by_the_largest_slice(n_spots, n_dims, n_slices, scale, seed):
    rng = np.random.default_rng(seed)
    slices = rng.integers(n_slices, size=n_spots)
    slices = np.unique(slices, return_inverse=True)[1]
    points = rng.normal(size=(n_spots, n_dims))
    found = _measured_by_extent(scale * (points + 1e3 * slices[:, None]), slices)
    largest = max(cdist(points[slices == name], points[slices == name]).max() for name in slices)
    assert found.dtype == np.float32
    for name in np.unique(slices):
        here = slices == name
        wanted = cdist(points[here], points[here])
        distances = cdist(found[here], found[here])
        if largest == 0:
            np.testing.assert_array_equal(distances, 0)
        else:  # one unit for all slices, the largest distance or, at worst, 3 ** -0.5 of it
            unit = distances.max() / wanted.max() * largest if wanted.max() else 1.0
            assert 1 - 1e-4 < unit < 3**0.5 + 1e-4
            np.testing.assert_allclose(distances, wanted * unit / largest, atol=1e-5)


def test_activation_is_torchs():
    ours, theirs = _PReLU(3).double(), torch.nn.PReLU(3).double()
    slopes = torch.tensor([-0.5, 0.2, 1.7], dtype=torch.float64)
    ours.slope.data, theirs.weight.data = slopes.clone(), slopes.clone()
    x = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(20, 3, dtype=torch.float64)
    (grad, slope), (grad2, slope2) = (
        torch.autograd.grad((f(x) * weight).sum(), (x, *f.parameters())) for f in (ours, theirs)
    )
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(grad, grad2)
    torch.testing.assert_close(slope, slope2)


def test_training_starts_from_the_average_over_two_hops():
    inputs, average, points, _ = _tissue(n_slices=1, dtype=np.float32)
    embedding = SpaceFlow(max_epochs=1, lr=1e-9).fit_embed(inputs, average, 5, points=points, random_state=0)
    wanted = average @ (average @ inputs)
    wanted /= np.sqrt(wanted.var(axis=0).sum())
    np.testing.assert_allclose(pdist(embedding), pdist(wanted), rtol=1e-3)


def test_patches_have_values_and_gradients_of_the_whole_tissue():
    inputs, average, points, batch = _tissue(n_spots=90)
    network, more = _network(), SpaceFlow()._more(inputs, points, batch, 0)
    parts = np.array_split(np.random.default_rng(1).permutation(90), 24)
    whole = whole_batch(inputs, average, **more)
    patches = [
        part
        for part, _ in GraphBatches(inputs, average, more, hops=SpaceFlow._hops, parts=parts, random_state=np.random)
    ]
    assert len(patches) == 3
    sums = [sum(network.embed(part).square().sum() for part in found) for found in (patches, [whole])]
    torch.testing.assert_close(*sums)
    found, wanted = (torch.autograd.grad(value, list(network.convolve.parameters())) for value in sums)
    torch.testing.assert_close(found, wanted)


def test_summary_and_pairs_are_of_the_core():
    inputs, average, points, batch = _tissue()
    network, more = _network(), SpaceFlow()._more(inputs, points, batch, 0)
    whole = whole_batch(inputs, average, **more)
    values = []
    for beyond in (0.0, 1e3):
        output = network(whole)
        output = torch.cat([output[:25], output[25:] + beyond])
        torch.manual_seed(0)
        losses = network.losses(output, whole._replace(n_core=25))
        values.append([value for _, value in losses.values()])
    torch.testing.assert_close(*values)


def test_without_edges_nothing_can_be_told():
    # The shuffled tissue then holds the same spots, and -log p - log(1 - p) is 2 log 2 at least.
    inputs, _, points, _ = _tissue(dtype=np.float32)
    alone = sparse.eye_array(40, dtype=np.float32, format="csr")
    encoder = SpaceFlow(max_epochs=30, lr=1e-2)
    encoder.fit_embed(inputs, alone, 3, points=points, random_state=0)
    assert (encoder.history_["contrast"] >= 2 * np.log(2) - 1e-5).all()


def test_tissue_is_told_from_a_shuffled_one():
    _, average, points, _ = _tissue(n_spots=200, n_slices=1, dtype=np.float32)
    inputs = np.where(points[:, :1] < 0.5, [[1.0, 0.0, 0.2]], [[0.0, 1.0, 0.2]]).astype(np.float32)
    encoder = SpaceFlow(max_epochs=150)
    encoder.fit_embed(inputs, average, 3, points=points, random_state=0)
    assert encoder.history_["contrast"].iloc[-1] < 0.5 * encoder.history_["contrast"].iloc[0]


def test_space_enters_by_the_penalty_alone():
    inputs, average, points, batch = _tissue(dtype=np.float32)
    elsewhere = points[np.random.default_rng(1).permutation(40)]
    for weight in (0.0, 0.1):
        encoder = SpaceFlow(spatial_weight=weight, max_epochs=20)
        first, other = (
            encoder.fit_embed(inputs, average, 3, points=where, batch=batch, random_state=0)
            for where in (points, elsewhere)
        )
        assert ("spatial" in encoder.history_) == (weight > 0)
        assert np.array_equal(first, other) == (weight == 0)


def test_penalty_lays_latent_space_out_as_the_tissue():
    # Place shows faintly in expression, beside what repeats all over the tissue.
    _, average, points, _ = _tissue(n_spots=100, n_slices=1, dtype=np.float32)
    inputs = np.column_stack([0.3 * points, np.cos(4 * np.pi * points)]).astype(np.float32)
    elsewhere = points[np.random.default_rng(2).permutation(100)]
    found = []
    for weight, where in ((0.0, points), (10.0, elsewhere), (10.0, points)):
        encoder = SpaceFlow(spatial_weight=weight, max_epochs=150)
        embedding = encoder.fit_embed(inputs, average, 4, points=where, random_state=0)
        found.append(np.corrcoef(pdist(embedding), pdist(points))[0, 1])
    assert found[2] > found[1] + 0.03 and found[2] > found[0] + 0.4


def test_without_coordinates_the_penalty_is_left_out():
    inputs, average, _, batch = _tissue(dtype=np.float32)
    encoder = SpaceFlow(max_epochs=3)
    embedding = encoder.fit_embed(inputs, average, 3, batch=batch, random_state=0)
    assert np.isfinite(embedding).all() and list(encoder.history_) == ["epoch", "train_loss", "contrast", "dur"]


def test_slices_may_bear_any_number():
    inputs, average, points, batch = _tissue(dtype=np.float32)
    first, other = (
        SpaceFlow(max_epochs=3).fit_embed(inputs, average, 3, points=points, batch=names, random_state=0)
        for names in (batch, batch * 700 - 3)
    )
    np.testing.assert_array_equal(first, other)


def test_no_tensor_of_all_pairs(largest_tensor):
    inputs, average, points, _ = _tissue(n_spots=2000, n_slices=1, dtype=np.float32)
    encoder = SpaceFlow(max_epochs=1, n_hidden=16)
    with largest_tensor() as largest:
        encoder.fit_embed(inputs, average, 3, points=points, random_state=0)
    assert largest.numel <= 2000 * 16
