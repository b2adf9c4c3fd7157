"""An order of spots that does not depend on how they came, for all that is drawn row by row."""

import numpy as np
from scipy import sparse


def content_order(X, coordinates=None):
    """Rows sorted by what they hold, so that random starts, samples and batches are the same in any order of spots.

    Sorted is by what rounding cannot touch: places and, for counts, sums of powers, which are the same in any order of
    the genes.  Rows that agree in all of it are duplicates to all intents.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n_spots, n_genes)
        Expression.
    coordinates : ndarray of shape (n_spots, n_dimensions), default=None
        Positions.

    Returns
    -------
    ndarray of int of shape (n_spots,)
        Indices of the rows in that order.

    Examples
    --------
    >>> import numpy as np
    >>> from skst._order import content_order
    >>> X = np.array([[3, 1], [0, 2], [2, 2]])
    >>> content_order(X).tolist()
    [1, 2, 0]
    """
    powers = [1] if coordinates is not None else [1, 2, 3]
    keys = [_power_sums(X, power) for power in reversed(powers)]
    return np.lexsort([*keys, *(() if coordinates is None else coordinates.T)])


def _power_sums(X, power):
    if power == 1:
        return np.asarray(X.sum(axis=1, dtype=np.float64)).ravel()
    if not sparse.issparse(X):
        return np.einsum(",".join(["ij"] * power) + "->i", *[X] * power, dtype=np.float64)
    values = X.data.astype(np.float64) ** power
    return np.asarray(sparse.csr_array((values, X.indices, X.indptr), shape=X.shape).sum(axis=1)).ravel()
