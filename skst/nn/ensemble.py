"""Several networks trained on the same spots, and their representations brought to one scale."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from skst._modes import undisturbed
from skst.nn.autoencoder import SpotAutoencoder
from skst.nn.modulation import SemanticModulation
from skst.nn.training import train


class Turn(NamedTuple):
    """From the representation of a network to that of the ensemble, ``(Z - centre) @ axes``, and on to rates of genes.

    Attributes
    ----------
    centre : ndarray of shape (n_components,)
    axes : ndarray of shape (n_components, n_components)
    weight : ndarray of shape (n_components, n_genes)
    bias : ndarray of shape (n_genes,)
        Rates, in shares of the library, are ``exp(representation @ weight + bias)``.
    """

    centre: np.ndarray
    axes: np.ndarray
    weight: np.ndarray
    bias: np.ndarray


class NetworkEnsemble:
    """Networks of one shape, each from a start of its own.

    Parameters
    ----------
    shape : dict
        Parameters of :class:`SpotAutoencoder`.
    loadings : ndarray of shape (n_genes, n_components)
        Change of the logarithm of each gene's rate with each column of the averaged expression.
    log_rates : ndarray of shape (n_genes,)
        Logarithm of each gene's share of the counts.
    """

    def __init__(self, shape, loadings, log_rates):
        self.shape = shape
        self.loadings = loadings
        self.log_rates = log_rates

    @undisturbed()
    def fit(self, batches, seeds, from_average, *, lr, say, **options):
        """Train the networks one after the other.

        Parameters
        ----------
        batches : SpotBatches
            Spots with their counts.
        seeds : sequence of int
            One a network.
        from_average : sequence of bool
            Whether each network begins with its first view, or at random with twice the learning rate.
        lr : float
            Learning rate.
        say : callable
            Is told what is done.
        **options
            Of :func:`skst.nn.training.train`.

        Returns
        -------
        list of ndarray of shape (n_spots, n_components)
            Representations, each of unit total variance.
        """
        self.networks, self.turns, histories, embeddings = [], [], [], []
        self.interrupted = False
        for number, (seed, averaged) in enumerate(zip(seeds, from_average, strict=True)):
            say(f"network {number + 1} of {len(seeds)}, from {'averaged expression' if averaged else 'a random start'}")
            generator = torch.Generator("cpu").manual_seed(int(seed))
            network = SpotAutoencoder(**self.shape, residual=bool(averaged), generator=generator)
            network.start_decoder(torch.from_numpy(self.log_rates))
            if averaged:
                network.start_averaged(torch.from_numpy(self.loadings))
            history, self.interrupted = train(network, batches, lr=lr if averaged else 2 * lr, **options)
            network = network.cpu().eval()
            raw = embed_all(network, batches)
            turn = _turn(network, raw, canonical=not averaged)
            self.networks.append(network)
            self.turns.append(turn)
            histories.append(history.assign(network=number))
            embeddings.append((raw - turn.centre) @ turn.axes)
            if self.interrupted:
                break
        # A network that was stopped in its first epoch has no rows.
        history = pd.concat([part for part in histories if len(part)] or histories[:1], ignore_index=True)
        self.history = history[["network", *history.columns.drop("network")]]
        return embeddings

    def embed(self, batches):
        """Representations of other spots, in the form that :meth:`fit` returns."""
        return [
            (embed_all(network, batches) - turn.centre) @ turn.axes
            for network, turn in zip(self.networks, self.turns, strict=True)
        ]

    @undisturbed(gradients=False)
    def factors(self, semantic, chunk=65_536):
        """Scale and shift of each spot by each network side by side; None unless text modulates."""
        if not isinstance(self.networks[0].fuse, SemanticModulation):
            return None
        pairs = []
        for network in self.networks:
            parts = [network.fuse.factors(part) for part in torch.from_numpy(semantic).split(chunk)]
            pairs.append([torch.cat(side).numpy() for side in zip(*parts, strict=True)])
        return tuple(np.hstack(side) for side in zip(*pairs, strict=True))

    def rates(self, embeddings):
        """Expected share of each decoded gene in each spot, the mean over networks."""
        logs = (part @ turn.weight + turn.bias for part, turn in zip(embeddings, self.turns, strict=True))
        return sum(np.exp(log) for log in logs) / len(self.turns)


@undisturbed(gradients=False)
def embed_all(network, batches):
    """Representation of every spot of some :class:`SpotBatches`, ndarray of shape (n_spots, n_components)."""
    batch = batches.whole().to(next(network.parameters()).device)
    return network.embed(batch)[0].cpu().numpy()


def _turn(network, raw, canonical):
    """Centre and scale; `canonical` also rotates to the axes along which the decoded counts vary most.

    With a Poisson's square-root scale, a unit step along the axes changes what is decoded by one SD of counting noise.
    """
    weight = network.decoder.weight.detach().numpy().T.astype(np.float64)
    centre = raw.mean(axis=0, dtype=np.float64)
    bias = network.decoder.bias.detach().numpy() + centre @ weight
    axes = np.eye(len(centre))
    if canonical:
        moved = weight * np.exp(bias / 2)
        size, axes = np.linalg.eigh(moved @ moved.T)
        axes = (axes * np.sqrt(np.maximum(size, 0)))[:, ::-1]
        largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
        axes = axes * np.where(largest < 0, -1.0, 1.0)  # eigenvectors come with either sign
    total = np.sqrt(((raw - centre) @ axes).var(axis=0).sum())
    axes = axes / (total or 1.0)
    return Turn(*(part.astype(np.float32) for part in (centre, axes, np.linalg.pinv(axes) @ weight, bias)))
