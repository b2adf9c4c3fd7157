"""Epochs of SemST's published network, from a checkout of https://github.com/longjiangk/SemST.

Its functions are imported from there and called as its scripts ``preprocess/MBA_generate_data.py`` and ``train.py``
call them, with what these would read from disk handed over in memory.
"""

import contextlib
import io
import sys
from types import SimpleNamespace

import numpy as np

from benchmarks.fits import timed
from benchmarks.published import stand_in, unit_variance
from skst.expression.counts import scale_depth

REPOSITORY = "longjiangk/SemST"
# The published configuration with as many neighbours in both graphs as skst.SemSTClusterer.paper.
CONFIG = "config/Mouse_Brain_Anterior.ini"


def published_epochs(checkout, adata, text, n_epochs):
    """Train the published network for some epochs; return the seconds of each.

    An epoch is one call of the published ``train``, which is a step of the optimiser and one more pass without
    gradient.  The k-means that the published loop runs at each epoch is not in it.

    `adata` has raw counts, of which all genes are used, and `text` a row of float32 for each spot.  Imports modules by
    their published names (``utils``, ``models``, ``train``): call it in a process of its own.
    """
    if not (checkout / CONFIG).is_file():
        raise FileNotFoundError(f"published={str(checkout)!r} has no {CONFIG}; give a checkout of {REPOSITORY}.")
    from scipy.spatial.distance import cdist

    tissue = SimpleNamespace(X=_scaled(adata.X), obs={"ground": None}, obsm={})
    # All that is needed of scanpy is the reader, and of POT the distance matrix.
    stand_in("scanpy", read_h5ad=lambda path: tissue)
    stand_in("ot", dist=cdist)
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
    sizes = {name: getattr(config, name) for name in ("nhid1", "nhid2", "dropout", "llm_modulation_ratio")}
    network = published.SemST(nfeat=features.shape[1], llm_dim=text.shape[1], **sizes)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    given = (network, features, spatial, expression, torch.from_numpy(text), *pairs, config, optimizer)
    return [timed(published.train, *given)[1] for _ in range(n_epochs)]


def _scaled(counts):
    """Expression as the published scripts scale it: 10,000 a spot, no logarithm, unit variance, at most 10."""
    return unit_variance(scale_depth(counts, 1e4).toarray())
