"""Published code beside LLMDSCClusterer: ``python benchmarks/published_cells.py --sccdcg PATH --scllm-dsc PATH``.

The paths are checkouts of

- https://github.com/XPgogogo/scCDCG
- https://github.com/XPgogogo/scLLM-DSC

and none of them is part of this repository.  Their training loops stand in no function, so their scripts
``train_scCDCG.py`` and ``main_AE.py`` are run as they are, but that one seed takes the place of their list of seeds.
What they would read from disk is handed over in memory, and what they write is dropped; scores are those that they log.

Settings are those of the scripts: counts as they are, of all genes ("PBMC68k reduced" has logarithms only); 200 epochs
of pre-training and 200 of training, a k-means of 20 starts after each; k is the number of labels.  scCDCG has weights
and rates for each of its own data sets, of which Maayan_Mouse_Pancreas_cell_1 is "Baron mouse 1" and ..._2 is
"Baron mouse 2"; all others get those of the first, which is the default of its script.  scLLM-DSC has one setting.

scLLM-DSC reads two vectors of each cell: the sum of the vectors of its 2,048 most expressed genes, each times its
count, and the vector of its sentence of genes.  Sums are as published, neither centred nor scaled; texts and language
model are those of ``skst.GeneTextEncoder``, which gives vectors to 3,000 genes and sentences to 60, of 300 cells, those
of the others being predicted.
"""

import argparse
import contextlib
import io
import os
import re
import runpy
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
from accuracy import in_order
from harness import at_hand, read
from llmdsc import N_READ, SETS
from methods import DataSet
from processes import limit, out_of_memory, peak_mib, run_apart
from published_semst import commit_of
from records import RESULTS, append, current_rows, provenance
from tables import by_method, head, section, seed_counts

from skst import GeneTextEncoder

# Rows do not depend on the code of skst, but for the texts, so they are kept when it changes.
PUBLISHED = "published code"
OURS = "LLMDSCClusterer"
# Name -> repository, and its script that trains.
CODE = {
    "scCDCG": ("XPgogogo/scCDCG", "train_scCDCG.py"),
    "scLLM-DSC": ("XPgogogo/scLLM-DSC", "main_AE.py"),
}
# What scCDCG calls the data sets that it has settings for; the first is its default.
NAMES = {"Baron mouse 1": "Maayan_Mouse_Pancreas_cell_1", "Baron mouse 2": "Maayan_Mouse_Pancreas_cell_2"}
BY_LABELS, LAST = "epoch chosen by labels", "last epoch"
SCORES = ("ari", "nmi", "acc")
# Most expressed genes of a cell whose vectors are summed.
N_SUMMED = 2048
LIMIT_GIB = 16
_SEEDS = re.compile(r"(?<=for seed in )\[[\d, ]+\]")
_LOGGED = re.compile(r"(Pre-Train )?ACC: ([\d.]+), NMI: ([\d.]+), ARI: (-?[\d.]+)")


class Job(NamedTuple):
    """One training of one method.

    Attributes
    ----------
    names : dict of str to str or int
        "data", "method" and "seed".
    data : DataSet
        Where the cells come from.
    checkout : pathlib.Path
        Of the published repository.
    settings : argparse.Namespace
        Of the command.
    text : tuple of two ndarray of shape (n_cells, n_columns), or None
        Vectors of cells, for scLLM-DSC: the sums over genes, and those of sentences.
    """

    names: dict
    data: DataSet
    checkout: Path
    settings: argparse.Namespace
    text: tuple | None = None


def script_of(checkout, method):
    """The script of a checkout that trains a method.

    Parameters
    ----------
    checkout : pathlib.Path
    method : {"scCDCG", "scLLM-DSC"}

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        If `checkout` is not one of the published repository.
    """
    repository, script = CODE[method]
    if not (checkout / script).is_file():
        argument = "--" + method.lower()
        raise FileNotFoundError(f"{argument}={str(checkout)!r} has no {script}; give a checkout of {repository}.")
    return checkout / script


