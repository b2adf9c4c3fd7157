"""SpaceFlow: a tissue told from a shuffled one, with spots far apart in it kept apart."""

import numbers

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

from skst._constraints import Interval
from skst.embedding.encoders.base import GraphEncoder
from skst.nn.propagation import GraphBranch
from skst.nn.surroundings import linear_layer, options


class SpaceFlow(GraphEncoder):
    r"""Deep graph infomax [2]_ with the spatial regularisation of SpaceFlow [1]_.

    With A the mean over a spot and its neighbours, X the expression and :math:`\tilde X` the same with its rows
    shuffled, two graph convolutions embed a spot, and s sums the tissue up:

    .. math:: Z = \mathrm{PReLU}(A \, \mathrm{PReLU}(A X W_1 + b_1) W_2 + b_2), \qquad
        s = \sigma\Big(\frac1n \sum_i z_i\Big)

    :math:`\tilde Z` is made from :math:`\tilde X` likewise.  The loss is that of a bilinear discriminator, which tells
    the spots of the tissue from those of the shuffled one, and a penalty on spots i, j that lie far apart in the tissue
    but close in Z, d being distances over the largest one:

    .. math:: \lambda_1 \, \frac1n \sum_i \left[ -\log \sigma(z_i^\top M s) - \log \sigma(-\tilde z_i^\top M s) \right]
        + \lambda_2 \, \mathrm{mean}_{ij} \left[ (1 - d_Z(i, j)) \, d_S(i, j) \right]

    The embedding is Z.

    Parameters
    ----------
    n_inputs : int or None, default=50
        Leading principal axes of expression that the network reads; None for the genes themselves.
    n_hidden : int, default=64
        Columns of the hidden layer and of Z; the embedding has no more.
    contrast_weight, spatial_weight : float, default=1.0, 0.1
        :math:`\lambda_1` and :math:`\lambda_2`.  Without coordinates, or for ``spatial_weight=0``, the penalty is left
        out.
    max_epochs, lr, weight_decay, patience, batch_size, callbacks, device, verbose
        As in :class:`GraphEncoder`.

    Attributes
    ----------
    network_, history_, interrupted_
        As in :class:`GraphEncoder`; the terms of the loss are "contrast" and "spatial".

    Notes
    -----
    Where this differs from the paper and the published code, and why:

    - *Space enters the penalty.*  The published code, as it is set by default, measures the distance of each spot from
      itself in place of :math:`d_S`, a constant; what is left only spreads Z out.  Here the penalty is the paper's.
    - *Pairs*: at every step each spot is compared with one other of its slice, drawn at random.  The mean is that over
      all pairs, in expectation; the published code draws a million pairs for an epoch.
      The largest distance in Z is that of the pairs drawn, through which the gradient flows, as published.  In the
      tissue it is found beforehand, from end to end of the largest slice, so that a mini-batch measures as the whole.
    - *Shuffling* stays within slices: spots are told by their surroundings, and not by effects of the slice.
    - *Start.*  :math:`W_1` and :math:`W_2` begin orthonormal and the slopes of the PReLU at 1 (published: Glorot's
      uniform draws and 0.25).  Training then begins with the expression averaged over two hops, distances as they are,
      and departs from it as the loss demands.
    - *The graph* is the mean over a spot and its neighbours that all encoders share, of any kind; published is the
      symmetric normalisation of an alpha complex.  That is the Delaunay triangulation without its longest edges, so
      published settings take ``graph="delaunay"``.  Messages are products with a sparse matrix
      (:class:`SparseOperator`).
    - *Inputs* are by default the scores on 50 principal axes of expression instead of 3,000 genes, Z has 64 columns
      instead of 50, and training takes 300 epochs, as for all encoders here.  Published are 1,000 at most, and an end
      50 epochs after the best one but not before the 101st; the network is that of the last epoch in both.

    References
    ----------
    .. [1] H. Ren, B. L. Walker, Z. Cang and Q. Nie, "Identifying multicellular spatiotemporal organization of cells
       with SpaceFlow", Nature Communications 13, 4076 (2022).
    .. [2] P. Velickovic et al., "Deep graph infomax", ICLR 2019.

    Examples
    --------
    >>> from skst import SpatialGraphTransformer
    >>> from skst.datasets import make_spatial_domains
    >>> from skst.embedding.encoders.spaceflow import SpaceFlow
    >>> adata = make_spatial_domains(n_samples=200, random_state=0)
    >>> method = SpaceFlow(n_hidden=16, max_epochs=5)
    >>> SpatialGraphTransformer(method, n_components=5, random_state=0).fit_transform(adata).shape
    (200, 5)
    """

    _parameter_constraints = {
        **GraphEncoder._parameter_constraints,
        "contrast_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "spatial_weight": [Interval(numbers.Real, 0, None, closed="left")],
    }
    PAPER = {"n_inputs": None, "n_hidden": 50, "max_epochs": 1000, "patience": 50}
    PAPER_TRANSFORMER = {"n_components": 50, "graph": "delaunay", "n_top_genes": 3000}

    def __init__(
        self,
        *,
        n_inputs=50,
        n_hidden=64,
        contrast_weight=1.0,
        spatial_weight=0.1,
        max_epochs="auto",
        lr=1e-3,
        weight_decay=0.0,
        patience=None,
        batch_size="auto",
        callbacks=None,
        device="auto",
        verbose=0,
    ):
        self.n_inputs = n_inputs
        self.n_hidden = n_hidden
        self.contrast_weight = contrast_weight
        self.spatial_weight = spatial_weight
        self.max_epochs = max_epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.patience = patience
        self.batch_size = batch_size
        self.callbacks = callbacks
        self.device = device
        self.verbose = verbose

    def _network(self, n_inputs, n_components, generator):
        weights = self.contrast_weight, self.spatial_weight
        return SpaceFlowNetwork(n_inputs, self.n_hidden, *weights, generator=generator)

    def _more(self, inputs, points, batch, seed):
        slices = np.zeros(len(inputs), dtype=np.int64) if batch is None else np.unique(batch, return_inverse=True)[1]
        more = {"slices": slices}
        if points is not None and self.spatial_weight:
            more["points"] = _measured_by_extent(np.asarray(points, dtype=np.float64), slices)
        return more


