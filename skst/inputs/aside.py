"""Counts of slices, put aside in a temporary file as they are read, for what sees cells in an order of its own."""

import numpy as np
from scipy import sparse

from skst import limits
from skst.files.aside import RowsAside
from skst.inputs.blocks import is_whole
from skst.inputs.counting import check_range
from skst.inputs.slices import Slice, Slices, of_slice
from skst.inputs.spots import Spots


def put_aside(slices: Slices, *, counts: bool) -> Spots:
    """Read all slices once, one block of rows at a time.

    Parameters
    ----------
    slices : Slices
    counts : bool
        Whether there have to be counts, and values are not taken as they are.

    Returns
    -------
    Spots
        Its X is a :class:`~skst.files.aside.RowsAside`.

    Raises
    ------
    ValueError
        In one sentence that names the slice, if one cannot be used.
    """
    aside = RowsAside(slices.n_spots, slices.n_genes)
    highest, fractions = 0.0, False
    fix = f"pass raw counts, or set normalize=False of {slices.slices[0].reader} to use X as it is"
    for one, rows in zip(slices.slices, slices.rows, strict=True):
        for some, block in _in_turn(one, len(rows)):
            if counts:
                with of_slice(one.called):
                    check_range(block.data.min(initial=0), 0.0, False, lambda: fix)
                highest = max(highest, float(block.data.max(initial=0)))
                fractions = fractions or not is_whole(block.data)
            aside.append(block, rows[some])
    if counts:
        check_range(aside.min(), highest, fractions, lambda: fix)
    return Spots(aside, slices.genes, None, slices.spots().batch)


def aside_of(one: Slice) -> RowsAside:
    """The counts of a slice whose rows are wanted in another order than they lie in its file.

    Parameters
    ----------
    one : Slice

    Returns
    -------
    RowsAside
    """
    aside = RowsAside(len(one.places), one.n_genes)
    for some, block in _in_turn(one, len(one.places)):
        aside.append(block, some)
    return aside


def _in_turn(one, n_spots):
    """Numbers of rows of a slice, a block at a time, and their counts."""
    size = max(1, limits.TILE_ENTRIES // one.n_genes)
    for start in range(0, n_spots, size):
        some = np.arange(start, min(start + size, n_spots))
        yield some, sparse.csr_array(one.read(None if len(some) == n_spots else some))
