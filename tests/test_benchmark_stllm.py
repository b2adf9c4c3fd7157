"""The benchmarks of STLLMClusterer and of the learnt graph: measures against plain loops, tables of small runs."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from test_benchmarks import STAMP, cells_of, simulated  # which also finds the benchmarks, or skips

from skst import GeneTextEncoder, STLLMClusterer
from skst.graph import spatial_graph

import harness  # isort: skip
import learned_graph  # isort: skip
import stllm  # isort: skip
import stllm_cost  # isort: skip
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


def test_controls_of_texts_are_of_the_smaller_tissues():
    data = ["STARmap", "DLPFC 151673"]
    rows = [
        {"data": name, "method": method, "seed": seed, "ari": 0.5 + 0.01 * place, "nmi": 0.4, "seconds": 1.0}
        for name in data
        for place, method in enumerate(stllm.FACTORIES)
        for seed in range(5)
    ]
    report = stllm.report(pd.DataFrame(rows))
    for table, compared in stllm.TABLES.items():
        header, _, *lines = cells_of(report, table)
        assert header == ["data", *compared]
        assert [line[0] for line in lines[:2]] == (data if table not in stllm.ONLY else [data[0], "data"])
        n_seeds = 5 if table == "Domains" else 3
        assert f"Seeds: {n_seeds}." in report.split(f"## {table}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("name", ["nonsense, alone", "learned, composed spots, regions", "w/o region"])
def test_methods_differ_by_what_they_are_called(name):
    control, graph = {"nonsense, alone": ("unrelated", "knn"), "w/o region": (None, "knn")}.get(name, (None, "learned"))
    model = stllm.FACTORIES[name](3, 1)
    assert (model.text and model.text.control) == control and model.graph == graph and model.random_state == 1
    assert (model.alpha == 0) == ("alone" in name) and ("region" in model.levels) == (name != "w/o region")


def test_cost_of_reading_is_measured_once(tmp_path, monkeypatch):
    patches = {
        "GeneTextEncoder": partial(GeneTextEncoder, model="lexical"),
        "STLLMClusterer": partial(STLLMClusterer, n_regions=5, clusterer="kmeans"),
        "run_apart": lambda function, tasks: ((task, function(task)) for task in tasks),
        "limit": lambda *_: None,
        "SPATIAL": {"simulated": simulated()},
        "provenance": lambda: STAMP,
    }
    for name, value in patches.items():
        monkeypatch.setattr(stllm_cost, name, value)
    arguments = ["--data", "simulated", "--sizes", "150", "--output", str(tmp_path)]
    assert stllm_cost.main(arguments) == 0
    before = (tmp_path / "stllm_cost.csv").read_bytes()
    report = (tmp_path / "stllm_cost.md").read_text("utf-8")
    rows = pd.read_csv(tmp_path / "stllm_cost.csv").set_index(["what", "k_g", "level"]).sort_index()
    spots = rows.loc["simulated", 3, "spot"]
    header, _, line = cells_of(report, "Texts that repeat")
    assert line[header.index("spot, k_g=3")] == f"{1 - spots['distinct'] / spots['texts']:.1%}"
    header, _, line = cells_of(report, "Seconds of a fit")
    told = rows.loc["150 first", 10].drop("fit")
    assert line[:2] == ["150", str(int(told["distinct"].sum()))]
    assert rows.loc["150 second", 10]["read"].dropna().eq(0).all(), "all is in the cache"
    assert stllm_cost.main(arguments) == 0 and (tmp_path / "stllm_cost.csv").read_bytes() == before


def test_tables_share_their_runs():
    tables = {"main": {"a": 1, "b": 2}, "part": {"b": 2, "c": 3}}
    data = {"X": simulated(), "Y": simulated()}
    arguments = harness.tables_parser("", tables, data, "4 or 3").parse_args([])
    runs = harness.runs_of_tables(arguments, tables, data, seeds={"main": 4}, only={"part": ["X"]})
    found = sorted(tuple(run.names.values()) for run in runs)
    main = [(name, method, seed) for name in "XY" for method in "ab" for seed in range(4)]
    assert found == sorted([*main, *(("X", "c", seed) for seed in range(3))])
    assert all(run.factory == "_abc".index(run.names["method"]) for run in runs)
    few = harness.tables_parser("", tables, data, "4 or 3").parse_args(["--table", "part", "--seeds", "1"])
    assert len(harness.runs_of_tables(few, tables, data, seeds={"main": 4}, only={"part": ["X"]})) == 2
