"""Domains and modulation on the tissue."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from skst.files.untrusted import told
from skst.inputs.labels import Labels, label_column
from skst.inputs.rows import match_rows, row_names
from skst.metrics import score_partition
from skst.plotting._axes import (
    add_legend,
    add_scale_bar,
    bare,
    check_named,
    new_figure,
    read_coordinates,
    touching_size,
)
from skst.plotting._colours import UNLABELLED_COLOUR, assign_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_domains(
    adata_or_coordinates: Any,
    labels: Labels,
    *,
    reference: Labels | None = None,
    ax: "Axes | None" = None,
    title: str | None = None,
    spot_size: float | None = None,
    palette: Any = None,
    legend: bool = True,
    spatial_key: str = "spatial",
    micrometers: float | None = None,
) -> "Axes":
    """Draw the labels of spots where they lie in the tissue.

    Parameters
    ----------
    adata_or_coordinates : AnnData or array-like of shape (n_spots, 2)
        Positions, in ``obsm[spatial_key]`` of an AnnData; the y axis points down, as in an image.
    labels : array-like of shape (n_spots,) or str
        Labels, or the name of an ``obs`` column of the AnnData.  Missing labels are drawn in light grey.
    reference : array-like of shape (n_spots,) or str, default=None
        Other labels of the same spots, whose colours the labels take over: each label that of the reference
        label it overlaps most, one to one (:func:`skst.metrics.hungarian_match`).  Labels left over get
        colours of their own.
    ax : matplotlib Axes, default=None
        Where to draw; by default a new figure.
    title : str, default=None
        Title of the axes.
    spot_size : float, default=None
        Area of a spot in square points; by default spots just touch.
    palette : sequence of colours or dict from label to colour, default=None
        By default 20 colours chosen with colour blindness in mind; they repeat when there are more labels.
    legend : bool, default=True
        Whether to list the labels beside the axes.
    spatial_key : str, default="spatial"
        Where the coordinates of an AnnData are.
    micrometers : float, default=None
        Length of one unit of the coordinates, 1 where they are in micrometres already; draws a scale bar.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on: one scatter for each label, named by it.

    Raises
    ------
    ValueError
        If coordinates or a column are missing, lengths differ, a palette lacks a label, or `micrometers` is not
        positive.

    Examples
    --------
    >>> from skst.datasets import make_spatial_domains
    >>> from skst.plotting import plot_domains
    >>> ax = plot_domains(make_spatial_domains(200, random_state=0), "label", title="truth")
    >>> ax.get_title()
    'truth'
    """
    coordinates = read_coordinates(adata_or_coordinates, spatial_key)
    if row_names(adata_or_coordinates) is None:
        (reference,) = match_rows(labels, origin="labels", reference=reference)
    labels = label_column(adata_or_coordinates, labels, "labels", len(coordinates))
    if reference is not None:
        reference = label_column(adata_or_coordinates, reference, "reference", len(coordinates))
    colours = assign_colours(labels, reference, palette)
    if ax is None:
        ax = new_figure(1, coordinates).axes[0]
    bare(ax, coordinates, title or "")
    if micrometers is not None:
        add_scale_bar(ax, coordinates, micrometers)
    size = touching_size(ax, coordinates) if spot_size is None else spot_size
    unlabelled = labels.isna().to_numpy()
    groups = [(None, UNLABELLED_COLOUR, unlabelled)] if unlabelled.any() else []
    groups += [(label, colour, (labels == label).to_numpy()) for label, colour in colours.items()]
    for label, colour, mask in groups:
        name = "unlabelled" if label is None else str(label)
        # One picture per group, not one path per spot: a vector file of a large slice stays small.
        ax.scatter(
            *coordinates[mask].T,
            s=size,  # type: ignore[misc]
            color=colour,
            label=name,
            linewidths=0,
            rasterized=len(coordinates) > 10_000,
        )
    if legend:
        add_legend(ax, ax, size, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def plot_domain_comparison(
    adata: Any,
    *,
    truth: Labels,
    predictions: Mapping[str, Labels],
    spatial_key: str = "spatial",
    spot_size: float | None = None,
    micrometers: float | None = None,
) -> "Figure":
    """Draw the known domains and, beside them, what methods found.

    Parameters
    ----------
    adata : AnnData or array-like of shape (n_spots, 2)
        Positions of the spots.
    truth : array-like of shape (n_spots,) or str
        Known labels, or the name of an ``obs`` column.
    predictions : dict of str to array-like of shape (n_spots,), or to str
        Labels, or the names of ``obs`` columns, by the name of their method.
    spatial_key : str, default="spatial"
        Where the coordinates of an AnnData are.
    spot_size : float, default=None
        Area of a spot in square points; by default spots just touch.
    micrometers : float, default=None
        As of :func:`plot_domains`, in the first panel.

    Returns
    -------
    matplotlib.figure.Figure
        One panel for the truth and one for each method, titled with its adjusted Rand index over the labelled
        spots.

    Raises
    ------
    ValueError
        If `predictions` is empty, or as :func:`plot_domains`.

    Examples
    --------
    >>> from skst.datasets import make_spatial_domains
    >>> from skst.plotting import plot_domain_comparison
    >>> adata = make_spatial_domains(200, random_state=0)
    >>> figure = plot_domain_comparison(adata, truth="label", predictions={"same": "label"})
    >>> [ax.get_title() for ax in figure.axes]
    ['known', 'same\\nARI 1.00']
    """
    check_named(predictions, "predictions", "give at least one labelling by the name of its method")
    coordinates = read_coordinates(adata, spatial_key)
    if row_names(adata) is None:
        named = {f"predictions[{name!r}]": labels for name, labels in predictions.items()}
        predictions = dict(zip(predictions, match_rows(truth, origin="truth", **named), strict=True))
    truth = label_column(adata, truth, "truth", len(coordinates))
    panels = {"known": truth}
    for name, labels in predictions.items():
        labels = label_column(adata, labels, f"predictions[{name!r}]", len(coordinates))
        found = labels.notna()
        ari = score_partition(truth[found], labels[found])["ari"]
        panels[f"{name}\nARI {ari:.2f}"] = labels
    figure = new_figure(len(panels), coordinates)
    for ax, (title, labels) in zip(figure.axes, panels.items(), strict=False):
        if spot_size is None:
            spot_size = touching_size(ax, coordinates)
        reference = None if labels is truth else truth
        plot_domains(
            coordinates,
            labels,
            reference=reference,
            ax=ax,
            title=title,
            spot_size=spot_size,
            legend=False,
            micrometers=micrometers if labels is truth else None,
        )
        # one scale for all, whether or not a bar stands below
        ax.set_ylim(figure.axes[0].get_ylim())
    add_legend(figure, figure.axes[0], spot_size, loc="outside right center")
    for ax in figure.axes[len(panels) :]:
        ax.remove()
    return figure


def plot_modulation(
    adata_or_coordinates: Any,
    factor: ArrayLike,
    *,
    n_factors: int = 6,
    name: str = "dimension",
    spot_size: float | None = None,
    spatial_key: str = "spatial",
) -> "Figure":
    """Draw the leading dimensions of a modulation factor on the tissue.

    Parameters
    ----------
    adata_or_coordinates : AnnData or array-like of shape (n_spots, 2)
        Positions, in ``obsm[spatial_key]`` of an AnnData; the y axis points down, as in an image.
    factor : array-like of shape (n_spots, d), float
        Factor of each spot, such as ``modulation_.alpha`` of a :class:`~skst.SemSTClusterer`.
    n_factors : int, default=6
        Dimensions drawn: those of largest standard deviation over the spots, the largest first.
    name : str, default="dimension"
        What the titles call a dimension, before its number.
    spot_size : float, default=None
        Area of a spot in square points; by default spots just touch.
    spatial_key : str, default="spatial"
        Where the coordinates of an AnnData are.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a dimension, each with its standard deviation.  Colours show the difference from the mean over spots,
        on one scale for all panels that is cut off at the 99 % largest difference.

    Raises
    ------
    ValueError
        If `factor` is no table with one row a spot, is not finite, or `n_factors` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.plotting import plot_modulation
    >>> coordinates = np.array([[i, j] for i in range(6) for j in range(6)])
    >>> figure = plot_modulation(coordinates, np.column_stack([coordinates[:, 0] / 50, coordinates[:, 1]]))
    >>> [ax.get_title() for ax in figure.axes[:2]]
    ['dimension 1\\nSD 1.71', 'dimension 0\\nSD 0.0342']
    """
    coordinates = read_coordinates(adata_or_coordinates, spatial_key)
    (factor,) = match_rows(adata_or_coordinates, factor=factor)
    try:
        factor = np.asarray(factor, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"factor holds something else than numbers ({told(error)}); give one row of numbers a spot."
        ) from error
    if factor.ndim != 2 or len(factor) != len(coordinates) or not factor.size:
        raise ValueError(
            f"factor has shape {factor.shape} but there are {len(coordinates)} spots; give one row a spot."
        )
    if not np.isfinite(factor).all():
        raise ValueError("factor is NaN or infinite in places; draw the factors of a fit that converged.")
    if n_factors < 1:
        raise ValueError(f"n_factors={n_factors} must be at least 1.")
    spread = factor.std(axis=0)
    leading = np.argsort(-spread, kind="stable")[:n_factors]
    shown = factor[:, leading] - factor[:, leading].mean(axis=0)
    limit = float(np.quantile(np.abs(shown), 0.99)) or 1.0
    figure = new_figure(len(leading), coordinates)
    for ax, dimension, values in zip(figure.axes, leading, shown.T, strict=False):
        bare(ax, coordinates, f"{name} {dimension}\nSD {spread[dimension]:.3g}")
        size = touching_size(ax, coordinates) if spot_size is None else spot_size
        points = ax.scatter(
            *coordinates.T,
            s=size,
            c=values,
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
            linewidths=0,
            rasterized=len(values) > 10_000,
        )
    panels = figure.axes[: len(leading)]
    for ax in figure.axes[len(leading) :]:
        ax.remove()
    figure.colorbar(points, ax=panels, shrink=0.6, extend="both", label="difference from the mean")
    return figure
