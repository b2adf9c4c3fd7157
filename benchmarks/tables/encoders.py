"""The encoders of SpatialGraphTransformer beside the published code, how good and at what cost."""

from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from benchmarks.data import N_GENES, SPATIAL, read, read_tissue, write_tissue
from benchmarks.declare import COST as ALONE
from benchmarks.declare import Benchmark, Run, sizes_option
from benchmarks.fits import timed
from benchmarks.methods import ENCODERS, NETWORKS, graph_encoder
from benchmarks.pages import by_method, by_stage, growth, section
from benchmarks.processes import peak_mib
from benchmarks.published import encoders as published
from benchmarks.published.semst import at_least_two
from benchmarks.records import commit_of
from skst.metrics import score_partition

DATA = {name: SPATIAL[name] for name in ("STARmap", "osmFISH", "DLPFC 151510")}
SIZES = (10_000, 100_000)
# Whose code trains.
PUBLISHED, PAPER, DEFAULT = STAGES = ("published code", "skst, settings of the paper", "skst")
ACCURACY, COST, SCALE = TABLES = ("accuracy", "cost", "scale")
# A run of these tables ends at so many seconds, or when it asks for more than so many GiB.
LIMITS = {COST: (600, 16), SCALE: (600, 4)}
# The two ways from an embedding to domains.
STEPS = ("k-means", "mixture")
COLUMNS = ("table", "data", "method", "stage", "seed", "n_spots", "n_epochs", "epoch", "seconds", "peak_mib")
COLUMNS += ("data_mib", *STEPS, "outcome", "published")


def execute(run):
    """Train once, in full or for a few epochs; where that is asked for, find the domains in the embedding.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict
        Columns of the table of runs.  Seconds are wall time from counts to embedding; "peak_mib" is that of the whole
        process, and "data_mib" its peak before, with libraries and data.  "n_epochs" is how many a full training has.
    """
    adata, truth = read(run.data) if run.data else read_tissue(run)
    method, stage, seed = (run.names[name] for name in ("method", "stage", "seed"))
    few = run.settings["epochs"] if run.names["table"] == COST else None
    if stage == PUBLISHED:
        n_epochs = published.EPOCHS[method]
        call = partial(published.train, run.settings["folder"], method, adata, few or n_epochs)
        published.load_libraries(method)
    else:
        model, n_epochs = graph_encoder(method, seed, paper=stage == PAPER, max_epochs=few)
        call = partial(_train, model, adata)
        if method in NETWORKS:
            # Loaded before: most of the memory of a small run, and no part of its work.
            import_module(f"skst.embedding.encoders.{method}")
    before = peak_mib()
    (embedding, epochs), seconds = timed(call)
    row = {"n_spots": adata.n_obs, "seconds": round(seconds, 2), "peak_mib": round(peak_mib())}
    row |= {"data_mib": round(before), "n_epochs": n_epochs if few else len(epochs)}
    if len(epochs) > 1:  # the first is left out
        row["epoch"] = round(float(np.median(epochs[1:])), 5)
    if run.names["table"] == ACCURACY:
        found = domains(embedding, truth.nunique(), seed)
        row |= {step: round(score_partition(truth, labels)["ari"], 5) for step, labels in found.items()}
    return row


def _train(model, adata):
    embedding = model.fit_transform(adata)
    return embedding, [] if model.history_ is None else model.history_["dur"]


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


def runs(options):
    """Those on real tissue, then those on simulated; says which published code is left out."""
    compared = _compared(options)
    found = []
    for data in options.data:
        for method in options.method:
            if ACCURACY in options.table:
                found += [_run(options, ACCURACY, data, method, DEFAULT, seed) for seed in range(options.seeds)]
                if method in compared and options.published_accuracy:
                    found.append(_run(options, ACCURACY, data, method, PUBLISHED))
            if COST in options.table and method in NETWORKS:
                stages = STAGES if method in compared else STAGES[1:]
                found += [_run(options, COST, data, method, stage) for stage in stages]
    if SCALE in options.table:
        for size in options.sizes:
            found += [_run(options, SCALE, f"{size} cells", method, DEFAULT, size=size) for method in options.method]
    return found


def _compared(options):
    """Methods whose published code is at hand."""
    found = []
    for method in options.method:
        if method in NETWORKS and options.published:
            if reason := published.absent(options.published, method):
                print(f"the published code of {method} is left out: {reason}", flush=True)
            else:
                found.append(method)
    return found


def _run(options, table, data, method, stage, seed=0, size=0):
    theirs = stage == PUBLISHED
    return Run(
        {"table": table, "data": data, "method": method, "stage": stage, "seed": seed},
        (write_tissue, execute) if size else (execute,),
        None if size else DATA[data],
        size=size,
        settings={"folder": options.published, "epochs": options.epochs},
        known={"published": commit_of(published.checkout_of(options.published, method))} if theirs else {},
        limits=LIMITS.get(table),
        columns=COLUMNS,
        # Full trainings by published code take hours, and do not depend on ours.
        lasting=theirs and table == ACCURACY,
    )


