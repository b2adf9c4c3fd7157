"""AveragedPCA: the genes behind its axes, and what else is averaged as they are."""

import numpy as np
import pytest
from scipy import sparse

from skst.expression.smooth import AveragedPCA
from skst.graph import averaging_operator, spatial_graph


def _points(n=40):
    return np.random.default_rng(0).uniform(size=(n, 2))


def _dense(average, pca):
    """What averages over the hops of `pca`, as a dense matrix."""
    average = average.toarray().astype(float)
    return sum(weight * np.linalg.matrix_power(average, hops) for hops, weight in enumerate(pca.hop_weights_))


@pytest.fixture
def deep():
    """Counts that follow smooth factors closely, on 300 places: 12 genes of 50 follow them strongly."""
    rng = np.random.default_rng(0)
    places = _points(300)
    factors = np.column_stack([np.sin(4 * places[:, 0]), np.cos(5 * places[:, 1])])
    slopes = rng.normal(size=(2, 50)) * np.where(np.arange(50) % 4 == 1, 0.4, 0.02)
    counts = rng.poisson(np.exp(rng.uniform(3, 6, 50) + factors @ slopes)).astype(np.float32)
    return sparse.csr_array(counts), averaging_operator(spatial_graph(places)), np.flatnonzero(np.arange(50) % 4 == 1)


@pytest.mark.parametrize("n_top_genes", [None, 20])
def test_the_genes_that_vary_along_the_axes_and_how(deep, n_top_genes):
    X, average, strong = deep
    pca = AveragedPCA(2, n_top_genes=n_top_genes)
    averaged = pca.average(pca.fit_scores(X, average, np.random.RandomState(0)), average)
    genes, log_rates, loadings = pca.genes(X, averaged, 12)
    shares = np.asarray(X.sum(axis=0)) / X.sum()
    # Of genes that vary alike on a logarithmic scale those of more counts are taken, so a few strong ones may be left.
    assert len(genes) == 12 and (np.diff(genes) > 0).all() and len(set(genes) & set(strong)) >= 9
    np.testing.assert_allclose(log_rates, np.log(shares[genes]), rtol=1e-4)
    # To first order the logarithm of the averaged rate is linear in the embedding.
    X = X.toarray()
    rates = _dense(average, pca) @ (X / X.sum(axis=1, keepdims=True))[:, genes]
    logs = np.log(rates) - np.log(rates).mean(axis=0)
    slopes = np.linalg.lstsq(averaged, logs, rcond=None)[0].T
    np.testing.assert_allclose(loadings, slopes, atol=0.1 * np.abs(slopes).max())
    assert loadings.shape == (12, 2) and loadings.dtype == log_rates.dtype == np.float32
    every = pca.genes(sparse.csr_array(X), averaged, 1000)[0]
    np.testing.assert_array_equal(every, pca.kept_)


def test_genes_without_counts_have_finite_rates():
    X = np.random.default_rng(0).poisson(2, (40, 6)).astype(np.float32)
    X[:, 3] = 0
    average = averaging_operator(spatial_graph(_points()))
    found = []
    for counts in (X, 0 * X):
        pca = AveragedPCA(4)
        averaged = pca.average(pca.fit_scores(counts, average, np.random.RandomState(0)), average)
        found.append(pca.genes(counts, averaged, 6))
        assert found[-1][0].tolist() == list(range(6)) and all(np.isfinite(part).all() for part in found[-1])
    _, log_rates, loadings = found[0]
    assert log_rates.argmin() == 3 and np.abs(loadings).sum(axis=1).argmin() == 3


@pytest.mark.parametrize("depth", [1, 100])
def test_anything_is_spread_as_counts_are(depth):
    X = depth * np.random.default_rng(0).poisson(1, (40, 20)).astype(np.float32)
    average = averaging_operator(spatial_graph(_points()))
    pca = AveragedPCA(3)
    scores = pca.fit_scores(X, average, np.random.RandomState(0))
    assert (pca.n_pool_ > 0) == (depth == 1)
    values = np.random.default_rng(1).normal(size=(40, 2)).astype(np.float32)
    pooled = np.linalg.matrix_power(average.toarray().astype(float), pca.n_pool_)
    expected = _dense(average, pca) @ pooled @ values
    np.testing.assert_allclose(pca.spread(values, average), expected, atol=1e-5)
    np.testing.assert_allclose(pca.spread(np.ones((40, 1), dtype=np.float32), average), 1, rtol=1e-5)
    if pca.n_pool_ == 0:
        np.testing.assert_allclose(pca.spread(scores, average) - pca.offset_, pca.average(scores, average), atol=1e-5)
