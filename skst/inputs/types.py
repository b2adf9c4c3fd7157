"""Names for what is passed about, in signatures."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

# What a user passes as X: an AnnData, DataFrame, ndarray or sparse matrix.  anndata and scipy have no types to check.
Expression: TypeAlias = Any
# What is made of it, an ndarray or csr_array.
Matrix: TypeAlias = Any
RandomState: TypeAlias = int | np.random.RandomState | None
# What may be given beside X, one row a spot: coordinates or slices.
PerSpot: TypeAlias = ArrayLike | None
