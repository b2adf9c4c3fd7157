"""Reading what is told of a tissue, level by level."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from skst.narration.narrator import TissueNarrator
from skst.text.text_vectors import TextVectors

_COLUMNS = ["level", "texts", "distinct", "read", "seconds"]


def read_levels(
    narrator: TissueNarrator,
    levels: Sequence[str],
    encode: TextVectors | None,
    *,
    noise: Callable[[list[str]], np.ndarray],
    compose: Callable[[], np.ndarray] | None,
    say: Callable[[str], object],
) -> tuple[list[np.ndarray], pd.DataFrame]:
    """Vectors of each level for each spot, and what it took to make them.

    Parameters
    ----------
    narrator : TissueNarrator
        Tells of the spots.
    levels : list of {"spot", "neighborhood", "region"}
    encode : TextVectors or None
        Reads texts; None for vectors drawn at random.
    noise : callable
        From texts to random vectors.
    compose : callable or None
        Makes the vectors of spots without reading their texts; None if they are read.
    say : callable
        Is told of each level that was read.

    Returns
    -------
    vectors : list of ndarray of shape (n_spots, n_columns)
    report : DataFrame
        One row a level, see :func:`report_of`.
    """
    vectors, rows = [], []
    for level in levels:
        start, cache = time.perf_counter(), None if encode is None else encode.cache
        before = 0 if cache is None else cache.misses
        texts = []
        if level == "spot" and compose is not None:
            values = compose()
        else:
            texts = getattr(narrator, f"{level}_texts")()
            values = noise(texts) if encode is None else encode(texts)
            values = values[narrator.region_index_] if level == "region" else values
        distinct = len(set(texts))
        read = 0 if encode is None else distinct if cache is None else cache.misses - before
        seconds = time.perf_counter() - start
        rows.append({"level": level, "texts": len(texts), "distinct": distinct, "read": read, "seconds": seconds})
        say(f"{level}: {len(texts)} texts, {distinct} distinct, {read} read in {seconds:.1f} s")
        vectors.append(values)
    return vectors, report_of(rows)


def report_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A table of texts, distinct ones, those read by the model, and seconds: one row a level."""
    return pd.DataFrame(rows, columns=_COLUMNS).set_index("level")
