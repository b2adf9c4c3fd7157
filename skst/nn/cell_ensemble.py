"""Networks of cells trained one after the other, and what they make of cells together."""

import functools

import numpy as np
import pandas as pd
import torch
from skorch.callbacks import Callback

from skst._modes import undisturbed
from skst.expression.scale import centre_and_scale
from skst.nn.assignment import sinkhorn_target, soft_assignment
from skst.nn.cell_batches import CellBatches
from skst.nn.cells import REFRESH, CellAutoencoder, CellNet
from skst.nn.training import train


class _Target(Callback):
    """Sets the target of the soft assignment before the first epoch, and anew from time to time."""

    def __init__(self, batches, sizes, power):
        self.batches, self.sizes, self.power = batches, sizes, power
        self.every = max(1, REFRESH // batches.n_batches)

    def on_epoch_begin(self, net, **kwargs):
        if (len(net.history) - 1) % self.every == 0:
            embedding = torch.from_numpy(encode_all(net.module_, self.batches))
            found = soft_assignment(embedding, net.module_.centers.detach().cpu())
            self.batches.target = sinkhorn_target(found, self.sizes, self.power)


def fit_network(
    network, batches, initial, *, max_epochs, kl_weight, align_weight, power, device, generator=None, **options
):
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
    generator : torch.Generator, default=None
        Draws what :class:`CellNet` draws.
    **options
        Of :func:`skst.nn.training.train`; ``options["weights"]`` holds the other parameters of :class:`CellNet`.

    Returns
    -------
    history : DataFrame
        One row an epoch, with a column "stage".
    interrupted : bool
        Whether Ctrl-C ended it.
    """
    weights = options.pop("weights") | {"generator": generator}
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
        network.cpu().start_text(torch.from_numpy(embedding), torch.from_numpy(batches.semantic))
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

    @undisturbed()
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
            generator = torch.Generator("cpu").manual_seed(int(seed))
            n_semantic = None if semantic is None else semantic.shape[1]
            network = CellAutoencoder(values.shape[1], n_semantic=n_semantic, generator=generator, **self.shape)
            found = functools.partial(initial, seed=int(seed))
            history, self.interrupted = fit_network(network, batches, found, generator=generator, **options)
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
    whole, start = np.empty((len(batches), network.n_components), dtype=np.float32), 0
    for batch in batches.in_order():  # in their place: small parts would keep what is freed of large ones apart
        whole[start : start + batch.n_core] = network.encode(batch.inputs.to(device)).cpu().numpy()
        start += batch.n_core
    return whole


@undisturbed(gradients=False)
def view_all(network, batches):
    """Structural view of all cells and, with text, the text's beside it, ndarrays of shape (n_cells, n_columns)."""
    if not network.has_text:
        return [encode_all(network, batches)]
    parts = [network.align(network.encode(batch.inputs), batch.semantic) for batch in batches.in_order()]
    return [torch.cat(side).numpy() for side in zip(*parts, strict=True)]
