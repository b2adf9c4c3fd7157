"""Cells as sums of the vectors of their genes, and the two paths put together."""

import numpy as np
import pytest
from scipy import sparse

from skst.text.gene_sums import PathMixture, gene_sums, moments, weights_of_genes
from skst.text.gene_vectors import choose_genes

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(2.0, (30, 6)).astype(np.float32)
VECTORS = RNG.normal(size=(6, 4)).astype(np.float32)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_a_contrast_subtracts_the_mean_of_each_gene(make):
    Y = weights_of_genes(make(COUNTS), "contrast", True)
    mean, variance = moments(Y)
    plain = np.sqrt(COUNTS / COUNTS.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(variance, plain.var(axis=0), rtol=1e-4)
    known = np.array([True] * 5 + [False])
    unit = VECTORS[:5] - VECTORS[:5].mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    expected = (plain - plain.mean(axis=0))[:, :5] @ unit
    sums = gene_sums(VECTORS, known, mean.astype(np.float32))
    np.testing.assert_allclose(sums(make(COUNTS)), expected, atol=1e-5)


def test_shares_say_which_path_is_which():
    summed, written = 100 * RNG.normal(size=(50, 3)) + 7, RNG.normal(size=(50, 3))
    mixture = PathMixture(summed, written, "m")
    for share, path in ((1.0, summed), (0.0, written)):
        centred = path - path.mean(axis=0)
        size = np.sqrt((centred**2).sum(axis=1).mean())
        np.testing.assert_allclose(mixture.mix(summed, written, share), centred / size, atol=1e-5)
    with pytest.raises(ValueError, match="length 3 but model='m' makes vectors of length 2"):
        PathMixture(summed, written[:, :2], "m")


def test_permuted_genes_with_a_vector_get_one_of_another_with_a_vector():
    known = np.array([True] * 40 + [False] * 10)
    for seed in range(5):
        wanted, order = choose_genes(known, np.arange(50.0), 8, "permuted", np.random.RandomState(seed))
        assert wanted.sum() == 8 and wanted[order[wanted]].all() and sorted(order) == list(range(50))
        assert known[order[known]].all() and (order[~known] == np.flatnonzero(~known)).all()
