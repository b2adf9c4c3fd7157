"""The data contract: what every estimator of skst accepts as ``X``, read in one place.

``X`` is an AnnData, a DataFrame, an ndarray, or a scipy sparse matrix or array.  Whatever it is, an
estimator sees a :class:`Spots`: an expression matrix, and gene names, coordinates and slices where there are
any.  Nothing here knows about graphs or text.
"""

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.validation import validate_data
from sklearn_compat.utils.validation import _check_n_features

from skst.files.untrusted import check_sparse
from skst.inputs.containers import in_memory, refuse_unreadable
from skst.inputs.gene_names import any_named, clean_names, is_missing, is_number
from skst.inputs.matrix import check_finite, check_matrix
from skst.inputs.places import read_batch, read_coordinates
from skst.inputs.rows import is_anndata, match_rows, shown, unmasked


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
        Positions; win over ``X.obsm[spatial_key]``.  A pandas object is matched to `X` by the names of spots.
    batch : array-like of shape (n_spots,), default=None
        Slice of each spot; wins over ``X.obs[batch_key]``, and is matched likewise.
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
        If anything asked for is missing, of the wrong length or order, or not finite; the message names the fix.
    TypeError
        If `X` is no table of counts, but something that holds one.
    """
    refuse_unreadable(X, slices=hasattr(estimator, "batch_key"))
    X = in_memory(X)
    coordinates, batch = match_rows(X, coordinates=coordinates, batch=batch)
    if is_anndata(X):
        matrix, genes = _read_anndata(estimator, X, reset, min_spots)
        coordinates = _coordinates_of(estimator, X) if coordinates is None else coordinates
        batch = _batch_of(estimator, X) if batch is None else batch
    else:
        _refuse_keys(estimator, X, batch)
        matrix, genes = _read_table(estimator, X, reset, min_spots)
    check_finite(matrix)
    if sparse.issparse(matrix):
        # By its parts, so that indices of whatever integers become those that scipy computes with.
        matrix = sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
        if not matrix.has_canonical_format:  # square roots of an entry stored in parts would not add up
            matrix = matrix.copy()
            matrix.sum_duplicates()
    if reset and genes is not None and not getattr(estimator, "_named_by_whole", False):
        _warn_duplicates(genes)
    n_spots = matrix.shape[0]
    return Spots(matrix, genes, read_coordinates(coordinates, n_spots), read_batch(batch, n_spots))


def check_counts(spots, X, *, unless=None):
    """Check that ``spots.X`` can be raw counts.

    Parameters
    ----------
    spots : Spots
    X : object
        What they were read from, which may hold counts elsewhere.
    unless : BaseEstimator, default=None
        What can be told to do without counts, by ``normalize=False``.

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
    if values.min() < 0:
        raise ValueError(
            f"Negative values in data: X holds {values.min():.3g} where raw counts are expected; "
            f"{_where_counts_are(X, unless)}."
        )
    if looks_logarithmic(values):
        warnings.warn(
            f"X holds fractions and nothing above {values.max():.3g}, so it looks log-transformed; "
            f"{_where_counts_are(X, unless)}.",
            UserWarning,
            stacklevel=4,
        )


def _where_counts_are(X, unless):
    """What to do about an X that holds no counts."""
    fix = "pass raw counts"
    if is_anndata(X):
        layers = [name for name in _layers(X) if _can_be_counts(X.layers[name])]
        if layers:
            fix += f", which layer={layers[0]!r} seems to hold"
        elif X.raw is not None and _can_be_counts(X.raw.X):
            fix += ", which X.raw.to_adata() seems to hold"
    return fix if unless is None else f"{fix}, or set normalize=False of {type(unless).__name__} to use X as it is"


def _can_be_counts(matrix):
    matrix = in_memory(matrix)
    values = matrix.data if sparse.issparse(matrix) else np.asarray(matrix)
    return values.size > 0 and values.dtype.kind in "buif" and values.min() >= 0 and not looks_logarithmic(values)


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
    >>> from skst.inputs.contract import looks_logarithmic
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
    transformer.set_params(**{name: value for name, value in handed.items() if name in unset})
    transformer._named_by_whole = "gene_names" in unset  # whose warning of repeated names is enough
    return transformer


