"""Soft assignment of cells to clusters, and the balanced target that it is trained towards."""

import math
from typing import Any

import numpy as np
import torch

# Costs are cut off here, above that of a cell's cheapest cluster: iterations grow with the range of costs.
_MOST = -math.log(1e-16)

# Logarithm of the widest kernel that plain Sinkhorn scales in float64; past it the iterations go by logarithms.
_PLAIN_RANGE = 300.0


def soft_assignment(z: torch.Tensor, centers: torch.Tensor, dof: float = 1.0) -> torch.Tensor:
    r"""Share of each cluster in each cell, by Student's t kernel (DEC).

    .. math:: q_{ij} \propto \left(1 + \|z_i - c_j\|^2 / \nu\right)^{-(\nu + 1) / 2}

    Parameters
    ----------
    z : Tensor of shape (n_cells, n_features), float32 or float64
        Embedding.
    centers : Tensor of shape (n_clusters, n_features)
        Of the dtype of `z`.
    dof : float, default=1.0
        Degrees of freedom :math:`\nu`.

    Returns
    -------
    Tensor of shape (n_cells, n_clusters)
        Rows sum to 1; differentiable in `z` and `centers`.

    Raises
    ------
    ValueError
        If the shapes do not fit together or `dof` is not positive.

    References
    ----------
    .. [1] J. Xie, R. Girshick and A. Farhadi, "Unsupervised deep embedding for clustering analysis", ICML 2016.

    Examples
    --------
    >>> import torch
    >>> from skst.nn import soft_assignment
    >>> soft_assignment(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]]))
    tensor([[0.8333, 0.1667],
            [0.5000, 0.5000]])
    """
    if z.ndim != 2 or centers.ndim != 2 or z.shape[1] != centers.shape[1] or len(centers) == 0:
        raise ValueError(
            f"z and centers have shapes {tuple(z.shape)} and {tuple(centers.shape)}; give them "
            "(n_cells, n_features) and (n_clusters, n_features)."
        )
    if not dof > 0:
        raise ValueError(f"dof={dof!r}; pass a positive number.")
    # Distances do not see the shift; the expanded square loses fewer digits near the origin.
    origin = centers.detach().mean(dim=0)
    z, centers = z - origin, centers - origin
    lengths = z.square().sum(dim=1, keepdim=True) + centers.square().sum(dim=1)
    distances = torch.addmm(lengths, z, centers.T, alpha=-2).clamp(min=0)
    return torch.softmax(torch.log1p(distances / dof) * (-(dof + 1) / 2), dim=1)


def sinkhorn_target(
    assignment: Any, sizes: Any = None, power: float = 5.0, n_iter: int = 1000, tol: float = 1e-5
) -> torch.Tensor:
    r"""Sharpened assignment with clusters of given sizes (scLLM-DSC's optimal-transport target).

    The plan P with rows that sum to 1 and columns that sum to `sizes` which minimises

    .. math:: -\sum_{ij} P_{ij} \log Q_{ij} + \frac{1}{\lambda} \sum_{ij} P_{ij} \log P_{ij}

    for the assignment Q and the power :math:`\lambda`: :math:`Q^\lambda` with rows and columns scaled.

    Parameters
    ----------
    assignment : Tensor or ndarray of shape (n_cells, n_clusters), float32 or float64
        Non-negative.
    sizes : array-like or Tensor of shape (n_clusters,), default=None
        Cells, or share of cells, in each cluster; all alike if None.  A cluster of size 0 gets nothing.
    power : float, default=5.0
        Sharpness; the target nears a hard assignment as it grows.
    n_iter : int, default=1000
        Most iterations.
    tol : float, default=1e-5
        The iterations stop when the sums of the columns, as shares of all cells, are this close to `sizes` (Euclidean).

    Returns
    -------
    Tensor of shape (n_cells, n_clusters)
        Of the dtype and on the device of `assignment`, without gradient.

    Raises
    ------
    ValueError
        If `assignment` is not a non-empty matrix of finite, non-negative numbers, or `sizes`, `power` or `n_iter` do
        not fit.

    Notes
    -----
    Solved in float64.  Rows sum to 1 whatever happens; where `n_iter` ends before `tol` is reached, as it may
    with clusters far apart whose sizes contradict the assignment, the columns miss `sizes` a little, without a warning.

    Entries below 1e-16 of the largest of their row, zeros among them, count as that.  While the kernel spans less than
    ``exp(300)``, which takes a `power` above 8, an iteration is two products with a matrix; past that it could
    underflow, and POT does the same iteration by logarithms, slower.

    Examples
    --------
    >>> import torch
    >>> from skst.nn import sinkhorn_target
    >>> target = sinkhorn_target(torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]), sizes=[2, 1])
    >>> target.argmax(dim=1).tolist(), [round(total, 3) for total in target.sum(dim=0).tolist()]
    ([0, 0, 1], [2.0, 1.0])
    """
    assignment = (assignment if torch.is_tensor(assignment) else torch.from_numpy(np.asarray(assignment))).detach()
    if assignment.ndim != 2 or assignment.numel() == 0:
        raise ValueError(f"assignment has shape {tuple(assignment.shape)}; give a matrix (n_cells, n_clusters).")
    if not bool((torch.isfinite(assignment) & (assignment >= 0)).all()):
        raise ValueError("assignment holds negative or non-finite entries; pass probabilities.")
    if not (power > 0 and n_iter >= 1):
        raise ValueError(f"power={power!r} and n_iter={n_iter!r}; both must be positive.")
    n_cells, n_clusters = assignment.shape
    shares = _shares(sizes, n_clusters, assignment.device)
    kept = shares > 0
    cost = -assignment[:, kept].clamp(min=torch.finfo(assignment.dtype).tiny).double().log()
    cost = (cost - cost.amin(dim=1, keepdim=True)).clamp(max=_MOST)
    rows, columns = cost.new_full((n_cells,), 1 / n_cells), shares[kept]
    scale = _scale if power * cost.max() < _PLAIN_RANGE else _scale_logarithms
    plan = scale(rows, columns, cost, 1 / power, n_iter, tol)
    target = torch.zeros_like(assignment)
    target[:, kept] = (plan * n_cells).to(target.dtype)
    return target


