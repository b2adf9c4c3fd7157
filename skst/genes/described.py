"""Whose genes they are, and what is said of them."""

import os

import pandas as pd

from skst._constraints import StrOptions
from skst._parameters import Settings


class GeneDescriptions(Settings):
    """What is written about genes.

    Parameters
    ----------
    table : DataFrame, str or path-like, default=None
        Gene descriptions with columns as in :func:`skst.genes.fetch_gene_descriptions`, which has to be called once for
        all genes to be described: by default what it left in the data home is used, else the marker table of the
        package.  Nothing is downloaded in a fit.
    species : {"auto", "human", "mouse"}, default="auto"
        Whose descriptions to use; "auto" tells it from the gene names.
    detail : {"symbol", "name", "summary", "card"}, default="summary"
        What is said of a gene; see :func:`skst.genes.templates.gene_text`.
    """

    _parameter_constraints = {
        "table": [pd.DataFrame, str, os.PathLike, None],
        "species": [StrOptions({"auto", "human", "mouse"})],
        "detail": [StrOptions({"symbol", "name", "summary", "card"})],
    }

    def __init__(self, table=None, *, species="auto", detail="summary"):
        self.table = table
        self.species = species
        self.detail = detail


def as_descriptions(descriptions: GeneDescriptions | pd.DataFrame | str | os.PathLike[str] | None) -> GeneDescriptions:
    """The :class:`GeneDescriptions` that a table, a path or None stands for."""
    return descriptions if isinstance(descriptions, GeneDescriptions) else GeneDescriptions(descriptions)
