"""From an embedding to domains: mixtures in consensus, communities, votes, and how many."""

import random
import sys
import warnings
from types import SimpleNamespace

import igraph
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from skst import limits
from skst.partition import (
    ConsensusMixture,
    GraphCommunities,
    agreement_medoid,
    communities,
    estimate_n_clusters,
    majority_vote,
    make_clusterer,
)
from skst.partition.choice import soft_labels, warn_of_collapse
from skst.partition.mixture import check_n_clusters
from skst.partition.tied import fit_tied_mixture, likeliest_mixture


def _blobs(n_clusters, n=300, dims=6, seed=0):
    """Blobs on the corners of a simplex: all equally far apart."""
    centers = 12 * np.eye(max(n_clusters, dims))[:n_clusters]
    return make_blobs(n, centers=centers, cluster_std=1.0, random_state=seed)


# ConsensusMixture


@pytest.mark.parametrize("n_clusters", [1, 2, 5, 8])
def test_blobs_are_found(n_clusters):
    X, y = _blobs(n_clusters)
    fitted = ConsensusMixture(n_clusters, random_state=0).fit(X)
    assert adjusted_rand_score(y, fitted.labels_) > 0.98
    assert set(fitted.labels_) == set(range(n_clusters)) and fitted.labels_.dtype == np.int64
    np.testing.assert_array_equal(fitted.predict(X), fitted.labels_)
    posterior = fitted.predict_proba(X)
    assert posterior.shape == (300, n_clusters) and (posterior >= 0).all()
    np.testing.assert_allclose(posterior.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(posterior.argmax(axis=1), fitted.labels_)
    assert fitted.agreement_ > 0.95
    new, truth = _blobs(n_clusters, seed=1)
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


@pytest.mark.filterwarnings("ignore:Number of distinct clusters", "ignore:invalid value:RuntimeWarning")
def test_duplicates_and_constants():
    X, y = _blobs(3, n=90)
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
    X, y = _blobs(4, n=600)
    mixture = ConsensusMixture(4, max_samples=150, random_state=0).fit(X)
    assert mixture.labels_.shape == (600,) and adjusted_rand_score(y, mixture.labels_) > 0.98
    np.testing.assert_array_equal(mixture.predict(X), mixture.labels_)


def test_equal_views_are_as_good_as_one():
    X, y = _blobs(4)
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
    X, y = _blobs(3)
    rng = np.random.default_rng(0)
    for order in (1, -1):
        views = [X, X + rng.normal(size=X.shape), rng.normal(size=X.shape)][::order]
        fitted = ConsensusMixture(3, n_views=3, random_state=0).fit(np.hstack(views))
        assert adjusted_rand_score(y, fitted.labels_) > 0.95
        assert 0 < fitted.agreement_ < 0.9


def test_views_are_of_one_width():
    with pytest.raises(ValueError, match="n_views=4 does not divide the 6 columns of X; give views of one width"):
        ConsensusMixture(3, n_views=4).fit(_blobs(3)[0])


@pytest.mark.parametrize("estimator", [ConsensusMixture, GraphCommunities])
def test_more_domains_than_spots(estimator):
    with pytest.raises(ValueError, match="n_clusters=9 is larger than the 8 spots"):
        estimator(9).fit(np.random.default_rng(0).normal(size=(8, 2)))


@pytest.mark.parametrize("wrong", [0, -1, 2.0, True, None, "3"])
def test_what_is_no_number_of_clusters(wrong):
    with pytest.raises(ValueError, match=f"n_clusters={wrong!r} is not a positive integer"):
        check_n_clusters(wrong, 10)
    check_n_clusters(np.int64(10), 10)


# GraphCommunities


@pytest.mark.parametrize("method", ["leiden", "louvain"])
@pytest.mark.parametrize("n_clusters", [1, 3, 6])
def test_communities_are_searched_to_their_number(method, n_clusters):
    X, y = _blobs(n_clusters)
    fitted = GraphCommunities(n_clusters, method=method, random_state=0).fit(X)
    assert fitted.n_clusters_ == n_clusters and adjusted_rand_score(y, fitted.labels_) > 0.98
    sizes = np.bincount(fitted.labels_)
    assert len(sizes) == n_clusters and (np.diff(sizes) <= 0).all()
    np.testing.assert_array_equal(fitted.predict(X), fitted.labels_)
    new, truth = _blobs(n_clusters, seed=1)
    assert adjusted_rand_score(truth, fitted.predict(new)) > 0.95
    again = GraphCommunities(n_clusters, method=method, random_state=0).fit(X)
    np.testing.assert_array_equal(again.labels_, fitted.labels_)
    assert 1 <= fitted.n_iter_ <= 30 and again.resolution_ == fitted.resolution_


def test_a_number_that_no_resolution_gives():
    X = np.repeat([[0.0, 0.0], [9.0, 9.0]], 20, axis=0)  # two cliques
    with pytest.warns(UserWarning, match=r"n_clusters=3 leiden communities, \d+ were kept; raise max_iter"):
        fitted = GraphCommunities(3, n_neighbors=19, random_state=0).fit(X)
    assert fitted.n_clusters_ == len(set(fitted.labels_)) != 3
    X, _ = _blobs(4)
    with pytest.warns(UserWarning, match="were kept"):
        fitted = GraphCommunities(40, max_iter=1, random_state=0).fit(X)
    assert fitted.n_iter_ == 1


@pytest.mark.filterwarnings("ignore:No resolution tried")
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40), st.integers(1, 4))
def test_duplicates_are_of_one_community(rows, n_clusters):
    X = np.array(rows, dtype=float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = GraphCommunities(min(n_clusters, len(X)), n_neighbors=3, max_iter=5, random_state=0).fit(X)
    np.testing.assert_array_equal(fitted.predict(X), fitted.labels_)
    assert fitted.n_clusters_ == len(set(fitted.labels_))
    for place in set(rows):
        assert len({label for row, label in zip(rows, fitted.labels_, strict=True) if row == place}) == 1


def test_neighborhoods_overlap_as_in_brute_force():
    X = np.random.default_rng(0).normal(size=(30, 3))
    graph = communities._neighbor_overlap(X, 5, 0)
    assert (graph.row < graph.col).all()
    near = np.argsort(cdist(X, X), axis=1)[:, :6]
    members = [set(row) for row in near]
    expected = np.zeros((30, 30))
    for i in range(30):
        for j in range(i + 1, 30):
            if j in members[i] or i in members[j]:
                expected[i, j] = len(members[i] & members[j]) / len(members[i] | members[j])
    np.testing.assert_allclose(graph.toarray(), expected)


class Descent:
    """Stands in for NNDescent, which compiles for a minute; exact, as NNDescent nearly is."""

    def __init__(self, data, n_neighbors, random_state):
        neighbors = NearestNeighbors(n_neighbors=n_neighbors).fit(data)
        self.neighbor_graph = neighbors.kneighbors(data)[::-1]


def test_approximate_neighbors_of_many_rows(monkeypatch):
    X, y = _blobs(4, n=400)
    monkeypatch.setitem(sys.modules, "pynndescent", None)
    exact = GraphCommunities(4, random_state=0).fit(X)
    monkeypatch.setattr(limits, "MAX_EXACT_COMMUNITIES", 399)
    with pytest.raises(ImportError, match=r'400 rows.*pip install "skst\[large\]"'):
        GraphCommunities(4).fit(X)
    asked = []
    monkeypatch.setitem(
        sys.modules,
        "pynndescent",
        SimpleNamespace(NNDescent=lambda data, **options: asked.append(options) or Descent(data, **options)),
    )
    approximate = GraphCommunities(4, random_state=0).fit(X)
    assert asked[0]["n_neighbors"] == 16 and isinstance(asked[0]["random_state"], int)
    np.testing.assert_array_equal(approximate.labels_, exact.labels_)


@pytest.mark.parametrize("method", ["leiden", "louvain"])
def test_the_random_numbers_of_igraph_are_left_as_they_were(method, monkeypatch):
    X, _ = _blobs(3)

    def drawn():
        random.seed(5)
        return igraph.Graph.Erdos_Renyi(n=30, p=0.2).get_edgelist()

    expected = drawn()
    GraphCommunities(3, method=method, random_state=0).fit(X)
    assert drawn() == expected
    random.seed(5)
    state = random.getstate()
    GraphCommunities(3, method=method, random_state=0).fit(X)
    assert random.getstate() == state
    monkeypatch.setattr(igraph.Graph, f"community_{'leiden' if method == 'leiden' else 'multilevel'}", _fails)
    with pytest.raises(RuntimeError, match="no communities"):
        GraphCommunities(3, method=method, random_state=0).fit(X)
    assert drawn() == expected


def _fails(*args, **options):
    raise RuntimeError("no communities")


# majority_vote


def _brute_vote(labels, points, n_neighbors, batch):
    voted = labels.copy()
    batch = np.zeros(len(labels)) if batch is None else batch
    near = [set() for _ in labels]
    for name in set(batch):
        rows = np.flatnonzero(batch == name)
        distances = cdist(points[rows], points[rows])
        for i, row in enumerate(distances):
            for j in [j for j in np.argsort(row, kind="stable") if j != i][:n_neighbors]:
                near[rows[i]].add(rows[j])
                near[rows[j]].add(rows[i])
    for i, members in enumerate(near):
        counts = np.bincount([labels[i], *labels[list(members)]], minlength=labels.max() + 1)
        if counts[labels[i]] < counts.max():
            voted[i] = counts.argmax()
    return voted


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 8), st.integers(0, 1000), st.booleans())
def test_votes_equal_brute_force(n_spots, n_labels, n_neighbors, seed, sliced):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_labels, n_spots)
    points = rng.uniform(size=(n_spots, 2))
    batch = rng.integers(0, 2, n_spots) if sliced else None
    voted = majority_vote(labels, points, n_neighbors=n_neighbors, batch=batch)
    expected = _brute_vote(labels, points, n_neighbors, batch)
    assert voted.dtype == labels.dtype and set(voted) == set(labels)
    if set(expected) == set(labels):
        np.testing.assert_array_equal(voted, expected)
    else:  # a label that the vote would erase keeps its spots; the others are as voted
        kept = {label for label in labels if (voted[labels == label] == label).all()}
        assert set(labels) - set(expected) <= kept
        changed = ~np.isin(labels, list(kept))
        np.testing.assert_array_equal(voted[changed], expected[changed])


