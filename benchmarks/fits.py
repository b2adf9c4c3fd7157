"""The step of most benchmarks, an estimator fitted once without labels and scored, and lists of such runs."""

import os
import time

from benchmarks.data import read
from benchmarks.declare import Run
from benchmarks.methods import TEXT_FREE
from benchmarks.processes import peak_mib
from skst import GeneTextEncoder
from skst.datasets import mask_counts
from skst.metrics import score_partition


def fit(run):
    """Fit once, without labels, and score.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict
        Columns of the table of runs.  Seconds are wall time of ``fit_predict``; the peak is that of the
        whole process, libraries and data included.
    """
    adata, truth = read(run.data)
    seed = run.names["seed"]
    if run.masked:
        adata = mask_counts(adata, run.masked, random_state=seed)
    k = int(truth.nunique())
    model = run.factory(k, seed, run.data.normalize)
    found, seconds = timed(model.fit_predict, adata)
    scores = score_partition(truth, found)
    return {
        "k": k,
        "n_spots": adata.n_obs,
        "n_genes": adata.n_vars,
        **{name: round(scores[name], 5) for name in ("ari", "nmi", "acc", "macro_f1")},
        "agreement": round(getattr(getattr(model, "clusterer_", None), "agreement_", float("nan")), 4),
        "seconds": round(seconds, 2),
        "peak_mib": round(peak_mib()),
        "text_model": getattr(getattr(model, "text_", None), "backend_name_", ""),
    }


def timed(function, *arguments):
    """What a function returns, and the seconds it took."""
    start = time.perf_counter()
    found = function(*arguments)
    return found, time.perf_counter() - start


def encode(data):
    """Put the text vectors of a data set into the cache, so that no run has to make them.

    Parameters
    ----------
    data : DataSet

    Returns
    -------
    dict
        How many genes have a text, how many texts were not cached yet, and how long these took.
    """
    # Alone on the machine and torch not loaded yet: all cores are free.
    os.environ.pop("OMP_NUM_THREADS", None)
    adata, _ = read(data)
    encoder = GeneTextEncoder(normalize=data.normalize)
    _, seconds = timed(encoder.fit, adata)
    return {
        "genes": adata.n_vars,
        "with_text": int((encoder.gene_report_["text"] != "").sum()),
        "coverage": round(encoder.coverage_, 4),
        "encoded": encoder.cache_misses_,
        "seconds": round(seconds, 1),
        "text_model": encoder.backend_name_,
    }


def run_of(names, data, factory, masked=0.0):
    """One fit; `names` has at least "data", "method" and "seed"."""
    reads = names["method"] not in TEXT_FREE
    return Run(names, (fit,), data, factory, masked, reads=reads)
