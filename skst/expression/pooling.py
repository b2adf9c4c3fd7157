"""How deep spots are, and over how many hops their counts are averaged before anything else."""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

from skst.expression.counts import library_sizes
from skst.expression.survey import reach_of, sampled_rows
from skst.inputs.types import Matrix

# Fewer molecules than this in a spot, and averaging square roots loses what averaging counts keeps.
SUFFICIENT_DEPTH = 500.0
# Where counts have to be averaged first, profiles are made this deep, over no more than so many hops.
POOLED_DEPTH = 1500.0
MAX_POOLING = 16


def pooled_depth(X: Matrix, average: csr_array, n_hops: int) -> float:
    """Effective number of molecules behind a spot's profile after averaging over `n_hops` hops.

    Averaging with weights w reduces noise as ``1 / sum(w**2)`` spots pooled with equal weight would, so the
    depth is the median library size over the mean sum of squared weights.  The sum is estimated from the rows
    of at most 500 spots, evenly spaced.
    """
    rows = sampled_rows(X.shape[0])
    return float(np.median(library_sizes(X)) * len(rows) / reach_of(average, rows, n_hops)[-1])


def pooling_hops(X: Matrix, average: csr_array) -> int:
    """0 if spots are deep enough, else the fewest hops (at most 16) that make pooled profiles so."""
    return fewest_hops(lambda n_hops: pooled_depth(X, average, n_hops))


def fewest_hops(depth_of: Callable[[int], float]) -> int:
    """The same, by a function that tells the depth of profiles pooled over so many hops."""
    if depth_of(0) >= SUFFICIENT_DEPTH:
        return 0
    return next((n_hops for n_hops in range(1, MAX_POOLING) if depth_of(n_hops) >= POOLED_DEPTH), MAX_POOLING)
