"""Sparse operators and graph convolutions, against dense products and PyG."""

import copy
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from skst.nn.batches import Halo
from skst.nn.propagation import GraphBranch, SparseOperator


def _matrix(n=30, density=0.2, dtype=np.float64, seed=0, columns=None):
    """Row-normalised, not symmetric, with an empty row."""
    rng = np.random.default_rng(seed)
    dense = rng.random((n, columns or n)) * (rng.random((n, columns or n)) < density)
    dense[n // 2] = 0
    dense /= np.maximum(dense.sum(axis=1, keepdims=True), 1e-12)
    return sparse.csr_array(dense.astype(dtype))


def _dense(rows, n_features=4, dtype=torch.float64, seed=0):
    return torch.randn(rows, n_features, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 12), columns=st.integers(1, 12), features=st.integers(0, 3), seed=st.integers(0, 10_000))
def test_product_and_gradient_equal_the_dense_ones(n, columns, features, seed):
    matrix = _matrix(n, 0.4, seed=seed, columns=columns)
    x = _dense(columns, features, seed=seed).requires_grad_()
    upstream = _dense(n, features, seed=seed + 1)
    product = SparseOperator(matrix) @ x
    np.testing.assert_allclose(product.detach().numpy(), matrix.toarray() @ x.detach().numpy(), atol=1e-14)
    product.backward(upstream)
    np.testing.assert_allclose(x.grad.numpy(), matrix.toarray().T @ upstream.numpy(), atol=1e-14)


def test_first_and_second_derivatives_are_right():
    operator = SparseOperator(_matrix(6, 0.5))
    x = _dense(6, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: operator @ x, x)
    assert torch.autograd.gradgradcheck(lambda x: (operator @ x) ** 3, x)


@pytest.mark.parametrize("layout", ["transposed", "expanded", "sliced"])
def test_any_memory_layout_of_the_dense_factor(layout):
    matrix = _matrix()
    x = {
        "transposed": _dense(4, 30).T,
        "expanded": _dense(1).expand(30, 4),
        "sliced": _dense(60, 8)[::2, 1::2],
    }[layout]
    expected = matrix.toarray() @ x.numpy()
    np.testing.assert_allclose((SparseOperator(matrix) @ x).numpy(), expected, atol=1e-14)


def test_a_gradient_that_is_one_number_expanded():
    matrix = _matrix()
    x = _dense(30).requires_grad_()
    (SparseOperator(matrix) @ x).sum().backward()
    expected = np.repeat(matrix.toarray().sum(axis=0)[:, None], 4, axis=1)
    np.testing.assert_allclose(x.grad.numpy(), expected, atol=1e-14)


@pytest.mark.parametrize(
    ("given", "kept"),
    [(np.float32, torch.float32), (np.float64, torch.float64), (np.int64, torch.float32), (np.bool_, torch.float32)],
)
def test_dtypes(given, kept):
    matrix = sparse.csr_array(np.array([[0, 1], [1, 1]], dtype=given))
    operator = SparseOperator(matrix)
    assert operator.dtype == kept and operator.shape == (2, 2) and operator.device.type == "cpu"
    product = operator @ torch.tensor([[2.0], [3.0]], dtype=kept)
    assert product.dtype == kept
    assert product.tolist() == [[3.0], [5.0]]


def test_unsorted_duplicate_and_other_sparse_formats():
    parts = sparse.csr_array((np.ones(4), np.array([2, 0, 2, 1]), np.array([0, 3, 4, 4])), shape=(3, 3))
    expected = parts.toarray()
    with torch.sparse.check_sparse_tensor_invariants():
        for matrix in (parts, sparse.coo_array(parts), sparse.csc_matrix(parts)):
            operator = SparseOperator(matrix)
            product = operator @ torch.eye(3, dtype=torch.float64)
            np.testing.assert_array_equal(product.numpy(), expected)
            crow = operator._forward.crow_indices().numpy()
            columns = operator._forward.col_indices().numpy()
            assert all((np.diff(columns[a:b]) > 0).all() for a, b in zip(crow[:-1], crow[1:], strict=True))
    assert parts.nnz == 4  # the input is left as it was


