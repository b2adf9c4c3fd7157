"""What SemSTClusterer costs, beside SemST's published code and as tissue grows."""

import pickle
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.data import N_DOMAINS, read_tissue, write_tissue
from benchmarks.declare import COST, Benchmark, Run, checkout_option, number_option, sizes_option
from benchmarks.fits import measured, scores
from benchmarks.methods import reader, semst, semst_network
from benchmarks.pages import growth
from benchmarks.published.semst import REPOSITORY, at_least_two, published_epochs, random_text
from benchmarks.records import commit_of
from benchmarks.tables.scale import SIZES, Ready

PEER_SIZES = (1000, 5000, 20_000)
# Seconds and GiB after which a run beside the published code is ended.
LIMITS = 600, 16
# Names of the stages that train one network for some epochs, and of those that do it all.
PUBLISHED, PAPER, DEFAULT = "published code", "skst, settings of the paper", "skst"
FIT, PREDICT = "SemSTClusterer.fit", "SemSTClusterer.predict"
EPOCHS, WHOLE = (PUBLISHED, PAPER, DEFAULT), (FIT, PREDICT)


def write_text(run):
    """Leave random text vectors."""
    np.save(Path(run.folder) / "text.npy", random_text(run.settings["size"]))


def epochs(run):
    """Median seconds of an epoch of one network, of the published code or of ours; the first is left out."""
    adata, _ = read_tissue(run)
    stage, n_epochs, text = run.names["stage"], run.settings["epochs"], Path(run.folder) / "text.npy"
    if stage == PUBLISHED:
        seconds, row = measured(published_epochs, run.settings["checkout"], adata, np.load(text), n_epochs)
    else:
        model = semst_network(N_DOMAINS, paper=stage == PAPER, text=Ready(text), max_epochs=n_epochs)
        model, row = measured(model.fit, adata)
        seconds = model.history_["dur"]
    return {**row, "seconds": round(float(np.median(seconds[1:])), 4), "ari": np.nan}


def encode(run):
    """Have the texts encoded into the cache, where the whole fit finds their vectors."""
    _reader(run).fit_transform(read_tissue(run)[0])


def fit(run):
    """From counts to domains with default settings; leaves the fitted model behind."""
    model = semst(N_DOMAINS, 0, text=_reader(run))
    row = _whole(run, FIT, model.fit_predict)
    with (Path(run.folder) / "model.pkl").open("wb") as file:
        pickle.dump(model, file)
    return row


def predict(run):
    """Domains of the same tissue, by the fitted model, in a process that has not fitted it."""
    with (Path(run.folder) / "model.pkl").open("rb") as file:
        model = pickle.load(file)  # written by `fit`
    return _whole(run, PREDICT, model.predict)


def _reader(run):
    """The default of SemSTClusterer, with a seed of its own."""
    return reader(0, model=run.settings["model"], mode="prompt", max_texts=1000)


def _whole(run, stage, function):
    adata, truth = read_tissue(run)
    labels, row = measured(function, adata, digits=4)
    return {"stage": stage, **row, **scores(truth, labels, digits=4)}


def runs(options):
    """The networks beside the published code, and whole fits."""
    commits = {PUBLISHED: commit_of(options.published)} if options.published else {}
    found = []
    for size, stage in product(options.peer_sizes, (*commits, PAPER, DEFAULT)):
        settings = {"size": size, "checkout": options.published, "epochs": options.epochs}
        known = {"outcome": "done", "published": commits.get(stage, "")}
        names = {"n_spots": size, "stage": stage}
        found.append(Run(names, (write_tissue, write_text, epochs), settings=settings, known=known, limits=LIMITS))
    for size in options.sizes:
        settings, known = {"size": size, "model": options.model}, {"outcome": "done", "published": ""}
        names = {"n_spots": size, "stage": PREDICT}
        found.append(Run(names, (write_tissue, encode, fit, predict), settings=settings, known=known))
    return found


def commits(rows):
    """Which published code it is, as a sentence, if there is any."""
    found = [] if rows.empty else rows["published"].dropna().unique()
    return f"  The published code is commit {found[0]} of github.com/{REPOSITORY}." if len(found) else ""


def draw(rows, path):
    """Whole fits, where there are some."""
    if len(whole := rows[rows["stage"].isin(WHOLE)]):
        growth(whole, path)


BENCHMARK = Benchmark(
    title="Cost of SemSTClusterer",
    question="Seconds and memory of its training, beside the published code?",
    takes="about 45 minutes",
    runs=runs,
    draw=draw,
    order={"n_spots": None, "stage": (*EPOCHS, *WHOLE)},
    options={
        "--published": checkout_option(REPOSITORY),
        "--peer-sizes": sizes_option(PEER_SIZES, "cells beside the published code"),
        "--sizes": sizes_option(SIZES, "cells of whole fits"),
        "--epochs": number_option(6, "epochs beside the published code", type=at_least_two),
        "--model": {"default": "auto", "help": "language model of whole fits (default: the encoder's)"},
    },
    **COST,
)
