"""A tissue to be told as text, and what is told of it."""

import numpy as np

from skst.graph import spatial_graph
from skst.narration.narrator import TissueNarrator

GENES = np.array(["MBP", "PLP1", "SNAP25", "GFAP", "ACTB", "", "RELN", "CUX2"], dtype=object)


FUNCTIONS = np.array(
    ["myelin basic protein", "proteolipid protein 1", "synaptosome associated protein", "", "actin", "?", "", "x (y)"],
    dtype=object,
)


def lattice(width, height):
    return np.column_stack([np.tile(np.arange(width), height), np.repeat(np.arange(height), width)]).astype(float)


def tissue(n_spots=60, seed=0, n_slices=1):
    """Counts with a pattern along x, places, a graph, regions and slices."""
    rng = np.random.default_rng(seed)
    points = rng.random((n_spots, 2)) * [3, 1]
    means = np.exp(rng.normal(1, 1, len(GENES)) + np.outer(points[:, 0], rng.normal(0, 1, len(GENES))))
    batch = rng.integers(0, n_slices, n_spots)
    return {
        "X": rng.poisson(means).astype(np.float32),
        "graph": spatial_graph(points, n_neighbors=4, batch=batch),
        "regions": (2 * points[:, 0]).astype(int) * 10,
        "symbols": GENES,
        "functions": FUNCTIONS,
        "coordinates": points,
        "batch": batch,
    }


def told(data, **parameters):
    narrator = TissueNarrator(**parameters).fit(**data)
    of_regions = np.array(narrator.region_texts(), dtype=object)[narrator.region_index_]
    return np.array([narrator.spot_texts(), narrator.neighborhood_texts(), of_regions], dtype=object)
