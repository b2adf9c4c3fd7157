"""An autoencoder of cells with a normalised cut, soft clusters, and text aligned to what it finds."""

import functools
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy import sparse
from skorch.callbacks import Callback
from torch import nn

from skst._scale import centre_and_scale
from skst.nn.assignment import assignment_divergence, sinkhorn_target, soft_assignment
from skst.nn.contrastive import info_nce, variance_hinge
from skst.nn.losses import unit_length
from skst.nn.training import LossNet, train

# Steps of training towards each target of the soft assignment.
REFRESH = 10
# Blocks in which a contrast with all cells of a batch is computed.
_CHUNK = 1024


class CellBatch(NamedTuple):
    """Some cells.

    Attributes
    ----------
    inputs : Tensor of shape (n_cells, n_inputs)
    semantic : Tensor of shape (n_cells, n_semantic) or None
        Text vectors.
    rows : ndarray of int of shape (n_cells,) or None
        Which cells of all; None if it is all of them.
    target : Tensor of shape (n_cells, n_clusters) or None
        Target of the soft assignment.
    """

    inputs: torch.Tensor
    semantic: torch.Tensor | None
    rows: np.ndarray | None
    target: torch.Tensor | None

    @property
    def n_core(self):
        return len(self.inputs)

    def to(self, device):
        """The batch on another device."""
        semantic, target = (None if part is None else part.to(device) for part in (self.semantic, self.target))
        return CellBatch(self.inputs.to(device), semantic, self.rows, target)