def test_a_returned_label_does_not_erase_another():
    # Spots of label 0 vote 1 and all spots of label 1 vote 2: with 0 given back, 1 must be given back too.
    labels = np.array([0, 1, 1, 2, 2, 2, 2, 2, 2])
    graph = np.zeros((9, 9))
    graph[3:, 3:] = np.kron(np.eye(2), 1 - np.eye(3))
    for i, j in ((0, 1), (0, 2), (1, 3), (1, 4), (1, 5), (2, 6), (2, 7), (2, 8)):
        graph[i, j] = graph[j, i] = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skst.partition.choice.spatial_graph", lambda *_, **__: sparse.csr_array(graph))
        np.testing.assert_array_equal(majority_vote(labels, None), labels)


def test_votes_smooth_and_stay_within_slices():
    side = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0)), axis=2).reshape(-1, 2)
    truth = (side[:, 0] > 5).astype(int)
    noisy = np.where(np.random.default_rng(0).random(144) < 0.15, 1 - truth, truth)
    assert (majority_vote(noisy, side) == truth).mean() > max(0.95, (noisy == truth).mean())
    both = majority_vote(np.r_[noisy, 1 - noisy], np.vstack([side, side]), batch=np.repeat(["x", "y"], 144))
    np.testing.assert_array_equal(both, np.r_[majority_vote(noisy, side), 1 - majority_vote(noisy, side)])


