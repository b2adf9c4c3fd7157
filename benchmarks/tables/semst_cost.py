"""What SemSTClusterer costs, beside SemST's published code and as tissue grows."""

import pickle
from pathlib import Path

import numpy as np

from benchmarks.data import N_DOMAINS, N_GENES, read_tissue, write_tissue
from benchmarks.declare import COST, Benchmark, Run, checkout_option, sizes_option
from benchmarks.fits import timed
from benchmarks.methods import reader, semst, semst_network
from benchmarks.pages import by_stage, growth, section
from benchmarks.processes import peak_mib
from benchmarks.published.semst import REPOSITORY, at_least_two, published_epochs, random_text
from benchmarks.records import commit_of
from benchmarks.tables.scale import SIZES, Ready
from skst.metrics import score_partition

PEER_SIZES = (1000, 5000, 20_000)
# Seconds and GiB after which a run beside the published code is ended.
LIMITS = 600, 16
# Names of the stages that train one network for some epochs, and of those that do it all.
PUBLISHED, PAPER, DEFAULT = "published code", "skst, settings of the paper", "skst"
FIT, PREDICT = "SemSTClusterer.fit", "SemSTClusterer.predict"
EPOCHS, WHOLE = (PUBLISHED, PAPER, DEFAULT), (FIT, PREDICT)
COLUMNS = ("n_spots", "stage", "seconds", "peak_mib", "data_mib", "ari", "outcome", "published")


def write_text(run):
    """Leave random text vectors."""
    np.save(Path(run.folder) / "text.npy", random_text(run.size))


def epochs(run):
    """Median seconds of an epoch of one network; the first epoch is left out.

    Of the published network, or with all of ``fit`` around it.
    """
    adata, _ = read_tissue(run)
    before, stage, text = peak_mib(), run.names["stage"], Path(run.folder) / "text.npy"
    if stage == PUBLISHED:
        seconds = published_epochs(run.settings["checkout"], adata, np.load(text), run.settings["epochs"])
    else:
        paper, n_epochs = stage == PAPER, run.settings["epochs"]
        model = semst_network(N_DOMAINS, paper=paper, text=Ready(text), max_epochs=n_epochs)
        seconds = model.fit(adata).history_["dur"]
    return _row(before, float(np.median(seconds[1:])))


def encode(run):
    """Have the texts encoded into the cache, where the whole fit finds their vectors."""
    _reader(run).fit_transform(read_tissue(run)[0])


def fit(run):
    """From counts to domains with default settings; leaves the fitted model behind."""
    model = semst(N_DOMAINS, 0, text=_reader(run))
    row = _whole(run, FIT, lambda adata: model.fit(adata).labels_)
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
    before = peak_mib()
    labels, seconds = timed(function, adata)
    return _row(before, seconds, stage=stage, ari=round(score_partition(truth, labels)["ari"], 4))


def _row(before, seconds, **found):
    return {"seconds": round(seconds, 4), "peak_mib": round(peak_mib()), "data_mib": round(before), **found}


def runs(options):
    """The networks beside the published code, and whole fits."""
    found = []
    for size in options.peer_sizes:
        for stage in EPOCHS if options.published else EPOCHS[1:]:
            found.append(
                Run(
                    {"n_spots": size, "stage": stage},
                    (write_tissue, write_text, epochs),
                    size=size,
                    settings={"checkout": options.published, "epochs": options.epochs},
                    known={"published": commit_of(options.published)} if stage == PUBLISHED else {},
                    limits=LIMITS,
                    columns=COLUMNS,
                )
            )
    steps, settings = (write_tissue, encode, fit, predict), {"model": options.model}
    return found + [
        Run({"n_spots": size, "stage": PREDICT}, steps, size=size, settings=settings, columns=COLUMNS)
        for size in options.sizes
    ]


def report(rows, options):
    """The tables of a table of stages, as Markdown."""
    text = ""
    beside = rows[rows["stage"].isin(EPOCHS)]
    if len(beside):
        commits = beside["published"].dropna().unique()
        which = f"  The published code is commit {commits[0]} of github.com/{REPOSITORY}." if len(commits) else ""
        text += section(
            "One epoch beside the published code",
            "Seconds of one pass over all cells while one network is trained: median over epochs, the first left out.  "
            f"Simulated tissue of {N_GENES} genes, all of them decoded; the same random text vectors of 384 columns "
            "for all; no GPU.  The published epoch is a step of the optimiser and one more pass without gradient, as "
            "in its training loop, less the k-means that it runs at each epoch.  `settings of the paper` has the sizes "
            "of layers and graphs and the zero inflation of the published code; `skst` is the default network.  A run "
            f"is ended after {LIMITS[0] // 60} minutes or when it asks for more than {LIMITS[1]} GiB.{which}",
            by_stage(beside, "seconds", digits=3),
        ) + section(
            "Peak memory beside the published code",
            "Largest resident size in MiB of the process of that run, with libraries, data and graphs, and with the "
            "partition for skst.",
            by_stage(beside, "peak_mib", digits=0),
        )
    whole = rows[rows["stage"].isin(WHOLE)]
    if len(whole):
        fits = whole[whole["stage"] == FIT].set_index("n_spots")
        memory = by_stage(whole, "peak_mib", digits=0)
        memory.insert(0, "data alone", fits["data_mib"].astype(int))
        text += section(
            "Whole fit",
            f"Seconds from counts to {N_DOMAINS} domains with default settings: all networks, all epochs, partition.  "
            "The vectors of the 1,000 texts that are read had been made before.  `ARI` is that of the domains, which "
            "are easy here.",
            by_stage(whole, "seconds", digits=3).assign(ARI=fits["ari"]),
        ) + section(
            "Peak memory of a whole fit",
            "Largest resident size in MiB of a process that does this alone, libraries and data included; `data "
            "alone` is the size before `fit` begins.",
            memory,
        )
    return text


def draw(rows, path):
    """Whole fits, where there are some."""
    if len(whole := rows[rows["stage"].isin(WHOLE)]):
        growth(whole, path)


BENCHMARK = Benchmark(
    title="Cost of SemSTClusterer",
    question="Seconds and memory of its training, beside the published code?",
    takes="about 45 minutes",
    runs=runs,
    report=report,
    draw=draw,
    order={"n_spots": None, "stage": (*EPOCHS, *WHOLE)},
    options={
        "--published": checkout_option(REPOSITORY),
        "--peer-sizes": sizes_option(PEER_SIZES, "cells beside the published code"),
        "--sizes": sizes_option(SIZES, "cells of whole fits"),
        "--epochs": {"type": at_least_two, "default": 6, "help": "epochs beside the published code (default: 6)"},
        "--model": {"default": "auto", "help": "language model of whole fits (default: the encoder's)"},
    },
    **COST,
)