def test_the_operator_shares_no_memory_with_the_matrix():
    matrix = _matrix()
    operator, x = SparseOperator(matrix), _dense(30)
    before = operator @ x
    matrix.data[:] = 0
    assert torch.equal(operator @ x, before)


@pytest.mark.parametrize(
    ("dense", "message"),
    [
        (_dense(29), r"has shape \(29, 4\) .* needs \(30, n_features\)"),
        (_dense(30)[:, 0], r"has shape \(30,\)"),
        (_dense(30, dtype=torch.float32), r"is torch.float32 on cpu but the operator torch.float64"),
    ],
)
def test_a_dense_factor_that_does_not_fit(dense, message):
    with pytest.raises(ValueError, match=message):
        SparseOperator(_matrix()) @ dense


def test_a_dense_operator_is_refused():
    with pytest.raises(ValueError, match=r"matrix is a ndarray; pass a sparse one"):
        SparseOperator(np.eye(3))


def test_no_warning_from_torch():
    # torch warns once a process, so a fresh one is needed to see it.
    script = (
        "import warnings\n"
        "warnings.simplefilter('error')\n"
        "import torch\n"
        "from scipy import sparse\n"
        "from skst.nn.propagation import SparseOperator\n"
        "x = torch.ones(3, 2, requires_grad=True)\n"
        "(SparseOperator(sparse.eye_array(3, dtype='float32')) @ x).sum().backward()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_warning_filters_stay_as_they_were():
    before = list(warnings.filters)
    SparseOperator(_matrix())
    assert warnings.filters == before


def test_to_the_same_device_is_the_same_operator():
    operator = SparseOperator(_matrix())
    assert operator.to("cpu") is operator
    assert "shape=(30, 30), dtype=torch.float64, device='cpu'" in repr(operator)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_what_the_cpu_gives():
    operator, branch = SparseOperator(_matrix(200, 0.05)), GraphBranch(5, 8, 3).double()
    x = _dense(200, 5)
    branch(x, operator).square().sum().backward()
    there = copy.deepcopy(branch).cuda()
    there.zero_grad()
    moved = operator.to("cuda")
    assert moved.device.type == "cuda" and moved.to(moved.device) is moved
    out = there(x.cuda(), moved)
    out.square().sum().backward()
    torch.testing.assert_close(out.cpu(), branch(x, operator))
    for a, b in zip(there.parameters(), branch.parameters(), strict=True):
        torch.testing.assert_close(a.grad.cpu(), b.grad)


def _by_hand(branch, x, dense, activation=True):
    """The paper's two layers, dense."""
    w1, b1, w2, b2 = (p.detach().numpy() for p in branch.parameters())
    hidden = dense @ x.numpy() @ w1.T + b1
    return dense @ (np.maximum(hidden, 0) if activation else hidden) @ w2.T + b2


def _random_branch(*sizes, seed=0, **kwargs):
    """A branch in float64 with biases that are not zero."""
    torch.manual_seed(seed)
    branch = GraphBranch(*sizes, **kwargs).double()
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.normal_()
    return branch


@pytest.mark.parametrize("activation", [True, False])
@pytest.mark.parametrize("sizes", [(3, 8, 2), (8, 3, 5), (4, 4, 4), (1, 1, 1)])
def test_branch_equals_dense_algebra(sizes, activation):
    matrix, x = _matrix(), _dense(30, sizes[0])
    branch = _random_branch(*sizes, activation=activation)
    expected = _by_hand(branch, x, matrix.toarray(), activation)
    np.testing.assert_allclose(branch(x, SparseOperator(matrix)).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("sizes", [(3, 8, 2), (8, 3, 5)])
def test_averaging_once_beforehand_changes_nothing(sizes):
    operator, x = SparseOperator(_matrix()), _dense(30, sizes[0])
    branch = _random_branch(*sizes)
    torch.testing.assert_close(branch(operator @ x, operator, averaged=True), branch(x, operator))


@pytest.mark.parametrize("sizes", [(3, 8, 2), (8, 3, 5)])
def test_branch_equals_pyg(sizes):
    GCNConv = pytest.importorskip("torch_geometric.nn").GCNConv
    matrix, x = _matrix(), _dense(30, sizes[0])
    branch = _random_branch(*sizes)
    convolutions = [GCNConv(*pair, normalize=False).double() for pair in zip(sizes, sizes[1:], strict=False)]
    with torch.no_grad():
        for ours, theirs in zip((branch.first, branch.second), convolutions, strict=True):
            theirs.lin.weight.copy_(ours.weight)
            theirs.bias.copy_(ours.bias)
    # PyG's edges run from source to target, which are column and row of the operator.
    coo = matrix.tocoo()
    edges = torch.from_numpy(np.stack([coo.col, coo.row]).astype(np.int64))
    hidden = torch.relu(convolutions[0](x, edges, torch.from_numpy(coo.data)))
    expected = convolutions[1](hidden, edges, torch.from_numpy(coo.data))
    out = branch(x, SparseOperator(matrix))
    torch.testing.assert_close(out, expected)
    for ours, theirs in zip(
        torch.autograd.grad(out.square().sum(), [branch.first.weight, branch.second.bias]),
        torch.autograd.grad(expected.square().sum(), [convolutions[0].lin.weight, convolutions[1].bias]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_order_of_spots_does_not_matter():
    matrix, x, branch = _matrix(), _dense(30), _random_branch(4, 6, 3)
    order = np.random.default_rng(0).permutation(30)
    shuffled = branch(x[order], SparseOperator(matrix[order][:, order]))
    torch.testing.assert_close(shuffled, branch(x, SparseOperator(matrix))[order])


def test_dropout_acts_in_training_only():
    operator, x = SparseOperator(_matrix()), _dense(30)
    branch = _random_branch(4, 16, 3, dropout=0.5)
    assert not torch.equal(branch(x, operator), branch(x, operator))
    branch.eval()
    expected = _by_hand(branch, x, _matrix().toarray())
    np.testing.assert_allclose(branch(x, operator).detach().numpy(), expected, atol=1e-12)
    with pytest.raises(ValueError, match="dropout"):
        GraphBranch(4, 16, 3, dropout=2)


def test_the_core_of_a_patch_trains_as_in_the_whole_tissue():
    matrix, x = _matrix(120, 0.02), _dense(120)
    core = np.random.default_rng(1).choice(120, 15, replace=False)
    branch = _random_branch(4, 8, 3)
    patch = Halo([matrix])(core)
    assert len(patch.nodes) < 120
    whole = branch(x, SparseOperator(matrix))[core]
    cut = branch(x[patch.nodes], SparseOperator(patch.operators[0]))[: patch.n_core]
    torch.testing.assert_close(cut, whole, rtol=0, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(cut.square().sum(), list(branch.parameters())),
        torch.autograd.grad(whole.square().sum(), list(branch.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_one_hop_is_enough_for_averaged_features():
    matrix, x = _matrix(120, 0.02), _dense(120)
    core, branch, operator = np.arange(0, 120, 9), _random_branch(4, 8, 3), SparseOperator(matrix)
    patch = Halo([matrix], hops=1)(core)
    averaged = (operator @ x)[patch.nodes]
    cut = branch(averaged, SparseOperator(patch.operators[0]), averaged=True)[: patch.n_core]
    torch.testing.assert_close(cut, branch(x, operator)[core], rtol=0, atol=1e-12)


def test_backward_costs_about_as_much_as_forward():
    """Far from the time of a backward pass that lays out the transpose, some 50 times the forward product here."""
    n, rng = 20_000, np.random.default_rng(0)
    rows = np.repeat(np.arange(n), 15)
    matrix = sparse.csr_array((np.ones(15 * n, np.float32), (rows, rng.integers(n, size=15 * n))), shape=(n, n))
    operator, x = SparseOperator(matrix), torch.ones(n, 4, requires_grad=True)
    upstream = torch.ones(n, 4)

    def best_of(function):
        times = []
        for _ in range(7):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        return min(times)

    with torch.no_grad():
        forward = best_of(lambda: operator @ x)
    both = best_of(lambda: (operator @ x).backward(upstream))
    assert both < 15 * forward
