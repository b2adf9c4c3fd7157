"""Training by the published code of four encoders.

It is imported from checkouts in one folder, named as their repositories

- https://github.com/QIFEIDKN/STAGATE_pyG
- https://github.com/JinmiaoChenLab/GraphST
- https://github.com/hongleir/SpaceFlow, which needs the package gudhi
- https://github.com/hannshu/stCluster, which needs the package dgl

and called with its default settings.  What it imports for plots, for preprocessing or for a small part of
its work is replaced by stand-ins, so that it need not be there.
"""

import contextlib
import importlib
import importlib.util
import io
import os
import random
import sys
import tempfile
import time
from functools import partialmethod
from pathlib import Path

import numpy as np

from benchmarks.published import stand_in, unit_variance
from skst.expression.counts import scale_depth

REPOSITORIES = {
    "stagate": "QIFEIDKN/STAGATE_pyG",
    "graphst": "JinmiaoChenLab/GraphST",
    "spaceflow": "hongleir/SpaceFlow",
    "stcluster": "hannshu/stCluster",
}
# Epochs by default; the last two may stop before.
EPOCHS = {"stagate": 1000, "graphst": 600, "spaceflow": 1000, "stcluster": 1000}
# Packages that do part of the work, beyond those that skst depends on.
PACKAGES = {"spaceflow": "gudhi", "stcluster": "dgl"}
# What each trains with.
LIBRARIES = {"stagate": "torch_geometric", "graphst": "torch", "spaceflow": "torch_geometric", "stcluster": "dgl"}
# Neighbours of STAGATE and stCluster, whose users choose: as many as the radius set for Visium reaches.
N_NEIGHBORS = 6


def checkout_of(folder, method):
    """Where in `folder` the published code of a method is expected."""
    return folder / REPOSITORIES[method].partition("/")[2]


def at_hand(folder, methods):
    """Methods whose published code can be run; says of others what keeps it from that."""
    found = []
    for method in methods:
        package = PACKAGES.get(method)
        if not checkout_of(folder, method).is_dir():
            print(f"{method} is left out: {folder} has no checkout of {REPOSITORIES[method]}", flush=True)
        elif package and importlib.util.find_spec(package) is None:
            print(f"{method} is left out: the package {package} is not installed", flush=True)
        else:
            found.append(method)
    return found


def load_libraries(method):
    """Import the library that the published code of a method trains with."""
    os.environ.setdefault("DGLBACKEND", "pytorch")
    importlib.import_module(LIBRARIES[method])


def train(folder, method, adata, n_epochs):
    """Train the published network of a method, at most so many epochs; return its embedding and seconds of each epoch.

    The embedding is what the published code finds clusters in; for GraphST the first 20 principal components of its
    reconstruction.  `adata` has raw counts, of which all genes are used: published settings are for the 3,000 most
    variable, so choose these before where there are more.

    Replaces modules and changes others: call it in a process of its own.  STAGATE and SpaceFlow take a GPU where torch
    sees one.
    """
    import anndata
    import pandas as pd

    load_libraries(method)
    tissue = anndata.AnnData(
        np.log1p(scale_depth(adata.X, 1e4).toarray()),
        obs=pd.DataFrame(index=[f"spot {i}" for i in range(adata.n_obs)]),
        obsm={"spatial": np.asarray(adata.obsm["spatial"], dtype=np.float64)},
    )
    sys.path.insert(0, str(checkout_of(folder, method)))
    clock = _Clock()
    with contextlib.redirect_stdout(io.StringIO()):
        embedding = _TRAINERS[method](tissue, n_epochs, clock)
    return np.asarray(embedding), clock.seconds


class _Clock:
    """Takes the place of ``tqdm`` or ``range`` in the head of a training loop, and times the passes through it."""

    def __init__(self):
        self.seconds = []

    def __call__(self, epochs, **_):
        for epoch in range(epochs) if isinstance(epochs, int) else epochs:
            start = time.perf_counter()
            try:
                yield epoch
            finally:  # reached when the loop is broken off, too
                self.seconds.append(time.perf_counter() - start)


