"""The encoders of SpatialGraphTransformer beside the published code, how good and at what cost."""

from functools import partial
from importlib import import_module
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.data import SPATIAL, read, read_tissue, write_tissue
from benchmarks.declare import COST as ALONE
from benchmarks.declare import Benchmark, Run
from benchmarks.fits import measured, median_epoch, scores
from benchmarks.methods import ENCODERS, KMEANS, MIXTURE, NETWORKS, graph_encoder
from benchmarks.pages import by_stage, growth
from benchmarks.published import STAGES
from benchmarks.published import encoders as published
from benchmarks.records import commit_of

DATA = {name: SPATIAL[name] for name in ("STARmap", "osmFISH", "DLPFC 151510")}
PUBLISHED, PAPER, DEFAULT = STAGES
ACCURACY, COST, SCALE = TABLES = ("accuracy", "cost", "scale")
# A run of these tables ends at so many seconds, or when it asks for more than so many GiB.
LIMITS = {COST: (600, 16), SCALE: (600, 4)}
# The two ways from an embedding to domains.
STEPS = ("k-means", "mixture")


def execute(run):
    """Train once, in full or for a few epochs; where that is asked for, find the domains in the embedding.

    "seconds" are from counts to embedding, and "n_epochs" is how many a full training has.
    """
    adata, truth = read(run.data) if run.data else read_tissue(run)
    method, stage, seed = (run.names[name] for name in ("method", "stage", "seed"))
    few = run.settings["epochs"] if run.names["table"] == COST else None
    if stage == PUBLISHED:
        n_epochs = published.EPOCHS[method]
        published.load_libraries(method)
        folder = run.settings["folder"]
        (embedding, epochs), row = measured(published.train, folder, method, adata, few or n_epochs)
    else:
        model, n_epochs = graph_encoder(method, seed, paper=stage == PAPER, max_epochs=few)
        if method in NETWORKS:
            # Loaded before: most of the memory of a small run, and no part of its work.
            import_module(f"skst.embedding.encoders.{method}")
        embedding, row = measured(model.fit_transform, adata)
        epochs = [] if model.history_ is None else model.history_["dur"]
    row |= {"n_spots": adata.n_obs, "n_epochs": n_epochs if few else len(epochs), "epoch": median_epoch(epochs)}
    if run.names["table"] != ACCURACY:
        return row | dict.fromkeys(STEPS, np.nan)
    found = domains(embedding, truth.nunique(), seed)
    return row | {step: scores(truth, labels)["ari"] for step, labels in found.items()}


def domains(embedding, k, seed):
    """Partition an embedding in both ways: labels by k-means, and by a mixture of Gaussians of one covariance."""
    # To columns of unit variance on average: scikit-learn adds 1e-6 to each variance, whatever its scale.
    Z = embedding / np.sqrt(embedding.var(axis=0, dtype=np.float64).mean())
    steps = KMEANS(k, random_state=seed), MIXTURE(k, n_init=5, random_state=seed)
    return {name: step.fit_predict(Z) for name, step in zip(STEPS, steps, strict=True)}


def runs(options):
    """Those on real tissue, then those on simulated; says which published code is left out."""
    networks = [method for method in options.method if method in NETWORKS and options.published]
    compared = published.at_hand(options.published, networks)
    real, stages = list(product(options.data, options.method)), dict.fromkeys(NETWORKS, STAGES[1:])
    stages |= dict.fromkeys(compared, STAGES)
    found = [(ACCURACY, *names, DEFAULT, seed) for names in real for seed in range(options.seeds)]
    if options.published_accuracy:
        found += [(ACCURACY, data, method, PUBLISHED, 0) for data, method in real if method in compared]
    found += [(COST, data, method, stage, 0) for data, method in real for stage in stages.get(method, ())]
    found += [(SCALE, size, method, DEFAULT, 0) for size, method in product(options.sizes, options.method)]
    return [_run(options, *names) for names in found if names[0] in options.table]


def _run(options, table, data, method, stage, seed):
    known = {"outcome": "done", "published": ""}
    if stage == PUBLISHED:
        known["published"] = commit_of(published.checkout_of(options.published, method))
        if table == ACCURACY:  # takes hours, and does not depend on our code
            known["code"] = PUBLISHED
    name = f"{data} cells" if table == SCALE else data
    return Run(
        {"table": table, "data": name, "method": method, "stage": stage, "seed": seed},
        (write_tissue, execute) if table == SCALE else (execute,),
        DATA.get(data),
        {"size": data, "folder": options.published, "epochs": options.epochs},
        known,
        LIMITS.get(table),
    )


def part(rows, table):
    """Rows of a table; simulated tissue, whose number of cells comes first in its name, by its size."""
    place = (lambda name: int(name.split()[0])) if table == SCALE else [*DATA].index
    rows = rows[rows["table"] == table].sort_values("data", kind="stable", key=lambda names: names.map(place))
    theirs = (rows["stage"] == PUBLISHED) & (table == ACCURACY)
    return rows.assign(encoder=rows["method"], method=rows["method"].where(~theirs, rows["method"] + f", {PUBLISHED}"))


def with_training(rows, full):
    """Rows of a few epochs with seconds of a training, also in words, and memory above that of libraries and data.

    The published code may stop early: `full` has trainings of it that tell how many epochs it takes.
    """
    taken = full[full["stage"] == PUBLISHED][["data", "encoder", "stage", "n_epochs"]]
    rows = rows.merge(taken, "left", ["data", "encoder", "stage"], suffixes=("", "_taken"))
    n_epochs = rows["n_epochs_taken"].fillna(rows["n_epochs"])
    training, above = n_epochs * rows["epoch"], rows["peak_mib"] - rows["data_mib"]
    told = [f"{a:.1f} = {b:.0f} x {c:.4f}" for a, b, c in zip(training, n_epochs, rows["epoch"], strict=True)]
    names = rows["data"] + ", " + rows["encoder"]
    return rows.assign(training=training, told=told, above=above, **{"data, method": names})


def beside(rows, value, told=None):
    """One row a tissue and method, one column a stage, and shares of the published code's numbers."""
    digits = None if told else 0
    table = by_stage(rows, told or value, index="data, method", name="data, method", digits=digits)
    table = table[[stage for stage in STAGES if stage in table]]
    numbers = rows.pivot(index="data, method", columns="stage", values=value)
    for stage in [stage for stage in table if stage != PUBLISHED] if PUBLISHED in table else ():
        table[f"{stage} / {PUBLISHED}"] = (numbers[stage] / numbers[PUBLISHED]).map("{:.3f}".format, na_action="ignore")
    return table


BENCHMARK = Benchmark(
    question="How good is each encoder, and what does it cost beside the published code?",
    runs=runs,
    draw=partial(growth, where=f"table == '{SCALE}' and outcome == 'done'", stage="method"),
    order={"method": ENCODERS, "stage": (DEFAULT, PAPER, PUBLISHED), "seed": None},
    axes={"table": TABLES, "data": DATA, "method": ENCODERS},
    seeds=5,
    options={
        "--published": (Path, "folder of checkouts of the published code"),
        "--published-accuracy": (False, "train it in full, once a tissue (hours)"),
        "--epochs": (10, "epochs beside the published code, of which the first is not counted"),
        "--sizes": ((10_000, 100_000), "simulated cells"),
    },
    **ALONE,
)
