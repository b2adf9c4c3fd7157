"""Sums over neighbours whose weights learn."""

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from skst.nn.propagation import hear_of_beta


def neighbor_sum(values, weights, edges):
    """Weighted sum over the spots that a spot has edges from.

    Parameters
    ----------
    values : Tensor of shape (n_nodes, n_columns), float32 or float64
        What is summed.
    weights : Tensor of shape (n_edges,), dtype of `values`
        Weight of each edge.
    edges : Tensor of int64 of shape (2, n_edges)
        From (first row) and to which node each edge goes, in ascending order of the second row.

    Returns
    -------
    Tensor of shape (n_nodes, n_columns)
        Zero for a node that no edge goes to; differentiable once, in `values` and `weights`.

    Notes
    -----
    A message-passing layer holds a row of `values` for each edge.  Here forward and backward are products with a sparse
    matrix, faster, in memory of the size of `values` and `weights`.

    Examples
    --------
    >>> import torch
    >>> from skst.embedding.encoders.attention import neighbor_sum
    >>> edges = torch.tensor([[0, 1, 1], [0, 0, 1]])
    >>> neighbor_sum(torch.tensor([[1.0], [10.0]]), torch.tensor([0.5, 0.5, 1.0]), edges)
    tensor([[ 5.5000],
            [10.0000]])
    """
    return _NeighborSum.apply(values, weights, edges)


class _NeighborSum(torch.autograd.Function):
    """Product with a sparse matrix whose entries learn; torch's own backward pass of one is slower."""

    @staticmethod
    def forward(ctx, values, weights, edges):
        ctx.save_for_backward(values, weights, edges)
        return _matrix(*edges, weights, len(values)) @ values

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        values, weights, (source, target) = ctx.saved_tensors
        of_values = of_weights = None
        if ctx.needs_input_grad[0]:
            order = source.argsort(stable=True)
            of_values = _matrix(target[order], source[order], weights[order], len(values)) @ gradient
        if ctx.needs_input_grad[1]:
            places = _matrix(source, target, torch.zeros_like(weights), len(values))
            of_weights = torch.sparse.sampled_addmm(places, gradient, values.T, beta=0.0).values()
        return of_values, of_weights, None


def _matrix(columns, rows, weights, n_nodes):
    """Square CSR tensor, entries in the order of their rows."""
    hear_of_beta()
    return torch.sparse_csr_tensor(
        edge_starts(rows, n_nodes),
        columns,
        weights,
        size=(n_nodes, n_nodes),
        device=weights.device,
        check_invariants=False,
    )


def edge_starts(ascending, n_nodes):
    """Where in an ascending row of nodes each one begins, and the end of the last; a Tensor of n_nodes + 1 int64."""
    return F.pad(torch.bincount(ascending, minlength=n_nodes).cumsum(0), (1, 0))
