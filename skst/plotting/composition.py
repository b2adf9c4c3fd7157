"""What samples are made of."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skst.plotting._axes import check_table, drawable, read_axes
from skst.plotting._colours import assign_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_composition(shares: pd.DataFrame, *, palette: Any = None, ax: "Axes | None" = None) -> "Axes":
    """Draw the share of each domain in each sample as a stacked bar.

    Parameters
    ----------
    shares : DataFrame of shape (n_samples, n_domains)
        From :func:`skst.inspection.domain_composition`.
    palette : sequence of colours or dict from label to colour, default=None
        As of :func:`plot_domains`, whose colours these are.
    ax : matplotlib Axes, default=None
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Raises
    ------
    ValueError
        If `shares` is no table of numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> from skst.plotting import plot_composition
    >>> shares = pd.DataFrame({"0": [0.5, 0.2], "1": [0.5, 0.8]}, index=["donor 1", "donor 2"])
    >>> plot_composition(shares).get_xlabel()
    'share of spots'
    """
    fix = "pass what skst.inspection.domain_composition returns"
    check_table(shares, "shares", (), fix)
    if shares.empty or not all(pd.api.types.is_numeric_dtype(dtype) for dtype in shares.dtypes):
        raise ValueError(f"shares has no numbers to draw; {fix}.")
    ax = read_axes(ax, (6.4, 1.2 + 0.35 * len(shares)))
    colours = assign_colours(pd.Series(shares.columns.to_list(), dtype=object), None, palette)
    rows = np.arange(len(shares))
    start = np.zeros(len(shares))
    for domain, colour in colours.items():
        values = shares[domain].to_numpy(dtype=float)
        ax.barh(rows, values, left=start, color=colour, edgecolor="white", linewidth=0.5, label=drawable(domain))
        start += values
    ax.set_yticks(rows, [drawable(name) for name in shares.index], parse_math=False)
    ax.invert_yaxis()
    ax.set(xlabel="share of spots", xlim=(0, max(1.0, float(start.max()))))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(title="domain", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax
