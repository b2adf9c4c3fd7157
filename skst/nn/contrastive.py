"""Alignment of two views of the same cells: contrastive loss and a guard against collapse."""

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from skst.nn.losses import unit_length


def info_nce(
    first: torch.Tensor, second: torch.Tensor, temperature: float = 0.1, chunk: int | None = None
) -> torch.Tensor:
    r"""Tell the two views of a cell from the views of all other cells (symmetric InfoNCE, scLLM-DSC, Eq. 8 and 9).

    With S the cosines between the rows of the two views divided by the temperature,

    .. math:: -\frac{1}{2 n} \sum_i \left( \log \frac{\exp S_{ii}}{\sum_k \exp S_{ik}} +
        \log \frac{\exp S_{ii}}{\sum_k \exp S_{ki}} \right) .

    Parameters
    ----------
    first, second : Tensor of shape (n_cells, n_features), float32 or float64
        The two views, rows of any length.
    temperature : float, default=0.1
        Small values weigh the hardest negatives more.
    chunk : int, default=None
        Rows of S that are held at a time; None holds all n x n.

    Returns
    -------
    Tensor
        Scalar; log(n) where all cells look alike, and 0 for a single cell.

    Raises
    ------
    ValueError
        If the views differ in shape, are not matrices or are empty, or `temperature` or `chunk` is not positive.

    Notes
    -----
    With `chunk` the value and the gradient are the same, not an approximation, in memory n (n_features + chunk): blocks
    of S are made again in the backward pass instead of being kept.  There is no second derivative then.

    A row of zeros has cosine 0 with every other, and gradient 0.

    References
    ----------
    .. [1] A. van den Oord, Y. Li and O. Vinyals, "Representation learning with contrastive predictive coding",
       arXiv:1807.03748.

    Examples
    --------
    >>> import torch
    >>> from skst.nn import info_nce
    >>> view = torch.eye(4)
    >>> round(info_nce(view, view).item(), 4), round(info_nce(view, view[[1, 0, 3, 2]]).item(), 4)
    (0.0001, 10.0001)
    >>> round(info_nce(view, view[[1, 0, 3, 2]], chunk=3).item(), 4)
    10.0001
    """
    if first.ndim != 2 or first.shape != second.shape or len(first) == 0:
        raise ValueError(
            f"first and second have shapes {tuple(first.shape)} and {tuple(second.shape)}; give two views of the same "
            "shape (n_cells, n_features) that are not empty."
        )
    if not temperature > 0:
        raise ValueError(f"temperature={temperature!r}; pass a positive number.")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk!r}; pass at least 1 row, or None for all at once.")
    first, second = unit_length(first, 1) / temperature, unit_length(second, 1)
    if chunk is not None:
        return _ChunkedInfoNCE.apply(first, second, chunk)
    similarity = first @ second.T
    pairs = torch.arange(len(first), device=first.device)
    return (F.cross_entropy(similarity, pairs) + F.cross_entropy(similarity.T, pairs)) / 2


def variance_hinge(values: torch.Tensor, eps: float = 1e-4, target: float = 1.0) -> torch.Tensor:
    r"""Penalise columns that vary less than they should (scLLM-DSC, Eq. 10, for one view).

    .. math:: \frac{1}{d} \sum_k \max\left(0, s - \sqrt{\mathrm{Var}(V_{:, k}) + \epsilon}\right)

    Parameters
    ----------
    values : Tensor of shape (n_cells, n_features), float32 or float64
        A projection; the loss of Eq. 10 is the sum over both.
    eps : float, default=1e-4
        Keeps the gradient finite where a column is constant.
    target : float, default=1.0
        Standard deviation s below which a column is penalised.

    Returns
    -------
    Tensor
        Scalar.

    Raises
    ------
    ValueError
        If `values` is not a matrix or is empty, or `eps` is not positive.

    Notes
    -----
    The published target is 1.  On rows of unit length the variances of the d columns sum to at most 1, so that their
    standard deviations are :math:`1/\sqrt{d}` at most on average: the hinge then never rests, and pulls on every
    column to the end.  ``target=d**-0.5`` is what all columns can attain together.

    The variance is that of the cells at hand, divided by n: 0 for a single cell.

    References
    ----------
    .. [1] A. Bardes, J. Ponce and Y. LeCun, "VICReg: variance-invariance-covariance regularization for self-supervised
       learning", ICLR 2022.

    Examples
    --------
    >>> import torch
    >>> from skst.nn import variance_hinge
    >>> rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> variance_hinge(rows, target=0.5**0.5).item()
    0.0
    >>> round(variance_hinge(rows).item(), 3), round(variance_hinge(torch.ones(4, 2)).item(), 3)
    (0.293, 0.99)
    """
    if values.ndim != 2 or len(values) == 0:
        raise ValueError(f"values have shape {tuple(values.shape)}; give a matrix (n_cells, n_features).")
    if not eps > 0:
        raise ValueError(f"eps={eps!r}; pass a positive number.")
    return (target - (values.var(dim=0, correction=0) + eps).sqrt()).relu().mean()


class _ChunkedInfoNCE(torch.autograd.Function):
    """The loss of similarities `first` @ `second`', a block of rows at a time, in either pass."""

    @staticmethod
    def forward(ctx, first, second, chunk):
        by_row, by_column = [], None
        for block in first.split(chunk):
            similarity = block @ second.T
            by_row.append(similarity.logsumexp(dim=1))
            partial = similarity.logsumexp(dim=0)
            by_column = partial if by_column is None else torch.logaddexp(by_column, partial)
        by_row = torch.cat(by_row)
        ctx.chunk = chunk
        ctx.save_for_backward(first, second, by_row, by_column)
        return ((by_row + by_column) / 2 - torch.linalg.vecdot(first, second)).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        first, second, by_row, by_column = ctx.saved_tensors
        first_grad, second_grad = -second, -first
        for start in range(0, len(first), ctx.chunk):
            rows = slice(start, start + ctx.chunk)
            similarity = first[rows] @ second.T
            slope = (similarity - by_row[rows, None]).exp_()
            slope += similarity.sub_(by_column).exp_()
            first_grad[rows].addmm_(slope, second, alpha=0.5)
            second_grad.addmm_(slope.T, first[rows], alpha=0.5)
        scale = upstream / len(first)
        return first_grad * scale, second_grad * scale, None
