"""Likelihood of counts against dense brute force in float64: values, gradients, and what it allocates."""

import numpy as np
import pytest
import torch
from gradients import assert_same, double_tensor, grads_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.special import gammaln

from skst.nn import zinb_loss


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
        double_tensor(counts, grad=False),
        double_tensor(rng.normal(size=(n, g))),
        double_tensor(rng.normal(scale=2, size=g)),
        double_tensor(rng.normal(scale=2, size=(n, g))),
    )


@pytest.mark.parametrize("integers", [True, False])
@pytest.mark.parametrize("inflated", [True, False])
def test_zinb_is_the_formula(inflated, integers):
    counts, log_mean, log_dispersion, dropout = _zinb_inputs(integers=integers)
    parameters = (log_mean, log_dispersion, dropout if inflated else None)
    assert_same(zinb_loss(counts, *parameters), _dense_zinb(counts, *parameters), *parameters, atol=1e-8)


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
            loss = zinb_loss(double_tensor([[x]], grad=False), double_tensor([[0.0]]), double_tensor([np.log(theta)]))
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
    counts = double_tensor(counts, grad=False)
    parameters = (
        torch.full_like(counts, log_mean, requires_grad=True),
        torch.full_like(counts[0], log_dispersion, requires_grad=True),
        None if dropout is None else torch.full_like(counts, dropout, requires_grad=True),
    )
    loss, expected = zinb_loss(counts, *parameters), _dense_zinb(counts, *parameters)
    # The formula as written underflows, in its gradient first, where ours does not.
    written = torch.isfinite(expected) and all(torch.isfinite(grad).all() for grad in grads_of(expected, *parameters))
    if written:
        assert_same(loss, expected, *parameters, atol=1e-6)
    else:
        assert all(torch.isfinite(grad).all() for grad in (loss, *grads_of(loss, *parameters)))


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
            assert all(torch.isfinite(t).all() for t in (loss, *grads_of(loss, *p)))


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
    for ours, theirs in zip(grads_of(single[4], *single[1:4]), grads_of(exact[4], *exact[1:4]), strict=True):
        assert (ours.double() - theirs).abs().max() < 2e-3 * scale * max(1.0, (theirs / scale).abs().max())


def test_zinb_does_not_depend_on_blocks_layout_or_dtype_of_counts(monkeypatch):
    counts, log_mean, log_dispersion, dropout = _zinb_inputs(n=9, g=4, seed=4)
    whole = zinb_loss(counts, log_mean, log_dispersion, dropout)
    grads = grads_of(whole, log_mean, log_dispersion, dropout)
    by_two = lambda n, *_: (slice(i, i + 2) for i in range(0, n, 2))  # noqa: E731
    monkeypatch.setattr("skst.nn.counts._blocks", by_two)
    order = torch.randperm(9)
    parts = [t.detach()[order].T.contiguous().T.requires_grad_() for t in (log_mean, dropout)]
    assert not parts[0].is_contiguous()
    again = zinb_loss(counts[order].int(), parts[0], log_dispersion, parts[1])
    torch.testing.assert_close(again, whole)
    mean_grad, dispersion_grad, dropout_grad = grads_of(again, parts[0], log_dispersion, parts[1])
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
    log_dispersion = double_tensor([-20.0, 0.0, 20.0, 0.0, 0.0])
    (grad,) = grads_of(zinb_loss(counts, log_mean, log_dispersion), log_dispersion)
    assert (grad == 0).tolist() == [True, False, True, False, False]
    at_the_ends = double_tensor([np.log(1e-4), 0.0, np.log(1e4), 0.0, 0.0])
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
