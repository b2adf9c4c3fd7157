"""Losses of graphs against dense brute force in float64: values, gradients, invariances, and what they allocate."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gradients import assert_same, double_tensor, grads_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skst.nn import correlation_reduction, spatial_regularization

SOFTPLUS = np.array([0.69374797, 0.5, 0.12009575])


# --- correlation_reduction ---


def _dense_correlation(first, second):
    d = first.shape[1]
    agree, differ = 0.0, 0.0
    for i in range(d):
        for j in range(d):
            norms = first[:, i].norm() * second[:, j].norm()
            cosine = first[:, i] @ second[:, j] / norms if norms > 0 else torch.zeros((), dtype=first.dtype)
            if i == j:
                agree = agree + (cosine - 1) ** 2 / d
            else:
                differ = differ + cosine**2 / (d * (d - 1))
    return agree + differ


@pytest.mark.parametrize(("n", "d"), [(6, 4), (3, 5), (5, 1), (1, 2)])
def test_correlation_reduction_is_the_formula(n, d):
    rng = np.random.default_rng(n)
    views = [double_tensor(rng.normal(size=(n, d))) for _ in range(2)]
    assert_same(correlation_reduction(*views), _dense_correlation(*views), *views)
    assert torch.autograd.gradcheck(correlation_reduction, views)


def test_correlation_reduction_of_permuted_spots_scaled_columns_and_zeros():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 8, 3))
    first[:, 1] = 0
    views = double_tensor(first), double_tensor(second)
    loss = correlation_reduction(*views)
    torch.testing.assert_close(loss, _dense_correlation(*views))
    order, scale = rng.permutation(8), np.array([0.1, 3.0, 20.0])
    again = correlation_reduction(double_tensor(first[order] * scale), double_tensor(second[order]))
    torch.testing.assert_close(again, loss)
    assert (grads_of(correlation_reduction(*views), views[0])[0][:, 1] == 0).all()
    with pytest.raises(ValueError, match=r"^first and second have shapes \(8, 3\) and \(8, 2\); give two"):
        correlation_reduction(views[0], views[1][:, :2])


# --- spatial_regularization ---


def _dense_spatial(embedding, edges, edge_weight=None, balanced=True, polynomial=True):
    """The loss on an N x N matrix; the polynomial, or the logistic function, for the pairs that are no edges."""
    n = len(embedding)
    norms = embedding.norm(dim=1, keepdim=True)
    unit = torch.where(norms > 0, embedding / torch.where(norms > 0, norms, 1), 0)
    cosines = unit @ unit.T
    A = torch.zeros(n, n, dtype=embedding.dtype)
    A[edges[0], edges[1]] = 1.0 if edge_weight is None else edge_weight
    log_apart = SOFTPLUS[0] + SOFTPLUS[1] * cosines + SOFTPLUS[2] * cosines**2 if polynomial else F.softplus(cosines)
    pull, push = (A * -cosines.sigmoid().log()).sum(), ((1 - A) * log_apart).sum()
    if not balanced:
        return (pull + push) / (2 * n**2)
    return (pull / A.sum() + push / (1 - A).sum()) / 2


def _graph(n=12, d=4, seed=0, n_edges=30):
    rng = np.random.default_rng(seed)
    pairs = rng.choice(n * n, size=n_edges, replace=False)  # self pairs among them
    edges = torch.tensor(np.stack(np.divmod(pairs, n)))
    return double_tensor(rng.normal(size=(n, d))), edges, double_tensor(rng.uniform(0.1, 1, size=n_edges), grad=False)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("balanced", [False, True])
def test_spatial_regularization_is_the_dense_one(balanced, weighted):
    embedding, edges, weight = _graph()
    weight = weight if weighted else None
    loss = spatial_regularization(embedding, edges, weight, balanced=balanced)
    assert_same(loss, _dense_spatial(embedding, edges, weight, balanced), embedding)
    exact = _dense_spatial(embedding, edges, weight, balanced, polynomial=False)
    assert abs(loss.item() - exact.item()) < 1e-3
    assert torch.autograd.gradcheck(lambda z: spatial_regularization(z, edges, weight, balanced=balanced), embedding)


@settings(max_examples=100, deadline=None)
@given(
    values=arrays(
        np.float64,
        st.tuples(st.integers(2, 9), st.integers(1, 4)),
        elements=st.sampled_from([0.0, 0.0, 1.0, -2.0, 0.5, 1e-3, 1e3]),
    ),
    seed=st.integers(0, 10_000),
    balanced=st.booleans(),
)
def test_spatial_regularization_of_any_embedding(values, seed, balanced):
    """Rows of zeros and repeated rows are common here; zeros have gradient zero."""
    n = len(values)
    _, edges, weight = _graph(n, seed=seed, n_edges=1 + seed % (n * n - 1))
    embedding = double_tensor(values)
    loss = spatial_regularization(embedding, edges, weight, balanced=balanced)
    expected = _dense_spatial(double_tensor(values), edges, weight, balanced)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    (grad,) = grads_of(loss, embedding)
    assert torch.isfinite(grad).all()
    assert (grad[(values == 0).all(axis=1)] == 0).all()


def test_spatial_regularization_of_permuted_spots_and_scaled_rows():
    embedding, edges, weight = _graph()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    rank = torch.argsort(order)
    scale = torch.linspace(0.1, 9, 12, dtype=torch.float64)[:, None]
    again = spatial_regularization((embedding * scale)[order], rank[edges], weight)
    torch.testing.assert_close(again, spatial_regularization(embedding, edges, weight))


@pytest.mark.parametrize("balanced", [False, True])
def test_sampled_pairs_are_right_on_average(balanced):
    embedding, edges, weight = _graph()
    exact = _dense_spatial(embedding, edges, weight, balanced, polynomial=False)
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack(
        [
            spatial_regularization(embedding, edges, weight, n_negatives=40, generator=generator, balanced=balanced)
            for _ in range(400)
        ]
    )
    assert draws.std() > 0
    assert abs(draws.mean() - exact) < 4 * draws.std() / 20
    (grad,), (expected,) = grads_of(draws.mean(), embedding), grads_of(exact, embedding)
    torch.testing.assert_close(grad, expected, rtol=0.1, atol=2e-3)
    same = [
        spatial_regularization(embedding, edges, n_negatives=5, generator=torch.Generator().manual_seed(1))
        for _ in range(2)
    ]
    assert same[0] == same[1]


@pytest.mark.parametrize("balanced", [False, True])
def test_graphs_without_or_with_all_edges(balanced):
    embedding = _graph(n=4, n_edges=1)[0]
    everything = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    nothing = everything[:, :0]
    unit = F.normalize(embedding.detach())
    cosines = unit @ unit.T
    push = (SOFTPLUS[0] + SOFTPLUS[1] * cosines + SOFTPLUS[2] * cosines**2).mean()
    torch.testing.assert_close(spatial_regularization(embedding, nothing, balanced=balanced), push / 2)
    pull = F.softplus(-cosines).mean()
    torch.testing.assert_close(spatial_regularization(embedding, everything, balanced=balanced), pull / 2)


def test_a_single_pair_that_is_no_edge():
    embedding = _graph(n=40)[0]
    edges = torch.cartesian_prod(torch.arange(40), torch.arange(40)).T[:, 1:]
    assert_same(spatial_regularization(embedding, edges), _dense_spatial(embedding, edges), embedding, atol=1e-8)


def test_balance_keeps_the_edges_felt_as_the_tissue_grows():
    """On a ring of n spots that all point the same way, the balanced loss stays; the published one forgets edges."""
    terms = {}
    for n in (10, 1000):
        i = torch.arange(n)
        edges = torch.stack([torch.cat([i, i]), torch.cat([(i + 1) % n, (i - 1) % n])])
        embedding = torch.ones(n, 2, dtype=torch.float64)
        pull = F.softplus(torch.tensor(-1.0, dtype=torch.float64))
        for balanced in (True, False):
            no_pull = spatial_regularization(embedding, edges[:, :0], balanced=False)
            terms[n, balanced] = spatial_regularization(embedding, edges, balanced=balanced) - no_pull
        torch.testing.assert_close(terms[n, True], pull / 2)
    assert abs(terms[1000, False]) < abs(terms[10, False]) / 50


@pytest.mark.parametrize("n_negatives", [None, 100_000])
def test_nothing_of_size_n_by_n_is_allocated(n_negatives, largest_tensor):
    n, d, k = 60_000, 16, 6
    embedding = torch.randn(n, d, generator=torch.Generator().manual_seed(0)).requires_grad_()
    i = torch.arange(n).repeat_interleave(k)
    edges = torch.stack([i, (i + torch.arange(1, k + 1).repeat(n)) % n])
    with largest_tensor() as largest:
        spatial_regularization(embedding, edges, n_negatives=n_negatives).backward()
    assert embedding.grad is not None
    assert n * d <= largest.numel <= 2 * n * d, "more than the embedding and a few vectors over edges"


def test_a_product_of_all_pairs_would_be_noticed(largest_tensor):
    z = torch.ones(50, 2)
    with largest_tensor() as largest:
        (z @ z.T).sum()
    assert largest.numel == 2500


def test_large_tissues_in_float32():
    """Sums over 3.6e9 pairs would exhaust float32; the means do not."""
    n = 60_000
    embedding = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    i = torch.arange(n)
    edges = torch.stack([i, (i + 1) % n])
    single = spatial_regularization(embedding, edges)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(spatial_regularization(embedding.double(), edges).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        (r"embedding has shape \(3,\)", (torch.zeros(3), torch.zeros(2, 1, dtype=torch.int64))),
        (r"edges have shape \(1, 2\)", (torch.zeros(3, 2), torch.zeros(1, 2, dtype=torch.int64))),
        (r"edge_weight has shape \(2,\)", (torch.zeros(3, 2), torch.zeros(2, 1, dtype=torch.int64), torch.ones(2))),
        (r"n_negatives=0", (torch.zeros(3, 2), torch.zeros(2, 1, dtype=torch.int64), None, 0)),
    ],
)
def test_spatial_regularization_names_what_is_wrong(message, arguments):
    with pytest.raises(ValueError, match=rf"^{message}[^.]*; (give|pass) [^.]*\.$"):
        spatial_regularization(*arguments)
