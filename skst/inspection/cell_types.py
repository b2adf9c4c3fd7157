"""The cell types that come with the package, and which of them a tissue can have."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

_TYPES = Path(__file__).with_name("cell_types.tsv")
_EVERYWHERE = "any"


def load_cell_types(
    tissue: str | Sequence[str] | None = None, *, kind: Literal["cell", "domain"] | None = "cell"
) -> pd.DataFrame:
    """Read the cell types, or the domains of tissue, that come with the package.

    Some 450 types of cells of human and mouse organs, of embryos and of tumours, and 80 domains of tissue such as
    layers, zones and parts of tumours.  Each has a description of what it does and of the functions that its genes
    have, and a few well-known markers.  The descriptions name no gene symbol.

    Parameters
    ----------
    tissue : str or list of str, default=None
        Keep types of these tissues and those found in any tissue; by default all.
    kind : {"cell", "domain"} or None, default="cell"
        Types of cells, domains of tissue, or both.

    Returns
    -------
    DataFrame
        Columns of str: "cell_type" (the name), "parent" (the type of which it is one, "" at the top: a tree), "kind",
        "tissue" and "species" (``|``-separated; "any" stands for all tissues), "source" (where to check that there is
        such a type: an identifier of the Cell Ontology, an atlas, or "textbook"), "description" and "markers" (human
        symbols, ``|``-separated).

    Raises
    ------
    ValueError
        If no type is of that tissue, or `kind` is none of those.

    Examples
    --------
    >>> from skst.inspection import load_cell_types
    >>> types = load_cell_types("pancreas").set_index("cell_type")
    >>> types.loc["pancreatic beta cell", "markers"].split("|")[:2]
    ['INS', 'IAPP']
    """
    if kind not in ("cell", "domain", None):
        raise ValueError(f"kind={kind!r} is neither 'cell' nor 'domain'; give one, or None for both.")
    types = pd.read_csv(_TYPES, sep="\t", dtype=str, keep_default_na=False)
    if kind is not None:
        types = types[types["kind"] == kind].reset_index(drop=True)
    return _within(types, "tissue", tissue)


def _check_columns(table, name, columns):
    if not isinstance(table, pd.DataFrame):
        raise ValueError(
            f"{name} is of type {type(table).__name__}; pass a DataFrame with the columns {list(columns)}."
        )
    absent = [column for column in columns if column not in table]
    if absent:
        raise ValueError(f"{name} lacks the columns {absent}; it has {list(table.columns)}: rename them.")


def _within(table, column, wanted):
    """Rows whose `column`, of entries parted by "|", has one of those wanted or is "any"."""
    if wanted is None:
        return table
    _check_columns(table, "table", (column,))
    wanted = {name.casefold() for name in ([wanted] if isinstance(wanted, str) else wanted)}
    has = table[column].astype(object).fillna("").astype(str).str.casefold().str.split("|").map(set)
    if not has.map(wanted.intersection).any():
        there = sorted(set().union(*table[column].dropna().str.split("|")))
        raise ValueError(f"{column}={sorted(wanted)} is not in the table, which has {there[:40]}; take one of them.")
    return table[has.map((wanted | {_EVERYWHERE}).intersection).map(bool)]
