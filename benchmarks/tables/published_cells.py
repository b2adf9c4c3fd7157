"""The published code of scCDCG and scLLM-DSC beside LLMDSCClusterer."""

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.data import MICE, read
from benchmarks.declare import Benchmark, Run, checkout_option
from benchmarks.pages import by_method, section, seed_counts
from benchmarks.processes import peak_mib
from benchmarks.published.cells import CODE, NAMES, SCORES, scores_of, script_of, text_of, train
from benchmarks.records import commit_of

OURS = "LLMDSCClusterer"
BY_LABELS, LAST = "epoch chosen by labels", "last epoch"
LIMIT_GIB = 16
COLUMNS = ("data", "method", "seed")
COLUMNS += ("n_epochs", "setup_seconds", "seconds", "processor_seconds", "peak_mib", "labels_epoch")
COLUMNS += (*(f"{when}_{name}" for when in ("labels", "last") for name in SCORES), "outcome", "published")


def write(run):
    """Leave the text of each cell: apart from the training, whose memory is measured."""
    np.savez(Path(run.folder) / "text.npz", *text_of(run.data))


def execute(run):
    """Train once; the peak is that of the whole process."""
    adata, truth = read(run.data)
    codes, _ = pd.factorize(truth, sort=True)
    method, text = run.names["method"], None
    name = NAMES.get(run.names["data"], NAMES["Baron mouse 1"])
    if method == "scLLM-DSC":
        name, text = "cells", tuple(np.load(Path(run.folder) / "text.npz").values())
    arguments = {"dataname": name, "num_class": str(truth.nunique()), "epochs": str(run.settings["epochs"])}
    x = adata.X.toarray().astype(np.float32)
    history, times = train(run.settings["script"], x, codes, run.names["seed"], arguments, text)
    times = {name: round(value, 1) for name, value in times.items()}
    return {"n_epochs": len(history), "peak_mib": round(peak_mib()), **times, **scores_of(history)}


def runs(options):
    """Those of the checkouts that are given."""
    checkouts = {method: getattr(options, method.lower().replace("-", "_")) for method in CODE}
    scripts = {method: script_of(path, method).resolve() for method, path in checkouts.items() if path}
    return [
        Run(
            {"data": data, "method": method, "seed": seed},
            (write, execute) if method == "scLLM-DSC" else (execute,),
            MICE[data],
            settings={"script": script, "epochs": options.epochs},
            known={"published": commit_of(script.parent)},
            limits=(options.minutes * 60, LIMIT_GIB),
            columns=COLUMNS,
            lasting=True,
        )
        for seed in range(options.seeds)
        for data in options.data
        for method, script in scripts.items()
    ]


def ours(path):
    """Rows of LLMDSCClusterer that its own benchmark has made last: those of one state of the code."""
    if not path.exists():
        return pd.DataFrame()
    rows = pd.read_csv(path, dtype={"code": str})
    rows = rows[rows["method"] == OURS]
    return rows[rows["code"].isin(rows["code"].tail(1))].drop_duplicates(["data", "seed"], keep="last")


def report(rows, options):
    """The tables of runs of the published code and of ours, which may be none, as Markdown."""
    own = ours(options.output / "llmdsc.csv")
    own = own[own["data"].isin(rows["data"])].assign(outcome="done") if len(own) else own
    commits = rows.drop_duplicates("method").set_index("method")["published"]
    which = ", ".join(f"github.com/{CODE[method][0]} at {commit}" for method, commit in commits.items())
    note = (
        f'Columns "{BY_LABELS}" show what the published code reports: of the epochs of training, the one whose '
        "clusters agree best (accuracy) with the labels that are to be found, so they cannot be had without labels.  "
        f'"{LAST}" is the last epoch of the same training, which starts from the epoch of pre-training that agrees '
        f"best with the labels, too, as the code has it.  {seed_counts(pd.concat([rows, own]))}"
    )
    if len(own):
        note += f"  {OURS} sees no labels; its rows are those of llmdsc.csv (code {own['code'].iloc[0]})."
    scored, cost = pd.concat([by_epoch(rows), own]), pd.concat([rows, own])
    wall = (
        "Wall time on one thread while other programs ran.  Of the published code: pre-training and training, with the "
        "k-means of 20 starts after each epoch.  Of ours: the whole fit, text vectors at hand."
    )
    tables = (
        (scored, "ari", 3, "Adjusted Rand index", note),
        (scored, "nmi", 3, "Normalised mutual information", "Of the same epochs."),
        (scored, "acc", 3, "Accuracy", "Of the same epochs, clusters matched to labels."),
        (cost, "seconds", 0, "Training seconds", wall),
        (rows, "processor_seconds", 0, "Processor seconds", "Of the same trainings: other programs do not count."),
        (rows, "setup_seconds", 1, "Set-up seconds", "Wall time before: imports, and graphs of all pairs of cells."),
        (cost, "peak_mib", 0, "Peak memory", "Largest resident size in MiB, libraries and data included."),
        (rows, "n_epochs", 0, "Epochs run", "Of pre-training and training together."),
        (rows, "labels_epoch", 0, "Epoch chosen by labels", "Of those of training, from 1."),
    )
    text = (
        f"\nPublished code: {which}.  Both read counts as they are, neither scaled nor logarithms, as their scripts do "
        'with their own data; of "PBMC68k reduced" there are logarithms only.  Settings and texts are described at the '
        "head of the command's file.  The tables are filled from all runs, whichever command made them.\n"
    )
    return text + "".join(section(title, note, shown(part, name, digits)) for part, name, digits, title, note in tables)


def by_epoch(rows):
    """The rows twice: with the scores of the epoch chosen by labels as "ari" and so on, and with those of the last."""
    parts = []
    for method in rows["method"].unique():
        for when, epoch in (("labels", BY_LABELS), ("last", LAST)):
            part = rows[rows["method"] == method].rename(columns={f"{when}_{name}": name for name in SCORES})
            parts.append(part.assign(method=f"{method}, {epoch}"))
    return pd.concat(parts)


def shown(rows, value, digits):
    """One row a data set and one column a method; what became of runs that were ended in place of their numbers."""
    done = rows["outcome"] == "done"
    table = by_method(rows[done], value, digits=digits) if done.any() else pd.DataFrame()
    became = rows[~done].groupby(["data", "method"])["outcome"].first().unstack()
    order = [*rows["data"].unique(), *table.index.difference(rows["data"], sort=False)]
    return table.reindex(index=order, columns=rows["method"].unique()).fillna(became).rename_axis("data")


BENCHMARK = Benchmark(
    title="Cell types, by published code",
    question="How good is the published code of scCDCG and scLLM-DSC at the epoch that labels choose and at its last, "
    "beside LLMDSCClusterer?",
    takes="about an hour for one seed; not repeated when skst changes",
    runs=runs,
    report=report,
    order={"data": MICE, "method": CODE, "seed": None},
    data=MICE,
    seeds=1,
    options={
        **{f"--{method.lower()}": checkout_option(repository) for method, (repository, _) in CODE.items()},
        "--epochs": {"type": int, "default": 200, "help": "of pre-training, and again of training (default: 200)"},
        "--minutes": {"type": int, "default": 20, "help": "a run is ended after so many (default: 20)"},
    },
    # Times are those of one core.
    alone=True,
)
