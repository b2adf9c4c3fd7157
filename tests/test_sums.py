"""What adds up over the parts of a tissue: noise, first looks, means and covariances."""

import numpy as np
import pytest
from scipy import sparse
from scipy.linalg import block_diag
from tissues import hops, some_points

from skst.expression.moments import add_moments, averaged_moments, leading_axes, projected
from skst.expression.noise import noise_over_mean
from skst.expression.smooth import AveragedPCA
from skst.expression.survey import ColumnSums, add_surveys, reach_of, sampled_rows, survey
from skst.graph import averaging_operator, spatial_graph
from skst.nn.batches import Halo

WEIGHTS = (0.0, 0.5, 0.5)


def _tissue(seed, n_spots=40, depth=2.0):
    rng = np.random.default_rng(seed)
    X = rng.poisson(depth * rng.gamma(1.0, size=(n_spots, 7))).astype(np.float32)
    return X, averaging_operator(spatial_graph(some_points(n_spots) + seed, n_neighbors=4))


def _together(parts):
    X = np.vstack([X for X, _ in parts])
    return X, sparse.csr_array(block_diag(*[average.toarray() for _, average in parts]))


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_surveys_of_slices_add_up_to_that_of_the_tissue(make):
    parts = [_tissue(0), _tissue(1, 25, depth=9.0)]  # depths differ, and so do the depths that noise is summed at
    X, average = _together(parts)
    seen = add_surveys([survey(make(part), operator) for part, operator in parts])
    whole = survey(make(X), average)
    for name in ("sizes", "counts", "lowest", "highest", "n_edges", "fractions"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(whole, name))
    roots = np.sqrt(X / X.sum(axis=1, keepdims=True).clip(1))
    np.testing.assert_allclose(seen.values.mean, roots.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(seen.values.variance, roots.var(axis=0), rtol=1e-4)
    pca = AveragedPCA(2, equal_noise=True)
    rows = sampled_rows(len(X))
    pca.learn(seen._replace(reach=reach_of(average, rows, 16), n_sampled=len(rows)))
    np.testing.assert_allclose(pca.gene_scales_, 1 / np.sqrt(noise_over_mean(X, average)), rtol=1e-4)
    assert pca.depth_ == np.median(X.sum(axis=1)) and pca.n_pool_ > 0


def test_parts_of_a_slice_add_up_with_the_spots_around_them():
    X, average = _tissue(0, 60)
    halo, cores = Halo([average], hops=2), np.array_split(np.arange(60), 4)
    patches = [halo(core) for core in cores]
    inside = [np.arange(patch.n_core) for patch in patches]
    told = [survey(X[patch.nodes], patch.operators[0], core) for patch, core in zip(patches, inside, strict=True)]
    seen, whole = add_surveys(told), survey(X, average)
    np.testing.assert_array_equal(seen.sizes, whole.sizes)
    for name in ("between", "within"):
        per_depth = [getattr(one.noise, name) / one.noise.depth ** (1 + (name == "between")) for one in (seen, whole)]
        np.testing.assert_allclose(*per_depth, rtol=1e-4)
    assert seen.noise.weight == pytest.approx(whole.noise.weight) and seen.noise.n_spots == 60
    found = add_moments(
        averaged_moments(X[patch.nodes], patch.operators[0], WEIGHTS, core)
        for patch, core in zip(patches, inside, strict=True)
    )
    expected = averaged_moments(X, average, WEIGHTS)
    assert found.n_rows == expected.n_rows == 60
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5)
    np.testing.assert_allclose(found.scatter, expected.scatter, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_moments_are_those_of_averaged_columns_far_from_zero(make):
    parts = [(X + 1000, average) for X, average in (_tissue(0), _tissue(1, 25))]  # squares would lose the variance
    X, average = _together(parts)
    averaged = hops(average, WEIGHTS) @ X.astype(float)
    found = add_moments(averaged_moments(make(part), operator, WEIGHTS) for part, operator in parts)
    np.testing.assert_allclose(found.mean, averaged.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.scatter / 65, np.cov(averaged.T, bias=True), atol=2e-3)
    onto = np.random.default_rng(0).normal(size=(7, 3))
    some = projected(found, onto)
    np.testing.assert_allclose(some.scatter / 65, np.cov((averaged @ onto).T, bias=True), atol=2e-2)
    axes, sizes = leading_axes(found.scatter, 3)
    np.testing.assert_allclose(found.scatter @ axes, axes * sizes, atol=1e-6 * sizes[0])
    assert sizes[0] > sizes[1] > sizes[2] and leading_axes(np.array([[4.0]]), 1)[0] == 1


def test_sums_of_columns_add_up():
    X = np.random.default_rng(0).normal(size=(30, 4))
    found = ColumnSums.add([ColumnSums.of(X[:11]), ColumnSums.of(sparse.csr_array(X[11:]))])
    np.testing.assert_allclose(found.mean, X.mean(axis=0))
    np.testing.assert_allclose(found.variance, X.var(axis=0))
