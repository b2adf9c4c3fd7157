"""Children that are killed at work, which is then done again and has to come to what it would have come to at first."""

import os
import shutil
import signal
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from functools import partial

import numpy as np
from sklearn.model_selection import GridSearchCV

from skst import GeneTextEncoder, LLMDSCClusterer, SemSTClusterer, SpaLLMFusion
from skst.datasets import make_spatial_domains
from skst.model_selection import NoSplit, labels_scorer
from skst.settings import CellNetwork, GraphNetwork
from skst.text import TextModel
from skst.text.backends import resolve_backend
from skst.text.cache import VectorCache
from skst.text.vectors import encode_texts

from .arena import Kind
from .cached import vectors_of
from .mutations import pick
from .verdict import HELD, LOST, require

_TEXTS = [f"gene {i}" for i in range(300)]


class Model:
    """A language model that takes its time."""

    cache_key = name = "slow"

    def encode(self, texts):
        time.sleep(0.002)
        return vectors_of(texts)


# Each work takes a folder that outlives it, and returns what has to be the same.


def encoding(folder):
    """Encode texts in small chunks, each of which is cached as it comes."""
    backend = resolve_backend(Model())
    return {"vectors": encode_texts(_TEXTS, backend, VectorCache("slow", folder / "vectors"), batch_size=4)}


def searching(adata, folder):
    """Search a grid with embeddings in `memory`."""
    text = GeneTextEncoder(model=TextModel(Model(), cache=folder / "vectors"), mode="sentence", k_g=5)
    fusion = SpaLLMFusion(
        text=text, n_clusters=3, clusterer="kmeans", random_state=0, memory=str(folder / "memory"), n_vote_neighbors=6
    )
    grid = {"beta": [0.0, 0.5], "text__k_g": [5, 10]}
    search = GridSearchCV(fusion, grid, cv=NoSplit(), scoring=labels_scorer("ari"), error_score="raise")
    search.fit(adata, adata.obs["label"].to_numpy(dtype=object))
    best = search.best_estimator_
    return {"scores": search.cv_results_["mean_test_score"], "labels": best.labels_, "embedding": best.embedding_}


def training_spots(adata, folder):
    """Train networks on spots, with a bar of progress."""
    text = GeneTextEncoder(model=TextModel(Model(), cache=folder / "vectors"), mode="prompt", k_g=5)
    network = GraphNetwork(max_epochs=2)
    model = SemSTClusterer(3, text=text, network=network, clusterer="kmeans", random_state=0, verbose=1)
    return {"labels": model.fit(adata).labels_, "embedding": model.embedding_}


def training_cells(adata, folder):
    """Train networks on cells, with a bar of progress."""
    text = GeneTextEncoder(model=TextModel(Model(), cache=folder / "vectors"), mode="dual", k_g=5)
    network = CellNetwork(n_networks=2, max_epochs=2)
    model = LLMDSCClusterer(3, text=text, n_top_genes=(40, 60), network=network, random_state=0, verbose=1)
    return {"labels": model.set_params(clusterer="kmeans").fit(adata).labels_}


def tissue():
    return make_spatial_domains(120, n_genes=60, n_domains=3, random_state=0)


def _prepare(works, folder):
    """Each work, what it comes to, and how long it takes."""
    known = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, work in enumerate(works):
            for turn in range(2):  # the first time also loads what others find loaded
                place = folder / f"{number}-{turn}"
                place.mkdir()
                began = time.monotonic()
                result = _silently(work, place)
                took = time.monotonic() - began
            known.append((work, result, took))
    return known


def _silently(work, place):
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        return work(place)


def _attempt(rng, folder, known):
    work, expected, took = pick(rng, known)
    for _ in range(int(rng.integers(1, 4))):
        seconds = took * rng.uniform(0.0, 1.0)
        while not _killed(work, folder, seconds) and seconds > 0.001:  # it had found part of the work done
            seconds /= 2
    _keep_a_copy(folder)
    result = work(folder)
    for name, value in expected.items():
        require(np.array_equal(result[name], value), f"other {name} after a kill")
    _require_kept(folder)
    return HELD


def _killed(work, folder, seconds):
    """Whether a child that does the work was killed before it had done it."""
    pid = os.fork()
    if pid == 0:
        try:
            work(folder)
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def _keep_a_copy(folder):
    if (folder / "vectors").is_dir():
        shutil.copytree(folder / "vectors", folder / "before")


def _require_kept(folder):
    """What the killed had stored is still there, whatever was merged since."""
    if not (folder / "before" / VectorCache("slow", folder).path.name).is_dir():
        return
    before, after = (VectorCache("slow", folder / name).lookup(_TEXTS)[1] for name in ("before", "vectors"))
    require(not (before & ~after).any(), "vectors that a killed child had stored are gone", LOST)


def _prepare_encoding(folder):
    return _prepare([encoding], folder)


def _prepare_search(folder):
    return _prepare([partial(searching, tissue())], folder)


def _prepare_training(folder):
    return _prepare([partial(training_spots, tissue()), partial(training_cells, tissue())], folder)


def _kind(name, prepare, rounds):
    return Kind(name, _attempt, prepare, seconds=60, share=1.5, rounds=rounds, can_refuse=False)


KINDS = [
    _kind("killed: encoding", _prepare_encoding, rounds=6),
    _kind("killed: search", _prepare_search, rounds=2),
    _kind("killed: training", _prepare_training, rounds=2),
]