class CellBatches:
    """All that the networks see of the cells, handed out whole or in random batches.

    Parameters
    ----------
    inputs : ndarray or csr_array of shape (n_cells, n_inputs), float32
        What is encoded and reconstructed.
    semantic : ndarray of shape (n_cells, n_semantic), float32, or None
        Text vectors.
    batch_size : int or None, default=None
        Cells in a batch; None for all at once.
    random_state : RandomState, default=None
        Draws the batches.

    Attributes
    ----------
    target : Tensor of shape (n_cells, n_clusters) or None
        Target of the soft assignment, once there is one.
    """

    def __init__(self, inputs, semantic, *, batch_size=None, random_state=None):
        self.inputs, self.semantic = inputs, semantic
        self.batch_size = None if batch_size is None or batch_size >= inputs.shape[0] else batch_size
        self.random_state = random_state
        self.target = None

    def __len__(self):
        return self.inputs.shape[0]

    @property
    def n_batches(self):
        """Steps of an epoch."""
        # Two cells at least in each: the cut looks at pairs.
        return 1 if self.batch_size is None else min(-(-len(self) // self.batch_size), len(self) // 2)

    def __iter__(self):
        """Batches of one epoch, each with the None that stands for its labels."""
        if self.n_batches == 1:
            yield self.batch(None), None
            return
        order = self.random_state.permutation(len(self))
        for rows in np.array_split(order, self.n_batches):  # of one size, give or take a cell
            yield self.batch(np.sort(rows)), None

    def batch(self, rows):
        """The :class:`CellBatch` of some cells; of all if `rows` is None."""
        where = slice(None) if rows is None else rows
        inputs = self.inputs[where]
        inputs = inputs.toarray() if sparse.issparse(inputs) else inputs
        semantic = None if self.semantic is None else torch.as_tensor(self.semantic[where])
        target = None if self.target is None else self.target[where]
        return CellBatch(torch.as_tensor(np.ascontiguousarray(inputs)), semantic, rows, target)

    def in_order(self, size=16_384):
        """Batches of all cells as they come."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))))


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
    ):
        super().__init__()
        self.n_components = n_components
        self.from_axes = from_axes
        self.encoder = _perceptron(n_inputs, n_hidden, n_components, linear)
        self.decoder = _perceptron(n_components, n_hidden, n_inputs, linear)
        if from_axes:
            self.put_back = nn.Linear(n_components, n_inputs)
            with torch.no_grad():
                self.put_back.weight.copy_(torch.eye(n_inputs, n_components))
                self.put_back.bias.zero_()
            _silence(self.encoder[-1], self.decoder[-1])
        self.shared = n_projection is not None
        self.has_text = n_semantic is not None
        if self.shared and self.has_text:
            self.project_text = _perceptron(n_semantic, n_projection, n_projection)
            self.project_structure = _perceptron(n_components, n_projection, n_projection)
        elif self.has_text:
            self.project_text = _perceptron(n_semantic, n_semantic, n_components)
            self.predict = nn.Linear(n_semantic, n_components)
            _silence(self.project_text[-1])
        self.centers = None

    def encode(self, inputs):
        """Structural embedding of cells."""
        code = self.encoder(inputs)
        return code + inputs[:, : self.n_components] if self.from_axes else code

    def forward(self, batch):
        """The :class:`CellViews` of a :class:`CellBatch`."""
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
        gram = semantic.T @ semantic + ridge * len(semantic) * torch.eye(semantic.shape[1])
        centred = embedding - embedding.mean(dim=0)
        self.predict.weight.copy_(torch.linalg.solve(gram, semantic.T @ centred).T)
        self.predict.bias.copy_(embedding.mean(dim=0))

    def start_clusters(self, centers):
        """Take `centers`, of shape (n_clusters, n_components), as parameters."""
        self.centers = nn.Parameter(torch.as_tensor(centers, dtype=torch.float32))


class CellNet(LossNet):
    """Trains a :class:`CellAutoencoder` on :class:`CellBatches` (scLLM-DSC, Eq. 12).

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
            drawn = torch.randperm(len(text), device="cpu")[: self.n_contrast].to(text.device)
            structure, text = structure[drawn], text[drawn]
        chunk = _CHUNK if len(text) > 4 * _CHUNK else None
        return info_nce(text, structure, self.temperature, chunk=chunk) + self.hinge_weight * hinge


class _Target(Callback):
    """Sets the target of the soft assignment before the first epoch, and anew from time to time."""

    def __init__(self, batches, sizes, power):
        self.batches, self.sizes, self.power = batches, sizes, power
        self.every = max(1, REFRESH // batches.n_batches)

    def on_epoch_begin(self, net, **kwargs):
        if (len(net.history) - 1) % self.every == 0:
            embedding = torch.as_tensor(encode_all(net.module_, self.batches))
            found = soft_assignment(embedding, net.module_.centers.detach().cpu())
            self.batches.target = sinkhorn_target(found, self.sizes, self.power)


def fit_network(network, batches, initial, *, max_epochs, kl_weight, align_weight, power, device, **options):
    """Train a network in two stages (scLLM-DSC, Sec. 3.7): reconstruction and cut, then all losses.

    Parameters
    ----------
    network : CellAutoencoder
        Trained in place.
    batches : CellBatches
    initial : callable
        From an embedding, ndarray of shape (n_cells, n_components), to clusters, ndarray of int of shape (n_cells,);
        called after the first stage.
    max_epochs : int
        Of each stage.
    kl_weight, align_weight : float
        Weights of the losses of the second stage, which there is only if one of them acts.
    power : float
        Sharpness of the target.
    device : str
    **options
        Of :func:`skst.nn.training.train`; ``options["weights"]`` holds the other parameters of :class:`CellNet`.

    Returns
    -------
    history : DataFrame
        One row an epoch, with a column "stage".
    interrupted : bool
        Whether Ctrl-C ended it.
    """
    weights = options.pop("weights")
    if weights["cut"] is not None:
        weights = weights | {"cut": weights["cut"].to(device)}
    callbacks = list(options.pop("callbacks") or [])
    shared = {"net": CellNet, "max_epochs": max_epochs, "device": device, **options}
    first = weights | {"align_weight": 0.0, "kl_weight": 0.0}
    batches.target = None
    history, interrupted = train(network, batches, weights=first, callbacks=callbacks, **shared)
    histories = [history.assign(stage=1)]
    embedding = encode_all(network, batches)
    if network.has_text:  # trained to be aligned or not, text is to say something about the structure
        network.cpu().start_text(torch.as_tensor(embedding), torch.as_tensor(batches.semantic))
    if (kl_weight > 0 or (align_weight > 0 and network.has_text)) and not interrupted:
        if kl_weight > 0:
            numbers, labels, sizes = np.unique(initial(embedding), return_inverse=True, return_counts=True)
            sums = np.zeros((len(numbers), embedding.shape[1]))
            np.add.at(sums, labels, embedding)
            network.start_clusters(sums / sizes[:, None])
            callbacks = [("target", _Target(batches, sizes, power)), *callbacks]
        second = weights | {"align_weight": align_weight, "kl_weight": kl_weight}
        history, interrupted = train(network, batches, weights=second, callbacks=callbacks, **shared)
        histories.append(history.assign(stage=2))
    batches.target = None
    network.cpu().eval()
    return pd.concat([part for part in histories if len(part)] or histories[:1], ignore_index=True), interrupted


class CellEnsemble:
    """Networks that look at the same cells, each by an input and from a start of its own.

    Parameters
    ----------
    shape : dict
        Parameters of :class:`CellAutoencoder` but for the numbers of inputs and of text columns.

    Attributes
    ----------
    networks : list of CellAutoencoder
    history : DataFrame
        One row an epoch, with columns "network" and "stage".
    interrupted : bool
        Whether Ctrl-C ended the training.
    """

    def __init__(self, shape):
        self.shape = shape

    def fit(self, inputs, semantic, seeds, initial, *, batch_size, say, **options):
        """Train the networks one after the other.

        Parameters
        ----------
        inputs : list of ndarray or csr_array of shape (n_cells, n_inputs)
            One a network.
        semantic : ndarray of shape (n_cells, n_semantic), float32, or None
        seeds : sequence of int
            One a network.
        initial : callable
            From an embedding and a seed to clusters.
        batch_size : int or None
        say : callable
            Is told what is done.
        **options
            Of :func:`fit_network`.

        Returns
        -------
        self
        """
        self.networks, self._scales, histories = [], [], []
        for number, (values, seed) in enumerate(zip(inputs, seeds, strict=True)):
            say(f"network {number + 1} of {len(seeds)}, on {values.shape[1]} columns")
            rng = np.random.RandomState(seed)
            batches = CellBatches(values, semantic, batch_size=batch_size, random_state=rng)
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                torch.manual_seed(int(seed))
                n_semantic = None if semantic is None else semantic.shape[1]
                network = CellAutoencoder(values.shape[1], n_semantic=n_semantic, **self.shape)
                found = functools.partial(initial, seed=int(seed))
                history, self.interrupted = fit_network(network, batches, found, **options)
            self.networks.append(network)
            views = view_all(network, batches)
            self._scales.append([centre_and_scale(view) for view in views])
            histories.append(history.assign(network=number))
            if self.interrupted:
                break
        history = pd.concat([part for part in histories if len(part)] or histories[:1], ignore_index=True)
        # The terms of the second stage come last where tables are joined.
        terms = history.columns.drop(["network", "stage", "dur"])
        self.history = history[["network", "stage", *terms, "dur"]]
        return self

    def views(self, inputs, semantic):
        """Structural and text view of cells.

        Parameters
        ----------
        inputs, semantic
            As in :meth:`fit`.

        Returns
        -------
        list of ndarray of shape (n_cells, n_networks * n_columns), float32
            One a view, the text left out where there is none; each part centred and of unit total variance.
        """
        sides = []
        for network, values, scales in zip(self.networks, inputs, self._scales, strict=False):
            views = view_all(network, CellBatches(values, semantic))
            sides.append([(view - centre) * scale for view, (centre, scale) in zip(views, scales, strict=True)])
        return [np.hstack(side) for side in zip(*sides, strict=True)]


@torch.no_grad()
def encode_all(network, batches):
    """Structural embedding of all cells, ndarray of shape (n_cells, n_components), float32."""
    device = next(network.parameters()).device
    return torch.cat([network.encode(batch.inputs.to(device)).cpu() for batch in batches.in_order()]).numpy()


@torch.no_grad()
def view_all(network, batches):
    """Structural view of all cells and, with text, the text's beside it, ndarrays of shape (n_cells, n_columns)."""
    if not network.has_text:
        return [encode_all(network, batches)]
    parts = [network.align(network.encode(batch.inputs), batch.semantic) for batch in batches.in_order()]
    return [torch.cat(side).numpy() for side in zip(*parts, strict=True)]


def _perceptron(n_in, n_hidden, n_out, linear=False):
    middle = nn.Identity() if linear else nn.ReLU()
    return nn.Sequential(nn.Linear(n_in, n_hidden), middle, nn.Linear(n_hidden, n_out))


def _silence(*layers):
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
