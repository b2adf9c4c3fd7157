"""Fewer domains from more: the tree over clusters, and domains_at of the estimators."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.cluster.hierarchy import ward
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from tissues import blobs

from skst import GeneTextEncoder, SpaLLMFusion
from skst.partition import ConsensusMixture, labels_at, merge_tree
from skst.partition.nested import cut_tree
from skst.partition.numbers import renumber, stable_numbers


def hard(labels):
    """Shares of a partition."""
    return labels[:, None] == np.arange(labels.max() + 1)


def assert_nested(partitions):
    """Each partition, from fine to coarse, is made of unions of the one before."""
    for fine, coarse in zip(partitions, partitions[1:], strict=False):
        assert len(np.unique(np.column_stack([fine, coarse]), axis=0)) == len(np.unique(fine))


@st.composite
def partitioned(draw):
    """An embedding and a partition, in which some numbers may stand for no row."""
    n = draw(st.integers(1, 25))
    X = draw(arrays(np.float32, (n, draw(st.integers(1, 3))), elements=st.integers(-20, 20).map(np.float32)))
    return X, draw(arrays(np.int64, n, elements=st.integers(0, 6)))


@settings(max_examples=100, deadline=None)
@given(data=partitioned(), seed=st.integers(0, 99))
def test_all_numbers_are_nested(data, seed):
    X, labels = data
    children = merge_tree(X, hard(labels))
    assert sorted(children.ravel()) == list(range(2 * len(children)))
    n_found = len(np.unique(labels))
    partitions = [labels_at(labels, children, k) for k in range(n_found, 0, -1)]
    for k, part in zip(range(n_found, 0, -1), partitions, strict=True):
        sizes = np.bincount(part)
        assert len(sizes) == k and sizes.all() and (np.diff(sizes) <= 0).all()
    assert_nested([labels, *partitions])
    np.testing.assert_array_equal(partitions[0], renumber(labels, stable_numbers(labels)))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), k=st.integers(1, 5))
def test_the_order_of_rows_and_the_place_of_the_data_do_not_matter(seed, k):
    rng = np.random.default_rng(seed)
    X, labels = rng.normal(size=(40, 3)), np.append(rng.integers(6, size=34), np.arange(6))
    order = rng.permutation(40)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    expected = labels_at(labels, merge_tree(X, hard(labels)), k)
    found = labels_at(labels[order], merge_tree((9 * X @ rotation + 4)[order], hard(labels[order])), k)
    assert len(np.unique(np.column_stack([expected[order], found]), axis=0)) == k


def test_single_rows_are_joined_as_ward_does():
    X = np.random.default_rng(0).normal(size=(20, 4))
    ours, theirs = merge_tree(X, np.eye(20)), ward(X)[:, :2].astype(int)
    np.testing.assert_array_equal(ours, np.sort(theirs, axis=1))


def test_heavy_clusters_are_joined_later():
    X, labels = np.repeat([[0.0], [1.0], [2.1]], [9, 9, 1], axis=0), np.repeat([0, 1, 2], [9, 9, 1])
    assert merge_tree(X, hard(labels))[0].tolist() == [1, 2]  # though 0 and 1 are nearer


def test_clusters_without_rows_do_not_count():
    children = [[0, 3], [1, 4], [2, 5]]
    assert cut_tree(children, [1, 2, 3], 3) == {1: 1, 2: 2, 3: 3}
    assert cut_tree(children, [1, 2, 3], 2) == {1: 1, 2: 2, 3: 1}
    assert labels_at(np.array([3, -1, 2, 2, 1]), children, 2).tolist() == [0, -1, 1, 1, 0]


def test_a_mixture_knows_its_tree():
    X, y = blobs(6, dims=6)
    X[:, :3] /= 4  # three of the six stand close
    fitted = ConsensusMixture(6, random_state=0).fit(X)
    assert fitted.children_.shape == (5, 2)
    joined = labels_at(fitted.labels_, fitted.children_, 4)
    assert len(set(joined[y < 3])) == 1 and len(set(joined)) == 4
    assert ConsensusMixture(1, random_state=0).fit(X).children_.shape == (0, 2)
    sampled = ConsensusMixture(6, max_samples=150, random_state=0).fit(X)
    assert len(set(labels_at(sampled.labels_, sampled.children_, 4)[y < 3])) == 1


# Estimators


# The default mixture with a third of its starts, on three views as it sees them.
FEW = ConsensusMixture(n_views=3, n_init=3, n_keep=1)


def _fusion(clusterer=FEW, **parameters):
    text = GeneTextEncoder(model="lexical")
    return SpaLLMFusion(text=text, n_clusters=6, clusterer=clusterer, random_state=0, **parameters)


@pytest.mark.parametrize("clusterer", [FEW, "kmeans", "leiden", GaussianMixture()], ids=str)
@pytest.mark.parametrize("n_vote_neighbors", [0, 18])
def test_domains_of_every_clusterer_are_nested(tissue, clusterer, n_vote_neighbors):
    fitted = _fusion(clusterer, n_vote_neighbors=n_vote_neighbors).fit(tissue)
    n_found = len(set(fitted.labels_))
    parts = [fitted.domains_at(k) for k in range(n_found, 0, -1)]
    np.testing.assert_array_equal(parts[0], fitted.labels_)
    assert [sorted(set(part)) for part in parts] == [list(range(k)) for k in range(n_found, 0, -1)]
    assert_nested(parts)


def test_joined_domains_are_the_known_ones(tissue):
    fitted = _fusion().fit(tissue)
    joined, known = fitted.domains_at(4), tissue.obs["label"]
    assert adjusted_rand_score(known, joined) > max(0.8, adjusted_rand_score(known, fitted.labels_))


def test_the_tree_is_that_of_the_numbers_shown(tissue):
    """Numbers of labels are not those of the clusterer: the same two sets of spots have to be joined."""
    fitted = _fusion(n_vote_neighbors=0).fit(tissue)
    clusterer = fitted.clusterer_
    own = clusterer.predict(fitted.embedding_)
    assert not np.array_equal(own, fitted.labels_)
    for k in range(1, 6):
        np.testing.assert_array_equal(labels_at(own, clusterer.children_, k), fitted.domains_at(k))


def test_more_domains_than_there_are(tissue):
    fitted = _fusion("kmeans", n_vote_neighbors=0).fit(tissue)
    with pytest.raises(ValueError, match=r"^n_clusters=7 is larger than the 6 domains that fit has found; .* more\.$"):
        fitted.domains_at(7)
    with pytest.raises(ValueError, match="n_clusters=0 is not a positive integer"):
        fitted.domains_at(0)
    with pytest.raises(ValueError, match="n_clusters=2.0 is not a positive integer"):
        fitted.domains_at(2.0)
