"""Normalised cut against the dense traces: values, gradients, all subsets of a small sample, and what it allocates."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from scipy.stats import multivariate_hypergeom

from skst.nn import NormalizedCut


def _unit(values, axis):
    norms = values.square().sum(axis, keepdim=True)
    return values * torch.where(norms > 0, torch.where(norms > 0, norms, 1).rsqrt(), 0)


def _normalized(C):
    """The two normalised affinities, cells x cells, and the roots of their degrees."""
    C = _unit(torch.tensor(np.asarray(C, dtype=np.float64)), 1)
    affinities, roots = [], []
    for A in (C @ C.T, C @ C.T @ C @ C.T):
        degree = A.sum(1)
        scale = torch.where(degree > 0, torch.where(degree > 0, degree, 1).rsqrt(), 0)
        affinities.append(scale[:, None] * A * scale)
        roots.append(degree.sqrt())
    return affinities, roots


def _dense(C, z, balance=0.21, ortho_weight=0.32, deflate=False, norms=None):
    unit = _unit(z, 0) if norms is None else z / norms
    traces = []
    for L, root in zip(*_normalized(C), strict=True):
        projected = unit
        if deflate and root.any():
            projected = unit - torch.outer(root, root @ unit) / (root @ root)
        traces.append(torch.trace(projected.T @ L @ projected))
    d = z.shape[1]
    ortho = (unit.T @ unit - torch.eye(d, dtype=z.dtype)).square().mean()
    return -(balance * traces[0] + (1 - balance) * traces[1]) / d + ortho_weight * ortho


def _sample(n=12, g=7, d=3, seed=0):
    """Counts with a cell of zeros, and an embedding with columns far from mean 0."""
    rng = np.random.default_rng(seed)
    C = rng.poisson(0.6, size=(n, g)).astype(np.float64)
    C[n // 2] = 0
    return C, torch.tensor(rng.normal(size=(n, d)) + 0.7, requires_grad=True)


def _same(value, expected, z, tol=1e-6):
    torch.testing.assert_close(value, expected, rtol=tol, atol=tol)
    ours, theirs = (torch.autograd.grad(loss, z, retain_graph=True)[0] for loss in (value, expected))
    torch.testing.assert_close(ours, theirs, rtol=tol, atol=tol)


_entries = st.one_of(st.just(0.0), st.just(0.0), st.integers(1, 50).map(float), st.floats(1e-3, 1e4))


@settings(max_examples=50, deadline=None)
@given(
    C=arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 6)), elements=_entries),
    d=st.integers(1, 4),
    balance=st.floats(0, 1),
    ortho_weight=st.floats(0, 2),
    deflate=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_cut_is_the_dense_trace(C, d, balance, ortho_weight, deflate, seed):
    """Rows of zeros, single rows and single columns are common here."""
    z = torch.randn(len(C), d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)
    expected = _dense(C, z, balance, ortho_weight, deflate)
    for matrix in (C, sparse.csr_array(C), sparse.coo_matrix(C)):
        cut = NormalizedCut(matrix, balance=balance, ortho_weight=ortho_weight, deflate=deflate)
        _same(cut(z), expected, z)
    _same(cut.estimate(z, np.arange(len(C))), expected, z)


@pytest.mark.parametrize("deflate", [False, True])
def test_gradcheck(deflate):
    C, z = _sample()
    cut = NormalizedCut(C, deflate=deflate)
    rows = [0, 6, 7, 11]
    assert torch.autograd.gradcheck(cut, z)
    assert torch.autograd.gradcheck(lambda part: cut.estimate(part, rows), z.detach()[rows].requires_grad_())


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("n", [2, 3, 7])
def test_estimate_with_given_norms_has_no_bias(n, deflate):
    """Averaged over all subsets it is the loss, and so is its gradient, at the true norms and at any others."""
    C, z = _sample(n=9)
    cut = NormalizedCut(C, deflate=deflate)
    for norms in (z.detach().norm(dim=0), torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)):
        subsets = [list(rows) for rows in combinations(range(9), n)]
        average = sum(cut.estimate(z[rows], rows, norms) for rows in subsets) / len(subsets)
        _same(average, _dense(C, z, deflate=deflate, norms=norms), z, tol=1e-10)
    torch.testing.assert_close(_dense(C, z, norms=z.detach().norm(dim=0)), NormalizedCut(C)(z))


@pytest.mark.parametrize(("matrix", "ortho_weight"), [("counts", 0.0), ("zeros", 1.0)], ids=["traces", "ortho"])
def test_bias_of_the_batch_s_own_norms_halves_when_the_batch_doubles(matrix, ortho_weight):
    """Expectations are exact: of cells of three kinds, only the number of each kind in a batch matters."""
    alike = 200
    C, z = _sample(n=3, d=2, seed=5)
    C, z = np.repeat(C + 1.0, alike, axis=0), z.detach().repeat_interleave(alike, dim=0)
    cut = NormalizedCut(C if matrix == "counts" else np.zeros_like(C), ortho_weight=ortho_weight)
    bias = {}
    for n in (15, 30):
        counts = np.array([(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)])
        probability = multivariate_hypergeom.pmf(counts, m=[alike] * 3, n=n)
        batches = (np.concatenate([k * alike + np.arange(size) for k, size in enumerate(row)]) for row in counts)
        values = [cut.estimate(z[rows], rows).item() for rows in batches]
        bias[n] = probability @ values - cut(z).item()
    assert abs(bias[15]) > 1e-3
    assert bias[15] / bias[30] == pytest.approx((1 / 15 - 1 / 600) / (1 / 30 - 1 / 600), rel=0.15)


def test_a_column_alone_is_orthogonal_in_every_batch():
    C, z = _sample()
    cut = NormalizedCut(np.zeros_like(C), ortho_weight=1.0)
    loss = cut.estimate(z[2:6, :1], range(2, 6))
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert torch.autograd.grad(loss, z)[0].abs().max() < 1e-12
    assert cut.estimate(0 * z[2:6, :1], range(2, 6)).item() == 1  # a column of zeros is not of unit length


def test_scales_of_cells_and_of_the_embedding_do_not_matter():
    C, z = _sample()
    cut, scaled = NormalizedCut(C), NormalizedCut(C * np.linspace(0.5, 90, len(C))[:, None])
    scale = torch.tensor([1e-3, -2.0, 1e3], dtype=torch.float64)
    torch.testing.assert_close(scaled(z * scale), cut(z))
    rows = [1, 2, 8, 9]
    torch.testing.assert_close(scaled.estimate(z[rows] * scale, rows), cut.estimate(z[rows], rows))
    order = np.random.default_rng(0).permutation(len(C))
    torch.testing.assert_close(NormalizedCut(C[order])(z[torch.tensor(order)]), cut(z))


def test_leading_direction_is_the_first_eigenvector_and_deflation_removes_it():
    C, _ = _sample()
    cut = NormalizedCut(C, balance=0.4, ortho_weight=0.0)
    deflated = NormalizedCut(C, balance=0.4, ortho_weight=0.0, deflate=True)
    for t, L in enumerate(_normalized(C)[0]):
        torch.testing.assert_close(L @ cut.leading[t], cut.leading[t])
        assert torch.linalg.eigvalsh(L)[-1].item() == pytest.approx(1.0)
    for t, weight in ((0, 0.4), (1, 0.6)):
        z = cut.leading[t][:, None]
        assert deflated(z).item() - cut(z).item() == pytest.approx(
            weight + (1 - weight) * (cut.leading[0] @ cut.leading[1]).item() ** 2
        )
        assert NormalizedCut(C, balance=1.0 - t, deflate=True)(z).item() == pytest.approx(0.0, abs=1e-12)


def test_minimising_the_deflated_cut_finds_the_groups():
    """Three groups of cells on genes of their own: the deflated optimum is constant in each, so cells agree."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(3), 20)
    C = rng.poisson(0.2 + 4.0 * (np.arange(30) // 10 == group[:, None]))
    cut = NormalizedCut(C, deflate=True)
    z = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        cut(z).backward()
        optimizer.step()
    z = z.detach().numpy()
    centers = np.stack([z[group == k].mean(axis=0) for k in range(3)])
    nearest = ((z[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == group).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes(dtype):
    C, z = _sample(n=40)
    expected = NormalizedCut(C)(z)
    for matrix in (C.astype(np.float32), C.astype(np.int64), sparse.csr_matrix(C.astype(np.float32))):
        cut = NormalizedCut(matrix)
        assert cut.dtype == torch.float32
        part = z.detach().to(dtype).requires_grad_()
        for loss in (cut(part), cut.estimate(part, torch.arange(40))):
            assert loss.dtype == dtype
            (grad,) = torch.autograd.grad(loss, part)
            torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(
                grad.double(), torch.autograd.grad(expected, z, retain_graph=True)[0], rtol=1e-3, atol=1e-6
            )


def test_zero_cells_and_zero_columns_have_zero_gradient():
    C, z = _sample()
    with torch.no_grad():
        z[:, 1] = 0
    for cut in (NormalizedCut(C, ortho_weight=0.0), NormalizedCut(np.zeros_like(C))):
        for loss in (cut(z), cut.estimate(z[3:9], range(3, 9))):
            (grad,) = torch.autograd.grad(loss, z)
            assert torch.isfinite(grad).all() and (grad[:, 1] == 0).all()
    (grad,) = torch.autograd.grad(NormalizedCut(C, ortho_weight=0.0)(z), z)
    assert grad[6, 0] != 0  # a cell without expression acts through the length of the column


def test_the_matrix_given_is_neither_changed_nor_shared():
    C, z = _sample()
    given = sparse.csr_array(C)
    data = given.data.copy()
    cut = NormalizedCut(given)
    value = cut(z).item()
    np.testing.assert_array_equal(given.data, data)
    given.data[:] = 7.0
    assert cut(z).item() == value and cut.estimate(z, range(12)).item() == pytest.approx(value)


def test_entries_stored_in_parts_add_up():
    C, z = _sample()
    whole = sparse.csr_array(C)
    shares = np.random.default_rng(0).uniform(0, 0.5, size=whole.nnz)
    split = np.stack([whole.data * shares, whole.data * (1 - shares)], axis=1).ravel()
    parts = sparse.csr_array((split, np.repeat(whole.indices, 2), 2 * whole.indptr), shape=C.shape)
    assert parts.nnz == 2 * whole.nnz
    torch.testing.assert_close(NormalizedCut(parts)(z), NormalizedCut(C)(z))


def test_second_order_in_blocks_is_the_same(monkeypatch):
    C, z = _sample()
    rows = [0, 3, 5, 6]
    whole = NormalizedCut(C).estimate(z[rows], rows)
    monkeypatch.setattr("skst.nn.cut._BLOCK", 21)  # three cells at a time
    torch.testing.assert_close(NormalizedCut(C).estimate(z[rows], rows), whole)


def test_nothing_of_cells_by_cells_is_made(monkeypatch, largest_tensor):
    monkeypatch.setattr("skst.nn.cut._BLOCK", 500 * 50)
    n, d = 3000, 4
    C = sparse.random_array((n, 50), density=0.1, format="csr", rng=np.random.default_rng(0))
    cut = NormalizedCut(C)
    z = torch.randn(n, d, requires_grad=True)
    with largest_tensor() as made:
        cut(z).backward()
        cut.estimate(z[:500], range(500)).backward()
    assert n * 2 * d <= made.numel <= 500 * 50


def test_moving_to_where_it_is_costs_nothing():
    C, z = _sample()
    cut = NormalizedCut(C)
    assert cut.to("cpu") is cut and cut.device == torch.device("cpu")
    moved = cut.to("meta")
    assert moved.device.type == moved.leading.device.type == "meta" and cut.leading.device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda():
    C, z = _sample()
    cut = NormalizedCut(C)
    rows = [0, 3, 5, 6]
    moved, z_moved = cut.to("cuda"), z.detach().cuda().requires_grad_()
    for ours, theirs in (
        (moved(z_moved), cut(z)),
        (moved.estimate(z_moved[rows], torch.tensor(rows, device="cuda")), cut.estimate(z[rows], rows)),
    ):
        torch.testing.assert_close(ours.cpu(), theirs)
        torch.testing.assert_close(torch.autograd.grad(ours, z_moved)[0].cpu(), torch.autograd.grad(theirs, z)[0])


@pytest.mark.parametrize(
    ("C", "parameters", "message"),
    [
        ([[1.0, -2.0]], {}, r"^C holds negative or non-finite entries; pass "),
        (sparse.csr_array([[1.0, np.nan]]), {}, r"^C holds negative or non-finite"),
        ([1.0, 2.0], {}, r"^C has shape \(2,\); give a matrix"),
        (np.zeros((3, 0)), {}, r"^C has shape \(3, 0\); give"),
        ([[1.0]], {"balance": 1.5}, r"^balance=1.5; pass a weight from 0 to 1\.$"),
        ([[1.0]], {"ortho_weight": -1}, r"^ortho_weight=-1; pass"),
    ],
)
def test_bad_input_is_named(C, parameters, message):
    with pytest.raises(ValueError, match=message):
        NormalizedCut(C, **parameters)


def test_bad_embedding_is_named():
    C, z = _sample()
    cut = NormalizedCut(C)
    with pytest.raises(ValueError, match=r"^z has shape \(11, 3\) where \(12, n_features\) is needed; give one row"):
        cut(z[1:])
    with pytest.raises(ValueError, match=r"^z has shape \(4, 3\) where \(3, "):
        cut.estimate(z[:4], [0, 1, 2])
    with pytest.raises(ValueError, match=r"^rows holds 1 of 12 cells; draw at least 2"):
        cut.estimate(z[:1], [0])
