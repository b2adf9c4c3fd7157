"""GraphST: spots rebuilt from their neighbours, and neighbourhoods told from shuffled ones."""

import numbers

import torch
from torch import nn
from torch.nn import functional

from skst._constraints import Interval
from skst.embedding.encoders.base import GraphEncoder
from skst.nn.surroundings import linear_layer, options


class GraphST(GraphEncoder):
    r"""Self-supervised contrast of each spot with its neighbourhood, and reconstruction (GraphST).

    With A the mean over a spot and its neighbours, X the expression and :math:`\tilde X` the same with its rows
    shuffled, a graph convolution and a decoder give

    .. math:: Z = A X W_1, \qquad \hat X = A Z W_2, \qquad H = \mathrm{ReLU}(Z), \qquad
        g_i = \sigma\!\left(\frac{(A H)_i}{\lVert (A H)_i \rVert}\right)

    and :math:`\tilde H, \tilde g` likewise from :math:`\tilde X`.  The loss is

    .. math:: \lambda_1 \overline{(X - \hat X)^2} + \lambda_2 \left[\mathrm{BCE}(h_i, \tilde h_i; g_i)
        + \mathrm{BCE}(\tilde h_i, h_i; \tilde g_i)\right]

    where the cross-entropies ask a bilinear discriminator :math:`\sigma(h^\top M g)` to tell the spot that lies in a
    neighbourhood from the one that does not.  The embedding is the leading principal components of :math:`\hat X`.

    Parameters
    ----------
    n_inputs : int or None, default=50
        Leading principal axes of expression that the network reads; None for the genes themselves.
    n_hidden : int, default=64
        Columns of Z.
    reconstruction_weight, contrast_weight : float, default=10.0, 1.0
        :math:`\lambda_1` and :math:`\lambda_2`.
    max_epochs, lr, weight_decay, patience, batch_size, callbacks, device, verbose
        As in :class:`GraphEncoder`.

    Attributes
    ----------
    network_, history_, interrupted_
        As in :class:`GraphEncoder`; the terms of the loss are "reconstruction" and "contrast".

    Notes
    -----
    Deviations from the published code:

    - It normalises the graph symmetrically and adds self-loops of weight 1 afterwards, and its constructor makes dense
      matrices of all pairs of spots.  Here A is the sparse mean that all encoders share.
    - It reads z-scores of 3,000 genes, at most 10.  Here the network reads principal axes, unless ``n_inputs=None``.
    - Training takes 300 steps, half as many.

    References
    ----------
    .. [1] Y. Long et al., "Spatially informed clustering, integration, and deconvolution of spatial transcriptomics
       with GraphST", Nature Communications 14, 1155 (2023).

    Examples
    --------
    >>> from skst import SpatialGraphTransformer
    >>> from skst.datasets import make_spatial_domains
    >>> from skst.embedding.encoders import GraphST
    >>> adata = make_spatial_domains(n_samples=200, random_state=0)
    >>> method = GraphST(n_hidden=16, max_epochs=5)
    >>> SpatialGraphTransformer(method, n_components=5, random_state=0).fit_transform(adata).shape
    (200, 5)
    """

    _parameter_constraints = {
        **GraphEncoder._parameter_constraints,
        "reconstruction_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "contrast_weight": [Interval(numbers.Real, 0, None, closed="left")],
    }
    PAPER = {"n_inputs": None, "max_epochs": 600}
    PAPER_TRANSFORMER = {"graph__n_neighbors": 3, "n_components": 20}

    def __init__(
        self,
        *,
        n_inputs=50,
        n_hidden=64,
        reconstruction_weight=10.0,
        contrast_weight=1.0,
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
        self.reconstruction_weight = reconstruction_weight
        self.contrast_weight = contrast_weight
        self.max_epochs = max_epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.patience = patience
        self.batch_size = batch_size
        self.callbacks = callbacks
        self.device = device
        self.verbose = verbose

    def _network(self, n_inputs, n_components, generator):
        weights = self.reconstruction_weight, self.contrast_weight
        return GraphSTNetwork(n_inputs, self.n_hidden, *weights, generator=generator)


class GraphSTNetwork(nn.Module):
    """The network of :class:`GraphST`.

    Parameters
    ----------
    n_inputs, n_hidden : int
        Columns of the expression and of Z.
    reconstruction_weight, contrast_weight : float
        Weights of the terms of the loss; a term of weight 0 is not computed.
    generator : torch.Generator, default=None
        As in :class:`~skst.nn.SemanticModulation`.
    """

    terms = ("reconstruction", "contrast")

    def __init__(self, n_inputs, n_hidden, reconstruction_weight, contrast_weight, *, generator=None):
        super().__init__()
        self.encode = linear_layer(n_inputs, n_hidden, bias=False, generator=generator)
        self.decode = linear_layer(n_hidden, n_inputs, bias=False, generator=generator)
        self.discriminate = linear_layer(n_hidden, n_hidden, bias=False, generator=generator)
        self.offset = nn.Parameter(torch.zeros(1, **options(generator)))
        self.reconstruction_weight, self.contrast_weight = reconstruction_weight, contrast_weight
        for layer in (self.encode, self.decode, self.discriminate):
            nn.init.xavier_uniform_(layer.weight, generator=generator)

    def forward(self, batch):
        """Z and the reconstruction of all nodes of a :class:`GraphBatch`."""
        latent = batch.operator @ self.encode(batch.inputs)
        return latent, batch.operator @ self.decode(latent)

    def losses(self, output, batch, generator=None):
        """Weight and value of each term, over the core of the batch; the shuffle is drawn on the CPU."""
        latent, decoded = output
        n_core = batch.n_core
        error = functional.mse_loss(decoded[:n_core], batch.inputs[:n_core])
        losses = {"reconstruction": (self.reconstruction_weight, error)}
        if self.contrast_weight:
            order = torch.randperm(len(batch.inputs), generator=generator, device="cpu").to(batch.inputs.device)
            shuffled = batch.operator @ self.encode(batch.inputs)[order]
            losses["contrast"] = self.contrast_weight, self.contrast(latent.relu(), shuffled.relu(), batch)
        return losses

    def contrast(self, real, shuffled, batch):
        """How badly spots are told from shuffled ones by their neighbourhood, and the reverse."""
        total = 0.0
        for own, other in ((real, shuffled), (shuffled, real)):
            around = torch.sigmoid(functional.normalize((batch.operator @ own)[: batch.n_core], dim=1))
            weights = self.discriminate(around)
            for spots, sign in ((own, -1.0), (other, 1.0)):
                logits = (spots[: batch.n_core] * weights).sum(dim=1) + self.offset
                total = total + 0.5 * functional.softplus(sign * logits).mean()
        return total

    def embed(self, batch):
        """Reconstruction of the core of the batch."""
        return self(batch)[1][: batch.n_core]
