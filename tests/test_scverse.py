"""What users of scanpy and squidpy write around skst; run by ``make test-scverse``, where both are installed."""

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from skst import SpaLLMFusion, SpatialGraphTransformer
from skst.datasets import make_spatial_domains
from skst.palette import PALETTE
from skst.partition import ConsensusMixture

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    sc = pytest.importorskip("scanpy")
    sq = pytest.importorskip("squidpy")
pytestmark = pytest.mark.filterwarnings("ignore")  # what they warn of is not ours to mend

PREDICT = """
import sys
import anndata, joblib
folder = sys.argv[1]
model = joblib.load(f"{folder}/model.joblib")
following = anndata.read_h5ad(f"{folder}/following.h5ad")
model.write(following)
following.write_h5ad(f"{folder}/told.h5ad")
"""


def read(seed):
    """A slice as a squidpy user has it: counts in a layer, logarithms in X, places in obsm."""
    adata = make_spatial_domains(n_samples=400, n_genes=80, n_domains=3, effect=3, random_state=seed)
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    return adata


@pytest.fixture(scope="module")
def told():
    adata = read(0)
    few = ConsensusMixture(n_init=2, n_keep=1)
    model = SpaLLMFusion(strategy="expression", n_clusters=3, clusterer=few, layer="counts", random_state=0)
    model.fit(adata).write(adata)
    return model, adata


def test_neighbourhoods_of_domains(told):
    _, adata = told
    sq.gr.spatial_neighbors(adata, coord_type="generic", n_neighs=6)
    sq.gr.nhood_enrichment(adata, cluster_key="domain", show_progress_bar=False, n_perms=50, seed=0)
    scores = adata.uns["domain_nhood_enrichment"]["zscore"]
    assert scores.shape == (3, 3) and (np.diag(scores) > 5).all()


def test_genes_of_domains(told):
    _, adata = told
    sc.tl.rank_genes_groups(adata, "domain", method="t-test")
    assert list(adata.uns["rank_genes_groups"]["names"].dtype.names) == ["0", "1", "2"]


def test_figures_have_our_colours(told):
    import matplotlib as mpl

    mpl.use("Agg")
    _, adata = told
    colours = list(adata.uns["domain_colors"])
    sq.pl.spatial_scatter(adata, color="domain", shape=None, library_id="one", size=10)
    axes = sc.pl.embedding(adata, basis="spatial", color="domain", show=False)
    drawn = {mpl.colors.to_hex(colour).upper() for colour in axes.collections[0].get_facecolors()}
    assert drawn == set(PALETTE[:3]) and list(adata.uns["domain_colors"]) == colours
    mpl.pyplot.close("all")


def test_the_embedding_serves_scanpy(told):
    model, adata = told
    sc.pp.neighbors(adata, use_rep="X_domain", n_neighbors=10)
    assert adata.obsp["connectivities"].shape == (400, 400)
    np.testing.assert_array_equal(adata.obsm["X_domain"], model.embedding_)


def test_an_embedding_serves_the_niches_of_squidpy():
    adata = read(0)
    sq.gr.spatial_neighbors(adata, coord_type="generic", n_neighs=6)
    adata.obsm["X_spatial"] = SpatialGraphTransformer(layer="counts").fit_transform(adata)
    named = {"distance": 1, "aggregation": "mean", "n_components": 3}
    sq.gr.calculate_niche(adata, flavor="cellcharter", use_rep="X_spatial", **named)
    assert adjusted_rand_score(adata.obs["label"], adata.obs["cellcharter_niche"]) > 0.4


def in_the_slot(adata, *, embedder, clusterers, rng):
    """What squidpy's draft of ``calculate_niche_custom`` does with what it is given."""
    embedding = embedder(adata)
    for column, clusterer in clusterers.items():
        assert "random_state" in clusterer.get_params()
        labels = clone(clusterer).set_params(random_state=np.random.RandomState(rng)).fit_predict(embedding)
        adata.obs[column] = pd.Categorical(np.asarray(labels).astype(str))


def test_what_squidpy_plans_takes_an_embedder_and_a_clusterer():
    adata, few = read(0), ConsensusMixture(3, n_init=2, n_keep=1)
    calculate = getattr(sq.gr, "calculate_niche_custom", in_the_slot)
    embedder = SpatialGraphTransformer(layer="counts").fit_transform
    calculate(adata, embedder=embedder, clusterers={"few": few, "same": few}, rng=0)
    assert adjusted_rand_score(adata.obs["label"], adata.obs["few"]) > 0.7 and not hasattr(few, "labels_")


@pytest.fixture
def sdata():
    """Cells as circles, and a table that annotates them in another order."""
    spatialdata = pytest.importorskip("spatialdata")
    import geopandas
    from shapely import Point

    table = make_spatial_domains(n_samples=300, n_genes=60, n_domains=3, effect=3, random_state=0)
    table.obs["cell_id"], table.obs["region"] = np.arange(300), pd.Categorical(["cells"] * 300)
    circles = [Point(place) for place in table.obsm["spatial"]]
    circles = geopandas.GeoDataFrame({"geometry": circles, "radius": 0.4})
    keys = {"region": "cells", "region_key": "region", "instance_key": "cell_id"}
    return spatialdata.SpatialData(
        shapes={"cells": spatialdata.models.ShapesModel.parse(circles)},
        tables={"table": spatialdata.models.TableModel.parse(table[::-1].copy(), **keys)},
    )


def test_domains_stay_in_a_spatialdata(sdata, tmp_path):
    import spatialdata

    few = ConsensusMixture(n_init=2, n_keep=1)
    model = SpaLLMFusion(strategy="expression", n_clusters=3, clusterer=few, random_state=0).fit(sdata)
    model.write(sdata)
    np.testing.assert_array_equal(model.predict(sdata), model.labels_)
    sdata.write(tmp_path / "tissue.zarr")
    read = spatialdata.read_zarr(tmp_path / "tissue.zarr")
    np.testing.assert_array_equal(read["table"].obs["domain"].cat.codes, model.labels_)
    assert read["table"].uns["domain"]["data_hash"] == sdata["table"].uns["domain"]["data_hash"]
    model.write(read, key_added="again")
    assert read["table"].uns["again"]["predicted"] is False


def test_centroids_are_found_as_the_error_says(sdata):
    import spatialdata

    places = sdata["table"].obsm.pop("spatial")
    transformer = SpatialGraphTransformer(n_components=5)
    with pytest.raises(ValueError, match=r"spatialdata.get_centroids\(sdata\['cells'\]\).*obs\['cell_id'\]"):
        transformer.fit(sdata)
    table = sdata.tables["table"]
    centroids = spatialdata.get_centroids(sdata["cells"]).compute()
    table.obsm["spatial"] = centroids.loc[table.obs["cell_id"], ["x", "y"]].to_numpy()
    np.testing.assert_allclose(table.obsm["spatial"], places)
    assert transformer.fit_transform(sdata).shape == (300, 5)


def test_a_saved_model_tells_the_next_slice_in_a_new_process(told, tmp_path):
    import anndata
    import joblib

    model, _ = told
    following = read(1)
    joblib.dump(model, tmp_path / "model.joblib")
    following.write_h5ad(tmp_path / "following.h5ad")
    subprocess.run([sys.executable, "-W", "ignore", "-c", PREDICT, str(tmp_path)], check=True, timeout=300)
    written = anndata.read_h5ad(tmp_path / "told.h5ad")
    np.testing.assert_array_equal(written.obs["domain"].cat.codes, model.predict(following))
    assert list(written.uns["domain_colors"]) == list(PALETTE[:3])
