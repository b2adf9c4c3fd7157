"""Epochs of SemST's published network, from a checkout of https://github.com/longjiangk/SemST.

Its functions are imported from there and called as its scripts ``preprocess/MBA_generate_data.py`` and ``train.py``
call them, with what these would read from disk handed over in memory.
"""

import argparse
import contextlib
import io
import sys
import time
from types import SimpleNamespace

import numpy as np

REPOSITORY = "longjiangk/SemST"
# The published configuration with as many neighbours in both graphs as skst.SemSTClusterer.paper.
CONFIG = "config/Mouse_Brain_Anterior.ini"
N_TEXT_COLUMNS = 384


def random_text(n_spots):
    """Text vectors that cost what those of a sentence encoder cost: float32 of shape (n_spots, 384)."""
    return np.random.default_rng(0).standard_normal((n_spots, N_TEXT_COLUMNS), dtype=np.float32)


def published_epochs(checkout, adata, text, n_epochs):
    """Train the published network for some epochs.

    Parameters
    ----------
    checkout : pathlib.Path
        Of the published repository.
    adata : AnnData of shape (n_spots, n_genes)
        Raw counts, with coordinates in ``obsm["spatial"]``.  All genes are used.
    text : ndarray of shape (n_spots, n_columns), float32
        Text vectors.
    n_epochs : int
        Epochs to train.

    Returns
    -------
    list of float
        Seconds of each epoch: one call of the published ``train``, which is a step of the optimiser and one more pass
        without gradient.  The k-means that the published loop runs at each epoch is not in it.

    Raises
    ------
    FileNotFoundError
        If `checkout` is not one of the published repository.

    Notes
    -----
    Imports modules by their published names (``utils``, ``models``, ``train``): call it in a process of its own.
    """
    if not (checkout / CONFIG).is_file():
        raise FileNotFoundError(f"published={str(checkout)!r} has no {CONFIG}; give a checkout of {REPOSITORY}.")
    _stand_in(tissue := SimpleNamespace(X=_scaled(adata.X), obs={"ground": None}, obsm={}))
    sys.path.insert(0, str(checkout))
    import torch
    import train as published
    from preprocess.construction import features_construct_graph, spatial_construct_graph2

    config = published.Config(str(checkout / CONFIG))
    torch.manual_seed(config.seed)
    with contextlib.redirect_stdout(io.StringIO()):
        tissue.obsm["fadj"] = features_construct_graph(tissue.X, k=config.k)
        spatial = spatial_construct_graph2(np.asarray(adata.obsm["spatial"]), k=config.radius)
        for name, graph in zip(("sadj", "graph_nei", "graph_neg"), spatial, strict=True):
            tissue.obsm[name] = graph if name == "sadj" else graph.numpy()
        tissue, features, _, expression, spatial, *pairs = published.load_data("in memory", data_path_prefix="")
    network = published.SemST(
        nfeat=features.shape[1],
        nhid1=config.nhid1,
        nhid2=config.nhid2,
        dropout=config.dropout,
        llm_dim=text.shape[1],
        llm_modulation_ratio=config.llm_modulation_ratio,
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    text = torch.from_numpy(text)
    seconds = []
    for _ in range(n_epochs):
        start = time.perf_counter()
        published.train(network, features, spatial, expression, text, *pairs, config, optimizer)
        seconds.append(time.perf_counter() - start)
    return seconds


def _stand_in(tissue):
    """Replace the two packages of which the published code needs next to nothing here, so that they need not be there.

    Of scanpy it is the reader, which gives `tissue` instead of a file, and of POT the distance matrix.
    """
    from scipy.spatial.distance import cdist

    sys.modules["scanpy"] = SimpleNamespace(read_h5ad=lambda path: tissue)
    sys.modules["ot"] = SimpleNamespace(dist=cdist)


def _scaled(counts):
    """Expression as the published scripts scale it: 10,000 a spot, no logarithm, unit variance, at most 10."""
    X = counts.toarray().astype(np.float32)
    X *= 1e4 / np.maximum(X.sum(axis=1, keepdims=True), 1)
    deviation = X.std(axis=0, ddof=1)
    X /= np.where(deviation > 0, deviation, 1)
    return np.minimum(X, 10, out=X)


def at_least_two(value):
    """A number of epochs: the first one is left out of the median."""
    if int(value) < 2:
        raise argparse.ArgumentTypeError(f"{value} is below 2, and the first epoch is not counted")
    return int(value)
