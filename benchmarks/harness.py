"""Runs of (data set, method, seed): each in a fresh process, each written down as soon as it is done."""

import csv
import hashlib
import multiprocessing
import os
import subprocess
import sys
import time
import traceback
import warnings
from datetime import datetime
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from methods import TEXT_FREE, DataSet

import skst
from skst import GeneTextEncoder
from skst.datasets import mask_counts
from skst.metrics import score_partition

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
# A server that has loaded the libraries and forks a process for each run: fresh memory at no start-up cost.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    ["anndata", "sklearn.pipeline", "skst.datasets", "skst.metrics", "skst.spallm"]
)


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
    adata, truth = _read(run.data)
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
    adata, _ = _read(run.data)
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


def run_all(runs, path, *, jobs=2, fresh=False):
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
    runs = _at_hand([run for run in runs if tuple(run.names.values()) not in done])
    with_text = {run.names["data"]: run for run in runs if run.names["method"] not in TEXT_FREE}
    failed = []
    # One at a time: data sets share genes, and no text is to be encoded twice.
    for run, row in run_apart(encode, with_text.values()):
        if isinstance(row, Exception):
            sys.exit(f"Encoding the genes of {run.names['data']} failed: {row}")
        if row["encoded"]:
            append(path.with_name("encoding.csv"), {**row, **stamp})
            print(f"encoded {row['encoded']} texts of {row['data']} in {row['seconds']} s", flush=True)
    for number, (run, row) in enumerate(run_apart(execute, runs, jobs), 1):
        label = ", ".join(str(value) for value in run.names.values())
        if isinstance(row, Exception):
            failed.append(run)
            print(f"[{number}/{len(runs)}] {label} FAILED: {row}", flush=True)
            continue
        append(path, {**row, "date": f"{datetime.now():%Y-%m-%d}", **stamp})
        print(
            f"[{number}/{len(runs)}] {label}: ARI {row['ari']:.3f}, {row['seconds']} s, {row['peak_mib']} MiB",
            flush=True,
        )
    return current_rows(path, stamp), failed


def run_apart(function, arguments, jobs=1):
    """Call `function` on each argument in a process of its own.

    Parameters
    ----------
    function : callable
        Of one argument, at the top level of a module.
    arguments : iterable
    jobs : int, default=1
        Processes at the same time.

    Yields
    ------
    argument, result
        As they are done; the result is an exception where the call raised or its process died.
    """
    waiting, running = iter(arguments), {}
    while True:
        for argument in islice(waiting, jobs - len(running)):
            receiver, sender = _PROCESSES.Pipe(duplex=False)
            process = _PROCESSES.Process(
                target=_answer, args=(sender, dict(os.environ), function, argument), daemon=True
            )
            process.start()
            sender.close()
            running[receiver] = process, argument
        if not running:
            return
        for receiver in wait(list(running)):
            process, argument = running.pop(receiver)
            try:
                result = receiver.recv()
                process.join()
            except EOFError:
                process.join()
                result = RuntimeError(f"the process ended with exit code {process.exitcode}")
            yield argument, result


def _answer(sender, environment, function, argument):
    os.environ.update(environment)  # that of the server may be older
    try:
        with warnings.catch_warnings():
            # Cells have no coordinates, and every run would say so.
            warnings.filterwarnings("ignore", message="X has no coordinates")
            result = function(argument)
    except Exception:
        result = RuntimeError(traceback.format_exc())
    sender.send(result)


def _read(data):
    """The data without labels, and the labels."""
    adata = data.load()
    return adata, adata.obs.pop("label")


def _at_hand(runs):
    """The runs whose data are there; says which are not."""
    absent = set()
    for run in {run.names["data"]: run for run in runs}.values():
        try:
            run.data.load()
        except OSError as error:
            absent.add(run.names["data"])
            print(f"{run.names['data']} is left out: {error}", flush=True)
    return [run for run in runs if run.names["data"] not in absent]


def peak_mib():
    """Largest resident size of this process so far, in MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def provenance():
    """What made a row: version, commit, and a hash of the code that numbers depend on."""
    digest = hashlib.sha256()
    package = Path(skst.__file__).parent
    sources = [path for path in package.rglob("*") if path.suffix in (".py", ".tsv")]
    for path in [*sorted(sources), HERE / "methods.py"]:
        digest.update(path.relative_to(path.parents[1]).as_posix().encode() + path.read_bytes())
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty"]
    try:
        described = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
        commit = described.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return {"version": skst.__version__, "commit": commit, "code": digest.hexdigest()[:12]}


def append(path, row):
    """Add a row to a CSV, which is begun if it is not there."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def current_rows(path, stamp):
    """Rows of a CSV that the current code has made; another version's are left where they are."""
    if not path.exists():
        return pd.DataFrame()
    rows = pd.read_csv(path, dtype={"version": str, "commit": str, "code": str}, keep_default_na=False,
                       na_values={"agreement": ["nan"]})
    return rows[(rows["version"] == stamp["version"]) & (rows["code"] == stamp["code"])]
