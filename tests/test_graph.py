"""Spatial graphs and what is averaged over them, against brute force."""

import sys
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from scipy.linalg import subspace_angles
from scipy.spatial import Delaunay
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from skst import limits
from skst.datasets import mask_counts
from skst.embedding import SpatialGraphTransformer
from skst.expression import smooth
from skst.graph import (
    SpatialGraphLearner,
    averaging_operator,
    expression_graph,
    nearest_neighbors,
    spatial_graph,
)

KINDS = ("knn", "radius", "delaunay")
# Few distinct places: duplicates, lines and ties are common.
few_places = arrays(np.float64, st.tuples(st.integers(1, 14), st.integers(2, 3)), elements=st.integers(0, 3).map(float))


def _points(n=40, dims=2, seed=0):
    return np.random.default_rng(seed).uniform(size=(n, dims))


def _graph(points, kind, batch=None):
    return spatial_graph(points, kind=kind, n_neighbors=3, radius=0.3, batch=batch)


def _brute(points, kind):
    """Adjacency from all distances, for points in general position."""
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    if kind == "radius":
        return distances <= 0.3
    if kind == "knn":
        near = np.argsort(distances, axis=1)[:, :3]
        directed = np.zeros(distances.shape, dtype=bool)
        np.put_along_axis(directed, near, True, axis=1)
        return directed | directed.T
    adjacency = np.zeros(distances.shape, dtype=bool)
    for simplex in Delaunay(points).simplices:
        adjacency[np.ix_(simplex, simplex)] = True
    np.fill_diagonal(adjacency, False)
    return adjacency


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_graphs_equal_brute_force(kind, dims):
    points = _points(dims=dims)
    graph = _graph(points, kind)
    assert isinstance(graph, sparse.csr_array) and graph.dtype == np.float32
    np.testing.assert_array_equal(graph.toarray(), _brute(points, kind))


@settings(max_examples=100, deadline=None)
@given(few_places, st.sampled_from(KINDS), st.data())
def test_graphs_of_any_points(points, kind, data):
    batch = data.draw(st.lists(st.sampled_from("ab"), min_size=len(points), max_size=len(points)))
    graph = _graph(points, kind, batch)
    dense = graph.toarray()
    assert set(np.unique(dense)) <= {0, 1} and graph.nnz == dense.sum()
    np.testing.assert_array_equal(dense, dense.T)
    assert not dense.diagonal().any()
    apart = np.not_equal.outer(batch, batch)
    assert not dense[apart].any()
    for name in set(batch):  # each slice as if it were alone
        rows = np.flatnonzero(np.array(batch) == name)
        np.testing.assert_array_equal(dense[np.ix_(rows, rows)], _graph(points[rows], kind).toarray())
        if kind != "radius":
            assert len(rows) == 1 or dense[rows].any(axis=1).all()
    if kind == "radius":
        np.testing.assert_array_equal(dense, (cdist(points, points) <= 0.3) & ~apart & ~np.eye(len(points), dtype=bool))


