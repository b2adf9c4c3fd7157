"""What a grid search costs, and what a second one saves: ``python benchmarks/search.py``."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from records import RESULTS, provenance
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from tables import head, section

from skst import GeneTextEncoder, SpaLLMFusion
from skst.datasets import make_spatial_domains
from skst.model_selection import NoSplit, labels_scorer, predict_scorer

# Every candidate of the first search, and the finer weights of the second.
GRID = {"alpha": [0.5, 1.0], "beta": [0.0, 0.3, 1.0], "text__k_g": [5, 15]}
WEIGHTS = {"alpha": [0.5, 1.0], "beta": [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0]}
N_DOMAINS, N_SLICES = 4, 3
COLUMNS = ["fits", "spatial from cache", "text from cache", "texts encoded", "seconds", "seconds a fit", "ARI"]


def spatial_from_cache(model, X, y=None):
    return float(model.from_cache_["spatial"])


def text_from_cache(model, X, y=None):
    return float(model.from_cache_["text"])


def texts_encoded(model, X, y=None):
    # An encoder that comes from the memory remembers what it once encoded.
    return 0.0 if model.from_cache_["text"] else float(model.text_.cache_misses_)


RECORDED = {
    "spatial from cache": spatial_from_cache,
    "text from cache": text_from_cache,
    "texts encoded": texts_encoded,
}


def search(adata, model, grid, splitter, jobs):
    """One row of the report, and the best parameters."""
    held_out = isinstance(splitter, GroupKFold)
    score = predict_scorer("ari") if held_out else labels_scorer("ari")
    searched = GridSearchCV(
        model,
        grid,
        cv=splitter,
        scoring={"ARI": score, **RECORDED},
        refit=False,
        n_jobs=jobs,
        error_score="raise",
    )
    start = time.perf_counter()
    searched.fit(adata, adata.obs["label"], groups=adata.obs["batch"])
    seconds = time.perf_counter() - start
    results = searched.cv_results_
    n_splits = searched.n_splits_
    fits = len(results["params"]) * n_splits
    row = {name: round(float(results[f"mean_test_{name}"].sum()) * n_splits) for name in RECORDED}
    best = int(np.argmax(results["mean_test_ARI"]))
    row |= {
        "fits": fits,
        "seconds": round(seconds, 1),
        "seconds a fit": round(seconds / fits, 2),
        "ARI": round(float(results["mean_test_ARI"][best]), 3),
    }
    return row, results["params"][best]


def main(argv=None):
    """Run the four searches and write ``search.md``."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spots", type=int, default=600, help="size of the simulated tissue (default: 600)")
    parser.add_argument("--model", default="auto", help="language model (default: auto)")
    parser.add_argument("--jobs", type=int, default=2, help="fits at the same time (default: 2)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    adata = make_spatial_domains(arguments.spots, n_domains=N_DOMAINS, n_slices=N_SLICES, effect=2.0, random_state=0)
    rows = {}
    for name, splitter in {"one fold": NoSplit(), "held-out slices": GroupKFold(N_SLICES)}.items():
        with tempfile.TemporaryDirectory() as folder:
            model = SpaLLMFusion(
                text=GeneTextEncoder(model=arguments.model, mode="prompt", cache=Path(folder) / "vectors"),
                n_clusters=N_DOMAINS,
                batch_key="batch",
                memory=str(Path(folder) / "memory"),
                random_state=0,
            )
            rows[f"{name}: weights and k_g"], best = search(adata, model, GRID, splitter, arguments.jobs)
            model.set_params(text__k_g=best["text__k_g"])
            alone = clone(model).set_params(memory=None, text__cache=Path(folder) / "no vectors")
            rows[f"{name}: one candidate, nothing cached"], _ = search(adata, alone, {"alpha": [1.0]}, splitter, 1)
            rows[f"{name}: weights again"], _ = search(adata, model, WEIGHTS, splitter, arguments.jobs)
    arguments.output.mkdir(parents=True, exist_ok=True)
    text = head("Search", pd.DataFrame([provenance()]), "search.py", argv) + report(rows, arguments)
    (arguments.output / "search.md").write_text(text, encoding="utf-8")


def report(rows, arguments):
    """The table of the searches, as Markdown."""
    grids = " and ".join(
        " x ".join(f"{len(values)} {name}" for name, values in grid.items()) for grid in (GRID, WEIGHTS)
    )
    return section(
        "Two searches with one memory",
        f"`GridSearchCV` with {arguments.jobs} jobs on simulated tissue: {arguments.spots} spots, {N_SLICES} slices, "
        f'`mode="prompt"`, so that every spot is a text.  Grids of {grids}; the second search keeps the best k_g '
        "and reads both embeddings from the memory that the first has filled.  Between them one of its candidates is "
        "fitted with nothing cached, to compare with.  Each pair of searches begins with "
        "empty caches.  `texts encoded` counts those that no cache had; jobs that begin together may make the same "
        "embedding twice.",
        pd.DataFrame.from_dict(rows, orient="index")[COLUMNS].rename_axis("search"),
    )


if __name__ == "__main__":
    sys.exit(main())
