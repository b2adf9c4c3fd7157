"""The benchmark of the graph encoders: what it runs, what its tables show, and how it calls published code."""

import os
import signal
import types

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score
from test_benchmarks import STAMP, cells_of, simulated  # which also finds the benchmarks, or skips

import encoders  # isort: skip
import processes  # isort: skip
import published_encoders  # isort: skip

PUBLISHED, PAPER, DEFAULT = encoders.PUBLISHED, encoders.PAPER, encoders.DEFAULT


def made_up(table, data, method, stage, seed=0, **found):
    values = {"n_spots": 1207, "n_epochs": 300, "epoch": 0.01, "seconds": 5.0, "peak_mib": 600, "data_mib": 400}
    values |= {"k-means": 0.5, "mixture": 0.6, "outcome": "done", "published": "abc" if stage == PUBLISHED else ""}
    return {"table": table, "data": data, "method": method, "stage": stage, "seed": seed, **values, **found, **STAMP}


def test_accuracy_stands_beside_that_of_the_published_code():
    runs = [made_up("accuracy", data, "smooth", DEFAULT, **{"k-means": 0.8}) for data in ("osmFISH", "STARmap")]
    for seed in range(3):
        runs += [made_up("accuracy", "STARmap", "stagate", DEFAULT, seed, **{"k-means": 0.5 + 0.1 * seed})]
        runs += [made_up("accuracy", "osmFISH", "stagate", DEFAULT, seed, mixture=0.3)]
    runs += [made_up("accuracy", "STARmap", "stagate", PUBLISHED, **{"k-means": 0.45, "mixture": 0.7})]
    rows = encoders.in_order(pd.DataFrame(runs).sample(frac=1, random_state=0))
    report = encoders.report(rows)
    lines = cells_of(report, "Adjusted Rand index")
    columns = ["smooth", "stagate", f"stagate, {PUBLISHED}"]
    assert lines[0] == ["k-means", *columns]
    assert lines[2] == ["STARmap", "0.800", "0.600 ± 0.100", "0.450"]
    assert lines[3] == ["osmFISH", "0.800", "0.500 ± 0.000", "-"]
    starts = {line[0]: number for number, line in enumerate(lines)}
    assert lines[starts["mixture"] + 3] == ["osmFISH", "0.600", "0.300 ± 0.000", "-"]
    gaps = starts[f"k-means, minus {PUBLISHED}"]
    assert lines[gaps] == [f"k-means, minus {PUBLISHED}", "stagate"]
    assert lines[gaps + 2 : gaps + 4] == [["STARmap", "+0.150"], ["osmFISH", "-"]]
    assert lines[starts[f"mixture, minus {PUBLISHED}"] + 2] == ["STARmap", "-0.100"]
    assert "QIFEIDKN/STAGATE_pyG at abc" in report and "hongleir" not in report
    alone = encoders.report(rows[rows["stage"] == DEFAULT])
    assert f"minus {PUBLISHED}" not in alone, "there is nothing to subtract"


def test_cost_is_epochs_times_their_median_and_a_share_of_the_published():
    runs = [
        made_up("cost", "osmFISH", "spaceflow", PUBLISHED, n_epochs=1000, epoch=0.2, peak_mib=2000, data_mib=400),
        made_up("cost", "osmFISH", "spaceflow", PAPER, n_epochs=1000, epoch=0.02, peak_mib=800, data_mib=400),
        made_up("cost", "osmFISH", "spaceflow", DEFAULT, n_epochs=300, epoch=0.01, peak_mib=600, data_mib=400),
        made_up("cost", "osmFISH", "graphst", PUBLISHED, n_epochs=np.nan, epoch=np.nan, outcome="over 16 GiB"),
        made_up("cost", "osmFISH", "graphst", DEFAULT, n_epochs=300, epoch=0.002),
    ]
    rows = encoders.in_order(pd.DataFrame(runs))
    shares = [f"{stage} / {PUBLISHED}" for stage in (PAPER, DEFAULT)]
    header, _, graphst, spaceflow = cells_of(encoders.report(rows), "Training seconds beside the published code")
    assert header == ["data, method", PUBLISHED, PAPER, DEFAULT, *shares]
    assert graphst == ["osmFISH, graphst", "over 16 GiB", "-", "0.6 = 300 x 0.0020", "-", "-"]
    numbers = ["200.0 = 1000 x 0.2000", "20.0 = 1000 x 0.0200", "3.0 = 300 x 0.0100"]
    assert spaceflow == ["osmFISH, spaceflow", *numbers, "0.100", "0.015"]
    lines = cells_of(encoders.report(rows), "Peak memory beside the published code")
    assert lines[3] == ["osmFISH, spaceflow", "2000", "800", "600", "0.400", "0.300"]
    assert lines[-1] == ["osmFISH, spaceflow", "1600", "400", "200", "0.250", "0.125"]

    # A full training of the published code that stopped early tells how many epochs it really takes.
    stopped = made_up("accuracy", "osmFISH", "spaceflow", PUBLISHED, n_epochs=150)
    rows = encoders.in_order(pd.DataFrame([*runs, stopped]))
    line = cells_of(encoders.report(rows), "Training seconds beside the published code")[3]
    assert line[1:3] == ["30.0 = 150 x 0.2000", numbers[1]] and line[-2:] == ["0.667", "0.100"]


def test_tissue_grows_in_the_order_of_its_size():
    sizes = (100_000, 5000, 20_000)
    runs = [made_up("scale", f"{size} cells", "smooth", DEFAULT, seconds=size / 1000) for size in sizes]
    ended = {"seconds": np.nan, "peak_mib": np.nan, "n_spots": np.nan, "outcome": "over 4 GiB"}
    runs += [made_up("scale", "100000 cells", "stcluster", DEFAULT, **ended)]
    report = encoders.report(encoders.in_order(pd.DataFrame(runs)))
    header, _, *lines = cells_of(report, "Seconds as tissue grows")
    assert header == ["data", "smooth", "stcluster"]
    assert lines == [
        ["5000 cells", "5", "-"],
        ["20000 cells", "20", "-"],
        ["100000 cells", "100", "over 4 GiB"],
    ]
    assert cells_of(report, "Peak memory as tissue grows")[-1] == ["100000 cells", "600", "over 4 GiB"]


@pytest.fixture
def here(monkeypatch, tmp_path):
    """One simulated tissue for all tables; runs in this process, with no limit within reach."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    monkeypatch.setattr(encoders, "run_apart", lambda function, jobs: ((job, function(job)) for job in jobs))
    monkeypatch.setattr(encoders, "provenance", lambda: STAMP)
    monkeypatch.setattr(encoders, "DATA", {"simulated": simulated()})
    monkeypatch.setattr(encoders, "LIMITS", dict.fromkeys(encoders.LIMITS, (0, 2**20)))
    return tmp_path


def arguments(folder, *more):
    common = ["--method", "smooth", "graphst", "--seeds", "1", "--epochs", "3", "--sizes", "150"]
    return [*common, "--output", str(folder), *more]


@pytest.mark.filterwarnings("ignore:Attempt to set identical")  # of one size, there is no curve
def test_each_training_is_run_once(here, capsys):
    assert encoders.main(arguments(here)) == 0
    rows = pd.read_csv(here / "encoders.csv", keep_default_na=False).set_index(["table", "method", "stage"])
    wanted = [("accuracy", "smooth", DEFAULT), ("accuracy", "graphst", DEFAULT)]
    wanted += [("cost", "graphst", PAPER), ("cost", "graphst", DEFAULT)]
    wanted += [("scale", "smooth", DEFAULT), ("scale", "graphst", DEFAULT)]
    assert sorted(rows.index) == sorted(wanted)
    assert (rows.loc["accuracy"][["k-means", "mixture"]].astype(float) > 0.5).all(axis=None), "domains are distinct"
    epochs = rows["n_epochs"].astype(int)
    assert epochs["cost", "graphst", DEFAULT] == epochs["accuracy", "graphst", DEFAULT] == 300
    assert epochs["cost", "graphst", PAPER] == 600
    trained = rows.loc[[key for key in wanted if key[1] == "graphst"]]
    assert (trained["epoch"].astype(float) > 0).all()
    report = (here / "encoders.md").read_text("utf-8")
    line = cells_of(report, "Training seconds beside the published code")[2]
    assert line[0] == "simulated, graphst" and " = 600 x " in line[1] and " = 300 x " in line[2] and len(line) == 3
    assert (here / "encoders.png").read_bytes().startswith(b"\x89PNG")

    before = (here / "encoders.csv").read_bytes()
    capsys.readouterr()
    assert encoders.main(arguments(here)) == 0
    assert (here / "encoders.csv").read_bytes() == before and "graphst" not in capsys.readouterr().out


def test_published_code_is_trained_as_asked_and_kept(here, monkeypatch, capsys):
    calls = []

    def train(folder, method, adata, n_epochs):
        calls.append((folder.name, method, n_epochs))
        return np.random.default_rng(0).standard_normal((adata.n_obs, 4)), [9.0, 0.5]

    monkeypatch.setattr(published_encoders, "train", train)
    (here / "GraphST").mkdir()
    asked = arguments(here, "--published", str(here), "--table", "accuracy", "--method", "graphst", "stagate")
    monkeypatch.setattr(encoders, "_train", lambda model, adata: train(here, "ours", adata, 0))
    assert encoders.main(asked) == 0 and {name for _, name, _ in calls} == {"ours"}, "hours are spent only if asked for"
    out = capsys.readouterr().out
    assert f"published code of stagate is left out: {here} has no checkout of QIFEIDKN/STAGATE_pyG" in out
    assert encoders.main([*asked, "--published-accuracy"]) == 0
    assert calls[2:] == [(here.name, "graphst", 600)]
    # The published code does not change with ours.
    monkeypatch.setattr(encoders, "provenance", lambda: {**STAMP, "code": "new"})
    assert encoders.main([*asked, "--published-accuracy"]) == 0
    assert [name for _, name, _ in calls[3:]] == ["ours", "ours"]
    rows = pd.read_csv(here / "encoders.csv")
    assert rows.loc[rows["stage"] == PUBLISHED, "epoch"].tolist() == [0.5], "the first epoch is left out"
    assert "--published FOLDER" in (here / "encoders.md").read_text("utf-8")


def test_a_failing_training_is_told_and_tried_again(here, monkeypatch, capsys):
    monkeypatch.setattr(encoders, "run_apart", processes.run_apart)
    monkeypatch.setattr(encoders, "execute", end_by_fault)
    assert encoders.main(arguments(here, "--table", "accuracy")) == 1
    assert capsys.readouterr().out.count("FAILED") == 2 and not (here / "encoders.csv").exists()


def end_by_fault(job):
    raise ValueError(job.names["method"])


def end_by_time(job):
    encoders.LIMITS["scale"] = (1, 2**20)
    encoders.fit = lambda job: signal.pause()
    encoders.execute(job)


def end_by_memory(job):
    encoders.LIMITS["scale"] = (60, 1)
    encoders.fit = lambda job: np.ones(2**28)
    return encoders.execute(job)


@pytest.mark.parametrize(("end", "outcome"), [(end_by_time, "over 10 minutes"), (end_by_memory, "over 1 GiB")])
def test_limits_end_a_training_and_its_row_says_so(end, outcome):
    names = {"table": "scale", "data": "150 cells", "method": "graphst", "stage": DEFAULT, "seed": 0}
    job = encoders.Job(names, None, types.SimpleNamespace(published=None))
    ((_, row),) = processes.run_apart(end, [job])
    row = encoders._ended(job, row) if isinstance(row, Exception) else row
    assert row["outcome"] == outcome and np.isnan(row["peak_mib"])
    killed = encoders._ended(job, RuntimeError("the process ended with exit code -9"))
    assert killed["outcome"] == encoders.KILLED
    error = RuntimeError("the process ended with exit code -14")
    full = job._replace(names={**names, "table": "accuracy"})
    assert encoders._ended(full, error) is error, "full trainings have no limits"


def test_both_steps_find_domains_whatever_the_scale():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 100)
    # Stretched: a mixture of one covariance sees through it, unless 1e-6 is added to variances of 1e-8.
    noise = rng.standard_normal((300, 3)) * [30.0, 1.0, 1.0]
    Z = (noise + 8 * np.eye(3)[truth][:, [2, 0, 1]] * [0, 1, 1]).astype(np.float32)
    for scale in (1.0, 1e-4):
        found = encoders.domains(Z * scale, 3, 0)
        assert list(found) == list(encoders.STEPS)
        assert adjusted_rand_score(truth, found["mixture"]) > 0.95
    assert adjusted_rand_score(truth, encoders.domains(Z[:, 1:], 3, 0)["k-means"]) > 0.95


STAGATE = {
    "__init__.py": """
        from . import Train_STAGATE
        def Cal_Spatial_Net(adata, k_cutoff, model, verbose):
            adata.uns["net"] = (k_cutoff, model)
        """,
    "Train_STAGATE.py": """
        import seaborn, torch_sparse
        from tqdm import tqdm
        def train_STAGATE(adata, n_epochs, verbose):
            for epoch in tqdm(range(n_epochs)):
                if epoch == 2:
                    break
            adata.obsm["STAGATE"] = adata.X.cumsum(axis=1)[:, : adata.uns["net"][0]]
            print("done")
            return adata
        """,
}


def train_fake(folder):
    return published_encoders.train(folder, "stagate", simulated().load(), 5)


def test_published_code_is_imported_from_its_checkout_and_timed(tmp_path, capfd):
    package = tmp_path / "STAGATE_pyG" / "STAGATE_pyG"
    package.mkdir(parents=True)
    for name, text in STAGATE.items():
        (package / name).write_text("\n".join(line[8:] for line in text.splitlines()), "utf-8")
    assert published_encoders.absent(tmp_path, "stagate") == ""
    ((_, result),) = processes.run_apart(train_fake, [tmp_path])
    embedding, seconds = result
    X = simulated().load().X.toarray()
    expected = np.log1p(X / X.sum(axis=1, keepdims=True) * 1e4).cumsum(axis=1)[:, :6]
    np.testing.assert_allclose(embedding, expected, rtol=1e-5)
    assert len(seconds) == 3 and min(seconds) >= 0, "the epoch in which training stops counts"
    assert capfd.readouterr().out == ""


def test_what_is_not_there_is_named(tmp_path, monkeypatch):
    assert published_encoders.absent(tmp_path, "spaceflow").endswith("no checkout of hongleir/SpaceFlow")
    (tmp_path / "SpaceFlow").mkdir()
    monkeypatch.setattr(published_encoders, "PACKAGES", {"spaceflow": "no_such_package"})
    assert published_encoders.absent(tmp_path, "spaceflow") == "the package no_such_package is not installed"


def test_stand_in_for_louvain_finds_the_groups():
    import anndata

    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 30)
    adata = anndata.AnnData((10 * np.eye(4)[truth] + rng.standard_normal((120, 4))).astype(np.float32))
    published_encoders._neighbors(adata, n_neighbors=5, use_rep="X")
    pairs = adata.uns["pairs"]
    np.testing.assert_array_equal(np.bincount(pairs[:, 0]), 4)
    published_encoders._louvain(adata, resolution=0.3, random_state=0, key_added="found")
    assert adjusted_rand_score(truth, adata.obs["found"].astype(int)) > 0.9


def test_one_number_drawn_is_a_number_for_int():
    choice = published_encoders._choice(np.random.RandomState(0).choice)
    assert int(choice(np.array([7, 7]), size=1)) == 7 and choice(np.array([7, 7]), size=1)[0] == 7
    assert sorted(choice(np.arange(3), size=3, replace=False)) == [0, 1, 2]
