"""Losses of graph networks on counts, each linear in the number of spots.

All are plain functions of tensors, work in float32 and float64 on any device, and return a scalar tensor.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

LOG_DISPERSION_RANGE = (math.log(1e-4), math.log(1e4))

# log(1 + exp(c)) for c in [-1, 1], to within 6.1e-4: the Chebyshev series cut after the square.
_SOFTPLUS_0, _SOFTPLUS_1, _SOFTPLUS_2 = 0.69374797, 0.5, 0.12009575

# The recurrence of the gamma function is used this many times before Stirling's series.
_SHIFT = 4


def zinb_loss(counts, log_mean, log_dispersion, dropout_logits=None):
    r"""Mean negative log-likelihood of counts under a (zero-inflated) negative binomial.

    With mean :math:`\mu`, inverse dispersion :math:`\theta` (variance :math:`\mu + \mu^2 / \theta`) and dropout
    probability :math:`\pi`, the likelihood of a count x is

    .. math:: \pi [x = 0] + (1 - \pi) \frac{\Gamma(x + \theta)}{\Gamma(\theta)\, \Gamma(x + 1)}
        \left(\frac{\theta}{\theta + \mu}\right)^{\theta} \left(\frac{\mu}{\theta + \mu}\right)^{x} .

    Parameters
    ----------
    counts : Tensor of shape (n_spots, n_genes)
        Non-negative, finite counts, not necessarily integers; neither is checked.  No gradient.
    log_mean : Tensor of shape (n_spots, n_genes), float32 or float64
        Logarithm of the mean, library size included.
    log_dispersion : Tensor of shape (n_genes,)
        Logarithm of the inverse dispersion; clamped to the inverse dispersions from 1e-4 to 1e4.
    dropout_logits : Tensor of shape (n_spots, n_genes), default=None
        Logit of the dropout probability; None for the negative binomial without dropout.

    Returns
    -------
    Tensor
        Scalar: the mean over all entries, constants of the likelihood included.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Notes
    -----
    The gamma functions of a zero count cancel, so they are evaluated at the other counts alone, as a difference that
    does not lose digits where the dispersion is large.  The gradient is computed along with the value in blocks of
    rows that stay in the processor's cache, faster than autograd does it.  Gamma
    functions are right to 4e-9.  There is no second derivative.

    References
    ----------
    .. [1] G. Eraslan et al., "Single-cell RNA-seq denoising using a deep count autoencoder", Nature Communications
       10, 2019.

    Examples
    --------
    >>> import torch
    >>> from skst.nn import zinb_loss
    >>> counts = torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    >>> log_mean = torch.zeros(2, 2, requires_grad=True)
    >>> loss = zinb_loss(counts, log_mean, torch.zeros(2))
    >>> loss.backward()
    >>> round(loss.item(), 3), log_mean.grad.tolist()
    (1.386, [[0.125, -0.25], [0.0, 0.125]])
    """
    _check_zinb_shapes(counts, log_mean, log_dispersion, dropout_logits)
    dropout_logits = None if dropout_logits is None else dropout_logits.contiguous()
    return _CountLikelihood.apply(
        counts.contiguous(), log_mean.contiguous(), log_dispersion.clamp(*LOG_DISPERSION_RANGE), dropout_logits
    )


def correlation_reduction(first, second):
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


def spatial_regularization(embedding, edges, edge_weight=None, n_negatives=None, generator=None, balanced=True):
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


class _CountLikelihood(torch.autograd.Function):
    """Value and gradient of the count likelihood in one pass over blocks of rows."""

    @staticmethod
    def forward(ctx, counts, log_mean, log_dispersion, dropout_logits):
        n_spots, n_genes = counts.shape
        need = any(ctx.needs_input_grad)
        mean_grad = torch.empty_like(log_mean) if need else None
        dropout_grad = torch.empty_like(log_mean) if need and dropout_logits is not None else None
        dispersion_grad = torch.zeros_like(log_dispersion)
        # Per gene: the number of positive counts, their sum, and the sum of the slopes of log Gamma(x + theta).
        n_positive, sums, slopes = (torch.zeros_like(log_dispersion) for _ in range(3))
        theta = log_dispersion.exp()
        shifted = theta + _SHIFT
        values = []
        for rows in _blocks(n_spots, n_genes, counts.device):
            x, m = counts[rows].to(log_mean.dtype), log_mean[rows]
            log_ratio = m - log_dispersion
            softplus = F.softplus(log_ratio)  # log((theta + mean) / theta)
            share = log_ratio.sigmoid_()  # mean / (theta + mean)

            # Positive counts: everything that a count of zero does not have.
            position = _positive(x)
            gene = position % n_genes
            x_pos = x.view(-1).index_select(0, position)
            theta_pos = theta.index_select(0, gene)
            softplus_pos = softplus.view(-1).index_select(0, position)
            gamma, slope = _log_gamma_rise(x_pos, theta_pos)
            value = x_pos * (softplus_pos - m.view(-1).index_select(0, position)) - gamma + torch.lgamma(x_pos + 1)
            n_positive.index_add_(0, gene, torch.ones_like(x_pos))
            sums.index_add_(0, gene, x_pos)
            slopes.index_add_(0, gene, slope)

            if dropout_logits is None:
                kept = theta.expand_as(softplus)
                pull = kept * softplus
                value = value.sum() + pull.sum()
            else:
                # Below -60 there is no dropout even to float64, and the quotient of two zeros is avoided.
                d = dropout_logits[rows].clamp(min=-60.0)
                d_pos = d.view(-1).index_select(0, position)
                value += theta_pos * softplus_pos + F.softplus(d_pos)
                posterior = torch.addcmul(d, softplus, theta).sigmoid_()  # of dropout, at a count of zero
                prior = d.sigmoid_()
                quotient = (posterior / prior).view(-1).index_fill_(0, position, 1.0)
                value = value.sum() + quotient.log_().sum()
                posterior.view(-1).index_fill_(0, position, 0.0)
                if need:
                    torch.sub(prior, posterior, out=dropout_grad[rows])
                kept = posterior.neg_().add_(1).mul_(theta)
                pull = kept * softplus
            values.append(value)
            if need:
                block = mean_grad[rows]
                torch.add(kept, x, out=block)
                block.mul_(share).sub_(x)
                dispersion_grad += pull.sum(dim=0) - block.sum(dim=0)

        base, base_slope = _log_gamma_rise_base(theta)
        value = torch.stack(values).sum() + (sums * (log_dispersion - shifted.log()) - n_positive * base).sum()
        dispersion_grad -= theta * (slopes + n_positive * base_slope)
        ctx.save_for_backward(mean_grad, dispersion_grad, dropout_grad)
        return value / counts.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        grads = ctx.saved_tensors
        upstream = upstream / grads[0].numel()
        return None, *(None if grad is None else grad * upstream for grad in grads)


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


def _log_gamma_rise(x, theta):
    """What depends on x in log Gamma(theta + x) - log Gamma(theta), and its derivative in theta.

    With t = theta + 4, the whole is this + x log t + base, where the base is that of `_log_gamma_rise_base`.
    """
    y = theta + x
    z = y + _SHIFT
    log_rise = torch.log1p(x / (theta + _SHIFT))
    series, series_slope = _stirling(z)
    rising, rising_slope = _rising(y)
    value = (z - 0.5) * log_rise - x + series - rising
    return value, log_rise + 0.5 * x / ((theta + _SHIFT) * z) + series_slope - rising_slope


def _log_gamma_rise_base(theta):
    """The part of the rise of log Gamma that depends on theta alone, and its derivative."""
    series, series_slope = _stirling(theta + _SHIFT)
    rising, rising_slope = _rising(theta)
    return rising - series, rising_slope - series_slope


def _stirling(z):
    """Stirling's series of log Gamma(z) after its leading terms, for z >= 4, and its derivative."""
    r = z.reciprocal()
    r2 = r * r
    value = r * (1 / 12 - r2 * (1 / 360 - r2 * (1 / 1260 - r2 / 1680)))
    return value, -r2 * (1 / 12 - r2 * (1 / 120 - r2 * (1 / 252 - r2 / 240)))


def _rising(y):
    """log(y (y + 1) (y + 2) (y + 3)) and its derivative."""
    outer = y * (y + 3)
    product = outer * (outer + 2)
    return product.log(), (2 * y + 3) * (2 * outer + 2) / product


def unit_length(values, dim):
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


def _check_zinb_shapes(counts, log_mean, log_dispersion, dropout_logits):
    if counts.ndim != 2 or counts.numel() == 0:
        raise ValueError(
            f"counts have shape {tuple(counts.shape)}; give a matrix (n_spots, n_genes) that is not empty."
        )
    expected = {"log_mean": counts.shape, "log_dispersion": counts.shape[1:], "dropout_logits": counts.shape}
    given = {"log_mean": log_mean, "log_dispersion": log_dispersion, "dropout_logits": dropout_logits}
    for name, tensor in given.items():
        if tensor is not None and tensor.shape != expected[name]:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)} but counts have {tuple(counts.shape)}; give it the shape "
                f"{tuple(expected[name])}."
            )


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
