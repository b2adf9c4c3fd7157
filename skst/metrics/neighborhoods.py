"""What is around a spot in an embedding: its nearest others, and how mixed they are."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skst._constraints import check_integer
from skst.inputs.types import RandomState
from skst.metrics.places import _groups

# Spots whose neighbours are held at a time.
CHUNK = 4096
# Fewer have a perplexity, a third of them, of one spot: they are never mixed, whatever they are.
LEAST_MIXING = 6


class Mixing(NamedTuple):
    """A score between 0 for unmixed and 1, and what chance would give."""

    score: float
    chance: float


def mixing(
    points: np.ndarray,
    codes: np.ndarray,
    within: np.ndarray,
    *,
    name: str,
    n_neighbors: int,
    sample_size: int | None,
    random_state: RandomState,
) -> Mixing:
    """How well `codes` mix among the neighbours of a spot that are of its own code of `within`."""
    n_codes = int(codes.max()) + 1
    if n_codes < 2:
        raise ValueError(f"{name} has one value for all scored spots, so nothing can mix; pass two at least.")
    check_integer("n_neighbors", n_neighbors, LEAST_MIXING)
    drawn = np.zeros(len(codes), dtype=bool)
    drawn[drawn_rows(len(codes), sample_size, random_state)] = True
    shuffle = np.random.default_rng(0).permutation  # chance is the same in every call
    found_so, by_chance = [np.empty(0)], [np.empty(0)]
    for members in _groups(within):
        if len(members) < LEAST_MIXING:
            continue
        own = codes[members]
        shuffled = shuffle(own)
        for _, found, lengths in nearest_others(points[members], np.flatnonzero(drawn[members]), n_neighbors):
            weights = kernel_weights(lengths, (lengths.shape[1] + 1) // 3)
            found_so.append(_lisi(own[found], weights, n_codes))
            by_chance.append(_lisi(shuffled[found], weights, n_codes))
    if not sum(map(len, found_so)):
        raise ValueError(
            f"no scored spot has {LEAST_MIXING - 1} others of its label, fewer than which cannot mix; check the labels."
        )
    return Mixing(*(float((np.median(np.concatenate(of)) - 1) / (n_codes - 1)) for of in (found_so, by_chance)))


def _lisi(codes: np.ndarray, weights: np.ndarray, n_codes: int) -> NDArray[np.float64]:
    """Inverse Simpson index of each row of weighted codes."""
    cells = np.arange(len(codes))[:, None] * n_codes + codes
    shares = np.bincount(cells.ravel(), weights.ravel(), minlength=len(codes) * n_codes)
    return 1 / np.minimum(np.square(shares.reshape(-1, n_codes)).sum(axis=1), 1)


def drawn_rows(n_spots: int, sample_size: int | None, random_state: RandomState) -> NDArray[np.integer]:
    if sample_size is not None:
        check_integer("sample_size", sample_size, 2)
    if sample_size is None or n_spots <= sample_size:
        return np.arange(n_spots)
    return np.sort(check_random_state(random_state).choice(n_spots, sample_size, replace=False))


def nearest_others(
    points: np.ndarray, rows: np.ndarray, n_neighbors: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Some rows, their nearest others and the distances to these, a chunk at a time."""
    from sklearn.neighbors import NearestNeighbors

    check_integer("n_neighbors", n_neighbors, 2)  # a spot is one of its own
    k = min(n_neighbors, len(points))
    if k < 2:
        return
    # Of spots that are as near, those that come first would be taken: chance decides, not the order of the rows.
    order = np.random.default_rng(0).permutation(len(points))
    index = NearestNeighbors(n_neighbors=k).fit(points[order])
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        lengths, found = index.kneighbors(points[some])
        found = order[found]
        own = found == some[:, None]
        own[~own.any(axis=1), -1] = True  # crowded out by exact duplicates
        yield some, found[~own].reshape(len(some), -1), lengths[~own].reshape(len(some), -1)


def kernel_weights(lengths: np.ndarray, perplexity: float) -> NDArray[np.float64]:
    """Weights of neighbours that fall with their distance and have the perplexity asked for, row by row."""
    # The scale of a row does not matter: it is in the units of its mean distance beyond the nearest.
    beyond = lengths - lengths.min(axis=1, keepdims=True)
    mean = beyond.mean(axis=1, keepdims=True)
    beyond = beyond / np.where(mean > 0, mean, 1)
    low, high = np.full((len(lengths), 1), -20.0), np.full((len(lengths), 1), 20.0)
    for _ in range(40):
        rate = (low + high) / 2
        weights = np.exp(-beyond * np.exp(rate))
        total = weights.sum(axis=1, keepdims=True)
        entropy = np.log(total) + np.exp(rate) * (beyond * weights).sum(axis=1, keepdims=True) / total
        is_wide = entropy > np.log(perplexity)
        low, high = np.where(is_wide, rate, low), np.where(is_wide, high, rate)
    return weights / total
