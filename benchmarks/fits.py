"""Steps that many runs share: an estimator fitted without labels and scored, and the cost of a stage."""

import contextlib
import os
import time

import joblib
import numpy as np
from sklearn.preprocessing import FunctionTransformer

from benchmarks.data import LEVELS, read, read_tissue
from benchmarks.methods import reader
from benchmarks.processes import peak_mib
from skst.datasets import mask_counts
from skst.metrics import score_partition


def timed(function, *arguments):
    """What a function returns, and the seconds it took."""
    start = time.perf_counter()
    found = function(*arguments)
    return found, time.perf_counter() - start


def measured(function, *arguments, digits=2):
    """What a function returns, and a row of its cost.

    The peak is that of the whole process, libraries and data included; "data_mib" is what it was before.
    """
    before = peak_mib()
    found, seconds = timed(function, *arguments)
    return found, {"seconds": round(seconds, digits), "peak_mib": round(peak_mib()), "data_mib": round(before)}


def scores(truth, found, names=("ari",), digits=5):
    """Scores of a partition, as columns."""
    all_of_them = score_partition(truth, found)
    return {name: round(all_of_them[name], digits) for name in names}


def median_epoch(seconds):
    """Median of the seconds of epochs, the first left out."""
    return round(float(np.median(seconds[1:])), 5) if len(seconds) > 1 else np.nan


def thinned(run):
    """The data of a run without labels, counts taken away as its quality says, and the labels."""
    adata, truth = read(run.data)
    share = LEVELS[run.names.get("quality", "Q0")]
    return mask_counts(adata, share, random_state=run.names["seed"]) if share else adata, truth


def fit(run):
    """The row of one fit, without labels; seconds are wall time of ``fit_predict``."""
    adata, truth = thinned(run)
    k = int(truth.nunique())
    model = run.settings["factory"](k, run.names["seed"], run.data.normalize)
    found, seconds = timed(model.fit_predict, adata)
    return {
        "k": k,
        "n_spots": adata.n_obs,
        "n_genes": adata.n_vars,
        **scores(truth, found, ("ari", "nmi", "acc", "macro_f1")),
        "agreement": round(getattr(getattr(model, "clusterer_", None), "agreement_", float("nan")), 4),
        "seconds": round(seconds, 2),
        "peak_mib": round(peak_mib()),
        "text_model": getattr(getattr(model, "text_", None), "backend_name_", ""),
    }


def encode(data):
    """Put the text vectors of a data set into the cache, so that no run has to make them; a row of what that took."""
    # Alone on the machine and torch not loaded yet: all cores are free.
    os.environ.pop("OMP_NUM_THREADS", None)
    adata, _ = read(data)
    encoder = reader(0, normalize=data.normalize)
    _, seconds = timed(encoder.fit, adata)
    return {
        "genes": adata.n_vars,
        "with_text": int((encoder.gene_report_["text"] != "").sum()),
        "coverage": round(encoder.coverage_, 4),
        "encoded": encoder.cache_misses_,
        "seconds": round(seconds, 1),
        "text_model": encoder.backend_name_,
    }


def encode_tissue(encoder, run):
    """The same for simulated tissue and any encoder, without a row."""
    encoder.fit_transform(read_tissue(run)[0])


def left(path):
    """A transformer that gives back what an earlier step left there, so that what follows can be timed alone."""
    return FunctionTransformer(_load, kw_args={"path": path})


def _load(X, path):
    return joblib.load(path)


def stage(names, model, run, digits=2):
    """The cost of a model on simulated data, and its score if it finds clusters.

    It leaves the embedding or the fitted model behind, under the last of its `names`, which are columns of the row.
    In place of a model there can be the name of an earlier stage, whose fitted model then predicts.
    """
    adata, truth = read_tissue(run)
    with contextlib.chdir(run.folder):
        if isinstance(model, str):
            function = joblib.load(model).predict
        else:
            function = getattr(model, "fit_predict", None) or model.fit_transform
        found, row = measured(function, adata, digits=digits)
        joblib.dump(model if found.ndim == 1 else found, list(names.values())[-1])
    return {**names, **row, **(scores(truth, found, digits=4) if found.ndim == 1 else {"ari": np.nan})}
