"""DataFrames that scikit-learn is told to return (``set_output``): their rows are called as those of X are."""

import functools
from typing import Any

import pandas as pd

from skst._constraints import wrap_output
from skst.inputs.rows import is_anndata
from skst.inputs.tables import tables_of


class NamedRows:
    """Has ``transform`` and ``fit_transform`` of subclasses name rows, which scikit-learn does where X is a DataFrame.

    What is returned of a list of slices is a list, of which each item is made a DataFrame.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("transform", "fit_transform"):
            if name in vars(cls):
                setattr(cls, name, _with_names(vars(cls)[name]))


def _with_names(method):
    """A method as it was before scikit-learn made it return DataFrames, made to do so in another way."""
    plain = getattr(method, "__wrapped__", method)

    @functools.wraps(plain)
    def named(self, X, *args, **kwargs):
        found = plain(self, X, *args, **kwargs)
        if isinstance(found, list):
            return [_contained(self, values, item) for values, item in zip(found, X, strict=True)]
        return _contained(self, found, X)

    return named


def _contained(estimator, values, X):
    """What `set_output` asks for; an array where that is nothing."""
    found = wrap_output("transform", values, X, estimator)
    if isinstance(found, pd.DataFrame) and found is not values:
        names = _names(tables_of(X))
        if names is not None:
            found.index = names
    return found


def _names(X):
    """Names of the rows of an AnnData, or of a list of these."""
    if is_anndata(X):
        return X.obs_names
    if isinstance(X, (list, tuple)) and X and all(map(is_anndata, X)):
        return X[0].obs_names.append([one.obs_names for one in X[1:]])
    return None
