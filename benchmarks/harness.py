"""Runs of (data set, method, seed): each in a fresh process, each written down as soon as it is done."""

import argparse
import os
import time
from pathlib import Path
from typing import NamedTuple

from methods import TEXT_FREE, DataSet
from processes import peak_mib, run_apart
from records import RESULTS, append, current_rows, provenance

from skst import GeneTextEncoder
from skst.datasets import mask_counts
from skst.metrics import score_partition

# Columns that are printed as runs end.
SHOWN = ("ari", "seconds", "peak_mib", "oracle epoch", "last epoch")


class Run(NamedTuple):
    """One fit of one method.

    Attributes
    ----------
    names : dict of str to str or int
        Columns that tell this run from others: "data", "method", "seed" and what a benchmark adds.
    data : DataSet
        Where the spots come from.
    factory : callable
        ``factory(k, seed, normalize)`` returns an unfitted estimator with ``fit_predict``.
    masked : float
        Share of the non-zero counts that are set to zero before.
    """

    names: dict
    data: DataSet
    factory: object
    masked: float = 0.0


def execute(run):
    """Fit once, without labels, and score.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict
        Columns of the table of runs.  Seconds are wall time of ``fit_predict``; the peak is that of the
        whole process, libraries and data included.
    """
    adata, truth = read(run.data)
    seed = run.names["seed"]
    if run.masked:
        adata = mask_counts(adata, run.masked, random_state=seed)
    k = int(truth.nunique())
    model = run.factory(k, seed, run.data.normalize)
    start = time.perf_counter()
    found = model.fit_predict(adata)
    seconds = time.perf_counter() - start
    scores = score_partition(truth, found)
    return {
        **run.names,
        "k": k,
        "n_spots": adata.n_obs,
        "n_genes": adata.n_vars,
        **{name: round(scores[name], 5) for name in ("ari", "nmi", "acc", "macro_f1")},
        "agreement": round(getattr(getattr(model, "clusterer_", None), "agreement_", float("nan")), 4),
        "seconds": round(seconds, 2),
        "peak_mib": round(peak_mib()),
        "text_model": getattr(getattr(model, "text_", None), "backend_name_", ""),
    }


def encode(run):
    """Put the text vectors of a data set into the cache, so that no run has to make them.

    Parameters
    ----------
    run : Run
        Of which only the data matter.

    Returns
    -------
    dict
        How many genes have a text, how many texts were not cached yet, and how long these took.
    """
    # Alone on the machine and torch not loaded yet: all cores are free.
    os.environ.pop("OMP_NUM_THREADS", None)
    adata, _ = read(run.data)
    encoder = GeneTextEncoder(normalize=run.data.normalize)
    start = time.perf_counter()
    encoder.fit(adata)
    seconds = time.perf_counter() - start
    return {
        "data": run.names["data"],
        "genes": adata.n_vars,
        "with_text": int((encoder.gene_report_["text"] != "").sum()),
        "coverage": round(encoder.coverage_, 4),
        "encoded": encoder.cache_misses_,
        "seconds": round(seconds, 1),
        "text_model": encoder.backend_name_,
    }


def run_all(runs, path, *, jobs=2, fresh=False, execute=execute, reads=True):
    """Execute the runs whose rows the file at `path` lacks, and append theirs.

    Parameters
    ----------
    runs : list of Run
    path : pathlib.Path
        Table of runs, a CSV; what was encoded goes into ``encoding.csv`` beside it.
    jobs : int, default=2
        Runs at the same time.
    fresh : bool, default=False
        Whether to delete the table first.
    execute : callable, default=execute
        Makes the row of a run.
    reads : bool, default=True
        Whether runs read gene texts, which are then encoded beforehand.

    Returns
    -------
    rows : DataFrame
        All rows that the current code has made, those of earlier calls included.
    failed : list of Run
        Runs that raised; they are tried again by the next call.
    """
    # Runs share the cores: one thread each.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    path.parent.mkdir(parents=True, exist_ok=True)
    if fresh:
        path.unlink(missing_ok=True)
    stamp = provenance()
    rows = current_rows(path, stamp)
    columns = list(runs[0].names)
    done = set() if rows.empty else set(rows[columns].itertuples(index=False, name=None))
    runs = at_hand([run for run in runs if tuple(run.names.values()) not in done])
    with_text = {run.names["data"]: run for run in runs if reads and run.names["method"] not in TEXT_FREE}
    failed = []
    # One at a time: data sets share genes, and no text is to be encoded twice.
    for run, row in run_apart(encode, with_text.values()):
        if isinstance(row, Exception):
            print(f"encoding the genes of {run.names['data']} FAILED: {row}", flush=True)
        elif row["encoded"]:
            append(path.with_name("encoding.csv"), {**row, **stamp})
            print(f"encoded {row['encoded']} texts of {row['data']} in {row['seconds']} s", flush=True)
    for number, (run, row) in enumerate(run_apart(execute, runs, jobs), 1):
        label = ", ".join(str(value) for value in run.names.values())
        if isinstance(row, Exception):
            failed.append(run)
            print(f"[{number}/{len(runs)}] {label} FAILED: {row}", flush=True)
            continue
        append(path, {**row, **stamp})
        print(
            f"[{number}/{len(runs)}] {label}: " + ", ".join(f"{name} {row[name]}" for name in SHOWN if name in row),
            flush=True,
        )
    return current_rows(path, stamp), failed


def tables_parser(description, tables, data, seeds):
    """Parser of the arguments that benchmarks of one estimator share; `seeds` says how many are the default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--table", nargs="+", choices=list(tables), default=list(tables), metavar="NAME")
    parser.add_argument("--data", nargs="+", choices=list(data), default=list(data), metavar="NAME")
    parser.add_argument("--seeds", type=int, help=f"seeds of each method (default: {seeds})")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time (default: 2)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    return parser


def runs_of_tables(arguments, tables, data, *, seeds, only=None):
    """Runs that fill the tables asked for, each once though several tables show it.

    Parameters
    ----------
    arguments : argparse.Namespace
        From `tables_parser`.
    tables : dict of str to dict
        Title -> factories, by name.
    data : dict of str to DataSet
    seeds : dict of str to int
        Title -> number of seeds, 3 for tables that are not in it.
    only : dict of str to sequence of str, default=None
        Title -> data sets, for tables that are not of all.

    Returns
    -------
    list of Run
    """
    only, wanted = only or {}, {}
    for table in arguments.table:
        shown = [name for name in arguments.data if name in only.get(table, data)]
        for method, factory in tables.get(table, {}).items():  # none for a table that is made in another way
            for name in shown:
                for seed in range(arguments.seeds or seeds.get(table, 3)):
                    names = {"data": name, "method": method, "seed": seed}
                    wanted[tuple(names.values())] = Run(names, data[name], factory)
    return list(wanted.values())


def read(data):
    """The data without labels, and the labels."""
    adata = data.load()
    return adata, adata.obs.pop("label")


def at_hand(runs):
    """The runs whose data are there; says which are not."""
    absent = set()
    for run in {run.names["data"]: run for run in runs}.values():
        try:
            run.data.load()
        except OSError as error:
            absent.add(run.names["data"])
            print(f"{run.names['data']} is left out: {error}", flush=True)
    return [run for run in runs if run.names["data"] not in absent]
