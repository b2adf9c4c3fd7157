"""Large matrices a block of rows at a time, so that what is computed of them is never held for all rows at once."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skst import limits
from skst.files.aside import RowsAside
from skst.inputs.types import Matrix


def row_blocks(X: Matrix) -> Iterator[tuple[slice, Matrix]]:
    """Blocks of rows of at most ``limits.BLOCK_ENTRIES`` stored entries, give or take; most matrices are one.

    What lies in a file comes in smaller ones.

    Parameters
    ----------
    X : ndarray, csr_array or RowsAside of shape (n_rows, n_columns)

    Yields
    ------
    rows : slice
    block : ndarray or csr_array
        Those rows; X itself where they are all and in memory.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.inputs.blocks import row_blocks
    >>> [rows for rows, _ in row_blocks(np.ones((3, 2)))]
    [slice(0, 3, None)]
    """
    n_rows = X.shape[0]
    aside = isinstance(X, RowsAside)
    most = limits.HELD_ENTRIES if aside else limits.BLOCK_ENTRIES
    n_blocks = max(1, min(-(-_n_entries(X) // most), n_rows))
    ends = np.linspace(0, n_rows, n_blocks + 1).astype(int)
    for start, end in zip(ends[:-1], ends[1:], strict=True):
        rows = slice(int(start), int(end))
        yield rows, X if n_blocks == 1 and not aside else X[rows]


def row_sums(X: Matrix, power: int = 1) -> NDArray[np.float64]:
    """Sums over the columns of each row of X to a power, float64."""
    return np.concatenate([_power_sums(block, power, 1) for _, block in row_blocks(X)])


def column_sums(X: Matrix, power: int = 1) -> NDArray[np.float64]:
    """Sums over the rows of each column of X to a power, float64."""
    total = np.zeros(X.shape[1])
    for _, block in row_blocks(X):
        total += _power_sums(block, power, 0)
    return total


def some_columns(X: Matrix, columns: NDArray[np.integer]) -> Matrix:
    """Columns of X, ascending; X itself, and no copy of it, where these are all and it is sparse.

    A dense copy lies in memory column by column, and its products do not depend on the order of rows.
    """
    return X if sparse.issparse(X) and len(columns) == X.shape[1] else X[:, columns]


def is_whole(values: np.ndarray) -> bool:
    """Whether all values, of any shape, are whole numbers."""
    flat, step = values.ravel(order="K"), limits.BLOCK_ENTRIES
    parts = (flat[i : i + step] for i in range(0, len(flat), step))
    return all(np.array_equal(part, np.floor(part)) for part in parts)


def _n_entries(X):
    return X.nnz if sparse.issparse(X) else X.size


def _power_sums(X, power, axis):
    if power == 1:
        return np.asarray(X.sum(axis=axis, dtype=np.float64)).ravel()
    if not sparse.issparse(X):
        return np.einsum(",".join(["ij"] * power) + "->" + "ji"[axis], *[X] * power, dtype=np.float64)
    values = X.data.astype(np.float64) ** power
    return np.asarray(sparse.csr_array((values, X.indices, X.indptr), shape=X.shape).sum(axis=axis)).ravel()


def in_rows(n_rows: int, found: Iterable[tuple]) -> list[Any]:
    """Arrays of all rows from those of some, as they come.

    Parameters
    ----------
    n_rows : int
    found : iterable of tuple
        Rows, and what is told of them, None where nothing is.
    """
    wholes: list[Any] = []
    for rows, *parts in found:
        if len(rows) == n_rows and (np.diff(rows) == 1).all():  # all there are, in their order
            wholes = parts
            continue
        wholes = wholes or [None if part is None else np.empty((n_rows, part.shape[1]), "f4") for part in parts]
        for whole, part in zip(wholes, parts, strict=True):
            if part is not None:
                whole[rows] = part
    return wholes