def missing(estimator, lack, goes_on, fix):
    """Say that `X` lacks something: a warning, or an error if the estimator has ``on_missing="error"``.

    Parameters
    ----------
    estimator : BaseEstimator
    lack : str
        What is lacking, the beginning of a sentence.
    goes_on : str
        What is done all the same.
    fix : str
        What would help.
    """
    if estimator.on_missing == "error":
        raise ValueError(f'{lack}; {fix}, or set on_missing="warn" to go on without.')
    warnings.warn(f"{lack}, so {goes_on}; {fix}.", UserWarning, stacklevel=3)


def _layers(adata):
    """Names of the layers, without the None that stands for X since anndata 0.13."""
    return [name for name in adata.layers if name is not None]


def _read_anndata(estimator, adata, reset, min_spots):
    layer = getattr(estimator, "layer", None)
    if layer is not None and layer not in adata.layers:
        raise ValueError(
            f"layer={layer!r} is not among the layers of X, which are {_layers(adata)}; name one of them, or leave "
            "layer out to read X.X."
        )
    matrix = in_memory(adata.X if layer is None else adata.layers[layer])
    if matrix is None:
        known = f"name one of its layers {_layers(adata)} by layer=" if _layers(adata) else "pass one that has counts"
        raise ValueError(f"X.X is empty; {known}.")
    return _read_named(estimator, matrix, clean_names(adata.var_names), reset, min_spots)


def _coordinates_of(estimator, adata):
    key = getattr(estimator, "spatial_key", None)
    if key is None or (key == "spatial" and key not in adata.obsm):
        return None
    if key not in adata.obsm:
        raise ValueError(
            f"spatial_key={key!r} is not in X.obsm, which holds {list(adata.obsm)}; name one of these, or pass "
            "coordinates=."
        )
    return in_memory(adata.obsm[key])


def _batch_of(estimator, adata):
    key = getattr(estimator, "batch_key", None)
    if key is None:
        return None
    if key not in adata.obs:
        raise ValueError(
            f"batch_key={key!r} is not a column of X.obs, which has {list(adata.obs)}; name one of these, or pass "
            "batch=."
        )
    return adata.obs[key]


def _refuse_keys(estimator, X, batch):
    """Raise if parameters ask for a part of an AnnData, which `X` is not."""
    asked = {"layer": "leave layer out"} | ({"batch_key": "pass batch="} if batch is None else {})
    for name, otherwise in asked.items():
        value = getattr(estimator, name, None)
        if value is not None:
            raise ValueError(
                f"{name}={value!r} asks for a part of an AnnData, but X is of type {type(X).__name__}; pass the "
                f"AnnData, or {otherwise}."
            )


def _read_named(estimator, matrix, columns, reset, min_spots):
    """Matrix and gene names of an `X` whose columns are called `columns`, in the order of ``fit``."""
    check_sparse(matrix, "X")
    if np.array_equal(columns, _numbered(len(columns))):
        columns = None  # what AnnData fills in when it is given no names
    if reset:
        if columns is not None:
            estimator.feature_names_in_ = columns
        elif hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    else:
        matrix, columns = _order_as_fitted(estimator, matrix, columns)
    matrix = check_matrix(estimator, matrix, min_spots)
    _check_n_features(estimator, matrix, reset=reset)
    return matrix, _name_genes(estimator, columns, matrix.shape[1])


def _numbered(n):
    return np.arange(n).astype(str).astype(object)


