"""The benchmark that repeats SpaLLM's study: its units, its claims, and the clusters it runs on."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skst.datasets import make_spatial_domains

FOLDER = Path(__file__).parents[1] / "benchmarks"
if not FOLDER.is_dir():
    pytest.skip("the benchmarks are not part of this installation", allow_module_level=True)
sys.path.insert(0, str(FOLDER))

import methods  # noqa: E402
import study  # noqa: E402


@pytest.fixture
def small(monkeypatch, tmp_path, bare_home):
    """One simulated tissue, averaging alone, four variants."""
    monkeypatch.setenv("SKST_CACHE_HOME", str(tmp_path / "cache"))
    data = methods.DataSet(partial(make_spatial_domains, 200, n_genes=60, n_domains=3, effect=4.0, random_state=0))
    monkeypatch.setattr(study, "DATA", {"osmFISH": data})
    monkeypatch.setattr(study, "REGION_SIZE", 80)
    lexical = {"model": "lexical"}
    variants = {
        "expression": {"strategy": "expression"},
        "SpaLLM": {"text": lexical},
        "permuted": {"text": {**lexical, "control": "permuted"}},
        "Gaussian": {"text": {**lexical, "control": "gaussian"}},
    }
    monkeypatch.setattr(study, "VARIANTS", variants)
    monkeypatch.setattr(study, "PLUGGED", {})
    return tmp_path


@pytest.fixture
def smaller(small, monkeypatch):
    """The same with two variants, and without the claims, which are about all."""
    monkeypatch.setattr(study, "VARIANTS", {name: study.VARIANTS[name] for name in ("expression", "SpaLLM")})
    monkeypatch.setattr(study, "claims", lambda rows: {})
    return small


def _arguments(folder, *more, quality=("Q0", "Q3")):
    fixed = ["--seeds", "1", "--encoder", "smooth", "--no-regions", "--output", str(folder)]
    return [*fixed, "--quality", *quality, *more]


def test_each_encoder_is_trained_once_and_each_unit_run_once(small, capsys):
    assert study.main(_arguments(small, "--jobs", "1")) == 0
    rows = pd.read_csv(small / "study.csv")
    assert len(rows) == 8 and set(rows["method"]) == set(study.VARIANTS)
    assert rows.groupby("quality")["trained"].sum().tolist() == [1, 1]
    assert (rows.loc[rows["quality"] == "Q0", "ari"] > 0.5).all()
    assert (small / "study.png").stat().st_size > 5000
    report = (small / "study.md").read_text("utf-8")
    ari = rows.set_index(["quality", "method"])["ari"]
    assert f"{ari['Q3', 'permuted']:.3f}" in report.split("## Each tissue and level")[1]

    before = (small / "study.csv").read_bytes()
    capsys.readouterr()
    assert study.main(_arguments(small, "--jobs", "1")) == 0
    assert (small / "study.csv").read_bytes() == before and "smooth" not in capsys.readouterr().out


def test_text_that_modulates_is_run_at_full_quality(smaller, monkeypatch):
    prompts = {"mode": "prompt", "model": "lexical", "k_g": 5, "random_state": 0}
    monkeypatch.setattr(study, "PLUGGED", {"FSM": {"strategy": "expression", "semantic": prompts}})
    assert study.main(_arguments(smaller, "--jobs", "1")) == 0
    rows = pd.read_csv(smaller / "study.csv").set_index(["quality", "method"])["ari"]
    assert ("Q0", "FSM") in rows.index and ("Q3", "FSM") not in rows.index
    report = (smaller / "study.md").read_text("utf-8").split("## Plugged in")[1].split("\n## ")[0]
    assert f"{rows['Q0', 'FSM']:.3f}" in report and f"{rows['Q0', 'FSM'] - rows['Q0', 'expression']:+.3f}" in report


def test_unit_that_was_cut_short_is_completed(smaller):
    arguments = _arguments(smaller, "--jobs", "1", quality=["Q3"])
    study.main(arguments)
    rows = pd.read_csv(smaller / "study.csv", dtype={"version": str, "commit": str, "code": str})
    rows.iloc[:-1].to_csv(smaller / "study.csv", index=False)
    study.main(arguments)
    again = pd.read_csv(smaller / "study.csv")
    assert set(again["method"]) == {"expression", "SpaLLM"} and len(again) == 2


def test_failing_units_are_told_and_tried_again(small, monkeypatch, capsys):
    monkeypatch.setattr(study, "VARIANTS", {"expression": {"strategy": "no such"}})
    assert study.main(_arguments(small, "--jobs", "1")) == 1
    assert "FAILED" in capsys.readouterr().out and not (small / "study.csv").exists()


def test_regions_are_the_cells_around_one_of_them(small):
    adata = study.DATA["osmFISH"].load()
    places = np.asarray(adata.obsm["spatial"])
    found = [study.region_of(adata, number) for number in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    for members in found:
        assert len(np.unique(members)) == 80
        outside = np.setdiff1d(np.arange(len(places)), members)
        # Some member is the centre: no cell left out is nearer to it than any taken.
        inner = np.linalg.norm(places[members][:, None] - places[members], axis=2).max(axis=1)
        outer = np.linalg.norm(places[members][:, None] - places[outside], axis=2).min(axis=1)
        assert (inner <= outer).any()


def _rows(effect):
    """Fabricated runs of one encoder: text adds `effect(quality, region)`, the controls nothing."""
    rng = np.random.default_rng(0)
    rows = []
    for data in ("osmFISH", "DLPFC 151673", "DLPFC 151507"):
        for quality in study.LEVELS:
            for region in (-1, 0, 1, 2) if (data, quality) == ("osmFISH", "Q0") else (-1,):
                for seed in range(2):
                    base = rng.uniform(0.2, 0.8)
                    for method in ("expression", "SpaLLM", "permuted", "Gaussian"):
                        ari = base + (effect(quality, region) if method == "SpaLLM" else 0)
                        rows.append((data, quality, region, "smooth", seed, method, ari, True, 1.0))
    return pd.DataFrame(rows, columns=[*study.UNIT, "method", "ari", "trained", "seconds"])


def test_claims_are_paired():
    tables = study.claims(_rows(lambda quality, region: 0.1 + 0.05 * (quality in ("Q3", "Q4")) + 0.2 * (region >= 0)))
    assert set(tables) == {"expression", "permuted", "Gaussian"}
    for table in tables.values():
        column = table["smooth"]
        assert column["SpaLLM minus it"] == "+0.120 [+0.120, +0.120]"
        assert column["Q3, Q4 minus Q0, Q1"] == "+0.050 [+0.050, +0.050]"
        assert column["regions minus whole"] == "+0.200 [+0.200, +0.200]"


def test_encoders_are_paired_with_averaging_by_seed():
    smooth = _rows(lambda quality, region: 0.0)
    higher = smooth.assign(encoder="graphst", ari=smooth["ari"] + 0.1 * (smooth["quality"] == "Q0"))
    higher.loc[higher["method"] == "SpaLLM", "ari"] = 0
    # A seed that averaging lacks is no pair.
    lone = higher[higher["seed"] == 1].assign(seed=2, ari=0.5)
    table = study.encoders(pd.concat([smooth, higher, lone]))
    assert table.loc["graphst", "minus smooth"] == "+0.020 [+0.020, +0.020]" and pd.isna(table.loc["smooth"].iloc[1])
    whole = smooth[(smooth["region"] == -1) & (smooth["method"] == "expression")]
    assert table.loc["smooth", "ARI"] == f"{whole['ari'].mean():.3f}"
    assert study.encoders(lone)["ARI"].tolist() == ["0.500"]


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        low, high = study.interval(rng.normal(0.3, 1, size=5)).split("[")[1].rstrip("]").split(", ")
        covered += float(low) <= 0.3 <= float(high)
    assert 0.92 < covered / 400 < 0.98
    assert study.interval([0.5]) == "+0.500"


def test_report_of_one_level_without_regions():
    rows = _rows(lambda quality, region: 0.0)
    report = study.report(study.in_order(rows[(rows["quality"] == "Q0") & (rows["region"] == -1)]))
    assert "Q3, Q4 minus" not in report and "## Small regions" not in report


def test_same_command_runs_on_a_dask_cluster(smaller):
    distributed = pytest.importorskip("distributed")
    found = []
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        for where in (["--dask", cluster.scheduler_address], ["--jobs", "1"]):
            assert study.main(_arguments(smaller, *where, quality=["Q0", "Q3"])) == 0
            found.append(pd.read_csv(smaller / "study.csv").set_index(["quality", "method"])["ari"].sort_index())
            (smaller / "study.csv").unlink()
    assert len(found[0]) == 4
    pd.testing.assert_series_equal(*found)
