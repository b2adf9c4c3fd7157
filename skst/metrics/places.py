"""Scores of how domains lie in a tissue."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from skst.inputs.labels import UNLABELLED, Labels, column_of, known_labels
from skst.inputs.places import as_numbers
from skst.inputs.rows import match_rows
from skst.metrics.partitions import _clusters


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
    from sklearn.neighbors import NearestNeighbors

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
    from sklearn.neighbors import NearestNeighbors

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
    from sklearn.metrics import silhouette_score

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
