"""The benchmark of the learnt graph: its measure and the graphs it compares with, against plain loops."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from test_benchmarks import cells_of, simulated  # which also finds the benchmarks, or skips

from skst.graph import spatial_graph

import learned_graph  # isort: skip
from harness import Run  # isort: skip

LABELS = pd.Series(["a", "a", "b", None, "b", "a"], dtype="category")


def test_homophily_counts_edges_between_labelled_spots():
    graph = sparse.coo_array((np.ones(4), ([0, 0, 2, 3], [1, 2, 4, 5])), shape=(6, 6))
    assert learned_graph.homophily(graph, LABELS) == pytest.approx(2 / 3)  # the edge 3-5 does not count


@pytest.mark.parametrize("n_edges", [25, 40, 60])
def test_each_spot_keeps_its_best_edge_and_the_best_of_all_follow(n_edges):
    points = np.random.default_rng(0).random((30, 2))
    candidates = spatial_graph(points, n_neighbors=8)

    def distance(i, j):
        return np.linalg.norm(points[i] - points[j], axis=1)

    graph = learned_graph.first_edges(candidates, distance, n_edges)
    chosen = {tuple(sorted(edge)) for edge in zip(*graph.coords, strict=True)}
    ends = np.array(sparse.triu(candidates, format="coo").coords)
    lengths = {tuple(edge): distance(edge[:1], edge[1:])[0] for edge in ends.T}
    best = {min((edge for edge in lengths if spot in edge), key=lengths.get) for spot in range(30)}
    others = sorted((edge for edge in lengths if edge not in best), key=lengths.get)
    assert len(best) < 25 and chosen == best | set(others[: n_edges - len(best)])


def test_a_report_of_a_run():
    row = learned_graph.execute(Run({"data": "osmFISH", "method": "learned", "seed": 0}, simulated(150), None))
    report = learned_graph.report(pd.DataFrame([row]))
    header, _, line, *_ = cells_of(report, "Homophily")
    assert header == ["data", "learned", "nearest", "shortest", "most alike"]
    assert line == ["osmFISH", *(f"{row[name]:.3f}" for name in header[1:])]
    assert row["degree"] == 6
