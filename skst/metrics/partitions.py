"""Scores of a partition against known labels, and of partitions against each other."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from skst.inputs.labels import UNLABELLED, Labels, column_of, labelled
from skst.inputs.rows import match_rows


def score_partition(y_true: Labels, y_pred: Labels, *, ignore: Sequence[Any] = UNLABELLED) -> dict[str, float]:
    """All scores of a partition against known labels, at once.

    Parameters
    ----------
    y_true : array-like of shape (n_spots,)
        Known labels of any type; spots whose label is NaN, None, NA or in `ignore` do not count.
    y_pred : array-like of shape (n_spots,)
        Predicted clusters; their names do not matter.  Where both are pandas objects, spots are matched by name.
    ignore : tuple, default=("NA", "nan", "None", "<NA>")
        Values of `y_true` that mean "unlabelled", beside the missing values proper.

    Returns
    -------
    dict of str to float
        ``ari`` (adjusted Rand index), ``nmi`` (normalised mutual information, arithmetic mean), ``acc``
        (:func:`clustering_accuracy`), ``macro_f1`` and ``weighted_f1``.

    Raises
    ------
    ValueError
        If the lengths or the names of spots differ, if no spot is labelled, or if a labelled spot has no cluster.

    Examples
    --------
    >>> from skst.metrics import score_partition
    >>> scores = score_partition(["L1", "L1", "L2", "L2", None], [1, 1, 0, 1, 0])
    >>> round(scores["acc"], 2), round(scores["nmi"], 2)
    (0.75, 0.34)
    """
    y_true, y_pred = labelled(y_true, y_pred, ignore)
    return {name: float(score(y_true, y_pred)) for name, score in SCORES.items()}


def clustering_accuracy(y_true: Labels, y_pred: Labels, *, ignore: Sequence[Any] = UNLABELLED) -> float:
    """Share of spots in the right domain, under the best one-to-one match of clusters and domains.

    The match is found by the Hungarian algorithm [1]_.  Clusters beyond the number of domains stay without a
    partner, and their spots count as wrong.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_spots,)
        Known labels and predicted clusters, checked as in :func:`score_partition`.
    ignore : tuple, default=("NA", "nan", "None", "<NA>")
        Values of `y_true` that mean "unlabelled".

    Returns
    -------
    float
        Between 0 and 1.

    References
    ----------
    .. [1] H. W. Kuhn, "The Hungarian method for the assignment problem", Naval Research Logistics
       Quarterly 2, 83-97 (1955).

    Examples
    --------
    >>> from skst.metrics import clustering_accuracy
    >>> clustering_accuracy(["L1", "L1", "L2", "L2"], [7, 7, 3, 7])
    0.75
    """
    return _accuracy(*labelled(y_true, y_pred, ignore))


def macro_f1(y_true: Labels, y_pred: Labels, *, ignore: Sequence[Any] = UNLABELLED) -> float:
    """Mean over domains of the F1 score, after clusters were matched to domains.

    The match is that of :func:`clustering_accuracy`; where several are equally accurate, the one with the
    highest score counts, so that the names of the clusters do not matter.  A domain without a cluster scores
    0; a cluster without a domain is no class of its own.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_spots,)
        Known labels and predicted clusters, checked as in :func:`score_partition`.
    ignore : tuple, default=("NA", "nan", "None", "<NA>")
        Values of `y_true` that mean "unlabelled".

    Returns
    -------
    float
        Between 0 and 1.

    Examples
    --------
    >>> from skst.metrics import macro_f1
    >>> round(macro_f1(["L1", "L1", "L2", "L2"], [7, 7, 3, 7]), 3)
    0.733
    """
    return _macro_f1(*labelled(y_true, y_pred, ignore))


def weighted_f1(y_true: Labels, y_pred: Labels, *, ignore: Sequence[Any] = UNLABELLED) -> float:
    """Mean over domains of the F1 score weighted by domain size, after clusters were matched to domains.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_spots,)
        Known labels and predicted clusters, checked as in :func:`score_partition`.
    ignore : tuple, default=("NA", "nan", "None", "<NA>")
        Values of `y_true` that mean "unlabelled".

    Returns
    -------
    float
        Between 0 and 1.

    See Also
    --------
    macro_f1 : The same with equal weights, and how ties between matches are settled.

    Examples
    --------
    >>> from skst.metrics import weighted_f1
    >>> round(weighted_f1(["L1", "L1", "L1", "L2"], [7, 7, 7, 7]), 3)
    0.643
    """
    return _weighted_f1(*labelled(y_true, y_pred, ignore))


def hungarian_match(y_true: Labels, y_pred: Labels, *, ignore: Sequence[Any] = UNLABELLED) -> NDArray[np.object_]:
    """Rename clusters to the domains they match best, one cluster to a domain.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_spots,)
        Known labels and predicted clusters, as in :func:`score_partition`.  Unlabelled spots have no say in
        the match but are renamed with their cluster.
    ignore : tuple, default=("NA", "nan", "None", "<NA>")
        Values of `y_true` that mean "unlabelled".

    Returns
    -------
    ndarray of object of shape (n_spots,)
        `y_pred` in the names of `y_true`; None for the spots of a cluster that is left without a domain.

    Examples
    --------
    >>> from skst.metrics import hungarian_match
    >>> hungarian_match(["L1", "L1", "L2", None], [5, 5, 9, 9]).tolist()
    ['L1', 'L1', 'L2', 'L2']
    """
    (y_true,) = match_rows(y_pred, origin="y_pred", y_true=y_true)
    y_true, y_pred = (pd.Series(column_of(y, name).to_numpy()) for y, name in ((y_true, "y_true"), (y_pred, "y_pred")))
    true, pred = labelled(y_true, y_pred, ignore)
    counts, classes, clusters = _contingency(true, pred)
    rows, columns = _assign(counts, _pair_f1(counts))
    names = {clusters[column]: classes[row] for row, column in zip(rows, columns, strict=True)}
    return pd.Series([names.get(cluster) for cluster in y_pred], dtype=object).to_numpy()


def agreement_matrix(labelings: Iterable[Labels]) -> NDArray[np.float64]:
    """Adjusted Rand index of every pair among several partitions of the same spots.

    The partition with the highest row mean is the one closest to all others, the medoid.

    Parameters
    ----------
    labelings : sequence of array-like of shape (n_spots,)
        At least one partition.

    Returns
    -------
    ndarray of shape (n_labelings, n_labelings), float64
        Symmetric, with ones on the diagonal.

    Raises
    ------
    ValueError
        If there is no partition, if lengths differ, or if a spot has no cluster.

    Examples
    --------
    >>> from skst.metrics import agreement_matrix
    >>> agreement_matrix([[0, 0, 1, 1], ["b", "b", "a", "a"], [0, 1, 0, 1]]).round(1).tolist()
    [[1.0, 1.0, -0.5], [1.0, 1.0, -0.5], [-0.5, -0.5, 1.0]]
    """
    labelings = list(labelings)
    first = labelings[0] if labelings else None
    labelings[1:] = (
        match_rows(first, origin="labelings[0]", **{f"labelings[{i}]": labels})[0]
        for i, labels in enumerate(labelings[1:], start=1)
    )
    codes = [_clusters(labels, f"labelings[{i}]") for i, labels in enumerate(labelings)]
    if not codes:
        raise ValueError("labelings is empty; pass at least one partition.")
    lengths = {len(code) for code in codes}
    if len(lengths) > 1:
        raise ValueError(f"labelings have lengths {sorted(lengths)}; pass partitions of the same spots.")
    sizes = [int(code.max(initial=-1)) + 1 for code in codes]
    agreement = np.eye(len(codes))
    for i, first in enumerate(codes):
        for j in range(i):
            table = np.bincount(first * sizes[j] + codes[j], minlength=sizes[i] * sizes[j])
            agreement[i, j] = agreement[j, i] = _adjusted_rand(table.reshape(sizes[i], sizes[j]))
    return agreement


def _adjusted_rand(table: np.ndarray) -> float:
    """From the counts of two partitions against each other (Hubert and Arabie, 1985); hundreds are needed at a time."""
    together, first, second, total = (
        float((n * (n - 1.0) / 2).sum()) for n in (table, table.sum(axis=1), table.sum(axis=0), table.sum())
    )
    expected = first * second / total if total else 0.0
    highest = (first + second) / 2
    return 1.0 if highest == expected else (together - expected) / (highest - expected)


def _clusters(labels: Labels, name: str) -> np.ndarray:
    labels = column_of(labels, name)
    if labels.isna().any():
        raise ValueError(f"{name} is missing for {int(labels.isna().sum())} spots; give each a cluster.")
    return pd.factorize(labels)[0]


def _contingency(true: np.ndarray, pred: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts of shape (n_classes, n_clusters), and the names of rows and columns."""
    from sklearn.metrics.cluster import contingency_matrix

    true_codes, classes = pd.factorize(true)
    pred_codes, clusters = pd.factorize(pred)
    return contingency_matrix(true_codes, pred_codes), classes, clusters


