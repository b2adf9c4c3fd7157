"""Whether networks trained on a GPU find what they find on the CPU, and whether they find it again."""

from functools import partial

import numpy as np

from benchmarks.data import CELLS, SPATIAL, DataSet, read, tissue
from benchmarks.declare import Benchmark, Run
from benchmarks.fits import scores, timed
from benchmarks.methods import TRAINED
from benchmarks.tables.cuda_cost import device_name
from benchmarks.tables.llmdsc_cost import simulate

# Cells of simulated data.
SIZE = 3000
TISSUES = {"simulated": DataSet(partial(tissue, SIZE))} | {name: SPATIAL[name] for name in ("STARmap", "DLPFC 151673")}
TYPES = {"simulated": DataSet(partial(simulate, SIZE))} | {name: CELLS[name] for name in ("Baron mouse", "sc_mixology")}


def agree(run):
    """The row of one method on one data set: fitted once on the CPU and twice on the device."""
    adata, truth = read(run.data)
    fitted = {}
    for place in ("cpu", "device", "again"):
        device = "cpu" if place == "cpu" else run.settings["device"]
        model = run.settings["factory"](truth.nunique(), 0, device)
        labels, seconds = timed(model.fit_predict, adata)
        fitted[place] = labels, model.embedding_ if hasattr(model, "embedding_") else model[0].transform(adata), seconds
    labels, embeddings, seconds = (dict(zip(fitted, part, strict=True)) for part in zip(*fitted.values(), strict=True))
    between = np.abs(embeddings["device"] - embeddings["again"]).max() / np.abs(embeddings["device"]).max()
    return {
        "gpu": device_name(run.settings["device"]),
        "cells": adata.n_obs,
        "agreement": scores(labels["cpu"], labels["device"])["ari"],
        "ari, CPU": scores(truth, labels["cpu"])["ari"],
        "ari, GPU": scores(truth, labels["device"])["ari"],
        "same labels again": bool((labels["device"] == labels["again"]).all()),
        "difference again": float(f"{between:.1e}"),
        "seconds, CPU": round(seconds["cpu"], 1),
        # The first fit of a process makes the context of the GPU, too.
        "seconds, GPU": round(seconds["again"], 1),
    }


def runs(options):
    """Each network on tissue or cells, simulated and, where they are at hand, real."""
    for name in options.method:
        factory, cells = TRAINED[name]
        registry = TYPES if cells else TISSUES
        for data in (data for data in options.data if data in registry):
            settings = {"factory": factory, "device": options.device}
            yield Run({"method": name, "data": data}, (agree,), data=registry[data], settings=settings)


BENCHMARK = Benchmark(
    question="Do networks find on a GPU what they find on the CPU?",
    axes={"method": TRAINED, "data": TISSUES | TYPES},
    runs=runs,
    order={"method": TRAINED, "data": TISSUES | TYPES},
    options={"--device": ("cuda", "device of torch that is compared with the CPU")},
    jobs=8,
    gpu=True,
)
