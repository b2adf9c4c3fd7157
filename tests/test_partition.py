"""From an embedding to domains: communities, votes, and how many."""

import random
import sys
import warnings
from types import SimpleNamespace

import igraph
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from tissues import blobs

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
from skst.partition.tied import fit_tied_mixture, likeliest_mixture

# GraphCommunities


@pytest.mark.parametrize("method", ["leiden", "louvain"])
@pytest.mark.parametrize("n_clusters", [1, 3, 6])
def test_communities_are_searched_to_their_number(method, n_clusters):
    X, y = blobs(n_clusters)
    fitted = GraphCommunities(n_clusters, method=method, random_state=0).fit(X)
    assert fitted.n_clusters_ == n_clusters and adjusted_rand_score(y, fitted.labels_) > 0.98
    sizes = np.bincount(fitted.labels_)
    assert len(sizes) == n_clusters and (np.diff(sizes) <= 0).all()
    np.testing.assert_array_equal(fitted.predict(X), fitted.labels_)
    new, truth = blobs(n_clusters, seed=1)
    assert adjusted_rand_score(truth, fitted.predict(new)) > 0.95
    again = GraphCommunities(n_clusters, method=method, random_state=0).fit(X)
    np.testing.assert_array_equal(again.labels_, fitted.labels_)
    assert 1 <= fitted.n_iter_ <= 30 and again.resolution_ == fitted.resolution_


def test_a_number_that_no_resolution_gives():
    X = np.repeat([[0.0, 0.0], [9.0, 9.0]], 20, axis=0)  # two cliques
    with pytest.warns(UserWarning, match=r"n_clusters=3 leiden communities, \d+ were kept; raise max_iter"):
        fitted = GraphCommunities(3, n_neighbors=19, random_state=0).fit(X)
    assert fitted.n_clusters_ == len(set(fitted.labels_)) != 3
    X, _ = blobs(4)
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
    X, y = blobs(4, n=400)
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
    X, _ = blobs(3)

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
        np.testing.assert_array_equal(majority_vote(labels, np.zeros((9, 2))), labels)


def test_a_vote_needs_places():
    with pytest.raises(ValueError, match="coordinates are None, but neighbours vote"):
        majority_vote([0, 1, 1], None)


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


@pytest.mark.parametrize(
    ("n_clusters", "same"), [(3, lambda X: 100 * X), (5, lambda X: X[:, ::-1]), (8, lambda X: X + 1e5)]
)
def test_the_number_of_blobs_is_found(n_clusters, same):
    X, _ = blobs(n_clusters, n=400, dims=8)
    chosen, curve = estimate_n_clusters(X, random_state=0)
    assert chosen == n_clusters
    assert curve.columns.tolist() == ["n_clusters", "criterion", "chosen"]
    assert curve["n_clusters"].tolist() == list(range(1, 16))
    assert curve.loc[curve["chosen"], "n_clusters"].tolist() == [n_clusters]
    assert np.isfinite(curve["criterion"]).all()
    assert estimate_n_clusters(same(X), random_state=0)[0] == n_clusters


def test_the_numbers_that_are_tried():
    X, _ = blobs(3)
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


@pytest.mark.parametrize("n_clusters", [3, 5, 8])
def test_partitions_into_the_number_of_blobs_repeat(n_clusters):
    X, _ = blobs(n_clusters, n=400, dims=8)
    chosen, curve = estimate_n_clusters(X, criterion="stability", random_state=0)
    # One more shares two of the three partitions that are compared with one another.
    assert chosen in (n_clusters, n_clusters + 1)
    assert curve.columns.tolist() == ["n_clusters", "criterion", "chosen"]
    assert curve["criterion"].idxmax() == curve["chosen"].idxmax() and curve["chosen"].sum() == 1
    assert curve["criterion"].max() > 0.8 and curve["criterion"].between(-0.5, 1).all()
    assert curve["criterion"][0] == 0.5  # agrees with itself, and with nothing else
    if n_clusters == 3:
        assert estimate_n_clusters(X, criterion="stability", random_state=0)[1].equals(curve)


