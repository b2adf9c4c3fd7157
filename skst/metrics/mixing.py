"""Scores of an embedding of several slices: are they mixed, and does what belongs together stay together?"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.utils import check_array

from skst.inputs.labels import UNLABELLED, Labels, column_of, known_labels
from skst.inputs.rows import is_anndata, match_rows
from skst.inputs.types import RandomState
from skst.metrics.neighborhoods import drawn_rows, mixing, nearest_others
from skst.metrics.partitions import _clusters


def ilisi_score(
    embedding: ArrayLike,
    batch: Labels,
    *,
    labels: Labels | None = None,
    n_neighbors: int = 90,
    sample_size: int | None = 10_000,
    random_state: RandomState = None,
) -> float:
    """iLISI: how well slices mix in an embedding; 0 where each keeps to itself, 1 where all are equally near.

    Parameters
    ----------
    embedding : array-like of shape (n_spots, n_columns)
        Such as ``embedding_`` of an estimator.
    batch : array-like of shape (n_spots,)
        Slice of each spot.
    labels : array-like of shape (n_spots,), default=None
        Domain of each spot.  Neighbours are looked for among the spots of its domain alone, so that slices of
        different shares of domains can be mixed as well as they should be; spots without a domain (NaN, None, "NA"),
        and those of a domain of fewer than six, are left out.
    n_neighbors : int, default=90
        Nearest spots looked at, the spot itself among them, six at least; fewer in a domain that has no more.
    sample_size : int or None, default=10,000
        Spots whose neighbours are looked for, in larger data drawn by chance, so that the cost grows with the number
        of spots and not with its square; their neighbours are looked for among all.  None takes all.
    random_state : int, RandomState instance or None, default=None
        Draws the sample.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If there is one slice only, lengths differ, `n_neighbors` is below 6, or the embedding is not finite.

    See Also
    --------
    score_mixing : This score beside what it would be by chance, which is below 1 where slices differ in size.
    clisi_score : Whether domains are kept apart, without which mixing is worth nothing.

    Notes
    -----
    The local inverse Simpson index of a spot [1]_ is the number of slices that are equally frequent around it, its
    neighbours being weighted by their distance with a perplexity of a third of their number; of fewer than six it
    would be one, the nearest.  The score is the median over spots, put from the range between 1 and the number of
    slices to that between 0 and 1 [2]_.

    References
    ----------
    .. [1] I. Korsunsky et al., "Fast, sensitive and accurate integration of single-cell data with Harmony", Nature
       Methods 16, 1289-1296 (2019).
    .. [2] M. D. Luecken et al., "Benchmarking atlas-level data integration in single-cell genomics", Nature Methods
       19, 41-50 (2022).

    Examples
    --------
    >>> import numpy as np
    >>> from skst.metrics import ilisi_score
    >>> embedding, batch = np.random.default_rng(0).normal(size=(300, 5)), np.tile(["a", "b"], 150)
    >>> round(ilisi_score(embedding, batch), 1), round(ilisi_score(embedding + 9 * (batch == "a")[:, None], batch), 1)
    (0.9, 0.0)
    """
    points, batch, labels = _read(embedding, batch, labels, needs="batch")
    options: dict[str, Any] = {"n_neighbors": n_neighbors, "sample_size": sample_size, "random_state": random_state}
    return mixing(points, batch, labels, name="batch", **options).score


def clisi_score(
    embedding: ArrayLike,
    labels: Labels,
    *,
    n_neighbors: int = 90,
    sample_size: int | None = 10_000,
    random_state: RandomState = None,
) -> float:
    """cLISI: how well domains are kept apart in an embedding; 1 where no spot is near one of another domain.

    Parameters
    ----------
    embedding : array-like of shape (n_spots, n_columns)
        Such as ``embedding_`` of an estimator.
    labels : array-like of shape (n_spots,)
        Known domain or type of each spot; those without one (NaN, None, "NA") are left out.
    n_neighbors, sample_size, random_state
        As in :func:`ilisi_score`.

    Returns
    -------
    float
        Between 0 and 1; high by chance too, where there are many labels or one is frequent.

    Raises
    ------
    ValueError
        If there is one label only, and as :func:`ilisi_score`.

    Notes
    -----
    It is 1 minus the score of :func:`ilisi_score`, labels in the place of slices.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.metrics import clisi_score
    >>> labels = np.repeat(["L1", "L2"], 100)
    >>> embedding = np.random.default_rng(0).normal(size=(200, 3)) + 9 * (labels == "L1")[:, None]
    >>> clisi_score(embedding, labels)
    1.0
    """
    points, everywhere, labels = _read(embedding, None, labels, needs="labels")
    options: dict[str, Any] = {"n_neighbors": n_neighbors, "sample_size": sample_size, "random_state": random_state}
    return 1 - mixing(points, labels, everywhere, name="labels", **options).score


def graph_connectivity(
    embedding: ArrayLike,
    labels: Labels,
    *,
    n_neighbors: int = 15,
    sample_size: int | None = 20_000,
    random_state: RandomState = None,
) -> float:
    """Whether the spots of a domain hang together in the graph of neighbours in an embedding, over all slices.

    Parameters
    ----------
    embedding : array-like of shape (n_spots, n_columns)
        Such as ``embedding_`` of an estimator.
    labels : array-like of shape (n_spots,)
        Known domain or type of each spot; those without one (NaN, None, "NA") are left out.
    n_neighbors : int, default=15
        Nearest spots that a spot is joined to, itself among them.
    sample_size : int or None, default=20,000
        Spots drawn from more, and the only ones of the graph then.  None takes all, and time that grows with the
        square of their number.
    random_state : int, RandomState instance or None, default=None
        Draws the sample.

    Returns
    -------
    float
        Mean over labels of the share of their spots in the largest part in which each can be reached from each other
        by edges within the label [1]_: above 0, and 1 where no label falls apart.

    Raises
    ------
    ValueError
        If lengths differ, `n_neighbors` is below 2, or the embedding is not finite.

    References
    ----------
    .. [1] M. D. Luecken et al., "Benchmarking atlas-level data integration in single-cell genomics", Nature Methods
       19, 41-50 (2022).

    Examples
    --------
    The second label is two islands of one size.

    >>> import numpy as np
    >>> from skst.metrics import graph_connectivity
    >>> labels = np.repeat(["L1", "L2", "L2"], 100)
    >>> embedding = np.random.default_rng(0).normal(size=(300, 2)) + np.repeat([0, 50, 99], 100)[:, None]
    >>> round(graph_connectivity(embedding, labels), 2)
    0.75
    """
    points, _, codes = _read(embedding, None, labels, needs="labels")
    kept = drawn_rows(len(codes), sample_size, random_state)
    points, codes = points[kept], codes[kept]
    ends = [np.empty((2, 0), dtype=np.int64)]
    for rows, found, _ in nearest_others(points, np.arange(len(points)), n_neighbors):
        edges = np.stack([np.repeat(rows, found.shape[1]), found.ravel()])
        ends.append(edges[:, codes[edges[0]] == codes[edges[1]]])
    i, j = np.concatenate(ends, axis=1)
    graph = sparse.csr_array((np.ones(len(i), dtype=np.int8), (i, j)), shape=(len(codes), len(codes)))
    # edges are of one label, so a part is of one label too
    _, parts = connected_components(graph, connection="strong")
    largest = pd.Series(parts).groupby(codes).agg(lambda part: part.value_counts().iloc[0] / len(part))
    return float(largest.mean())


def score_mixing(
    embedding: ArrayLike,
    batch: Labels,
    labels: Labels | None = None,
    *,
    sample_size: int | None = 10_000,
    random_state: RandomState = None,
) -> dict[str, float]:
    """All scores of an embedding of several slices at once, with what chance would give.

    Parameters
    ----------
    embedding : array-like of shape (n_spots, n_columns)
        Such as ``embedding_`` of an estimator.
    batch : array-like of shape (n_spots,)
        Slice of each spot.
    labels : array-like of shape (n_spots,), default=None
        Known domain or type of each spot; spots without one (NaN, None, "NA") are left out of all scores.
    sample_size : int or None, default=10,000
        As in :func:`ilisi_score` and :func:`graph_connectivity`.
    random_state : int, RandomState instance or None, default=None
        Draws the samples.

    Returns
    -------
    dict of str to float
        ``ilisi`` and ``ilisi_chance``; with labels, ``ilisi`` is that of spots among those of their label, and
        ``clisi``, ``clisi_chance`` and ``graph_connectivity`` are there too.  By chance means after slices (or, of
        ``clisi``, labels) were shuffled among the spots (of a label); the shuffle is the same in every call.

    Raises
    ------
    ValueError
        As :func:`ilisi_score` and :func:`clisi_score`.

    Examples
    --------
    Slices of unequal size cannot reach 1.

    >>> import numpy as np
    >>> from skst.metrics import score_mixing
    >>> embedding, batch = np.random.default_rng(0).normal(size=(400, 5)), np.repeat(["a", "b"], [300, 100])
    >>> {name: round(score, 1) for name, score in score_mixing(embedding, batch).items()}
    {'ilisi': 0.5, 'ilisi_chance': 0.5}
    """
    has_labels = labels is not None
    points, batch, labels = _read(embedding, batch, labels, needs="batch")
    draw: dict[str, Any] = {"sample_size": sample_size, "random_state": random_state}
    mixed = mixing(points, batch, labels, name="batch", n_neighbors=90, **draw)
    scores = {"ilisi": mixed.score, "ilisi_chance": mixed.chance}
    if has_labels:
        apart = mixing(points, labels, np.zeros_like(labels), name="labels", n_neighbors=90, **draw)
        scores |= {"clisi": 1 - apart.score, "clisi_chance": 1 - apart.chance}
        scores["graph_connectivity"] = graph_connectivity(points, labels, **draw)
    return scores


class _Spots(NamedTuple):
    """What is scored, with codes for slices and labels."""

    embedding: np.ndarray
    batch: np.ndarray
    labels: np.ndarray


def _read(embedding: ArrayLike, batch: Labels | None, labels: Labels | None, *, needs: str) -> _Spots:
    """The labelled spots; zeros are the codes of what is None and is not needed."""
    if is_anndata(embedding):
        raise TypeError("embedding is an AnnData; pass the array itself, such as adata.obsm['X_domain'].")
    if isinstance(embedding, (list, tuple)) and any(is_anndata(item) or np.ndim(item) > 1 for item in embedding):
        raise TypeError(
            f"embedding is a {type(embedding).__name__} of {type(embedding[0]).__name__}, one a slice; put the arrays "
            "together, such as numpy.vstack(model.transform(X))."
        )
    if {"batch": batch, "labels": labels}[needs] is None:
        raise ValueError(f"{needs} is None; pass one a spot, such as a column of adata.obs.")
    batch, labels = match_rows(embedding, origin="embedding", batch=batch, labels=labels)
    points = check_array(embedding, dtype=[np.float64, np.float32], input_name="embedding")
    columns = {}
    for name, values in {"batch": batch, "labels": labels}.items():
        column = pd.Series(np.zeros(len(points))) if values is None else column_of(values, name)
        if len(column) != len(points):
            raise ValueError(f"{name} has {len(column)} entries but embedding has {len(points)} rows; give one a spot.")
        columns[name] = column
    known = known_labels(columns["labels"], UNLABELLED)
    if not known.any():
        raise ValueError(f"labels name a domain for none of {len(known)} spots; pass the domain of each spot.")
    batch = _clusters(columns["batch"], "batch")[known]
    return _Spots(points[known], pd.factorize(batch)[0], pd.factorize(columns["labels"][known])[0])
