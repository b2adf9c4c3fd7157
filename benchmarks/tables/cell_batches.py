"""Cells of several batches, which have no places: LLMDSCClusterer with and without a correction of its axes."""

import warnings
from importlib.util import find_spec

from benchmarks.declare import Benchmark, Run
from benchmarks.fits import scores
from benchmarks.pages import by_method
from benchmarks.tables import batches
from benchmarks.tables.batches import AS_IS, CELLS_OF, EFFECTS, KINDS, changed, scores_of, tissue
from skst import LLMDSCClusterer

SETS = {name: data for name, data in batches.SETS.items() if KINDS[name] == CELLS_OF}
STRONG, LEFT_OUT = "efficiency of genes 1", "efficiency of genes 1, left out"
CASES = (AS_IS, STRONG, LEFT_OUT)
METHODS = {"not corrected": None, "shift": "shift", "Harmony": "harmony"}


def compared(run):
    """Rows of one set and case; a batch that is left out is predicted by a fit of the others."""
    adata, seed, case = tissue(run.data), run.names["seed"], run.names["case"]
    if case != AS_IS:
        adata = changed(adata, seed, **EFFECTS[STRONG])
    truth, parts, rows = adata.obs.pop("label"), adata.obs["part"].to_numpy(), []
    seen, scored = (parts < parts.max(), parts == parts.max()) if case == LEFT_OUT else (parts >= 0, parts >= 0)
    for method, batch_effect in METHODS.items():
        if batch_effect == "harmony" and find_spec("harmonypy") is None:
            continue
        settings = {"align_to": None, "batch_effect": batch_effect, "batch_key": "part", "random_state": seed}
        with warnings.catch_warnings(action="ignore"):
            model = LLMDSCClusterer(int(truth[seen].nunique()), **settings).fit(adata[seen].copy())
        labels = model.predict(adata[scored].copy()) if case == LEFT_OUT else model.labels_
        moved = 0.0 if model.batch_shift_ is None else round(float(model.batch_shift_.mean()), 4)
        found = scores_of(truth[scored], labels, parts[scored]) if case != LEFT_OUT else scores(truth[scored], labels)
        rows.append({"method": method, **found, "moved": moved})
    return rows


def runs(options):
    """One a set, case and seed."""
    return [
        Run({"data": data, "case": case, "seed": seed}, (compared,), SETS[data])
        for seed in range(options.seeds)
        for data in options.data
        for case in CASES
    ]


def table(rows, value, cases=CASES):
    """Mean ± SD over seeds of one score, one row a set and case."""
    rows = rows[rows["case"].isin(cases)]
    return by_method(rows.assign(set=rows["data"] + ": " + rows["case"]), value, index="set").drop(
        index="mean", errors="ignore"
    )


BENCHMARK = Benchmark(
    question="What of cells of several batches in LLMDSCClusterer, once their effects are taken out?",
    axes={"data": SETS},
    runs=runs,
    order={"data": SETS, "case": CASES, "method": METHODS, "seed": None},
    seeds=3,
)
