"""Markdown from tables of runs: means and spreads, paired differences, and a head that says where from."""

import importlib.metadata
import os
import platform
import shlex
from pathlib import Path

import pandas as pd

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "anndata", "torch", "sentence-transformers")


def head(title, rows, script, argv):
    """Title, command, commit, date, versions and machine of a report.

    Parameters
    ----------
    title : str
    rows : DataFrame
        Table of runs with the columns "version", "commit", "code" and "date".
    script : str
        File name of the benchmark.
    argv : list of str
        Its arguments.

    Returns
    -------
    str
    """
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES)
    made = {name: ", ".join(rows[name].astype(str).unique()) for name in ("version", "commit", "code", "date")}
    return "\n".join(
        [
            f"# {title}",
            "",
            f"- Command: `{f'python benchmarks/{script} {shlex.join(argv)}'.strip()}`",
            f"- skst {made['version']}, commit {made['commit']}, code {made['code']}, {made['date']}",
            f"- Python {platform.python_version()}, {versions}",
            f"- {_machine()}",
            "",
        ]
    )


def _machine():
    names = [platform.machine()]
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")] or names
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    return f"{names[0]}, {os.cpu_count()} cores, {memory:.0f} GiB, OMP_NUM_THREADS={threads}, {platform.system()}"


def section(title, text, *frames):
    """A heading, a sentence or two, and tables."""
    return "\n" + "\n\n".join([f"## {title}", text, *map(markdown, frames)]) + "\n"


def markdown(frame):
    """A table, padded so that it reads as plain text too.

    Parameters
    ----------
    frame : DataFrame
        Its index is the first column; cells are shown as they are, missing ones as a dash.

    Returns
    -------
    str
    """
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
    """How many seeds there are, as a sentence; methods with fewer are named.

    Parameters
    ----------
    rows : DataFrame
        Table of runs.

    Returns
    -------
    str
    """
    runs = rows.groupby(["method", "data"], sort=False)["seed"].nunique()
    fewest, most = runs.groupby("method", sort=False).min(), int(runs.max())
    fewer = [f"{method} {number}" for method, number in fewest.items() if number < most]
    return f"Seeds: {most}{', but ' + ', '.join(fewer) if fewer else ''}."


def by_method(rows, value, *, index="data", digits=3):
    """Mean ± SD over seeds of one column, one row a data set and one column a method.

    Parameters
    ----------
    rows : DataFrame
        Table of runs.
    value : str
        Column to show.
    index : str, default="data"
        Column that becomes the rows.
    digits : int, default=3

    Returns
    -------
    DataFrame of str
        The last row is the mean over the rows that all methods have, left out if these are fewer than two.
    """
    names, methods = rows[index].unique(), rows["method"].unique()
    groups = rows.groupby([index, "method"], sort=False)[value]
    table = groups.apply(spread, digits).unstack().reindex(index=names, columns=methods)
    complete = groups.mean().unstack()[methods].dropna()
    if len(complete) > 1:
        label = "mean" if len(complete) == len(table) else f"mean of {len(complete)}"
        table.loc[label] = [f"{mean:.{digits}f}" for mean in complete.mean()]
    return table.rename_axis(index)


def paired(rows, references, *, method="SpaLLMFusion", value="ari", index="data"):
    """Differences between one method and others, taken between runs of the same seed.

    Parameters
    ----------
    rows : DataFrame
        Table of runs.
    references : sequence of str
        Methods to subtract; those without runs are left out.
    method : str, default="SpaLLMFusion"
    value : str, default="ari"
    index : str, default="data"

    Returns
    -------
    DataFrame of str
        Mean difference ± SD over seeds; the last row is the mean of the rows above ± their SD.  Empty without
        runs to compare.
    """
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


def comparisons(rows, tables, texts, *, main, data, only=None):
    """The tables of an estimator: each compares its first method with the others.

    Parameters
    ----------
    rows : DataFrame
        Table of runs.
    tables : dict of str to dict
        Title -> methods, by name.
    texts : dict of str to str
        Title -> what the table shows.
    main : str
        The table of the estimator beside other methods, which has all seeds and more scores; the others have three.
    data : iterable of str
        Data sets in the order of the rows.
    only : dict of str to sequence of str, default=None
        Title -> data sets, for tables that are not of all.

    Returns
    -------
    str
        Tables of which fewer than two methods were run are left out.
    """
    sections = [
        "\nEvery method is told k, the number of labels; the labels themselves only score.  Mean ± standard deviation "
        "over seeds of the adjusted Rand index; differences are between runs of one seed.  The tables are filled from "
        "all runs that this code has made, whichever command made them; the command above is the last.\n"
    ]
    for table, methods in tables.items():
        shown = data if only is None else only.get(table, data)
        part = rows[rows["method"].isin(methods) & rows["data"].isin(list(shown))]
        if table != main:
            part = part[part["seed"] < 3]
        if part["method"].nunique() < 2:
            continue
        part = part.sort_values("method", kind="stable", key=lambda names: names.map(list(methods).index))
        part = part.sort_values("data", kind="stable", key=lambda names: names.map(list(data).index))
        first, *others = methods
        frames = [by_method(part, "ari"), paired(part, others, method=first)]
        if table == main:
            frames += [by_method(part, "nmi"), by_method(part, "seconds", digits=1)]
        text = f"{texts[table]}  {seed_counts(part)}"
        if table == main:
            text += "  Then differences, normalised mutual information, and seconds with text vectors at hand."
        sections.append(section(table, text, *(frame for frame in frames if not frame.empty)))
    return "".join(sections)
