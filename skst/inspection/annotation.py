"""What clusters of cells are: by overlap of markers, by what is written about their genes, by known labels."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from skst.inputs.labels import Labels, label_column, sort_labels
from skst.inputs.types import RandomState
from skst.inspection._statistics import holm
from skst.inspection.cell_types import _check_columns, _within, load_cell_types
from skst.inspection.text_scores import text_scores
from skst.metrics import hungarian_match


def annotate_by_markers(
    markers: pd.DataFrame,
    table: pd.DataFrame | None = None,
    *,
    species: str | Sequence[str] | None = None,
    tissue: str | Sequence[str] | None = None,
    n_top: int = 50,
    min_overlap: int = 2,
    alpha: float = 0.05,
    background: ArrayLike | None = None,
) -> pd.DataFrame:
    r"""Name each cluster by the cell type whose known markers its own markers overlap beyond chance.

    A cluster that overlaps no type beyond chance is left without a name: unlike :func:`best_mapping`, which has to name
    as many clusters as there are labels, this can say that it does not know.

    Parameters
    ----------
    markers : DataFrame
        Genes of each cluster as from :func:`marker_genes`: columns "cluster" and "gene", in order of importance.  With
        its columns "score", "fraction_in" and "fraction_out" the genes of a cluster are first put in order of
        specificity; see Notes.
    table : DataFrame, default=None
        Known markers, one gene of one type a row: "cell_type", "gene" and, where there are any, "species", "tissue" and
        "sign" (rows of "-", genes that a type lacks, are not used).  By default those of :func:`load_cell_types`.
        Genes are compared without regard to case, so that tables of human symbols serve for mouse.
    species, tissue : str or list of str, default=None
        Use only rows of these in `table`; types of tissue "any" stay.
    n_top : int, default=50
        Genes of each cluster that are compared, but no more than a tenth of all that were measured: of a small panel,
        half would overlap with anything.
    min_overlap : int, default=2
        Fewest shared genes for a name.
    alpha : float, default=0.05
        A name needs a p-value of at most this.  A panel of some dozens of genes cannot reach 0.05 for a single type;
        1 takes the best overlap in any case.
    background : array-like of str, default=None
        Names of all genes that were measured; by default ``markers.attrs["genes"]``, else the genes of `markers`
        and `table`.

    Returns
    -------
    DataFrame
        One row a cluster (the index): "cell_type" (None if unassigned), "score" (:math:`-\log_{10}` of the
        hypergeometric p of the best type), "p_value" (that p after Holm's correction for all pairs of cluster and
        type), "n_overlap", "n_known" (markers of that type that were measured), "runner_up" (the second best type, None
        if no other overlaps) and "genes" (those shared, the most specific first, separated by commas).

    Raises
    ------
    ValueError
        If columns are missing, a number is out of range, or no row of `table` is left.

    Notes
    -----
    The p-value is the chance that as many of the n_top genes or more are among the known markers of a type if they
    were drawn blindly from the genes that were measured.  Unlike a count of shared genes it allows for types with long
    lists of markers, and for small panels.  Genes that are strongly expressed are found more easily and are also
    better known, so read it as a rule for when to abstain rather than as a probability of error.

    A type that was split over several clusters shares its markers among them: compared with one another, each may lack
    what would name it.

    Specificity is ``score * (fraction_in - fraction_out) / (fraction_out + 0.05)``: Welch's t alone ranks genes high
    that all cells express, a little more in the cluster.  Where all genes are found in all cells the score is used.

    Examples
    --------
    >>> import pandas as pd
    >>> from skst.inspection import annotate_by_markers
    >>> markers = pd.DataFrame({"cluster": [0, 0, 0, 1, 1], "gene": ["Ins2", "Iapp", "Pdx1", "Actb", "Malat1"]})
    >>> table = pd.DataFrame({"gene": ["INS2", "IAPP", "PDX1", "GCG", "TTR"]})
    >>> table["cell_type"] = ["beta"] * 3 + ["alpha"] * 2
    >>> background = ["Ins2", "Iapp", "Pdx1", "Gcg", "Ttr", "Actb", "Malat1", *map(str, range(50))]
    >>> annotate_by_markers(markers, table, background=background)[["cell_type", "n_overlap"]]
            cell_type  n_overlap
    cluster
    0            beta          3
    1            None          0
    """
    _check_positive(n_top=n_top, min_overlap=min_overlap)
    if table is None:
        table = load_cell_types()
        table = table.assign(gene=table["markers"].str.split("|")).explode("gene")
    _check_columns(table, "table", ("cell_type", "gene"))
    table = _within(_within(table, "species", species), "tissue", tissue)
    if "sign" in table:
        table = table[table["sign"] != "-"]
    known = table.assign(gene=_fold(table["gene"])).groupby("cell_type")["gene"].agg(set)
    found = {cluster: _fold(genes["gene"]) for cluster, genes in _specific(markers).items()}
    if background is None:
        background = markers.attrs.get("genes", [*table["gene"], *markers["gene"]])
    measured = set(_fold(pd.Series(background, dtype=object)))
    known = known.map(measured.intersection)
    known = known[known.map(len) > 0]
    if known.empty:
        raise ValueError("table has no gene that was measured; give markers and background by symbols, as in table.")

    n_top = min(n_top, -(-len(measured) // 10))
    listed = [list(dict.fromkeys(gene for gene in genes if gene in measured))[:n_top] for genes in found.values()]
    shared = np.array([[len(genes.intersection(top)) for genes in known] for top in listed])
    sizes = np.array([len(top) for top in listed])
    log_p = _log_chance(shared, len(measured), known.map(len).to_numpy(), sizes[:, None])
    corrected = holm(np.exp(log_p).ravel()).reshape(log_p.shape)
    rows = []
    for number, top in enumerate(listed):
        # Equal p: the larger overlap first, so that the order of the table hardly matters.
        order = np.lexsort((-shared[number], log_p[number]))
        best, second = order[0], order[1] if len(order) > 1 else None
        n_overlap = int(shared[number, best])
        certain = n_overlap >= min_overlap and corrected[number, best] <= alpha
        rows.append(
            {
                "cell_type": known.index[best] if certain else None,
                "score": abs(log_p[number, best]) / np.log(10),
                "p_value": corrected[number, best],
                "n_overlap": n_overlap,
                "n_known": len(known.iloc[best]),
                "runner_up": known.index[second] if second is not None and shared[number, second] else None,
                "genes": ", ".join(gene.upper() for gene in top if gene in known.iloc[best]),
            }
        )
    return _by_cluster(rows, found)


def annotate_by_text(
    markers: pd.DataFrame,
    cell_types: Any = None,
    *,
    tissue: str | Sequence[str] | None = None,
    n_top: int = 20,
    model: Any = "auto",
    descriptions: Any = None,
    control: str | None = None,
    random_state: RandomState = None,
) -> pd.DataFrame:
    r"""Name each cluster in words: what is written about its genes against what cell types are said to do.

    It needs no table of markers, only a sentence for each type, and always names the nearest one: look at "margin", and
    at what `control` gives, before a name is believed.

    Parameters
    ----------
    markers : DataFrame
        Genes of each cluster, as for :func:`annotate_by_markers`.
    cell_types : DataFrame or dict of str to str, default=None
        Types with their descriptions: columns "cell_type", "description" and, where there is one, "tissue", or a dict
        from name to description ("" for none; bare names work far worse).  By default those of
        :func:`load_cell_types`.
    tissue : str or list of str, default=None
        Use only types of these tissues, and of tissue "any".
    n_top : int, default=20
        Genes of each cluster that are read: the most specific ones that have a text.
    model : str, object or TextModel, default="auto"
        What makes vectors of texts, as in :class:`~skst.GeneTextEncoder`.
    descriptions : DataFrame, str, path-like or GeneDescriptions, default=None
        Whose genes they are and what is said of them, as in :class:`~skst.GeneTextEncoder`.
    control : {None, "permuted", "unrelated", "gaussian"}, default=None
        Replace the texts of genes, to see what names are worth: names under "permuted" are due to anything but meaning.
    random_state : int, RandomState instance or None, default=None
        Seed of `control`.

    Returns
    -------
    DataFrame
        One row a cluster (the index): "cell_type" (None if none of its genes has a text), "score" (cosine), "margin"
        (to the score of the next), "runner_up" and "genes" (those read, separated by commas).

    Raises
    ------
    ValueError
        If columns are missing, a number is out of range, no type is left, or no gene has a text.

    Notes
    -----
    With f the vectors of genes and w their specificity (see :func:`annotate_by_markers`), the vector of a cluster is
    :math:`\sum_g w_g (f_g - m) / \sum_g w_g`, compared by cosine with the vector of "name: description".  The mean m
    is over these genes and the markers of all types that come with the package: the genes of a panel are about one
    tissue, and their mean is what the types of that tissue have in common.

    Small panels are where this fails: of 33 genes, those of a cluster include some that it hardly expresses.

    Examples
    --------
    >>> import pandas as pd
    >>> from skst.inspection import annotate_by_text
    >>> markers = pd.DataFrame({"cluster": [0, 0, 1, 1], "gene": ["INS", "IAPP", "MBP", "PLP1"]})
    >>> types = {"beta cell": "Secretes insulin and amylin.", "oligodendrocyte": "Makes the myelin of white matter."}
    >>> annotate_by_text(markers, types, model="lexical")["cell_type"].tolist()
    ['beta cell', 'oligodendrocyte']
    """
    _check_positive(n_top=n_top)
    if isinstance(cell_types, dict):
        cell_types = pd.DataFrame({"cell_type": list(cell_types), "description": list(cell_types.values())})
    cell_types = load_cell_types() if cell_types is None else cell_types
    _check_columns(cell_types, "cell_types", ("cell_type", "description"))
    cell_types = _within(cell_types, "tissue", tissue)
    if cell_types.empty:
        raise ValueError("cell_types is empty; give at least one type with its description.")
    found = _specific(markers)
    names = cell_types["cell_type"].to_numpy(dtype=object)
    rows = []
    scored, read = text_scores(found, cell_types, n_top, model, descriptions, control, random_state)
    for scores, table in zip(scored, read, strict=True):
        order = np.argsort(-scores, kind="stable")[:2]
        named = table["weight"].any()
        rows.append(
            {
                "cell_type": names[order[0]] if named else None,
                "score": scores[order[0]] if named else np.nan,
                "margin": scores[order[0]] - scores[order[1]] if named and len(order) > 1 else np.nan,
                "runner_up": names[order[1]] if named and len(order) > 1 else None,
                "genes": ", ".join(table["gene"].astype(str)),
            }
        )
    return _by_cluster(rows, found)


def best_mapping(labels: Labels, reference: Labels) -> pd.DataFrame:
    """Name clusters by known labels, one to one, so that as many cells as possible are named as they are known.

    Parameters
    ----------
    labels : array-like of shape (n_cells,)
        Cluster of each cell.
    reference : array-like of shape (n_cells,)
        Known label of each cell; cells without one have no say.

    Returns
    -------
    DataFrame
        One row a cluster (the index): "cell_type" (None for clusters left over), "n_cells", and "share" (of the cells
        with a known label that have the one given).

    Raises
    ------
    ValueError
        If lengths differ or no cell has both labels.

    See Also
    --------
    skst.metrics.hungarian_match : The same names for each cell.

    Examples
    --------
    >>> from skst.inspection import best_mapping
    >>> best_mapping([0, 0, 0, 1, 2], ["beta", "beta", "alpha", "alpha", "beta"])
            cell_type  n_cells     share
    cluster
    0            beta        3  0.666667
    1           alpha        1  1.000000
    2            None        1  0.000000
    """
    cells, labels = labels, label_column(None, labels, "labels", len(labels))  # type: ignore[arg-type]
    reference = label_column(cells, reference, "reference", len(labels))
    found = labels.notna()
    labels, reference = labels[found], reference[found]
    names = pd.Series(hungarian_match(reference, labels), index=labels.index, dtype=object)
    rows = {}
    for cluster in sort_labels(labels.unique()):
        cells = labels == cluster
        known = reference[cells].dropna()
        name = names[cells].iloc[0]
        share = float((known == name).mean()) if len(known) else np.nan
        rows[cluster] = {"cell_type": name, "n_cells": int(cells.sum()), "share": share}
    return _by_cluster(rows.values(), rows)


def _check_positive(**numbers):
    for name, value in numbers.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r} is not a positive integer; give one.")


def _fold(genes):
    return genes.astype(str).str.strip().str.casefold()


def _specific(markers):
    """Markers of each cluster, the most specific first, with a weight."""
    _check_columns(markers, "markers", ("cluster", "gene"))
    clusters = markers["cluster"]
    names = clusters.cat.categories if isinstance(clusters.dtype, pd.CategoricalDtype) else clusters.unique()
    found = {}
    for cluster in names:
        table = markers[clusters == cluster]
        if {"score", "fraction_in", "fraction_out"} <= set(table):
            lift = (table["fraction_in"] - table["fraction_out"]) / (table["fraction_out"] + 0.05)
            weight = np.maximum(table["score"] * lift, 0)
            # Where every gene is found in every cell, fractions tell nothing.
            table = table.assign(weight=weight if weight.any() else table["score"])
            table = table.sort_values("weight", ascending=False, kind="stable")
        else:
            table = table.assign(weight=1.0)
        found[cluster] = table
    return found


def _log_chance(shared, n_measured, n_known, n_listed):
    """Logarithm of the chance to share as many genes or more."""
    # Scipy takes these arguments one by one, and only from flat arrays.
    flat = [values.ravel() for values in np.broadcast_arrays(shared - 1, n_measured, n_known, n_listed)]
    return np.minimum(stats.hypergeom.logsf(*flat), 0).reshape(shared.shape)


def _by_cluster(rows, clusters):
    index = pd.Index(list(clusters), name="cluster")
    table = pd.DataFrame(list(rows), index=index)
    # None, not NaN, where there is no name: also in a column that has none at all.
    names = table.columns.intersection(["cell_type", "runner_up"])
    return table.assign(**{name: table[name].astype(object).where(table[name].notna(), None) for name in names})
