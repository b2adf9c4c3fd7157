"""The published code of scCDCG and scLLM-DSC beside LLMDSCClusterer."""

from itertools import product
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from benchmarks.data import MICE, read
from benchmarks.declare import Benchmark, Run
from benchmarks.pages import by_method
from benchmarks.processes import peak_mib
from benchmarks.published import LIMITS
from benchmarks.published.cells import NAMES, REPOSITORIES, SCORES, scores_of, script_of, text_of, train
from benchmarks.records import PUBLISHED, commit_of, rows_of

OURS = "LLMDSCClusterer"
BY_LABELS, LAST = "epoch chosen by labels", "last epoch"


def write(run):
    """Leave the text of each cell: apart from the training, whose memory is measured."""
    joblib.dump(text_of(run.data), Path(run.folder) / "text")


def execute(run):
    """Train once; the peak is that of the whole process."""
    adata, truth = read(run.data)
    codes, _ = pd.factorize(truth, sort=True)
    method, text = run.names["method"], None
    name = NAMES.get(run.names["data"], NAMES["Baron mouse 1"])
    if method == "scLLM-DSC":
        name, text = "cells", joblib.load(Path(run.folder) / "text")
    arguments = {"dataname": name, "num_class": str(truth.nunique()), "epochs": str(run.settings["epochs"])}
    x = adata.X.toarray().astype(np.float32)
    history, times = train(run.settings["script"], x, codes, run.names["seed"], arguments, text)
    times = {name: round(value, 1) for name, value in times.items()}
    return {"n_epochs": len(history), "peak_mib": round(peak_mib()), **times, **scores_of(history)}


def runs(options):
    """Those of the checkouts that are given."""
    checkouts = {method: getattr(options, method.lower().replace("-", "_")) for method in REPOSITORIES}
    scripts = {method: script_of(path, method).resolve() for method, path in checkouts.items() if path}
    return [
        Run(
            {"data": data, "method": method, "seed": seed},
            (write, execute) if method == "scLLM-DSC" else (execute,),
            MICE[data],
            {"script": script, "epochs": options.epochs},
            {"outcome": "done", "published": commit_of(script.parent), "code": PUBLISHED},
            (options.minutes * 60, LIMITS[1]),
        )
        for seed, data, (method, script) in product(range(options.seeds), options.data, scripts.items())
    ]


def ours(rows, options):
    """Rows of LLMDSCClusterer on the same data that its own benchmark has made last, of one state of the code."""
    own = rows_of(options.output / "llmdsc.csv")
    if own.empty:
        return own
    own = own[own["method"] == OURS]
    own = own[own["code"].isin(own["code"].tail(1)) & own["data"].isin(rows["data"])]
    return own.drop_duplicates(["data", "seed"], keep="last").assign(outcome="done")


def by_epoch(rows):
    """The rows twice: with the scores of the epoch chosen by labels as "ari" and so on, and with those of the last."""
    return pd.concat(
        part.rename(columns={f"{when}_{name}": name for name in SCORES}).assign(method=f"{method}, {epoch}")
        for method, part in rows.groupby("method", sort=False)
        for when, epoch in (("labels", BY_LABELS), ("last", LAST))
    )


def shown(rows, value, digits):
    """One row a data set and one column a method; what became of runs that were ended in place of their numbers."""
    done = rows["outcome"] == "done"
    table = by_method(rows[done], value, digits=digits) if done.any() else pd.DataFrame()
    became = rows[~done].groupby(["data", "method"])["outcome"].first().unstack()
    order = [*rows["data"].unique(), *table.index.difference(rows["data"], sort=False)]
    return table.reindex(index=order, columns=rows["method"].unique()).fillna(became).rename_axis("data")


BENCHMARK = Benchmark(
    question="How good is the published code of scCDCG and scLLM-DSC at the epoch that labels choose and at its last, "
    "beside LLMDSCClusterer?",
    runs=runs,
    order={"data": MICE, "method": REPOSITORIES, "seed": None},
    axes={"data": MICE},
    seeds=1,
    options={
        **{f"--{name.lower()}": (Path, f"checkout of github.com/{code}") for name, code in REPOSITORIES.items()},
        "--epochs": (200, "of pre-training, and again of training"),
        "--minutes": (20, "after which a run is ended"),
    },
    # Times are those of one core.
    alone=True,
)
