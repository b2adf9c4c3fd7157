"""Square roots averaged over hops, pooled counts and principal axes, against dense forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.linalg import subspace_angles
from tissues import graph_of, hops, some_points

from skst.embedding import SpatialGraphTransformer
from skst.expression import counts, pooling, smooth
from skst.graph import (
    averaging_operator,
    spatial_graph,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=5))
def test_propagate_sums_averages_over_hops(weights):
    average = averaging_operator(graph_of(some_points(), "knn"))
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    expected = hops(average, weights) @ values
    np.testing.assert_allclose(smooth.propagate(average, values, weights), expected, atol=1e-5)
    np.testing.assert_allclose(smooth.propagate(average, values[:, 0], weights), expected[:, 0], atol=1e-5)
    spread = smooth.propagate(average, sparse.csr_array(values), weights)
    np.testing.assert_allclose(spread.toarray(), expected, atol=1e-5)


@pytest.mark.parametrize("branch", ["formed", "iterated"])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("weights", [(1,), (0, 0.5, 0.5)])
def test_principal_axes_are_those_of_the_dense_matrix(branch, make, weights, monkeypatch):
    monkeypatch.setattr(smooth, "DENSE_GENES", 500 if branch == "formed" else 0)
    rng = np.random.default_rng(0)
    programmes = rng.normal(size=(5, 30)) * np.array([8, 6, 4, 3, 2])[:, None]
    X = np.abs(rng.normal(size=(80, 5)) @ programmes + rng.normal(size=(80, 30))).astype(np.float32)
    average = averaging_operator(spatial_graph(some_points(80)))
    dense = hops(average, weights) @ X
    axes, mean, noise = smooth.principal_axes(make(X), average, weights, 4, np.random.RandomState(0))
    assert axes.dtype == mean.dtype == np.float32 and axes.shape == (30, 4)
    np.testing.assert_allclose(mean, dense.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(axes.T @ axes, np.eye(4), atol=1e-5)
    _, sizes, expected = np.linalg.svd(dense - dense.mean(axis=0), full_matrices=False)
    assert (sizes[:4] / sizes[1:5]).min() > 1.05  # else single axes would not be defined
    assert noise == pytest.approx(np.sum(sizes[4:] ** 2) / (26 * 80), rel=1e-3 if branch == "formed" else 0.3)
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
        assert pooling.pooled_depth(matrix, average, n_hops) == pytest.approx(expected, rel=1e-4)


def test_pooled_depth_of_many_spots_is_estimated_from_some():
    rng = np.random.default_rng(0)
    X = rng.poisson(2.0, (3000, 4)).astype(np.float32)
    average = averaging_operator(spatial_graph(rng.uniform(size=(3000, 2))))
    weights = (average @ average).toarray()
    expected = np.median(X.sum(axis=1)) / (weights**2).sum(axis=1).mean()
    assert pooling.pooled_depth(X, average, 2) == pytest.approx(expected, rel=0.1)


def test_shallow_counts_are_pooled_over_as_few_hops_as_suffice():
    points = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), axis=2).reshape(-1, 2)
    average = averaging_operator(spatial_graph(points))
    chosen = []
    for depth in (2.0, 0.9, 0.2, 0.02, 0.004, 1e-6):
        X = np.full((400, 10), depth * pooling.SUFFICIENT_DEPTH / 10, dtype=np.float32)
        n_hops = pooling.pooling_hops(X, average)
        depths = [pooling.pooled_depth(X, average, n) for n in range(n_hops + 1)]
        assert (n_hops == 0) == (depths[0] >= pooling.SUFFICIENT_DEPTH)
        assert n_hops in (0, pooling.MAX_POOLING) or depths[-1] >= pooling.POOLED_DEPTH
        assert all(depth < pooling.POOLED_DEPTH for depth in depths[:-1])
        chosen.append(n_hops)
    assert chosen == sorted(chosen) and chosen[-1] == pooling.MAX_POOLING and len(set(chosen)) > 3


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_column_variance(make):
    X = np.random.default_rng(0).poisson(2, (40, 9)).astype(np.float32)
    np.testing.assert_allclose(counts.column_variance(make(X)), X.var(axis=0), rtol=1e-5)


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