def text_of(data):
    """The two vectors of each cell that scLLM-DSC reads: sums over genes, and those of sentences."""
    adata, _ = read(data)
    common = {"normalize": data.normalize, "random_state": 0}
    vectors = GeneTextEncoder(mode="aggregate", **common).fit(adata).gene_vectors_
    written = GeneTextEncoder(mode="sentence", k_g=60, max_texts=N_READ, **common).fit_transform(adata)
    return sum_of_genes(adata.X, vectors), written


def sum_of_genes(X, vectors, n_genes=N_SUMMED):
    """Vectors of the most expressed genes of each cell, times their counts, summed as in the code of scLLM-DSC.

    Parameters
    ----------
    X : sparse matrix of shape (n_cells, n_all_genes)
        Not negative.  Fractions are cut off.
    vectors : ndarray of shape (n_all_genes, n_columns), float32
    n_genes : int, default=2048
        Genes of each cell that count.

    Returns
    -------
    ndarray of shape (n_cells, n_columns), float32
    """
    X = X.tocsr(copy=True)
    X.data = np.trunc(X.data).astype(np.float32)
    for start, end in zip(X.indptr[:-1], X.indptr[1:], strict=True):
        if end - start > n_genes:
            counts = X.data[start:end]
            counts[np.argpartition(counts, -n_genes)[:-n_genes]] = 0
    return np.asarray(X @ vectors)


def train(script, x, y, seed, arguments, text=None):
    """Run a published training script in this process.

    Parameters
    ----------
    script : pathlib.Path
        Within its checkout.
    x : ndarray of shape (n_cells, n_genes), float32
        Expression.
    y : ndarray of shape (n_cells,), int
        Labels, from 0: the script scores every epoch by them.
    seed : int
        In place of its list of seeds.
    arguments : dict of str to str
        Of its command line; "dataname" among them.
    text : tuple of two ndarray, default=None
        Vectors of cells, for scLLM-DSC.

    Returns
    -------
    history : DataFrame of shape (n_epochs, 4)
        "trained", False while it pre-trains, and "acc", "nmi" and "ari", to four digits: one row an epoch.
    times : dict of str to float
        "setup_seconds" until the seed is set: graphs and imports; "seconds" from there on, with the k-means of every
        epoch; "processor_seconds", the same by the clock of this process.

    Raises
    ------
    ValueError
        If the script has no list of seeds.

    Notes
    -----
    Replaces modules and changes others: call it in a process of its own.  Everything is done on the CPU.
    """
    import torch

    source, found = _SEEDS.subn(f"[{seed}]", script.read_text("utf-8"))
    if found != 1:
        raise ValueError(f"{script.name} has {found} lists of seeds to replace, not one; take another commit.")
    log = _Log()
    _stand_in(x, y, log)
    torch.cuda.set_device = lambda device: None
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self: self
    sys.path.insert(0, str(script.parent))
    sys.argv = [script.name, *(part for name, value in arguments.items() for part in (f"--{name}", value))]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(folder)
        if text is not None:
            output = Path("output", arguments["dataname"])
            output.mkdir(parents=True)
            for name, vectors in zip(("weighted_cell_embeddings", "cell_top_genes_embeddings"), text, strict=True):
                np.savez(output / f"{name}.npz", embeddings=vectors)
        Path(script.name).write_text(source, "utf-8")
        start = time.perf_counter()
        runpy.run_path(script.name, run_name="__main__")
        os.chdir(script.parent)
    begin, end = log.clocks("Seed"), log.clocks("MAX")
    times = {"setup_seconds": begin[0] - start, "seconds": end[0] - begin[0], "processor_seconds": end[1] - begin[1]}
    return history_of(log.texts()), times


class _Log:
    """In place of the logger of loguru: keeps what is said, and when."""

    def __init__(self):
        self.said = []

    def add(self, *_, **__):
        pass

    def info(self, text):
        self.said.append((str(text), time.perf_counter(), time.process_time()))

    def texts(self):
        return [text for text, *_ in self.said]

    def clocks(self, start):
        """Both clocks when the first text that starts so was said."""
        return next(clocks for text, *clocks in self.said if text.startswith(start))


