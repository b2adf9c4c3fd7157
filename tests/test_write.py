"""Results in an AnnData, as scanpy and squidpy expect them, and as files keep them."""

import contextlib
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skst import (
    GeneTextEncoder,
    LLMDSCClusterer,
    SemSTClusterer,
    SpaLLMFusion,
    SpatialGraphTransformer,
    STLLMClusterer,
)
from skst.datasets import make_spatial_domains
from skst.graph import spatial_graph
from skst.inputs.labels import sort_labels
from skst.palette import PALETTE
from skst.partition import ConsensusMixture

FEW = ConsensusMixture(n_leading=(5, 10), n_init=2, n_keep=1)
LEXICAL = {"text": GeneTextEncoder(model="lexical"), "random_state": 0}
ESTIMATORS = {
    "SpaLLMFusion": SpaLLMFusion(n_clusters=3, clusterer=FEW, **LEXICAL),
    "no vote": SpaLLMFusion(strategy="expression", n_clusters=3, clusterer=FEW, n_vote_neighbors=0, random_state=0),
    "k-means": SpaLLMFusion(strategy="expression", n_clusters=3, clusterer="kmeans", random_state=0),
    "SemSTClusterer": SemSTClusterer(3, clusterer=FEW, fusion=None, random_state=0).set_params(
        network__max_epochs=2, network__n_networks=1
    ),
    "STLLMClusterer": STLLMClusterer(3, clusterer=FEW, **LEXICAL),
    "LLMDSCClusterer": LLMDSCClusterer(3, clusterer=FEW, align_to=None, random_state=0).set_params(
        network__max_epochs=2, network__n_networks=1
    ),
}


def tissue(seed=0):
    return make_spatial_domains(n_samples=200, n_genes=60, n_domains=3, random_state=seed)


@pytest.fixture(params=ESTIMATORS, scope="module")
def fitted(request):
    adata = tissue()
    before = adata.copy()
    model = ESTIMATORS[request.param].fit(adata)
    assert list(adata.obs) == list(before.obs) and not set(adata.obsm) - set(before.obsm)
    return model, adata


def test_what_was_found_is_written(fitted):
    model, adata = fitted
    model.write(adata, key_added="found")
    np.testing.assert_array_equal(adata.obs["found"].cat.codes, model.labels_)
    assert list(adata.obs["found"].cat.categories) == ["0", "1", "2"]
    assert adata.uns["found_colors"] == list(PALETTE[:3])
    np.testing.assert_array_equal(adata.obsm["X_found"], model.embedding_)
    record = adata.uns["found"]
    assert record["estimator"] == type(model).__name__ and record["predicted"] is False
    assert record["params"]["random_state"] == "0" and {"skst", "numpy"} <= set(record["versions"])
    assert ("found_posterior" in adata.obsm) == hasattr(model.clusterer_, "predict_proba")


def test_posteriors_are_in_the_numbers_of_the_labels(fitted):
    model, adata = fitted
    model.write(adata, key_added="found")
    if "found_posterior" not in adata.obsm:
        pytest.skip("k-means has none")
    posterior = adata.obsm["found_posterior"]
    np.testing.assert_allclose(posterior.sum(axis=1), 1, atol=1e-5)
    same = (posterior.argmax(axis=1) == model.labels_).mean()
    assert same == 1 if getattr(model, "n_vote_neighbors", 0) == 0 else same > 0.8


# A file of zarr takes two seconds, and records of one class are alike: each class is written in one of the versions.
FORMS = [
    *((name, "h5ad") for name in ESTIMATORS),
    *((name, "zarr 2") for name in ("SpaLLMFusion", "STLLMClusterer")),
    *((name, "zarr 3") for name in ("SemSTClusterer", "LLMDSCClusterer")),
]


