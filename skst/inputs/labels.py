"""Columns of labels: read in whatever form they come, and matched to each other by the names of spots."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from skst.inputs.rows import is_anndata, match_rows, unmasked

# Lists may hold None beside texts, which numpy does not call array-like.
Labels: TypeAlias = Sequence[Any] | ArrayLike
# What missing labels turn into when a column is written to text or cast to str.
UNLABELLED = ("NA", "nan", "None", "<NA>")


def column_of(values: Any, name: str) -> pd.Series:
    """A column of labels as a Series with row numbers, where a NaN among strings stays a NaN.

    Parameters
    ----------
    values : array-like of shape (n_spots,) or (n_spots, 1)
    name : str
        Its argument.

    Raises
    ------
    ValueError
        If it has several columns, or is no column at all.
    """
    if is_anndata(values):
        raise ValueError(f"{name} is an AnnData; pass one column of labels, such as adata.obs['label'].")
    if isinstance(values, pd.DataFrame):
        values = values.iloc[:, 0] if values.shape[1] == 1 else values
    elif not isinstance(values, (pd.Series, pd.Index, pd.Categorical, list, tuple)):
        values = np.asarray(unmasked(values))
        values = values.ravel() if values.ndim == 2 and values.shape[1] == 1 else values
    shape = np.shape(values)
    if len(shape) != 1:
        raise ValueError(f"{name} has shape {shape} where one label a spot is expected; pass one column of labels.")
    # Texts stay Python's: pandas 3 would keep them in UTF-8, which cannot hold all of them.
    is_pandas = isinstance(values, (pd.Series, pd.Index, pd.Categorical))
    is_text = not is_pandas and pd.api.types.infer_dtype(values) == "string"
    return pd.Series(values, dtype=object if is_text else None).reset_index(drop=True)


def known_labels(labels: pd.Series, ignore: Iterable[Any]) -> NDArray[np.bool_]:
    """Mask of the spots that have a label, from a Series and what else means "unlabelled"."""
    return ~(labels.isna() | labels.isin(list(ignore))).to_numpy(dtype=bool)


def labelled(y_true: Labels, y_pred: Labels, ignore: Sequence[Any] = UNLABELLED) -> tuple[np.ndarray, np.ndarray]:
    """Both columns as arrays, matched by the names of spots, without the spots whose true label is missing.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_spots,)
    ignore : tuple, default=("NA", "nan", "None", "<NA>")
        Values of `y_true` that mean "unlabelled".

    Returns
    -------
    true, pred : ndarray of shape (n_labelled,)

    Raises
    ------
    ValueError
        As :func:`score_partition`.
    """
    (y_pred,) = match_rows(y_true, origin="y_true", y_pred=y_pred)
    true, pred = column_of(y_true, "y_true"), column_of(y_pred, "y_pred")
    if len(true) != len(pred):
        raise ValueError(f"y_true has {len(true)} labels but y_pred has {len(pred)}; give one a spot in both.")
    known = known_labels(true, ignore)
    if not known.any():
        raise ValueError(f"y_true labels none of its {len(true)} spots; pass known labels, or check `ignore`.")
    pred = pred[known]
    if pred.isna().any():
        raise ValueError(f"y_pred is missing for {int(pred.isna().sum())} labelled spots; give each a cluster.")
    return true[known].to_numpy(), pred.to_numpy()


def label_column(source: Any, labels: Any, name: str, n_spots: int) -> pd.Series:
    """Labels of the spots as a Series in the order of `source`, NaN where unlabelled.

    Parameters
    ----------
    source : AnnData, DataFrame, Series or anything else
        What has the spots.  Labels that are a pandas object are matched to it by name.
    labels : array-like of shape (n_spots,) or str
        Labels, or the name of a column of ``source.obs``.
    name : str
        Their argument.
    n_spots : int

    Raises
    ------
    ValueError
        If there is no such column, or labels are more or fewer than spots.
    """
    if isinstance(labels, str):
        if not is_anndata(source) or labels not in source.obs:
            known = list(source.obs) if is_anndata(source) else "no columns"
            raise ValueError(f"{name}={labels!r} names no column of obs ({known}); pass one, or the labels.")
        labels = source.obs[labels]
    (labels,) = match_rows(source, **{name: labels})
    labels = column_of(labels, name).astype(object)
    if len(labels) != n_spots:
        raise ValueError(f"{name} has {len(labels)} entries but there are {n_spots} spots; give one a spot.")
    return labels.mask(labels.isin(UNLABELLED))


def sort_labels(labels: Iterable[Any]) -> list[Any]:
    """Labels in order, texts of numbers as numbers; as texts, where they cannot be compared."""
    labels = list(labels)
    if all(isinstance(label, str) and label.isdecimal() for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))
    try:
        return sorted(labels)
    except TypeError:  # numbers among strings
        return sorted(labels, key=str)
