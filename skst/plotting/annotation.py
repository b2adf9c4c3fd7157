"""What clusters are called, one way of naming beside another."""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.isotonic import isotonic_regression

from skst.inputs.labels import Labels, label_column, sort_labels
from skst.palette import PALETTE
from skst.plotting._axes import check_named, check_table, drawable, read_axes
from skst.plotting._colours import UNLABELLED_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNASSIGNED = "unassigned"
_CLUSTER_COLOUR = "#3C3C3C"
_BAR = 0.05  # width of a column; neighbouring columns are 1 apart
_LINE = 13  # points from one name to the next


def plot_annotation(
    labels: Labels, annotations: Mapping[str, Any], *, cluster_title: str = "cluster", ax: "Axes | None" = None
) -> "Axes":
    """Draw how ways of naming clusters agree, as flows of cells between the names.

    Each way is a column of bars, one a name, as high as the cells that have it.  Clusters stand in the second column,
    or in the first if there is only one way; bands run from each cluster to its names, as wide as the cells they stand
    for and in the colour of the name.

    Parameters
    ----------
    labels : array-like of shape (n_cells,)
        Cluster of each cell.  Cells without a label are left out.
    annotations : dict of str to DataFrame, Series, dict or array-like of shape (n_cells,)
        What a way is called, and its names: a DataFrame as from :func:`skst.inspection.annotate_by_markers` (names in
        "cell_type", clusters in the index), a Series or dict from cluster to name, or a name for each cell, such as
        known cell types.  None and NaN stand for "unassigned", drawn in grey at the bottom.
    cluster_title : str, default="cluster"
        Title of the column of clusters.
    ax : matplotlib Axes, default=None
        Where to draw; by default a new figure, high enough for all names.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.  Each band is labelled "name of the left bar > name of the right bar".

    Raises
    ------
    ValueError
        If there is no way or no cell, or a way lacks a cluster or has another number of cells.

    Examples
    --------
    >>> from skst.plotting import plot_annotation
    >>> markers = {0: "alpha cell", 1: "beta cell", 2: None}
    >>> ax = plot_annotation([0, 0, 1, 1, 1, 2], {"markers": markers})
    >>> sorted(band.get_label() for band in ax.collections)
    ['0 > alpha cell', '1 > beta cell', '2 > unassigned']
    """
    check_named(annotations, "annotations", "give at least one way of naming by what it is called")
    cells, labels = labels, label_column(None, labels, "labels", len(labels))  # type: ignore[arg-type]
    known = labels.notna()
    if not known.any():
        raise ValueError("labels hold no cluster; give that of each cell.")
    columns = {way: _names(cells, labels, names, way)[known] for way, names in annotations.items()}
    place = min(1, len(columns) - 1)
    titles = [*list(columns)[:place], cluster_title, *list(columns)[place:]]
    stacks = [*list(columns.values())[:place], labels[known].map(str), *list(columns.values())[place:]]
    tables = [pd.crosstab(left, right) for left, right in itertools.pairwise(stacks)]
    orders = _order(tables)
    ax = _axes(ax, max(map(len, orders)))
    bars = _stack(stacks, orders)
    names = sort_labels(set().union(*columns.values()) - {UNASSIGNED})
    colours = dict(zip(names, itertools.cycle(PALETTE), strict=False)) | {UNASSIGNED: UNLABELLED_COLOUR}
    for x, table in enumerate(tables):
        # A band takes the colour of its name, be that to the left or the right of the cluster.
        named = 0 if x < place else 1
        _draw_bands(ax, x, table, bars[x : x + 2], named, colours)
    for x, (title, spans) in enumerate(zip(titles, bars, strict=True)):
        side = "left" if x == 0 else "right" if x == len(bars) - 1 else "centre"
        _draw_bars(ax, x, spans, side, {} if x == place else colours)
        ax.text(x, -0.03, drawable(title), ha="center", va="bottom", fontweight="bold", parse_math=False)
    return ax


def _names(cells, labels, names, way):
    """Name of each cell as str; `labels` are those of `cells`, numbered from 0."""
    if isinstance(names, pd.DataFrame):
        check_table(names, f"annotations[{way!r}]", ("cell_type",), "name the column of names so")
        names = names["cell_type"]
    # A Series names clusters, or else cells by their own names.
    of_clusters = isinstance(names, pd.Series) and set(labels.dropna()) <= set(names.index)
    of_cells = isinstance(names, pd.Series) and len(names) == len(labels) and not of_clusters
    if of_cells or not isinstance(names, (dict, pd.Series)):
        return (
            label_column(cells, names, f"annotations[{way!r}]", len(labels))
            .map(str, na_action="ignore")
            .fillna(UNASSIGNED)
        )
    names = dict(names)
    absent = sort_labels(set(labels.dropna()) - set(names))
    if absent:
        raise ValueError(f"annotations[{way!r}] has no name for the clusters {absent}; give None where there is none.")
    names = {cluster: UNASSIGNED if pd.isna(name) else str(name) for cluster, name in names.items()}
    return labels.map(names)


