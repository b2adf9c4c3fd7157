"""The contrast of stCluster and its tasks of neighbours and of groups."""

import torch

from skst.nn.assignment import assignment_divergence, soft_assignment
from skst.nn.losses import unit_length

# What an edge between spots of two types counts in the spatial task: the share that the published code keeps of them.
BETWEEN_TYPES = 0.04


def contrast(first, second, temperature=0.5):
    """Tell the two views of a spot from all other views, its own positive left out of the denominator.

    Parameters
    ----------
    first, second : Tensor of shape (n_spots, n_columns), float32 or float64
        The two views, rows of any length.
    temperature : float, default=0.5
        Divides the cosines.

    Returns
    -------
    Tensor
        Scalar, at least 0; the contrast of :class:`~skst.embedding.encoders.StCluster`.

    Examples
    --------
    >>> import torch
    >>> from skst.embedding.encoders.stcluster_losses import contrast
    >>> view = torch.eye(4)
    >>> round(contrast(view, view).item(), 3), round(contrast(view, view[[1, 0, 3, 2]]).item(), 3)
    (0.594, 2.985)
    """
    first, second = unit_length(first, 1), unit_length(second, 1)
    across = first @ second.T / temperature
    others = across.masked_fill(torch.eye(len(first), dtype=torch.bool, device=first.device), -torch.inf)
    total = -across.diagonal().mean()
    for view, others_across in ((first, others), (second, others.T)):
        denominator = torch.cat([others_across, view @ view.T / temperature], dim=1)
        total = total + denominator.logsumexp(dim=1).mean() / 2
    return total


def spatial_task(latent, edges, types, n_core):
    """Neighbours of one type look alike, spots in general do not.

    Parameters
    ----------
    latent : Tensor of shape (n_nodes, n_columns), float32 or float64
        Representation of the core and of the neighbours of the core.
    edges : Tensor of int64 of shape (2, n_edges)
        From and to which node each edge goes; self-loops do not count.
    types : Tensor of int of shape (n_nodes,)
        Type of each node.
    n_core : int
        Spots of the core, the first nodes.

    Returns
    -------
    Tensor
        Scalar, from 0 to 2.5; the spatial term of :class:`~skst.embedding.encoders.StCluster`, over the edges to the
        core and the pairs in it.

    Examples
    --------
    >>> import torch
    >>> from skst.embedding.encoders.stcluster_losses import spatial_task
    >>> edges, types = torch.tensor([[1, 0, 3, 2], [0, 1, 2, 3]]), torch.zeros(4)
    >>> alike = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> spatial_task(alike, edges, types, 4).item(), spatial_task(alike[[0, 2, 1, 3]], edges, types, 4).item()
    (0.25, 0.75)
    """
    unit = unit_length(latent, 1)
    source, target = edges[:, (edges[1] < n_core) & (edges[0] != edges[1])]
    apart = (1 - cosines(unit, source, target)).square()
    weight = torch.full_like(apart, BETWEEN_TYPES).masked_fill(types[source] == types[target], 1.0)
    pull = (weight * apart).sum() / weight.sum().clamp(min=BETWEEN_TYPES)
    # Squared cosines of all pairs sum to the squared norm of a small matrix.
    push = (unit[:n_core].T @ unit[:n_core] / n_core).square().sum()
    return (pull + push) / 2


def cluster_task(latent, centroids):
    """Spots move towards the centroid that they are nearest to already (deep embedded clustering).

    Parameters
    ----------
    latent : Tensor of shape (n_spots, n_columns), float32 or float64
        Representation of the spots.
    centroids : Tensor of shape (n_types, n_columns)
        Where groups of spots are.

    Returns
    -------
    Tensor
        Scalar, at least 0: the divergence of the shares of the centroids in each spot from their sharpened target.

    Examples
    --------
    >>> import torch
    >>> from skst.embedding.encoders.stcluster_losses import cluster_task
    >>> spots = torch.tensor([[0.0], [4.0]])
    >>> bool(cluster_task(spots, spots) < cluster_task(spots, torch.tensor([[1.0], [3.0]])))
    True
    """
    shares = soft_assignment(latent, centroids)
    with torch.no_grad():
        target = shares.square() / shares.sum(dim=0)
        target = target / target.sum(dim=1, keepdim=True)
    return assignment_divergence(shares, target)


def cosines(unit, source, target):
    """Cosine between the ends of each edge, for rows of unit length."""
    return (unit.index_select(0, source) * unit.index_select(0, target)).sum(dim=1)