# make_clusterer


def test_clusterers_by_name():
    assert isinstance(make_clusterer(None, 4), ConsensusMixture)
    for name, kind in (("mixture", ConsensusMixture), ("kmeans", KMeans), ("leiden", GraphCommunities)):
        made = make_clusterer(name, 4, random_state=7)
        assert isinstance(made, kind) and made.n_clusters == 4 and made.random_state == 7
    assert make_clusterer("louvain", 4).method == "louvain"
    with pytest.raises(ValueError, match="clusterer='mclust' is not one of"):
        make_clusterer("mclust", 4)


def test_clusterers_that_are_given_are_copied():
    given_one = GaussianMixture(covariance_type="spherical")
    made = make_clusterer(given_one, 5, random_state=3)
    assert made is not given_one and given_one.n_components == 1
    assert (made.n_components, made.covariance_type, made.random_state) == (5, "spherical", 3)
    assert make_clusterer(KMeans(random_state=1), 5, random_state=3).random_state == 1
    assert make_clusterer(AgglomerativeClustering(), 5, random_state=3).n_clusters == 5
    with pytest.raises(TypeError, match="clusterer=DBSCAN has neither n_clusters nor n_components"):
        make_clusterer(DBSCAN(), 5)


# estimate_n_clusters


@pytest.mark.parametrize("n_clusters", [3, 5, 8])
def test_the_number_of_blobs_is_found(n_clusters):
    X, _ = _blobs(n_clusters, n=400, dims=8)
    chosen, curve = estimate_n_clusters(X, random_state=0)
    assert chosen == n_clusters
    assert curve.columns.tolist() == ["n_clusters", "criterion", "chosen"]
    assert curve["n_clusters"].tolist() == list(range(1, 16))
    assert curve.loc[curve["chosen"], "n_clusters"].tolist() == [n_clusters]
    assert np.isfinite(curve["criterion"]).all()
    for same in (100 * X, X[:, ::-1], X + 1e5):
        assert estimate_n_clusters(same, random_state=0)[0] == n_clusters