def _order(tables):
    """Order of the bars in each column, from top to bottom, so that few bands cross."""
    counts = [tables[0].sum(axis=1), *(table.sum(axis=0) for table in tables)]
    orders = [list(c.sort_values(ascending=False, kind="stable").index) for c in counts]
    for _ in range(4):
        for x in (*range(1, len(orders)), *reversed(range(len(orders) - 1))):
            pull = pd.Series(0.0, index=orders[x])
            for other in (x - 1, x + 1):
                if 0 <= other < len(orders):
                    table = tables[min(x, other)] if other > x else tables[other].T
                    ranks = np.linspace(0, 1, len(orders[other]))
                    table = table.reindex(index=orders[x], columns=orders[other])
                    pull += table.to_numpy() @ ranks / table.sum(axis=1)
            orders[x] = list(pull.sort_values(kind="stable").index)
    return [[name for name in order if name != UNASSIGNED] + [UNASSIGNED] * (UNASSIGNED in order) for order in orders]


def _stack(cells, orders):
    """Top and bottom of each bar, from 0 to 1; gaps fill up the columns of fewer bars."""
    n_most = max(map(len, orders))
    room = min(0.35, 0.02 * (n_most - 1))
    stacks = []
    for names, order in zip(cells, orders, strict=True):
        heights = names.value_counts(normalize=True)[order].to_numpy() * (1 - room)
        tops = np.cumsum(heights) - heights + np.arange(len(order)) * room / max(len(order) - 1, 1)
        if len(order) == 1:
            tops += room / 2
        stacks.append(dict(zip(order, zip(tops, tops + heights, strict=True), strict=True)))
    return stacks


def _axes(ax, n_bars):
    ax = read_axes(ax, (8.0, max(3.0, 0.6 + n_bars * 1.6 * _LINE / 72)))
    ax.set_ylim(1, 0)
    ax.set_axis_off()
    return ax


def _draw_bands(ax, x, table, bars, named, colours):
    t = np.linspace(0, 1, 60)
    path = t * t * (3 - 2 * t)
    scale = _scale(bars[0]) / table.to_numpy().sum()
    left, right = ({name: top for name, (top, _) in spans.items()} for spans in bars)
    for a, b in itertools.product(bars[0], bars[1]):
        width = table.loc[a, b] * scale
        if not width:
            continue
        top = left[a] + (right[b] - left[a]) * path
        ax.fill_between(
            x + _BAR / 2 + t * (1 - _BAR),
            top,
            top + width,
            color=colours[(a, b)[named]],
            alpha=0.55,
            linewidth=0,
            label=f"{a} > {b}",
        )
        left[a] += width
        right[b] += width


def _scale(spans):
    return sum(bottom - top for top, bottom in spans.values())


def _draw_bars(ax, x, spans, side, colours):
    tops, bottoms = np.array(list(spans.values())).T
    ax.bar(
        np.full(len(spans), x),
        bottoms - tops,
        bottom=tops,
        width=_BAR,
        color=[colours.get(name, _CLUSTER_COLOUR) for name in spans],
    )
    centres = (tops + bottoms) / 2
    # Names keep a line's distance and otherwise stay as close to their bars as can be.
    step = _LINE * ax.figure.dpi / 72 / ax.get_window_extent().height * np.arange(len(spans))
    places = isotonic_regression(centres - step) + step
    offset = {"left": -1, "right": 1, "centre": 0}[side] * (_BAR / 2)
    for name, centre, place in zip(spans, centres, places, strict=True):
        if offset:
            end = x + 3 * offset
            ax.plot([x + offset, end], [centre, place], color="#9A9A9A", linewidth=0.6, clip_on=False)
            side = "right" if offset < 0 else "left"
            ax.text(end, place, f" {drawable(name)} ", ha=side, va="center", fontsize="small", parse_math=False)
        else:
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
            ax.text(x, place, drawable(name), ha="center", va="center", fontsize="small", bbox=box, parse_math=False)
