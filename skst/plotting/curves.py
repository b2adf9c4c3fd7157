"""The choice of the number of domains, and scores under each text."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skst.palette import PALETTE
from skst.plotting._axes import check_table, drawable, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_k_curve(curve: Any, ax: "Axes | None" = None) -> "Axes":
    """Draw the criterion by which a number of clusters was chosen.

    Parameters
    ----------
    curve : DataFrame or estimator
        One row for each number tried: ``n_clusters``, ``criterion``, and ``chosen``, true in the row taken; or what was
        fitted with ``n_clusters=None`` and keeps such a table as ``n_clusters_curve_``.
    ax : matplotlib Axes, default=None
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on.

    Raises
    ------
    ValueError
        If a column is missing, or the estimator was told the number.

    See Also
    --------
    skst.partition.estimate_n_clusters : Makes the table.

    Examples
    --------
    >>> import pandas as pd
    >>> from skst.plotting import plot_k_curve
    >>> curve = pd.DataFrame({"n_clusters": [2, 3], "criterion": [0.4, 0.9], "chosen": [False, True]})
    >>> plot_k_curve(curve).get_xlabel()
    'number of clusters'
    """
    columns = ("n_clusters", "criterion", "chosen")
    fix = "pass a table with n_clusters, criterion and chosen, or an estimator fitted with n_clusters=None"
    curve = getattr(curve, "n_clusters_curve_", curve)
    check_table(curve, "curve", columns, fix)
    if ax is None:
        ax = new_figure(1).axes[0]
    curve = curve.sort_values("n_clusters")
    chosen = curve[curve["chosen"].astype(bool)]
    ax.plot(curve["n_clusters"], curve["criterion"], "-o", color=PALETTE[0], markersize=4)
    ax.plot(chosen["n_clusters"], chosen["criterion"], "o", color=PALETTE[3], markersize=9, label="chosen")
    ax.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    ax.set(xlabel="number of clusters", ylabel="criterion")
    ax.spines[["top", "right"]].set_visible(False)
    if len(chosen):
        ax.legend(frameon=False)
    return ax


def plot_text_scores(scores: pd.DataFrame) -> "Figure":
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
    fix = "pass the scores of a semantic_permutation_test"
    check_table(scores, "scores", ("text", "replicate", "score", "value"), fix)
    if not len(scores):
        raise ValueError(f"scores lacks rows; {fix}.")
    texts, names = list(scores["text"].unique()), list(scores["score"].unique())
    figure = new_figure(len(names))
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
        ax.set_xlabel(drawable(name), parse_math=False)
        ax.set_yticks(range(len(texts)), [drawable(text) for text in texts], parse_math=False)
        ax.spines[["top", "right"]].set_visible(False)
        ax.invert_yaxis()
    return figure