def _pair_f1(counts: np.ndarray) -> np.ndarray:
    """F1 score of every class with every cluster; the F1 of a match is a sum over its pairs."""
    return 2 * counts / (counts.sum(axis=1)[:, None] + counts.sum(axis=0)[None, :])


def _assign(counts: np.ndarray, bonus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match with the most spots right and, among those, the largest sum of `bonus` (entries at most 1)."""
    # a bonus sum below 1 cannot outweigh a single spot, since counts are integers
    return linear_sum_assignment(counts + bonus / (min(counts.shape) + 1), maximize=True)


def _accuracy(true: np.ndarray, pred: np.ndarray) -> float:
    counts = _contingency(true, pred)[0]
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / counts.sum())


def _macro_f1(true: np.ndarray, pred: np.ndarray) -> float:
    counts = _contingency(true, pred)[0]
    f1 = _pair_f1(counts)
    return float(f1[_assign(counts, f1)].sum() / len(counts))


def _weighted_f1(true: np.ndarray, pred: np.ndarray) -> float:
    counts = _contingency(true, pred)[0]
    f1 = _pair_f1(counts) * (counts.sum(axis=1) / counts.sum())[:, None]
    return float(f1[_assign(counts, f1)].sum())


def _ari(true: np.ndarray, pred: np.ndarray) -> float:
    from sklearn.metrics import adjusted_rand_score

    return adjusted_rand_score(pd.factorize(true)[0], pd.factorize(pred)[0])


def _nmi(true: np.ndarray, pred: np.ndarray) -> float:
    from sklearn.metrics import normalized_mutual_info_score

    return normalized_mutual_info_score(pd.factorize(true)[0], pd.factorize(pred)[0])


# By the names that score_partition and the scorers use; each takes labelled spots only.
SCORES = {"ari": _ari, "nmi": _nmi, "acc": _accuracy, "macro_f1": _macro_f1, "weighted_f1": _weighted_f1}
