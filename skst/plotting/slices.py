"""Labels of several slices, side by side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from skst.inputs.labels import Labels, label_column, sort_labels
from skst.inputs.rows import match_rows, row_names
from skst.plotting._axes import check_named, drawable, list_names, read_coordinates
from skst.plotting._colours import UNLABELLED_COLOUR, assign_colours
from skst.plotting.tissue import plot_domains

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches: the widest figure that a page shows, and the widest panel of it.
_WIDTH, _PANEL = 15.0, 3.4


def plot_slices(
    adata: Any,
    labelings: Mapping[str, Labels],
    *,
    batch: Labels = "batch",
    reference: Labels | None = None,
    spot_size: float | None = None,
    palette: Any = None,
    spatial_key: str = "spatial",
) -> "Figure":
    """Draw slices side by side, one labelling above the other, such as before and after a correction.

    Parameters
    ----------
    adata : AnnData or array-like of shape (n_spots, 2)
        Positions of the spots.
    labelings : dict of str to array-like of shape (n_spots,), or to str
        Labels of all spots, or the names of ``obs`` columns, by the name of their row.
    batch : array-like of shape (n_spots,) or str, default="batch"
        Slice of each spot, or the name of an ``obs`` column.
    reference : array-like of shape (n_spots,) or str, default=None
        Labels whose colours all rows take over, matched over all slices at once as in :func:`plot_domains`; by default
        those of the first row.
    spot_size : float, default=None
        Area of a spot in square points; by default the spots of a slice just touch.
    palette : sequence of colours or dict from label to colour, default=None
        As of :func:`plot_domains`.
    spatial_key : str, default="spatial"
        Where the coordinates of an AnnData are.

    Returns
    -------
    matplotlib.figure.Figure
        One row a labelling, its legend on the right, and one column a slice.

    Raises
    ------
    ValueError
        If `labelings` is empty, a spot has no slice, or as :func:`plot_domains`.

    Examples
    --------
    >>> from skst.datasets import make_spatial_domains
    >>> from skst.plotting import plot_slices
    >>> adata = make_spatial_domains(300, n_slices=3, random_state=0)
    >>> figure = plot_slices(adata, {"before": "batch", "after": "label"})
    >>> [ax.get_title() for ax in figure.axes[:3]]
    ['slice1', 'slice2', 'slice3']
    """
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    check_named(labelings, "labelings", "give at least one labelling by the name of its row")
    places = read_coordinates(adata, spatial_key)
    named = {f"labelings[{name!r}]": labels for name, labels in labelings.items()}
    if row_names(adata) is None:
        names: list[str] = [*named, "batch", "reference"]
        origin, others = names[0], names[1:]
        given: dict[str, Any] = {**named, "batch": batch, "reference": reference}
        given |= zip(others, match_rows(given[origin], origin=origin, **{k: given[k] for k in others}), strict=True)
        named, batch, reference = {name: given[name] for name in named}, given["batch"], given["reference"]
    slices = label_column(adata, batch, "batch", len(places))
    if slices.isna().any():
        raise ValueError(f"batch is missing for {int(slices.isna().sum())} spots; give each a slice.")
    columns = {name: (slices == name).to_numpy() for name in sort_labels(slices.unique())}
    rows = [label_column(adata, labels, name, len(places)) for name, labels in named.items()]
    if reference is not None:
        reference = label_column(adata, reference, "reference", len(places))

    width, height = np.max([np.ptp(places[spots], axis=0) for spots in columns.values()], axis=0) + 1e-9
    panel = min(_PANEL, _WIDTH / len(columns))
    size = panel * len(columns) + 1.6, (panel * np.clip(height / width, 0.5, 2.0) + 0.4) * len(rows)
    figure, axes = plt.subplots(len(rows), len(columns), figsize=size, layout="constrained", squeeze=False)
    for number, (name, labels, row) in enumerate(zip(labelings, rows, axes, strict=True)):
        theirs = rows[0] if reference is None and number else reference
        colours = assign_colours(labels, theirs, palette)
        own = colours or None  # no colours for no labels, which is not what an empty palette means
        for (title, spots), ax in zip(columns.items(), row, strict=True):
            title = None if number else title
            plot_domains(
                places[spots], labels[spots], palette=own, ax=ax, title=title, spot_size=spot_size, legend=False
            )
        row[0].set_ylabel(drawable(name), parse_math=False)
        if labels.isna().any():
            colours = {"unlabelled": UNLABELLED_COLOUR} | colours
        dots = {label: Line2D([], [], marker="o", linestyle="", color=colour) for label, colour in colours.items()}
        list_names(row[-1], dots, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
