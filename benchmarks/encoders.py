"""The encoders of SpatialGraphTransformer, how good and at what cost: ``python benchmarks/encoders.py``.

Beside each stands the published code, if there are checkouts of it; see ``published_encoders.py``.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import published_encoders
from harness import at_hand, read
from methods import SPATIAL, DataSet
from processes import limit, out_of_memory, peak_mib, run_apart
from published_semst import at_least_two, commit_of
from records import RESULTS, append, current_rows, provenance
from scale import N_DOMAINS, N_GENES, draw
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from tables import by_method, head, section

from skst import SpatialGraphTransformer
from skst.datasets import make_spatial_domains
from skst.metrics import score_partition

NETWORKS = tuple(published_encoders.REPOSITORIES)
METHODS = ("smooth", *NETWORKS)
DATA = {name: SPATIAL[name] for name in ("STARmap", "osmFISH", "DLPFC 151510")}
SIZES = (10_000, 100_000)
# Whose code trains.
PUBLISHED, PAPER, DEFAULT = "published code", "skst, settings of the paper", "skst"
ACCURACY, COST, SCALE = TABLES = ("accuracy", "cost", "scale")
# A run of these tables ends at so many seconds, or when it asks for more than so many GiB.
LIMITS = {COST: (600, 16), SCALE: (600, 4)}
KILLED = "killed for its memory"
# The two ways from an embedding to domains.
STEPS = ("k-means", "mixture")


class Job(NamedTuple):
    """One training.

    Attributes
    ----------
    names : dict of str to str or int
        What tells it from others: "table", "data", "method", "stage" and "seed".
    data : DataSet
        Where the spots come from.
    settings : argparse.Namespace
        Of the command.
    """

    names: dict
    data: DataSet
    settings: argparse.Namespace


def execute(job):
    """Train once, within the limits of time and memory of its table.

    Parameters
    ----------
    job : Job

    Returns
    -------
    dict
        Columns of the table of runs.  Seconds are wall time from counts to embedding; "peak_mib" is that of the whole
        process, and "data_mib" its peak before, with libraries and data.
    """
    table = job.names["table"]
    if table in LIMITS:
        limit(*LIMITS[table])
    try:
        return {ACCURACY: score, COST: count, SCALE: fit}[table](job)
    except (MemoryError, RuntimeError) as error:
        if table not in LIMITS or not out_of_memory(error):
            raise
        return row_of(job, outcome=f"over {LIMITS[table][1]} GiB")


def score(job):
    """A full training and the domains found in its embedding."""
    adata, truth = read(job.data)
    method, stage, seed = (job.names[name] for name in ("method", "stage", "seed"))
    if stage == PUBLISHED:
        n_epochs = published_encoders.EPOCHS[method]
        call = partial(published_encoders.train, job.settings.published, method, adata, n_epochs)
    else:
        call = partial(_train, SpatialGraphTransformer(method, random_state=seed), adata)
    (embedding, epochs), cost = _timed(call, job.names)
    found = domains(embedding, truth.nunique(), seed)
    scores = {step: round(score_partition(truth, labels)["ari"], 5) for step, labels in found.items()}
    return row_of(job, n_spots=adata.n_obs, n_epochs=len(epochs), epoch=_median(epochs), **cost, **scores)


def count(job):
    """A few epochs; `n_epochs` is how many a full training has."""
    adata, _ = read(job.data)
    method, settings = job.names["method"], job.settings
    if job.names["stage"] == PUBLISHED:
        n_epochs = published_encoders.EPOCHS[method]
        call = partial(published_encoders.train, settings.published, method, adata, settings.epochs)
    else:
        model = SpatialGraphTransformer.paper(method, random_state=0)
        if job.names["stage"] == DEFAULT:
            model = SpatialGraphTransformer(type(model.method)(), random_state=0)
        n_epochs = _full_training(model.method)
        model.method.set_params(max_epochs=settings.epochs)
        call = partial(_train, model, adata)
    (_, epochs), cost = _timed(call, job.names)
    return row_of(job, n_spots=adata.n_obs, n_epochs=n_epochs, epoch=_median(epochs), **cost)


def fit(job):
    """A full training with default settings."""
    adata, _ = read(job.data)
    model = SpatialGraphTransformer(job.names["method"], random_state=0)
    (_, epochs), cost = _timed(partial(_train, model, adata), job.names)
    return row_of(job, n_spots=adata.n_obs, n_epochs=len(epochs), epoch=_median(epochs), **cost)


def domains(embedding, k, seed):
    """Partition an embedding in both ways.

    Parameters
    ----------
    embedding : ndarray of shape (n_spots, n_columns)
    k : int
        Number of domains.
    seed : int

    Returns
    -------
    dict of str to ndarray of int of shape (n_spots,)
        By k-means, and by a mixture of Gaussians of one covariance.
    """
    # To columns of unit variance on average: scikit-learn adds 1e-6 to each variance, whatever its scale.
    Z = embedding / np.sqrt(embedding.var(axis=0, dtype=np.float64).mean())
    steps = (
        KMeans(k, n_init=10, random_state=seed),
        GaussianMixture(k, covariance_type="tied", n_init=5, random_state=seed),
    )
    return {name: step.fit_predict(Z) for name, step in zip(STEPS, steps, strict=True)}


def row_of(job, **found):
    """The row of a job, of the same columns whatever was found."""
    columns = ("n_spots", "n_epochs", "epoch", "seconds", "peak_mib", "data_mib", *STEPS)
    published = job.names["stage"] == PUBLISHED
    return {
        **job.names,
        **{name: found.get(name, np.nan) for name in columns},
        "outcome": found.get("outcome", "done"),
        "published": _commit(job.settings.published, job.names["method"]) if published else "",
    }


def _commit(folder, method):
    return commit_of(published_encoders.checkout_of(folder, method))


def _train(model, adata):
    embedding = model.fit_transform(adata)
    return embedding, [] if model.history_ is None else model.history_["dur"]


def _timed(call, names):
    # Loaded before: most of the memory of a small run, and no part of its work.
    if names["stage"] == PUBLISHED:
        published_encoders.load_libraries(names["method"])
    elif names["method"] in NETWORKS:
        import_module(f"skst.embedding.encoders.{names['method']}")
    before, start = peak_mib(), time.perf_counter()
    found = call()
    seconds = time.perf_counter() - start
    return found, {"seconds": round(seconds, 2), "peak_mib": round(peak_mib()), "data_mib": round(before)}


def _median(seconds):
    """Of all epochs but the first."""
    return round(float(np.median(seconds[1:])), 5) if len(seconds) > 1 else np.nan


def _full_training(encoder):
    from skst.embedding.encoders.base import STEPS

    # All spots of each tissue make one batch, so that an epoch is a step.
    return STEPS if encoder.max_epochs == "auto" else encoder.max_epochs


def main(argv=None):
    """Run what has not been run yet, write ``encoders.csv``, ``.md`` and ``.png``; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", type=Path, metavar="FOLDER", help="folder of checkouts of the published code")
    parser.add_argument("--published-accuracy", action="store_true", help="train it in full, once a tissue (hours)")
    parser.add_argument("--table", nargs="+", choices=TABLES, default=TABLES, metavar="NAME")
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA), metavar="NAME")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=METHODS, metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0, 1, ... of each method (default: 5)")
    parser.add_argument(
        "--epochs", type=at_least_two, default=10, help="epochs beside the published code (default: 10)"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="simulated cells (default: 10^4 and 10^5)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    settings = parser.parse_args(argv)
    # One run at a time has all cores, and no GPU.
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    settings.output.mkdir(parents=True, exist_ok=True)
    path = settings.output / "encoders.csv"
    if settings.fresh:
        path.unlink(missing_ok=True)
    stamp = provenance()
    failed = measure(at_hand(missing(beside(settings), path, stamp)), path, stamp)
    failed += simulated(settings, path, stamp)
    rows = rows_of(path, stamp)
    if not rows.empty:
        rows = in_order(rows)
        shown = ["FOLDER" if value == str(settings.published) else value for value in argv]
        text = head("Encoders", rows, "encoders.py", shown) + report(rows)
        path.with_suffix(".md").write_text(text, encoding="utf-8")
        if (part := rows[(rows["table"] == SCALE) & (rows["outcome"] == "done")]).size:
            draw(part.assign(stage=part["method"]), path.with_suffix(".png"))
    return int(failed > 0)


def beside(settings):
    """The jobs on real tissue; says which published code is left out."""
    runs = set()
    if settings.published:
        for method in NETWORKS:
            if method in settings.method and (reason := published_encoders.absent(settings.published, method)):
                print(f"the published code of {method} is left out: {reason}", flush=True)
            else:
                runs.add(method)
    jobs = []
    for data in settings.data:
        for method in settings.method:
            wanted = []
            if ACCURACY in settings.table:
                wanted += [(ACCURACY, DEFAULT, seed) for seed in range(settings.seeds)]
                wanted += [(ACCURACY, PUBLISHED, 0)] if method in runs and settings.published_accuracy else []
            if COST in settings.table and method in NETWORKS:
                stages = (PUBLISHED, PAPER, DEFAULT) if method in runs else (PAPER, DEFAULT)
                wanted += [(COST, stage, 0) for stage in stages]
            for table, stage, seed in wanted:
                names = {"table": table, "data": data, "method": method, "stage": stage, "seed": seed}
                jobs.append(Job(names, DATA[data], settings))
    return jobs


def simulated(settings, path, stamp):
    """Run the jobs on simulated tissue that are missing; return how many failed."""
    failed = 0
    for size in settings.sizes if SCALE in settings.table else ():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tissue.h5ad"
            jobs = [
                Job(
                    {"table": SCALE, "data": f"{size} cells", "method": method, "stage": DEFAULT, "seed": 0},
                    DataSet(partial(_load, file)),
                    settings,
                )
                for method in settings.method
            ]
            if jobs := missing(jobs, path, stamp):
                for _, error in run_apart(partial(_simulate, size), [file]):
                    if error:
                        raise error
                failed += measure(jobs, path, stamp)
    return failed


def _simulate(size, file):
    adata = make_spatial_domains(size, n_genes=N_GENES, n_domains=N_DOMAINS, random_state=0)
    del adata.uns["truth"]
    adata.write_h5ad(file)


def _load(file):
    import anndata

    return anndata.read_h5ad(file)


def rows_of(path, stamp):
    """Rows that the current code has made, and full trainings by published code, which do not depend on it."""
    parts = [current_rows(path, {**stamp, "code": code}) for code in (stamp["code"], PUBLISHED)]
    return pd.concat(parts).sort_index()


def missing(jobs, path, stamp):
    """The jobs whose rows the file at `path` lacks."""
    rows = rows_of(path, stamp)
    if rows.empty:
        return jobs
    done = set(rows[["table", "data", "method", "stage", "seed"]].itertuples(index=False, name=None))
    return [job for job in jobs if tuple(job.names.values()) not in done]


def measure(jobs, path, stamp):
    """Append a row a job, each run in a process of its own; return how many failed other than by their cost."""
    failed = 0
    for number, (job, row) in enumerate(run_apart(execute, jobs), 1):
        label = f"[{number}/{len(jobs)}] " + ", ".join(str(value) for value in job.names.values())
        if isinstance(row, Exception):
            row = _ended(job, row)
        if isinstance(row, Exception):
            failed += 1
            print(f"{label} FAILED: {row}", flush=True)
            continue
        full = (row["table"], row["stage"]) == (ACCURACY, PUBLISHED)
        append(path, {**row, **stamp, **({"code": PUBLISHED} if full else {})})
        shown = ("k-means", "mixture", "epoch", "seconds", "peak_mib")
        done = ", ".join(f"{name} {row[name]}" for name in shown if not np.isnan(row[name]))
        print(f"{label}: {done if row['outcome'] == 'done' else row['outcome']}", flush=True)
    return failed


def _ended(job, error):
    """The row of a process that was ended for its cost, else the error itself."""
    if limits := LIMITS.get(job.names["table"]):
        outcomes = {signal.SIGALRM: f"over {limits[0] // 60} minutes", signal.SIGKILL: KILLED}
        for number, outcome in outcomes.items():
            if str(error).endswith(f"exit code -{number.value}"):
                return row_of(job, outcome=outcome)
    return error


def in_order(rows):
    """Rows in the order of the registries, ours before the published code, and by size and seed."""
    place = {name: number for number, name in enumerate((*DATA, *METHODS, DEFAULT, PAPER, PUBLISHED))}

    def rank(column):
        # Of simulated tissue by its number of cells, which comes first in its name.
        return column.map(lambda x: place[x] if x in place else int(str(x).split()[0]))

    return rows.sort_values(["data", "method", "stage", "seed"], key=rank)


def report(rows):
    """The tables of a table of runs, as Markdown."""
    part = {table: rows[rows["table"] == table] for table in TABLES}
    commits = rows[rows["stage"] == PUBLISHED].drop_duplicates("method").set_index("method")["published"]
    text = "\nEverything on the CPU, one run at a time, each in a process of its own."
    if len(commits):
        which = (f"github.com/{published_encoders.REPOSITORIES[name]} at {commits[name]}" for name in commits.index)
        text += f"  Published code: {', '.join(which)}."
    text += "\n"
    if len(part[ACCURACY]):
        text += accuracy(part[ACCURACY])
    if len(part[COST]):
        text += cost(part[COST], part[ACCURACY])
    if len(part[SCALE]):
        text += scale(part[SCALE])
    return text


def accuracy(rows):
    """Tables of full trainings on real tissue."""
    rows = rows.assign(
        method=[
            f"{method}, {stage}" if stage == PUBLISHED else method
            for method, stage in zip(rows["method"], rows["stage"], strict=True)
        ]
    )
    peak = rows.groupby(["data", "method"], sort=False)["peak_mib"].max().unstack()
    gaps = [_gaps(rows, step) for step in STEPS]
    return (
        section(
            "Adjusted Rand index",
            f"{rows['seed'].nunique()} seeds, mean ± standard deviation over them; the published code is trained once, "
            "with the seed that it sets itself.  The encoders are `SpatialGraphTransformer(method)` with default "
            "settings, the same for all tissues (20 columns).  Published code reads log-normalised counts of all "
            "genes, has its default settings, and where it asks for a number of neighbours, "
            f"{published_encoders.N_NEIGHBORS}.  Every embedding goes through the same two steps, first k-means (10 "
            "starts), then a mixture of Gaussians of one covariance (5 starts), which are told the number of labels; "
            "no consensus, no text.",
            *(by_method(rows, step).rename_axis(step) for step in STEPS),
            *(gap for gap in gaps if gap.size),
        )
        + section(
            "Seconds of a full training",
            "Wall time from counts to embedding, with graphs and projections.",
            by_method(rows, "seconds", digits=1),
        )
        + section(
            "Peak memory of a full training",
            "Largest resident size in MiB, libraries and data included.",
            peak.reindex(index=rows["data"].unique(), columns=rows["method"].unique()).round(),
        )
    )


def _gaps(rows, step):
    """Mean score of each encoder minus that of its published code."""
    means = rows.groupby(["data", "method"])[step].mean().unstack().reindex(rows["data"].unique())
    pairs = {name: f"{name}, {PUBLISHED}" for name in NETWORKS}
    gaps = {name: means[name] - means[other] for name, other in pairs.items() if {name, other} <= set(means)}
    table = pd.DataFrame(gaps, index=means.index).rename_axis(f"{step}, minus {PUBLISHED}")
    return table.map(lambda gap: f"{gap:+.3f}" if gap == gap else None)


def cost(rows, trained):
    """Tables of a few epochs beside the published code; `trained` tells when full trainings of it ended."""
    full = trained[trained["stage"] == PUBLISHED].set_index(["data", "method"])["n_epochs"].to_dict()
    n_epochs = [
        full.get((data, method), number) if stage == PUBLISHED else number
        for data, method, stage, number in rows[["data", "method", "stage", "n_epochs"]].itertuples(index=False)
    ]
    rows = rows.assign(n_epochs=n_epochs, training=np.multiply(n_epochs, rows["epoch"]))
    seconds = [
        f"{training:.1f} = {number:.0f} x {epoch:.4f}"
        for training, number, epoch in rows[["training", "n_epochs", "epoch"]].itertuples(index=False)
    ]
    above = rows["peak_mib"] - rows["data_mib"]
    limit_seconds, limit_gib = LIMITS[COST]
    return section(
        "Training seconds beside the published code",
        "Training seconds = epochs x median epoch, the first epoch left out; graphs, preprocessing and projections are "
        "not in them.  `settings of the paper` is `SpatialGraphTransformer.paper(method)`, with the genes, sizes, "
        "epochs and (but for stCluster) weights of the published code; `skst` is the default.  SpaceFlow and stCluster "
        "may stop early: the epochs of the published code are those that its full training took where the tables above "
        "have one, else, and with the settings of the paper, the most.  Every 50th epoch of stCluster has one more "
        "step, which the median leaves out.  `/` columns are shares.  A run is ended after "
        f"{limit_seconds // 60} minutes or when it asks for more than {limit_gib} GiB.",
        _wide(rows, "training", seconds),
    ) + section(
        "Peak memory beside the published code",
        "Largest resident size in MiB of the process of that run, with what comes before and after training; first of "
        "the whole process, then above its size with libraries and data alone.  Libraries are torch and, but for the "
        "published code of GraphST and stCluster, torch-geometric; for that of stCluster also dgl.",
        _wide(rows, "peak_mib", [f"{peak:.0f}" for peak in rows["peak_mib"]]),
        _wide(rows.assign(above=above), "above", [f"{peak:.0f}" for peak in above]).rename_axis(
            "above libraries and data"
        ),
    )


def _wide(rows, value, shown):
    """One row a tissue and method, one column a stage, and shares of the published code's numbers."""
    shown = [text if outcome == "done" else outcome for text, outcome in zip(shown, rows["outcome"], strict=True)]
    rows = rows.assign(shown=shown, **{"data, method": rows["data"] + ", " + rows["method"]})
    wide = rows.pivot(index="data, method", columns="stage", values=["shown", value])
    wide = wide.reindex(rows["data, method"].unique())
    stages = [stage for stage in (PUBLISHED, PAPER, DEFAULT) if stage in wide["shown"]]
    table = wide["shown"][stages].rename_axis(columns=None)
    for stage in stages[1:] if PUBLISHED in stages else ():
        shares = (wide[value][stage] / wide[value][PUBLISHED]).astype(float)
        table[f"{stage} / {PUBLISHED}"] = shares.map(lambda share: f"{share:.3f}" if share == share else None)
    return table


def scale(rows):
    """Tables of full trainings on simulated tissue."""
    limit_seconds, limit_gib = LIMITS[SCALE]
    seconds, memory = (
        rows.assign(shown=rows[value].map("{:.0f}".format).where(rows["outcome"] == "done", rows["outcome"]))
        .pivot(index="data", columns="method", values="shown")
        .reindex(index=rows["data"].unique(), columns=rows["method"].unique())
        .rename_axis(columns=None)
        for value in ("seconds", "peak_mib")
    )
    return section(
        "Seconds as tissue grows",
        f"From counts to embedding, simulated tissue of {N_GENES} genes, default settings.  A run is ended after "
        f"{limit_seconds // 60} minutes or when it asks for more than {limit_gib} GiB.",
        seconds,
    ) + section("Peak memory as tissue grows", "Largest resident size in MiB, libraries and data included.", memory)


if __name__ == "__main__":
    sys.exit(main())