def _order_as_fitted(estimator, matrix, genes):
    fitted = getattr(estimator, "feature_names_in_", None)
    if fitted is None and genes is not None and np.array_equal(np.sort(genes), np.sort(_numbered(len(genes)))):
        fitted = _numbered(len(genes))  # an AnnData without names, whose columns were put into another order
    if fitted is not None and genes is None and not getattr(estimator, "_named_by_whole", False):
        warnings.warn(
            "X has no gene names, unlike that of fit, so its columns are taken to be in the same order; pass X with "
            "the names of its genes.",
            UserWarning,
            stacklevel=6,
        )
    if fitted is None or genes is None or np.array_equal(fitted, genes):
        return matrix, genes
    index = pd.Index(genes)
    if not index.is_unique:
        raise ValueError(
            "X repeats gene names and orders them differently than in fit; give its columns in the order of fit, or "
            "sum those of one name in both."
        )
    order = index.get_indexer(fitted)
    absent = fitted[order < 0]
    if len(absent):
        raise ValueError(
            f"X lacks {len(absent)} of the {len(fitted)} genes seen in fit, such as {shown(absent[0])} (its own are "
            f"like {shown(genes[0])}); fit on the genes that all slices share, name them alike, or add the absent ones "
            "as zeros."
        )
    return matrix[:, order], fitted


def _read_table(estimator, X, reset, min_spots):
    columns = getattr(X, "columns", None)
    if getattr(columns, "nlevels", 1) > 1:
        raise ValueError(
            f"X has MultiIndex columns with {columns.nlevels} levels; keep the one that names the genes, "
            "X.columns = X.columns.get_level_values(0)."
        )
    if isinstance(columns, pd.MultiIndex):
        columns = columns.get_level_values(0)
        X = X.set_axis(columns, axis=1)
    matrix = check_matrix(estimator, X, min_spots)
    if isinstance(X, pd.DataFrame) and not _are_plain(columns):
        return _read_named(estimator, matrix, clean_names(columns), reset, min_spots)
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    names = clean_names(columns) if isinstance(X, pd.DataFrame) else getattr(estimator, "feature_names_in_", None)
    return matrix, _name_genes(estimator, names, matrix.shape[1])


def _are_plain(columns):
    """Whether scikit-learn reads these names: none are missing, repeated, or text among others."""
    texts = [isinstance(name, str) for name in columns]
    return columns.is_unique and (all(texts) or not (any(texts) or any_named(clean_names(columns))))


def _name_genes(estimator, columns, n_genes):
    """What genes are called, by ``gene_names`` or else by the columns; None if no name is one."""
    given = getattr(estimator, "gene_names", None)
    if given is not None:
        columns = _given_genes(given, columns, n_genes)
    return columns if columns is not None and any_named(columns) else None


def _given_genes(given, columns, n_genes):
    if columns is not None and isinstance(given, pd.Series):  # such as a column of var
        (given,) = match_rows(pd.Series(index=columns, dtype=object), origin="X.columns", gene_names=given)
    names = np.asarray(unmasked(given), dtype=object)
    if names.ndim == 0:
        raise ValueError(
            f"gene_names is of type {type(given).__name__}; give a list of one name a column, such as X.var['symbol']."
        )
    names = names.ravel() if names.shape == (n_genes, 1) else names
    if names.shape != (n_genes,):
        raise ValueError(f"gene_names has shape {names.shape} but X has {n_genes} columns; give one name a column.")
    names = clean_names(names)
    if columns is None or np.array_equal(names, columns):
        return names
    given, known = (pd.Index([name.casefold() for name in values]) for values in (names, columns))
    places = known.get_indexer_for(given.unique().intersection(known.unique()))
    moved = [i for i in places if i >= 0 and given[i] != known[i]]
    if 2 * len(moved) > len(places) and len(places) > 1:
        raise ValueError(
            f"gene_names holds {len(places)} names that X has too, but {len(moved)} of them for other columns, such as "
            f"{shown(names[moved[0]])} for {shown(columns[moved[0]])}; give names in the order of the columns, or "
            "leave gene_names out."
        )
    return names


def _warn_duplicates(genes):
    genes = genes[[not is_missing(name) and not is_number(name) for name in genes]]
    duplicated = pd.Index(genes).duplicated()
    if duplicated.any():
        warnings.warn(
            f"{duplicated.sum()} gene names are duplicated, such as {shown(genes[duplicated][0])}; each column is kept "
            "as a gene of its own, sum or rename them if that is not meant.",
            UserWarning,
            stacklevel=4,
        )