@settings(max_examples=100, deadline=None)
@given(few_places, st.integers(1, 20))
def test_nearest_neighbors_of_any_points(points, n_neighbors):
    found = nearest_neighbors(points, n_neighbors)
    k = min(n_neighbors, len(points) - 1)
    assert found.shape == (len(points), k)
    distances = cdist(points, points)
    for i, row in enumerate(found):
        assert i not in row and len(set(row)) == k
        others = np.sort(np.delete(distances[i], i))[:k]
        np.testing.assert_allclose(distances[i, row], others, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_slices_at_the_same_place_stay_apart(kind):
    points = np.vstack([_points(), _points()])
    batch = np.repeat(["second", "first"], 40)
    alone = _graph(_points(), kind).toarray()
    np.testing.assert_array_equal(_graph(points, kind, batch).toarray(), np.kron(np.eye(2), alone))


def test_duplicated_places_share_a_star():
    points = _points()
    doubled = _graph(np.vstack([points, points[:1]]), "delaunay").toarray()
    assert doubled[0, 40] == 1
    np.testing.assert_array_equal(np.delete(doubled[40], [0, 40]), np.delete(doubled[0], [0, 40]))
    np.testing.assert_array_equal(doubled[:40, :40], _graph(points, "delaunay").toarray())


def test_a_line_and_a_plane_are_triangulated_in_their_own_dimension():
    line = np.outer(_points()[:, 0], [3.0, 1.0])
    order = np.argsort(line[:, 0])
    chain = _graph(line, "delaunay").toarray()[np.ix_(order, order)]
    np.testing.assert_array_equal(chain, np.eye(40, k=1) + np.eye(40, k=-1))
    flat = _points()
    tilt = np.linalg.qr(_points(3, 3))[0][:2]
    for solid in (np.column_stack([flat, np.full(40, 7.0)]), 1e5 + flat @ tilt):
        np.testing.assert_array_equal(_graph(solid, "delaunay").toarray(), _brute(flat, "delaunay"))


@pytest.mark.parametrize("kind", KINDS)
def test_moving_and_scaling_the_slice_changes_nothing(kind):
    points = _points()
    angle = np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    moved = 250 * points @ angle + [1e5, -3e5]
    graph = spatial_graph(moved, kind=kind, n_neighbors=3, radius=75)
    np.testing.assert_array_equal(graph.toarray(), _graph(points, kind).toarray())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "grid"}, "graph='grid' is not one of"),
        ({"kind": "radius"}, "radius=None, but graph='radius' needs"),
        ({"kind": "radius", "radius": -1.0}, "radius=-1.0, but"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        spatial_graph(_points(), **options)


@settings(max_examples=50, deadline=None)
@given(few_places, st.sampled_from(KINDS))
def test_the_averaging_operator_takes_means(points, kind):
    graph = _graph(points, kind)
    average = averaging_operator(graph)
    assert isinstance(average, sparse.csr_array) and average.dtype == np.float32
    with_self = graph.toarray() + np.eye(len(points))
    np.testing.assert_allclose(average.toarray(), with_self / with_self.sum(axis=1, keepdims=True), rtol=1e-6)
    values = np.random.default_rng(0).normal(size=(len(points), 2))
    means = [values[row > 0].mean(axis=0) for row in with_self]
    np.testing.assert_allclose(smooth.propagate(average, values, [0, 1]), means, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=5))
def test_propagate_sums_averages_over_hops(weights):
    average = averaging_operator(_graph(_points(), "knn"))
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    expected = _hops(average, weights) @ values
    np.testing.assert_allclose(smooth.propagate(average, values, weights), expected, atol=1e-5)
    np.testing.assert_allclose(smooth.propagate(average, values[:, 0], weights), expected[:, 0], atol=1e-5)
    spread = smooth.propagate(average, sparse.csr_array(values), weights)
    np.testing.assert_allclose(spread.toarray(), expected, atol=1e-5)


@pytest.mark.parametrize("n_neighbors", [1, 4, 60])
def test_expression_neighbors_are_nearest_by_cosine(n_neighbors):
    embedding = np.random.default_rng(0).normal(size=(40, 5))
    lengths = np.linalg.norm(embedding, axis=1)
    cosines = embedding @ embedding.T / np.outer(lengths, lengths)
    np.fill_diagonal(cosines, -np.inf)
    near = np.zeros((40, 40), dtype=bool)
    np.put_along_axis(near, np.argsort(-cosines, axis=1)[:, : min(n_neighbors, 39)], True, axis=1)
    graph = expression_graph(embedding, n_neighbors=n_neighbors)
    assert isinstance(graph, sparse.csr_array) and graph.dtype == np.float32
    np.testing.assert_array_equal(graph.toarray(), near | near.T)
    # Lengths do not count.
    longer = embedding * np.random.default_rng(1).uniform(0.1, 10, (40, 1))
    assert (expression_graph(longer, n_neighbors=n_neighbors) != graph).nnz == 0


@settings(max_examples=100, deadline=None)
@given(few_places, st.integers(1, 20))
def test_expression_graphs_of_any_embedding(embedding, n_neighbors):
    graph = expression_graph(embedding, n_neighbors=n_neighbors).toarray()  # duplicates and rows of zeros among them
    assert set(np.unique(graph)) <= {0, 1}
    np.testing.assert_array_equal(graph, graph.T)
    assert not graph.diagonal().any()
    assert (graph.sum(axis=1) >= min(n_neighbors, len(embedding) - 1)).all()


