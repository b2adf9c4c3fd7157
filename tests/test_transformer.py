"""SpatialGraphTransformer: the smooth embedding against its formula, and what must not change it."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from scipy.linalg import subspace_angles
from sklearn.base import clone
from sklearn.decomposition import PCA
from tissues import hops

from skst.datasets import mask_counts
from skst.embedding import SpatialGraphTransformer
from skst.expression import smooth
from skst.expression.noise import noise_over_mean
from skst.graph import (
    SpatialGraphLearner,
    averaging_operator,
    spatial_graph,
)


def _span(embedding, expected, atol=2e-3):
    """Columns equal up to their signs."""
    signs = np.sign((embedding * expected).sum(axis=0))
    np.testing.assert_allclose(embedding * signs, expected, atol=atol * np.abs(expected).max())


def _plain(**parameters):
    return SpatialGraphTransformer(n_components=4, n_hops=2, random_state=0).set_params(**parameters)


def _unit(values):
    values = values - values.mean(axis=0)
    return values / np.sqrt(values.var(axis=0).sum())


def _roots(adata):
    return np.sqrt(adata.X.toarray() / np.asarray(adata.X.sum(axis=1)))


def test_the_embedding_equals_its_formula(tissue):
    fitted = _plain().fit(tissue)
    X = tissue.X.toarray().astype(float)
    depths = X.sum(axis=1)
    roots = np.sqrt(X / depths[:, None] * np.median(depths))
    average = averaging_operator(spatial_graph(tissue.obsm["spatial"])).toarray().astype(float)
    smoothed = average @ average @ roots
    left, sizes, right = np.linalg.svd(smoothed - smoothed.mean(axis=0), full_matrices=False)
    expected = left[:, :4] * sizes[:4]
    _span(fitted.embedding_, expected / np.sqrt(expected.var(axis=0).sum()))
    assert subspace_angles(fitted.components_.T, right[:4].T).max() < 5e-3
    assert fitted.embedding_.var(axis=0).sum() == pytest.approx(1, rel=1e-4)


def test_pooling_comes_before_the_square_root(tissue):
    shallow = mask_counts(tissue, 0.9, random_state=0)
    fitted = _plain(n_hops="auto").fit(shallow)
    assert fitted.n_pool_ > 0
    X = shallow.X.toarray().astype(float)
    averaging = averaging_operator(spatial_graph(tissue.obsm["spatial"]))
    pooled = np.linalg.matrix_power(averaging.toarray().astype(float), fitted.n_pool_) @ X
    depths = pooled.sum(axis=1)
    smoothed = hops(averaging, fitted.hop_weights_) @ np.sqrt(pooled / depths[:, None])
    left, sizes, _ = np.linalg.svd(smoothed - smoothed.mean(axis=0), full_matrices=False)
    expected = left[:, :4] * sizes[:4]
    _span(fitted.embedding_, expected / np.sqrt(expected.var(axis=0).sum()), atol=1e-2)


@pytest.mark.parametrize(
    "parameters", [{"n_hops": "auto"}, {"graph": "delaunay"}, {"graph": "radius", "graph__radius": 110.0}]
)
def test_embedding_is_what_transform_gives(tissue, parameters):
    fitted = _plain(**parameters).fit(tissue)
    np.testing.assert_allclose(fitted.transform(tissue), fitted.embedding_, atol=1e-4)
    np.testing.assert_array_equal(clone(fitted).fit_transform(tissue), fitted.embedding_)


def test_order_of_genes_and_spots_does_not_matter(tissue):
    embedding = _plain(n_hops="auto").fit_transform(tissue)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(tissue.n_obs), rng.permutation(tissue.n_vars)
    fitted = _plain(n_hops="auto").fit(tissue)
    np.testing.assert_allclose(fitted.transform(tissue[rows, columns]), embedding[rows], atol=1e-4)
    _span(_plain(n_hops="auto").fit_transform(tissue[rows, columns]), embedding[rows])


@pytest.mark.parametrize("n_hops", [2, "auto"])
def test_containers_give_the_same_embedding(tissue, n_hops):
    expected = _plain(n_hops=n_hops).fit_transform(tissue)
    places = {"coordinates": tissue.obsm["spatial"]}
    for X in (tissue.X, sparse.csc_array(tissue.X), tissue.X.toarray(), tissue.to_df()):
        _span(_plain(n_hops=n_hops).fit_transform(X, **places), expected)


def test_slices_are_smoothed_one_by_one(slices):
    slices.obsm["spatial"] -= slices.obsm["spatial"].min(axis=0)  # the slices lie on each other
    fitted = _plain(batch_key="batch").fit(slices)
    for name in slices.obs["batch"].unique():
        rows = (slices.obs["batch"] == name).to_numpy()
        np.testing.assert_allclose(fitted.transform(slices[rows]), fitted.embedding_[rows], atol=1e-4)
    assert not np.allclose(_plain().fit_transform(slices), fitted.embedding_, atol=1e-2)


def test_depth_of_a_spot_does_not_matter_where_nothing_is_pooled(tissue):
    expected = _plain().fit_transform(tissue)
    factors = np.random.default_rng(0).integers(1, 20, tissue.n_obs)
    # Common depth is the median, so the scale of the values may change, but not the embedding.
    tissue.X = sparse.diags_array(factors.astype(np.float32)) @ tissue.X
    _span(_plain().fit_transform(tissue), expected)


def test_less_depth_is_pooled_over_more_hops(tissue):
    pooled = [_plain(n_hops="auto").fit(mask_counts(tissue, part, random_state=0)).n_pool_ for part in (0, 0.8, 0.97)]
    assert pooled == sorted(pooled) and pooled[0] < pooled[1] < pooled[2]
    tissue.X = tissue.X * 100
    assert _plain(n_hops="auto").fit(tissue).n_pool_ == 0
    for n_hops in (0, 3):
        fitted = _plain(n_hops=n_hops).fit(mask_counts(tissue, 0.97, random_state=0))
        assert fitted.n_pool_ == 0 and fitted.hop_weights_.tolist() == [0] * n_hops + [1]


def test_only_genes_of_large_variance_are_kept(tissue):
    fitted = _plain(n_top_genes=15).fit(tissue)
    kept = (fitted.components_ != 0).any(axis=0)
    assert kept.sum() == 15
    assert set(np.flatnonzero(kept)) == set(np.argsort(-_roots(tissue).var(axis=0))[:15])
    np.testing.assert_allclose(fitted.transform(tissue), fitted.embedding_, atol=1e-4)


def test_views_are_the_same_formula_seen_in_other_ways(tissue):
    shallow = mask_counts(tissue, 0.9, random_state=0)
    fitted = SpatialGraphTransformer("views", n_components=4, n_top_genes=None, random_state=0).fit(shallow)
    assert fitted.embedding_.shape == (400, 12) and (fitted.n_views_, fitted.n_components_) == (3, 12)
    plain, both, near = np.split(fitted.embedding_, 3, axis=1)
    alone = SpatialGraphTransformer(n_components=4, n_top_genes=None, random_state=0).fit(shallow)
    np.testing.assert_allclose(plain, alone.embedding_, atol=1e-5)
    np.testing.assert_array_equal(fitted.components_[:4], alone.components_)
    average = averaging_operator(spatial_graph(tissue.obsm["spatial"]))
    assert fitted.n_pool_ == alone.n_pool_ > 0
    pooled = np.linalg.matrix_power(average.toarray().astype(float), fitted.n_pool_) @ shallow.X.toarray()
    # The noise is that of counts which are not pooled, as pooling makes neighbours alike.
    scaled = np.sqrt(pooled / pooled.sum(axis=1, keepdims=True)) / np.sqrt(noise_over_mean(shallow.X, average))
    smoothed = hops(average, fitted.hop_weights_) @ scaled
    expected = PCA(4, svd_solver="full").fit(smoothed)
    _span(both, _unit(expected.transform(smoothed)), atol=1e-2)
    _span(near, _unit(average @ scaled @ expected.components_.T), atol=1e-2)
    np.testing.assert_array_equal(fitted.transform(shallow), fitted.embedding_)


def test_views_that_would_be_the_same_are_one(tissue):
    with pytest.warns(UserWarning, match="X has no coordinates"):
        assert SpatialGraphTransformer("views", n_components=4).fit(tissue.X).embedding_.shape == (400, 4)
    for parameters in ({"n_hops": 2}, {"normalize": False}):
        views, smooth = (
            SpatialGraphTransformer(m, n_components=4, **parameters).fit(tissue) for m in ("views", "smooth")
        )
        assert views.n_views_ == 1
        np.testing.assert_allclose(views.embedding_, smooth.embedding_, atol=1e-5)


@pytest.mark.filterwarnings("ignore:n_neighbors=6 joins 5 of 5 spots")
def test_fewer_genes_or_spots_than_components(tissue):
    for X, columns in ((tissue[:, :3], 3), (tissue[:5], 5), (tissue[:1], 1)):
        fitted = SpatialGraphTransformer().fit(X)
        assert fitted.embedding_.shape == (len(X), columns) and fitted.n_components_ == columns
        assert np.isfinite(fitted.embedding_).all()
        np.testing.assert_allclose(fitted.transform(X), fitted.embedding_, atol=1e-4)
    fitted = SpatialGraphTransformer(n_top_genes=6).fit(tissue)
    assert fitted.embedding_.shape == (400, 6) and fitted.get_feature_names_out().shape == (6,)


def test_without_coordinates_it_is_a_pca(tissue):
    with pytest.warns(UserWarning, match=r"X has no coordinates.*obsm\['spatial'\].*coordinates="):
        fitted = _plain(n_hops="auto").fit(tissue.X)
    assert fitted.n_pool_ == 0 and fitted.hop_weights_.tolist() == [1]
    roots = np.sqrt(tissue.X.toarray() / np.asarray(tissue.X.sum(axis=1)))
    expected = PCA(4, svd_solver="full").fit_transform(roots)
    _span(fitted.embedding_, expected / np.sqrt(expected.var(axis=0).sum()))
    with pytest.warns(UserWarning, match="X has no coordinates"):
        one_by_one = np.vstack([fitted.transform(tissue.X[i]) for i in range(5)])
    np.testing.assert_allclose(one_by_one, fitted.embedding_[:5], atol=1e-4)
    with pytest.raises(ValueError, match="X has no coordinates"):
        _plain(on_missing="error").fit(tissue.X)


def test_x_is_taken_as_it_is(tissue):
    X = np.random.default_rng(0).normal(size=tissue.shape)
    places = {"coordinates": tissue.obsm["spatial"]}
    fitted = _plain(normalize=False, n_hops=1).fit(X, **places)
    smoothed = averaging_operator(spatial_graph(tissue.obsm["spatial"])) @ X
    expected = PCA(4, svd_solver="full").fit_transform(smoothed)
    assert subspace_angles(fitted.embedding_, expected).max() < 5e-3
    assert fitted.n_pool_ == 0
    np.testing.assert_allclose(fitted.transform(X, **places), fitted.embedding_, atol=1e-4)


def test_anything_is_averaged_over_the_same_hops(tissue, monkeypatch):
    fitted = _plain(n_hops="auto").fit(mask_counts(tissue, 0.9, random_state=0))
    values = np.random.default_rng(0).normal(size=(400, 3))
    average = averaging_operator(spatial_graph(tissue.obsm["spatial"]))
    assert fitted.n_pool_ > 0
    expected = hops(average, fitted.hop_weights_) @ hops(average, [0] * fitted.n_pool_ + [1]) @ values
    averaged = fitted.average(values, coordinates=tissue.obsm["spatial"])
    np.testing.assert_allclose(averaged, expected, atol=1e-5)
    monkeypatch.setattr(smooth, "SPREAD_COLUMNS", 2)
    np.testing.assert_array_equal(fitted.average(values, coordinates=tissue.obsm["spatial"]), averaged)


def test_a_learnt_graph_averages_by_counts(tissue):
    fitted = _plain(graph=SpatialGraphLearner(max_epochs=2, random_state=0)).fit(tissue)
    places = {"coordinates": tissue.obsm["spatial"]}
    with pytest.raises(ValueError, match="counts=None, but the graph is learnt"):
        fitted.average(np.eye(400), **places)
    averaged = fitted.average(np.eye(400), counts=tissue.X, **places)
    joined = fitted.graph_.graph_.toarray() > 0
    two_hops = (joined + np.eye(400)) @ (joined + np.eye(400)) > 0
    assert (averaged[joined] > 0).all() and not averaged[~two_hops].any()


@pytest.mark.parametrize("n_hops", [2, "auto"])
def test_nothing_as_large_as_spots_squared(n_hops):
    rng = np.random.default_rng(0)
    X = sparse.random_array((20_000, 600), density=0.05, rng=rng, format="csr", dtype=np.float32)
    X.data = np.ceil(30 * X.data)
    places = rng.uniform(size=(20_000, 2))
    transformer = _plain(n_hops=n_hops)
    tracemalloc.start()
    transformer.fit(X, coordinates=places).transform(X, coordinates=places)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert transformer.embedding_.shape == (20_000, 4)
    # Spots by genes, dense, are 48 MB; spots by spots 1,600 MB in floats and 400 MB in bytes.
    assert peak < 200e6
