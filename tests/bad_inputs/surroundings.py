"""What lies around: processes, files that are open, and what other libraries have set."""

import pickle

import anndata
import numpy as np
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline

from skst.inspection import semantic_permutation_test

from .cases import error, works
from .kit import as_fitted, finite, quick_transformer, same

TITLE = "Surroundings"


def _backed(kit):
    path = kit.tmp_path / "backed.h5ad"
    if not path.exists():
        kit.tissue().write_h5ad(path)
    return anndata.read_h5ad(path, backed="r")


def _in_float64(kit):
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return kit.make().fit(kit.tissue())
    finally:
        torch.set_default_dtype(before)


CASES = [
    works(
        "Another library has set the default type of torch to float64",
        "networks are float32 all the same.",
        "Nothing.",
        _in_float64,
        finite,
        of=("semst", "llmdsc"),
    ),
    works(
        "A backed AnnData is tested with ``n_jobs=2``",
        "it is read before it goes to other processes.",
        "Nothing.",
        lambda kit: (
            semantic_permutation_test(
                kit.make(), _backed(kit), n_permutations=1, n_gaussian=0, n_seeds=1, n_jobs=2, random_state=0
            ).scores
        ),
        lambda kit, scores: np.isfinite(scores["value"]).all() or same(kit, (scores, None)),
    ),
    error(
        "A backed AnnData is searched over in several processes (``GridSearchCV(n_jobs=2)``)",
        "pickle",
        "nothing that it could: scikit-learn sends X to other processes, and an open file cannot be sent.",
        "``adata.to_memory()`` before the search.",
        lambda kit: pickle.dumps(_backed(kit)),
        lambda kit: pickle.dumps(_backed(kit).to_memory()),
        kind=TypeError,
        ours=False,
    ),
    works(
        "numpy is told to raise on what is not finite",
        "nothing is raised on the way.",
        "Nothing.",
        lambda kit: _strict(kit),
        as_fitted,
        of=("text", "transformer", "fusion"),
    ),
    works(
        "scikit-learn is told to return DataFrames (``set_output``)",
        "the pipeline works on them.",
        "Nothing.",
        lambda kit: (
            make_pipeline(quick_transformer(), KMeans(4, n_init=1, random_state=0))
            .set_output(transform="pandas")
            .fit_predict(kit.tissue())
        ),
        lambda kit, labels: same(kit, (np.unique(labels), np.arange(4))),
    ),
]


def _strict(kit):
    with np.errstate(divide="raise", invalid="raise"):
        return kit.make().fit(kit.tissue())
