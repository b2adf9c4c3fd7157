"""Scores against brute force, scikit-learn and what they must not depend on."""

import itertools
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, f1_score, silhouette_score

from skst.files.home import get_data_home
from skst.metrics import (
    agreement_matrix,
    chaos_score,
    clustering_accuracy,
    hungarian_match,
    macro_f1,
    pas_score,
    score_partition,
    spatial_silhouette,
    weighted_f1,
)

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=30)


def _f1_of_classes(true, pred, classes):
    """F1 of each class by its definition, and the number of its spots; scikit-learn's takes a hundred times as long."""
    counts = Counter(true), Counter(pred), Counter(t for t, p in zip(true, pred, strict=True) if t == p)
    sizes, found, both = ([count[c] for c in classes] for count in counts)
    return [2 * b / (n + f) for n, f, b in zip(sizes, found, both, strict=True)], sizes


def _best_over_matches(true, pred):
    """Best accuracy, and F1 scores at it, over all one-to-one matches of clusters to classes, by trying them all."""
    classes, clusters = sorted(set(true)), sorted(set(pred))
    slots = classes + [-1 - i for i in range(max(0, len(clusters) - len(classes)))]
    best = {"macro": (-1, -1), "weighted": (-1, -1)}
    for chosen in itertools.permutations(slots, len(clusters)):
        names = dict(zip(clusters, chosen, strict=True))
        renamed = [names[p] for p in pred]
        accuracy = round(np.mean(np.array(true) == np.array(renamed)), 9)
        f1, sizes = _f1_of_classes(true, renamed, classes)
        for average, weights in (("macro", None), ("weighted", sizes)):
            best[average] = max(best[average], (accuracy, np.average(f1, weights=weights)))
    return best


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_accuracy_and_f1_equal_the_best_of_all_matches(rows):
    true, pred = map(list, zip(*rows, strict=True))
    best = _best_over_matches(true, pred)
    assert clustering_accuracy(true, pred) == pytest.approx(best["macro"][0])
    assert macro_f1(true, pred) == pytest.approx(best["macro"][1])
    assert weighted_f1(true, pred) == pytest.approx(best["weighted"][1])


def test_f1_of_labels_that_are_names_of_classes_is_that_of_sklearn():
    true, pred = list("aaabbbccd"), list("aabbbbcca")
    assert macro_f1(true, pred) == pytest.approx(f1_score(true, pred, average="macro", zero_division=0))
    assert weighted_f1(true, pred) == pytest.approx(f1_score(true, pred, average="weighted", zero_division=0))


@given(pairs, st.permutations(range(5)), st.randoms())
@settings(max_examples=100, deadline=None)
def test_scores_do_not_depend_on_names_or_order(rows, names, random):
    scores = score_partition(*zip(*rows, strict=True))
    random.shuffle(rows)
    true, pred = zip(*rows, strict=True)
    renamed = [f"cluster {names[p]}" for p in pred]
    again = score_partition([f"layer {3 - t}" for t in true], renamed)
    assert again == pytest.approx(scores)
    assert all(-0.6 <= value <= 1 + 1e-12 for value in scores.values())


@given(pairs)
@settings(max_examples=50, deadline=None)
def test_a_renamed_truth_scores_one(rows):
    true = [t for t, _ in rows]
    assert score_partition(true, [chr(ord("z") - t) for t in true]) == pytest.approx(
        dict.fromkeys(["ari", "nmi", "acc", "macro_f1", "weighted_f1"], 1.0)
    )


@pytest.mark.parametrize("unknown", [None, np.nan, pd.NA, "NA", "nan", "None", "<NA>"])
@pytest.mark.parametrize("container", [list, tuple, pd.Series, pd.Categorical, lambda v: np.array(v, dtype=object)])
def test_unlabelled_spots_do_not_count(unknown, container):
    true, pred = ["a", "a", "b", "b", "b"], [1, 1, 2, 2, 1]
    expected = score_partition(true, pred)
    assert expected["acc"] == pytest.approx(0.8)
    spoilt = container([unknown, *true, unknown])
    assert score_partition(spoilt, [2, *pred, 3]) == expected


def test_numeric_labels_with_nan_and_a_series_index_out_of_order():
    true = pd.Series([np.nan, 1, 1, 2], index=[7, 3, 9, 0])
    pred = pd.Series([5, 5, 5, 6], index=[0, 1, 2, 3])
    assert score_partition(true, pred)["ari"] == 1
    assert score_partition([-1, 1, 1, 2], pred, ignore=(-1,))["ari"] == 1
    assert score_partition([-1, 1, 1, 2], pred)["ari"] < 1


def test_real_strings_that_look_like_nothing_are_kept_on_request():
    assert clustering_accuracy(["NA", "a"], [0, 0], ignore=()) == 0.5
    assert clustering_accuracy(["NA", "a"], [0, 0]) == 1


