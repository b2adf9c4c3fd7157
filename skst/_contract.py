"""The data contract: what every estimator of skst accepts as ``X``, read in one place.

``X`` is an AnnData, a DataFrame, an ndarray, or a scipy sparse matrix or array.  Whatever it is, an
estimator sees a :class:`Spots`: an expression matrix, and gene names, coordinates and slices where there are
any.  Nothing here knows about graphs or text.
"""

import sys
import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.validation import _check_n_features, check_array, validate_data


class Spots(NamedTuple):
    """Expression of ``n_spots`` spots (or cells), and what is known about rows and columns.

    Attributes
    ----------
    X : ndarray or csr_array of shape (n_spots, n_genes), float32
        Expression.
    genes : ndarray of str of shape (n_genes,) or None
        Gene names, None where the input carries none.
    coordinates : ndarray of shape (n_spots, 2) or (n_spots, 3), float64, or None
        Position of each spot, in the units of the data.
    batch : ndarray of int of shape (n_spots,) or None
        Slice (sample) of each spot as codes from 0; None where all spots are of one slice.
    """

    X: object
    genes: object
    coordinates: object
    batch: object


def is_anndata(X):
    """True if `X` is an AnnData; never imports anndata, which is slow to load."""
    anndata = sys.modules.get("anndata")
    return anndata is not None and isinstance(X, anndata.AnnData)


def read_spots(estimator, X, *, coordinates=None, batch=None, reset=False, min_spots=1):
    """Read any accepted `X` into a :class:`Spots`.

    The keys of an AnnData and the names of bare columns are constructor parameters of `estimator`, looked up
    under these names where it has them: ``layer``, ``spatial_key``, ``batch_key``, ``gene_names``.

    Parameters
    ----------
    estimator : BaseEstimator
        Receives ``n_features_in_`` and ``feature_names_in_`` when `reset` is true, and is asked for them
        otherwise.  Genes of an AnnData that come in another order, or among others, are put into the fitted one.
    X : AnnData, DataFrame, ndarray, sparse matrix or sparse array of shape (n_spots, n_genes)
        Expression.
    coordinates : array-like of shape (n_spots, 2) or (n_spots, 3), default=None
        Positions; win over ``X.obsm[spatial_key]``.
    batch : array-like of shape (n_spots,), default=None
        Slice of each spot; wins over ``X.obs[batch_key]``.
    reset : bool, default=False
        True in ``fit``.
    min_spots : int, default=1
        Fewest rows accepted.

    Returns
    -------
    Spots

    Raises
    ------
    ValueError
        If anything asked for is missing, of the wrong length, or not finite; the message names the fix.
    """
    if is_anndata(X):
        matrix, genes, obs_coordinates, obs_batch = _read_anndata(estimator, X, reset, min_spots)
        coordinates = obs_coordinates if coordinates is None else coordinates
        batch = obs_batch if batch is None else batch
    else:
        matrix, genes = _read_table(estimator, X, reset, min_spots)
    _check_finite(matrix)
    if sparse.issparse(matrix):
        matrix = sparse.csr_array(matrix)
        if not matrix.has_canonical_format:  # square roots of an entry stored in parts would not add up
            matrix = matrix.copy()
            matrix.sum_duplicates()
    if reset and genes is not None:
        _warn_duplicates(genes)
    n_spots = matrix.shape[0]
    return Spots(matrix, genes, _check_coordinates(coordinates, n_spots), _check_batch(batch, n_spots))


def check_counts(spots, *, optional=True):
    """Check that ``spots.X`` can be raw counts.

    Parameters
    ----------
    spots : Spots
    optional : bool, default=True
        Whether the estimator can be told to do without, by ``normalize=False``.

    Raises
    ------
    ValueError
        If a value is negative.

    Warns
    -----
    UserWarning
        If the values look log-transformed; see :func:`looks_logarithmic`.
    """
    values = spots.X.data if sparse.issparse(spots.X) else spots.X
    if values.size == 0:
        return
    otherwise = ", or normalize=False to use X as it is" if optional else ""
    if values.min() < 0:
        raise ValueError(
            f"Negative values in data: X holds {values.min():.3g} where raw counts are expected; "
            f"pass raw counts{otherwise}."
        )
    if looks_logarithmic(values):
        warnings.warn(
            f"X holds fractions and nothing above {values.max():.3g}, so it looks log-transformed; pass raw counts "
            f"(`layer=` names a layer of an AnnData){otherwise}.",
            UserWarning,
            stacklevel=4,
        )


