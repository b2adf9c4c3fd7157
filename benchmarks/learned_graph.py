"""Does a learnt graph stay within domains?  ``python benchmarks/learned_graph.py``.

Homophily is the share of edges, of those whose two spots both have a label, that join spots of one label.  Graphs see
no label.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from harness import Run, read, run_all
from methods import SPATIAL
from records import RESULTS
from scipy import sparse
from sklearn.preprocessing import normalize
from tables import by_method, head, paired, section

from skst import SpatialGraphTransformer
from skst.graph import SpatialGraphLearner, spatial_graph

LEARNED, SHORTEST, ALIKE, NEAREST = "learned", "shortest", "most alike", "nearest"


def homophily(graph, labels):
    """Share of the edges between labelled spots that join spots of one label.

    Parameters
    ----------
    graph : sparse array of shape (n_spots, n_spots)
    labels : Series of length n_spots
        Missing where a spot has none.

    Returns
    -------
    float
    """
    known = labels.notna().to_numpy()
    labels = labels.astype(str).to_numpy()
    rows, columns = sparse.coo_array(graph).coords
    both = known[rows] & known[columns]
    return float((labels[rows] == labels[columns])[both].mean())


def first_edges(candidates, values, n_edges):
    """The best edge of each spot and then the best of all, as the learner chooses by its policy.

    Parameters
    ----------
    candidates : sparse array of shape (n_spots, n_spots)
        Symmetric; its entries are the edges to choose from.
    values : callable
        Of the two ends of edges, one value an edge; small is good.
    n_edges : int

    Returns
    -------
    coo_array of shape (n_spots, n_spots)
        Each edge once.
    """
    rows, columns = sparse.triu(candidates, format="coo").coords
    order = np.argsort(values(rows, columns), kind="stable")
    rows, columns = rows[order], columns[order]
    place = np.arange(len(rows))
    best = np.full(candidates.shape[0], len(rows))
    np.minimum.at(best, rows, place)
    np.minimum.at(best, columns, place)
    wanted = (place == best[rows]) | (place == best[columns])
    first = np.argsort(~wanted, kind="stable")[:n_edges]
    return sparse.coo_array((np.ones(len(first)), (rows[first], columns[first])), shape=candidates.shape)


def execute(run):
    """The learnt graph of a tissue and those it is compared with: a row with the homophily and degree of each."""
    adata, labels = read(run.data)
    places, seed = adata.obsm["spatial"], run.names["seed"]
    start = time.perf_counter()
    learner = SpatialGraphLearner(random_state=seed).fit(adata.X, places)
    seconds = time.perf_counter() - start
    n_edges = learner.graph_.nnz // 2
    units = normalize(SpatialGraphTransformer(random_state=seed).fit_transform(adata))
    nearest = spatial_graph(places, kind="knn", n_neighbors=learner.n_neighbors)

    def distance(i, j):
        return np.linalg.norm(places[i] - places[j], axis=1)

    def unlike(i, j):
        return -np.einsum("ij,ij->i", units[i], units[j])

    graphs = {
        LEARNED: learner.graph_,
        NEAREST: first_edges(nearest, distance, n_edges),
        SHORTEST: first_edges(learner.probabilities_, distance, n_edges),
        ALIKE: first_edges(learner.probabilities_, unlike, n_edges),
    }
    found = {name: round(homophily(graph, labels), 5) for name, graph in graphs.items()}
    return {
        **run.names,
        **found,
        "degree": round(learner.graph_.nnz / adata.n_obs, 3),
        "degree, all nearest": round(nearest.nnz / adata.n_obs, 3),
        "reward": round(learner.history_["reward"].iloc[-1] - learner.history_["reward"].iloc[0], 5),
        "seconds": round(seconds, 2),
    }


def main(argv=None):
    """Learn what has not been learnt yet, write ``learned_graph.csv`` and ``.md``; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=list(SPATIAL), default=list(SPATIAL), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the learner (default: 5)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time (default: 2)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore", UserWarning)
    runs = [
        Run({"data": data, "method": LEARNED, "seed": seed}, SPATIAL[data], None)
        for data in arguments.data
        for seed in range(arguments.seeds)
    ]
    path = arguments.output / "learned_graph.csv"
    options = {"jobs": arguments.jobs, "fresh": arguments.fresh}
    rows, failed = run_all(runs, path, execute=execute, reads=False, **options)
    if not rows.empty:
        text = head("A graph that is learnt", rows, "learned_graph.py", argv) + report(rows)
        path.with_suffix(".md").write_text(text, encoding="utf-8")
    return 1 if failed else 0


def report(rows):
    """The tables of all graphs, as Markdown."""
    rows = rows.sort_values("data", kind="stable", key=lambda names: names.map(list(SPATIAL).index))
    shares = rows.melt(["data", "seed"], [LEARNED, NEAREST, SHORTEST, ALIKE], "method", "homophily")
    edges = rows.groupby("data", sort=False)[["degree", "degree, all nearest", "reward", "seconds"]].mean()
    return section(
        "Homophily",
        f"`{LEARNED}`: SpatialGraphLearner as it comes.  `{NEAREST}`: each spot and its six nearest, of these edges as "
        f"many as were learnt, the shortest.  `{SHORTEST}`: the shortest of the candidate edges of the learner, to 18 "
        f"spots.  `{ALIKE}`: of the same, those between the spots most alike in averaged expression.  All keep an edge "
        f"for each spot.  Mean ± SD over {rows['seed'].nunique()} seeds, then differences.  Weights of the reward were "
        "chosen on osmFISH, STARmap and DLPFC 151510.",
        by_method(shares, "homophily"),
        paired(shares, [NEAREST, SHORTEST, ALIKE], method=LEARNED, value="homophily"),
    ) + section(
        "Edges",
        "Mean degree, that of all six nearest, what training added to the reward, and seconds of training.",
        edges.round(3),
    )


if __name__ == "__main__":
    sys.exit(main())
