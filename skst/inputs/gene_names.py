"""Which names of genes are names: no missing ones, and no bare numbers."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skst.inputs.rows import unmasked

# What a missing name turns into when a column is cast to text, in lower case.
_MISSING = {"", "nan", "na", "none", "null", "<na>", "nat", "n/a", "#n/a"}
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d+)?(e[+-]?\d+)?|inf(inity)?)", re.IGNORECASE)


def is_missing(name: object) -> bool:
    """True for NaN, None and NA, and for their texts ("nan", "None", "<NA>", ...).

    Parameters
    ----------
    name : object

    Returns
    -------
    bool

    Examples
    --------
    >>> from skst.inputs.gene_names import is_missing
    >>> is_missing(float("nan")), is_missing("nan"), is_missing("NANOG")
    (True, True, False)
    """
    if not isinstance(name, str):
        return name is None or name is pd.NA or name is pd.NaT or name != name
    return name.strip().lower() in _MISSING


def is_number(name: str) -> bool:
    """True for the text of a bare number, which numbers a row or is an id of a database that is not read here."""
    return _NUMBER.fullmatch(name.strip()) is not None


def clean_names(names: Any) -> NDArray[np.object_]:
    """Names as text, with "" where one is missing.

    Parameters
    ----------
    names : sequence of length n_genes
        Of str, bytes, or anything else.

    Returns
    -------
    ndarray of str of shape (n_genes,), dtype object
        Text such as "NA", which may be the symbol of a gene, is left as it is.
    """
    names = np.asarray(unmasked(names), dtype=object)
    texts = [name if type(name) is str else "" if is_missing(name) else _text(name) for name in names]
    return np.array(texts, dtype=object)


def any_named(names: Iterable[str]) -> bool:
    """False if no name tells of a gene: all are missing or bare numbers."""
    return any(not is_missing(name) and not is_number(name) for name in names)


def _text(name):
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
