"""ConsensusMixture, and the tied mixtures that it is made of."""

import warnings

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from tissues import blobs

from skst import limits
from skst.partition import (
    ConsensusMixture,
    GraphCommunities,
    estimate_n_clusters,
)
from skst.partition.mixture import check_n_clusters
from skst.partition.tied import fit_tied_mixture


@pytest.mark.parametrize("n_clusters", [1, 2, 5, 8])
def test_blobs_are_found(n_clusters):
    X, y = blobs(n_clusters)
    fitted = ConsensusMixture(n_clusters, random_state=0).fit(X)
    assert adjusted_rand_score(y, fitted.labels_) > 0.98
    assert set(fitted.labels_) == set(range(n_clusters)) and fitted.labels_.dtype == np.int64
    np.testing.assert_array_equal(fitted.predict(X), fitted.labels_)
    posterior = fitted.predict_proba(X)
    assert posterior.shape == (300, n_clusters) and (posterior >= 0).all()
    np.testing.assert_allclose(posterior.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(posterior.argmax(axis=1), fitted.labels_)
    assert fitted.agreement_ > 0.95
    new, truth = blobs(n_clusters, seed=1)
    assert adjusted_rand_score(truth, fitted.predict(new)) > 0.95
    np.testing.assert_array_equal(fitted.predict(new[:7]), fitted.predict(new)[:7])


def test_elongated_domains_are_not_cut():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)) * [0.5, 3, 1]
    y = np.arange(400) % 2
    X[:, 0] += 6 * y + 0.7 * X[:, 1]
    assert adjusted_rand_score(y, ConsensusMixture(2, random_state=0).fit_predict(X)) > 0.95
    assert adjusted_rand_score(y, KMeans(2, n_init=5, random_state=0).fit_predict(X)) < 0.6


def test_labels_do_not_depend_on_the_axes():
    X, _ = make_blobs(300, centers=4, n_features=5, cluster_std=2.5, random_state=2)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    mixture = ConsensusMixture(4, random_state=0)
    labels = mixture.fit_predict(X)
    for moved in (X @ rotation, X[:, ::-1], 1e3 * X, 1e-3 * X, X + 50):
        assert adjusted_rand_score(labels, clone(mixture).fit_predict(moved)) > 0.97
    rows = np.random.default_rng(1).permutation(300)
    assert adjusted_rand_score(labels[rows], clone(mixture).fit_predict(X[rows])) > 0.9


def test_a_seed_makes_it_repeatable():
    X = np.random.default_rng(0).normal(size=(120, 4))  # no clusters: every start ends elsewhere
    labels = [ConsensusMixture(5, random_state=seed).fit_predict(X) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(labels[0], labels[1])
    assert not np.array_equal(labels[0], labels[2])
    with parallel_config(backend="threading"):
        parallel = ConsensusMixture(5, random_state=0, n_jobs=2).fit(X)
    np.testing.assert_array_equal(parallel.labels_, labels[0])
    assert 0 < parallel.agreement_ < 1


def test_threads_leave_warnings_as_they_were(monkeypatch):
    monkeypatch.setattr(limits, "ROWS_A_THREAD", 50)
    X, _ = blobs(4)
    before = list(warnings.filters)
    for _ in range(4):
        ConsensusMixture(6, n_leading=(2, 3), random_state=0).fit(np.repeat(X[:4], 50, axis=0))  # four distinct rows
    assert warnings.filters == before


def test_preferred_processes_are_threads():
    X, _ = blobs(3)
    expected = ConsensusMixture(3, random_state=0).fit(X).labels_
    with parallel_config(prefer="processes"):
        np.testing.assert_array_equal(ConsensusMixture(3, random_state=0).fit(X).labels_, expected)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters", "ignore:invalid value:RuntimeWarning")
def test_duplicates_and_constants():
    X, y = blobs(3, n=90)
    repeated = np.vstack([X, X, X[:40]])
    fitted = ConsensusMixture(3, random_state=0).fit(repeated)
    np.testing.assert_array_equal(fitted.labels_[:90], fitted.labels_[90:180])
    assert adjusted_rand_score(y, fitted.labels_[:90]) > 0.98
    for constant in (np.ones((20, 3)), np.zeros((20, 3))):
        fitted = ConsensusMixture(2, random_state=0).fit(constant)
        assert len(set(fitted.labels_)) == 1 and np.isfinite(fitted.predict_proba(constant)).all()
    few = np.repeat([[0.0, 0.0], [5.0, 5.0]], 10, axis=0)
    assert adjusted_rand_score(np.repeat([0, 1], 10), ConsensusMixture(2, random_state=0).fit_predict(few)) == 1
    assert np.isfinite(ConsensusMixture(4, random_state=0).fit(few).predict_proba(few)).all()


def test_equal_rows_are_no_flood_of_warnings():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ConsensusMixture(3, random_state=0).fit(np.ones((20, 3)))
        estimate_n_clusters(np.ones((20, 3)), random_state=0)
    assert len(caught) <= 2


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 1), (3, 40), (30, 1)])
def test_small_shapes(shape):
    X = np.random.default_rng(0).normal(size=shape)
    fitted = ConsensusMixture(min(2, len(X)), random_state=0).fit(X)
    assert fitted.labels_.shape == (len(X),) and fitted.predict(X).shape == (len(X),)


