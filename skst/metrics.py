"""Scores of a partition: against known labels, over the tissue, and against other partitions."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state

from skst.inputs.labels import UNLABELLED, column_of, known_labels, labelled
from skst.inputs.places import as_numbers
from skst.inputs.rows import match_rows

__all__ = [
    "UNLABELLED",
    "agreement_matrix",
    "chaos_score",
    "clustering_accuracy",
    "hungarian_match",
    "macro_f1",
    "pas_score",
    "score_partition",
    "spatial_silhouette",
    "weighted_f1",
]

# Lists may hold None beside texts, which numpy does not call array-like.
Labels: TypeAlias = Sequence[Any] | ArrayLike


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


def hungarian_match(y_true: Labels, y_pred: Labels, *, ignore: Sequence[Any] = UNLABELLED) -> dict[Any, Any]:
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


def chaos_score(labels: Labels, coordinates: ArrayLike, batch: Labels | None = None) -> float:
    """CHAOS: mean distance from a spot to the nearest other one of its domain; low where domains are whole.

    Coordinates are standardised axis by axis within each slice, so the unit is one standard deviation.

    Parameters
    ----------
    labels : array-like of shape (n_spots,)
        Domain of each spot; spots without one (NaN, None, "NA") are left out.
    coordinates : array-like of shape (n_spots, n_dimensions)
        Positions, in any unit.
    batch : array-like of shape (n_spots,), default=None
        Slice of each spot; no edge joins two slices.

    Returns
    -------
    float
        At least 0; NaN if no domain has two spots in one slice.

    Raises
    ------
    ValueError
        If the lengths differ, or a coordinate of a labelled spot is not finite.

    Notes
    -----
    CHAOS as published [1]_ divides the summed distances by the number of spots.  Here the divisor is the
    number of edges: a spot that is alone in its domain has no edge, and must not count as one of length 0.

    References
    ----------
    .. [1] L. Shang and X. Zhou, "Spatially aware dimension reduction for spatial transcriptomics", Nature
       Communications 13, 7203 (2022).

    Examples
    --------
    >>> import numpy as np
    >>> from skst.metrics import chaos_score
    >>> coordinates = np.array([[i, j] for i in range(6) for j in range(6)])
    >>> halves, stripes = coordinates[:, 0] < 3, coordinates.sum(axis=1) % 2
    >>> bool(chaos_score(halves, coordinates) < chaos_score(stripes, coordinates))
    True
    """
    labels, coordinates, batch = _placed(labels, coordinates, batch)
    lengths = []
    for rows in _groups(batch):
        scale = coordinates[rows].std(axis=0)
        positions = coordinates[rows] / np.where(scale > 0, scale, 1)
        for members in _groups(labels[rows]):
            if len(members) > 1:
                nearest = NearestNeighbors(n_neighbors=1).fit(positions[members])
                lengths.append(nearest.kneighbors()[0].ravel())
    return float(np.concatenate(lengths).mean()) if lengths else float("nan")


def pas_score(labels: Labels, coordinates: ArrayLike, *, n_neighbors: int = 10, batch: Labels | None = None) -> float:
    """PAS: share of spots with most of their neighbours in other domains; low where domains are whole.

    With 10 neighbours a spot is abnormal if at least 6 of them lie in another domain [1]_.

    Parameters
    ----------
    labels : array-like of shape (n_spots,)
        Domain of each spot; spots without one (NaN, None, "NA") are left out.
    coordinates : array-like of shape (n_spots, n_dimensions)
        Positions, in any unit.
    n_neighbors : int, default=10
        Nearest spots looked at; fewer in a slice that has no more.
    batch : array-like of shape (n_spots,), default=None
        Slice of each spot; neighbours are of the same slice.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If the lengths differ, if `n_neighbors` is below 1, or a coordinate of a labelled spot is not finite.

    Notes
    -----
    On a lattice several spots are equally near; which of them are taken depends on the order of the rows.

    References
    ----------
    .. [1] L. Shang and X. Zhou, "Spatially aware dimension reduction for spatial transcriptomics", Nature
       Communications 13, 7203 (2022).

    Examples
    --------
    >>> import numpy as np
    >>> from skst.metrics import pas_score
    >>> coordinates = np.array([[i, j] for i in range(6) for j in range(6)])
    >>> pas_score(coordinates[:, 0] < 3, coordinates)
    0.0
    """
    if n_neighbors < 1:
        raise ValueError(f"n_neighbors={n_neighbors} must be at least 1.")
    labels, coordinates, batch = _placed(labels, coordinates, batch)
    abnormal = 0
    for rows in _groups(batch):
        k = min(n_neighbors, len(rows) - 1)
        if k > 0:
            neighbors = NearestNeighbors(n_neighbors=k).fit(coordinates[rows]).kneighbors(return_distance=False)
            others = (labels[rows][neighbors] != labels[rows][:, None]).sum(axis=1)
            abnormal += int((others > k / 2).sum())
    return abnormal / len(labels)


def spatial_silhouette(
    labels: Labels,
    coordinates: ArrayLike,
    *,
    batch: Labels | None = None,
    sample_size: int | None = 2000,
    random_state: int | np.random.RandomState | None = None,
) -> float:
    """Silhouette of the domains in space: near 1 for compact and separate ones, below 0 for scattered ones.

    Parameters
    ----------
    labels : array-like of shape (n_spots,)
        Domain of each spot; spots without one (NaN, None, "NA") are left out.
    coordinates : array-like of shape (n_spots, n_dimensions)
        Positions, in any unit; an embedding gives the silhouette in that space.
    batch : array-like of shape (n_spots,), default=None
        Slice of each spot; each slice is scored alone, and the mean is weighted by spots.
    sample_size : int or None, default=2000
        Spots drawn from a larger slice, which keeps the cost from growing with its square; None takes all.
    random_state : int, RandomState instance or None, default=None
        Draws the sample.

    Returns
    -------
    float
        Between -1 and 1; NaN if no slice has two domains, or none with more than one spot in it.

    Raises
    ------
    ValueError
        If the lengths differ, or a coordinate of a labelled spot is not finite.

    Notes
    -----
    A layer that stretches over the whole tissue has a low silhouette although it is right: compare labellings
    of one tissue with it, not tissues.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.metrics import spatial_silhouette
    >>> coordinates = np.array([[i, j] for i in range(6) for j in range(6)])
    >>> round(spatial_silhouette(coordinates[:, 0] < 3, coordinates), 2)
    0.33
    """
    labels, coordinates, batch = _placed(labels, coordinates, batch)
    random_state = check_random_state(random_state)
    scores, weights = [], []
    for rows in _groups(batch):
        size = len(rows)
        if sample_size is not None and size > sample_size:
            rows = random_state.choice(rows, sample_size, replace=False)
        if 1 < len(np.unique(labels[rows])) < len(rows):
            scores.append(silhouette_score(coordinates[rows], labels[rows]))
            weights.append(size)
    return float(np.average(scores, weights=weights)) if scores else float("nan")


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
    return adjusted_rand_score(pd.factorize(true)[0], pd.factorize(pred)[0])


def _nmi(true: np.ndarray, pred: np.ndarray) -> float:
    return normalized_mutual_info_score(pd.factorize(true)[0], pd.factorize(pred)[0])


# By the names that score_partition and the scorers use; each takes labelled spots only.
SCORES = {"ari": _ari, "nmi": _nmi, "acc": _accuracy, "macro_f1": _macro_f1, "weighted_f1": _weighted_f1}


def _placed(labels: Labels, coordinates: ArrayLike, batch: Labels | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of the labelled spots, their positions, and the codes of their slices."""
    coordinates, batch = match_rows(labels, origin="labels", coordinates=coordinates, batch=batch)
    labels, coordinates = column_of(labels, "labels"), as_numbers(coordinates)
    if coordinates.ndim != 2 or len(coordinates) != len(labels):
        raise ValueError(
            f"coordinates have shape {coordinates.shape} but {len(labels)} labels came; give one row a spot."
        )
    batch = np.zeros(len(labels), dtype=int) if batch is None else _clusters(batch, "batch")
    if len(batch) != len(labels):
        raise ValueError(f"batch has {len(batch)} entries but there are {len(labels)} labels; give one a spot.")
    known = known_labels(labels, UNLABELLED)
    if not known.any():
        raise ValueError(f"labels name a domain for none of {len(labels)} spots; pass the domain of each spot.")
    coordinates = coordinates[known]
    if not np.isfinite(coordinates).all():
        raise ValueError("coordinates of labelled spots are NaN or infinite; drop these spots or locate them.")
    return pd.factorize(labels[known])[0], coordinates, batch[known]


def _groups(codes: np.ndarray) -> list[np.ndarray]:
    """Row indices of each group."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
