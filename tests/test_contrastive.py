"""InfoNCE and the variance hinge against the formulas as they are written, and what the blocks allocate."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skst.nn import info_nce, variance_hinge


def _views(n=7, d=4, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(torch.tensor(rng.normal(size=(n, d)), requires_grad=True) for _ in range(2))


def _written(first, second, temperature):
    """Eq. 8 and 9, cell by cell."""
    first, second = (v / v.norm(dim=1, keepdim=True) for v in (first, second))
    S = first @ second.T / temperature
    total = 0.0
    for i in range(len(S)):
        total = total + (S[i, i].exp() / S[i].exp().sum()).log() + (S[i, i].exp() / S[:, i].exp().sum()).log()
    return -total / (2 * len(S))


def _same(value, expected, inputs, tol=1e-10):
    torch.testing.assert_close(value, expected, rtol=tol, atol=tol)
    for ours, theirs in zip(
        *(torch.autograd.grad(v, inputs, retain_graph=True) for v in (value, expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=tol, atol=tol)


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
@pytest.mark.parametrize("chunk", [None, 1, 3, 7, 100])
def test_info_nce_is_the_formula(chunk, temperature):
    views = _views()
    _same(info_nce(*views, temperature, chunk), _written(*views, temperature), views)


@pytest.mark.parametrize("chunk", [None, 3])
def test_info_nce_gradcheck(chunk):
    assert torch.autograd.gradcheck(lambda *v: 3 * info_nce(*v, 0.5, chunk), _views())


@settings(max_examples=100, deadline=None)
@given(
    values=arrays(
        np.float64,
        st.tuples(st.just(2), st.integers(1, 9), st.integers(1, 4)),
        elements=st.sampled_from([0.0, 0.0, 1.0, -2.0, 0.5, 1e-3, 1e3]),
    ),
    temperature=st.floats(1e-3, 10),
    chunk=st.integers(1, 10),
)
def test_chunks_change_nothing(values, temperature, chunk):
    """Rows of zeros, repeated rows and temperatures whose exponentials overflow are common here."""
    views = [torch.tensor(v, requires_grad=True) for v in values]
    # At a temperature of 1e-3 the gradient is up to a thousand times the value, and so is its rounding.
    _same(info_nce(*views, temperature, chunk), info_nce(*views, temperature), views, tol=1e-10 / min(1, temperature))


def test_one_view_alone_can_need_a_gradient():
    first, second = _views()
    for chunk in (None, 2):
        loss = info_nce(first.detach(), second, chunk=chunk)
        _same(loss, _written(first.detach(), second, 0.1), [second])


def test_info_nce_of_scaled_swapped_and_permuted_views():
    first, second = _views()
    loss = info_nce(first, second)
    scale = torch.linspace(0.01, 50, 7, dtype=torch.float64)[:, None]
    torch.testing.assert_close(info_nce(first * scale, second), loss)
    torch.testing.assert_close(info_nce(second, first), loss)
    order = torch.randperm(7)
    torch.testing.assert_close(info_nce(first[order], second[order], chunk=2), loss)


def test_info_nce_where_its_value_is_known():
    same = torch.ones(6, 3, dtype=torch.float64)
    zeros = torch.zeros(6, 3, dtype=torch.float64)
    for chunk in (None, 4):
        assert info_nce(same, same, chunk=chunk).item() == pytest.approx(math.log(6))
        assert info_nce(zeros, zeros, chunk=chunk).item() == pytest.approx(math.log(6))
        assert info_nce(same[:1], -same[:1], chunk=chunk).item() == pytest.approx(0)
        eye = torch.eye(5, dtype=torch.float64)
        expected = math.log(math.exp(10) + 4) - 10
        assert info_nce(eye, eye, chunk=chunk).item() == pytest.approx(expected)


@pytest.mark.parametrize("chunk", [None, 64])
def test_float32_stays_close_even_where_exponentials_overflow(chunk):
    views = _views(n=200, d=8)
    single = [v.detach().float().requires_grad_() for v in views]
    for temperature in (0.1, 1e-3):
        exact, loss = info_nce(*views, temperature), info_nce(*single, temperature, chunk)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
        ours, theirs = torch.autograd.grad(loss, single), torch.autograd.grad(exact, views)
        for a, b in zip(ours, theirs, strict=True):
            assert (a - b).abs().max() < 1e-3 * b.abs().max()


def test_chunks_never_hold_more_than_their_rows(largest_tensor):
    n, d, chunk = 600, 5, 16
    views = [torch.randn(n, d, requires_grad=True) for _ in range(2)]
    with largest_tensor() as made:
        info_nce(*views, chunk=chunk).backward()
    assert made.numel == n * chunk
    with largest_tensor() as made:
        info_nce(*views).backward()
    assert made.numel == n * n


def test_training_brings_pairs_together():
    first, second = _views(n=30, d=6, seed=1)
    optimizer = torch.optim.Adam([first, second], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        info_nce(first, second, chunk=8).backward()
        optimizer.step()
    first, second = (v.detach() / v.detach().norm(dim=1, keepdim=True) for v in (first, second))
    assert ((first @ second.T).argmax(dim=1) == torch.arange(30)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"second": torch.zeros(7, 3)}, r"^first and second have shapes \(7, 4\) and \(7, 3\); give two views"),
        ({"first": torch.zeros(0, 4), "second": torch.zeros(0, 4)}, r"^first and second .*not empty\.$"),
        ({"temperature": 0.0}, r"^temperature=0.0; pass a positive number\.$"),
        ({"chunk": 0}, r"^chunk=0; pass at least 1 row"),
    ],
)
def test_info_nce_names_what_is_wrong(arguments, message):
    first, second = _views()
    with pytest.raises(ValueError, match=message):
        info_nce(**{"first": first, "second": second, **arguments})


# --- variance_hinge ---


def test_variance_hinge_is_the_formula():
    values = torch.tensor(np.random.default_rng(0).normal(size=(9, 5)) * [0.0, 0.1, 0.9, 2.0, 5.0], requires_grad=True)
    columns = values.detach().numpy()
    for target, eps in ((1.0, 1e-4), (0.5, 1e-2)):
        expected = np.maximum(0, target - np.sqrt(columns.var(axis=0) + eps)).mean()
        assert variance_hinge(values, eps, target).item() == pytest.approx(expected, rel=1e-12)
        assert torch.autograd.gradcheck(lambda v, e=eps, t=target: variance_hinge(v, e, t), values)
    wide = torch.autograd.grad(variance_hinge(values), values)[0]
    assert (wide[:, 3:] == 0).all() and (wide[:, 1:3] != 0).any(dim=0).all()


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 30), d=st.integers(1, 8), seed=st.integers(0, 10_000))
def test_published_target_is_out_of_reach_on_rows_of_unit_length(n, d, seed):
    """The hinge at target 1 is at least 1 - sqrt(1/d), but for eps."""
    values = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    unit = values / values.norm(dim=1, keepdim=True)
    assert variance_hinge(unit, 1e-8).item() >= 1 - math.sqrt(1 / d + 1e-8) - 1e-9


def test_attainable_target_rests_where_all_columns_vary_alike():
    unit = torch.cat([torch.eye(6), -torch.eye(6)])
    assert variance_hinge(unit, target=6**-0.5).item() == 0
    assert variance_hinge(unit).item() > 0.5
    assert variance_hinge(torch.ones(3, 6), target=6**-0.5).item() == pytest.approx(6**-0.5 - 0.01)


def test_variance_hinge_of_one_cell_and_bad_input():
    values = torch.ones(1, 3, requires_grad=True)
    loss = variance_hinge(values)
    loss.backward()
    assert loss.item() == pytest.approx(0.99) and torch.isfinite(values.grad).all()
    with pytest.raises(ValueError, match=r"^values have shape \(0, 3\); give a matrix"):
        variance_hinge(torch.ones(0, 3))
    with pytest.raises(ValueError, match=r"^eps=0; pass a positive number\.$"):
        variance_hinge(values, eps=0)
