"""LLMDSCClusterer, its text, its losses and rare types."""

from itertools import product

import pandas as pd

from benchmarks.compared import Compared
from benchmarks.data import MICE, read
from benchmarks.declare import run_of
from benchmarks.methods import LLMDSC
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


BENCHMARK = COMPARED.declare(
    question="How good is LLMDSCClusterer, which losses and texts matter, and what becomes of rare types?",
    runs=runs,
    options={"--recall": (False, "make the table of rare types anew")},
)