@pytest.mark.filterwarnings(
    "ignore:Writing zarr v2 data", "ignore:zarr v3 autosharding", "ignore:Consolidated metadata"
)
@pytest.mark.parametrize(("fitted", "form"), FORMS, indirect=["fitted"])
def test_files_keep_it(fitted, form, tmp_path):
    model, adata = fitted
    model.write(adata)
    key = "cluster" if isinstance(model, LLMDSCClusterer) else "domain"
    form, _, version = form.partition(" ")
    chosen = version and hasattr(anndata.settings, "zarr_write_format")  # older ones write one version
    with anndata.settings.override(zarr_write_format=int(version)) if chosen else contextlib.nullcontext():
        getattr(adata, f"write_{form}")(tmp_path / f"slice.{form}")
    read = getattr(anndata, f"read_{form}")(tmp_path / f"slice.{form}")
    pd.testing.assert_series_equal(read.obs[key], adata.obs[key])
    np.testing.assert_array_equal(read.obsm[f"X_{key}"], model.embedding_)
    assert list(read.uns[f"{key}_colors"]) == adata.uns[f"{key}_colors"]
    assert read.uns[key]["params"] == adata.uns[key]["params"]
    assert read.uns[key]["data_hash"] == adata.uns[key]["data_hash"]
    assert list(read.uns[key]["warnings"]) == adata.uns[key]["warnings"]
    model.write(read)  # over a record that was read, and known to be that of fit
    assert read.uns[key]["predicted"] is False


def test_what_fit_warned_of_is_kept(tmp_path):
    adata = tissue()
    model = clone(ESTIMATORS["no vote"])
    model.fit(adata).write(adata)
    assert adata.uns["domain"]["warnings"] == []
    adata.obsm["spatial"] = np.random.default_rng(0).random((200, 2))
    with pytest.warns(UserWarning, match="n_clusters=15 is more domains than most tissues have") as told:
        model.set_params(n_clusters=15, clusterer="kmeans", n_vote_neighbors=6).fit(adata)
    assert told[0].filename == __file__
    with warnings.catch_warnings(action="ignore"):  # what is not shown now was not warned of in fit
        model.write(adata)
    adata.write_h5ad(tmp_path / "slice.h5ad")
    (kept,) = anndata.read_h5ad(tmp_path / "slice.h5ad").uns["domain"]["warnings"]
    assert kept == str(told[0].message)


def test_a_fit_that_fails_leaves_warnings_as_they_were():
    show = warnings.showwarning
    with pytest.raises(ValueError, match="n_clusters=900 is larger"):
        clone(ESTIMATORS["no vote"]).set_params(n_clusters=900).fit(tissue())
    assert warnings.showwarning is show


def test_other_slices_get_what_is_predicted(fitted):
    model, adata = fitted
    for other in (tissue(1), adata[::2].copy()):
        model.write(other, key_added="found")
        np.testing.assert_array_equal(other.obs["found"].cat.codes, model.predict(other))
        np.testing.assert_array_equal(other.obsm["X_found"], model.transform(other))
        assert list(other.obs["found"].cat.categories) == ["0", "1", "2"] and other.uns["found"]["predicted"] is True


def test_counts_that_were_changed_are_not_those_of_fit():
    adata = tissue()
    model = ESTIMATORS["no vote"].fit(adata)
    changed = adata.copy()
    changed.X[0, 0] += 1
    model.write(changed)
    assert changed.uns["domain"]["predicted"] is True


def test_what_cannot_be_written_to_is_refused():
    adata = tissue()
    model = ESTIMATORS["no vote"].fit(adata)
    with pytest.raises(TypeError, match="adata is of type DataFrame"):
        model.write(adata.to_df())
    with pytest.raises(ValueError, match="key_added='a/b' cannot name"):
        model.write(adata, key_added="a/b")
    assert "domain" not in adata.obs


def test_long_parameters_are_told_by_their_length():
    adata = tissue()
    model = SpaLLMFusion(strategy="expression", n_clusters=3, clusterer=FEW, gene_names=list(adata.var_names))
    model.fit(adata).write(adata)
    assert adata.uns["domain"]["params"]["gene_names"] == "list of length 60"
    assert adata.uns["domain"]["params"]["clusterer"] == "ConsensusMixture"


def test_texts_of_numbers_are_sorted_as_numbers():
    assert sort_labels(["10", "2", "1"]) == ["1", "2", "10"]
    assert sort_labels(["10", "2", "L1"]) == ["10", "2", "L1"]