@pytest.mark.parametrize("score", [score_partition, clustering_accuracy, macro_f1, weighted_f1, hungarian_match])
@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        (["a", "b"], [0], "y_true has 2 labels but y_pred has 1"),
        ([None, "NA"], [0, 1], "y_true labels none of its 2 spots"),
        (["a", "b"], [0, np.nan], "y_pred is missing for 1 labelled spots"),
    ],
)
def test_bad_input_is_named(score, true, pred, message):
    with pytest.raises(ValueError, match=message):
        score(true, pred)


def test_match_renames_whole_clusters_and_leaves_surplus_ones_unnamed():
    true = ["a", "a", "a", "b", "b", None, None]
    pred = [4, 4, 8, 6, 6, 6, 9]
    matched = hungarian_match(true, pred)
    assert matched.tolist() == ["a", "a", None, "b", "b", "b", None]
    assert np.mean(matched[:5] == np.array(true[:5])) == clustering_accuracy(true, pred)


def test_a_cluster_is_never_given_to_two_domains():
    # a vote of the majority would name both clusters "a"
    assert hungarian_match(["a", "a", "b", "a", "a"], [0, 0, 0, 1, 1]).tolist() == ["b", "b", "b", "a", "a"]


def test_no_f1_outweighs_a_spot():
    """Of two matches of ten classes the one with one spot more is taken, though its F1 scores are half as high."""
    counts = np.zeros((50, 50), dtype=int)  # forty small ones beside the ten take part in neither match
    cycle = np.arange(10)
    counts[cycle, cycle], counts[cycle, (cycle + 1) % 10] = 20, 20 - (cycle == 0)
    counts[:10:2, 10:], counts[10:, 1:10:2] = 5, 5  # where a large class meets a large cluster, F1 is higher in sum
    true, pred = (np.repeat(index, counts.ravel()) for index in np.divmod(np.arange(2500), 50))
    assert clustering_accuracy(true, pred) == 200 / counts.sum()
    assert (hungarian_match(true, pred) == true).sum() == 200


def _chaos_by_hand(labels, coordinates):
    coordinates = (coordinates - coordinates.mean(axis=0)) / coordinates.std(axis=0)
    lengths = []
    for i, j_all in enumerate([np.flatnonzero(labels == label) for label in labels]):
        others = j_all[j_all != i]
        if len(others):
            lengths.append(np.linalg.norm(coordinates[others] - coordinates[i], axis=1).min())
    return np.mean(lengths)


def _pas_by_hand(labels, coordinates, k):
    abnormal = 0
    for i in range(len(labels)):
        distances = np.linalg.norm(coordinates - coordinates[i], axis=1)
        distances[i] = np.inf
        nearest = np.argsort(distances)[: min(k, len(labels) - 1)]
        abnormal += (labels[nearest] != labels[i]).sum() > len(nearest) / 2
    return abnormal / len(labels)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dimensions", [2, 3])
def test_spatial_scores_equal_brute_force(seed, dimensions):
    rng = np.random.default_rng(seed)
    coordinates = rng.normal(size=(60, dimensions)) * [1, 30, 5][:dimensions]
    labels = rng.integers(0, 4, 60)
    assert chaos_score(labels, coordinates) == pytest.approx(_chaos_by_hand(labels, coordinates))
    for k in (1, 6, 10, 100):
        assert pas_score(labels, coordinates, n_neighbors=k) == pytest.approx(_pas_by_hand(labels, coordinates, k))
    assert spatial_silhouette(labels, coordinates) == pytest.approx(silhouette_score(coordinates, labels))


def test_spatial_scores_do_not_depend_on_order_names_place_or_unit():
    rng = np.random.default_rng(0)
    coordinates, labels = rng.uniform(size=(200, 2)), rng.integers(0, 3, 200)
    order = rng.permutation(200)
    moved, renamed = coordinates[order] * 1e5 + 1e6, np.array(["x", "y", "z"])[labels[order]]
    for score in (chaos_score, pas_score, spatial_silhouette):
        assert score(renamed, moved) == pytest.approx(score(labels, coordinates))


@pytest.mark.parametrize("score", [chaos_score, pas_score, spatial_silhouette])
def test_slices_never_touch(score):
    """Two slices laid over each other score as the mean of each alone, as their sizes are equal."""
    rng = np.random.default_rng(1)
    first, second = rng.uniform(size=(80, 2)), rng.uniform(size=(80, 2)) * 3
    labels_first, labels_second = rng.integers(0, 3, 80), (second[:, 0] > 1.5).astype(int)
    both, labels = np.vstack([first, second]), np.concatenate([labels_first, labels_second])
    batch = np.repeat(["s1", "s2"], 80)
    mixed = rng.permutation(160)
    expected = (score(labels_first, first) + score(labels_second, second)) / 2
    assert score(labels[mixed], both[mixed], batch=batch[mixed]) == pytest.approx(expected)
    assert score(labels, both) != pytest.approx(expected, abs=1e-3)