def assignment_divergence(assignment: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    r"""Kullback-Leibler divergence of an assignment from its target, a cell.

    .. math:: \frac{1}{n} \sum_{ij} P_{ij} \log \frac{P_{ij}}{Q_{ij}}

    Parameters
    ----------
    assignment : Tensor of shape (n_cells, n_clusters), float32 or float64
        Probabilities Q, such as :func:`soft_assignment`.
    target : Tensor of shape (n_cells, n_clusters)
        Probabilities P, such as :func:`sinkhorn_target`; a constant.

    Returns
    -------
    Tensor
        Scalar, at least 0 where rows sum to 1.

    Raises
    ------
    ValueError
        If the shapes differ or are not those of a non-empty matrix.

    Notes
    -----
    Where P is 0 the term is 0.  Where Q is 0 and P is not, Q counts as the smallest number of its dtype, which keeps
    the value finite.

    Examples
    --------
    >>> import torch
    >>> from skst.nn import assignment_divergence
    >>> target = torch.tensor([[1.0, 0.0]])
    >>> assignment_divergence(target, target).item()
    0.0
    >>> round(assignment_divergence(torch.tensor([[0.5, 0.5]]), target).item(), 4)
    0.6931
    """
    if assignment.ndim != 2 or assignment.shape != target.shape or assignment.numel() == 0:
        raise ValueError(
            f"assignment and target have shapes {tuple(assignment.shape)} and {tuple(target.shape)}; give both the "
            "same shape (n_cells, n_clusters)."
        )
    target = target.detach()
    likely = assignment.clamp(min=torch.finfo(assignment.dtype).tiny)
    return (torch.xlogy(target, target) - target * likely.log()).sum() / len(target)


def _scale(rows, columns, cost, width, n_iter, tol):
    """The steps of POT's plain Sinkhorn, without a look at every number after each."""
    kernel = torch.exp(cost / -width)
    by_rows = (1 / rows)[:, None] * kernel
    u = torch.ones_like(rows) / len(rows)
    for step in range(n_iter):
        v = columns / (kernel.T @ u)
        u = 1.0 / (by_rows @ v)
        if step % 10 == 0 and torch.linalg.norm(torch.einsum("i,ij,j->j", u, kernel, v) - columns) < tol:
            break
    return u[:, None] * kernel * v


def _scale_logarithms(rows, columns, cost, width, n_iter, tol):
    import ot

    return ot.sinkhorn(rows, columns, cost, width, method="sinkhorn_log", numItermax=n_iter, stopThr=tol, warn=False)


def _shares(sizes, n_clusters, device):
    if sizes is None:
        return torch.full((n_clusters,), 1 / n_clusters, dtype=torch.float64, device=device)
    sizes = sizes if torch.is_tensor(sizes) else np.asarray(sizes)
    sizes = torch.as_tensor(sizes, dtype=torch.float64, device=device)
    if sizes.shape != (n_clusters,) or not bool((torch.isfinite(sizes) & (sizes >= 0)).all()) or not sizes.sum() > 0:
        raise ValueError(
            f"sizes are {sizes.tolist()}; give {n_clusters} finite numbers of at least 0 that are not all 0, one a "
            "cluster."
        )
    return sizes / sizes.sum()