def test_more_rows_than_are_fitted():
    X, y = blobs(4, n=600)
    mixture = ConsensusMixture(4, max_samples=150, random_state=0).fit(X)
    assert mixture.labels_.shape == (600,) and adjusted_rand_score(y, mixture.labels_) > 0.98
    np.testing.assert_array_equal(mixture.predict(X), mixture.labels_)


def test_equal_views_are_as_good_as_one():
    X, y = blobs(4)
    one = ConsensusMixture(4, random_state=0).fit(X)
    two = ConsensusMixture(4, n_views=2, random_state=0).fit(np.hstack([X, X]))
    assert adjusted_rand_score(one.labels_, two.labels_) == 1 and len(two.mixtures_) == 2 * len(one.mixtures_)
    np.testing.assert_allclose(two.predict_proba(np.hstack([X, X])).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(two.predict(np.hstack([X, X])), two.labels_)


def test_each_view_is_seen_on_its_own_scale_and_axes():
    # One view tells the first two of four domains from the others, and one the even ones from the odd.
    rng, y = np.random.default_rng(0), np.arange(300) % 4
    first, second = (np.outer(np.where(part, 3, -3), [1, 0, 0]) + rng.normal(size=(300, 3)) for part in (y < 2, y % 2))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    mixture = ConsensusMixture(2, n_views=2, random_state=0)
    labels = mixture.fit_predict(np.hstack([first, second]))
    for moved in ([1e3 * first + 7, second], [first, 1e-6 * second], [first, second @ rotation]):
        assert adjusted_rand_score(labels, clone(mixture).fit_predict(np.hstack(moved))) > 0.95
    # As one view, the larger part would decide.
    in_one = [
        ConsensusMixture(2, n_leading=(1,), random_state=0).fit_predict(np.hstack(parts))
        for parts in ([1e3 * first, second], [first, 1e3 * second])
    ]
    assert adjusted_rand_score(*in_one) < 0.1


def test_a_view_with_a_divided_mind_does_not_outvote_the_others():
    X, y = blobs(3)
    rng = np.random.default_rng(0)
    for order in (1, -1):
        views = [X, X + rng.normal(size=X.shape), rng.normal(size=X.shape)][::order]
        fitted = ConsensusMixture(3, n_views=3, random_state=0).fit(np.hstack(views))
        assert adjusted_rand_score(y, fitted.labels_) > 0.95
        assert 0 < fitted.agreement_ < 0.9


def test_views_are_of_one_width():
    with pytest.raises(ValueError, match="n_views=4 does not divide the 6 columns of X; give views of one width"):
        ConsensusMixture(3, n_views=4).fit(blobs(3)[0])


@pytest.mark.parametrize("estimator", [ConsensusMixture, GraphCommunities])
def test_more_domains_than_spots(estimator):
    with pytest.raises(ValueError, match="n_clusters=9 is larger than the 8 spots"):
        estimator(9).fit(np.random.default_rng(0).normal(size=(8, 2)))


@pytest.mark.parametrize("wrong", [0, -1, 2.0, True, None, "3"])
def test_what_is_no_number_of_clusters(wrong):
    with pytest.raises(ValueError, match=f"n_clusters={wrong!r} is not a positive integer"):
        check_n_clusters(wrong, 10)
    check_n_clusters(np.int64(10), 10)


@pytest.mark.parametrize("n_rows", [400, 12_000])
def test_the_tied_mixture_is_that_of_scikit_learn(n_rows):
    # Of many rows the start is found on some.
    X, y = make_blobs(n_rows, centers=4, n_features=3, cluster_std=2.0, random_state=2)
    X -= X.mean(axis=0)
    X /= np.sqrt(X.var(axis=0).sum())
    ours = fit_tied_mixture(X, 4, 0, tol=1e-8, max_iter=2000)
    theirs = GaussianMixture(4, covariance_type="tied", random_state=0, tol=1e-8, max_iter=2000).fit(X)
    posterior = ours.posterior(np.hstack([X, X]))  # what lies beyond its columns is not read
    order = np.argmax(posterior.T @ theirs.predict_proba(X), axis=1)
    np.testing.assert_allclose(posterior, theirs.predict_proba(X)[:, order], atol=1e-3)
    assert ours.log_likelihood == pytest.approx(theirs.score(X), abs=1e-4)
    assert ours.bic(n_rows) == pytest.approx(theirs.bic(X), rel=1e-4)
    np.testing.assert_allclose(posterior.sum(axis=1), 1)
    assert (np.diff([fit_tied_mixture(X, 4, 0, tol=0, max_iter=n).log_likelihood for n in (1, 2, 5, 20)]) >= 0).all()
