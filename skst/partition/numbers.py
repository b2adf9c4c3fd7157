"""Numbers of clusters that do not depend on the order in which a clusterer happens to find them."""

import numpy as np
from numpy.typing import NDArray


def stable_numbers(labels: NDArray[np.integer]) -> dict[int, int]:
    """A number for each label: the largest cluster first, and of equal ones that whose first row comes first.

    Which number a cluster has would otherwise depend on rounding, and so on threads and on the container of X.

    Parameters
    ----------
    labels : ndarray of int of shape (n_rows,)
        Any integers; negative ones stand for no cluster and keep their value.

    Returns
    -------
    dict of int to int

    Examples
    --------
    >>> from skst.partition.numbers import stable_numbers
    >>> stable_numbers([7, 2, 2, 5, 7])
    {7: 0, 2: 1, 5: 2}
    """
    found, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    clusters = np.flatnonzero(found >= 0)
    order = clusters[np.lexsort((first[clusters], -sizes[clusters]))]
    return {int(found[place]): number for number, place in enumerate(order)}


def renumber(labels: NDArray[np.integer], numbers: dict[int, int]) -> NDArray[np.integer]:
    """Labels by the numbers of :func:`stable_numbers`; labels that it did not see get the numbers that follow.

    Parameters
    ----------
    labels : ndarray of int of shape (n_rows,)
    numbers : dict of int to int

    Returns
    -------
    ndarray of int of shape (n_rows,)

    Examples
    --------
    >>> from skst.partition.numbers import renumber
    >>> renumber([7, 2, 9, -1], {7: 0, 2: 1, 5: 2}).tolist()
    [0, 1, 3, -1]
    """
    found, place = np.unique(labels, return_inverse=True)
    unseen = (label for label in found.tolist() if label >= 0 and label not in numbers)
    known = numbers | {label: number for number, label in enumerate(unseen, start=len(numbers))}
    return np.array([known.get(label, label) for label in found.tolist()], dtype=np.int64)[place.ravel()]
