"""What users of scanpy and squidpy write around skst; run by ``make test-scverse``, where both are installed."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from skst import SpaLLMFusion
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
