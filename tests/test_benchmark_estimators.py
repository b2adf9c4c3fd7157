"""The benchmarks of single estimators: what their tables show, from made-up runs and from small ones."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from test_benchmarks import STAMP, cells_of, simulated  # which also finds the benchmarks, or skips

from skst import GeneTextEncoder, LLMDSCClusterer
from skst.inspection import annotate_by_text, load_cell_types
from skst.metrics import score_partition
from skst.nn import NormalizedCut

import annotation  # isort: skip
import harness  # isort: skip
import llmdsc  # isort: skip
import llmdsc_cost  # isort: skip
import methods  # isort: skip
import records  # isort: skip
import semst  # isort: skip


def made_up(factories, data, n_seeds=4):
    """Runs of all methods, each with scores of its own, in no order."""
    rows = [
        {"data": name, "method": method, "seed": seed, "ari": 0.9 - 0.01 * place - 0.2 * number + 0.003 * seed**2}
        | {"nmi": 0.4, "acc": 0.5, "macro_f1": 0.3, "seconds": place + 1.0, **STAMP}
        for number, name in enumerate(data)
        for place, method in enumerate(factories)
        for seed in range(n_seeds)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


@pytest.mark.parametrize(
    ("module", "data"),
    [(llmdsc, ["PBMC3k", "Baron mouse 2"]), (semst, ["STARmap", "HER2ST H1"])],
    ids=["cells", "spots"],
)
def test_each_table_of_an_estimator_compares_its_methods(module, data):
    rows = made_up(module.FACTORIES, data)
    report = module.report(rows)
    for table, compared in module.TABLES.items():
        n_seeds = 4 if table in module.SEEDS else 3
        assert f"Seeds: {n_seeds}." in report.split(f"## {table}\n")[1].split("\n## ")[0]
        lines = cells_of(report, table)
        assert lines[0] == ["data", *compared]
        shown = rows[rows["seed"] < n_seeds].set_index(["data", "method"])["ari"].sort_index()
        for line, name in zip(lines[2:4], data, strict=True):
            scores = [shown[name, method] for method in compared]
            assert line == [name, *(f"{ari.mean():.3f} ± {ari.std():.3f}" for ari in scores)]
        first, *others = compared
        if table != "omega":
            place = lines.index(["data", *(f"minus {other}" for other in others)])
            gaps = [shown[data[0], first].mean() - shown[data[0], other].mean() for other in others]
            assert lines[place + 2] == [data[0], *(f"{gap:+.3f} ± 0.000" for gap in gaps)]
    alone = module.report(rows[rows["method"] == next(iter(module.FACTORIES))])
    assert "\n## " not in alone, "there is nothing to compare with"


def test_rare_types_are_counted_and_come_first(tmp_path, monkeypatch):
    monkeypatch.setattr(llmdsc, "SETS", {"Baron mouse": simulated(), "PBMC3k": simulated(150)})
    monkeypatch.setattr(llmdsc, "recall", partial(llmdsc.recall, ("PCA + k-means", "PCA + mixture"), 1))
    runs = made_up(["LLMDSCClusterer", "no text"], ["PBMC3k"])
    monkeypatch.setattr(llmdsc, "run_all", lambda *_, **__: (runs, []))
    assert llmdsc.main(["--recall", "--seeds", "1", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "llmdsc_recall.csv")
    adata, truth = harness.read(simulated(150))
    found = llmdsc.FACTORIES["PCA + k-means"](3, 0, True).fit_predict(adata)
    part = rows[(rows["data"] == "PBMC3k") & (rows["method"] == "PCA + k-means")]
    assert np.average(part["r"], weights=part["n"]) == pytest.approx(score_partition(truth, found)["acc"])
    report = (tmp_path / "llmdsc.md").read_text("utf-8")
    assert "python benchmarks/llmdsc.py --recall" in report and cells_of(report, "Cell types")[2][0] == "PBMC3k"
    lines = cells_of(report.partition("\nPBMC3k:\n")[0], "Rare types")
    assert lines[0] == ["type", "cells", "PCA + k-means", "PCA + mixture"]
    sizes = [int(line[1]) for line in lines[2:]]
    assert sizes == sorted(sizes) and sum(sizes) == 200
    mixtures = rows[(rows["data"] == "Baron mouse") & (rows["method"] == "PCA + mixture")].set_index("type")["r"]
    assert [float(line[3]) for line in lines[2:]] == [round(mixtures[line[0]], 2) for line in lines[2:]]


def run_here(function, arguments):
    """In place of `run_apart`: in this process, where patches hold."""
    return ((argument, function(argument)) for argument in arguments)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:Attempt to set non-positive")  # too quick to plot
def test_cost_of_cell_types_is_measured_once(tmp_path, monkeypatch):
    quick = partial(LLMDSCClusterer, n_networks=1, max_epochs=1, n_top_genes=(50,), clusterer="kmeans")
    patches = {"LLMDSCClusterer": quick, "run_apart": run_here, "provenance": lambda: STAMP}
    for name, value in {**patches, "N_GENES": 50, "MOST_DENSE": 100}.items():
        monkeypatch.setattr(llmdsc_cost, name, value)
    arguments = ["--sizes", "150", "100", "--output", str(tmp_path)]
    assert llmdsc_cost.main(arguments) == 0
    before = (tmp_path / "llmdsc_cost.csv").read_bytes()
    rows = pd.read_csv(tmp_path / "llmdsc_cost.csv").set_index(["n_cells", "what"])
    cuts = [f"{form} cut, {part}" for form in ("factored", "dense") for part in ("set-up", "step")]
    report = (tmp_path / "llmdsc_cost.md").read_text("utf-8")
    header, _, *lines = cells_of(report, "Seconds")
    assert header == ["cells", "fit", "predict", *cuts, "ARI"] and [line[0] for line in lines] == ["100", "150"]
    assert [float(cell) for cell in lines[0][1:-1]] == rows.loc[100, "seconds"][header[1:-1]].tolist()
    assert lines[1][-3:-1] == ["-", "-"], "dense affinities end before"
    assert float(lines[1][-1]) == rows.loc[(150, "fit"), "ari"]
    assert cells_of(report, "Peak memory")[0] == ["cells", "data alone", "fit", cuts[1], cuts[3]]
    assert (tmp_path / "llmdsc_cost.png").read_bytes().startswith(b"\x89PNG")
    assert llmdsc_cost.main(arguments) == 0 and (tmp_path / "llmdsc_cost.csv").read_bytes() == before


def test_the_dense_cut_is_the_same_loss():
    X = np.random.default_rng(0).poisson(1.0, (60, 20)).astype(np.float32)
    z = torch.randn(60, 4, generator=torch.manual_seed(0))
    dense = llmdsc_cost._dense_cut(sparse.csr_array(X))(z)
    assert float(dense) == pytest.approx(float(NormalizedCut(X)(z)), rel=1e-5)


def test_the_oracle_looks_at_labels_and_is_reported_beside_the_tables(tmp_path, monkeypatch):
    scorers = []

    class Kept(semst.Scorer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            scorers.append(self)

        def __call__(self, *arguments, **data):
            super().__call__(*arguments, **data)
            self.scores[:1] = [0.9] * len(self.scores[:1])  # as if the first look had been the best

    def run_all(runs, path, *, execute, **_):
        for run in runs:
            records.append(path, {**execute(run), **STAMP})
        return records.current_rows(path, STAMP), []

    lexical = partial(GeneTextEncoder, model="lexical", cache=False)
    patches = {"Scorer": Kept, "run_all": run_all, "GeneTextEncoder": lexical, "provenance": lambda: STAMP}
    for name, value in {**patches, "SPATIAL": {"simulated": simulated()}}.items():
        monkeypatch.setattr(semst, name, value)
    monkeypatch.setattr(semst.SemSTClusterer, "paper", partial(semst.SemSTClusterer.paper, max_epochs=20))
    made_up(semst.FACTORIES, ["simulated"]).to_csv(tmp_path / "semst.csv", index=False)
    assert semst.main(["--table", "Oracle", "--seeds", "2", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "semst_oracle.csv")
    assert [len(scorer.scores) for scorer in scorers] == [2, 2]
    assert rows["oracle epoch"].tolist() == [round(max(scorer.scores), 5) for scorer in scorers]
    assert rows["last epoch"].tolist() == [round(scorer.scores[-1], 5) for scorer in scorers]
    report = (tmp_path / "semst.md").read_text("utf-8")
    header, _, line = cells_of(report, "Oracle")
    assert header == ["data", "oracle epoch", "last epoch"]
    assert line == ["simulated", *(f"{rows[name].mean():.3f} ± {rows[name].std():.3f}" for name in header[1:])]
    assert [title in report for title in ("\n## Domains\n", "\n## Plugged in\n")] == [True, True]


@pytest.mark.parametrize(
    ("data", "label", "name", "right"),
    [
        ("PBMC3k", "Naive CD4 T", "T cell", True),
        ("PBMC3k", "Naive CD4 T", "CD8 cytotoxic T cell", False),
        ("PBMC3k", "Naive CD4 T", None, False),
        ("osmFISH", "Oligodendrocyte Precursor cells", "oligodendrocyte", False),
        ("osmFISH", "Oligodendrocyte Mature", "oligodendrocyte", True),
        ("osmFISH", "pyramidal L4", "excitatory neuron", True),
    ],
)
def test_a_name_is_right_at_the_level_of_the_label_or_above(data, label, name, right):
    assert annotation.is_right(data, label, name) == right


@pytest.mark.filterwarnings("ignore:Only .* genes")
def test_names_of_clusters_are_judged_and_reported(tmp_path, monkeypatch):
    types = load_cell_types("blood").set_index("cell_type")["markers"].str.split("|")
    # Dendritic cells show no marker, so that there is nothing to name them by.
    shown = {"B": "B cell", "CD14+ Mono": "classical monocyte", "Platelet": "platelet or megakaryocyte", "DC": None}
    genes = pd.Index(types.explode().unique())
    rates = np.array([np.where(genes.isin(types.get(name, [])), 9.0, 1.0) for name in shown.values()])
    counts = np.random.default_rng(0).poisson(np.repeat(rates, 25, axis=0)).astype(np.float32)
    adata = harness.read(simulated(100))[0][:, :1].copy()
    adata = type(adata)(counts, obs=adata.obs.assign(label=np.repeat(list(shown), 25)), var=pd.DataFrame(index=genes))
    known = types.explode().rename("gene").reset_index().assign(species="human", source="PanglaoDB")
    # As good an overlap, and first by name.
    wrong = known.assign(cell_type="A " + known["cell_type"].str[::-1], source="elsewhere")
    (tmp_path / "gene_text").mkdir()
    pd.concat([wrong, known]).to_csv(tmp_path / "gene_text" / "markers.tsv.gz", sep="\t", index=False)
    monkeypatch.setenv("SKST_DATA_HOME", str(tmp_path))
    patches = {"CELLS": {"PBMC3k": methods.DataSet(lambda: adata)}, "N_CONTROLS": 1}
    lexical = partial(annotate_by_text, model="lexical", cache=False)
    for name, value in {**patches, "annotate_by_text": lexical}.items():
        monkeypatch.setattr(annotation, name, value)
    assert annotation.main(["--data", "PBMC3k", "--output", str(tmp_path)]) == 0

    rows = pd.read_csv(tmp_path / "annotation.csv", keep_default_na=False)
    assert set(rows["label"]) == set(shown) and len(rows) == 4 * (4 + 2 + 1 + 4 + 2)
    report = (tmp_path / "annotation.md").read_text("utf-8")
    for tissue in ("all tissues", "tissue known"):
        part = rows[rows["tissue"] == tissue].groupby("method", sort=False)["right"].mean()
        header, _, line, *_ = cells_of(report, f"Share of clusters named right, {tissue}")
        assert header == ["data", *part.index] and line == ["PBMC3k", *(f"{share:.3f}" for share in part)]
        assert part["markers"] == 0.75 and part.get("markers, PanglaoDB", 0.75) == 0.75
    header, _, *lines = cells_of(report, "Names that are withheld")
    assert lines[0] == ["PBMC3k", "0.750", "1.000", "0.750"] and lines[3] == ["PBMC3k", "1.000", "0.750", "1.000"]
    header, _, *lines = cells_of(report, "Names, PBMC3k")
    assert header == ["label", "markers", annotation.FORCED, "text"]
    assert {line[0]: line[1] for line in lines} == {label: name or "unassigned (x)" for label, name in shown.items()}
