"""What is wrong with places, slices and numbers is told in one sentence that names the argument, or just works."""

import numpy as np
import pytest
from bad_inputs.kit import (
    quick_fusion,
    quick_llmdsc,
    quick_semst,
    quick_stllm,
)
from faults import refused, warned, works
from sklearn.base import clone

from skst import SpatialGraphTransformer
from skst.graph import SpatialNeighbors

# What follows where spots have become equal, of k-means and of skst.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Number of distinct clusters"),
    pytest.mark.filterwarnings("ignore:The partition has collapsed"),
]


# Places


def test_coordinates_that_are_missing(small):
    del small.obsm["spatial"]
    for estimator in (SpatialGraphTransformer(), quick_fusion(), quick_semst(), quick_stllm()):
        with warned(r"X has no coordinates.*obsm\['spatial'\] of an AnnData or pass coordinates="):
            estimator.fit(small)
    for estimator in (make(on_missing="error") for make in (SpatialGraphTransformer, quick_semst, quick_stllm)):
        with refused("X has no coordinates"):
            estimator.fit(small)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_coordinates_that_are_not_finite(small, value):
    small.obsm["spatial"][[5, 9], 1] = value
    for estimator in (SpatialGraphTransformer(), quick_fusion(), quick_semst(), quick_stllm()):
        with refused("coordinates of 2 spots are NaN or infinite, the first in row 5; drop these spots"):
            estimator.fit(small)


def test_coordinates_of_another_length(small):
    for estimator in (SpatialGraphTransformer(), quick_fusion(), quick_semst(), quick_stllm()):
        with refused("coordinates have 199 rows but X has 200; give one row a spot"):
            estimator.fit(small, coordinates=small.obsm["spatial"][1:])
        with refused(r"coordinates have shape \(200, 5\)"):
            estimator.fit(small, coordinates=np.ones((200, 5)))
        with refused(r"batch has shape \(3,\) but X has 200 rows"):
            estimator.fit(small, batch=["a", "b", "c"])


@pytest.mark.parametrize("graph", ["knn", "radius", "delaunay", "learned"])
def test_spots_at_one_place_and_far_from_all(small, graph):
    small.obsm["spatial"][:30] = small.obsm["spatial"][30]
    small.obsm["spatial"][40] = 1e6
    graph = SpatialNeighbors("radius", radius=150.0) if graph == "radius" else graph
    models = [
        quick_fusion(spatial=SpatialGraphTransformer(graph=graph)),
        quick_semst(graph=graph, fusion=None),
        quick_stllm(graph=graph),
    ]
    for model in models:
        with warned("31 of 200 spots lie at one place, .*; drop these spots, or leave out coordinates"):
            fitted = clone(model).fit(small)
        assert set(fitted.labels_) == set(range(4)) and np.isfinite(fitted.embedding_).all()
    small.obsm["spatial"][:] = 0
    for model in models:
        with warned("200 of 200 spots lie at one place"):
            fitted = clone(model).fit(small)
        with warned("200 of 200 spots lie at one place"):
            np.testing.assert_array_equal(fitted.predict(small), fitted.labels_)


def test_a_slice_of_one_spot(small):
    slices = np.where(np.arange(200) == 7, "alone", "together")
    small.obs["slice"] = slices
    for parameters in (
        {"make": quick_fusion},
        {"make": quick_semst},
        {"make": quick_semst, "network__batch_size": 20},
        {"make": quick_stllm},
    ):
        assert set(works(small, batch_key="slice", **parameters).labels_) == set(range(4))


# Numbers


@pytest.mark.filterwarnings("ignore:n_neighbors=6 joins", "ignore:The partition has collapsed")
def test_more_domains_than_spots(small):
    for make in (quick_fusion, quick_semst, quick_stllm, quick_llmdsc):
        with refused("n_clusters=201 is larger than the 200 spots .*ask for fewer"):
            make(n_clusters=201).fit(small)
        assert make(n_clusters=3).fit(small[:3]).labels_.shape == (3,)
        assert set(make(n_clusters=1).fit(small).labels_) == {0}
        make(n_clusters=None).fit(small[:3])


def test_more_neighbors_than_spots(small):
    for model in (
        quick_fusion(spatial=SpatialGraphTransformer().set_params(graph__n_neighbors=50)),
        quick_semst(graph__n_neighbors=50, n_expression_neighbors=50),
        quick_stllm(graph__n_neighbors=50, narration__n_regions=50),
    ):
        with warned("n_neighbors=50 joins 9 of 9 spots to half of their slice or more.*lower n_neighbors"):
            assert model.fit(small[:9]).labels_.shape == (9,)


def test_a_clusterer_that_is_unknown(small):
    for make in (quick_fusion, quick_semst, quick_stllm, quick_llmdsc):
        with refused("clusterer='mclust' is not one of"):
            make(clusterer="mclust").fit(small)


def test_a_radius_that_is_missing(small):
    for make in (SpatialGraphTransformer, quick_semst, quick_stllm):
        with refused("radius=None, but graph='radius' needs a positive distance"):
            make(graph="radius").fit(small)
