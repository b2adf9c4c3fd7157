"""Spatial graphs and the averaging operator, against brute force."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from scipy.spatial import Delaunay
from scipy.spatial.distance import cdist
from tissues import graph_of, some_points

from skst import limits
from skst.expression import smooth
from skst.graph import (
    approximate,
    averaging_operator,
    build,
    expression_graph,
    nearest_neighbors,
    spatial_graph,
)

KINDS = ("knn", "radius", "delaunay")
# Few distinct places: duplicates, lines and ties are common.
few_places = arrays(np.float64, st.tuples(st.integers(1, 14), st.integers(2, 3)), elements=st.integers(0, 3).map(float))


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
    points = some_points(dims=dims)
    graph = graph_of(points, kind)
    assert isinstance(graph, sparse.csr_array) and graph.dtype == np.float32
    np.testing.assert_array_equal(graph.toarray(), _brute(points, kind))


@settings(max_examples=100, deadline=None)
@given(few_places, st.sampled_from(KINDS), st.data())
def test_graphs_of_any_points(points, kind, data):
    batch = data.draw(st.lists(st.sampled_from("ab"), min_size=len(points), max_size=len(points)))
    graph = graph_of(points, kind, batch)
    dense = graph.toarray()
    assert set(np.unique(dense)) <= {0, 1} and graph.nnz == dense.sum()
    np.testing.assert_array_equal(dense, dense.T)
    assert not dense.diagonal().any()
    apart = np.not_equal.outer(batch, batch)
    assert not dense[apart].any()
    for name in set(batch):  # each slice as if it were alone
        rows = np.flatnonzero(np.array(batch) == name)
        np.testing.assert_array_equal(dense[np.ix_(rows, rows)], graph_of(points[rows], kind).toarray())
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
    points = np.vstack([some_points(), some_points()])
    batch = np.repeat(["second", "first"], 40)
    alone = graph_of(some_points(), kind).toarray()
    np.testing.assert_array_equal(graph_of(points, kind, batch).toarray(), np.kron(np.eye(2), alone))


def test_duplicated_places_share_a_star():
    points = some_points()
    doubled = graph_of(np.vstack([points, points[:1]]), "delaunay").toarray()
    assert doubled[0, 40] == 1
    np.testing.assert_array_equal(np.delete(doubled[40], [0, 40]), np.delete(doubled[0], [0, 40]))
    np.testing.assert_array_equal(doubled[:40, :40], graph_of(points, "delaunay").toarray())


def test_a_line_and_a_plane_are_triangulated_in_their_own_dimension():
    line = np.outer(some_points()[:, 0], [3.0, 1.0])
    order = np.argsort(line[:, 0])
    chain = graph_of(line, "delaunay").toarray()[np.ix_(order, order)]
    np.testing.assert_array_equal(chain, np.eye(40, k=1) + np.eye(40, k=-1))
    flat = some_points()
    tilt = np.linalg.qr(some_points(3, 3))[0][:2]
    for solid in (np.column_stack([flat, np.full(40, 7.0)]), 1e5 + flat @ tilt):
        np.testing.assert_array_equal(graph_of(solid, "delaunay").toarray(), _brute(flat, "delaunay"))


@pytest.mark.parametrize("kind", KINDS)
def test_moving_and_scaling_the_slice_changes_nothing(kind):
    points = some_points()
    angle = np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    moved = 250 * points @ angle + [1e5, -3e5]
    graph = spatial_graph(moved, kind=kind, n_neighbors=3, radius=75)
    np.testing.assert_array_equal(graph.toarray(), graph_of(points, kind).toarray())


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
        spatial_graph(some_points(), **options)


@settings(max_examples=50, deadline=None)
@given(few_places, st.sampled_from(KINDS))
def test_the_averaging_operator_takes_means(points, kind):
    graph = graph_of(points, kind)
    average = averaging_operator(graph)
    assert isinstance(average, sparse.csr_array) and average.dtype == np.float32
    with_self = graph.toarray() + np.eye(len(points))
    np.testing.assert_allclose(average.toarray(), with_self / with_self.sum(axis=1, keepdims=True), rtol=1e-6)
    values = np.random.default_rng(0).normal(size=(len(points), 2))
    means = [values[row > 0].mean(axis=0) for row in with_self]
    np.testing.assert_allclose(smooth.propagate(average, values, [0, 1]), means, atol=1e-6)


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
    rng = np.random.default_rng(0)
    embedding = np.repeat(rng.normal(size=(8, 6)), 250, axis=0) + rng.normal(scale=0.5, size=(2000, 6))
    exact = expression_graph(embedding, n_neighbors=10)
    monkeypatch.setattr(limits, "MAX_EXACT_GRAPH", 1999)
    assert (expression_graph(embedding, n_neighbors=10) != exact).nnz == 0  # eight parts, all of which are looked at
    monkeypatch.setattr(approximate, "PART_SIZE", 50)
    monkeypatch.setattr(approximate, "N_PARTS", 8)
    found = expression_graph(embedding, n_neighbors=10)
    assert not found.diagonal().any() and (found.sum(axis=1) >= 10).all()
    assert exact.multiply(found).sum() > 0.9 * exact.sum()
    # More neighbours than the parts nearby hold, and points that are all alike.
    assert (expression_graph(embedding, n_neighbors=500).sum(axis=1) >= 500).all()
    assert (expression_graph(np.ones((2000, 2)), n_neighbors=3).sum(axis=1) >= 3).all()


def test_neighbors_of_many_points_are_those_of_few(monkeypatch):
    points = np.random.default_rng(0).integers(0, 30, size=(900, 2)).astype(float)  # with ties and duplicates
    expected = nearest_neighbors(points, 6)
    monkeypatch.setattr(build, "_MANY", 899)
    np.testing.assert_array_equal(nearest_neighbors(points, 6), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_of_many_spots_are_sparse(kind):
    points = some_points(20_000)
    tracemalloc.start()
    graph = spatial_graph(points, kind=kind, radius=0.01)
    averaging_operator(graph)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert graph.nnz > 20_000 and peak < 120e6  # 20,000 x 20,000 bits alone would be 50 MB, floats 1,600 MB
