"""Genes that slices have in common, and where they are in each."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skst.inputs.columns import Columns, numbered, order_as_fitted
from skst.inputs.rows import shown

# Five genes drawn at random find a third of what all find, ten a half; see the guide on other panels.
FEWEST_SHARED = 10


def shared_columns(names: Sequence[NDArray[np.object_]]) -> Columns:
    """What a fit sees of slices: the columns of the first, or of it the genes that all have.

    Parameters
    ----------
    names : sequence of ndarray of str
        Of the genes of each slice.

    Returns
    -------
    Columns

    Raises
    ------
    ValueError
        If slices of different genes have fewer than ten in common.

    Warns
    -----
    UserWarning
        If genes are left out.
    """
    n_genes = len(names[0])
    called = [_given(own) for own in names]
    first = called[0]
    if first is None or any(own is None for own in called):
        return Columns(first, n_genes)
    common, every = set(first).intersection(*called), set(first).union(*called)
    if len(common) == len(every):
        return Columns(first, n_genes)
    fewest = min(range(len(names)), key=lambda number: len(names[number]))
    told = f"{len(names)} slices of X have {len(common)} genes in common (slice {fewest} has fewest, "
    told += f"{len(names[fewest])})"
    if len(common) < FEWEST_SHARED:
        raise ValueError(
            f"The {told}, and fewer than {FEWEST_SHARED} tell no domains; name genes alike in all slices, or leave out "
            "those of other genes."
        )
    warnings.warn(
        f"The {told}, so these are used and {len(every) - len(common)} others left out; fit on slices of the same "
        "genes to use more.",
        UserWarning,
        stacklevel=6,
    )
    return Columns(first[[name in common for name in first]], len(common))


def columns_of_slice(names: NDArray[np.object_], fitted: Columns, whose: str) -> NDArray[np.integer] | None:
    """Where in a slice the columns are that were fitted.

    Parameters
    ----------
    names : ndarray of str of shape (n_genes,)
        Of its genes.
    fitted : Columns
    whose : str
        Whose these are, for messages.

    Returns
    -------
    ndarray of int or None
        As from :func:`~skst.inputs.columns.order_as_fitted`.

    Raises
    ------
    ValueError
        If it lacks genes, unless they are unknown then, or has more or fewer columns without a name.
    """
    own = _given(names)
    if own is not None and fitted.names is not None:
        absent = fitted.names[~np.isin(fitted.names, own)]
        if len(absent) and not (fitted.unknown and len(absent) < len(fitted.names)):
            raise ValueError(
                f"it lacks {len(absent)} of the {len(fitted.names)} genes {whose}, such as {shown(absent[0])}; give "
                "all slices the same genes, those that they share or absent ones as zeros"
            )
    order = order_as_fitted(own, len(names), fitted)
    n_genes = len(names) if order is None else len(order)
    if fitted.n_genes not in (None, n_genes):
        raise ValueError(f"it has {n_genes} genes and not the {fitted.n_genes} {whose}; give all slices the same genes")
    return order


def _given(names):
    """Names of genes, None for those that AnnData has made up."""
    return None if np.array_equal(names, numbered(len(names))) else names
