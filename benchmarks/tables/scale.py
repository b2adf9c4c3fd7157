"""Seconds and memory of each stage as tissue grows."""

from functools import partial
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from benchmarks.data import N_DOMAINS, N_GENES, read_tissue, tissue, write_tissue
from benchmarks.declare import COST, Benchmark, Run, sizes_option
from benchmarks.fits import timed
from benchmarks.methods import fusion, graph_encoder, reader
from benchmarks.pages import by_stage, growth, section
from benchmarks.processes import peak_mib
from skst.metrics import score_partition

SIZES = (10_000, 100_000, 1_000_000)
WHOLE = "SpaLLMFusion.fit"


class Ready(TransformerMixin, BaseEstimator):
    """Gives back an embedding made before, so that what follows can be timed alone."""

    def __init__(self, path):
        self.path = path

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.load(self.path)


def encode(run):
    """Have the texts encoded."""
    reader(0).fit(tissue(1000)[0])


def text(run, adata):
    """Embedding of the text."""
    return reader(0).fit_transform(adata)


def smooth(run, adata):
    """Embedding of averaged expression."""
    return graph_encoder("smooth")[0].fit_transform(adata)


def fuse(run, adata):
    """Alignment, sum, partition and vote, with both embeddings at hand."""
    views = {view: Ready(Path(run.folder) / f"{name}.npy") for view, name in (("spatial", "smooth"), ("text", "text"))}
    return fusion(N_DOMAINS, 0).set_params(**views).fit_predict(adata)


def whole(run, adata):
    """Everything from counts to domains; more than the stages, as text is averaged over the graph too."""
    return fusion(N_DOMAINS, 0).fit_predict(adata)


def stage(name, function, run):
    """Time a stage, and leave what it makes for later ones."""
    adata, truth = read_tissue(run)
    before = peak_mib()
    result, seconds = timed(function, run, adata)
    peak = peak_mib()
    np.save(Path(run.folder) / f"{name}.npy", result)
    return {
        "stage": name,
        "seconds": round(seconds, 2),
        "peak_mib": round(peak),
        "data_mib": round(before),
        "ari": round(score_partition(truth, result)["ari"], 4) if result.ndim == 1 else np.nan,
    }


# In this order: the third reads what the first two leave.
STAGES = {"text": text, "smooth": smooth, "fusion and partition": fuse, WHOLE: whole}


def runs(options):
    """One a size, of all stages."""
    steps = (write_tissue, encode, *(partial(stage, name, function) for name, function in STAGES.items()))
    return [Run({"n_spots": size}, steps, size=size) for size in options.sizes]


def report(rows, options):
    """The tables of a table of stages, as Markdown."""
    seconds, memory = (by_stage(rows, value) for value in ("seconds", "peak_mib"))
    memory.insert(0, "data alone", rows.groupby("n_spots")["data_mib"].max())
    # The stages that find domains, and their score on the simulated ones.
    found = rows[rows["stage"] == WHOLE].set_index("n_spots")["ari"]
    return section(
        "Seconds",
        f"Wall time on simulated tissue of {N_GENES} genes and {N_DOMAINS} domains, text vectors at hand.  "
        "`SpaLLMFusion.fit` is the whole; it also averages the text view over the graph, which no stage before it "
        "does.  `ARI` is that of its domains, which are easy here.",
        seconds.assign(ARI=found),
    ) + section(
        "Peak memory",
        "Largest resident size in MiB of a process that does this stage alone, libraries and data included; "
        "`data alone` is the size before it begins.",
        memory,
    )


BENCHMARK = Benchmark(
    title="Scale",
    question="Seconds and memory of each stage, up to 10^6 cells?",
    takes="about 15 minutes",
    runs=runs,
    report=report,
    draw=partial(growth, bold=WHOLE),
    order={"n_spots": None, "stage": STAGES},
    options={"--sizes": sizes_option(SIZES, "numbers of cells")},
    **COST,
)
