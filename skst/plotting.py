"""Domains and modulation on the tissue, the choice of the number of domains, and scores under each text."""

import itertools

import numpy as np
import pandas as pd

from skst._contract import is_anndata
from skst.metrics import UNLABELLED, hungarian_match, score_partition

__all__ = [
    "PALETTE",
    "plot_domain_comparison",
    "plot_domains",
    "plot_k_curve",
    "plot_modulation",
    "plot_text_scores",
]

# Twenty colours.  The first seven are those of Okabe and Ito, told apart in all common forms of colour
# blindness; the others vary lightness as well as hue.
PALETTE = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442"),
    *("#332288", "#882255", "#999933", "#44AA99", "#661100", "#B8A0E0", "#117733"),
    *("#F4A6A0", "#1F3A4D", "#A6761D", "#AA4499", "#B5E2A0", "#5A5A5A"),
)
_UNLABELLED_COLOUR = "#D9D9D9"


def plot_domains(
    adata_or_coordinates,
    labels,
    *,
    reference=None,
    ax=None,
    title=None,
    spot_size=None,
    palette=None,
    legend=True,
    spatial_key="spatial",
):
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

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on: one scatter for each label, named by it.

    Raises
    ------
    ValueError
        If coordinates or a column are missing, lengths differ, or a palette lacks a label.

    Examples
    --------
    >>> from skst.datasets import make_spatial_domains
    >>> from skst.plotting import plot_domains
    >>> ax = plot_domains(make_spatial_domains(200, random_state=0), "label", title="truth")
    >>> ax.get_title()
    'truth'
    """
    coordinates = _coordinates(adata_or_coordinates, spatial_key)
    labels = _column(adata_or_coordinates, labels, "labels", len(coordinates))
    if reference is not None:
        reference = _column(adata_or_coordinates, reference, "reference", len(coordinates))
    colours = _colours(labels, reference, palette)
    if ax is None:
        ax = _figure(1, coordinates).axes[0]
    _bare(ax, coordinates, title or "")
    size = _touching(ax, coordinates) if spot_size is None else spot_size
    unlabelled = labels.isna().to_numpy()
    groups = [(None, _UNLABELLED_COLOUR, unlabelled)] if unlabelled.any() else []
    groups += [(label, colour, (labels == label).to_numpy()) for label, colour in colours.items()]
    for label, colour, mask in groups:
        name = "unlabelled" if label is None else str(label)
        # One picture per group, not one path per spot: a vector file of a large slice stays small.
        ax.scatter(
            *coordinates[mask].T,
            s=size,
            color=colour,
            label=name,
            linewidths=0,
            rasterized=mask.sum() > 10_000,
        )
    if legend:
        _legend(ax, ax, size, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def plot_domain_comparison(adata, *, truth, predictions, spatial_key="spatial", spot_size=None):
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
    if not predictions:
        raise ValueError("predictions is empty; give at least one labelling by the name of its method.")
    coordinates = _coordinates(adata, spatial_key)
    truth = _column(adata, truth, "truth", len(coordinates))
    panels = {"known": truth}
    for name, labels in predictions.items():
        labels = _column(adata, labels, f"predictions[{name!r}]", len(coordinates))
        found = labels.notna()
        ari = score_partition(truth[found], labels[found])["ari"]
        panels[f"{name}\nARI {ari:.2f}"] = labels
    figure = _figure(len(panels), coordinates)
    for ax, (title, labels) in zip(figure.axes, panels.items(), strict=False):
        if spot_size is None:
            spot_size = _touching(ax, coordinates)
        reference = None if labels is truth else truth
        plot_domains(coordinates, labels, reference=reference, ax=ax, title=title, spot_size=spot_size, legend=False)
    _legend(figure, figure.axes[0], spot_size, loc="outside right center")
    for ax in figure.axes[len(panels) :]:
        ax.remove()
    return figure


def plot_k_curve(curve, ax=None):
    """Draw the criterion by which a number of clusters was chosen.

    Parameters
    ----------
    curve : DataFrame
        One row for each number tried: ``n_clusters``, ``criterion``, and ``chosen``, true in the row taken.
    ax : matplotlib Axes, default=None
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> from skst.plotting import plot_k_curve
    >>> curve = pd.DataFrame({"n_clusters": [2, 3], "criterion": [0.4, 0.9], "chosen": [False, True]})
    >>> plot_k_curve(curve).get_xlabel()
    'number of clusters'
    """
    absent = [name for name in ("n_clusters", "criterion", "chosen") if name not in curve]
    if absent:
        raise ValueError(f"curve lacks the columns {absent}; pass a table with n_clusters, criterion and chosen.")
    if ax is None:
        ax = _figure(1).axes[0]
    curve = curve.sort_values("n_clusters")
    chosen = curve[curve["chosen"].astype(bool)]
    ax.plot(curve["n_clusters"], curve["criterion"], "-o", color=PALETTE[0], markersize=4)
    ax.plot(chosen["n_clusters"], chosen["criterion"], "o", color=PALETTE[3], markersize=9, label="chosen")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="number of clusters", ylabel="criterion")
    ax.spines[["top", "right"]].set_visible(False)
    if len(chosen):
        ax.legend(frameon=False)
    return ax


def plot_modulation(
    adata_or_coordinates, factor, *, n_factors=6, name="dimension", spot_size=None, spatial_key="spatial"
):
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
    coordinates = _coordinates(adata_or_coordinates, spatial_key)
    factor = np.asarray(factor, dtype=np.float64)
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
    figure = _figure(len(leading), coordinates)
    for ax, dimension, values in zip(figure.axes, leading, shown.T, strict=False):
        _bare(ax, coordinates, f"{name} {dimension}\nSD {spread[dimension]:.3g}")
        size = _touching(ax, coordinates) if spot_size is None else spot_size
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


def plot_text_scores(scores):
    """Draw the scores of refits with the real text and with each control.

    Parameters
    ----------
    scores : DataFrame
        ``scores`` of a :class:`skst.inspection.SemanticTest`: columns "text", "replicate", "score" and "value".

    Returns
    -------
    matplotlib.figure.Figure
        One panel a score: a point for each replicate (the mean over its seeds), a bar at the mean of each text, and
        a line through all texts at that of the real one.

    Raises
    ------
    ValueError
        If a column is missing, or there is no row.

    Examples
    --------
    >>> import pandas as pd
    >>> from skst.plotting import plot_text_scores
    >>> rows = [("real", 0, "ari", 0.6), ("real", 1, "ari", 0.5), ("permuted", 0, "ari", 0.4)]
    >>> figure = plot_text_scores(pd.DataFrame(rows, columns=["text", "replicate", "score", "value"]))
    >>> figure.axes[0].get_xlabel()
    'ari'
    """
    absent = [name for name in ("text", "replicate", "score", "value") if name not in scores]
    if absent or not len(scores):
        lack = f"the columns {absent}" if absent else "rows"
        raise ValueError(f"scores lacks {lack}; pass the scores of a semantic_permutation_test.")
    texts, names = list(scores["text"].unique()), list(scores["score"].unique())
    figure = _figure(len(names))
    figure.set_figheight(1.2 + 0.4 * len(texts))
    points = scores.pivot_table(index="replicate", columns=["score", "text"], values="value")
    for ax, name in zip(figure.axes, names, strict=False):
        for row, text in enumerate(texts):
            values = points[name].get(text, pd.Series(dtype=float)).dropna().to_numpy()
            # Spread within the row, in the order of the replicates, so that equal scores stay apart.
            offsets = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(len(values))
            ax.scatter(values, row + offsets, s=16, color=PALETTE[row], alpha=0.7, linewidths=0, label=text)
            if len(values):
                ax.plot([values.mean()] * 2, [row - 0.34, row + 0.34], color=PALETTE[row], linewidth=2.5)
            if len(values) and text == "real":
                ax.axvline(values.mean(), color=PALETTE[row], linewidth=0.8, linestyle=":", zorder=0)
        ax.set(xlabel=name, yticks=range(len(texts)), yticklabels=texts)
        ax.spines[["top", "right"]].set_visible(False)
        ax.invert_yaxis()
    return figure


def _bare(ax, coordinates, title):
    """Axes as an image has them: one scale, no ticks, no frame."""
    ax.set_aspect("equal")
    ax.set(xticks=[], yticks=[], title=title)
    for spine in ax.spines.values():
        spine.set_visible(False)
    _frame(ax, coordinates)


def _figure(n_panels, coordinates=None):
    """Figure of panels in the proportions of the tissue, with room for a legend."""
    import matplotlib.pyplot as plt

    width, height = (4.0, 3.2) if coordinates is None else np.ptp(coordinates, axis=0) + 1e-9
    panel = 3.6 * np.clip(width / height, 0.5, 2.0)
    n_columns = min(n_panels, 4)
    n_rows = -(-n_panels // n_columns)
    size = (panel * n_columns + 1.6, 4.0 * n_rows)
    return plt.subplots(n_rows, n_columns, figsize=size, layout="constrained")[0]


def _legend(owner, ax, size, **where):
    """Put the legend of `ax` on `owner`, the axes or their figure; its dots do not shrink with the spots."""
    handles, names = ax.get_legend_handles_labels()
    owner.legend(
        handles,
        names,
        frameon=False,
        fontsize="small",
        markerscale=np.sqrt(40 / size),
        ncols=1 + (len(names) - 1) // 15,
        handletextpad=0.2,
        **where,
    )


def _coordinates(source, spatial_key):
    if is_anndata(source):
        if spatial_key not in source.obsm:
            raise ValueError(f"spatial_key={spatial_key!r} is not in obsm, which holds {list(source.obsm)}.")
        source = source.obsm[spatial_key]
    coordinates = np.asarray(source, dtype=np.float64)
    if coordinates.ndim != 2 or coordinates.shape[1] < 2 or not len(coordinates):
        raise ValueError(f"coordinates have shape {coordinates.shape}; pass an array of shape (n_spots, 2).")
    return coordinates[:, :2]


def _column(source, labels, name, n_spots):
    """Labels of the spots as a Series, NaN where unlabelled."""
    if isinstance(labels, str):
        if not is_anndata(source) or labels not in source.obs:
            known = list(source.obs) if is_anndata(source) else "no columns"
            raise ValueError(f"{name}={labels!r} names no column of obs ({known}); pass one, or the labels.")
        labels = source.obs[labels]
    labels = pd.Series(np.asarray(labels, dtype=object))
    if len(labels) != n_spots:
        raise ValueError(f"{name} has {len(labels)} entries but there are {n_spots} spots; give one a spot.")
    return labels.mask(labels.isin(UNLABELLED))


def _colours(labels, reference, palette):
    """Label -> colour, in the order of the legend."""
    present = _sorted(labels.dropna().unique())
    if isinstance(palette, dict):
        absent = [label for label in present if label not in palette]
        if absent:
            raise ValueError(f"palette has no colour for the labels {absent}; add them.")
        return {label: palette[label] for label in present}
    palette = PALETTE if palette is None else palette
    if reference is None:
        return dict(zip(present, itertools.cycle(palette), strict=False))
    theirs = dict(zip(_sorted(reference.dropna().unique()), itertools.cycle(palette), strict=False))
    both = labels.notna() & reference.notna()
    matched = {}
    if both.any():
        names = hungarian_match(reference[both], labels[both])
        matched = {label: name for label, name in zip(labels[both], names, strict=True) if name is not None}
    unused = [colour for colour in palette if colour not in theirs.values()] or list(palette)
    spare = itertools.cycle(unused)
    colours = {label: theirs[matched[label]] if label in matched else next(spare) for label in present}
    order = list(theirs.values())
    return dict(sorted(colours.items(), key=lambda item: order.index(item[1]) if item[0] in matched else len(order)))


def _sorted(labels):
    try:
        return sorted(labels)
    except TypeError:  # numbers among strings
        return sorted(labels, key=str)


def _frame(ax, coordinates):
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    margin = 0.02 * max(*(high - low), 1e-9)
    ax.set_xlim(low[0] - margin, high[0] + margin)
    ax.set_ylim(high[1] + margin, low[1] - margin)


def _touching(ax, coordinates):
    """Area, in square points, of discs that fill the frame when spread evenly."""
    box = ax.get_window_extent()
    span = np.ptp(coordinates, axis=0)
    inches = min(box.width / max(span[0], 1e-9), box.height / max(span[1], 1e-9)) / ax.figure.dpi
    area = max(span[0], 1e-9) * max(span[1], 1e-9) * (72 * inches) ** 2
    return float(np.clip(area / len(coordinates), 0.5, 400))
