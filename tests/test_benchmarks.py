"""The benchmarks: what they run, what they write down, and what they do not run twice."""

import os
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skst import GeneTextEncoder, SpaLLMFusion
from skst.datasets import make_spatial_domains

FOLDER = Path(__file__).parents[1] / "benchmarks"
if not FOLDER.is_dir():
    pytest.skip("the benchmarks are not part of this installation", allow_module_level=True)
sys.path.insert(0, str(FOLDER))

import accuracy  # noqa: E402
import harness  # noqa: E402
import methods  # noqa: E402
import processes  # noqa: E402
import published_semst  # noqa: E402
import quality  # noqa: E402
import records  # noqa: E402
import scale  # noqa: E402
import search  # noqa: E402
import semst_cost  # noqa: E402
import tables  # noqa: E402

COLUMNS = {"data", "method", "seed", "k", "ari", "nmi", "acc", "macro_f1", "agreement", "seconds", "peak_mib"}
STAMP = {"date": "2025-01-01", "version": "1.0", "commit": "abc", "code": "def"}


def simulated(n_samples=200):
    return methods.DataSet(
        partial(make_spatial_domains, n_samples, n_genes=60, n_domains=3, effect=4.0, random_state=0)
    )


@pytest.fixture
def small(monkeypatch, tmp_path):
    """One simulated data set and two methods; caches and results in a folder of the test."""
    monkeypatch.setenv("SKST_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    lexical = partial(methods.fusion, text={"model": "lexical"})
    compared = {"expression": methods.METHODS["expression"], "SpaLLMFusion": lexical}
    monkeypatch.setattr(accuracy, "DATA", {"simulated": simulated()})
    monkeypatch.setattr(accuracy, "METHODS", compared)
    # The language model of the default need not be installed here.
    monkeypatch.setattr(harness, "TEXT_FREE", set(compared))
    return tmp_path


def cells_of(report, title):
    """Rows of the first table of a section, as lists of cells."""
    section = report.split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_accuracy_is_run_once_and_written_down(small, capsys):
    arguments = ["--seeds", "1", "--output", str(small), "--jobs", "1"]
    assert accuracy.main(arguments) == 0
    rows = pd.read_csv(small / "accuracy.csv")
    assert set(rows.columns) >= COLUMNS | set(records.provenance())
    assert sorted(rows["method"]) == ["SpaLLMFusion", "expression"]
    assert (rows["k"] == 3).all() and (rows["n_spots"] == 200).all()
    assert (rows["ari"] > 0.5).all(), "domains this distinct are found"
    assert (rows["peak_mib"] > 30).all() and (rows["seconds"] > 0).all()
    assert rows.set_index("method")["text_model"].to_dict() == {
        "SpaLLMFusion": "lexical",
        "expression": pytest.approx(np.nan, nan_ok=True),
    }

    report = (small / "accuracy.md").read_text("utf-8")
    header, _, line, *_ = cells_of(report, "Adjusted Rand index")
    assert header == ["data", "expression", "SpaLLMFusion"]
    ari = rows.set_index("method")["ari"]
    assert line == ["simulated", f"{ari['expression']:.3f}", f"{ari['SpaLLMFusion']:.3f}"]
    header, _, line, *_ = cells_of(report, "Does the text help?")
    assert header == ["data", "minus expression"]
    assert float(line[1]) == pytest.approx(ari["SpaLLMFusion"] - ari["expression"], abs=6e-4)
    assert f"python benchmarks/accuracy.py --seeds 1 --output {small}" in report

    before = (small / "accuracy.csv").read_bytes()
    capsys.readouterr()
    assert accuracy.main(arguments) == 0
    assert "ARI" not in capsys.readouterr().out, "nothing is left to run"
    assert (small / "accuracy.csv").read_bytes() == before

    assert accuracy.main([*arguments, "--method", "expression", "--fresh"]) == 0
    again = pd.read_csv(small / "accuracy.csv")
    assert again["method"].tolist() == ["expression"]
    assert again["ari"][0] == ari["expression"], "the same seed gives the same domains"


def broken_factory(k, seed, normalize):
    raise ArithmeticError("this method never works")


def broken_load():
    raise OSError("not in the data home")


def test_what_fails_or_is_absent_does_not_stop_the_rest(small, monkeypatch, capsys):
    monkeypatch.setattr(accuracy, "DATA", {"absent": methods.DataSet(broken_load), "simulated": simulated()})
    monkeypatch.setattr(accuracy, "METHODS", {"broken": broken_factory, "expression": methods.METHODS["expression"]})
    monkeypatch.setattr(harness, "TEXT_FREE", {"broken", "expression"})
    arguments = ["--seeds", "1", "--output", str(small)]
    assert accuracy.main(arguments) == 1
    said = capsys.readouterr().out
    assert "absent is left out: not in the data home" in said
    assert "ArithmeticError: this method never works" in said
    assert pd.read_csv(small / "accuracy.csv")["method"].tolist() == ["expression"]
    assert accuracy.main(arguments) == 1, "a failed run is tried again"


def die(_):
    os._exit(3)


def identity(value):
    return value, os.getpid()


def test_calls_have_processes_of_their_own_and_may_die():
    results = dict(processes.run_apart(identity, range(5), jobs=2))
    assert {argument: value for argument, (value, _) in results.items()} == {i: i for i in range(5)}
    assert len({pid for _, pid in results.values()} | {os.getpid()}) == 6
    ((_, result),) = processes.run_apart(die, [None])
    assert isinstance(result, RuntimeError) and "exit code 3" in str(result)


def test_methods_never_see_labels():
    adata, truth = harness.read(simulated())
    assert "label" not in adata.obs and truth.nunique() == 3


def test_rows_of_other_code_do_not_count(tmp_path):
    path = tmp_path / "runs.csv"
    records.append(path, {"ari": 0.5, **STAMP})
    records.append(path, {"ari": 0.1, **STAMP, "code": "older"})
    assert records.current_rows(path, STAMP)["ari"].tolist() == [0.5]
    assert len(pd.read_csv(path)) == 2


@pytest.mark.parametrize("name", methods.METHODS)
@pytest.mark.parametrize("normalize", [True, False])
def test_methods_follow_k_the_seed_and_the_data(name, normalize):
    model = methods.METHODS[name](4, 17, normalize)
    parameters = model.get_params()
    counts = {v for key, v in parameters.items() if key.endswith("n_clusters") and v is not None}
    assert counts == {4}
    seeds = {v for key, v in parameters.items() if key.endswith("random_state") and v is not None}
    assert seeds == {17}
    if getattr(model, "text", None) is not None and model.text.control is not None:
        assert model.text.random_state == 17
    normalized = [v for key, v in parameters.items() if key.endswith("__normalize")]
    assert normalize or (normalized and not any(normalized)) or name == "PCA + k-means"


@pytest.mark.parametrize("name", ["text permuted", "text Gaussian"])
def test_controls_differ_from_the_default_in_the_control_alone(name):
    control = methods.METHODS[name](4, 0, True)
    default = methods.METHODS["SpaLLMFusion"](4, 0, True)
    assert repr(control.set_params(text=None)) == repr(default) == repr(SpaLLMFusion(n_clusters=4, random_state=0))
    text = methods.METHODS[name](4, 0, True).text
    changed = {k for k, v in text.get_params().items() if v != GeneTextEncoder().get_params()[k]}
    assert changed == {"control", "random_state"}


def test_scaled_genes_even_out_depth_and_drop_the_rare():
    adata = make_spatial_domains(90, n_genes=40, n_domains=2, random_state=0)
    deeper, rare = adata.copy(), adata.copy()
    deeper.X = deeper.X.multiply(np.arange(1, 91)[:, None]).tocsr()
    X = methods.scaled_genes(adata)
    np.testing.assert_allclose(methods.scaled_genes(deeper), X, atol=1e-4)
    assert X.shape == (90, 40) and X.max() <= 10
    few = rare.X.tolil()
    few[:, 5] = 0
    few[:2, 5] = 1
    rare.X = few.tocsr()
    assert methods.scaled_genes(rare).shape == (90, 39)


def test_genes_are_chosen_among_those_of_like_mean():
    rng = np.random.default_rng(0)
    mean = np.repeat([0.5, 50.0], 100)
    X = rng.poisson(mean, (400, 200)).astype(float)
    # Weak genes that vary, which the variance of the strong ones, that do not, would hide.
    X[:, :5] = rng.poisson(0.5 * rng.gamma(0.5, 2.0, (400, 5)))
    assert set(np.argsort(-methods.relative_dispersion(X))[:5]) == set(range(5))
    assert not set(np.argsort(-X.var(axis=0))[:5]) & set(range(5))


def test_the_floor_is_as_hard_as_the_usual_pipeline():
    if harness.at_hand([harness.Run({"data": "Baron"}, methods.DATA["Baron mouse"], None)]) == []:
        pytest.skip("the data home has no Baron mouse")
    names = {"data": "Baron mouse", "method": "PCA + k-means", "seed": 0}
    run = harness.Run(names, methods.DATA["Baron mouse"], methods.METHODS["PCA + k-means"])
    assert harness.execute(run)["ari"] > 0.75


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
    table = tables.by_method(two_seeds(), "ari")
    assert table.loc["A"].tolist() == ["0.600 ± 0.141", "0.550 ± 0.212"]
    assert pd.isna(table.loc["B", "expression"]) and list(table.index) == ["A", "B"]
    paired = tables.paired(two_seeds(), ["expression", "text permuted"])
    assert list(paired.columns) == ["minus expression"]
    # by seed: 0.1 and 0.0, which the means alone could not tell
    assert paired.loc["A", "minus expression"] == "+0.050 ± 0.071"
    assert paired.loc["mean over rows", "minus expression"] == "+0.050"
    assert tables.paired(two_seeds(), ["text permuted"]).empty


def test_mean_row_is_over_rows_that_all_methods_have():
    rows = pd.concat([two_seeds(), two_seeds().query("data == 'A'").assign(data="C", ari=0.1)])
    table = tables.by_method(rows, "ari")
    assert table.loc["mean of 2"].tolist() == ["0.350", "0.325"]


def test_markdown_is_padded_and_shows_gaps():
    text = tables.markdown(pd.DataFrame({"a long name": ["1", None]}, index=pd.Index(["x", "yy"], name="data")))
    lines = text.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert re.fullmatch(r"\| -+ \| -+: \|", lines[1])
    assert lines[3].split() == ["|", "yy", "|", "-", "|"]


def test_quality_masks_more_at_each_level(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(quality, "run_all", lambda runs, *_, **__: (seen.extend(runs), (pd.DataFrame(), []))[1])
    assert quality.main(["--seeds", "2", "--data", "osmFISH", "--output", str(tmp_path)]) == 0
    masked = {run.names["quality"]: run.masked for run in seen}
    assert masked == {"Q0": 0, "Q1": 0.5, "Q2": 0.75, "Q3": 0.875, "Q4": 0.9375}
    assert len(seen) == 5 * len(quality.COMPARED) * 2 and len({tuple(run.names.values()) for run in seen}) == len(seen)


def test_masked_runs_see_fewer_counts_and_another_mask_for_each_seed(monkeypatch):
    seen = {}

    class Watcher:
        def __init__(self, k, seed, normalize):
            self.seed = seed

        def fit_predict(self, adata):
            seen[self.seed] = adata.X.toarray() > 0
            return np.zeros(adata.n_obs, dtype=int)

    whole = simulated().load().X.nnz
    for seed in (0, 1):
        names = {"data": "simulated", "quality": "Q2", "method": "watcher", "seed": seed}
        assert harness.execute(harness.Run(names, simulated(), Watcher, 0.75))["ari"] == 0
    assert all(mask.sum() == whole - round(0.75 * whole) for mask in seen.values())
    assert not np.array_equal(seen[0], seen[1])


def stages():
    return pd.DataFrame(
        [
            {"n_spots": size, "stage": stage, "seconds": size / 1e3, "peak_mib": 300, "data_mib": 200, "ari": 0.9}
            for size in (100, 1000)
            for stage in ("text", "SpaLLMFusion.fit")
        ]
    )


def test_scale_reports_and_draws_each_size(tmp_path):
    lines = cells_of("\n" + scale.report(stages()), "Seconds")
    assert lines[0] == ["cells", "text", "SpaLLMFusion.fit", "ARI"]
    assert [line[0] for line in lines[2:]] == ["100", "1000"]
    assert lines[3][1:] == ["1.0", "1.0", "0.9"]
    assert cells_of("\n" + scale.report(stages()), "Peak memory")[2] == ["100", "200", "300", "300"]
    scale.draw(stages(), tmp_path / "scale.png")
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_a_stage_of_scale_reads_what_earlier_ones_left(tmp_path):
    adata = simulated(300).load()
    del adata.uns["truth"]
    adata.write_h5ad(tmp_path / "tissue.h5ad")
    row = scale.smooth(tmp_path)
    assert row["n_spots"] == 300 and np.isnan(row["ari"])
    assert row["peak_mib"] >= row["data_mib"] > 30
    embedding = np.load(tmp_path / "smooth.npy")
    assert embedding.shape == (300, 20)
    np.save(tmp_path / "text.npy", np.random.default_rng(0).standard_normal((300, 30)))
    assert scale.fuse(tmp_path)["ari"] > 0, "the domains that it finds are scored"


def test_search_counts_what_the_memory_gave(tmp_path):
    adata = make_spatial_domains(120, n_genes=60, n_domains=3, n_slices=2, random_state=0)
    text = GeneTextEncoder(model="lexical", mode="prompt")
    model = SpaLLMFusion(text=text, n_clusters=3, batch_key="batch", memory=str(tmp_path / "memory"), random_state=0)
    row, best = search.search(adata, model, {"beta": [0.1, 0.5], "text__k_g": [2, 4]}, search.NoSplit(), 1)
    assert row["fits"] == 4 and set(best) == {"beta", "text__k_g"}
    # one spatial embedding and one text embedding for each k_g had to be made
    assert row["spatial from cache"] == 3 and row["text from cache"] == 2
    assert 2 <= row["texts encoded"] <= 2 * 121
    row, _ = search.search(adata, model.set_params(text__k_g=4), {"beta": [0.2, 0.9, 1.0]}, search.NoSplit(), 1)
    assert row["spatial from cache"] == row["text from cache"] == row["fits"] == 3
    assert row["texts encoded"] == 0


def test_cost_of_epochs_is_measured_once(small, monkeypatch):
    kept = {name: semst_cost.EPOCHS[name] for name in (semst_cost.PUBLISHED, semst_cost.DEFAULT)}
    monkeypatch.setattr(semst_cost, "EPOCHS", kept)
    arguments = ["--peer-sizes", "150", "--sizes", "--epochs", "2", "--output", str(small)]
    assert semst_cost.main(arguments) == 0
    rows = pd.read_csv(small / "semst_cost.csv")
    assert rows["stage"].tolist() == [semst_cost.DEFAULT], "the published code is not at hand"
    assert (rows["seconds"] > 0).all() and (rows["peak_mib"] > rows["data_mib"]).all()
    header, _, line = cells_of((small / "semst_cost.md").read_text("utf-8"), "One epoch beside the published code")
    assert header == ["cells", semst_cost.DEFAULT]
    assert line == ["150", f"{rows['seconds'][0]:.3f}"]
    before = (small / "semst_cost.csv").read_bytes()
    assert semst_cost.main(arguments) == 0
    assert (small / "semst_cost.csv").read_bytes() == before


def costs(outcomes, stages, size=5000):
    return pd.DataFrame(
        {
            "n_spots": size,
            "stage": stages,
            "seconds": [1.5 if outcome == "done" else np.nan for outcome in outcomes],
            "peak_mib": [700 if outcome == "done" else np.nan for outcome in outcomes],
            "data_mib": 200,
            "ari": 0.9,
            "outcome": outcomes,
            "published": "abc",
        }
    )


def test_cost_says_what_became_of_a_run_that_was_ended():
    rows = costs([semst_cost.TOO_LARGE, "done"], [semst_cost.PUBLISHED, semst_cost.DEFAULT])
    report = "\n" + semst_cost.report(pd.concat([rows, costs(["done"] * 2, list(semst_cost.WHOLE), 10_000)]))
    assert cells_of(report, "One epoch beside the published code")[2] == ["5000", "over 16 GiB", "1.500"]
    assert cells_of(report, "Peak memory beside the published code")[2] == ["5000", "over 16 GiB", "700"]
    assert cells_of(report, "Whole fit")[2] == ["10000", "1.500", "1.500", "0.9"]
    assert cells_of(report, "Peak memory of a whole fit")[2] == ["10000", "200", "700", "700"]


def ended_by(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "outcome"), [(14, semst_cost.TOO_LONG), (9, "killed for its memory"), (11, None)], ids=str
)
def test_cost_tells_limits_from_faults(number, outcome, tmp_path):
    job = semst_cost.Job(semst_cost.DEFAULT, tmp_path / "5000", None)
    ((_, error),) = processes.run_apart(ended_by, [number])
    row = semst_cost._ended(job, error)
    assert row is error if outcome is None else row["outcome"] == outcome
    assert semst_cost._ended(job._replace(stage=semst_cost.FIT), error) is error, "whole fits have no limits"


def test_published_code_sees_scaled_expression_and_must_be_there(tmp_path):
    adata = simulated().load()
    X = published_semst._scaled(adata.X)
    assert X.dtype == np.float32 and X.max() <= 10
    unclipped = (X < 10).all(axis=0)
    np.testing.assert_allclose(X[:, unclipped].std(axis=0, ddof=1), 1, rtol=1e-4)
    deeper = adata.X.multiply(np.arange(1, 201)[:, None]).tocsr()
    np.testing.assert_allclose(published_semst._scaled(deeper), X, rtol=1e-4)
    with pytest.raises(FileNotFoundError, match="checkout of longjiangk/SemST"):
        published_semst.published_epochs(tmp_path, adata, None, 2)
