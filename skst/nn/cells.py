"""An autoencoder of cells with a normalised cut, soft clusters, and text aligned to what it finds."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from skst.nn.assignment import assignment_divergence, soft_assignment
from skst.nn.contrastive import info_nce, variance_hinge
from skst.nn.losses import unit_length
from skst.nn.surroundings import linear_layer
from skst.nn.training import LossNet

# Steps of training towards each target of the soft assignment.
REFRESH = 10
# Blocks in which a contrast with all cells of a batch is computed.
_CHUNK = 1024


class CellViews(NamedTuple):
    """What a network makes of some cells.

    Attributes
    ----------
    embedding : Tensor of shape (n_cells, n_components)
        Structural embedding, the code of the autoencoder.
    reconstruction : Tensor of shape (n_cells, n_inputs)
    structure, text : Tensor of shape (n_cells, n_projection) or None
        The two views in the space where they are aligned; None without text.
    """

    embedding: torch.Tensor
    reconstruction: torch.Tensor
    structure: torch.Tensor | None
    text: torch.Tensor | None


class CellAutoencoder(nn.Module):
    r"""Autoencoder, projection of text, and centres of clusters (scLLM-DSC, Eqs. 6 and 7).

    .. math:: Z = S + V\, \sigma(W X), \qquad \hat X = Z U + V'\, \sigma(W' Z)

    Parameters
    ----------
    n_inputs, n_hidden, n_components : int
        Widths of the autoencoder.
    n_semantic : int or None, default=None
        Columns of the text vectors; None for a network without text.
    n_projection : int or None, default=None
        Columns of a space that both views are projected into, by a perceptron each.  None: the text is projected into
        the space of the structural embedding, which is taken as it is.
    from_axes : bool, default=True
        Whether S is the leading `n_components` inputs and U puts them back, so that training begins at these; else
        both are left out and the network begins at random.
    linear : bool, default=False
        Leave the non-linearity out of the autoencoder.
    generator : torch.Generator, default=None
        As in :class:`~skst.nn.SemanticModulation`.
    """

    def __init__(
        self,
        n_inputs,
        n_hidden,
        n_components,
        *,
        n_semantic=None,
        n_projection=None,
        from_axes=True,
        linear=False,
        generator=None,
    ):
        super().__init__()
        self.n_components = n_components
        self.from_axes = from_axes
        self.encoder = _perceptron(n_inputs, n_hidden, n_components, linear, generator)
        self.decoder = _perceptron(n_components, n_hidden, n_inputs, linear, generator)
        if from_axes:
            self.put_back = linear_layer(n_components, n_inputs, generator=generator)
            nn.init.eye_(self.put_back.weight)
            nn.init.zeros_(self.put_back.bias)
            _silence(self.encoder[-1], self.decoder[-1])
        self.shared = n_projection is not None
        self.has_text = n_semantic is not None
        if self.shared and self.has_text:
            self.project_text = _perceptron(n_semantic, n_projection, n_projection, False, generator)
            self.project_structure = _perceptron(n_components, n_projection, n_projection, False, generator)
        elif self.has_text:
            self.project_text = _perceptron(n_semantic, n_semantic, n_components, False, generator)
            self.predict = linear_layer(n_semantic, n_components, generator=generator)
            _silence(self.project_text[-1])
        self.centers = None

    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        """Structural embedding of cells."""
        code = self.encoder(inputs)
        return code + inputs[:, : self.n_components] if self.from_axes else code

    def forward(self, batch):
        """The :class:`CellViews` of a :class:`~skst.nn.cell_batches.CellBatch`."""
        embedding = self.encode(batch.inputs)
        reconstruction = self.decoder(embedding)
        if self.from_axes:
            reconstruction = reconstruction + self.put_back(embedding)
        return CellViews(embedding, reconstruction, *self.align(embedding, batch.semantic))

    def align(self, embedding, semantic):
        """Both views where they are aligned, or None for each."""
        if not self.has_text:
            return None, None
        if self.shared:
            structure, text = self.project_structure(embedding), self.project_text(semantic)
            return unit_length(structure, 1), unit_length(text, 1)
        return embedding, self.predict(semantic) + self.project_text(semantic)

    @torch.no_grad()
    def start_text(self, embedding, semantic, ridge=1e-2):
        """Have the text begin as a linear prediction of the structural embedding."""
        if not self.has_text or self.shared:
            return
        unit = torch.eye(semantic.shape[1], dtype=semantic.dtype, device=semantic.device)
        gram = semantic.T @ semantic + ridge * len(semantic) * unit
        centred = embedding - embedding.mean(dim=0)
        self.predict.weight.copy_(torch.linalg.solve(gram, semantic.T @ centred).T)
        self.predict.bias.copy_(embedding.mean(dim=0))

    def start_clusters(self, centers: torch.Tensor) -> None:
        """Take `centers`, of shape (n_clusters, n_components), as parameters."""
        self.centers = nn.Parameter(torch.as_tensor(centers, dtype=torch.float32, device="cpu"))


class CellNet(LossNet):
    """Trains a :class:`CellAutoencoder` on :class:`~skst.nn.cell_batches.CellBatches` (scLLM-DSC, Eq. 12).

    Parameters
    ----------
    module : CellAutoencoder
    cut : NormalizedCut or None
        Of all cells.
    align_weight, cut_weight, mse_weight, kl_weight : float
        Weights of the alignment, the cut, the reconstruction and the divergence from the target.
    hinge_weight : float
        Weight of the variance hinge within the alignment.
    temperature : float
        Of the contrast.
    n_contrast : int or None
        Cells, drawn anew at each step, among which a cell is to be told by its text; None for all of the batch.
    move_structure : bool
        Whether the alignment moves the structural embedding, or the text alone.
    generator : torch.Generator, default=None
        Draws these cells, on the CPU; by default torch's own.
    **options
        Of :class:`skorch.NeuralNet`.
    """

    terms = ("mse", "cut", "alignment", "kl")

    def __init__(
        self,
        module,
        *,
        cut,
        align_weight,
        cut_weight,
        mse_weight,
        kl_weight,
        hinge_weight,
        temperature,
        n_contrast,
        move_structure,
        generator=None,
        **options,
    ):
        self.cut = cut
        self.align_weight = align_weight
        self.cut_weight = cut_weight
        self.mse_weight = mse_weight
        self.kl_weight = kl_weight
        self.hinge_weight = hinge_weight
        self.temperature = temperature
        self.n_contrast = n_contrast
        self.move_structure = move_structure
        self.generator = generator
        super().__init__(module, **options)

    def losses(self, output, batch):
        losses = {}
        if self.mse_weight:
            losses["mse"] = self.mse_weight, F.mse_loss(output.reconstruction, batch.inputs)
        if self.cut_weight:
            z = output.embedding - output.embedding.mean(dim=0)
            losses["cut"] = self.cut_weight, self.cut(z) if batch.rows is None else self.cut.estimate(z, batch.rows)
        if self.align_weight and output.text is not None:
            losses["alignment"] = self.align_weight, self._alignment(output)
        if self.kl_weight and batch.target is not None:
            assignment = soft_assignment(output.embedding, self.module_.centers)
            losses["kl"] = self.kl_weight, assignment_divergence(assignment, batch.target)
        return losses

    def _alignment(self, output):
        structure = output.structure if self.move_structure else output.structure.detach()
        text = output.text
        hinge = sum(variance_hinge(unit_length(view, 1)) for view in (structure, text)) if self.hinge_weight else 0.0
        if self.n_contrast is not None and self.n_contrast < len(text):
            drawn = torch.randperm(len(text), generator=self.generator, device="cpu")[: self.n_contrast].to(text.device)
            structure, text = structure[drawn], text[drawn]
        chunk = _CHUNK if len(text) > 4 * _CHUNK else None
        return info_nce(text, structure, self.temperature, chunk=chunk) + self.hinge_weight * hinge


def _perceptron(n_in, n_hidden, n_out, linear, generator):
    first, last = (linear_layer(*sizes, generator=generator) for sizes in ((n_in, n_hidden), (n_hidden, n_out)))
    return nn.Sequential(first, nn.Identity() if linear else nn.ReLU(), last)


def _silence(*layers):
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
