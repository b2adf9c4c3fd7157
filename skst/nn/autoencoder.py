"""The network of SemST: graph branches, text, and a decoder of counts."""

from typing import NamedTuple

import torch
from torch import nn

from skst.nn.modulation import make_fusion
from skst.nn.propagation import GraphBranch, SparseOperator
from skst.nn.surroundings import linear_layer, options


class SpotBatch(NamedTuple):
    """Spots that a network sees at once: a whole tissue, or a patch of one and what lies around it.

    Attributes
    ----------
    averaged : list of Tensor of shape (n_nodes, n_features)
        Features of spots, averaged once over each graph.
    start : list of Tensor of shape (n_nodes, n_components)
        What the output of each branch is added to.
    operators : list of SparseOperator of shape (n_nodes, n_nodes)
        Averaging operator of each graph; the first is the spatial one.
    semantic : Tensor of shape (n_nodes, n_semantic) or None
        Text vectors.
    counts : Tensor of shape (n_core, n_genes) or None
        Counts of the spots that the loss looks at, the first `n_core` nodes; None where nothing is learnt.
    log_size : Tensor of shape (n_core, 1) or None
        Logarithm of their library sizes.
    edges : Tensor of int64 of shape (2, n_edges) or None
        Spatial neighbours among them.
    n_core : int
        Spots that the loss looks at.
    """

    averaged: list[torch.Tensor]
    start: list[torch.Tensor]
    operators: list[SparseOperator]
    semantic: torch.Tensor | None
    counts: torch.Tensor | None
    log_size: torch.Tensor | None
    edges: torch.Tensor | None
    n_core: int

    def to(self, device: torch.device | str) -> "SpotBatch":
        """The same on another device."""
        return SpotBatch(*(_moved(part, device) for part in self))


class Decoded(NamedTuple):
    """What the network makes of a batch.

    Attributes
    ----------
    embedding : Tensor of shape (n_core, n_components)
        Final representation.
    views : tuple of Tensor of shape (n_core, n_components)
        Output of each branch.
    moved : Tensor
        Scalar: mean square of what the text adds to the embedding, relative to the embedding without it.
    log_mean, dropout_logits : Tensor of shape (n_core, n_genes)
        Parameters of the distribution of the counts; no dropout logits without zero inflation.
    log_dispersion : Tensor of shape (n_genes,)
        Its inverse dispersions.
    """

    embedding: torch.Tensor
    views: tuple[torch.Tensor, ...]
    moved: torch.Tensor
    log_mean: torch.Tensor
    log_dispersion: torch.Tensor
    dropout_logits: torch.Tensor | None


class SpotAutoencoder(nn.Module):
    r"""Graph convolutions on each graph, fused with text, and a (zero-inflated) negative binomial of the counts.

    .. math:: H_g = S_g + \mathrm{GCN}_g(A_g, X), \qquad Z = \mathrm{fusion}([H_1, H_2, ...], T) W, \qquad
        \log \mu = \log \ell + Z D + b

    with :math:`\ell` the library size, :math:`S_g` given (zeros for the published network) and one dispersion a gene.

    Parameters
    ----------
    n_features, n_hidden, n_components : int
        Columns of the input, of the hidden layers and of the representation.
    n_semantic : int or None
        Length of text vectors.
    n_genes : int
        Genes decoded.
    n_branches : int, default=2
        Number of graphs.
    fusion : {"fsm", "concat", "add", "cross_attention", None}, default="fsm"
        See :func:`make_fusion`.
    zero_inflation : bool, default=False
        Whether a count can be zero for another reason than chance.
    convolve : bool, default=True
        False for no graph convolution: the branches are what is given.
    residual : bool, default=True
        Whether there is an :math:`S_g`.
    project : bool, default=True
        Whether W is trained; otherwise only what the text does is.
    generator : torch.Generator, default=None
        As in :class:`SemanticModulation`.
    """

    def __init__(
        self,
        n_features,
        n_hidden,
        n_components,
        n_semantic,
        n_genes,
        *,
        n_branches=2,
        fusion="fsm",
        zero_inflation=False,
        convolve=True,
        residual=True,
        project=True,
        generator=None,
    ):
        super().__init__()
        self.n_components = n_components
        self.residual = residual
        self.branches = nn.ModuleList(
            GraphBranch(n_features, n_hidden, n_components, generator=generator)
            for _ in range(n_branches if convolve else 0)
        )
        self.fuse = make_fusion(fusion, n_branches * n_components, n_semantic, n_components, generator=generator)
        self.fuse.project.weight.requires_grad_(project)
        self.decoder = linear_layer(n_components, n_genes, generator=generator)
        self.dropout = linear_layer(n_components, n_genes, generator=generator) if zero_inflation else None
        self.log_dispersion = nn.Parameter(torch.ones(n_genes, **options(generator)))

    def embed(self, batch: SpotBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Representation of the core spots of a batch, and the views side by side that it is made of."""
        views = [start[: batch.n_core] for start in batch.start]
        if self.branches:
            convolved = [
                branch(averaged, operator, averaged=True)[: batch.n_core]
                for branch, averaged, operator in zip(self.branches, batch.averaged, batch.operators, strict=True)
            ]
            views = [start + view for start, view in zip(views, convolved, strict=True)] if self.residual else convolved
        semantic = None if batch.semantic is None else batch.semantic[: batch.n_core]
        features = torch.cat(views, dim=1)
        return self.fuse(features, semantic), features

    def forward(self, batch: SpotBatch) -> Decoded:
        """Everything a loss needs to know of a :class:`SpotBatch`, as :class:`Decoded`."""
        embedding, features = self.embed(batch)
        views = features.split(self.n_components, dim=1)
        plain = self.fuse.without_text(features)
        moved = (embedding - plain).square().mean() / plain.detach().square().mean().clamp(min=1e-12)
        logits = None if self.dropout is None else self.dropout(embedding)
        return Decoded(embedding, views, moved, self.decoder(embedding) + batch.log_size, self.log_dispersion, logits)

    @torch.no_grad()
    def start_decoder(self, log_rates: torch.Tensor) -> None:
        """Begin to decode with the mean of each gene.

        Parameters
        ----------
        log_rates : Tensor of shape (n_genes,)
            Logarithm of each gene's share of the counts.
        """
        self.decoder.bias.copy_(log_rates)
        if self.dropout is not None:
            nn.init.zeros_(self.dropout.weight)
            nn.init.constant_(self.dropout.bias, -3.0)

    @torch.no_grad()
    def start_averaged(self, loadings: torch.Tensor) -> None:
        """Begin with the first :math:`S_g` as the representation: nothing is added to it until it is trained.

        Parameters
        ----------
        loadings : Tensor of shape (n_genes, n_components)
            Change of the logarithm of each gene's rate with each column of the representation.
        """
        self.decoder.weight.copy_(loadings)
        for branch in self.branches:
            nn.init.zeros_(branch.second.weight)
        self.fuse.start_silent()


def _moved(part, device):
    if isinstance(part, list):
        return [_moved(item, device) for item in part]
    return part.to(device) if hasattr(part, "to") else part
