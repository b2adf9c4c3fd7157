"""Losses of graph networks on counts, each linear in the number of spots.

All are plain functions of tensors, work in float32 and float64 on any device, and return a scalar tensor.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

# log(1 + exp(c)) for c in [-1, 1], to within 6.1e-4: the Chebyshev series cut after the square.
_SOFTPLUS_0, _SOFTPLUS_1, _SOFTPLUS_2 = 0.69374797, 0.5, 0.12009575


def correlation_reduction(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    r"""Make the columns of two views agree, and differ from each other (SemST's correlation reduction).

    With S the cosines between the d columns of one view and those of the other,

    .. math:: \frac{1}{d} \sum_i (S_{ii} - 1)^2 + \frac{1}{d (d - 1)} \sum_{i \neq j} S_{ij}^2 .

    Parameters
    ----------
    first, second : Tensor of shape (n_spots, n_features), float32 or float64
        The two views.

    Returns
    -------
    Tensor
        Scalar; the second term is 0 for a single column.

    Raises
    ------
    ValueError
        If the views differ in shape or are not matrices.

    Notes
    -----
    A column of zeros has cosine 0 with every other, and gradient 0.

    References
    ----------
    .. [1] J. Long et al., "When genes speak: a semantic-guided framework for spatially resolved transcriptomics data
       clustering", arXiv:2511.11380.

    Examples
    --------
    >>> import torch
    >>> from skst.nn import correlation_reduction
    >>> view = torch.eye(3)
    >>> correlation_reduction(view, view).item(), correlation_reduction(view, -view).item()
    (0.0, 4.0)
    """
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            f"first and second have shapes {tuple(first.shape)} and {tuple(second.shape)}; give two views of the same "
            "shape (n_spots, n_features)."
        )
    n_features = first.shape[1]
    cosines = unit_length(first, 0).T @ unit_length(second, 0)
    diagonal = cosines.diagonal()
    agreement = (diagonal - 1).square().mean()
    others = (cosines - torch.diag(diagonal)).square().sum()
    return agreement + others / max(n_features * (n_features - 1), 1)


def spatial_regularization(
    embedding: torch.Tensor,
    edges: torch.Tensor,
    edge_weight: torch.Tensor | None = None,
    n_negatives: int | None = None,
    generator: torch.Generator | None = None,
    balanced: bool = True,
) -> torch.Tensor:
    r"""Pull neighbours together and push all other pairs of spots apart (SemST's spatial regularisation).

    With A the weights of the spatial graph (0 off the edges), c the cosine of two rows of the embedding and
    :math:`s = \sigma(c)`, over all ordered pairs of spots, a spot and itself included,

    .. math:: \frac{1}{2} \left[ \frac{-\sum A_{ij} \log s_{ij}}{n_1} +
        \frac{-\sum (1 - A_{ij}) \log (1 - s_{ij})}{n_0} \right] .

    Parameters
    ----------
    embedding : Tensor of shape (n_spots, n_features), float32 or float64
        Rows need not have unit length.
    edges : Tensor of shape (2, n_edges), int64
        Ordered pairs of spots, each at most once; an undirected edge comes in both directions.
    edge_weight : Tensor of shape (n_edges,), default=None
        Weights from 0 to 1; 1 by default.  No gradient.
    n_negatives : int, default=None
        Sample this many random pairs for the sum over all pairs, which makes the loss noisy but without bias, instead
        of computing it from a polynomial.
    generator : torch.Generator, default=None
        Source of the random pairs.
    balanced : bool, default=True
        Average edges and other pairs each over their own number, :math:`n_1 = \sum A` and
        :math:`n_0 = N^2 - \sum A`; both over :math:`N^2`, as published, if False.

    Returns
    -------
    Tensor
        Scalar.

    Raises
    ------
    ValueError
        If the shapes do not fit together or `n_negatives` is below 1.

    Notes
    -----
    Nothing of size N x N is made.  On [-1, 1], :math:`\log(1 + e^c)` is :math:`0.69374797 + 0.5 c + 0.12009575 c^2`
    to within 6.1e-4, and the sums of c and of its square over all pairs are :math:`\|\sum_i z_i\|^2` and
    :math:`\|Z^\top Z\|_F^2` for the rows z of unit length: time N d (d + n_edges / N), memory N d + n_edges.  The
    polynomial stands for the logistic loss of the pairs that are no edges; the edges' own term is exact.

    As published, both terms are divided by :math:`N^2`.  The edges then weigh n_edges / N^2, which vanishes as
    the tissue grows and leaves a loss that pushes all spots apart; ``balanced=True`` is the deviation.

    A row of zeros has cosine 0 with every other, and gradient 0.

    References
    ----------
    .. [1] J. Long et al., "When genes speak: a semantic-guided framework for spatially resolved transcriptomics data
       clustering", arXiv:2511.11380.

    Examples
    --------
    >>> import torch
    >>> from skst.nn import spatial_regularization
    >>> edges = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])  # two pairs of neighbours
    >>> together = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    >>> apart = together[[0, 2, 1, 3]]
    >>> bool(spatial_regularization(together, edges) < spatial_regularization(apart, edges))
    True
    """
    _check_graph(embedding, edges, edge_weight)
    if n_negatives is not None and n_negatives < 1:
        raise ValueError(f"n_negatives={n_negatives!r}; pass at least 1 pair, or None for the sum over all pairs.")
    n_pairs = embedding.shape[0] ** 2
    unit = unit_length(embedding, 1)
    cosines = _EdgeProducts.apply(unit, edges)
    if n_negatives is None:
        # Means over all pairs: they stay of order 1, where the sums would exhaust float32.
        mean_square = (unit.T @ unit / embedding.shape[0]).square().sum()
        everywhere = _SOFTPLUS_0 + _SOFTPLUS_1 * unit.mean(dim=0).square().sum() + _SOFTPLUS_2 * mean_square
        on_edges = _SOFTPLUS_0 + cosines * (_SOFTPLUS_1 + cosines * _SOFTPLUS_2)
    else:
        device = embedding.device if generator is None else generator.device
        pairs = torch.randint(embedding.shape[0], (2, n_negatives), generator=generator, device=device)
        everywhere = F.softplus(_EdgeProducts.apply(unit, pairs.to(embedding.device))).mean()
        on_edges = F.softplus(cosines)
    pull = F.softplus(-cosines)
    weight = torch.ones_like(cosines) if edge_weight is None else edge_weight.detach()
    total = weight.sum()
    pull = (weight * pull).sum()
    push = everywhere - (weight * on_edges).sum() / n_pairs
    if balanced:
        pull = pull / torch.where(total > 0, total, 1)
        push = push / (1 - total / n_pairs).clamp(min=1 / n_pairs)
    else:
        pull = pull / n_pairs
    return (pull + push) / 2


class _EdgeProducts(torch.autograd.Function):
    """Inner products of the rows that edges join, without a copy of the rows of all edges."""

    @staticmethod
    def forward(ctx, rows, edges):
        ctx.save_for_backward(rows, edges)
        products = rows.new_empty(edges.shape[1])
        for block in _blocks(edges.shape[1], rows.shape[1], rows.device):
            first, second = (rows.index_select(0, end[block]) for end in edges)
            products[block] = torch.linalg.vecdot(first, second)
        return products

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        rows, edges = ctx.saved_tensors
        grad = torch.zeros_like(rows)
        for block in _blocks(edges.shape[1], rows.shape[1], rows.device):
            first, second = edges[0, block], edges[1, block]
            weight = upstream[block, None]
            grad.index_add_(0, first, rows.index_select(0, second).mul_(weight))
            grad.index_add_(0, second, rows.index_select(0, first).mul_(weight))
        return grad, None


def unit_length(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Scale to unit length along `dim`; zeros stay zeros and have gradient zero."""
    square = values.square().sum(dim=dim, keepdim=True)
    positive = square > torch.finfo(values.dtype).tiny
    return values * torch.where(positive, torch.where(positive, square, 1).rsqrt(), 0)


def _positive(x):
    """Flat positions of the positive entries; on a CPU numpy finds them faster than torch."""
    if x.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(x.numpy() > 0))
    return (x > 0).view(-1).nonzero().view(-1)


def _blocks(n_rows, n_columns, device):
    """Slices of rows: small enough for a CPU's cache, large enough to keep an accelerator busy."""
    entries = 2**16 if device.type == "cpu" else 2**24
    step = max(1, entries // max(n_columns, 1))
    return (slice(start, start + step) for start in range(0, n_rows, step))


def _check_graph(embedding, edges, edge_weight):
    if embedding.ndim != 2 or embedding.shape[0] == 0:
        raise ValueError(f"embedding has shape {tuple(embedding.shape)}; give a matrix (n_spots, n_features).")
    if edges.ndim != 2 or edges.shape[0] != 2:
        raise ValueError(f"edges have shape {tuple(edges.shape)}; give pairs of spots in the shape (2, n_edges).")
    if edge_weight is not None and edge_weight.shape != edges.shape[1:]:
        raise ValueError(
            f"edge_weight has shape {tuple(edge_weight.shape)} but there are {edges.shape[1]} edges; give one weight "
            "an edge."
        )
