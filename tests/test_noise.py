"""Noise of genes: against brute force, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from skst.expression import noise
from skst.expression.noise import noise_over_mean
from skst.graph import averaging_operator, spatial_graph


def _tissue(n_spots=400, n_genes=30, seed=0):
    rng = np.random.default_rng(seed)
    average = averaging_operator(spatial_graph(rng.uniform(size=(n_spots, 2))))
    return rng.poisson(np.geomspace(0.1, 40, n_genes), (n_spots, n_genes)).astype(np.float32), average


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_it_is_half_the_mean_squared_difference_of_neighbours(make, monkeypatch):
    X, average = _tissue(60, 7)
    sizes = X.sum(axis=1)
    counts = X / sizes[:, None] * np.median(sizes)
    weights = average.toarray() * (1 - np.eye(60))
    squares = np.square(counts[:, None] - counts[None])
    expected = np.einsum("ij,ijg->g", weights, squares) / 2 / weights.sum() / counts.mean(axis=0)
    expected = np.maximum(expected, 0.5 * np.median(expected))
    np.testing.assert_allclose(noise_over_mean(make(X), average), expected, rtol=1e-3)
    monkeypatch.setattr(noise, "DENSE_ENTRIES", 100)  # a column at a time
    np.testing.assert_allclose(noise_over_mean(make(X), average), expected, rtol=1e-3)


def test_molecules_that_are_drawn_alone_make_no_difference_between_genes():
    X, average = _tissue(2000)
    assert np.ptp(noise_over_mean(X, average)) < 0.4  # a gene of a fifth of all molecules varies less than alone
    # What neighbours share is no noise: places on a line, along which half of the genes grow, and half fade.
    line = averaging_operator(spatial_graph(np.stack([np.arange(2000.0), np.zeros(2000)], axis=1)))
    trends = np.linspace(1, 5, 2000)[:, None] ** np.resize([1, -1], 30)
    X = np.random.default_rng(1).poisson(np.geomspace(0.1, 40, 30) * trends).astype(np.float32)
    ratio = noise_over_mean(X, line)
    assert ratio.max() < 1.5 * np.median(ratio) and (X.var(axis=0) / X.mean(axis=0)).max() > 8 * ratio.max()


def test_where_entries_are_lost_it_grows_with_the_mean():
    X, average = _tissue(2000)
    kept = np.random.default_rng(1).random(X.shape) < 0.5
    ratio = noise_over_mean(X * kept, average)
    assert ratio[-1] > 6 * ratio[0] and (np.diff(ratio[10:]) > -0.5).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.sampled_from([1e-3, 7.0, 1e4]))
def test_neither_order_nor_unit_matters(seed, factor):
    X, average = _tissue(80, 9, seed)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(80), rng.permutation(9)
    expected = noise_over_mean(X, average)
    moved = noise_over_mean(X[rows][:, columns], average[rows][:, rows])
    np.testing.assert_allclose(moved, expected[columns], rtol=1e-4)
    np.testing.assert_allclose(noise_over_mean(X * np.float32(factor), average) / factor, expected, rtol=1e-3)


def test_genes_and_spots_of_nothing():
    X, average = _tissue(80, 9)
    X[:, 3] = 0
    X[5] = 0
    ratio = noise_over_mean(X, average)
    assert np.isfinite(ratio).all() and ratio.min() >= 0.5 * np.median(ratio[np.arange(9) != 3]) > 0
    assert (noise_over_mean(np.zeros_like(X), average) == 1).all()
    assert (noise_over_mean(X, sparse.eye_array(80, format="csr")) == 1).all()
    assert (noise_over_mean(np.ones_like(X), average) == 1).all()