def looks_logarithmic(values):
    """Tell logarithms from counts: fractions among them, and none above 16, which is ``log(1 + 10**7)``.

    Parameters
    ----------
    values : ndarray
        Entries of an expression matrix, of any shape; of a sparse one, those that are stored.

    Returns
    -------
    bool
        False if there are no values.

    Examples
    --------
    >>> import numpy as np
    >>> from skst._contract import looks_logarithmic
    >>> counts = np.array([[9, 0], [3, 1]])
    >>> looks_logarithmic(counts), looks_logarithmic(np.log1p(counts)), looks_logarithmic(counts * 7.5)
    (False, True, False)
    """
    return values.size > 0 and bool(values.max() <= 16) and not np.array_equal(values, np.floor(values))


def inherit(transformer, estimator, seed):
    """A copy of `transformer` with the gene names, layer and a seed of `estimator` where it has none of its own."""
    transformer = clone(transformer)
    handed = {name: getattr(estimator, name) for name in ("gene_names", "layer")}
    if estimator.random_state is not None:
        handed["random_state"] = int(seed)
    unset = {name for name, value in transformer.get_params(deep=False).items() if value is None}
    return transformer.set_params(**{name: value for name, value in handed.items() if name in unset})


def missing(estimator, message):
    """Say that `X` lacks something: a warning, or an error if the estimator has ``on_missing="error"``."""
    if estimator.on_missing == "error":
        raise ValueError(message)
    warnings.warn(message, UserWarning, stacklevel=3)


def _read_anndata(estimator, adata, reset, min_spots):
    if adata.isbacked:
        adata = adata.to_memory()
    layer = getattr(estimator, "layer", None)
    if layer is not None and layer not in adata.layers:
        raise ValueError(f"layer={layer!r} is not among the layers of X, which are {list(adata.layers)}.")
    matrix = adata.X if layer is None else adata.layers[layer]
    if matrix is None:
        raise ValueError(f"X.X is empty; name one of its layers {list(adata.layers)} with `layer`.")
    genes = np.asarray(adata.var_names.astype(str), dtype=object)
    if np.array_equal(genes, np.arange(len(genes)).astype(str)):
        genes = None  # what AnnData fills in when it is given no names
    if reset:
        if genes is not None:
            estimator.feature_names_in_ = genes
        elif hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    else:
        matrix, genes = _order_as_fitted(estimator, matrix, genes)
    matrix = _check_matrix(estimator, matrix, min_spots)
    _check_n_features(estimator, matrix, reset=reset)
    if genes is None:
        genes = _given_genes(estimator, matrix.shape[1])

    coordinates = batch = None
    spatial_key = getattr(estimator, "spatial_key", None)
    if spatial_key is not None:
        if spatial_key in adata.obsm:
            coordinates = adata.obsm[spatial_key]
        elif spatial_key != "spatial":
            raise ValueError(f"spatial_key={spatial_key!r} is not in X.obsm, which holds {list(adata.obsm)}.")
    batch_key = getattr(estimator, "batch_key", None)
    if batch_key is not None:
        if batch_key not in adata.obs:
            raise ValueError(f"batch_key={batch_key!r} is not a column of X.obs, which has {list(adata.obs)}.")
        batch = adata.obs[batch_key]
    return matrix, genes, coordinates, batch


