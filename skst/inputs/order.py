"""An order of spots that does not depend on how they came, for all that is drawn row by row."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skst.files.aside import RowsAside
from skst.inputs.blocks import column_sums, row_sums
from skst.inputs.types import Matrix


def content_order(X: Matrix, coordinates: NDArray[np.floating] | None = None, *, axis: int = 0) -> NDArray[np.integer]:
    """Rows sorted by what they hold, so that random starts, samples and batches are the same in any order of spots.

    Sorted is by what rounding cannot touch: places and, for counts, sums of powers, which are the same in any order of
    the genes.  Rows that agree in all of it are duplicates to all intents.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n_spots, n_genes)
        Expression.
    coordinates : ndarray of shape (n_spots, n_dimensions), default=None
        Positions.
    axis : {0, 1}, default=0
        0 sorts rows, 1 columns.

    Returns
    -------
    ndarray of int of shape (n_spots,) or (n_genes,)
        Indices of the rows or columns in that order.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.inputs.order import content_order
    >>> X = np.array([[3, 1], [0, 2], [2, 2]])
    >>> content_order(X).tolist()
    [1, 2, 0]
    """
    powers = [1] if coordinates is not None else [1, 2, 3]
    sums = (row_sums, column_sums)[axis]
    return order_by_sums([sums(X, power) for power in powers], coordinates)


def order_by_sums(sums: Sequence[np.ndarray], coordinates: NDArray[np.floating] | None = None) -> NDArray[np.integer]:
    """The order of :func:`content_order`, from sums of powers from the first on."""
    return np.lexsort([*reversed(sums), *(() if coordinates is None else coordinates.T)])


def in_content_order(
    X: Matrix, columns: NDArray[np.integer] | None = None
) -> tuple[Matrix, NDArray[np.integer], NDArray[np.integer]]:
    """X in an order and a form that depend on its content alone, so that what follows is the same to the last digit.

    Parameters
    ----------
    X : ndarray, csr_array or RowsAside of shape (n_spots, n_genes)
        Expression.
    columns : ndarray of int of shape (n_genes,), default=None
        Order of the columns, if that is known already.

    Returns
    -------
    X : ndarray, csr_array or RowsAside of shape (n_spots, n_genes)
        Sparse if most entries are zero, whatever it was.
    rows, columns : ndarray of int
        Where its rows and columns were.
    """
    if isinstance(X, RowsAside):
        columns = content_order(X, axis=1) if columns is None else columns
        rows = content_order(X)
        return X.ordered(rows, columns, dense=2 * X.nnz >= X.shape[0] * X.shape[1]), rows, columns
    values = X.data if sparse.issparse(X) else X
    is_sparse = 2 * np.count_nonzero(values) < X.shape[0] * X.shape[1]
    if is_sparse:
        X = sparse.csr_array(X)
    elif sparse.issparse(X):
        X = X.toarray()
    columns = content_order(X, axis=1) if columns is None else columns
    rows = content_order(X)
    if not is_sparse:
        return X[rows][:, columns], rows, columns
    ordered = X[rows]
    # Columns are put in place by their numbers alone, without another copy of what they hold.
    ordered.indices = np.argsort(columns).astype(ordered.indices.dtype)[ordered.indices]
    ordered.has_sorted_indices = False
    ordered.sort_indices()
    return ordered, rows, columns
