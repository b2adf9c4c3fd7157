"""A slice that has lost nearly all of its molecules is told of before it spoils the others."""

import warnings

import anndata
import numpy as np
import pytest
from semst_fits import quick_semst
from stllm_fits import quick_stllm

from skst import SpaLLMFusion, SpatialGraphTransformer
from skst.datasets import make_spatial_domains

TOLD = "molecules a spot, and slices have .*; noise of that size can spoil the domains of all: fit without it, and"


def slices(kept):
    """Three slices as one AnnData, of the second of which a share of the molecules is left."""
    adata = make_spatial_domains(240, n_genes=30, n_domains=3, n_slices=3, random_state=0)
    counts = adata.X.toarray()
    second = (adata.obs["batch"] == "slice2").to_numpy()
    counts[second] = np.random.default_rng(0).binomial(counts[second].astype(int), kept)
    adata.X = counts.astype(np.float32)
    return adata


ESTIMATORS = [
    SpatialGraphTransformer(batch_key="batch"),
    SpatialGraphTransformer("views", batch_key="batch"),
    SpaLLMFusion(n_clusters=3, strategy="expression", batch_key="batch", random_state=0),
    quick_semst(n_clusters=3, fusion=None, batch_key="batch"),
    quick_stllm(n_clusters=3, narration__levels=[], batch_key="batch"),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_a_slice_without_molecules_is_told_of(estimator):
    with pytest.warns(UserWarning, match=f"The slice that begins at spot 80 of X has a median of .* {TOLD}") as caught:
        estimator.fit(slices(0.05))
    assert sum("molecules a spot" in str(one.message) for one in caught) == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*molecules a spot")
        estimator.fit(slices(0.3))


def test_a_slice_of_a_list_is_named():
    adata = slices(0.05)
    parts = [adata[adata.obs["batch"] == f"slice{number}"].copy() for number in (1, 2, 3)]
    model = SpaLLMFusion(n_clusters=3, strategy="expression", random_state=0)
    with pytest.warns(UserWarning, match=f"Slice 1 of X has a median of .* {TOLD}"):
        model.fit(parts)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*molecules a spot")
        model.predict(parts)  # spoils nothing


def test_what_is_no_count_has_no_depth():
    adata = slices(0.05)
    adata.X = np.log1p(adata.X)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*molecules a spot")
        SpatialGraphTransformer(normalize=False, batch_key="batch").fit(adata)


def test_one_slice_has_nothing_to_be_shallow_beside():
    adata = slices(0.05)
    alone = adata[adata.obs["batch"] == "slice2"].copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*molecules a spot")
        SpatialGraphTransformer(batch_key="batch").fit(anndata.concat([alone]))