def _order_as_fitted(estimator, matrix, genes):
    fitted = getattr(estimator, "feature_names_in_", None)
    if fitted is None or genes is None or np.array_equal(fitted, genes):
        return matrix, genes
    index = pd.Index(genes)
    if not index.is_unique:
        raise ValueError(
            "X repeats gene names and orders them differently than in fit; call X.var_names_make_unique() on both."
        )
    order = index.get_indexer(fitted)
    absent = fitted[order < 0]
    if len(absent):
        raise ValueError(
            f"X lacks {len(absent)} of the {len(fitted)} genes seen in fit, such as {absent[0]!r}; fit on the genes "
            "that all slices share, or add the absent ones as zeros."
        )
    return matrix[:, order], fitted


def _read_table(estimator, X, reset, min_spots):
    columns = getattr(X, "columns", None)
    if getattr(columns, "nlevels", 1) > 1:
        raise ValueError(
            f"X has MultiIndex columns with {columns.nlevels} levels; keep the one that names the genes, "
            "X.columns = X.columns.get_level_values(0)."
        )
    matrix = validate_data(
        estimator,
        X,
        accept_sparse="csr",
        dtype=np.float32,
        ensure_all_finite=False,
        reset=reset,
        ensure_min_samples=min_spots,
    )
    genes = getattr(estimator, "feature_names_in_", None)
    return matrix, _given_genes(estimator, matrix.shape[1]) if genes is None else genes


def _check_matrix(estimator, matrix, min_spots):
    return check_array(
        matrix,
        accept_sparse="csr",
        dtype=np.float32,
        ensure_all_finite=False,
        ensure_min_samples=min_spots,
        estimator=estimator,
        input_name="X",
    )


def _check_finite(matrix):
    values = matrix.data if sparse.issparse(matrix) else matrix
    # A sum that is finite needs no look at the entries.
    if np.isfinite(values.sum(dtype=np.float64)) or (finite := np.isfinite(values)).all():
        return
    rows = np.nonzero(~finite)[0]
    row = np.searchsorted(matrix.indptr, rows[0], side="right") - 1 if sparse.issparse(matrix) else rows[0]
    raise ValueError(
        f"X holds NaN or infinite values (inf) in {len(rows)} entries, the first in row {row}; drop these spots or set "
        "the entries to 0."
    )


def _given_genes(estimator, n_genes):
    genes = getattr(estimator, "gene_names", None)
    if genes is None:
        return None
    genes = np.asarray(genes, dtype=object)
    if genes.shape != (n_genes,):
        raise ValueError(f"gene_names has shape {genes.shape} but X has {n_genes} columns; give one name a column.")
    return genes


def _warn_duplicates(genes):
    duplicated = pd.Index(genes).duplicated()
    if duplicated.any():
        warnings.warn(
            f"{duplicated.sum()} gene names are duplicated, such as {genes[duplicated][0]!r}; each column is kept as a "
            "gene of its own, sum or rename them if that is not meant.",
            UserWarning,
            stacklevel=4,
        )


def _check_coordinates(coordinates, n_spots):
    if coordinates is None:
        return None
    if sparse.issparse(coordinates):
        raise ValueError("coordinates are a sparse matrix; pass coordinates.toarray().")
    coordinates = np.asarray(coordinates, dtype=np.float64)
    if coordinates.ndim != 2 or coordinates.shape[1] not in (2, 3):
        raise ValueError(
            f"coordinates have shape {coordinates.shape}; an array of shape (n_spots, 2) or (n_spots, 3) is expected."
        )
    if len(coordinates) != n_spots:
        raise ValueError(f"coordinates have {len(coordinates)} rows but X has {n_spots}; give one row a spot.")
    bad = ~np.isfinite(coordinates).all(axis=1)
    if bad.any():
        raise ValueError(
            f"coordinates of {bad.sum()} spots are NaN or infinite, the first in row {np.flatnonzero(bad)[0]}; "
            "drop these spots or locate them."
        )
    return coordinates


def _check_batch(batch, n_spots):
    if batch is None:
        return None
    batch = np.asarray(batch)
    if batch.shape != (n_spots,):
        raise ValueError(f"batch has shape {batch.shape} but X has {n_spots} rows; give one slice name a spot.")
    if pd.isna(batch).any():
        raise ValueError(f"batch is missing for {pd.isna(batch).sum()} spots; name their slice.")
    return pd.factorize(batch)[0]
