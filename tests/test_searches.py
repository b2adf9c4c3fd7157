"""Searches of scikit-learn over parts of estimators, and what is routed to them; the code of the guide on selection."""

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from skorch import NeuralNet

from skst import GeneTextEncoder, SpaLLMFusion, SpatialGraphTransformer
from skst.datasets import make_spatial_domains
from skst.embedding.encoders import STAGATE
from skst.model_selection import NoSplit, labels_scorer
from skst.partition import ConsensusMixture

GUIDE = Path(__file__).parents[1] / "docs" / "guide" / "selection.rst"
FEW = ConsensusMixture(4, n_leading=(5, 10), n_init=2, n_keep=1, random_state=0)


@pytest.fixture(scope="module")
def adata():
    adata = make_spatial_domains(n_samples=200, n_genes=60, n_domains=4, effect=3, random_state=0)
    adata.obsm["X_pca"] = PCA(10, random_state=0).fit_transform(np.sqrt(adata.X.toarray()))
    adata.obsm["X_noise"] = np.random.default_rng(0).normal(size=(200, 10))
    return adata


def search(estimator, grid, adata, **options):
    options = {"cv": NoSplit(), "scoring": labels_scorer("ari"), "error_score": "raise"} | options
    return GridSearchCV(estimator, grid, **options).fit(adata, adata.obs["label"])


def test_parts_of_parts_are_searched_before_they_are_made(adata):
    fusion = SpaLLMFusion(strategy="expression", n_clusters=4, clusterer=FEW, random_state=0)
    grid = {"spatial__graph__n_neighbors": [4, 12], "spatial__n_hops": [1, 3], "clusterer__n_init": [1]}
    found = search(fusion, grid, adata)
    assert found.best_estimator_.spatial_.graph_.n_neighbors == found.best_params_["spatial__graph__n_neighbors"]
    assert len({tuple(np.ravel(score)) for score in found.cv_results_["mean_test_score"]}) > 1
    assert fusion.spatial is None  # the one that was given stays as it was


def test_embeddings_encoders_and_steps_are_searched_in_one_pipeline(adata):
    pipeline = Pipeline([("embed", SpatialGraphTransformer(random_state=0)), ("domains", FEW)])
    text = GeneTextEncoder(model="lexical")
    quick = STAGATE(n_hidden=16, max_epochs=2)
    grid = [
        {"embed__use_rep": [None, "X_pca", "X_noise"]},
        {"embed__method": ["smooth", quick], "embed__graph": ["knn", "delaunay"]},
        {"embed": [text], "embed__mode": ["aggregate"]},
    ]
    found = search(pipeline, grid, adata)
    scores = dict(zip(map(str, found.cv_results_["params"]), found.cv_results_["mean_test_score"], strict=True))
    assert len(scores) == 8
    by_rep = [scores[str({"embed__use_rep": rep})] for rep in (None, "X_pca", "X_noise")]
    assert min(by_rep[:2]) > 0.5 > by_rep[2]
    np.testing.assert_array_equal(found.best_estimator_.predict(adata), found.best_estimator_["domains"].labels_)


def test_arrays_are_searched_with_their_places_routed(adata):
    X, places = adata.X, adata.obsm["spatial"]
    with sklearn.config_context(enable_metadata_routing=True):
        embed = SpatialGraphTransformer(on_missing="error")
        embed.set_fit_request(coordinates=True).set_transform_request(coordinates=True)
        pipeline = Pipeline([("embed", embed), ("domains", FEW)])
        grid = GridSearchCV(pipeline, {"embed__n_hops": [1, 2]}, cv=NoSplit(), scoring=labels_scorer("ari"))
        grid.fit(X, adata.obs["label"].to_numpy(), coordinates=places)
        found = grid.best_estimator_.predict(X, coordinates=places)
    of_anndata = Pipeline([("embed", SpatialGraphTransformer()), ("domains", FEW)]).set_params(**grid.best_params_)
    np.testing.assert_array_equal(found, of_anndata.fit(adata).predict(adata))


def test_the_code_of_the_guide_runs(adata, monkeypatch):
    fit_loop = NeuralNet.fit_loop  # as for a reader, but not as long
    monkeypatch.setattr(NeuralNet, "fit_loop", lambda self, X, y=None, epochs=None, **rest: fit_loop(self, X, y, 2))
    (section,) = re.findall(r"\nParts, embeddings and encoders\n-+\n(.*?)\nWithout labels\n", GUIDE.read_text(), re.S)
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?: {4}.*\n|\n)+)", section, flags=re.MULTILINE)
    assert len(blocks) == 4
    names = {"adata": adata, "X": adata.X, "xy": adata.obsm["spatial"], "y": adata.obs["label"].to_numpy()}
    for block in blocks[:2]:
        exec(compile(textwrap.dedent(block), "selection.rst", "exec"), names)
    assert names["search"].best_score_ > 0.5 and len(names["labels"]) == 200
    two = names["adata"] = make_spatial_domains(200, n_domains=3, n_slices=2, random_state=0)
    names["model"] = SpatialGraphTransformer(batch_key="batch").fit(two)
    for block in blocks[2:]:
        exec(compile(textwrap.dedent(block), "selection.rst", "exec"), names)
    assert {"mean_test_ilisi", "mean_test_clisi"} <= set(names["search"].cv_results_)
