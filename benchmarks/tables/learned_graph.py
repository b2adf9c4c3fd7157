"""Does a learnt graph stay within domains?

Homophily is the share of edges, of those whose two spots both have a label, that join spots of one label.  Graphs see
no label.
"""

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from benchmarks.data import SPATIAL, read
from benchmarks.declare import Benchmark
from benchmarks.fits import timed
from benchmarks.methods import graph_encoder
from skst.graph import SpatialGraphLearner, spatial_graph

LEARNED, NEAREST, SHORTEST, ALIKE = GRAPHS = ("learned", "nearest", "shortest", "most alike")


def homophily(graph, labels):
    """Share of the edges between labelled spots that join spots of one label; labels that are missing are none."""
    known = labels.notna().to_numpy()
    labels = labels.astype(str).to_numpy()
    rows, columns = sparse.coo_array(graph).coords
    both = known[rows] & known[columns]
    return float((labels[rows] == labels[columns])[both].mean())


def first_edges(candidates, points, n_edges):
    """The shortest edge of each spot and then the shortest of all, as the learner chooses by its policy; each once.

    `candidates` is a symmetric graph of the rows of `points`.
    """
    ends = np.array(sparse.triu(candidates, format="coo").coords)
    lengths = np.linalg.norm(points[ends[0]] - points[ends[1]], axis=1)
    ends = ends[:, np.argsort(lengths, kind="stable")]
    best = np.unique(ends.T, return_index=True)[1] // 2  # where each spot comes first
    others = np.setdiff1d(np.arange(ends.shape[1]), best)
    rows, columns = ends[:, np.append(np.unique(best), others)[:n_edges]]
    return sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=candidates.shape)


def execute(run):
    """The learnt graph of a tissue and those it is compared with: a row with the homophily and degree of each."""
    adata, labels = read(run.data)
    places, seed = adata.obsm["spatial"], run.names["seed"]
    learner, seconds = timed(SpatialGraphLearner(random_state=seed).fit, adata.X, places)
    n_edges = learner.graph_.nnz // 2
    units = normalize(graph_encoder("smooth", seed)[0].fit_transform(adata))
    nearest = spatial_graph(places, kind="knn", n_neighbors=learner.n_neighbors)

    graphs = {
        LEARNED: learner.graph_,
        NEAREST: first_edges(nearest, places, n_edges),
        SHORTEST: first_edges(learner.probabilities_, places, n_edges),
        # The closer unit vectors are, the larger is their cosine.
        ALIKE: first_edges(learner.probabilities_, units, n_edges),
    }
    found = {name: round(homophily(graph, labels), 5) for name, graph in graphs.items()}
    return {
        "method": LEARNED,
        **found,
        "degree": round(learner.graph_.nnz / adata.n_obs, 3),
        "degree, all nearest": round(nearest.nnz / adata.n_obs, 3),
        "reward": round(learner.history_["reward"].iloc[-1] - learner.history_["reward"].iloc[0], 5),
        "seconds": round(seconds, 2),
    }


BENCHMARK = Benchmark(
    question="Does a learnt graph stay within domains?",
    axes={"data": SPATIAL},
    steps=(execute,),
    seeds=5,
)
