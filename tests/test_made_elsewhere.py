"""Embeddings and graphs that were made elsewhere: keys of obsm and obsp, and matrices."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.decomposition import PCA

from skst import GeneTextEncoder, SpaLLMFusion, SpatialGraphTransformer, STLLMClusterer
from skst.datasets import make_spatial_domains
from skst.graph import spatial_graph
from skst.metrics import score_partition
from skst.partition import ConsensusMixture

FEW = ConsensusMixture(n_leading=(4, 6), n_init=2, n_keep=1)


@pytest.fixture
def tissue():
    adata = make_spatial_domains(n_samples=240, n_genes=60, n_domains=3, n_slices=2, random_state=0)
    adata.obsm["X_scVI"] = PCA(6, random_state=0).fit_transform(np.log1p(np.asarray(adata.X.todense())))
    adata.obsp["spatial_connectivities"] = spatial_graph(adata.obsm["spatial"], n_neighbors=8, batch=adata.obs["batch"])
    return adata


def fusion(strategy="expression", **spatial):
    parameters = {"strategy": strategy, "n_clusters": 3, "clusterer": FEW, "random_state": 0}
    text = GeneTextEncoder(model="lexical")
    return SpaLLMFusion(SpatialGraphTransformer(**spatial), text, batch_key="batch", **parameters)


def test_an_embedding_is_read_as_the_array_is(tissue):
    places = {"coordinates": tissue.obsm["spatial"], "batch": tissue.obs["batch"].to_numpy()}
    model = SpatialGraphTransformer(use_rep="X_scVI", batch_key="batch", n_components=4).fit(tissue)
    array = SpatialGraphTransformer(normalize=False, n_components=4).fit(tissue.obsm["X_scVI"], **places)
    np.testing.assert_array_equal(model.embedding_, array.embedding_)
    assert model.n_features_in_ == 6 and not hasattr(model, "feature_names_in_")
    np.testing.assert_array_equal(model.transform(tissue), model.embedding_)


def test_a_graph_of_obsp_is_that_of_the_same_edges(tissue):
    key, matrix, object_ = (
        SpatialGraphTransformer(graph=graph, batch_key="batch", n_components=4).fit_transform(tissue)
        for graph in ("spatial_connectivities", tissue.obsp["spatial_connectivities"], "knn")
    )
    np.testing.assert_array_equal(key, matrix)
    assert np.abs(key - object_).max() > 1e-3
    nearest = SpatialGraphTransformer(batch_key="batch", n_components=4).set_params(graph__n_neighbors=8)
    np.testing.assert_array_equal(nearest.fit_transform(tissue), key)


def test_partitions_agree_with_those_of_the_same_arrays(tissue):
    places = {"coordinates": tissue.obsm["spatial"], "batch": tissue.obs["batch"].to_numpy()}
    model = fusion(use_rep="X_scVI", graph="spatial_connectivities").fit(tissue)
    parameters = {"strategy": "expression", "n_clusters": 3, "clusterer": FEW, "random_state": 0}
    spatial = SpatialGraphTransformer(graph=tissue.obsp["spatial_connectivities"], normalize=False)
    array = SpaLLMFusion(spatial, **parameters).fit(tissue.obsm["X_scVI"], **places)
    # Draws are made for spots in an order of their own, which counts decide in the one and scores in the other.
    assert score_partition(array.labels_, model.labels_)["ari"] > 0.95
    assert score_partition(tissue.obs["label"], model.labels_)["ari"] > 0.6
    np.testing.assert_array_equal(model.predict(tissue), model.labels_)


def test_text_is_added_and_other_slices_are_predicted(tissue):
    first, second = (tissue[tissue.obs["batch"] == name].copy() for name in ("slice1", "slice2"))
    model = fusion("weighted", use_rep="X_scVI", graph="spatial_connectivities").fit(first)
    assert model.text_ is not None
    assert score_partition(second.obs["label"], model.predict(second))["ari"] > 0.6


def test_weights_loops_and_edges_between_slices_are_not_heeded(tissue):
    plain = tissue.obsp["spatial_connectivities"].tocsr()
    odd = sparse.lil_array(plain * 0.3)
    odd.setdiag(5)
    codes = tissue.obs["batch"].cat.codes.to_numpy() if tissue.obs["batch"].dtype == "category" else None
    if codes is None:
        codes = pd.factorize(tissue.obs["batch"])[0]
    odd[0, int(np.flatnonzero(codes != codes[0])[0])] = 1
    tissue.obsp["odd"] = odd.tocsr()
    embedded = [
        SpatialGraphTransformer(graph=key, batch_key="batch").fit_transform(tissue)
        for key in ("odd", "spatial_connectivities")
    ]
    np.testing.assert_array_equal(*embedded)


def test_no_coordinates_are_needed(tissue):
    del tissue.obsm["spatial"]
    embedded = SpatialGraphTransformer(graph="spatial_connectivities", batch_key="batch").fit_transform(tissue)
    assert np.isfinite(embedded).all()


def test_other_estimators_take_a_graph(tissue):
    few = {"clusterer": FEW, "batch_key": "batch", "random_state": 0, "narration__levels": []}
    text = GeneTextEncoder(model="lexical")
    found = [
        STLLMClusterer(3, graph=graph, text=text).set_params(**few).fit_predict(tissue)
        for graph in ("spatial_connectivities", tissue.obsp["spatial_connectivities"])
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"graph": "knnn"}, r"graph='knnn' is none of \('knn',.*X has no obsp\['knnn'\]"),
        ({"graph": sparse.eye_array(7, format="csr")}, r"graph has the shape \(7, 7\), but there are 240 spots"),
        ({"graph": "bad"}, r"obsp\['bad'\] holds NaN, infinite or negative"),
        ({"use_rep": "X_pca"}, r"use_rep='X_pca' is not in X.obsm, which holds \["),
        ({"use_rep": "X_scVI", "semantic": GeneTextEncoder(model="lexical")}, "use_rep=, but modulation"),
    ],
)
def test_faults_are_one_sentence(tissue, parameters, message):
    tissue.obsp["bad"] = -tissue.obsp["spatial_connectivities"]
    with pytest.raises(ValueError, match=message):
        SpatialGraphTransformer(batch_key="batch", **parameters).fit(tissue)


def test_tables_have_no_parts(tissue):
    with pytest.raises(ValueError, match="use_rep='X_scVI' asks for a part of an AnnData.*leave use_rep out"):
        SpatialGraphTransformer(use_rep="X_scVI").fit(tissue.to_df(), coordinates=tissue.obsm["spatial"])


def test_a_matrix_is_of_the_spots_of_fit_alone(tissue):
    model = SpatialGraphTransformer(graph=tissue.obsp["spatial_connectivities"], batch_key="batch").fit(tissue)
    np.testing.assert_array_equal(model.transform(tissue), model.embedding_)
    moved = tissue[np.random.default_rng(0).permutation(tissue.n_obs)].copy()
    with pytest.raises(ValueError, match="graph is a matrix of the spots of fit, and X has others"):
        model.transform(moved)


def test_an_edge_that_is_told_once_joins_both(tissue):
    tissue.obsp["upper"] = sparse.triu(tissue.obsp["spatial_connectivities"]).tocsr()
    embedded = [
        SpatialGraphTransformer(graph=key, batch_key="batch").fit_transform(tissue)
        for key in ("upper", "spatial_connectivities")
    ]
    np.testing.assert_array_equal(*embedded)


def test_a_graph_without_edges_is_warned_of(tissue):
    with pytest.warns(UserWarning, match="graph joins no spot to another"):
        SpatialGraphTransformer(graph=sparse.csr_array((240, 240))).fit(tissue)


def test_columns_of_a_table_are_matched_by_name(tissue):
    names = [f"factor{i}" for i in range(6)]
    tissue.obsm["X_scVI"] = pd.DataFrame(tissue.obsm["X_scVI"], index=tissue.obs_names, columns=names)
    model = SpatialGraphTransformer(use_rep="X_scVI", batch_key="batch").fit(tissue)
    assert list(model.feature_names_in_) == names
    tissue.obsm["X_scVI"] = tissue.obsm["X_scVI"].iloc[:, ::-1]
    np.testing.assert_array_equal(model.transform(tissue), model.embedding_)
    tissue.obsm["X_scVI"] = tissue.obsm["X_scVI"].rename(columns={"factor0": "other"})
    with pytest.raises(ValueError, match="X lacks 1 of the 6 genes seen in fit, such as 'factor0'"):
        model.transform(tissue)
