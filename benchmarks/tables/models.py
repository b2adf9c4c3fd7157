"""What a language model is worth: each one that is at hand reads for SemSTClusterer and for LLMDSCClusterer."""

import os
from functools import partial
from itertools import groupby, product
from pathlib import Path

import numpy as np
from sklearn.base import clone

from benchmarks.data import CELLS, DATA, read
from benchmarks.declare import COST, Benchmark, Run
from benchmarks.fits import fit, timed
from benchmarks.methods import EXACT, llmdsc, semst_ablated
from skst.text import TextModel
from skst.text.models import PUBLISHED
from skst.text.text_vectors import TextVectors

NONE = "no text"
# Texts by which the speed of a model is told, after a first one that loads it.
N_TIMED = 8


class Recorder:
    """Keeps the texts that it is to read; vectors are of no account."""

    def __init__(self, max_tokens):
        self.max_tokens = max_tokens
        self.texts = {}

    def encode(self, texts):
        """Two numbers each."""
        self.texts |= dict.fromkeys(texts)
        return np.ones((len(texts), 2), dtype=np.float32)


def model_of(name):
    """What reads texts: a model of the papers as they read with it, or another of this name or in this folder."""
    known = TextModel.paper(name) if name in PUBLISHED else TextModel(name)
    return known if known.dtype != "auto" else known.set_params(dtype=EXACT.dtype)


def estimator(k, seed, normalize=True, *, cells, model):
    """LLMDSCClusterer of cells or SemSTClusterer of tissue, with the text of a model or with none."""
    if cells:
        return llmdsc(k, seed, normalize, text=None if model is None else {"model": model_of(model)})
    if model is None:
        return semst_ablated(k, seed, fusion=None)
    return semst_ablated(k, seed, text={"model": model_of(model)})


def runs(options):
    """Each data set, without text and with that of each model."""
    models = {NONE: None} | {Path(name).name if os.path.isdir(name) else name: name for name in options.models}
    if len(models) <= len(set(options.models)):
        raise FileNotFoundError("--models has two folders that are called alike; rename one.")
    found = []
    for (called, model), data, seed in product(models.items(), options.data, range(options.seeds)):
        factory = partial(estimator, cells=data in CELLS, model=model)
        names = {"data": data, "method": called, "seed": seed}
        found.append(Run(names, (fit,), DATA[data], {"factory": factory, "model": model}))
    return found


def survey(runs, call):
    """Say how long each model will read, and return the runs of those that can."""
    kept = []
    for model, part in groupby(runs, key=lambda run: run.settings["model"]):
        part = list(part)
        told = {"texts": 0, "seconds": 0.0} if model is None else call(foretell, part)
        name = part[0].names["method"]
        if isinstance(told, Exception):
            print(f"{name} is left out: {str(told).strip().splitlines()[-1]}", flush=True)
            continue
        kept += part
        if told["texts"]:
            minutes = told["texts"] * told["seconds"] / 60
            said = (
                f"{name} has {told['texts']} texts to read, {told['seconds']:.3g} s each: about {minutes:.0f} minutes"
            )
            print(f"{said}, and then the fits", flush=True)
    return kept


def foretell(runs):
    """How many texts the runs of a model have that are in no cache, and seconds of one; some are read for that."""
    encode = TextVectors(model_of(runs[0].settings["model"]))
    texts = {}
    for run in {run.names["data"]: run for run in runs}.values():
        recorder = Recorder(encode.max_tokens)
        text = run.settings["factory"](2, 0, run.data.normalize).text
        clone(text).set_params(model=recorder).fit_transform(read(run.data)[0])
        texts |= recorder.texts
    texts = sorted(texts, key=len)
    if encode.cache is not None and texts:
        found = encode.cache.lookup(texts)[1]
        texts = [text for text, is_there in zip(texts, found, strict=True) if not is_there]
    if not texts:
        return {"texts": 0, "seconds": 0.0}
    # Of all lengths alike.
    some = [texts[place] for place in np.linspace(0, len(texts) - 1, N_TIMED + 1).astype(int)]
    encode(some[:1])
    rest = list(dict.fromkeys(some[1:]))
    _, seconds = timed(encode, rest)
    return {"texts": len(texts), "seconds": seconds / len(rest)}


def part(rows, cells):
    """Rows of cells or of tissue."""
    return rows[rows["data"].isin(CELLS) == cells]


BENCHMARK = Benchmark(
    question="What is a language model worth to SemSTClusterer and LLMDSCClusterer?",
    runs=runs,
    survey=survey,
    axes={"data": DATA},
    order={"data": DATA, "seed": None},
    seeds=3,
    options={"--models": (("all-MiniLM-L6-v2",), f"names or folders of models, or {', '.join(PUBLISHED)}")},
    **COST,
)
