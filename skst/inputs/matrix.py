"""The expression matrix of any table: numbers, finite ones, and as many as a method needs."""

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.validation import check_array

from skst.files.untrusted import check_sparse, told
from skst.inputs.types import Expression, Matrix

# Squares of larger numbers do not add up in float32, and no molecules were counted so often.
_LARGEST = 1e15


def check_matrix(matrix: Expression, reader: str | None = None) -> Matrix:
    """Expression as float32, an ndarray or a CSR matrix.

    Parameters
    ----------
    matrix : DataFrame, ndarray, sparse matrix or anything like an array
    reader : str, default=None
        Name of the estimator for which it is read.

    Returns
    -------
    ndarray or sparse matrix or array of shape (n_spots, n_genes)

    Raises
    ------
    TypeError, ValueError
        If it is no table of numbers, has no row or no column, or its indices lead nowhere.
    """
    check_sparse(matrix, "X")
    try:
        shape = tuple(matrix.shape if hasattr(matrix, "shape") else np.asarray(matrix).shape)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"X holds something else than numbers ({told(error)}); pass a table of counts.") from error
    if getattr(getattr(matrix, "dtype", None), "kind", "f") in "mM":
        raise ValueError(f"X holds {matrix.dtype}, which are times and no counts; pass a table of counts.")
    if shape == (0,):
        raise ValueError(
            f"X is an empty {type(matrix).__name__} (shape={shape}); pass a table of counts, or a list of slices."
        )
    if len(shape) != 2:
        raise ValueError(
            f"Reshape your data: X has the shape {shape}, where one row a spot and one column a gene are expected."
        )
    for count, what in ((shape[0], "sample(s)"), (shape[1], "feature(s)")):
        if count < 1:
            raise ValueError(
                f"X has {count} {what} (shape={shape}) while a minimum of 1 is required; see what filtering has left."
            )
    # Names of columns are read elsewhere; scikit-learn takes none that repeat.
    repeats = isinstance(matrix, pd.DataFrame) and not matrix.columns.is_unique
    table = matrix.set_axis(range(shape[1]), axis=1) if repeats else matrix
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is found later
            return check_array(table, accept_sparse="csr", dtype=np.float32, ensure_all_finite=False, estimator=reader)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        fix = _drop_text(matrix) or "pass counts alone"
        raise kind(f"X holds something else than numbers ({told(error)}); {fix}.") from error


def check_finite(matrix: Matrix) -> None:
    """Raise if an entry is NaN, infinite, or too large to be computed with.

    Parameters
    ----------
    matrix : ndarray or csr_array of shape (n_spots, n_genes), float32
    """
    values = matrix.data if sparse.issparse(matrix) else matrix
    if values.size == 0 or max(values.max(), -values.min()) <= _LARGEST:  # false, too, where there is a NaN
        return
    finite = np.isfinite(values)
    if finite.all():
        raise ValueError(
            f"X holds values up to {max(values.max(), -values.min()):.3g}, which cannot be squared and added up; pass "
            "counts, or divide X."
        )
    rows = np.nonzero(~finite)[0]
    row = np.searchsorted(matrix.indptr, rows[0], side="right") - 1 if sparse.issparse(matrix) else rows[0]
    raise ValueError(
        f"X holds NaN or infinite values (inf) in {len(rows)} entries, the first in row {row}; drop these spots or set "
        "the entries to 0."
    )


def _drop_text(frame):
    """What to do about columns that are no numbers."""
    if not isinstance(frame, pd.DataFrame):
        return None
    text = [name for name, dtype in frame.dtypes.items() if not pd.api.types.is_numeric_dtype(dtype)]
    if not text:
        return None
    return f"drop the columns that are no counts, such as {text[0]!r}, or make names of spots the index"
