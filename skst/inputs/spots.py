"""The data contract: what every estimator accepts as ``X``, read in one place.

``X`` is an AnnData, a DataFrame, an ndarray, or a scipy sparse matrix or array.  Whatever it is, an estimator sees a
:class:`Spots`: an expression matrix, and gene names, coordinates and slices where there are any.  Nothing here knows
about graphs, text or estimators.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from skst.files.untrusted import check_sparse
from skst.inputs.columns import (
    Columns,
    flat_columns,
    given_names,
    numbered,
    order_as_fitted,
    take_columns,
    warn_of_duplicates,
)
from skst.inputs.containers import in_memory, refuse_unreadable
from skst.inputs.gene_names import any_named, clean_names
from skst.inputs.matrix import check_finite, check_matrix
from skst.inputs.places import read_batch, read_coordinates
from skst.inputs.rows import is_anndata, layer_names, match_rows
from skst.inputs.tables import check_placed, table_of
from skst.inputs.types import Expression, Matrix


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
    graph : sparse matrix of shape (n_spots, n_spots) or None
        Who is whose neighbour, where an AnnData says so.
    present : ndarray of bool of shape (n_genes,) or None
        Fitted genes that there are in the input, where others are unknown and zeros in X; None if all are.
    """

    X: Matrix
    genes: NDArray[np.object_] | None
    coordinates: NDArray[np.float64] | None
    batch: NDArray[np.integer] | None
    graph: Matrix | None = None
    present: NDArray[np.bool_] | None = None


class Where(NamedTuple):
    """Where in ``X`` things are.

    Attributes
    ----------
    layer : str or None
        Layer of an AnnData that holds the expression; None for its ``X``.
    spatial_key : str or None
        Key of the coordinates in ``obsm``; None if there are none to be read.
    batch_key : str or None
        Column of ``obs`` that names slices.
    gene_names : array-like of str or None
        Names of the columns of an `X` that carries none.
    use_rep : str or None
        Key of ``obsm`` whose columns are read in place of the expression.
    graph : object
        If it is a key of ``obsp``, the graph is read from there.
    sliced : bool
        Whether there is a `batch_key` to be told of slices by.
    """

    layer: str | None = None
    spatial_key: str | None = None
    batch_key: str | None = None
    gene_names: ArrayLike | None = None
    use_rep: str | None = None
    graph: Any = None
    sliced: bool = False


def read_spots(
    X: Expression,
    where: Where | None = None,
    *,
    coordinates: ArrayLike | None = None,
    batch: ArrayLike | None = None,
    fitted: Columns | None = None,
    reader: str | None = None,
    check_names: Callable[[Any], object] | None = None,
) -> tuple[Spots, NDArray[np.object_] | Literal[False] | None]:
    """Read any accepted `X` into a :class:`Spots`.

    Parameters
    ----------
    X : AnnData, DataFrame, ndarray, sparse matrix or sparse array of shape (n_spots, n_genes)
        Expression.
    where : Where, default=None
        Where in `X` things are.
    coordinates : array-like of shape (n_spots, 2) or (n_spots, 3), default=None
        Positions; win over ``X.obsm[spatial_key]``.  A pandas object is matched to `X` by the names of spots.
    batch : array-like of shape (n_spots,), default=None
        Slice of each spot; wins over ``X.obs[batch_key]``, and is matched likewise.
    fitted : Columns, default=None
        What ``fit`` saw; None in ``fit``.  Genes of an AnnData that come in another order, or among others, are put
        into that order.
    reader : str, default=None
        Name of the estimator that reads, for errors.
    check_names : callable, default=None
        Is given a table whose columns scikit-learn reads, before anything is said of its values.

    Returns
    -------
    spots : Spots
    names : ndarray of str of shape (n_genes,), None or False
        What `X` itself calls the columns, None if nothing; False if scikit-learn reads them.

    Raises
    ------
    ValueError
        If anything asked for is missing, of the wrong length or order, or not finite; the message names the fix.
    TypeError
        If `X` is no table of counts, but something that holds one.
    """
    where = Where() if where is None else where
    if coordinates is None:
        check_placed(X, where.spatial_key)
    X = table_of(X)
    refuse_unreadable(X, slices=where.sliced)
    X = flat_columns(in_memory(X))
    coordinates, batch = match_rows(X, coordinates=coordinates, batch=batch)
    graph = None
    if is_anndata(X):
        if where.use_rep is None:
            matrix, names = in_memory(layer_of(X, where.layer)), clean_names(X.var_names)
        else:
            matrix = representation_of(X, where.use_rep)
            columns = getattr(matrix, "columns", None)  # of a table, which are matched as genes are
            names = numbered(matrix.shape[1]) if columns is None else clean_names(columns)
            matrix = matrix if columns is None else matrix.to_numpy()
        graph = graph_of(X, where.graph)
        coordinates = _coordinates_of(X, where.spatial_key) if coordinates is None else coordinates
        batch = _batch_of(X, where.batch_key) if batch is None else batch
    else:
        _refuse_keys(X, where, batch)
        matrix, names = _table(X)
    present = None
    if names is not False:
        matrix, names, present = _in_order(matrix, names, fitted)
    matrix = check_matrix(matrix, reader)
    if names is False and check_names is not None:
        check_names(X)
    if fitted is not None and fitted.n_genes not in (None, matrix.shape[1]):
        raise ValueError(
            f"X has {matrix.shape[1]} features, but {reader} is expecting {fitted.n_genes} features as input."
        )
    called: Any = names
    if names is False:
        called = clean_names(X.columns) if isinstance(X, pd.DataFrame) else None if fitted is None else fitted.names
    if where.gene_names is not None:
        called = given_names(where.gene_names, called, matrix.shape[1])
    genes = called if called is not None and any_named(called) else None
    check_finite(matrix)
    if fitted is None and genes is not None:
        warn_of_duplicates(genes)
    n_spots = matrix.shape[0]
    places, codes = read_coordinates(coordinates, n_spots), read_batch(batch, n_spots)
    return Spots(computable(matrix), genes, places, codes, graph, present), names


