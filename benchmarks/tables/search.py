"""What a grid search costs, and what a second one saves."""

from functools import partial
from pathlib import Path

import pandas as pd
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold

from benchmarks.declare import Benchmark, Run
from benchmarks.fits import timed
from benchmarks.methods import fusion, reader
from skst.datasets import make_spatial_domains
from skst.model_selection import NoSplit, labels_scorer, predict_scorer

# Every candidate of the first search, and the finer weights of the second.
GRID = {"alpha": [0.5, 1.0], "beta": [0.0, 0.3, 1.0], "text__k_g": [5, 15]}
WEIGHTS = {"alpha": [0.5, 1.0], "beta": [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0]}
N_DOMAINS, N_SLICES = 4, 3
SPLITTERS = {
    "one fold": (NoSplit(), labels_scorer("ari")),
    "held-out slices": (GroupKFold(N_SLICES), predict_scorer("ari")),
}
RECORDED = {
    "spatial from cache": lambda model, *_: float(model.from_cache_["spatial"]),
    "text from cache": lambda model, *_: float(model.from_cache_["text"]),
    # An encoder that comes from the memory remembers what it once encoded.
    "texts encoded": lambda model, *_: 0.0 if model.from_cache_["text"] else float(model.text_.cache_misses_),
}


def search(adata, model, grid, folds, jobs):
    """One row of the report, and the best parameters."""
    splitter, score = SPLITTERS[folds]
    scoring = {"ARI": score, **RECORDED}
    searched = GridSearchCV(model, grid, cv=splitter, scoring=scoring, refit=False, n_jobs=jobs, error_score="raise")
    _, seconds = timed(partial(searched.fit, groups=adata.obs["batch"]), adata, adata.obs["label"])
    results = pd.DataFrame(searched.cv_results_)
    fits = len(results) * searched.n_splits_
    row = {name: round(results[f"mean_test_{name}"].sum() * searched.n_splits_) for name in RECORDED}
    best = results.loc[results["mean_test_ARI"].idxmax()]
    times = {"fits": fits, "seconds": round(seconds, 1), "seconds a fit": round(seconds / fits, 2)}
    return {**row, **times, "ARI": round(best["mean_test_ARI"], 3)}, best["params"]


def searches(run):
    """A first search, one of its candidates with nothing cached, and a second search."""
    adata = make_spatial_domains(run.names["spots"], n_domains=N_DOMAINS, n_slices=N_SLICES, effect=2.0, random_state=0)
    name, jobs, folder = run.names["folds"], run.settings["jobs"], Path(run.folder)
    text = reader(0, model=run.settings["model"], mode="prompt", model__cache=folder / "vectors")
    model = fusion(N_DOMAINS, 0, batch_key="batch", memory=str(folder / "memory")).set_params(text=text)
    first, best = search(adata, model, GRID, name, jobs)
    model.set_params(text__k_g=best["text__k_g"])
    alone = clone(model).set_params(memory=None, text__model__cache=folder / "no vectors")
    one, _ = search(adata, alone, {"alpha": [1.0]}, name, 1)
    second, _ = search(adata, model, WEIGHTS, name, jobs)
    if jobs != 1:
        # This process is one of the runner's and would wait for ever for joblib's to end.
        get_reusable_executor().shutdown(wait=True)
    rows = {"weights and k_g": first, "one candidate, nothing cached": one, "weights again": second}
    return [{"search": f"{name}: {what}", **row} for what, row in rows.items()]


def runs(options):
    """One a way of splitting."""
    settings = {"jobs": options.jobs, "model": options.model}
    return [Run({"folds": name, "spots": options.spots}, (searches,), settings=settings) for name in SPLITTERS]


BENCHMARK = Benchmark(
    question="What does a grid search cost, and what does its memory save?",
    runs=runs,
    order={"folds": SPLITTERS},
    options={
        "--spots": (600, "size of the simulated tissue"),
        "--model": ("auto", "language model"),
        "--jobs": (2, "fits at the same time"),
    },
    alone=True,
)
