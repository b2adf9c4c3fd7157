"""What X may be: containers that are read as they are, that are read into memory first, and that are refused.

Nothing that can hold counts fails with the words of another library.
"""

import os
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from skst.inputs.rows import detached, is_anndata
from skst.inputs.tables import is_spatialdata
from skst.inputs.types import Expression

# Objects of other packages that hold an AnnData, by package and type, and how to get at it.
_HOLDERS = {
    ("mudata", "MuData"): 'X.mod["rna"]',
    ("anndata", "Raw"): "X.to_adata()",
    ("anndata", "AnnCollection"): "X[:].to_adata()",
    ("anndata", "AnnCollectionView"): "X.to_adata()",
    ("h5py", "Group"): "anndata.io.read_elem(X)",
    ("zarr", "Group"): "anndata.io.read_elem(X)",
}
_PATH = (str, bytes, os.PathLike)


def refuse_unreadable(X: Any, *, slices: bool = True) -> None:
    """Raise at once, in one sentence, if `X` is something that may hold counts but is not a table of them.

    Parameters
    ----------
    X : object
        What a user passed.
    slices : bool, default=True
        Whether the estimator can be told of slices.

    Raises
    ------
    TypeError
        If `X` is a path, a list of tables or of paths, a dict, None, or an object of another package.

    Examples
    --------
    >>> from skst.inputs.containers import refuse_unreadable
    >>> refuse_unreadable("slice.h5ad")
    Traceback (most recent call last):
    TypeError: X is the path 'slice.h5ad'; read it first, X = anndata.read_h5ad('slice.h5ad').
    """
    name = type(X).__name__
    if isinstance(X, _PATH):
        raise TypeError(f"X is the path {_shown(X)!r}; read it first, X = {_read(X)}.")
    for cls in type(X).__mro__:
        known = _HOLDERS.get((cls.__module__.partition(".")[0], cls.__name__))
        if known is not None:
            raise TypeError(f"X is a {name}, which holds tables of several kinds; pass the AnnData in it, {known}.")
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError("X is a masked array, of which estimators would read what is masked; pass X.filled(0).")
    named = isinstance(X, dict) and not sparse.issparse(X)  # one format of scipy's is a dict
    if named or isinstance(X, (list, tuple)):
        items = list(X.values()) if named else list(X)
        joined = _joined(items, named)
        if joined is not None:
            fix, named_by = joined
            tell = f", and name the slice of each row by {named_by}" if slices else ""
            raise TypeError(
                f"X is a {name} of {len(items)} {type(items[0]).__name__}; put them together, X = {fix}{tell}."
            )
    parts = ("shape", "__len__", "__array__", "__dataframe__")
    if named or isinstance(X, type) or not any(hasattr(X, part) for part in parts):
        found = "a class" if isinstance(X, type) else f"of type {name}"
        raise TypeError(f"X is {found}; pass an AnnData, a DataFrame or an array of counts.")


def how_to_join(X: Any) -> str:
    """How to put the slices of a list together, an expression of Python; "" if they cannot be."""
    joined = _joined(list(X), False)
    return "" if joined is None else f"{joined[0]}, and name the slice of each row by {joined[1]}"


def in_memory(X: Expression) -> Expression:
    """`X` with everything that is backed or lazy (HDF5, zarr, dask) read.

    Parameters
    ----------
    X : AnnData or matrix

    Returns
    -------
    object
        `X` itself where there is nothing to read.
    """
    if not is_anndata(X):
        return _matrix_in_memory(X)
    lazy = X.isbacked or not isinstance(X.obs, pd.DataFrame) or not isinstance(X.var, pd.DataFrame)
    return X.to_memory() if lazy else X


def _matrix_in_memory(matrix):
    if isinstance(matrix, np.matrix):
        return np.asarray(matrix)
    if matrix is None or isinstance(matrix, (np.ndarray, pd.DataFrame, list)) or sparse.issparse(matrix):
        return matrix
    matrix, package = detached(matrix), type(matrix).__module__.partition(".")[0]
    if package == "xarray":
        return matrix.to_pandas() if np.ndim(matrix) == 2 else matrix.to_numpy()
    for method in ("to_memory", "compute"):  # a dataset of an open file; dask
        if callable(getattr(matrix, method, None)):
            return _matrix_in_memory(getattr(matrix, method)())
    if package in ("h5py", "zarr"):
        return matrix[...]
    return matrix.get() if package in ("cupy", "cupyx") else matrix


def _joined(items, named):
    """How to put slices together, the items of a list or of a dict, and what then names them; None if they are none."""
    if not items:
        return None
    every = "X.values()" if named else "X"
    if all(isinstance(item, _PATH) for item in items):
        read = _read(items[0], "path")
        return f'anndata.concat([{read} for path in {every}], label="slice", index_unique="-")', 'batch_key="slice"'
    if all(is_anndata(item) for item in items):
        return 'anndata.concat(X, label="slice", index_unique="-")', 'batch_key="slice"'
    if all(is_spatialdata(item) for item in items):
        tables = f"[one.tables[{next(iter(items[0].tables), 'table')!r}] for one in {every}]"
        return f'anndata.concat({tables}, label="slice", index_unique="-")', 'batch_key="slice"'
    if all(isinstance(item, pd.DataFrame) for item in items):
        return f"pandas.concat({every})", "batch="
    if all(sparse.issparse(item) for item in items):
        return f"scipy.sparse.vstack(list({every}))" if named else "scipy.sparse.vstack(X)", "batch="
    if all(isinstance(item, np.ndarray) and item.ndim == 2 for item in items):
        return f"numpy.vstack(list({every}))" if named else "numpy.vstack(X)", "batch="
    return None


def _shown(path):
    return os.fsdecode(path)[:120]


def _read(path, variable=None):
    """The call that reads a file."""
    reader = "read_zarr" if _shown(path).lower().rstrip("/").endswith(".zarr") else "read_h5ad"
    return f"anndata.{reader}({variable or repr(_shown(path))})"
