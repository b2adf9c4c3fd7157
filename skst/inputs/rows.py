"""Rows that belong together: matched by name where two tables name them, else taken as they come.

A file of positions is rarely in the order of the counts.  pandas and AnnData carry the names of spots, so what is
given beside X is brought into the order of X by these names, and names that cannot be matched are an error.
"""

import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData

_NUMBER = re.compile(r"\d+")
# Signs of a name that a message shows.
_LONGEST = 60


def is_anndata(X: object) -> bool:
    """True if `X` is an AnnData; never imports anndata, which is slow to load."""
    anndata = sys.modules.get("anndata")
    return anndata is not None and isinstance(X, anndata.AnnData)


def layer_names(adata: "AnnData") -> list[str]:
    """Names of the layers of an AnnData, without the None that stands for X since anndata 0.13."""
    return [name for name in adata.layers if name is not None]


def shown(name: object) -> str:
    """A name as a message shows it: in quotes, and not longer than a line."""
    text = str(name)
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def unmasked(values: Any) -> Any:
    """`values`, with None for what a masked array masks, which numpy would hand on as if it were not."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    plain = values.data.astype(object)
    plain[np.ma.getmaskarray(values)] = None
    return plain


def detached(values: Any) -> Any:
    """`values`, a tensor of torch as an array whatever it is used for."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") and hasattr(values, "numpy") else values


def row_names(values: Any) -> pd.Index | None:
    """Names of the rows of an AnnData, DataFrame or Series as an Index; None for anything else."""
    if is_anndata(values):
        return values.obs_names
    return values.index if isinstance(values, (pd.DataFrame, pd.Series)) else None


def match_rows(X: object, *, origin: str = "X", **values: Any) -> list[Any]:
    """Bring what is said about the rows of `X` into their order.

    Row numbers, such as pandas fills in, are no names, unless both sides have them.

    Parameters
    ----------
    X : AnnData, DataFrame, Series or anything else
        Whose rows are meant.
    origin : str, default="X"
        What messages call it.
    **values : array-like or None
        By the name of their argument.  Those that are pandas objects are matched to the names of `X`; they may have
        more rows.  Anything else is taken to be in the order of `X`.

    Returns
    -------
    list
        `values` in the order of `X`.

    Raises
    ------
    ValueError
        If both sides name rows, and names repeat, are absent, or leave it open which order is meant.

    Examples
    --------
    >>> import pandas as pd
    >>> from skst.inputs.rows import match_rows
    >>> X = pd.DataFrame({"Plp1": [3, 0, 1]}, index=["b", "c", "a"])
    >>> match_rows(X, batch=pd.Series([1, 2, 3], index=["a", "b", "c"]))[0].tolist()
    [2, 3, 1]
    """
    values = {argument: _named(value) for argument, value in values.items()}
    names = row_names(X)
    if names is not None:
        ours = f"{origin}.{'obs_names' if is_anndata(X) else 'index'}"
        return [_ordered(names, origin, ours, value, argument) for argument, value in values.items()]
    named = {argument: index for argument, value in values.items() if (index := row_names(value)) is not None}
    named = {argument: index for argument, index in named.items() if not _is_default(index)}
    if len(named) > 1:
        first, *others = named
        for other in others:
            if len(named[first]) == len(named[other]) and not _same(named[first], named[other]):
                raise ValueError(
                    f"{first} and {other} name their rows differently, and {origin} has no names that could tell which "
                    f"is in its order; pass {origin} with names, or both as arrays in the order of {origin}."
                )
    return list(values.values())


def _ordered(names, origin, expression, values, argument):
    index = row_names(values)
    if index is None or _same(names, index):
        return values
    names, index = _texts(names), _texts(index)
    as_they_come = f"pass {argument}.to_numpy() if its rows are in the order of {origin}"
    if not _are_numbers(index):
        if _are_numbers(names):
            return values
    elif _is_default(index):
        if not _is_shuffled(names, len(index)):
            return values
        raise ValueError(
            f"{argument} numbers its rows from 0, and {origin} has the same numbers in another order, so it is open "
            f"which rows belong together; pass {argument}.loc[{expression}.astype(int)] to match them by number, or "
            f"{argument}.to_numpy() to take them as they come."
        )
    elif not _are_numbers(names) or _is_default(names):
        if not _is_shuffled(index, len(names)):
            return values  # numbers that filtering has left
        if not _is_default(names):
            raise ValueError(
                f"{argument} has row numbers that have been shuffled, and {origin} has names; pass "
                f"{argument}.sort_index() to undo that, or {as_they_come}."
            )
    if not index.is_unique or not names.is_unique:
        whose, repeated = (argument, index) if not index.is_unique else (origin, names)
        again = repeated[repeated.duplicated()]
        raise ValueError(
            f"{argument} and {origin} name their rows in different orders, and {whose} repeats {len(again)} names, "
            f"such as {shown(again[0])}; make names unique, or {as_they_come}."
        )
    places = index.get_indexer(names)
    if (places < 0).any():
        theirs = shown(index[0] if len(index) else None)
        raise ValueError(
            f"{argument} names no row for {(places < 0).sum()} of the {len(names)} rows of {origin}, such as "
            f"{shown(names[places < 0][0])} (its own names are like {theirs}); name rows alike, match them before "
            f"anything is split, or {as_they_come}."
        )
    return values.iloc[places]


def _named(values):
    """Tables of other packages that name their rows, as pandas objects."""
    package = type(values).__module__.partition(".")[0]
    if package == "dask" and callable(getattr(values, "compute", None)):
        return values.compute()
    return values.to_pandas() if package == "xarray" and hasattr(values, "to_pandas") else values


def _texts(names):
    """Names as text, so that those of an AnnData compare with others; whole numbers without a point."""
    if isinstance(names, pd.MultiIndex):
        return pd.Index([str(name) for name in names], dtype=object)
    if pd.api.types.is_float_dtype(names.dtype) and not names.hasnans and (names == names.astype(np.int64)).all():
        names = names.astype(np.int64)
    return pd.Index(names.astype(str), dtype=object)


def _same(names, others):
    if len(names) != len(others):
        return False
    return names is others or names.equals(others) or bool((_texts(names) == _texts(others)).all())


def _is_default(names):
    """True for the numbers from 0 on, in order, which stand where no names were given."""
    if isinstance(names, pd.RangeIndex):
        return names.start == 0 and names.step == 1
    return len(names) == 0 or (str(names[0]) in ("0", "0.0") and _same(names, pd.RangeIndex(len(names))))


def _are_numbers(names):
    return all(_NUMBER.fullmatch(name) for name in names)


def _is_shuffled(names, length):
    """True for the numbers from 0 on in another order."""
    if len(names) != length or _is_default(names) or not _are_numbers(names):
        return False
    return bool((np.sort(names.astype(np.int64)) == np.arange(length)).all())
