"""What the runner of the benchmarks promises: nothing is run twice, failures are told, memory is that of one run."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are not part of this installation", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from benchmarks import __main__ as command  # noqa: E402
from benchmarks import pages, processes, records, runner  # noqa: E402
from benchmarks.data import DataSet, read, read_tissue, write_tissue  # noqa: E402
from benchmarks.declare import Benchmark, Run  # noqa: E402
from benchmarks.methods import factories, fusion  # noqa: E402
from benchmarks.tables.stllm import COMPARED  # noqa: E402
from skst.datasets import make_spatial_domains  # noqa: E402

STAMP = {"date": "2025-01-01", "version": "1.0", "commit": "abc", "code": "def"}


def tissue():
    return make_spatial_domains(120, n_genes=60, n_domains=3, effect=4.0, random_state=0)


def absent():
    raise OSError("not in the data home")


def expression(k, seed, normalize):
    return fusion(k, seed, strategy="expression")


def broken(k, seed, normalize):
    raise ArithmeticError("this method never works")


@pytest.fixture
def module(monkeypatch):
    """A benchmark of one tissue and two methods that read no text, with the page of another."""
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    monkeypatch.setattr("benchmarks.declare.TEXT_FREE", {"expression", "again", "broken"})
    axes = {"data": {"simulated": DataSet(tissue)}, "method": {"expression": expression, "again": expression}}
    found = command.module_of("accuracy")
    return SimpleNamespace(**{**vars(found), "BENCHMARK": replace(found.BENCHMARK, axes=axes)})


def test_a_command_goes_on_where_it_stopped(module, tmp_path, capsys):
    options = ["--seeds", "1", "--jobs", "2", "--output", str(tmp_path)]
    assert runner.run("accuracy", module, [*options, "--method", "expression"]) == 0
    first = pd.read_csv(tmp_path / "accuracy.csv")
    assert runner.run("accuracy", module, options) == 0
    rows = pd.read_csv(tmp_path / "accuracy.csv")
    assert rows["method"].tolist() == ["expression", "again"] and rows["ari"].nunique() == 1
    pd.testing.assert_frame_equal(rows.head(1), first)
    assert (rows["ari"] > 0.5).all() and (rows["k"] == 3).all() and (rows["n_spots"] == 120).all()

    before = (tmp_path / "accuracy.csv").read_bytes()
    capsys.readouterr()
    assert runner.run("accuracy", module, options) == 0
    assert (tmp_path / "accuracy.csv").read_bytes() == before and capsys.readouterr().out == ""

    assert runner.run("accuracy", module, [*options, "--method", "again", "--fresh"]) == 0
    assert pd.read_csv(tmp_path / "accuracy.csv")["method"].tolist() == ["again"]


def test_the_head_of_a_page_tells_what_made_it(module, tmp_path):
    options = ["--seeds", "1", "--method", "expression", "--output", str(tmp_path)]
    assert runner.run("accuracy", module, options) == 0
    head = (tmp_path / "accuracy.md").read_text("utf-8").split("\n## ")[0]
    stamp = records.provenance()
    assert head.startswith("# Accuracy\n")
    assert f"- Command: `python -m benchmarks accuracy --seeds 1 --method expression --output {tmp_path}`" in head
    assert f"commit {stamp['commit']}, code {stamp['code']}, {stamp['date']}" in head and len(stamp["code"]) == 12
    assert f"numpy {np.__version__}, " in head and "scikit-learn " in head and " cores, " in head


def test_what_fails_or_is_absent_does_not_stop_the_rest(module, tmp_path, capsys):
    data = {"absent": DataSet(absent), "simulated": DataSet(tissue)}
    axes = {"data": data, "method": {"broken": broken, "expression": expression}}
    module.BENCHMARK = replace(module.BENCHMARK, axes=axes)
    options = ["--seeds", "1", "--output", str(tmp_path)]
    assert runner.run("accuracy", module, options) == 1
    said = capsys.readouterr().out
    assert "absent is left out: not in the data home" in said
    assert "simulated, broken, 0 FAILED" in said and "ArithmeticError: this method never works" in said
    assert pd.read_csv(tmp_path / "accuracy.csv")["method"].tolist() == ["expression"]
    assert runner.run("accuracy", module, options) == 1, "a failed run is tried again"
    assert capsys.readouterr().out.count("FAILED") == 1


def take(run):
    block = np.ones(run.settings["mib"] * 2**17)  # of 8 bytes
    return {"mib": run.settings["mib"], "peak_mib": processes.peak_mib(), "sum": block[:: 2**16].sum()}


def test_peak_memory_is_that_of_one_run():
    runs = [Run({"number": i}, (take,), settings={"mib": mib}) for i, mib in enumerate((300, 1, 300))]
    peaks = {run.names["number"]: rows[0]["peak_mib"] for run, rows in runner._results(runs, 1, None)}
    assert peaks[0] - peaks[1] > 250, "a small run after a large one has a small peak"
    assert abs(peaks[0] - peaks[2]) < 50


def wait_for_ever(run):
    signal.pause()


def take_more(run):
    np.ones(2**28)


def die(run):
    os._exit(3)


@pytest.mark.parametrize(
    ("step", "limits", "outcome"), [(wait_for_ever, (1, 100), "over 0 minutes"), (take_more, (60, 1), "over 1 GiB")]
)
def test_a_run_that_is_ended_for_its_cost_has_a_row(step, limits, outcome):
    run = Run({"number": 0}, (step,), known={"outcome": "done", "published": ""}, limits=limits)
    assert runner.carry_out(run, processes.call_apart) == [{"number": 0, "outcome": outcome, "published": ""}]
    found = runner.carry_out(replace(run, known={}), processes.call_apart)
    assert isinstance(found, processes.Ended), "where no outcome is told, it has failed"
    killed = processes._death(-signal.SIGKILL, limits)
    assert str(killed) == "killed for its memory" and not isinstance(processes._death(-9, None), processes.Ended)


def test_a_process_that_dies_fails_alone():
    runs = [Run({"number": 0}, (die,)), Run({"number": 1}, (take,), settings={"mib": 1})]
    found = {run.names["number"]: rows for run, rows in runner._results(runs, 2, None)}
    assert "exit code 3" in str(found[0]) and found[1][0]["mib"] == 1


def count(run):
    adata, truth = read_tissue(run)
    assert "label" not in adata.obs
    return {"n_spots": adata.n_obs, "k": truth.nunique()}


def test_steps_leave_what_later_ones_read():
    run = Run({"size": 50}, (write_tissue, count), settings={"size": 50})
    assert runner.carry_out(run, processes.call_apart) == [{"size": 50, "n_spots": 50, "k": 7}]


def test_methods_never_see_labels():
    adata, truth = read(DataSet(tissue))
    assert "label" not in adata.obs and truth.nunique() == 3


def test_rows_of_other_code_do_not_count_but_stay(tmp_path):
    path = tmp_path / "runs.csv"
    records.append(path, [{"ari": 0.5, **STAMP}])
    records.append(path, [{"ari": 0.1, **STAMP, "code": "older"}, {"ari": 0.2, **STAMP, "code": records.PUBLISHED}])
    assert records.current_rows(path, STAMP)["ari"].tolist() == [0.5, 0.2]
    records.append(path, [{"nmi": 0.25, **STAMP}])
    rows = pd.read_csv(path)
    assert rows["ari"].tolist()[:3] == [0.5, 0.1, 0.2] and rows["nmi"].tolist()[3] == 0.25
    assert records.current_rows(tmp_path / "none.csv").empty


def test_runs_of_earlier_code_are_shown_on_demand(module, tmp_path):
    options = ["--seeds", "1", "--output", str(tmp_path)]
    assert runner.run("accuracy", module, [*options, "--method", "again"]) == 0
    rows = pd.read_csv(tmp_path / "accuracy.csv", dtype=str)
    earlier = [
        rows.assign(method=method, code="f" * 12, commit="0ld", ari="-0.25") for method in ("expression", "again")
    ]
    pd.concat([*earlier, rows]).to_csv(tmp_path / "accuracy.csv", index=False)
    assert runner.run("accuracy", module, [*options, "--method", "again"]) == 0
    assert "expression" not in (tmp_path / "accuracy.md").read_text("utf-8")
    assert runner.run("accuracy", module, [*options, "--method", "again", "--earlier"]) == 0
    page = (tmp_path / "accuracy.md").read_text("utf-8")
    assert "0ld" in page and "expression" in page and page.count("-0.25") == 1


def test_tables_of_one_estimator_share_their_runs():
    options = runner.parser_of("stllm", COMPARED.declare(question="")).parse_args([])
    names = [tuple(run.names.values()) for run in COMPARED.runs(options)]
    assert len(set(names)) == len(names)
    seeds = {(data, method): sum(name[:2] == (data, method) for name in names) for data, method, _ in names}
    assert seeds["DLPFC 151507", "no text"] == 5 and seeds["DLPFC 151507", "composed spots"] == 3
    assert ("DLPFC 151507", "nonsense") not in seeds and seeds["STARmap", "nonsense"] == 3
    assert {method for _, method in seeds} == set(factories(COMPARED.tables))


def two_seeds():
    ari = {("A", "SpaLLMFusion"): [0.5, 0.7], ("A", "expression"): [0.4, 0.7], ("B", "SpaLLMFusion"): [0.2, 0.2]}
    return pd.DataFrame(
        [
            {"data": data, "method": method, "seed": seed, "ari": value}
            for (data, method), values in ari.items()
            for seed, value in enumerate(values)
        ]
    )


def test_tables_of_means_and_paired_differences():
    table = pages.by_method(two_seeds(), "ari")
    assert table.loc["A"].tolist() == ["0.600 ± 0.141", "0.550 ± 0.212"]
    assert pd.isna(table.loc["B", "expression"]) and list(table.index) == ["A", "B"]
    paired = pages.paired(two_seeds(), ["expression", "text permuted"])
    assert list(paired.columns) == ["minus expression"]
    # by seed: 0.1 and 0.0, which the means alone could not tell
    assert paired.loc["A", "minus expression"] == "+0.050 ± 0.071"
    assert pages.paired(two_seeds(), ["text permuted"]).empty
    more = pd.concat([two_seeds(), two_seeds().query("data == 'A'").assign(data="C", ari=0.1)])
    assert pages.by_method(more, "ari").loc["mean of 2"].tolist() == ["0.350", "0.325"], "rows that all methods have"


def test_markdown_is_padded_and_shows_gaps():
    text = pages.markdown(pd.DataFrame({"a long name": ["1", None]}, index=pd.Index(["x", "yy"], name="data")))
    lines = text.splitlines()
    assert len({len(line) for line in lines}) == 1 and set(lines[1]) == set("| -:")
    assert lines[3].split() == ["|", "yy", "|", "-", "|"]


def test_the_command_lists_all_and_knows_what_it_has_not(capsys):
    assert command.main(["--list"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == command.NAMES and len(said) == 30
    assert command.main(["no_such"]) == 2
    assert "NAME='no_such' is not one of accuracy, " in capsys.readouterr().err


def test_the_same_runs_on_a_dask_cluster(module, tmp_path):
    distributed = pytest.importorskip("distributed")
    options = ["--seeds", "2", "--method", "expression", "--output", str(tmp_path)]
    found = []
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        for where in (["--dask", cluster.scheduler_address], []):
            assert runner.run("accuracy", module, [*options, *where, "--fresh"]) == 0
            found.append(pd.read_csv(tmp_path / "accuracy.csv").sort_values("seed")["ari"].tolist())
    assert found[0] == found[1] and len(found[0]) == 2


def test_a_benchmark_without_seeds_or_methods_is_a_grid_too():
    benchmark = Benchmark(question="", axes={"data": {"a": 1, "b": 2}}, steps=(take,), kept=False)
    runs = benchmark.grid(SimpleNamespace(data=["b"]))
    assert [(run.names, run.data, run.reads, run.kept) for run in runs] == [({"data": "b"}, 2, False, False)]