def test_the_numbers_that_are_tried():
    X, _ = _blobs(3)
    chosen, curve = estimate_n_clusters(X, n_clusters=[2, 3, 4, 6], random_state=0)
    assert chosen == 3 and curve["n_clusters"].tolist() == [2, 3, 4, 6]
    assert estimate_n_clusters(X[:13], random_state=0)[1]["n_clusters"].max() == 6
    for rows in (1, 2, 4):
        assert estimate_n_clusters(X[:rows], random_state=0)[0] == 1
    assert estimate_n_clusters(X, max_samples=100, random_state=0)[0] == 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert 1 <= estimate_n_clusters(np.ones((30, 2)), random_state=0)[0] <= 15


def test_the_estimate_is_repeatable():
    X = np.random.default_rng(0).normal(size=(100, 3))
    curves = [estimate_n_clusters(X, n_clusters=range(2, 7), random_state=0)[1] for _ in range(2)]
    assert curves[0].equals(curves[1])


# fit_tied_mixture


def test_the_tied_mixture_is_that_of_scikit_learn():
    X, y = make_blobs(400, centers=4, n_features=3, cluster_std=2.0, random_state=2)
    X -= X.mean(axis=0)
    X /= np.sqrt(X.var(axis=0).sum())
    ours = fit_tied_mixture(X, 4, 0, tol=1e-8, max_iter=2000)
    theirs = GaussianMixture(4, covariance_type="tied", random_state=0, tol=1e-8, max_iter=2000).fit(X)
    posterior = ours.posterior(np.hstack([X, X]))  # what lies beyond its columns is not read
    order = np.argmax(posterior.T @ theirs.predict_proba(X), axis=1)
    np.testing.assert_allclose(posterior, theirs.predict_proba(X)[:, order], atol=1e-3)
    assert ours.log_likelihood == pytest.approx(theirs.score(X), abs=1e-4)
    assert ours.bic(400) == pytest.approx(theirs.bic(X), rel=1e-4)
    np.testing.assert_allclose(posterior.sum(axis=1), 1)
    assert (np.diff([fit_tied_mixture(X, 4, 0, tol=0, max_iter=n).log_likelihood for n in (1, 2, 5, 20)]) >= 0).all()


