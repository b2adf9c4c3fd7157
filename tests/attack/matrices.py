"""Attacks on sparse matrices in memory that are given to estimators."""

import numpy as np
from scipy import sparse

from skst import GeneTextEncoder, SpaLLMFusion, SpatialGraphTransformer

from .arena import Kind
from .hdf5 import dense
from .mutations import pick
from .verdict import HELD, Failure, require

_SHAPE = (40, 12)
_GENES = [f"GENE{i}" for i in range(12)]


def _prepare(folder):
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.5 + np.repeat([0, 2], 20)[:, None] * rng.random(12), size=_SHAPE).astype(np.float32)
    vectors = dict(zip(_GENES, rng.normal(size=(12, 4)).tolist(), strict=True))
    places = np.stack(np.unravel_index(np.arange(40), (5, 8)), axis=1).astype(float)
    text = GeneTextEncoder(vectors=vectors, gene_names=_GENES)
    fusion = SpaLLMFusion(text=text, gene_names=_GENES, n_clusters=2, clusterer="kmeans", random_state=0)
    estimators = (
        lambda X: text.fit_transform(X),
        lambda X: SpatialGraphTransformer(n_components=3, random_state=0).fit_transform(X, coordinates=places),
        lambda X: fusion.fit(X, coordinates=places).embedding_,
    )
    for estimate in estimators:
        estimate(counts)
    return counts, estimators


def _attempt(rng, folder, given):
    counts, estimators = given
    name = pick(rng, ("csr", "csr", "csc", "coo"))
    matrix = getattr(sparse, f"{name}_{pick(rng, ('matrix', 'array'))}")(counts)
    if rng.random() < 0.9:
        for _ in range(int(rng.integers(1, 3))):
            _damage(matrix, rng)
    estimate = pick(rng, estimators[:2] if rng.random() < 0.9 else estimators)
    try:
        full = _full(matrix)
    except (IndexError, ValueError, TypeError, OverflowError):
        full = None  # no matrix at all
    result = estimate(matrix)
    if full is None:
        raise Failure("wrong", f"a {name} that is no matrix was taken")
    expected = estimate(full.astype(np.float32))
    require(np.allclose(result, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()), "not what dense counts give")
    return HELD


def _full(matrix):
    """The matrix, number by number; an IndexError or a ValueError where it is none."""
    if matrix.format == "coo":
        full = np.zeros(matrix.shape)
        if len({len(matrix.data), len(matrix.row), len(matrix.col)}) > 1:
            raise ValueError
        for row, column, value in zip(matrix.row, matrix.col, matrix.data, strict=True):
            if row < 0 or column < 0:
                raise IndexError
            full[_index(row), _index(column)] += value
        return full
    indptr = matrix.indptr
    n_major = matrix.shape[matrix.format == "csc"]
    rising = all(int(a) <= int(b) for a, b in zip(indptr, indptr[1:], strict=False))
    if len(indptr) != n_major + 1 or indptr[0] != 0 or not rising or len(matrix.data) != len(matrix.indices):
        raise ValueError
    if any(not 0 <= _index(index) < matrix.shape[matrix.format == "csr"] for index in matrix.indices):
        raise IndexError
    return dense(matrix.data, matrix.indices, indptr, matrix.shape, matrix.format == "csr")


def _index(value):
    if not isinstance(value, np.integer):
        raise TypeError
    return int(value)


def _damage(matrix, rng):
    """Change one of the arrays, or the shape, behind the back of scipy."""
    if matrix.format == "coo":
        name = pick(rng, ("data", "row", "col"))
    else:
        name = pick(rng, ("data", "indices", "indices", "indptr", "indptr"))
    if rng.random() < 0.1:
        n_rows, n_columns = matrix.shape
        matrix._shape = (n_rows + int(rng.integers(-1, 2)), n_columns + int(rng.integers(-1, 4)))
        return
    array = np.atleast_1d(np.array(getattr(matrix, name)))
    if not array.size or array.dtype.kind not in "iuf":
        return  # has had its accident
    how, at = int(rng.integers(8)), int(rng.integers(len(array) + 1)) - 1
    if how <= 2:
        far = (-1, -(2**31), 2**31 - 1, array[at] + 1, len(array), int(rng.integers(12)))
        array[at] = pick(rng, (0.5, 2.0, 7, 1e30, np.nan, -1.0) if name == "data" else far)
    elif how == 3:
        array = array[: at + 1]
    elif how == 4:
        array = np.concatenate([array, array[at:]])
    elif how == 5:
        array = rng.permutation(array)
    elif how == 6:
        with np.errstate(all="ignore"):
            array = array.astype(pick(rng, ("i8", "i2", "u4", "u8", "f8", ">i4", ">f4", "f2", "?", "c8", "O")))
    else:
        array = pick(rng, (array[:, None], array[::-1], array[:0], array.tolist(), None, np.array(3)))
    if matrix.format == "coo" and name != "data":
        matrix.coords = tuple(array if name == axis else getattr(matrix, axis) for axis in ("row", "col"))
    else:
        setattr(matrix, name, array)


KINDS = [Kind("sparse matrices", _attempt, _prepare)]
