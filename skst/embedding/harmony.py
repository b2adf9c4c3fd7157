"""Harmony as a reference that slices are mapped to, those it was learnt from and others."""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Width of soft clusters, as in Harmony; and the ridge of Symphony.
_WIDTH, _RIDGE = 0.1, 1.0
# Times that a slice is assigned to clusters and moved.
_N_ROUNDS = 5


class SliceHarmony:
    r"""Harmony [1]_ of slices, and Symphony's mapping [2]_ of each slice to the result.

    Harmony moves soft clusters of slices together.  It is kept as its clusters: directions :math:`y_k`, sizes
    :math:`n_k` and means :math:`c_k` of the corrected spots.  A slice is assigned to the clusters and moved, a cluster
    at a time, by a ridge regression with its own batch for the only covariate, the reference held fixed.  Slices of
    ``fit`` are mapped likewise, so that they come out as they do later.

    Parameters
    ----------
    random_state : RandomState
        Draws a seed.

    Attributes
    ----------
    clusters_ : list of tuple (directions, sizes, means)
        Of each view.

    References
    ----------
    .. [1] I. Korsunsky et al., "Fast, sensitive and accurate integration of single-cell data with Harmony", Nature
       Methods 16, 1289-1296 (2019).
    .. [2] J. B. Kang et al., "Efficient and precise single-cell reference atlas mapping with Symphony", Nature
       Communications 12, 5890 (2021).
    """

    def __init__(self, random_state):
        self.random_state = random_state

    def fit(self, embedding: NDArray[np.floating], slices: NDArray[np.integer], n_views: int = 1) -> "SliceHarmony":
        """Run Harmony on each view.

        Parameters
        ----------
        embedding : ndarray of shape (n_spots, n_views * n_columns)
        slices : ndarray of int of shape (n_spots,)
            Slice of each spot, as codes from 0.
        n_views : int, default=1

        Returns
        -------
        self
        """
        self.clusters_: Any = []
        if slices.max() == 0:  # one slice has no effect of batch
            return self
        run = _harmonypy().run_harmony
        seed = int(self.random_state.randint(np.iinfo(np.int32).max))
        # In an order of their own, so that draws do not depend on how spots came.
        order = np.lexsort(embedding.T[::-1])
        for view in np.split(embedding[order].astype(np.float64), n_views, axis=1):
            found = run(view, {"slice": slices[order]}, "slice", verbose=False, random_state=seed, ncores=1)
            posterior, corrected = np.asarray(found.R), np.asarray(found.Z_corr)
            sizes = posterior.sum(axis=0)
            means = posterior.T @ corrected / (sizes[:, None] + 1e-9)
            self.clusters_.append((_directions(posterior.T @ _directions(corrected)), sizes, means))
        return self

    def correct(self, embedding: NDArray[np.floating], slices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Embedding with each slice mapped to the reference by itself.

        Parameters
        ----------
        embedding : ndarray of shape (n_spots, n_views * n_columns)
        slices : ndarray of int of shape (n_spots,)
            Slices, of ``fit`` or others, as codes from 0.

        Returns
        -------
        ndarray of shape (n_spots, n_views * n_columns), float32
        """
        corrected = np.array(embedding, dtype=np.float32)
        for code in range(slices.max() + 1 if self.clusters_ else 0):
            rows = np.flatnonzero(slices == code)
            views = np.split(embedding[rows].astype(np.float64), len(self.clusters_), axis=1)
            parts = [_mapped(view, *clusters) for view, clusters in zip(views, self.clusters_, strict=True)]
            corrected[rows] = np.hstack(parts)
        return corrected


def _mapped(values, directions, sizes, means):
    """One view of one slice, moved to the clusters of the reference."""
    moved = values
    for _ in range(_N_ROUNDS):
        alike = 2 * (_directions(moved) @ directions.T - 1) / _WIDTH
        posterior = np.exp(alike - alike.max(axis=1, keepdims=True))
        posterior /= posterior.sum(axis=1, keepdims=True)
        own = posterior.sum(axis=0)[:, None]
        sums, all_of_them = posterior.T @ values, sizes[:, None] + own
        # Least squares with a common mean of reference and slice, and the ridge on what is the slice's alone.
        common = (sizes[:, None] * means + sums - own * sums / (own + _RIDGE)) / (all_of_them - own**2 / (own + _RIDGE))
        moved = values - posterior @ ((sums - own * common) / (own + _RIDGE))
    return moved


def _directions(values):
    """Rows of length 1."""
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _harmonypy():
    try:
        import harmonypy
    except ImportError as error:
        raise ImportError(
            "batch_effect='harmony' needs harmonypy, which is not installed; install skst[harmony], or use "
            "batch_effect='shift'."
        ) from error
    logging.getLogger("harmonypy").setLevel(logging.ERROR)
    return harmonypy
