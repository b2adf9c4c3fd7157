"""Figures and axes that the plots share."""

import numbers

import numpy as np
import pandas as pd

from skst.inputs.places import as_numbers
from skst.inputs.rows import is_anndata

# Signs of a name that are drawn.
_LONGEST = 40


def bare(ax, coordinates, title):
    """Axes as an image has them: one scale, no ticks, no frame."""
    ax.set_aspect("equal")
    ax.set(xticks=[], yticks=[])
    ax.set_title(drawable(title), parse_math=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    _frame(ax, coordinates)


def drawable(name):
    """A name as it can be drawn: lone surrogates replaced, no control characters, and not longer than a line.

    A name with two dollar signs is no mathematics: pass ``parse_math=False`` beside it.
    """
    text = str(name).encode("utf-8", "replace").decode("utf-8")
    text = "".join(sign for sign in text[:_LONGEST] if sign == "\n" or sign.isprintable())
    return text + "..." if len(str(name)) > _LONGEST else text


def new_figure(n_panels, coordinates=None):
    """Figure of panels in the proportions of the tissue, with room for a legend."""
    import matplotlib.pyplot as plt

    width, height = (4.0, 3.2) if coordinates is None else np.ptp(coordinates, axis=0) + 1e-9
    panel = 3.6 * np.clip(width / height, 0.5, 2.0)
    # four of a tissue as wide as high, two of one that is twice as wide: writing stays readable on a page
    n_columns = min(n_panels, int(15 // panel))
    n_rows = -(-n_panels // n_columns)
    size = (panel * n_columns + 1.6, 4.0 * n_rows)
    return plt.subplots(n_rows, n_columns, figsize=size, layout="constrained")[0]


def check_table(table, name, columns, fix):
    """Raise unless `table` is a DataFrame with these columns."""
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"{name} is of type {type(table).__name__} where a DataFrame is expected; {fix}.")
    absent = [column for column in columns if column not in table]
    if absent:
        raise ValueError(f"{name} lacks the columns {absent}; {fix}.")


def check_named(values, name, fix):
    """Raise unless `values` is a dict that holds something."""
    if not isinstance(values, dict):
        raise ValueError(f"{name} is of type {type(values).__name__} where a dict is expected; {fix}.")
    if not values:
        raise ValueError(f"{name} is empty; {fix}.")


def read_axes(ax, size):
    """The axes given, or those of a new figure of `size` in inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def add_legend(owner, ax, size, **where):
    """Put the legend of `ax` on `owner`, the axes or their figure; its dots do not shrink with the spots."""
    handles = {part.get_label(): part for part in ax.collections if not part.get_label().startswith("_child")}
    list_names(owner, handles, markerscale=np.sqrt(40 / size), **where)


def list_names(owner, handles, **options):
    """Legend of `owner` from what stands for a name, by that name."""
    # matplotlib leaves out names that begin with an underscore, unless they are set afterwards.
    legend = owner.legend(
        list(handles.values()),
        [" "] * len(handles),
        frameon=False,
        fontsize="small",
        ncols=1 + (len(handles) - 1) // 15,
        handletextpad=0.2,
        **options,
    )
    for text, name in zip(legend.get_texts(), handles, strict=True):
        text.set(text=drawable(name), parse_math=False)


def read_coordinates(source, spatial_key):
    if is_anndata(source):
        if spatial_key not in source.obsm:
            raise ValueError(
                f"spatial_key={spatial_key!r} is not in obsm, which holds {list(source.obsm)}; name one of these, or "
                "pass positions."
            )
        source = source.obsm[spatial_key]
    coordinates = as_numbers(source)
    if coordinates.ndim != 2 or coordinates.shape[1] < 2 or not len(coordinates):
        raise ValueError(f"coordinates have shape {coordinates.shape}; pass an array of shape (n_spots, 2).")
    bad = ~np.isfinite(coordinates).all(axis=1)
    if bad.any():
        raise ValueError(f"coordinates of {bad.sum()} spots are NaN or infinite; drop these spots or locate them.")
    return coordinates[:, :2]


def _frame(ax, coordinates):
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    margin = 0.02 * max(*(high - low), 1e-9)
    ax.set_xlim(low[0] - margin, high[0] + margin)
    ax.set_ylim(high[1] + margin, low[1] - margin)


def add_scale_bar(ax, coordinates, micrometers):
    """Draw a bar of a round length below the tissue, a fifth of its width or somewhat less."""
    if not isinstance(micrometers, numbers.Real) or not 0 < micrometers < np.inf:
        raise ValueError(f"micrometers={micrometers!r} is no length of a unit; give a positive number, or None.")
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    longest = max(*(high - low), 1e-9) * micrometers / 5
    power = 10.0 ** np.floor(np.log10(longest))
    length = power * max(step for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))
    margin = 0.02 * max(*(high - low), 1e-9)
    y = high[1] + 2 * margin
    ax.plot([low[0], low[0] + length / micrometers], [y, y], color="0.25", linewidth=2, solid_capstyle="butt")
    told = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} \N{MICRO SIGN}m"
    ax.text(low[0] + length / micrometers / 2, y + margin, told, ha="center", va="top", fontsize="small", color="0.25")
    ax.set_ylim(high[1] + 7 * margin, low[1] - margin)


def touching_size(ax, coordinates):
    """Area, in square points, of discs that fill the frame when spread evenly."""
    box = ax.get_window_extent()
    span = np.ptp(coordinates, axis=0)
    inches = min(box.width / max(span[0], 1e-9), box.height / max(span[1], 1e-9)) / ax.figure.dpi
    area = max(span[0], 1e-9) * max(span[1], 1e-9) * (72 * inches) ** 2
    return float(np.clip(area / len(coordinates), 0.5, 400))