def _stagate(tissue, n_epochs, clock):
    stand_in("seaborn")
    stand_in("torch_sparse", SparseTensor=type("SparseTensor", (), {}), set_diag=None)
    import STAGATE_pyG
    from STAGATE_pyG import Train_STAGATE as published

    STAGATE_pyG.Cal_Spatial_Net(tissue, k_cutoff=N_NEIGHBORS, model="KNN", verbose=False)
    published.tqdm = clock
    return published.train_STAGATE(tissue, n_epochs=n_epochs, verbose=False).obsm["STAGATE"]


def _graphst(tissue, n_epochs, clock):
    from sklearn.decomposition import PCA

    stand_in("scanpy")
    from GraphST import GraphST as published

    # What its preprocessing does after the logarithm; it leaves data alone whose genes have been chosen.
    tissue.X = unit_variance(tissue.X)
    tissue.var["highly_variable"] = True
    model = published.GraphST(tissue, epochs=n_epochs)
    published.tqdm = clock
    return PCA(20, random_state=42).fit_transform(model.train().obsm["emb"])


def _spaceflow(tissue, n_epochs, clock):
    stand_in("scanpy")
    stand_in("cmcrameri")
    import networkx

    if not hasattr(networkx, "to_scipy_sparse_matrix"):  # its name before version 3
        networkx.to_scipy_sparse_matrix = networkx.to_scipy_sparse_array
    from SpaceFlow import SpaceFlow as published

    model = published.SpaceFlow(adata=tissue)
    model.adata_preprocessed = tissue
    model.spatial_graph = model.graph_alpha(tissue.obsm["spatial"])
    published.range = clock
    with tempfile.TemporaryDirectory() as folder:
        return model.train(embedding_save_filepath=str(Path(folder) / "embedding.tsv"), epochs=n_epochs)


def _stcluster(tissue, n_epochs, clock):
    stand_in("scanpy", AnnData=type(tissue))
    stand_in("scanpy.pp", neighbors=_neighbors)
    stand_in("scanpy.tl", louvain=_louvain)
    stand_in("squidpy")
    import torch

    # It asks for torch 1.13, where gradients were set to zero and not dropped: its parameters move by their momentum
    # in the steps that do not concern them.
    torch.optim.Optimizer.zero_grad = partialmethod(torch.optim.Optimizer.zero_grad, False)
    # It makes an ``int`` of an array of one number, which numpy 2.4 does no more.
    choice = np.random.choice
    np.random.choice = lambda values, size=None, **rest: choice(values, None if size == 1 else size, **rest)
    from stCluster import train as published

    published.tqdm = clock
    return published.train(tissue, knears=N_NEIGHBORS, epochs=n_epochs, device="cpu", show=False)[0].obsm["embedding"]


_TRAINERS = {"stagate": _stagate, "graphst": _graphst, "spaceflow": _spaceflow, "stcluster": _stcluster}


def _neighbors(adata, *, n_neighbors, **_):
    """In place of scanpy's: pairs of spots, of which one is among the nearest of the other, itself counted."""
    from sklearn.neighbors import kneighbors_graph

    adata.uns["pairs"] = np.column_stack(kneighbors_graph(np.asarray(adata.X), n_neighbors - 1).nonzero())


def _louvain(adata, *, resolution, random_state, key_added="louvain"):
    """In place of scanpy's: the same objective on the same pairs, by igraph."""
    import igraph
    import pandas as pd

    random.seed(random_state)
    network = igraph.Graph(adata.n_obs, adata.uns["pairs"]).simplify()
    found = network.community_multilevel(resolution=resolution).membership
    adata.obs[key_added] = pd.Categorical([str(label) for label in found])
