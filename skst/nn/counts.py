"""Negative log-likelihood of counts, in the form of SemST."""

import math

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from skst.nn.losses import _blocks, _positive

LOG_DISPERSION_RANGE = (math.log(1e-4), math.log(1e4))
# The recurrence of the gamma function is used this many times before Stirling's series.
_SHIFT = 4


def zinb_loss(
    counts: torch.Tensor,
    log_mean: torch.Tensor,
    log_dispersion: torch.Tensor,
    dropout_logits: torch.Tensor | None = None,
) -> torch.Tensor:
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
