"""What SemSTClusterer costs, beside SemST's published code and as tissue grows."""

from functools import partial
from itertools import product
from pathlib import Path

import joblib
import numpy as np

from benchmarks.data import N_DOMAINS, read_tissue, write_tissue
from benchmarks.declare import COST, Benchmark, Run
from benchmarks.fits import encode_tissue, left, measured, median_epoch, stage
from benchmarks.methods import reader, semst, semst_network
from benchmarks.pages import growth
from benchmarks.published import LIMITS, STAGES
from benchmarks.published.semst import REPOSITORY, published_epochs
from benchmarks.records import commit_of

# Names of the stages that train one network for some epochs, and of those that do it all.
PUBLISHED, PAPER, DEFAULT = STAGES
FIT, PREDICT = WHOLE = ("SemSTClusterer.fit", "SemSTClusterer.predict")


def write_text(run):
    """Leave text vectors that cost what those of a sentence encoder cost."""
    shape = (run.settings["size"], 384)
    joblib.dump(np.random.default_rng(0).standard_normal(shape, dtype=np.float32), Path(run.folder) / "text")


def epochs(run):
    """Seconds of an epoch of one network, of the published code or of ours."""
    adata, _ = read_tissue(run)
    stage, n_epochs, text = run.names["stage"], run.settings["epochs"], Path(run.folder) / "text"
    if stage == PUBLISHED:
        seconds, row = measured(published_epochs, run.settings["checkout"], adata, joblib.load(text), n_epochs)
    else:
        model = semst_network(N_DOMAINS, paper=stage == PAPER, text=left(text), max_epochs=n_epochs)
        model, row = measured(model.fit, adata)
        seconds = model.history_["dur"]
    return {**row, "seconds": median_epoch(seconds), "ari": np.nan}


def runs(options):
    """The networks beside the published code, and whole fits."""
    commits = {PUBLISHED: commit_of(options.published)} if options.published else {}
    found = []
    for size, trained in product(options.peer_sizes, (*commits, PAPER, DEFAULT)):
        settings = {"size": size, "checkout": options.published, "epochs": options.epochs}
        known = {"outcome": "done", "published": commits.get(trained, "")}
        names = {"n_spots": size, "stage": trained}
        found.append(Run(names, (write_tissue, write_text, epochs), settings=settings, known=known, limits=LIMITS))
    # The default of SemSTClusterer, with a seed of its own.
    text = reader(0, model=options.model, mode="prompt", max_texts=1000)
    models = {FIT: semst(N_DOMAINS, 0, text=text), PREDICT: FIT}
    stages = (partial(stage, {"stage": name}, model, digits=4) for name, model in models.items())
    steps, known = (write_tissue, partial(encode_tissue, text), *stages), {"outcome": "done", "published": ""}
    for size in options.sizes:
        found.append(Run({"n_spots": size, "stage": PREDICT}, steps, settings={"size": size}, known=known))
    return found


BENCHMARK = Benchmark(
    question="Seconds and memory of its training, beside the published code?",
    runs=runs,
    draw=partial(growth, where=f"stage in {WHOLE}"),
    order={"n_spots": None, "stage": (*STAGES, *WHOLE)},
    options={
        "--published": (Path, f"checkout of github.com/{REPOSITORY}"),
        "--peer-sizes": ((1000, 5000, 20_000), "cells beside the published code"),
        "--sizes": ((10_000, 100_000, 1_000_000), "cells of whole fits"),
        "--epochs": (6, "epochs beside the published code, of which the first is not counted"),
        "--model": ("auto", "language model of whole fits"),
    },
    **COST,
)