def report(rows, options):
    """The tables of a table of runs, as Markdown."""
    rows = rows.sort_values("data", kind="stable", key=lambda names: names.map(_place))
    part = {table: rows[rows["table"] == table] for table in TABLES}
    commits = rows[rows["stage"] == PUBLISHED].drop_duplicates("method").set_index("method")["published"]
    text = "\nEverything on the CPU, one run at a time, each in a process of its own."
    if len(commits):
        which = (f"github.com/{published.REPOSITORIES[name]} at {commits[name]}" for name in commits.index)
        text += f"  Published code: {', '.join(which)}."
    text += "\n"
    if len(part[ACCURACY]):
        text += accuracy(part[ACCURACY])
    if len(part[COST]):
        text += cost(part[COST], part[ACCURACY])
    if len(part[SCALE]):
        text += scale(part[SCALE])
    return text


def _place(name):
    """Of a data set; simulated tissue, whose number of cells comes first in its name, by its size."""
    return list(DATA).index(name) if name in DATA else int(name.split()[0])


def accuracy(rows):
    """Tables of full trainings on real tissue."""
    theirs = rows["stage"] == PUBLISHED
    rows = rows.assign(method=rows["method"].where(~theirs, rows["method"] + f", {PUBLISHED}"))
    peak = rows.groupby(["data", "method"], sort=False)["peak_mib"].max().unstack()
    gaps = [_gaps(rows, step) for step in STEPS]
    return (
        section(
            "Adjusted Rand index",
            f"{rows['seed'].nunique()} seeds, mean ± standard deviation over them; the published code is trained once, "
            "with the seed that it sets itself.  The encoders are `SpatialGraphTransformer(method)` with default "
            "settings, the same for all tissues (20 columns).  Published code reads log-normalised counts of all "
            "genes, has its default settings, and where it asks for a number of neighbours, "
            f"{published.N_NEIGHBORS}.  Every embedding goes through the same two steps, first k-means (10 "
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
        _shares(rows, "training", seconds),
    ) + section(
        "Peak memory beside the published code",
        "Largest resident size in MiB of the process of that run, with what comes before and after training; first of "
        "the whole process, then above its size with libraries and data alone.  Libraries are torch and, but for the "
        "published code of GraphST and stCluster, torch-geometric; for that of stCluster also dgl.",
        _shares(rows, "peak_mib", [f"{peak:.0f}" for peak in rows["peak_mib"]]),
        _shares(rows.assign(above=above), "above", [f"{peak:.0f}" for peak in above]).rename_axis(
            "above libraries and data"
        ),
    )


def _shares(rows, value, shown):
    """One row a tissue and method, one column a stage, and shares of the published code's numbers."""
    name = "data, method"
    rows = rows.assign(shown=shown, **{name: rows["data"] + ", " + rows["method"]})
    layout = {"index": name, "columns": "stage", "name": name}
    table = by_stage(rows, "shown", **layout)
    numbers = rows.pivot(index=name, columns="stage", values=value)
    table = table[[stage for stage in STAGES if stage in table]].rename_axis(columns=None)
    for stage in [stage for stage in table if stage != PUBLISHED] if PUBLISHED in table else ():
        shares = numbers[stage] / numbers[PUBLISHED]
        table[f"{stage} / {PUBLISHED}"] = shares.map(lambda share: f"{share:.3f}" if share == share else None)
    return table


def scale(rows):
    """Tables of full trainings on simulated tissue."""
    limit_seconds, limit_gib = LIMITS[SCALE]
    layout = {"index": "data", "columns": "method", "name": "data", "digits": 0}
    return section(
        "Seconds as tissue grows",
        f"From counts to embedding, simulated tissue of {N_GENES} genes, default settings.  A run is ended after "
        f"{limit_seconds // 60} minutes or when it asks for more than {limit_gib} GiB.",
        by_stage(rows, "seconds", **layout),
    ) + section(
        "Peak memory as tissue grows",
        "Largest resident size in MiB, libraries and data included.",
        by_stage(rows, "peak_mib", **layout),
    )


def draw(rows, path):
    """Full trainings on simulated tissue, where there are some."""
    part = rows[(rows["table"] == SCALE) & (rows["outcome"] == "done")]
    if len(part):
        growth(part, path, stage="method")


BENCHMARK = Benchmark(
    title="Encoders",
    question="How good is each encoder, and what does it cost beside the published code?",
    takes="about 30 minutes; `--published FOLDER` compares with the published code, and with `--published-accuracy` "
    "trains it in full, which takes hours and is not repeated when skst changes",
    runs=runs,
    report=report,
    draw=draw,
    order={"method": ENCODERS, "stage": (DEFAULT, PAPER, PUBLISHED), "seed": None},
    tables=TABLES,
    data=DATA,
    methods=ENCODERS,
    seeds=5,
    options={
        "--published": {"type": Path, "metavar": "FOLDER", "help": "folder of checkouts of the published code"},
        "--published-accuracy": {"action": "store_true", "help": "train it in full, once a tissue (hours)"},
        "--epochs": {"type": at_least_two, "default": 10, "help": "beside the published code (default: 10)"},
        "--sizes": sizes_option(SIZES, "simulated cells"),
    },
    **ALONE,
)