def computable(matrix: Matrix) -> Matrix:
    """A sparse matrix whose indices are of the integers that scipy computes with, and whose entries are in one part."""
    if not sparse.issparse(matrix):
        return matrix
    matrix = sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
    if not matrix.has_canonical_format:  # square roots of an entry stored in parts would not add up
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def layer_of(adata: Any, layer: str | None) -> Any:
    """The expression in an AnnData as it is there, which may be in a file."""
    if layer is not None and layer not in adata.layers:
        raise ValueError(
            f"layer={layer!r} is not among the layers of X, which are {layer_names(adata)}; name one of them, or leave "
            "layer out to read X.X."
        )
    matrix = adata.X if layer is None else adata.layers[layer]
    if matrix is None:
        layers = layer_names(adata)
        known = f"name one of its layers {layers} by layer=" if layers else "pass one that has counts"
        raise ValueError(f"X.X is empty; {known}.")
    return matrix


def graph_of(X: Any, graph: Any) -> Matrix | None:
    """The graph that an AnnData holds under a key of ``obsp``; None if `graph` is no such key, or `X` no AnnData."""
    X = table_of(X)
    if not isinstance(graph, str) or not is_anndata(X) or graph not in X.obsp:
        return None
    return in_memory(X.obsp[graph])


def representation_of(adata: Any, key: str) -> Any:
    """What an AnnData holds under a key of ``obsm``, in memory."""
    if key not in adata.obsm:
        raise ValueError(f"use_rep={key!r} is not in X.obsm, which holds {list(adata.obsm)}; name one of these.")
    return in_memory(adata.obsm[key])


def read_beside(X: Any, where: Where, layer: str | None) -> tuple[Any, ...]:
    """What a part of an estimator reads of an AnnData beside its `layer`: another layer, an embedding, a graph."""
    X = table_of(X)
    if not is_anndata(X):
        return ()
    own = None if where.layer in (None, layer) else in_memory(layer_of(X, where.layer))
    return own, None if where.use_rep is None else representation_of(X, where.use_rep), graph_of(X, where.graph)


def _coordinates_of(adata, key):
    if key is None or (key == "spatial" and key not in adata.obsm):
        return None
    if key not in adata.obsm:
        raise ValueError(
            f"spatial_key={key!r} is not in X.obsm, which holds {list(adata.obsm)}; name one of these, or pass "
            "coordinates=."
        )
    return in_memory(adata.obsm[key])


def _batch_of(adata, key):
    if key is None:
        return None
    if key not in adata.obs:
        raise ValueError(
            f"batch_key={key!r} is not a column of X.obs, which has {list(adata.obs)}; name one of these, or pass "
            "batch=."
        )
    return adata.obs[key]


def _refuse_keys(X, where, batch):
    """Raise if a part of an AnnData is asked for, which `X` is not."""
    if isinstance(X, (list, tuple)) and not X:
        return  # that there is nothing in it is told further on
    asked = {"layer": "leave layer out", "use_rep": "leave use_rep out, as X itself is used"}
    asked |= {"batch_key": "pass batch="} if batch is None else {}
    for name, otherwise in asked.items():
        value = getattr(where, name)
        if value is not None:
            raise ValueError(
                f"{name}={value!r} asks for a part of an AnnData, but X is of type {type(X).__name__}; pass the "
                f"AnnData, or {otherwise}."
            )


def _table(X):
    """A table, and what it calls its columns: False if scikit-learn reads that."""
    if not isinstance(X, pd.DataFrame) or _are_plain(X.columns):
        return X, False
    return check_matrix(X), clean_names(X.columns)


def _are_plain(columns):
    """Whether scikit-learn reads these names: none are missing, repeated, or text among others."""
    texts = [isinstance(name, str) for name in columns]
    return columns.is_unique and (all(texts) or not (any(texts) or any_named(clean_names(columns))))


def _in_order(matrix, names, fitted):
    """Columns and their names as ``fit`` saw them, and which there are; None for names that AnnData has made up."""
    check_sparse(matrix, "X")
    names = None if np.array_equal(names, numbered(len(names))) else names
    order = None if fitted is None else order_as_fitted(names, matrix.shape[1], fitted)
    if order is None:
        return matrix, names, None
    taken = names[order] if fitted.names is None else fitted.names
    return take_columns(matrix, order), taken, None if (order >= 0).all() else order >= 0
