"""Markdown from tables of runs: means and spreads, paired differences, and a head that says where from."""

import importlib.metadata
import os
import platform
import re
from functools import partial
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from benchmarks import data, methods, records

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "anndata", "torch", "sentence-transformers")


def head(rows, command):
    """Command, commit, date, versions and machine of a page; `rows` tell by what code they were made."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES)
    made = {name: ", ".join(rows[name].astype(str).unique()) for name in ("version", "commit", "code", "date")}
    return f"""- Command: `python -m benchmarks {command}`
- skst {made["version"]}, commit {made["commit"]}, code {made["code"]}, {made["date"]}
- Python {platform.python_version()}, {versions}
- {_machine()}"""


def _machine():
    names = [platform.machine()]
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")] or names
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    return f"{names[0]}, {os.cpu_count()} cores, {memory:.0f} GiB, OMP_NUM_THREADS={threads}, {platform.system()}"


def page(name, context):
    """The file of this name in ``layouts``, filled in.

    It can call what is in this module, in those of data, methods and records, and in `context`; data frames are shown
    as tables.  Sections without a table are left out.
    """
    layouts = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("layouts")),
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    known = {**vars(data), **vars(methods), **vars(records), **globals(), "len": len}
    text = layouts.get_template(f"{name}.md").render(known | context)
    first, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    text = "\n\n".join([first, *(section for section in sections if "\n|" in section)])
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _shown(value):
    if isinstance(value, pd.DataFrame):
        return "" if value.empty else markdown(value)
    if isinstance(value, list):
        return "\n\n".join(filter(None, map(_shown, value)))
    return str(value)


def markdown(frame):
    """A table, padded so that it reads as plain text too; the index comes first, what is missing is a dash."""
    body = frame.astype(object).where(frame.notna(), "-")
    columns = [[frame.index.name or "", *map(str, frame.index)]]
    columns += [[str(name), *map(str, body.iloc[:, i])] for i, name in enumerate(frame.columns)]
    padded = []
    for number, column in enumerate(columns):
        width = max(3, *map(len, column))
        rule, pad = ("-" * width, str.ljust) if number == 0 else ("-" * (width - 1) + ":", str.rjust)
        padded.append([pad(column[0], width), rule, *(pad(cell, width) for cell in column[1:])])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*padded, strict=True))


def spread(values, digits=3, sign=""):
    """Mean and, where there are several values, sample standard deviation, as text."""
    mean = f"{values.mean():{sign}.{digits}f}"
    return f"{mean} ± {values.std():.{digits}f}" if len(values) > 1 else mean


def seed_counts(rows):
    """How many seeds there are, as a sentence; methods with fewer are named."""
    if rows.empty:
        return ""
    runs = rows.groupby(["method", "data"], sort=False)["seed"].nunique()
    fewest, most = runs.groupby("method", sort=False).min(), int(runs.max())
    fewer = [f"{method} {number}" for method, number in fewest.items() if number < most]
    return f"Seeds: {most}{', but ' + ', '.join(fewer) if fewer else ''}."


def wide(rows, value, index, columns="method", how="mean"):
    """One row for each value of `index` and one column for each of `columns`, in the order of the rows.

    `how` makes one of several values of a column.
    """
    table = rows.groupby([index, columns], sort=False)[value].agg(how).unstack()
    return table.reindex(index=rows[index].unique(), columns=rows[columns].unique())


def by_method(rows, value, *, index="data", digits=3):
    """Mean ± SD over seeds of one column, one row a data set (or other `index`) and one column a method, as text.

    The last row is the mean over the rows that all methods have, left out if these are fewer than two.
    """
    if rows.empty:
        return rows
    table = wide(rows, value, index, how=partial(spread, digits=digits))
    complete = wide(rows, value, index).dropna()
    if len(complete) > 1:
        label = "mean" if len(complete) == len(table) else f"mean of {len(complete)}"
        table.loc[label] = [f"{mean:.{digits}f}" for mean in complete.mean()]
    return table


def paired(rows, references, *, method="SpaLLMFusion", value="ari", index="data"):
    """Differences between one method and others, taken between runs of the same seed: mean ± SD over seeds, as text.

    The last row is the mean of the rows above ± their SD.  Methods without runs are left out; empty without any.
    """
    if rows.empty:
        return rows
    wide = rows.set_index([index, "seed", "method"])[value].unstack()
    columns = {}
    for name in references:
        if not {name, method} <= set(wide):
            continue
        differences = (wide[method] - wide[name]).dropna().groupby(level=index)
        column = differences.apply(spread, sign="+")
        column.loc["mean over rows"] = spread(differences.mean(), sign="+")
        columns[f"minus {name}"] = column
    table = pd.DataFrame(columns)
    return table.reindex([*rows[index].unique(), "mean over rows"]).dropna(how="all").rename_axis(index)


def averaged(rows, values, *names):
    """Means of one column or more over the rows that share the columns `names`."""
    return rows.groupby([*names], sort=False)[values].mean().reset_index()


def in_order(rows, order):
    """Rows sorted by the columns of `order`, each by the place of its names there, or by its values where that is None.

    Rows whose names have no place are left out.
    """
    if rows.empty or not order:
        return rows.reindex(columns=dict.fromkeys([*rows, *order]))
    places = {column: list(names) for column, names in order.items() if names is not None}
    for column, names in places.items():
        rows = rows[rows[column].isin(names)]

    def place(column):
        return column.map(places[column.name].index) if column.name in places else column

    return rows.sort_values(list(order), kind="stable", key=place)


def by_stage(rows, value, *, index="n_spots", columns="stage", name="cells", digits=None):
    """One row a size and one column a stage, in the order of the rows; numbers as they are without `digits`.

    What became of a run that was ended, if "outcome" tells it, stands in place of its number.
    """
    if rows.empty:
        return rows
    shown = rows[value] if digits is None else rows[value].map(f"{{:.{digits}f}}".format)
    if "outcome" in rows:
        shown = shown.where(rows["outcome"] == "done", rows["outcome"])
    return wide(rows.assign(shown=shown), "shown", index, columns, "first").rename_axis(name)


def costs(rows, whole, *, digits=None, **layout):
    """Two tables as of `by_stage`: seconds with the score of the stage `whole`, and peak memory with that before it."""
    if rows.empty:
        return rows, rows
    layout = {"index": "n_spots", "columns": "stage", **layout}
    found = rows[rows[layout["columns"]] == whole].set_index(layout["index"])
    seconds = by_stage(rows, "seconds", **layout, digits=digits).assign(ARI=found["ari"])
    memory = by_stage(rows, "peak_mib", **layout, digits=0)
    memory.insert(0, "data alone", found["data_mib"])
    return seconds, memory


def shares(levels):
    """Names and shares of quality levels, in words."""
    return ", ".join(f"{level} {data.LEVELS[level]:.2%}" for level in levels)


def commits(rows, repositories, of="method"):
    """Which published code rows are of, as a sentence, if there is any; the column `of` tells the repository."""
    found = rows.dropna(subset="published").drop_duplicates(of).set_index(of)["published"]
    which = ", ".join(f"github.com/{repositories[name]} at {commit}" for name, commit in found.items())
    return f"  Published code: {which}." if which else ""


def growth(rows, path, *, where="index >= 0", size="n_spots", stage="stage", bold=None):
    """Draw seconds and peak memory of each stage against the number of cells, both logarithmic; `bold` is the whole.

    `where` is a query that tells the rows; without any there is no figure.
    """
    from matplotlib.figure import Figure

    rows = rows.query(where, engine="python")
    if rows.empty:
        return
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True)
    for ax, (column, name) in zip(panels, {"seconds": "seconds", "peak_mib": "peak MiB"}.items(), strict=True):
        for label, part in rows.sort_values(size).groupby(stage, sort=False):
            style = {"color": "black", "linewidth": 2} if label == bold else {"linewidth": 1.2}
            ax.loglog(part[size], part[column], marker="o", label=label, **style)
        # Whole decades: within less than one, matplotlib crowds the axis with labels.
        low, high = np.log10([rows[column].min(), rows[column].max()])
        ax.set(xlabel="cells", ylabel=name, ylim=(10 ** np.floor(low), 10 ** np.ceil(high)))
        ax.grid(which="major", alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=150)
