"""Spots with counts and a network of SemST, small enough for dense brute force in float64."""

import numpy as np
import torch
from scipy import sparse
from skorch.callbacks import Callback

from skst.graph import averaging_operator, nearest_neighbors, spatial_graph
from skst.nn import SparseOperator
from skst.nn.autoencoder import SpotAutoencoder, SpotBatch
from skst.nn.batches import tiles
from skst.nn.training import SpotBatches, train

WEIGHTS = {"correlation_weight": 0.3, "spatial_weight": 0.7, "text_weight": 0.2, "balanced": True}


def two_operators(n, n_neighbors=3, seed=0):
    """Averages over neighbours on a plane, and in a space of features."""
    rng = np.random.default_rng(seed)
    found = nearest_neighbors(rng.normal(size=(n, 5)), n_neighbors)
    rows = np.repeat(np.arange(n), found.shape[1])
    directed = sparse.coo_array((np.ones(found.size), (rows, found.ravel())), shape=(n, n)).tocsr()
    places = rng.uniform(size=(n, 2))
    return places, [averaging_operator(spatial_graph(places, n_neighbors=n_neighbors)), averaging_operator(directed)]


def some_spots(n=60, n_features=4, n_genes=7, n_semantic=6, seed=0, size=None, rng=None):
    """Spots with counts, as an estimator prepares them; in tiles of `size` spots if it is given."""
    places, operators = two_operators(n, seed=seed)
    draws = np.random.default_rng(seed)
    features = draws.normal(size=(n, n_features)).astype(np.float32)
    counts = draws.poisson(3 * np.exp(features @ draws.normal(size=(n_features, n_genes)) / 3)).astype(np.float32)
    return SpotBatches(
        [operator @ features for operator in operators],
        [operator @ features for operator in operators],
        operators,
        draws.normal(size=(n, n_semantic)).astype(np.float32),
        counts=sparse.csr_array(counts),
        sizes=counts.sum(axis=1) + 1,
        tiles=None if size is None else tiles(places, size),
        random_state=rng,
    )


def some_network(seed=0, **options):
    """A network in which every weight has a gradient: none is zero, and biases keep ReLUs alive."""
    torch.manual_seed(seed)
    options = {"fusion": "fsm"} | options
    network = SpotAutoencoder(4, 8, 4, 6, 7, **options)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.normal_(std=0.4)
            if name.endswith("bias"):
                parameter.abs_()
    return network


def train_quickly(network, batches, **options):
    options = {
        "max_epochs": 5,
        "lr": 1e-2,
        "patience": None,
        "device": "cpu",
        "callbacks": None,
        "verbose": 0,
    } | options
    return train(network, batches, **({"weights": WEIGHTS} | options))


# --- the whole loss ---


def double(batch):
    """A batch in float64."""

    def cast(part):
        if isinstance(part, list):
            return [cast(item) for item in part]
        if isinstance(part, SparseOperator):
            return SparseOperator(sparse.csr_array(part._forward.to_dense().double().numpy()))
        return part.double() if torch.is_tensor(part) and part.is_floating_point() else part

    return SpotBatch(*(cast(part) for part in batch))


# --- training ---


class Each(Callback):
    """Calls a function at the end of each epoch."""

    def __init__(self, call):
        self.call = call

    def on_epoch_end(self, net, **kwargs):
        self.call(net)


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt
