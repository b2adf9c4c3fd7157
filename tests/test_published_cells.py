"""The benchmark beside published code of cell types: how it runs scripts, which epoch it tells, what its tables say."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from test_benchmark_runner import STAMP, tissue  # which also finds the benchmarks, or skips
from test_benchmarks import cells_of

from benchmarks import pages, processes, runner  # isort: skip
from benchmarks.data import DataSet  # isort: skip
from benchmarks.published import cells  # isort: skip
from benchmarks.tables import published_cells  # isort: skip

# Scripts in the manner of the published ones.  "Accuracies" are made of what is handed over, so that it can be told.
SCCDCG = """
import argparse
import h5py, jgraph, scanpy, torch, umap
import matplotlib.pyplot as plt
from loguru import logger
from pylab import mpl
from torchmetrics.functional import pairwise_cosine_similarity
from helper import halve

parser = argparse.ArgumentParser()
parser.add_argument("--dataname")
parser.add_argument("--num_class", type=int)
parser.add_argument("--epochs", type=int)
args = parser.parse_args()
mpl.rcParams["font.family"] = "Times New Roman"
logger.add("a.log", level="INFO")
torch.cuda.set_device(0)
data = h5py.File("/nowhere/" + args.dataname + ".h5", "r")
x, y = torch.tensor(data["X"][:]).cuda(), data["Y"][:]
assert torch.nn.Linear(2, 2).cuda() is not None and x.dtype == torch.float32 and y.min() == 0
assert torch.allclose(pairwise_cosine_similarity(x, x).diagonal(), torch.ones(len(x)))
print("chatter")
for seed in [3047,3041]:
# for seed in [random.randint(1900, 2200) for  i in range(100)]:
    logger.info("Seed {}".format(seed))
    open("result.pkl", "w").close()
    for epoch in range(1, args.epochs + 1):
        logger.info("Epoch {} Pre-Train ACC: 0.9999, NMI: 0.9, ARI: 0.9, F1: 0".format(epoch))
        logger.info("Epoch {} | loss_total: 1.0".format(epoch))
    for epoch in range(1, args.epochs + 1):
        acc = [halve(seed), 0.8, 0.8, args.num_class / 100][epoch % 4]
        logger.info("Epoch {} ACC: {:.4f}, NMI: {:.4f}, ARI: {:.4f}, F1: 0".format(epoch, acc, epoch / 10, -acc))
    logger.info("MAX ACC: 0.8, NMI: 0.1, ARI: 0.1, F1: 0")
"""
SCLLMDSC = """
import sys
import dotenv, h5py, numpy as np, openai, scanpy
from loguru import logger

name = sys.argv[2]
weighted, written = (
    np.load(f"output/{name}/{file}.npz")["embeddings"]
    for file in ("weighted_cell_embeddings", "cell_top_genes_embeddings")
)
for seed in [3047, 3041]:
    logger.info(f"Seed {seed}")
    with h5py.File("embeddings.h5", "w") as file:
        file.create_dataset("X", data=written)
    logger.info(f"Epoch 1 ACC: {weighted.mean():.4f}, NMI: {written.mean():.4f}, ARI: 0.5, F1: 0")
    logger.info("MAX ACC: 0")
"""


@pytest.fixture
def checkouts(tmp_path):
    for folder, script, text in (("cut", "train_scCDCG.py", SCCDCG), ("text", "main_AE.py", SCLLMDSC)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / script).write_text(text, "utf-8")
    (tmp_path / "cut" / "helper.py").write_text("def halve(value):\n    return value / 2", "utf-8")
    return tmp_path


def made_up(data, method, seed=0, **found):
    values = {"n_epochs": 400, "setup_seconds": 1.5, "seconds": 100.0, "processor_seconds": 80.0, "peak_mib": 900}
    values |= {"labels_epoch": 30, "published": "abc", "outcome": "done"}
    for when, score in (("labels", 0.7), ("last", 0.4)):
        values |= {f"{when}_ari": score, f"{when}_nmi": score + 0.1, f"{when}_acc": score + 0.2}
    return {"data": data, "method": method, "seed": seed, **values, **found, **STAMP}


def test_the_epoch_chosen_by_labels_is_the_first_of_largest_accuracy_in_training():
    texts = [
        "Seed 0",
        "Epoch 1/4 Pre-Train ACC: 0.9900, NMI: 0.9900, ARI: 0.9900, F1: 0.1",
        "Epoch 1/4 | loss_corvariate: 1.0 | loss_total: 2.0",
        "Epoch 1/4 ACC: 0.5000, NMI: 0.9000, ARI: 0.9000, F1: 0.1",
        "Epoch 2/4 ACC: 0.7000, NMI: 0.3000, ARI: -0.0100, F1: 0.1",
        "Epoch 3/4 ACC: 0.7000, NMI: 0.8000, ARI: 0.8000, F1: 0.1",
        "Epoch 4/4 ACC: 0.6000, NMI: 0.4000, ARI: 0.2000, F1: 0.1",
        "MAX ACC: 0.7000, NMI: 0.3000, ARI: -0.0100, F1: 0.1",
    ]
    history = cells.history_of(texts)
    assert history["trained"].tolist() == [False, True, True, True, True]
    scores = cells.scores_of(history)
    labels = {"labels_epoch": 2, "labels_ari": -0.01, "labels_nmi": 0.3, "labels_acc": 0.7}
    assert scores == {**labels, "last_ari": 0.2, "last_nmi": 0.4, "last_acc": 0.6}


def test_a_cell_is_the_sum_of_its_most_expressed_genes_times_whole_counts():
    rng = np.random.default_rng(0)
    X = np.where(rng.random((20, 30)) < 0.5, rng.permuted(np.arange(600.0)).reshape(20, 30) / 4, 0)
    vectors = rng.standard_normal((30, 3)).astype(np.float32)
    given = sparse.csr_matrix(X)
    found = cells.sum_of_genes(given, vectors, n_genes=5)
    expected = [sum(int(row[g]) * vectors[g] for g in np.argsort(-row)[:5]) for row in X]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert found.dtype == np.float32 and (given != sparse.csr_matrix(X)).nnz == 0
    np.testing.assert_allclose(cells.sum_of_genes(given, vectors), np.trunc(X) @ vectors, rtol=1e-4, atol=1e-3)


def train_with_seed(script):
    arguments = {"dataname": "cells", "num_class": "2", "epochs": "4"}
    return cells.train(script, np.eye(4, dtype=np.float32), np.arange(4), 1, arguments)


def test_a_script_is_run_with_one_seed_and_leaves_nothing_behind(checkouts, capfd):
    script = checkouts / "cut" / "train_scCDCG.py"
    history, times = processes.call_apart(train_with_seed, script)
    assert history["acc"].tolist() == [0.9999] * 4 + [0.8, 0.8, 0.02, 0.5], "half of the seed, 1, comes last"
    assert history["trained"].tolist() == [False] * 4 + [True] * 4
    assert set(times) == {"setup_seconds", "seconds", "processor_seconds"} and min(times.values()) >= 0
    assert "chatter" not in capfd.readouterr().out and not list(checkouts.rglob("*.pkl"))
    script.write_text("for seed in range(5): pass", "utf-8")
    with pytest.raises(ValueError, match="train_scCDCG.py has 0 lists of seeds to replace"):
        train_with_seed(script)


def test_a_run_is_made_once_and_kept_when_skst_changes(checkouts, monkeypatch):
    text = np.full((120, 3), 0.25), np.full((120, 2), 0.75)
    apart, calls = processes.call_apart, []

    def call_apart(step, run, limits):
        calls.append(step.__name__)
        # Where the text is made, this process is patched.
        return processes.call_here(step, run) if step is published_cells.write else apart(step, run, limits)

    monkeypatch.setattr(published_cells, "text_of", lambda data: text)
    monkeypatch.setitem(published_cells.MICE, "PBMC3k", DataSet(tissue))
    monkeypatch.setattr(runner, "provenance", lambda: STAMP)
    monkeypatch.setattr(runner, "call_apart", call_apart)
    options = ["--scllm-dsc", str(checkouts / "text"), "--data", "PBMC3k", "--output", str(checkouts)]
    assert runner.run("published_cells", published_cells, options) == 0
    (row,) = pd.read_csv(checkouts / "published_cells.csv").to_dict("records")
    assert (row["labels_acc"], row["labels_nmi"], row["last_ari"]) == (0.25, 0.75, 0.5), "both texts are read"
    assert (row["method"], row["n_epochs"], row["outcome"]) == ("scLLM-DSC", 1, "done") and row["peak_mib"] > 100
    committed = pd.read_csv(Path(published_cells.__file__).parents[1] / "results" / "published_cells.csv", nrows=0)
    assert set(row) == set(committed)
    page = (checkouts / "published_cells.md").read_text("utf-8")
    assert "--scllm-dsc PATH" in page and str(checkouts / "text") not in page

    monkeypatch.setattr(runner, "provenance", lambda: {**STAMP, "code": "new"})
    assert runner.run("published_cells", published_cells, options) == 0
    assert calls == ["write", "execute"]


@pytest.mark.parametrize(("argument", "repository"), [("--sccdcg", "scCDCG"), ("--scllm-dsc", "scLLM-DSC")])
def test_a_missing_checkout_is_told_before_anything_runs(tmp_path, argument, repository, capsys):
    with pytest.raises(SystemExit):
        runner.run("published_cells", published_cells, [argument, str(tmp_path / "none"), "--output", str(tmp_path)])
    said = capsys.readouterr().err
    assert f"{argument}=" in said and f"give a checkout of XPgogogo/{repository}" in said
    assert not list(tmp_path.iterdir())


def page_of(rows, folder):
    options = argparse.Namespace(output=folder, epochs=200)
    return pages.page("published_cells", {**vars(published_cells), "head": "", "rows": rows, "options": options})


def test_tables_name_the_choice_by_labels_and_what_became_of_runs(tmp_path):
    late = dict.fromkeys(("labels_ari", "last_ari", "seconds", "n_epochs"), np.nan) | {"outcome": "over 20 minutes"}
    rows = pd.DataFrame(
        [
            made_up("Baron mouse", "scCDCG"),
            made_up("Baron mouse", "scLLM-DSC", labels_ari=0.6, published="def"),
            made_up("PBMC3k", "scCDCG", **late),
            made_up("PBMC3k", "scLLM-DSC"),
        ]
    )
    own = pd.DataFrame(
        {"data": data, "seed": seed, "method": "LLMDSCClusterer", "ari": 0.9 + seed / 10, "code": "123"}
        | {"nmi": 0.8, "acc": 0.7, "seconds": 20.0, "peak_mib": 500}
        for data in ("Baron mouse", "PBMC3k", "another")
        for seed in (0, 1)
    )
    own.to_csv(tmp_path / "llmdsc.csv", index=False)
    report = page_of(rows, tmp_path)
    header, _, *lines = cells_of(report, "Adjusted Rand index")
    chosen = [f"{method}, {epoch}" for method in ("scCDCG", "scLLM-DSC") for epoch in ("chosen", "last epoch")]
    chosen = [name.replace("chosen", "epoch chosen by labels") for name in chosen]
    assert header == ["data", *chosen, "LLMDSCClusterer"]
    assert lines[0] == ["Baron mouse", "0.700", "0.400", "0.600", "0.400", "0.950 ± 0.071"]
    assert lines[1] == ["PBMC3k", "over 20 minutes", "over 20 minutes", "0.700", "0.400", "0.950 ± 0.071"]
    assert len(lines) == 2, "sets without published runs are left out, and there is no mean of one set"
    assert cells_of(report, "Training seconds")[2:4] == [
        ["Baron mouse", "100", "100", "20 ± 0"],
        ["PBMC3k", "over 20 minutes", "100", "20 ± 0"],
    ]
    assert "Seeds: 2, but scCDCG 1, scLLM-DSC 1.  LLMDSCClusterer sees no labels" in report and "code 123" in report
    assert "scCDCG at abc, github.com/XPgogogo/scLLM-DSC at def" in report
    alone = page_of(rows, tmp_path / "nothing")
    assert "LLMDSCClusterer sees" not in alone and cells_of(alone, "Accuracy")[0] == header[:-1]


def test_our_rows_are_those_of_the_last_code(tmp_path):
    theirs, options = pd.DataFrame({"data": ["A"]}), argparse.Namespace(output=tmp_path)
    assert published_cells.ours(theirs, options).empty
    rows = [("A", "LLMDSCClusterer", 0, "old", 0.1), ("A", "LLMDSCClusterer", 0, "1e5", 0.2)]
    rows += [("A", "LLMDSCClusterer", 0, "1e5", 0.3), ("B", "LLMDSCClusterer", 0, "1e5", 0.5)]
    rows += [("A", "no text", 0, "newer", 0.4)]
    columns = ["data", "method", "seed", "code", "ari"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "llmdsc.csv", index=False)
    assert published_cells.ours(theirs, options)["ari"].tolist() == [0.3]
