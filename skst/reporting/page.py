"""What was found, as one HTML file that needs nothing else."""

import base64
import io
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from skst._version import __version__
from skst.files.whole import write_whole
from skst.inputs.labels import Labels
from skst.inputs.rows import is_anndata
from skst.palette import PALETTE
from skst.plotting import plot_domains
from skst.reporting.facts import Facts, gather
from skst.reporting.markup import Markup, element, name, table

if TYPE_CHECKING:
    import os

    from anndata import AnnData

# Slices drawn, and bytes of the picture, at most.
_PANELS = 12
_BYTES = 2_000_000

# No script, and nothing from elsewhere, whatever a name may hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1d2229; --faint: #57606a; --line: #d0d7de; --note: #fff4d6; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14181e; --text: #e6e9ed; --faint: #a4adb8; --line: #3a424c; --note: #3b3116; }
}
body { background: var(--ground); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 60rem; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0.5rem 0; } h2 { font-size: 1.15rem; margin: 1.8rem 0 0.5rem; }
img { display: block; height: auto; max-width: 100%; margin: 0 auto; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.92rem; overflow-wrap: normal; }
th, td { border-bottom: 1px solid var(--line); padding: 0.3rem 0.8rem 0.3rem 0; text-align: left; vertical-align: top; }
.sizes td:nth-child(2), .sizes td:nth-child(3) { text-align: right; font-variant-numeric: tabular-nums; }
.swatch { border-radius: 50%; display: inline-block; height: 0.8em; margin-right: 0.5em; width: 0.8em;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.cautions { background: var(--note); border-radius: 0.4rem; padding: 0.6rem 1rem 0.6rem 2rem; }
.faint, footer { color: var(--faint); font-size: 0.88rem; } footer { margin-top: 2.5rem; }
.parameters td:first-child, .genes { font-family: ui-monospace, monospace; font-size: 0.85rem; }
@media print {
  :root { color-scheme: light; --ground: #fff; --text: #000; --faint: #444; --line: #bbb; --note: #f4f4f4; }
  body { max-width: none; padding: 0; } .wide { overflow: visible; }
  h2 { break-after: avoid; } tr, img { break-inside: avoid; }
}
"""


def report(
    model: Any,
    adata: "AnnData",
    path: "str | os.PathLike[str]",
    *,
    truth: Labels | None = None,
    names: Any = None,
    seconds: Mapping[str, float] | None = None,
    title: str | None = None,
) -> Path:
    """Write what an estimator found into one HTML file.

    The file has the clusters on the tissue, or, of cells without places, on the two main axes of the embedding; their
    sizes and marker genes; scores, parameters and versions; and what to be wary of.  It needs no script and nothing
    from elsewhere, fits a phone and a sheet of paper, and follows the reader's choice of light or dark.

    Parameters
    ----------
    model : estimator
        Fitted :class:`skst.SpaLLMFusion`, :class:`skst.SemSTClusterer`, :class:`skst.STLLMClusterer` or
        :class:`skst.LLMDSCClusterer`.
    adata : AnnData
        Spots of ``fit``, or others, which are predicted; in memory, and left as it is.
    path : path-like
        The file; its folder is made if it is not there, and a file of that name is replaced.
    truth : array-like of shape (n_spots,) or str, default=None
        Known labels, or the name of an ``obs`` column, to score against; spots without a label are left out.
    names : DataFrame, Series or dict, default=None
        Names of clusters by their numbers; a DataFrame as from :func:`skst.inspection.annotate`, with names in
        "cell_type".  By default those that a :class:`skst.STLLMClusterer` told, and for types of cells those of
        :func:`skst.inspection.annotate`.
    seconds : dict of str to float, default=None
        What steps took, as you have measured it.  What training took is known to the estimator.
    title : str, default=None
        Heading; by default the estimator.  Below stands where the data are from, if ``uns["source"]`` says so.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    TypeError
        If `adata` is no AnnData, or `model` cannot write what it found into one.
    ValueError
        If `adata` is in its file, or a column is missing.

    Notes
    -----
    Names of genes, clusters, slices and files are escaped; the page forbids scripts besides.

    Examples
    --------
    >>> import tempfile
    >>> import skst
    >>> from skst.datasets import make_spatial_domains
    >>> adata = make_spatial_domains(n_samples=300, n_domains=3, random_state=0)
    >>> model = skst.SpaLLMFusion(strategy="expression", n_clusters=3, random_state=0).fit(adata)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     skst.report(model, adata, f"{folder}/domains.html", truth="label").name
    'domains.html'
    """
    if not is_anndata(adata):
        raise TypeError(f"adata is of type {type(adata).__name__}, which no report can be made of; pass an AnnData.")
    if not hasattr(model, "write"):
        raise TypeError(
            f"model is of type {type(model).__name__}, which finds no clusters; pass an estimator that does."
        )
    if adata.isbacked:
        raise ValueError("adata is in its file, and a report reads all of it; pass adata.to_memory().")
    check_is_fitted(model)
    facts = gather(model, adata, truth, names)
    title = title or facts.record["estimator"]
    steps = {**(seconds or {}), **_training(model)}
    page = "<!doctype html>\n" + element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", title),
            element("style", Markup(_STYLE)),
        ),
        element("body", element("main", _sections(facts, adata, title, steps)), _foot(facts)),
        lang="en",
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(page.encode("utf-8")))
    return path


def _sections(facts, adata, title, steps):
    n_found = len(np.unique(facts.labels[facts.labels >= 0]))
    parts = [
        element("h1", name(title)),
        element("p", f"{adata.n_obs:,} spots, {adata.n_vars:,} genes, {n_found} clusters.", class_="faint"),
    ]
    if isinstance(source := adata.uns.get("source"), str):
        parts += [element("p", element("bdi", source), class_="faint")]
    if facts.cautions:
        parts += [element("ul", *(element("li", caution) for caution in facts.cautions), class_="cautions")]
    parts += [_picture(facts), element("h2", "Clusters"), _clusters(facts)]
    if facts.scores:
        rows = [
            (what, f"{value:.3f}", element("span", meaning, class_="faint")) for what, value, meaning in facts.scores
        ]
        parts += [element("h2", "Scores"), table(("score", "value", "what it says"), rows)]
    if steps:
        rows = [(name(step), f"{value:.1f}") for step, value in steps.items()]
        parts += [element("h2", "Time"), table(("step", "seconds"), rows)]
    given = {key: value for key, value in sorted(facts.record["params"].items()) if value != "None"}
    rows = [(name(key), name(value)) for key, value in given.items()]
    return [*parts, element("h2", "Parameters"), table(("parameter", "value"), rows, "parameters")]


def _clusters(facts):
    sizes = np.bincount(facts.labels[facts.labels >= 0], minlength=facts.record["n_clusters"])
    head = ["cluster", "spots", "share", *(["name"] if facts.names else []), *(["marker genes"] if facts.genes else [])]
    rows = []
    for number, size in enumerate(sizes):
        row = [_swatch(number), f"{size:,}", f"{size / len(facts.labels):.1%}"]
        if facts.names:
            row.append(name(facts.names[number]) if number in facts.names else "-")
        if facts.genes:
            genes = [[name(gene), " "] for gene in facts.genes.get(number, [])]
            row.append(element("span", *genes, class_="genes"))
        rows.append(row)
    return table(head, rows, "sizes")


def _swatch(number):
    return [element("span", class_="swatch", style=f"background:{_colour(number)}"), str(number)]


def _colour(number):
    return PALETTE[number % len(PALETTE)]


def _picture(facts: Facts) -> Markup:
    """Clusters where spots lie, one panel a slice, without ground or text, so that it fits light and dark."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    batch = pd.Series("", index=range(len(facts.labels))) if facts.batch is None else facts.batch.reset_index(drop=True)
    places = facts.plane if facts.places is None else facts.places
    labels = pd.Series(facts.labels).where(facts.labels >= 0)
    slices = sorted(batch.unique())
    shown = slices[:_PANELS]
    n_columns = min(len(shown), 4)
    n_rows = -(-len(shown) // n_columns)
    figure = Figure(figsize=(8.5, min(6.5, 8.5 / n_columns) * n_rows), layout="constrained")
    FigureCanvasAgg(figure)
    palette = {number: _colour(number) for number in range(facts.record["n_clusters"])}
    for number, one in enumerate(shown):
        rows = (batch == one).to_numpy()
        ax = figure.add_subplot(n_rows, n_columns, number + 1)
        plot_domains(places[rows], labels[rows].to_numpy(), palette=palette, ax=ax, legend=False)
    where = "on the tissue" if facts.places is not None else "on the two main axes of the embedding"
    alt = f"Clusters {where}, in the colours of the table below"
    told = f"Clusters {where}." + (f" Slices {', '.join(shown)}" if len(slices) > 1 else "")
    told += f" of {len(slices)}, row by row." if len(slices) > 1 else ""
    picture = element("img", src=f"data:image/png;base64,{_png(figure)}", alt=alt)
    return element("figure", picture, element("figcaption", told, class_="faint"), style="margin:0")


def _png(figure):
    """The picture in base64, coarser where it would be too large."""
    for dpi in (150, 100, 60):
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=dpi, transparent=True)
        if file.tell() <= _BYTES:
            break
    return base64.b64encode(file.getvalue()).decode("ascii")


def _training(model):
    """Seconds that the estimator counted itself."""
    history = getattr(model, "history_", None)
    if not isinstance(history, pd.DataFrame) or "dur" not in history:
        return {}
    return {"training": float(history["dur"].sum())}


def _foot(facts):
    versions = ", ".join(f"{library} {version}" for library, version in facts.record["versions"].items())
    made = f"Made by skst {__version__} on {date.today().isoformat()}. Fitted with {versions}."
    return element("footer", made, " Data of the fit: ", element("code", str(facts.record["data_hash"])), ".")
