"""Views of the same spots on one scale, so that they can be added or stood side by side."""

import numpy as np
from numpy.typing import NDArray

from skst.inputs.blocks import row_blocks


def centre_and_scale(values: np.ndarray) -> tuple[NDArray[np.float32], np.float32]:
    """Learn what centres a view and gives it unit total variance.

    Parameters
    ----------
    values : ndarray of shape (n_spots, n_columns)
        One view of the spots.

    Returns
    -------
    centre : ndarray of shape (n_columns,), float32
        Mean of each column.
    scale : float32
        What ``values - centre`` is multiplied by for column variances that sum to 1; 1 if all rows are alike.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.expression.scale import centre_and_scale
    >>> values = np.array([[1.0, 0.0], [3.0, 0.0], [1.0, 8.0], [3.0, 8.0]])
    >>> centre, scale = centre_and_scale(values)
    >>> centre.tolist(), round(float(((values - centre) * scale).var(axis=0).sum()), 6)
    ([2.0, 4.0], 1.0)
    """
    mean = values.mean(axis=0, dtype=np.float64)
    squares = sum(np.square(block - mean).sum(axis=0) for _, block in row_blocks(values))
    total = float(np.sqrt((squares / len(values)).sum()))
    return mean.astype(np.float32), np.float32(1.0 / total if total > 0 else 1.0)