# agreement_medoid


def test_the_medoid_agrees_best_with_the_others():
    truth = np.repeat(np.arange(4), 25)
    rng = np.random.default_rng(0)
    labelings = []
    for n_wrong in (40, 30, 5, 50):
        labels = truth.copy()
        labels[rng.choice(100, n_wrong, replace=False)] = rng.integers(4, size=n_wrong)
        labelings.append((labels + rng.integers(4)) % 4)  # the numbers of the domains do not matter
    index, agreement = agreement_medoid(labelings)
    expected = [
        np.mean([adjusted_rand_score(one, other) for j, other in enumerate(labelings) if j != i])
        for i, one in enumerate(labelings)
    ]
    np.testing.assert_allclose(agreement, expected)
    assert index == np.argmax(expected) == 2
    assert agreement_medoid([truth])[0] == 0


def test_shares_by_student_s_kernel_equal_brute_force():
    X, labels = _blobs(3, n=40)
    labels = np.array([0, 2, 3])[labels]  # nothing in 1
    shares = soft_labels(KMeans(), X, labels, 5)
    kernel = np.zeros((40, 5))
    for label in (0, 2, 3):
        kernel[:, label] = 1 / (1 + np.square(X - X[labels == label].mean(axis=0)).sum(axis=1))
    np.testing.assert_allclose(shares, kernel / kernel.sum(axis=1, keepdims=True), rtol=1e-6)
    assert shares.dtype == np.float64 and soft_labels(KMeans(), X, labels, 2).shape == (40, 4)


def test_shares_of_a_clusterer_that_knows_them():
    X, _ = _blobs(3)
    mixture = ConsensusMixture(3, random_state=0).fit(X)
    np.testing.assert_array_equal(soft_labels(mixture, X, mixture.labels_, 3), mixture.predict_proba(X))


@pytest.mark.parametrize(
    ("sizes", "n_clusters", "match"),
    [
        ([96, 2, 2], 3, "of 3 clusters 3 hold cells, and one holds 96% of them; do this."),
        ([60, 0, 40], 3, "of 3 clusters 2 hold cells, and one holds 60% of them; do this."),
        ([95, 5], 2, None),
        ([100], 1, None),
        ([40, 30, 20, 10], 3, None),
    ],
)
def test_a_collapse_is_told(sizes, n_clusters, match):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_collapse(np.repeat(np.arange(len(sizes)), sizes), n_clusters, "do this")
    assert [str(warning.message) for warning in caught] == ([f"The partition has collapsed: {match}"] if match else [])


def test_the_likeliest_of_several_mixtures():
    X, _ = _blobs(6)
    found = likeliest_mixture(X, 6, np.random.RandomState(3))
    seeds = np.random.RandomState(3).randint(np.iinfo(np.int32).max, size=4)
    assert found.log_likelihood == max(fit_tied_mixture(X, 6, seed).log_likelihood for seed in seeds)
    some = likeliest_mixture(X, 6, np.random.RandomState(3), n_init=1, max_samples=100)
    drawn = np.random.RandomState(3)
    rows = X[drawn.choice(300, 100, replace=False)]
    expected = fit_tied_mixture(rows, 6, drawn.randint(np.iinfo(np.int32).max, size=1)[0])
    np.testing.assert_array_equal(some.coefficients, expected.coefficients)
