"""Seconds and memory of each stage as tissue grows."""

from functools import partial
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from benchmarks.data import N_DOMAINS, read_tissue, tissue, write_tissue
from benchmarks.declare import COST, Benchmark, Run, sizes_option
from benchmarks.fits import measured, scores
from benchmarks.methods import fusion, graph_encoder, reader
from benchmarks.pages import growth

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
    """The cost of a stage, which leaves what it makes for later ones."""
    adata, truth = read_tissue(run)
    result, row = measured(function, run, adata)
    np.save(Path(run.folder) / f"{name}.npy", result)
    return {"stage": name, **row, **(scores(truth, result, digits=4) if result.ndim == 1 else {"ari": np.nan})}


# In this order: the third reads what the first two leave.
STAGES = {"text": text, "smooth": smooth, "fusion and partition": fuse, WHOLE: whole}


def runs(options):
    """One a size, of all stages."""
    steps = (write_tissue, encode, *(partial(stage, name, function) for name, function in STAGES.items()))
    return [Run({"n_spots": size}, steps, settings={"size": size}) for size in options.sizes]


BENCHMARK = Benchmark(
    title="Scale",
    question="Seconds and memory of each stage, up to 10^6 cells?",
    takes="about 15 minutes",
    runs=runs,
    draw=partial(growth, bold=WHOLE),
    order={"n_spots": None, "stage": STAGES},
    options={"--sizes": sizes_option(SIZES, "numbers of cells")},
    **COST,
)
