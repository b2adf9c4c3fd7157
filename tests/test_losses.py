"""Losses against dense brute force in float64: values, gradients, invariances, and what they allocate."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.special import gammaln

from skst.nn import correlation_reduction, spatial_regularization, zinb_loss

SOFTPLUS = np.array([0.69374797, 0.5, 0.12009575])


def _tensor(values, grad=True):
    return torch.tensor(np.asarray(values, dtype=np.float64), requires_grad=grad)


def _grads(loss, *inputs):
    return torch.autograd.grad(loss, [t for t in inputs if t is not None], retain_graph=True)


def _assert_same(loss, expected, *inputs, atol=1e-9):
    torch.testing.assert_close(loss, expected, rtol=1e-7, atol=atol)
    for ours, theirs in zip(_grads(loss, *inputs), _grads(expected, *inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=atol)


# --- zinb_loss ---


def _dense_zinb(counts, log_mean, log_dispersion, dropout_logits=None):
    """The formula as it is written, differentiated by autograd."""
    mean, theta = log_mean.exp(), log_dispersion.clamp(np.log(1e-4), np.log(1e4)).exp()
    log_nb = (
        torch.lgamma(counts + theta)
        - torch.lgamma(theta)
        - torch.lgamma(counts + 1)
        + theta * (theta / (theta + mean)).log()
        + counts * (mean / (theta + mean)).log()
    )
    if dropout_logits is None:
        return -log_nb.mean()
    dropout = dropout_logits.sigmoid()
    return -((1 - dropout) * log_nb.exp() + dropout * (counts == 0)).log().mean()


def _zinb_inputs(n=7, g=5, seed=0, integers=True):
    rng = np.random.default_rng(seed)
    counts = rng.negative_binomial(1, 0.3, size=(n, g)).astype(float)
    if not integers:
        counts *= rng.uniform(0.1, 1.5, size=(n, g))
    return (
        _tensor(counts, grad=False),
        _tensor(rng.normal(size=(n, g))),
        _tensor(rng.normal(scale=2, size=g)),
        _tensor(rng.normal(scale=2, size=(n, g))),
    )


@pytest.mark.parametrize("integers", [True, False])
@pytest.mark.parametrize("inflated", [True, False])
def test_zinb_is_the_formula(inflated, integers):
    counts, log_mean, log_dispersion, dropout = _zinb_inputs(integers=integers)
    parameters = (log_mean, log_dispersion, dropout if inflated else None)
    _assert_same(zinb_loss(counts, *parameters), _dense_zinb(counts, *parameters), *parameters, atol=1e-8)


@pytest.mark.parametrize("inflated", [True, False])
def test_zinb_gradcheck(inflated):
    counts, log_mean, log_dispersion, dropout = _zinb_inputs(n=4, g=3, seed=1)
    parameters = (log_mean, log_dispersion, *([dropout] if inflated else []))
    assert torch.autograd.gradcheck(lambda *p: zinb_loss(counts, *p), parameters)


def test_zinb_is_scipys_negative_binomial():
    counts, log_mean, log_dispersion, dropout = (t.detach() for t in _zinb_inputs(seed=2))
    mean, theta, pi = log_mean.exp().numpy(), log_dispersion.exp().numpy(), dropout.sigmoid().numpy()
    pmf = stats.nbinom.pmf(counts.numpy(), theta, theta / (theta + mean))
    assert zinb_loss(counts, log_mean, log_dispersion).item() == pytest.approx(-np.log(pmf).mean(), rel=1e-8)
    inflated = pi * (counts.numpy() == 0) + (1 - pi) * pmf
    assert zinb_loss(counts, log_mean, log_dispersion, dropout).item() == pytest.approx(
        -np.log(inflated).mean(), rel=1e-8
    )


def test_gamma_functions_hold_their_precision():
    """At mean 1 and theta the loss of a count x is a difference of log Gamma but for simple terms."""
    for x in (0.01, 0.5, 1.0, 2.0, 3.0, 7.5, 20.0, 300.0):
        for theta in (1e-4, 0.01, 0.3, 1.0, 5.0, 200.0):
            expected = (
                gammaln(theta) - gammaln(x + theta) + gammaln(x + 1) + theta * np.log1p(1 / theta) + x * np.log1p(theta)
            )
            loss = zinb_loss(_tensor([[x]], grad=False), _tensor([[0.0]]), _tensor([np.log(theta)]))
            assert loss.item() == pytest.approx(expected, rel=0, abs=4e-9)


@example(counts=np.array([[293.0]]), log_mean=0.0, log_dispersion=2.5, dropout=0.0)
@settings(max_examples=100, deadline=None)
@given(
    counts=arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.integers(1, 4)),
        elements=st.one_of(st.just(0.0), st.integers(1, 30).map(float), st.floats(1e-3, 1e4)),
    ),
    log_mean=st.floats(-12, 8),
    log_dispersion=st.floats(-9, 9),
    dropout=st.one_of(st.none(), st.floats(-12, 12)),
)
def test_zinb_everywhere(counts, log_mean, log_dispersion, dropout):
    counts = _tensor(counts, grad=False)
    parameters = (
        torch.full_like(counts, log_mean, requires_grad=True),
        torch.full_like(counts[0], log_dispersion, requires_grad=True),
        None if dropout is None else torch.full_like(counts, dropout, requires_grad=True),
    )
    loss, expected = zinb_loss(counts, *parameters), _dense_zinb(counts, *parameters)
    # The formula as written underflows, in its gradient first, where ours does not.
    written = torch.isfinite(expected) and all(torch.isfinite(grad).all() for grad in _grads(expected, *parameters))
    if written:
        _assert_same(loss, expected, *parameters, atol=1e-6)
    else:
        assert all(torch.isfinite(grad).all() for grad in (loss, *_grads(loss, *parameters)))


def test_zinb_at_the_ends_of_its_range():
    """Large dispersion is Poisson; extreme parameters stay finite in float32."""
    counts, log_mean, _, _ = _zinb_inputs(seed=3)
    poisson = -stats.poisson.logpmf(counts.numpy(), log_mean.detach().exp().numpy()).mean()
    for dtype in (torch.float64, torch.float32):
        loss = zinb_loss(counts.to(dtype), log_mean.detach().to(dtype), torch.full((5,), 30.0, dtype=dtype))
        assert loss.item() == pytest.approx(poisson, rel=2e-3)
    for extreme in (-1e3, -80.0, 80.0, 1e3):
        for other in (-1e3, 0.0, 1e3):
            p = [torch.full((7, 5), other), torch.full((5,), extreme), torch.full((7, 5), extreme)]
            p = [t.requires_grad_() for t in p]
            loss = zinb_loss(counts.float(), *p)
            assert all(torch.isfinite(t).all() for t in (loss, *_grads(loss, *p)))


def test_zinb_in_float32_is_close_to_float64():
    rng = np.random.default_rng(0)
    log_dispersion = rng.uniform(-6, 9, size=40)
    log_mean = rng.normal(size=(300, 40))
    counts = rng.poisson(np.exp(log_mean))
    inputs = [counts, log_mean, log_dispersion, rng.normal(size=(300, 40))]
    exact, single = ([torch.tensor(v, dtype=t) for v in inputs] for t in (torch.float64, torch.float32))
    for tensors in (exact, single):
        for t in tensors[1:]:
            t.requires_grad_()
    exact.append(zinb_loss(*exact))
    single.append(zinb_loss(*single))
    assert single[4].dtype == torch.float32
    assert single[4].item() == pytest.approx(exact[4].item(), rel=1e-5)
    # The slope of the dispersion is a small difference of large sums; it loses the most digits.
    scale = 1 / counts.size
    for ours, theirs in zip(_grads(single[4], *single[1:4]), _grads(exact[4], *exact[1:4]), strict=True):
        assert (ours.double() - theirs).abs().max() < 2e-3 * scale * max(1.0, (theirs / scale).abs().max())


def test_zinb_does_not_depend_on_blocks_layout_or_dtype_of_counts(monkeypatch):
    counts, log_mean, log_dispersion, dropout = _zinb_inputs(n=9, g=4, seed=4)
    whole = zinb_loss(counts, log_mean, log_dispersion, dropout)
    grads = _grads(whole, log_mean, log_dispersion, dropout)
    by_two = lambda n, *_: (slice(i, i + 2) for i in range(0, n, 2))  # noqa: E731
    monkeypatch.setattr("skst.nn.counts._blocks", by_two)
    order = torch.randperm(9)
    parts = [t.detach()[order].T.contiguous().T.requires_grad_() for t in (log_mean, dropout)]
    assert not parts[0].is_contiguous()
    again = zinb_loss(counts[order].int(), parts[0], log_dispersion, parts[1])
    torch.testing.assert_close(again, whole)
    mean_grad, dispersion_grad, dropout_grad = _grads(again, parts[0], log_dispersion, parts[1])
    torch.testing.assert_close(mean_grad, grads[0][order])
    torch.testing.assert_close(dispersion_grad, grads[1])
    torch.testing.assert_close(dropout_grad, grads[2][order])


def test_zinb_scales_with_what_comes_after_it_and_keeps_its_graph():
    counts, log_mean, log_dispersion, dropout = _zinb_inputs()
    parameters = (log_mean, log_dispersion, dropout)
    loss = zinb_loss(counts, *parameters)
    once = torch.autograd.grad(loss, parameters, retain_graph=True)
    tripled = torch.autograd.grad(3 * loss, parameters)
    for a, b in zip(once, tripled, strict=True):
        torch.testing.assert_close(3 * a, b)
    with torch.no_grad():
        torch.testing.assert_close(zinb_loss(counts, *parameters), loss.detach())


def test_clamped_dispersion_has_no_gradient():
    counts, log_mean, _, _ = _zinb_inputs()
    log_dispersion = _tensor([-20.0, 0.0, 20.0, 0.0, 0.0])
    (grad,) = _grads(zinb_loss(counts, log_mean, log_dispersion), log_dispersion)
    assert (grad == 0).tolist() == [True, False, True, False, False]
    at_the_ends = _tensor([np.log(1e-4), 0.0, np.log(1e4), 0.0, 0.0])
    torch.testing.assert_close(
        zinb_loss(counts, log_mean, log_dispersion), zinb_loss(counts, log_mean, at_the_ends), rtol=1e-12, atol=0
    )


def test_zinb_finds_the_parameters_of_simulated_counts():
    rng = np.random.default_rng(0)
    mean, theta, pi = np.array([2.0, 8.0]), np.array([1.0, 4.0]), 0.3
    counts = rng.negative_binomial(theta, theta / (theta + mean), size=(6000, 2)) * (rng.random((6000, 2)) > pi)
    counts = torch.tensor(counts, dtype=torch.float32)
    parameters = [torch.zeros(2, requires_grad=True) for _ in range(3)]
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        log_mean, log_dispersion, dropout = parameters
        zinb_loss(counts, log_mean.expand(6000, 2), log_dispersion, dropout.expand(6000, 2)).backward()
        optimizer.step()
    log_mean, log_dispersion, dropout = (p.detach() for p in parameters)
    np.testing.assert_allclose(log_mean.exp(), mean, rtol=0.1)
    np.testing.assert_allclose(log_dispersion.exp(), theta, rtol=0.25)
    np.testing.assert_allclose(dropout.sigmoid(), pi, atol=0.05)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("counts", [(0, 3), (0, 3), (3,), None]),
        ("log_mean", [(4, 3), (4, 2), (3,), None]),
        ("log_dispersion", [(4, 3), (4, 3), (4, 3), None]),
        ("dropout_logits", [(4, 3), (4, 3), (3,), (4, 1)]),
    ],
)
def test_zinb_names_the_wrong_shape(name, shapes):
    with pytest.raises(ValueError, match=rf"^{name} ha(s|ve) .*shape.*; give [^.]*\.$"):
        zinb_loss(*(None if shape is None else torch.zeros(shape) for shape in shapes))


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
    views = [_tensor(rng.normal(size=(n, d))) for _ in range(2)]
    _assert_same(correlation_reduction(*views), _dense_correlation(*views), *views)
    assert torch.autograd.gradcheck(correlation_reduction, views)


def test_correlation_reduction_of_permuted_spots_scaled_columns_and_zeros():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 8, 3))
    first[:, 1] = 0
    views = _tensor(first), _tensor(second)
    loss = correlation_reduction(*views)
    torch.testing.assert_close(loss, _dense_correlation(*views))
    order, scale = rng.permutation(8), np.array([0.1, 3.0, 20.0])
    again = correlation_reduction(_tensor(first[order] * scale), _tensor(second[order]))
    torch.testing.assert_close(again, loss)
    assert (_grads(correlation_reduction(*views), views[0])[0][:, 1] == 0).all()
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
    return _tensor(rng.normal(size=(n, d))), edges, _tensor(rng.uniform(0.1, 1, size=n_edges), grad=False)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("balanced", [False, True])
def test_spatial_regularization_is_the_dense_one(balanced, weighted):
    embedding, edges, weight = _graph()
    weight = weight if weighted else None
    loss = spatial_regularization(embedding, edges, weight, balanced=balanced)
    _assert_same(loss, _dense_spatial(embedding, edges, weight, balanced), embedding)
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
    embedding = _tensor(values)
    loss = spatial_regularization(embedding, edges, weight, balanced=balanced)
    expected = _dense_spatial(_tensor(values), edges, weight, balanced)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    (grad,) = _grads(loss, embedding)
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
    (grad,), (expected,) = _grads(draws.mean(), embedding), _grads(exact, embedding)
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
    _assert_same(spatial_regularization(embedding, edges), _dense_spatial(embedding, edges), embedding, atol=1e-8)


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