def test_slices_of_a_list_are_written_one_by_one():
    slices = [make_spatial_domains(n_samples=150, n_genes=60, n_domains=3, random_state=0) for _ in range(2)]
    model = ESTIMATORS["no vote"].fit(slices)
    model.write(slices)
    written = np.concatenate([one.obs["domain"].cat.codes for one in slices])
    np.testing.assert_array_equal(written, model.labels_)
    with pytest.raises(TypeError, match="coordinates= goes with one AnnData"):
        model.write(slices, coordinates=slices[0].obsm["spatial"])
    with pytest.raises(TypeError, match="adata is of type str"):
        model.write([slices[0], "slice2.h5ad"], key_added="other")
    assert "other" not in slices[0].obs
    for adata, fault in (([], "a list of nothing"), ([slices[0], slices[0]], "names one AnnData twice")):
        with pytest.raises(ValueError, match=fault):
            model.write(adata, key_added="other")


@pytest.mark.parametrize("changed", ["genes", "obsm", "obsp"])
def test_what_is_read_is_what_tells_data_apart(changed):
    adata = tissue()
    adata.obsm["rep"] = np.log1p(np.asarray(adata.X.todense()))[:, :10]
    adata.obsp["near"] = spatial_graph(adata.obsm["spatial"], n_neighbors=5)
    spatial = SpatialGraphTransformer(graph="near") if changed == "genes" else None
    spatial = spatial or SpatialGraphTransformer(use_rep="rep", graph="near")
    model = SpaLLMFusion(spatial, strategy="expression", n_clusters=3, clusterer=FEW, random_state=0).fit(adata)
    other = adata.copy()
    if changed == "genes":
        other.X = other.X[:, ::-1].copy()
    elif changed == "obsm":
        other.obsm["rep"] = other.obsm["rep"][::-1].copy()
    else:
        other.obsp["near"] = spatial_graph(adata.obsm["spatial"], n_neighbors=12)
    model.write(other)
    np.testing.assert_array_equal(other.obs["domain"].cat.codes, model.predict(other))
    np.testing.assert_array_equal(other.obsm["X_domain"], model.transform(other))
    assert other.uns["domain"]["predicted"] is True
    model.write(adata)
    assert adata.uns["domain"]["predicted"] is False


def test_the_record_is_that_of_the_fit():
    adata = tissue()
    model = clone(ESTIMATORS["no vote"]).fit(adata).set_params(n_clusters=9)
    model.write(adata)
    assert adata.uns["domain"]["params"]["n_clusters"] == "3" and adata.uns["domain"]["n_clusters"] == 3


@pytest.mark.parametrize(("part", "key"), [("obs", "label"), ("uns", "spatial"), ("obsm", "umap")])
def test_what_others_wrote_is_left(part, key):
    adata = tissue()
    model = ESTIMATORS["no vote"].fit(adata)
    if part == "uns":
        adata.uns["spatial"] = {"library": {}}
    elif part == "obsm":
        adata.obsm["X_umap"] = np.zeros((adata.n_obs, 2))
    with pytest.raises(ValueError, match=f"key_added='{key}' is taken: adata.{part}"):
        model.write(adata, key_added=key)
    model.write(adata)
    model.write(adata)  # its own is written anew


def test_nothing_is_left_of_an_earlier_model():
    adata = tissue()
    clone(ESTIMATORS["no vote"]).fit(adata).write(adata)
    assert "domain_posterior" in adata.obsm
    clone(ESTIMATORS["k-means"]).fit(adata).write(adata)
    assert "domain_posterior" not in adata.obsm


@pytest.mark.parametrize("nested", [False, True])
def test_layers_and_steps_of_parts_count_too(nested):
    adata = tissue()
    adata.layers["other"] = adata.X.copy()
    spatial = SpatialGraphTransformer(layer="other")
    spatial = make_pipeline(spatial, PCA(5, random_state=0)) if nested else spatial
    model = SpaLLMFusion(spatial, strategy="expression", n_clusters=3, clusterer=FEW, random_state=0).fit(adata)
    other = adata.copy()
    other.layers["other"] = other.layers["other"][:, ::-1].copy()
    model.write(other)
    np.testing.assert_array_equal(other.obs["domain"].cat.codes, model.predict(other))
    assert other.uns["domain"]["predicted"] is True
    model.write(adata)
    assert adata.uns["domain"]["predicted"] is False