def test_expression_neighbors_of_many_spots_are_searched_approximately(monkeypatch):
    embedding = np.random.default_rng(0).normal(size=(600, 6))
    exact = expression_graph(embedding, n_neighbors=10)
    asked = []

    def descent(data, **options):  # compiling the real one takes longer than all other tests
        asked.append(options)
        found = NearestNeighbors(n_neighbors=options["n_neighbors"]).fit(data).kneighbors(data)
        return SimpleNamespace(neighbor_graph=found[::-1])

    monkeypatch.setattr(limits, "MAX_EXACT_GRAPH", 599)
    monkeypatch.setitem(sys.modules, "pynndescent", SimpleNamespace(NNDescent=descent))
    assert (expression_graph(embedding, n_neighbors=10, random_state=3) != exact).nnz == 0
    assert asked[0]["n_neighbors"] == 11  # a spot finds itself
    assert asked[0]["random_state"].randint(10**6) == np.random.RandomState(3).randint(10**6)
    monkeypatch.setitem(sys.modules, "pynndescent", None)
    with pytest.raises(ImportError, match=r'^Expression neighbours of 600 spots .*pip install "skst\[large\]"\.$'):
        expression_graph(embedding)


def _hops(average, weights):
    """Dense form of what `propagate` multiplies by."""
    dense = average.toarray().astype(float)
    return sum(weight * np.linalg.matrix_power(dense, hops) for hops, weight in enumerate(weights))


@pytest.mark.parametrize("branch", ["formed", "iterated"])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("weights", [(1,), (0, 0.5, 0.5)])
def test_principal_axes_are_those_of_the_dense_matrix(branch, make, weights, monkeypatch):
    monkeypatch.setattr(smooth, "DENSE_GENES", 500 if branch == "formed" else 0)
    rng = np.random.default_rng(0)
    programmes = rng.normal(size=(5, 30)) * np.array([8, 6, 4, 3, 2])[:, None]
    X = np.abs(rng.normal(size=(80, 5)) @ programmes + rng.normal(size=(80, 30))).astype(np.float32)
    average = averaging_operator(spatial_graph(_points(80)))
    dense = _hops(average, weights) @ X
    axes, mean = smooth.principal_axes(make(X), average, weights, 4, np.random.RandomState(0))
    assert axes.dtype == mean.dtype == np.float32 and axes.shape == (30, 4)
    np.testing.assert_allclose(mean, dense.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(axes.T @ axes, np.eye(4), atol=1e-5)
    _, sizes, expected = np.linalg.svd(dense - dense.mean(axis=0), full_matrices=False)
    assert (sizes[:4] / sizes[1:5]).min() > 1.05  # else single axes would not be defined
    for k in range(1, 5):
        assert subspace_angles(axes[:, :k], expected[:k].T).max() < 5e-3


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 60), st.integers(0, 3), st.integers(0, 5))
def test_pooled_depth_equals_its_dense_form(n_spots, n_hops, seed):
    rng = np.random.default_rng(seed)
    X = rng.poisson(2.0, (n_spots, 4)).astype(np.float32)
    average = averaging_operator(spatial_graph(rng.uniform(size=(n_spots, 2)), n_neighbors=4))
    weights = np.linalg.matrix_power(average.toarray().astype(float), n_hops)
    expected = np.median(X.sum(axis=1)) / (weights**2).sum(axis=1).mean()
    for matrix in (X, sparse.csr_array(X)):
        assert smooth.pooled_depth(matrix, average, n_hops) == pytest.approx(expected, rel=1e-4)


def test_pooled_depth_of_many_spots_is_estimated_from_some():
    rng = np.random.default_rng(0)
    X = rng.poisson(2.0, (3000, 4)).astype(np.float32)
    average = averaging_operator(spatial_graph(rng.uniform(size=(3000, 2))))
    weights = (average @ average).toarray()
    expected = np.median(X.sum(axis=1)) / (weights**2).sum(axis=1).mean()
    assert smooth.pooled_depth(X, average, 2) == pytest.approx(expected, rel=0.1)


