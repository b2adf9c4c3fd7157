"""Columns of ``X``: what they are called, and in which order a fit saw them."""

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from skst.inputs.gene_names import clean_names, is_missing, is_number
from skst.inputs.rows import match_rows, shown, unmasked
from skst.inputs.types import Expression, Matrix


class Columns(NamedTuple):
    """What a fit saw of columns.

    Attributes
    ----------
    names : ndarray of str of shape (n_genes,) or None
        What X itself calls them.
    n_genes : int or None
        How many there are; None if nothing was fitted.
    unknown : bool
        Whether genes that X lacks are taken as unknown, where it has some of them; they are an error else.
    """

    names: NDArray[np.object_] | None = None
    n_genes: int | None = None
    unknown: bool = False


def flat_columns(X: Expression) -> Expression:
    """A table as it is, but that columns of a MultiIndex of one level are a plain index."""
    columns: Any = getattr(X, "columns", None)
    if getattr(columns, "nlevels", 1) > 1:
        raise ValueError(
            f"X has MultiIndex columns with {columns.nlevels} levels; keep the one that names the genes, "
            "X.columns = X.columns.get_level_values(0)."
        )
    return X.set_axis(columns.get_level_values(0), axis=1) if isinstance(columns, pd.MultiIndex) else X


def numbered(n: int) -> NDArray[np.object_]:
    """Names that AnnData gives to columns when it is told none."""
    return np.arange(n).astype(str).astype(object)


def order_as_fitted(genes: NDArray[np.object_] | None, n_genes: int, fitted: Columns) -> NDArray[np.integer] | None:
    """Where the columns are that a fit saw.

    Parameters
    ----------
    genes : ndarray of str of shape (n_genes,) or None
        Names of the columns.
    n_genes : int
        How many there are.
    fitted : Columns
        What the fit saw.

    Returns
    -------
    ndarray of int or None
        Column of each fitted gene, -1 where there is none; None if columns are as they were.

    Raises
    ------
    ValueError
        If one of them is absent, unless that is unknown, or names repeat so that the order cannot be told.
    """
    names = fitted.names
    if names is None and genes is not None and np.array_equal(np.sort(genes), np.sort(numbered(n_genes))):
        names = numbered(n_genes)  # an AnnData without names, whose columns were put into another order
    if names is not None and genes is None:
        warnings.warn(
            "X has no gene names, unlike that of fit, so its columns are taken to be in the same order; pass X with "
            "the names of its genes.",
            UserWarning,
            stacklevel=6,
        )
    if names is None or genes is None or np.array_equal(names, genes):
        return None
    index = pd.Index(genes)
    if not index.is_unique:
        raise ValueError(
            "X repeats gene names and orders them differently than in fit; give its columns in the order of fit, or "
            "sum those of one name in both."
        )
    order = index.get_indexer(names)
    absent = names[order < 0]
    if len(absent) and not (fitted.unknown and len(absent) < len(names)):
        raise ValueError(
            f"X lacks {len(absent)} of the {len(names)} genes seen in fit, such as {shown(absent[0])} (its own are "
            f"like {shown(genes[0])}); fit on the genes that all slices share, name them alike, or add the absent ones "
            "as zeros."
        )
    return order


def take_columns(matrix: Matrix, order: NDArray[np.integer]) -> Matrix:
    """Columns of a matrix in another order, zeros for those of number -1.

    Parameters
    ----------
    matrix : sparse matrix or ndarray of shape (n_spots, n_columns)
    order : ndarray of int of shape (n_taken,)

    Returns
    -------
    sparse matrix or ndarray of shape (n_spots, n_taken)

    Examples
    --------
    >>> import numpy as np
    >>> from skst.inputs.columns import take_columns
    >>> take_columns(np.array([[1, 2, 3]]), np.array([2, -1, 0]))
    array([[3, 0, 1]])
    """
    present = np.flatnonzero(order >= 0)
    if len(present) == len(order):
        return matrix[:, order]
    own = matrix[:, order[present]]
    if sparse.issparse(own):
        own = sparse.csr_array(own)
        return sparse.csr_array((own.data, present[own.indices], own.indptr), shape=(own.shape[0], len(order)))
    taken = np.zeros((own.shape[0], len(order)), dtype=own.dtype)
    taken[:, present] = own
    return taken


def given_names(given: Any, columns: NDArray[np.object_] | None, n_genes: int) -> NDArray[np.object_]:
    """Check ``gene_names=`` and return them as an array of texts.

    Parameters
    ----------
    given : array-like of str
    columns : ndarray of str or None
        Names that `X` itself has.
    n_genes : int

    Returns
    -------
    ndarray of str of shape (n_genes,)

    Raises
    ------
    ValueError
        If there are more or fewer, or most of them belong to other columns of `X`.
    """
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


def warn_of_duplicates(genes: NDArray[np.object_]) -> None:
    """Warn of names that more than one column has."""
    genes = genes[[not is_missing(name) and not is_number(name) for name in genes]]
    duplicated = pd.Index(genes).duplicated()
    if duplicated.any():
        warnings.warn(
            f"{duplicated.sum()} gene names are duplicated, such as {shown(genes[duplicated][0])}; each column is kept "
            "as a gene of its own, sum or rename them if that is not meant.",
            UserWarning,
            stacklevel=4,
        )
