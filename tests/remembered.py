"""Functions that return what they returned of the same numbers before."""

from functools import wraps
from hashlib import blake2b

import numpy as np
from scipy import sparse


def remembered(function):
    """A function of matrices and numbers to one array, called once for each content of its arguments."""
    known = {}

    @wraps(function)
    def call(*arguments):
        key = tuple(_content(argument) for argument in arguments)
        if key not in known:
            known[key] = function(*arguments)
        return known[key].copy()

    return call


def _content(value):
    if sparse.issparse(value):
        return value.format, value.shape, *map(_content, (value.data, value.indices, value.indptr))
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, blake2b(np.ascontiguousarray(value).data).digest()
    return value