def test_shallow_counts_are_pooled_over_as_few_hops_as_suffice():
    points = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), axis=2).reshape(-1, 2)
    average = averaging_operator(spatial_graph(points))
    chosen = []
    for depth in (2.0, 0.9, 0.2, 0.02, 0.004, 1e-6):
        X = np.full((400, 10), depth * smooth.SUFFICIENT_DEPTH / 10, dtype=np.float32)
        n_hops = smooth.pooling_hops(X, average)
        depths = [smooth.pooled_depth(X, average, n) for n in range(n_hops + 1)]
        assert (n_hops == 0) == (depths[0] >= smooth.SUFFICIENT_DEPTH)
        assert n_hops in (0, smooth.MAX_POOLING) or depths[-1] >= smooth.POOLED_DEPTH
        assert all(depth < smooth.POOLED_DEPTH for depth in depths[:-1])
        chosen.append(n_hops)
    assert chosen == sorted(chosen) and chosen[-1] == smooth.MAX_POOLING and len(set(chosen)) > 3


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_column_variance(make):
    X = np.random.default_rng(0).poisson(2, (40, 9)).astype(np.float32)
    np.testing.assert_allclose(smooth.column_variance(make(X)), X.var(axis=0), rtol=1e-5)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_genes_are_chosen_in_blocks_as_at_once(make, monkeypatch):
    rng = np.random.default_rng(0)
    X, places = make(rng.poisson(0.4, (150, 30)).astype(np.float32)), rng.uniform(size=(150, 2))
    at_once = SpatialGraphTransformer(n_components=4, n_top_genes=11, random_state=0).fit(X, coordinates=places)
    monkeypatch.setattr(smooth, "POOLED_GENES", 7)
    in_blocks = SpatialGraphTransformer(n_components=4, n_top_genes=11, random_state=0).fit(X, coordinates=places)
    assert at_once.n_pool_ > 0
    assert (at_once.components_ != 0).any(axis=0).sum() == 11
    np.testing.assert_allclose(in_blocks.components_, at_once.components_, atol=1e-6)
    np.testing.assert_allclose(in_blocks.transform(X, coordinates=places), at_once.embedding_, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_of_many_spots_are_sparse(kind):
    points = _points(20_000)
    tracemalloc.start()
    graph = spatial_graph(points, kind=kind, radius=0.01)
    averaging_operator(graph)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert graph.nnz > 20_000 and peak < 120e6  # 20,000 x 20,000 bits alone would be 50 MB, floats 1,600 MB


# SpatialGraphTransformer


def _span(embedding, expected, atol=2e-3):
    """Columns equal up to their signs."""
    signs = np.sign((embedding * expected).sum(axis=0))
    np.testing.assert_allclose(embedding * signs, expected, atol=atol * np.abs(expected).max())


def _plain(**parameters):
    return SpatialGraphTransformer(n_components=4, n_hops=2, random_state=0).set_params(**parameters)


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
    smoothed = _hops(averaging, fitted.hop_weights_) @ np.sqrt(pooled / depths[:, None])
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
    roots = np.sqrt(tissue.X.toarray() / np.asarray(tissue.X.sum(axis=1)))
    assert set(np.flatnonzero(kept)) == set(np.argsort(-roots.var(axis=0))[:15])
    np.testing.assert_allclose(fitted.transform(tissue), fitted.embedding_, atol=1e-4)


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


def test_anything_is_averaged_over_the_same_hops(tissue):
    fitted = _plain(n_hops="auto").fit(mask_counts(tissue, 0.9, random_state=0))
    values = np.random.default_rng(0).normal(size=(400, 3))
    average = averaging_operator(spatial_graph(tissue.obsm["spatial"]))
    assert fitted.n_pool_ > 0
    expected = _hops(average, fitted.hop_weights_) @ _hops(average, [0] * fitted.n_pool_ + [1]) @ values
    averaged = fitted.average(values, coordinates=tissue.obsm["spatial"])
    np.testing.assert_allclose(averaged, expected, atol=1e-5)


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
