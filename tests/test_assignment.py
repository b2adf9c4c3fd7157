"""Soft assignment, its Sinkhorn target and their divergence against the formulas in float64."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from skst.nn import assignment_divergence, sinkhorn_target, soft_assignment


def _embedding(n=11, k=3, d=4, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(torch.tensor(rng.normal(size=(rows, d)), requires_grad=True) for rows in (n, k))


def _probabilities(n=12, k=4, seed=0, sharpness=1.0):
    logits = np.random.default_rng(seed).normal(size=(n, k)) * sharpness
    return torch.softmax(torch.tensor(logits), dim=1)


# --- soft_assignment ---


@pytest.mark.parametrize("dof", [0.5, 1.0, 7.0])
def test_soft_assignment_is_the_formula(dof):
    z, centers = _embedding()
    with torch.no_grad():
        z[0] = centers[1]
    squares = ((z.detach()[:, None] - centers.detach()) ** 2).sum(dim=2)
    kernel = (1 + squares / dof) ** (-(dof + 1) / 2)
    assignment = soft_assignment(z, centers, dof)
    torch.testing.assert_close(assignment, kernel / kernel.sum(dim=1, keepdim=True), rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(lambda *p: soft_assignment(*p, dof), (z, centers), atol=1e-5)


def test_soft_assignment_far_from_the_origin_and_far_from_the_centers():
    """float32 keeps its digits under a shift; a cell a long way out belongs to all alike, not to NaN."""
    z, centers = _embedding()
    shift = torch.tensor([4096.0, -2048.0, 0.0, 512.0])
    z, centers = (torch.round(v.detach().float() * 256) / 256 for v in (z, centers))  # the shift itself is exact
    torch.testing.assert_close(soft_assignment(z + shift, centers + shift), soft_assignment(z, centers))
    far = soft_assignment(torch.full((1, 4), 1e15), centers)
    torch.testing.assert_close(far, torch.full((1, 3), 1 / 3))
    assert far.dtype == torch.float32


def test_soft_assignment_of_a_cell_on_a_center_has_a_finite_gradient():
    z, centers = _embedding(n=3)
    z = centers.detach().clone().requires_grad_()
    soft_assignment(z, centers)[:, 0].sum().backward()
    assert torch.isfinite(z.grad).all() and torch.isfinite(centers.grad).all()


def test_soft_assignment_names_what_is_wrong():
    z, centers = _embedding()
    with pytest.raises(ValueError, match=r"^z and centers have shapes \(11, 4\) and \(3, 2\); give them"):
        soft_assignment(z, centers[:, :2])
    with pytest.raises(ValueError, match=r"^dof=0; pass a positive number\.$"):
        soft_assignment(z, centers, dof=0)


# --- sinkhorn_target ---


def _scaled(assignment, sizes, power, n_iter=5000):
    """Columns and rows of assignment ** power scaled in turn."""
    kernel = assignment**power
    u = np.ones(len(kernel))
    for _ in range(n_iter):
        v = np.divide(sizes, kernel.T @ u, out=np.zeros(kernel.shape[1]), where=np.asarray(sizes) > 0)
        u = 1 / (kernel @ v)
    return u[:, None] * kernel * v


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 15), k=st.integers(1, 5), power=st.floats(0.3, 8), seed=st.integers(0, 10_000))
def test_target_is_brute_force_sinkhorn(n, k, power, seed):
    assignment = _probabilities(n, k, seed)
    rng = np.random.default_rng(seed)
    sizes = rng.uniform(0.1, 1, size=k)
    sizes[1:] *= rng.random(k - 1) < 0.7  # some clusters are empty
    sizes *= n / sizes.sum()
    target = sinkhorn_target(assignment, sizes, power, n_iter=5000, tol=1e-10)
    np.testing.assert_allclose(target.numpy(), _scaled(assignment.numpy(), sizes, power), atol=1e-5)
    np.testing.assert_allclose(target.sum(dim=1).numpy(), 1, atol=1e-9)
    np.testing.assert_allclose(target.sum(dim=0).numpy(), sizes, atol=1e-6)
    assert (target[:, sizes == 0] == 0).all()


def test_equal_sizes_are_the_default_and_shares_serve_as_sizes():
    assignment = _probabilities(sharpness=2.0)
    target = sinkhorn_target(assignment, tol=1e-9)
    np.testing.assert_allclose(target.sum(dim=0).numpy(), 3.0, atol=1e-6)
    for sizes in ([3, 3, 3, 3], torch.full((4,), 0.25), np.ones(4)):
        torch.testing.assert_close(sinkhorn_target(assignment, sizes, tol=1e-9), target)


def test_sizes_that_fit_leave_the_sharpened_assignment():
    assignment = _probabilities(sharpness=2.0)
    sharp = assignment**5 / (assignment**5).sum(dim=1, keepdim=True)
    torch.testing.assert_close(sinkhorn_target(assignment, sharp.sum(dim=0), tol=1e-12), sharp)


@pytest.mark.parametrize("power", [200.0, 5000.0])
def test_large_power_is_the_cheapest_hard_assignment(power):
    """Both ways of scaling reach the linear programme; neither warns."""
    assignment = _probabilities(n=8, k=4, sharpness=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        target = sinkhorn_target(assignment, power=power, n_iter=20_000, tol=1e-9)
    _, columns = linear_sum_assignment(np.repeat(-assignment.log().numpy(), 2, axis=1))
    np.testing.assert_array_equal(target.argmax(dim=1).numpy(), columns // 2)
    np.testing.assert_allclose(target.max(dim=1).values.numpy(), 1, atol=0.05)


def test_plain_and_logarithmic_scaling_agree(monkeypatch):
    assignment = _probabilities(n=40, sharpness=3.0)
    plain = sinkhorn_target(assignment, tol=1e-12)
    monkeypatch.setattr("skst.nn.assignment._PLAIN_RANGE", 0.0)
    torch.testing.assert_close(sinkhorn_target(assignment, tol=1e-12), plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_assignments_have_finite_targets(dtype):
    """Zeros and underflow: rows still sum to 1, and sizes that contradict the assignment are met."""
    assignment = torch.zeros(30, 3, dtype=dtype)
    assignment[:25, 0] = 1
    assignment[25:, 1] = 1
    for sizes in ([25, 5, 0], None, [1, 1, 28]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            target = sinkhorn_target(assignment, sizes)
        assert target.dtype == dtype
        expected = torch.tensor([10.0, 10, 10] if sizes is None else sizes, dtype=dtype)
        torch.testing.assert_close(target.sum(dim=1), torch.ones(30, dtype=dtype), rtol=0, atol=1e-5)
        torch.testing.assert_close(target.sum(dim=0), expected, rtol=0, atol=1e-2)
    certain = sinkhorn_target(assignment, [25, 5, 0])
    torch.testing.assert_close(certain, assignment, rtol=0, atol=1e-6)


def test_target_carries_no_gradient_and_leaves_the_assignment_alone():
    assignment = _probabilities().requires_grad_()
    before = assignment.detach().clone()
    target = sinkhorn_target(assignment)
    assert not target.requires_grad
    torch.testing.assert_close(assignment.detach(), before)
    torch.testing.assert_close(sinkhorn_target(before.numpy()), target)
    torch.testing.assert_close(before, assignment.detach(), rtol=0, atol=0)


def test_rows_sum_to_one_even_if_the_iterations_end_early():
    assignment = _probabilities(n=50, sharpness=4.0)
    target = sinkhorn_target(assignment, [47, 1, 1, 1], n_iter=1)
    torch.testing.assert_close(target.sum(dim=1), torch.ones(50, dtype=torch.float64))
    assert abs(target[:, 0].sum() - 47) > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"assignment": torch.ones(4)}, r"^assignment has shape \(4,\); give a matrix"),
        ({"assignment": torch.tensor([[1.0, np.nan]])}, r"^assignment holds negative or non-finite entries; pass"),
        ({"assignment": torch.tensor([[1.0, -0.1]])}, r"^assignment holds negative"),
        ({"sizes": [1, 2]}, r"^sizes are \[1.0, 2.0\]; give 4 finite numbers"),
        ({"sizes": [0, 0, 0, 0]}, r"^sizes are "),
        ({"sizes": [1, 2, 3, -1]}, r"^sizes are "),
        ({"power": 0}, r"^power=0 and n_iter=1000; both must be positive\.$"),
        ({"n_iter": 0}, r"^power=5.0 and n_iter=0; both"),
    ],
)
def test_target_names_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        sinkhorn_target(**{"assignment": _probabilities(), **arguments})


# --- assignment_divergence ---


def test_divergence_is_the_formula_and_its_gradient():
    assignment = _probabilities().requires_grad_()
    target = _probabilities(seed=1).requires_grad_()
    p, q = target.detach().numpy(), assignment.detach().numpy()
    loss = assignment_divergence(assignment, target)
    assert loss.item() == pytest.approx((p * np.log(p / q)).sum() / 12, rel=1e-12)
    assert torch.autograd.gradcheck(lambda a: assignment_divergence(a, target.detach()), assignment)
    loss.backward()
    assert target.grad is None
    wanted = torch.nn.functional.kl_div(assignment.log(), target, reduction="batchmean")
    torch.testing.assert_close(loss, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_divergence_with_zeros_on_either_side(dtype):
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=dtype)
    assignment = torch.tensor([[1.0, 0.0], [0.25, 0.75]], dtype=dtype, requires_grad=True)
    loss = assignment_divergence(assignment, target)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(4 / 3) / 2, rel=1e-6)
    torch.testing.assert_close(assignment.grad, torch.tensor([[-0.5, 0.0], [0.0, -2 / 3]], dtype=dtype))
    impossible = assignment_divergence(torch.tensor([[0.0, 1.0]], dtype=dtype), target[:1])
    assert 80 < impossible.item() < np.inf


def test_descending_the_divergence_reaches_the_target():
    """Embedding and centres move until their assignment is the one asked for."""
    z, centers = _embedding(n=12)
    sizes = [6, 4, 2]
    optimizer = torch.optim.Adam([z, centers], lr=0.05)
    with torch.no_grad():
        target = sinkhorn_target(soft_assignment(z, centers), sizes)
    first = assignment_divergence(soft_assignment(z, centers), target).item()
    for _ in range(300):
        optimizer.zero_grad()
        assignment_divergence(soft_assignment(z, centers), target).backward()
        optimizer.step()
    assignment = soft_assignment(z, centers)
    assert assignment_divergence(assignment, target).item() < 0.1 * first
    np.testing.assert_allclose(assignment.detach().sum(dim=0).numpy(), sizes, atol=1)


def test_divergence_names_what_is_wrong():
    with pytest.raises(ValueError, match=r"^assignment and target have shapes \(12, 4\) and \(12, 3\); give both the"):
        assignment_divergence(_probabilities(), _probabilities(k=3))
