"""LLMDSCClusterer, its text, its losses and rare types."""

from itertools import product

import pandas as pd

from benchmarks.compared import Compared
from benchmarks.data import CELLS, MICE, read
from benchmarks.declare import run_of
from benchmarks.methods import LLMDSC
from benchmarks.pages import in_order
from benchmarks.records import current_rows
from skst.metrics import hungarian_match

RECALL = "llmdsc_recall"
COMPARED = Compared(tables=LLMDSC, data=MICE, seeds={"Cell types": 10, "Text": 5}, scores=("nmi", "acc", "macro_f1"))


def recall(run):
    """Share of each type's cells that are in the cluster matched to it."""
    adata, truth = read(run.data)
    truth = truth.astype(str)
    found = run.settings["factory"](truth.nunique(), run.names["seed"], run.data.normalize).fit_predict(adata)
    matched = pd.Series(hungarian_match(truth, found), index=truth.index)
    return [{"type": label, "n": len(part), "r": (part == label).mean()} for label, part in matched.groupby(truth)]


def runs(options):
    """Those of the tables asked for."""
    found = COMPARED.runs(options)
    if options.recall:
        methods = {name: make for name, make in LLMDSC["Cell types"].items() if name != "no text"}
        for data, method, seed in product(("Baron mouse", "PBMC3k"), methods, range(options.seeds or 3)):
            names = {"data": data, "method": method, "seed": seed}
            found.append(run_of(names, MICE, methods, steps=(recall,), file=RECALL, kept=False))
    return found


def means_of_cells(rows):
    """Mean ARI of each method over the sets that hold different cells, in words."""
    rows = COMPARED.part(rows, "Cell types")
    rows = rows[rows["data"].isin(CELLS)]
    means = rows.groupby(["method", "data"], sort=False)["ari"].mean().groupby("method", sort=False).mean()
    return ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())


def rare(options):
    """Rows of the table of recall, none if there is none."""
    order = {"data": MICE, "method": LLMDSC["Cell types"], "seed": None}
    return in_order(current_rows(options.output / f"{RECALL}.csv"), order)


def by_type(rows):
    """Recall of each type, the rarest first."""
    wide = rows.groupby(["type", "n", "method"], sort=False)["r"].mean().unstack()[rows["method"].unique()]
    return wide.reset_index("n").sort_values("n").round(2).rename(columns={"n": "cells"}).rename_axis("type")


BENCHMARK = COMPARED.declare(
    title="LLMDSCClusterer",
    question="How good is LLMDSCClusterer, which losses and texts matter, and what becomes of rare types?",
    takes="about two hours; `--table` takes parts of it",
    runs=runs,
    options={"--recall": (False, "make the table of rare types anew")},
)