def test_nothing_repeats_in_noise():
    X = np.random.default_rng(0).normal(size=(600, 8))
    chosen, curve = estimate_n_clusters(X, criterion="stability", random_state=0)
    assert chosen == 1 and curve["criterion"][1:].max() < 0.4


def test_the_numbers_whose_stability_is_tried():
    X, _ = blobs(3)
    one = estimate_n_clusters(X, n_clusters=[3], criterion="stability", random_state=0)[1]
    more = estimate_n_clusters(X, n_clusters=[3, 6], criterion="stability", random_state=0)[1]
    assert one["n_clusters"].tolist() == [3] and more["n_clusters"].tolist() == [3, 6]
    assert more["criterion"][0] > 0.7 > more["criterion"][1]
    for rows in (1, 2, 4, 7):
        assert 1 <= estimate_n_clusters(X[:rows], criterion="stability", random_state=0)[0] <= rows
    assert estimate_n_clusters(X, criterion="stability", max_samples=100, random_state=0)[0] in (3, 4)


@pytest.mark.parametrize("criterion", ["bic", "stability"])
def test_progress_of_an_estimate(criterion, capsys):
    X, _ = blobs(3, n=60)
    estimate_n_clusters(X, n_clusters=[2, 3], criterion=criterion, random_state=0)
    assert capsys.readouterr() == ("", "")
    estimate_n_clusters(X, n_clusters=[2, 3], criterion=criterion, random_state=0, verbose=1)
    assert criterion in capsys.readouterr().err


def test_an_unknown_criterion():
    with pytest.raises(ValueError, match=r"^criterion='silhouette' is not one of \('bic', 'stability'\)\.$"):
        estimate_n_clusters(np.ones((9, 2)), criterion="silhouette")


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
    X, labels = blobs(3, n=40)
    labels = np.array([0, 2, 3])[labels]  # nothing in 1
    shares = soft_labels(KMeans(), X, labels, 5)
    kernel = np.zeros((40, 5))
    for label in (0, 2, 3):
        kernel[:, label] = 1 / (1 + np.square(X - X[labels == label].mean(axis=0)).sum(axis=1))
    np.testing.assert_allclose(shares, kernel / kernel.sum(axis=1, keepdims=True), rtol=1e-6)
    assert shares.dtype == np.float64 and soft_labels(KMeans(), X, labels, 2).shape == (40, 4)


def test_shares_of_a_clusterer_that_knows_them():
    X, _ = blobs(3)
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
    X, _ = blobs(6)
    found = likeliest_mixture(X, 6, np.random.RandomState(3))
    seeds = np.random.RandomState(3).randint(np.iinfo(np.int32).max, size=4)
    assert found.log_likelihood == max(fit_tied_mixture(X, 6, seed).log_likelihood for seed in seeds)
    some = likeliest_mixture(X, 6, np.random.RandomState(3), n_init=1, max_samples=100)
    drawn = np.random.RandomState(3)
    rows = X[drawn.choice(300, 100, replace=False)]
    expected = fit_tied_mixture(rows, 6, drawn.randint(np.iinfo(np.int32).max, size=1)[0])
    np.testing.assert_array_equal(some.coefficients, expected.coefficients)


@pytest.mark.parametrize("wanted", [range(4), 5, "abc", [], [2.5], [[2, 3]]])
def test_numbers_to_try_are_numbers(wanted):
    with pytest.raises(ValueError, match="is no sequence of numbers from 1"):
        estimate_n_clusters(np.random.default_rng(0).normal(size=(40, 3)), n_clusters=wanted)


def test_a_single_number_is_taken():
    rows = np.random.default_rng(0).normal(size=(40, 3))
    assert estimate_n_clusters(rows, n_clusters=[4], random_state=0)[0] == 4
    assert estimate_n_clusters(rows, n_clusters=[2, 200], random_state=0)[0] == 2