class SpaceFlowNetwork(nn.Module):
    """The network of :class:`SpaceFlow`.

    Parameters
    ----------
    n_inputs, n_hidden : int
        Columns of the expression and of Z.
    contrast_weight, spatial_weight : float
        Weights of the terms of the loss.  The second is computed where a batch has "points", coordinates over the
        largest distance within a slice, beside the "slices" of spots, numbers from 0.
    generator : torch.Generator, default=None
        As in :class:`~skst.nn.SemanticModulation`.
    """

    terms = ("contrast", "spatial")

    def __init__(self, n_inputs, n_hidden, contrast_weight, spatial_weight, *, generator=None):
        super().__init__()
        self.convolve = GraphBranch(n_inputs, n_hidden, n_hidden, generator=generator)
        self.convolve.activation = _PReLU(n_hidden, generator)
        self.activation = _PReLU(n_hidden, generator)
        self.discriminate = linear_layer(n_hidden, n_hidden, bias=False, generator=generator)
        self.contrast_weight, self.spatial_weight = contrast_weight, spatial_weight
        nn.init.orthogonal_(self.convolve.first.weight, generator=generator)
        nn.init.orthogonal_(self.convolve.second.weight, generator=generator)

    def forward(self, batch):
        """Z of all nodes of a :class:`GraphBatch`."""
        return self._encode(batch.inputs, batch.operator)

    def losses(self, output, batch, generator=None):
        """Weight and value of each term, over the core of the batch; shuffles are drawn on the CPU."""
        n_core, slices = batch.n_core, batch.more["slices"]
        latent = output[:n_core]
        shuffled = self._encode(batch.inputs[_shuffle(slices, generator)], batch.operator)[:n_core]
        judge = self.discriminate(latent.mean(dim=0).sigmoid())
        contrast = softplus(-(latent @ judge)).mean() + softplus(shuffled @ judge).mean()
        losses = {"contrast": (self.contrast_weight, contrast)}
        if "points" in batch.more:
            penalty = spatial_penalty(latent, batch.more["points"][:n_core], _shuffle(slices[:n_core], generator))
            losses["spatial"] = self.spatial_weight, penalty
        return losses

    def embed(self, batch):
        """Z of the core of a :class:`GraphBatch`."""
        return self(batch)[: batch.n_core]

    def _encode(self, inputs, operator):
        return self.activation(self.convolve(inputs, operator))


def spatial_penalty(latent, points, partners):
    r"""Penalise spots that lie far from their partner in the tissue but close to it in latent space.

    .. math:: \frac1n \sum_i \left(1 - \frac{\lVert z_i - z_{p(i)} \rVert}{\max_j \lVert z_j - z_{p(j)} \rVert}\right)
        \lVert x_i - x_{p(i)} \rVert

    Parameters
    ----------
    latent : Tensor of shape (n_spots, n_hidden), float32 or float64
        Latent space; its scale does not matter.
    points : Tensor of shape (n_spots, n_dims)
        Coordinates, over the largest distance that occurs.
    partners : Tensor of int64 of shape (n_spots,)
        Spot that each one is compared with.

    Returns
    -------
    Tensor
        Scalar.

    Examples
    --------
    >>> import torch
    >>> from skst.embedding.encoders.spaceflow import spatial_penalty
    >>> latent = torch.tensor([[5.0], [9.0], [5.0], [7.0]])
    >>> points = torch.tensor([[0.0], [1.0], [0.5], [0.0]])
    >>> spatial_penalty(latent, points, torch.tensor([1, 0, 3, 2])).item()
    0.125
    """
    apart = torch.linalg.vector_norm(latent - latent[partners], dim=1)
    far = torch.linalg.vector_norm(points - points[partners], dim=1)
    apart = apart / apart.max().clamp_min(torch.finfo(apart.dtype).tiny)
    return ((1 - apart) * far).mean()


class _PReLU(nn.Module):
    """A slope a column for negative values, 1 at first; takes a fourth of the time of torch's own on a CPU."""

    def __init__(self, n_columns, generator=None):
        super().__init__()
        self.slope = nn.Parameter(torch.ones(n_columns, **options(generator)))

    def forward(self, x):
        return torch.lerp(x.relu(), x, self.slope)


def _shuffle(slices, generator=None):
    """A random order of spots in which each gives its place to one of its slice."""
    order = torch.empty_like(slices)
    draws = torch.rand(len(slices), generator=generator, dtype=torch.float64, device="cpu").to(slices.device)
    order[slices.argsort(stable=True)] = (slices + draws).argsort()
    return order


def _measured_by_extent(points, slices):
    """Coordinates about the centre of their slice, over the distance between the ends of the largest; float32."""
    centred, extent = np.empty_like(points), 0.0
    for name in range(slices.max() + 1):
        here = slices == name
        centred[here] = found = points[here] - points[here].mean(axis=0)
        end = found[np.square(found).sum(axis=1).argmax()]
        extent = max(extent, np.sqrt(np.square(found - end).sum(axis=1).max()))
    return (centred / (extent or 1.0)).astype(np.float32)