def test_each_slice_is_standardised_alone():
    rng = np.random.default_rng(2)
    slide, labels = rng.uniform(size=(50, 2)), rng.integers(0, 2, 50)
    batch = np.repeat([0, 1], 50)
    stacked = np.vstack([slide, slide * 1000])
    assert chaos_score(np.tile(labels, 2), stacked, batch) == pytest.approx(chaos_score(labels, slide))


def test_duplicate_places_are_spots_like_others():
    place = np.array([[0, 0]] * 12 + [[9, 9]] * 12, dtype=float)
    labels = np.repeat([0, 1], 12)
    assert chaos_score(labels, place) == 0
    assert pas_score(labels, place) == 0
    assert pas_score([0] + [1] * 11, place[:12]) == pytest.approx(1 / 12)
    assert spatial_silhouette(labels, place) == 1


def test_degenerate_partitions():
    line = np.column_stack([np.arange(5.0), np.zeros(5)])
    assert pas_score(np.zeros(5), line) == 0
    assert np.isfinite(chaos_score(np.zeros(5), line))
    assert np.isnan(spatial_silhouette(np.zeros(5), line))
    assert np.isnan(chaos_score(np.arange(5), line))
    assert np.isnan(spatial_silhouette(np.arange(5), line))
    assert pas_score(np.arange(5), line) == 1
    assert pas_score([0], [[1.0, 2.0]]) == 0


def test_unlabelled_spots_are_left_out_of_the_tissue():
    rng = np.random.default_rng(3)
    coordinates = rng.uniform(size=(50, 2))
    labels = rng.integers(0, 3, 50).astype(object)
    labels[::7] = None
    coordinates[0] = np.nan
    known = np.array([label is not None for label in labels])
    for score in (chaos_score, pas_score, spatial_silhouette):
        assert score(labels, coordinates) == score(labels[known].astype(int), coordinates[known])


@pytest.mark.parametrize("score", [chaos_score, pas_score, spatial_silhouette])
def test_bad_tissue_is_named(score):
    with pytest.raises(ValueError, match=r"coordinates have shape \(3,\)"):
        score([0, 1, 0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="coordinates of labelled spots are NaN"):
        score([0, 1], [[0.0, np.nan], [1.0, 1.0]])
    with pytest.raises(ValueError, match="batch has 1 entries"):
        score([0, 1], np.eye(2), batch=["a"])
    with pytest.raises(ValueError, match="batch is missing for 1 spots"):
        score([0, 1], np.eye(2), batch=["a", None])
    with pytest.raises(ValueError, match="none of 2 spots"):
        score([None, "NA"], np.eye(2))


def test_pas_rejects_no_neighbours():
    with pytest.raises(ValueError, match="n_neighbors=0"):
        pas_score([0, 1], np.eye(2), n_neighbors=0)


def test_sampled_silhouette_is_near_the_full_one_and_repeatable():
    rng = np.random.default_rng(4)
    coordinates = rng.uniform(size=(4000, 2))
    labels = (coordinates[:, 0] > 0.5).astype(int)
    full = spatial_silhouette(labels, coordinates, sample_size=None)
    sampled = spatial_silhouette(labels, coordinates, sample_size=800, random_state=0)
    assert sampled == spatial_silhouette(labels, coordinates, sample_size=800, random_state=0)
    assert sampled != full
    assert sampled == pytest.approx(full, abs=0.05)


def test_agreement_is_pairwise_ari():
    rng = np.random.default_rng(5)
    labelings = rng.integers(0, 3, size=(4, 30))
    agreement = agreement_matrix(labelings)
    for i, j in itertools.product(range(4), repeat=2):
        assert agreement[i, j] == pytest.approx(adjusted_rand_score(labelings[i], labelings[j]))
    with pytest.raises(ValueError, match="labelings is empty"):
        agreement_matrix([])
    with pytest.raises(ValueError, match=r"lengths \[2, 3\]"):
        agreement_matrix([[0, 1], [0, 1, 1]])
    with pytest.raises(ValueError, match=r"labelings\[1\] is missing for 1 spots"):
        agreement_matrix([[0, 1], [0, None]])


def test_true_layers_of_real_tissue_hold_together():
    """On STARmap the annotated layers must look whole, and the same labels shuffled must not."""
    table = get_data_home() / "Starmap_BY3_1k_meta_annotated_18oct22.csv"
    if not table.is_file():
        pytest.skip("the STARmap annotation is not in the data home")
    annotated = pd.read_csv(table, index_col=0)
    coordinates = annotated[["x", "y"]].to_numpy()
    layers = annotated["smoothed_manual"].to_numpy()
    shuffled = np.random.default_rng(0).permutation(layers)
    assert pas_score(layers, coordinates) < 0.1 < 0.7 < pas_score(shuffled, coordinates)
    assert chaos_score(layers, coordinates) < 0.7 * chaos_score(shuffled, coordinates)
    assert spatial_silhouette(layers, coordinates) > spatial_silhouette(shuffled, coordinates) + 0.1
