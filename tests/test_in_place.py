"""Cells in place: a spot's own expression beside that of its surroundings."""

import warnings

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.metrics import adjusted_rand_score

from skst import SpaLLMFusion, SpatialGraphTransformer
from skst.datasets import fetch_starmap, make_spatial_domains
from skst.partition import ConsensusMixture


@pytest.fixture(scope="module")
def tissue():
    return make_spatial_domains(n_samples=400, n_domains=3, n_cell_types=3, random_state=0)


def embed(adata, share, method="smooth"):
    return SpatialGraphTransformer(method, spatial_weight=share, n_components=6).fit_transform(adata)


def fusion(share, n_clusters, **parameters):
    spatial = SpatialGraphTransformer("views", spatial_weight=share)
    few = ConsensusMixture(n_leading=(10,), n_init=1, n_keep=1)
    return SpaLLMFusion(
        spatial, strategy="expression", n_clusters=n_clusters, clusterer=few, random_state=0, **parameters
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_squared_distances_are_mixed_by_the_weight(tissue, share):
    own, surroundings = (pdist(embed(tissue, end), "sqeuclidean") for end in (0.0, 1.0))
    mixed = pdist(embed(tissue, share), "sqeuclidean")
    np.testing.assert_allclose(mixed, share * surroundings + (1 - share) * own, rtol=1e-3, atol=1e-5)


def test_without_surroundings_places_do_not_matter(tissue):
    moved = tissue.copy()
    moved.obsm["spatial"] = np.random.default_rng(0).permutation(tissue.obsm["spatial"])
    np.testing.assert_array_equal(embed(moved, 0.0), embed(tissue, 0.0))
    assert np.abs(embed(moved, 0.2) - embed(tissue, 0.2)).max() > 0.01


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("method", ["smooth", "views"])
def test_other_spots_are_embedded_likewise(tissue, method, share):
    model = SpatialGraphTransformer(method, spatial_weight=share, n_components=6).fit(tissue)
    np.testing.assert_array_equal(model.transform(tissue), model.embedding_)
    assert model.embedding_.shape[1] == model.n_components_ and model.n_components_ % model.n_views_ == 0
    assert model.embedding_.var(axis=0).sum() == pytest.approx(model.n_views_, rel=1e-4)


def test_text_is_averaged_to_the_same_share(tissue):
    places, values = tissue.obsm["spatial"], np.random.default_rng(0).normal(size=(tissue.n_obs, 3)).astype("float32")
    own, mixed, averaged = (
        SpatialGraphTransformer(spatial_weight=share).fit(tissue).average(values, coordinates=places)
        for share in (0.0, 0.25, 1.0)
    )
    np.testing.assert_array_equal(own, values)
    np.testing.assert_allclose(mixed, 0.25 * averaged + 0.75 * own, atol=1e-6)


def test_genes_that_never_vary_are_no_error():
    X = np.ones((60, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = SpatialGraphTransformer(spatial_weight=0.5, n_components=2).fit_transform(
            X, coordinates=np.random.default_rng(0).random((60, 2))
        )
    assert np.isfinite(found).all()


def test_nobody_votes_on_types_unless_told_to(tissue):
    own, half, asked = fusion(0.2, 3), fusion(0.5, 3), fusion(0.2, 3, n_vote_neighbors=18)
    labels = [model.fit_predict(tissue) for model in (own, half, asked)]
    unvoted = [fusion(share, 3, n_vote_neighbors=0).fit_predict(tissue) for share in (0.2, 0.5)]
    np.testing.assert_array_equal(labels[0], unvoted[0])
    assert (labels[1] != unvoted[1]).any() and (labels[2] != unvoted[0]).any()
    np.testing.assert_array_equal(own.predict(tissue), labels[0])


def test_the_question_is_asked_where_cells_get_many_clusters(tissue):
    scattered = tissue.copy()
    scattered.obsm["spatial"] = np.random.default_rng(0).random((tissue.n_obs, 2))
    with pytest.warns(UserWarning, match="n_clusters=15 is more domains.*spatial__spatial_weight=0.2"):
        fusion(1.0, 15).fit(scattered)
    for model, adata in ((fusion(1.0, 14), scattered), (fusion(0.2, 15), scattered), (fusion(1.0, 15), tissue)):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "n_clusters=")
            model.fit(adata)


def test_real_cells_have_types_and_domains():
    try:
        adata = fetch_starmap(download_if_missing=False)
    except OSError:
        pytest.skip("data are not at hand")
    found = [fusion(share, 10).fit_predict(adata) for share in (0.2, 1.0)]
    gain = {}
    for column in ("cell_type", "label"):
        scores = [adjusted_rand_score(adata.obs[column].astype(str), labels) for labels in found]
        gain[column] = scores[0] - scores[1]
    assert gain["cell_type"] > 0.1 and gain["label"] < -0.1