class _File(dict):
    """In place of an HDF5 file: holds arrays, and drops those that are written."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def create_dataset(self, *_, **__):
        pass


def _stand_in(x, y, log):
    """Replace the packages that the scripts import for files, logs, plots, or a small part of their work."""
    plots = SimpleNamespace(rcParams={})
    metrics = SimpleNamespace(pairwise_cosine_similarity=_cosine)
    sys.modules |= {
        "h5py": SimpleNamespace(File=lambda path, mode: _File(X=x, Y=y)),
        "loguru": SimpleNamespace(logger=log),
        "matplotlib": SimpleNamespace(pyplot=plots),
        "matplotlib.pyplot": plots,
        "pylab": SimpleNamespace(mpl=plots),
        "torchmetrics": SimpleNamespace(functional=metrics),
        "torchmetrics.functional": metrics,
        "dotenv": SimpleNamespace(load_dotenv=lambda: None),
        "openai": SimpleNamespace(OpenAI=None),
        **{name: SimpleNamespace() for name in ("scanpy", "umap", "jgraph")},
    }


def _cosine(x, y):
    return (x / x.norm(dim=1, keepdim=True)) @ (y / y.norm(dim=1, keepdim=True)).T


def history_of(texts):
    """Scores of all epochs, from what a script has logged; the summary that it logs last is left out."""
    found = [_LOGGED.search(text) for text in texts if text.startswith("Epoch")]
    rows = [(match[1] is None, *map(float, match.groups()[1:])) for match in found if match]
    return pd.DataFrame(rows, columns=["trained", "acc", "nmi", "ari"])


def scores_of(history):
    """Scores of the epoch that the published code reports, and of the last.

    Parameters
    ----------
    history : DataFrame
        As from `history_of`.

    Returns
    -------
    dict
        "labels_epoch", the first epoch of training of largest accuracy, from 1; its scores, "labels_ari" and so on; and
        those of the last epoch, "last_ari" and so on.
    """
    trained = history[history["trained"]].reset_index(drop=True)
    best = int(trained["acc"].argmax())
    return {
        "labels_epoch": best + 1,
        **{f"labels_{name}": float(trained[name].iloc[best]) for name in SCORES},
        **{f"last_{name}": float(trained[name].iloc[-1]) for name in SCORES},
    }


def execute(job):
    """The row of one training, within the limits of time and memory; the peak is that of the whole process."""
    limit(job.settings.minutes * 60, LIMIT_GIB)
    adata, truth = read(job.data)
    codes, _ = pd.factorize(truth, sort=True)
    name = "cells" if job.names["method"] == "scLLM-DSC" else NAMES.get(job.names["data"], NAMES["Baron mouse 1"])
    arguments = {"dataname": name, "num_class": str(truth.nunique()), "epochs": str(job.settings.epochs)}
    script = script_of(job.checkout, job.names["method"]).resolve()
    try:
        x = adata.X.toarray().astype(np.float32)
        history, times = train(script, x, codes, job.names["seed"], arguments, job.text)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return row_of(job, outcome=f"over {LIMIT_GIB} GiB")
    times = {name: round(value, 1) for name, value in times.items()}
    return row_of(job, n_epochs=len(history), peak_mib=round(peak_mib()), **times, **scores_of(history))


def row_of(job, outcome="done", **found):
    """A row of the table of runs; without what was found if the run was ended."""
    measured = ("n_epochs", "setup_seconds", "seconds", "processor_seconds", "peak_mib", "labels_epoch")
    scores = [f"{when}_{name}" for when in ("labels", "last") for name in SCORES]
    values = {name: found.get(name, np.nan) for name in (*measured, *scores)}
    return {**job.names, **values, "outcome": outcome, "published": commit_of(job.checkout)}


def ended(job, error):
    """The row of a process that was ended for its cost, else the error itself."""
    outcomes = {signal.SIGALRM: f"over {job.settings.minutes} minutes", signal.SIGKILL: "killed for its memory"}
    for number, outcome in outcomes.items():
        if str(error).endswith(f"exit code -{number.value}"):
            return row_of(job, outcome=outcome)
    return error


def main(argv=None):
    """Run what has not been run yet, write ``published_cells.csv`` and ``.md``; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for method, (repository, _) in CODE.items():
        parser.add_argument(f"--{method.lower()}", type=Path, metavar="PATH", help=f"checkout of {repository}")
    parser.add_argument("--data", nargs="+", choices=list(SETS), default=list(SETS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of each method, from 0 (default: 1)")
    parser.add_argument("--epochs", type=int, default=200, help="of pre-training, and again of training (default: 200)")
    parser.add_argument("--minutes", type=int, default=20, help="a run is ended after so many (default: 20)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results, and of llmdsc.csv")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    settings = parser.parse_args(argv)
    checkouts = {method: getattr(settings, method.lower().replace("-", "_")) for method in CODE}
    checkouts = {method: checkout for method, checkout in checkouts.items() if checkout}
    for method, checkout in checkouts.items():
        script_of(checkout, method)
    # Times are those of one core.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    settings.output.mkdir(parents=True, exist_ok=True)
    path = settings.output / "published_cells.csv"
    if settings.fresh:
        path.unlink(missing_ok=True)
    stamp = {**provenance(), "code": PUBLISHED}
    rows = current_rows(path, stamp)
    done = set() if rows.empty else set(rows[["data", "method", "seed"]].itertuples(index=False, name=None))
    jobs = [
        Job({"data": data, "method": method, "seed": seed}, SETS[data], checkout, settings)
        for seed in range(settings.seeds)
        for data in settings.data
        for method, checkout in checkouts.items()
        if (data, method, seed) not in done
    ]
    failed = measure(at_hand(jobs), path, stamp)
    rows = current_rows(path, stamp)
    if not rows.empty:
        paths = set(map(str, checkouts.values()))
        shown = ["PATH" if value in paths else value for value in argv]
        text = head("Cell types, by published code", rows, "published_cells.py", shown)
        text += report(in_order(rows, SETS, CODE), ours(settings.output / "llmdsc.csv"))
        path.with_suffix(".md").write_text(text, encoding="utf-8")
    return int(failed > 0)


def measure(jobs, path, stamp):
    """Append a row a job, each run in a process of its own; return how many failed other than by their cost."""
    failed, texts = 0, {}
    for number, job in enumerate(jobs, 1):
        data = job.names["data"]
        if job.names["method"] == "scLLM-DSC" and data not in texts:
            # Apart from the training, whose memory is measured.
            ((_, texts[data]),) = run_apart(text_of, [job.data])
        row = text = texts.get(data)
        if not isinstance(text, Exception):
            ((_, row),) = run_apart(execute, [job._replace(text=text if job.names["method"] == "scLLM-DSC" else None)])
            row = ended(job, row) if isinstance(row, Exception) else row
        label = f"[{number}/{len(jobs)}] " + ", ".join(str(value) for value in job.names.values())
        if isinstance(row, Exception):
            failed += 1
            print(f"{label} FAILED: {row}", flush=True)
            continue
        append(path, {**row, **stamp})
        shown = ("labels_ari", "last_ari", "labels_epoch", "seconds", "peak_mib")
        told = ", ".join(f"{name} {row[name]}" for name in shown)
        print(f"{label}: {told if row['outcome'] == 'done' else row['outcome']}", flush=True)
    return failed


def ours(path):
    """Rows of LLMDSCClusterer that ``llmdsc.py`` has made last: those of one state of the code."""
    if not path.exists():
        return pd.DataFrame()
    rows = pd.read_csv(path, dtype={"code": str})
    rows = rows[rows["method"] == OURS]
    return rows[rows["code"].isin(rows["code"].tail(1))].drop_duplicates(["data", "seed"], keep="last")


def report(rows, own):
    """The tables of runs of the published code and of ours, which may be none, as Markdown."""
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


if __name__ == "__main__":
    sys.exit(main())
