"""What a benchmark is: runs to make, and a page to show them."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.data import DataSet

# Of benchmarks that measure cost: one run at a time has all cores, and no GPU.
COST = {"alone": True, "threads": os.cpu_count()}


@dataclass(frozen=True)
class Run:
    """Something to be done once, which makes one row or more.

    Attributes
    ----------
    names : dict of str to str or int
        Columns that tell its rows, or the last of them, from those of other runs.
    steps : tuple of callables
        Each is called with this run in a process of its own and returns a row, a list of rows, or None.  If one
        fails there are no rows.
    data : DataSet or None
        What it reads: it is left out if that is not at hand.
    factory : callable or None
        ``factory(k, seed, normalize)`` returns an unfitted estimator with ``fit_predict``.
    masked : float
        Share of the non-zero counts that are set to zero before.
    size : int
        Spots or cells to simulate.
    settings : dict
        What else the steps need to know.
    known : dict
        Columns of its rows that no step has to tell.
    reads : bool
        Whether it reads gene texts, whose vectors are then made beforehand.
    limits : tuple of (int, int) or None
        Seconds and GiB that the last step may take.  Where `columns` has "outcome", a run that is ended has a row.
    columns : tuple of str
        Of the rows, in order; those that a step does not tell are missing.  If empty, `names` and what steps tell.
    lasting : bool
        Whether its rows do not depend on the code of skst.
    file : str or None
        Stem of the table, if it is not named as the benchmark.
    kept : bool
        Whether its rows say what made them and are kept for the next call; if not, it is run by each.
    folder : str or None
        Where steps leave what later ones read.
    """

    names: dict
    steps: tuple
    data: DataSet | None = None
    factory: Callable | None = None
    masked: float = 0.0
    size: int = 0
    settings: dict = field(default_factory=dict)
    known: dict = field(default_factory=dict)
    reads: bool = False
    limits: tuple | None = None
    columns: tuple = ()
    lasting: bool = False
    file: str | None = None
    kept: bool = True
    folder: str | None = None

    @property
    def label(self):
        """Its names, to be printed."""
        return ", ".join(map(str, self.names.values()))

    def row(self, found):
        """A row of the table of runs from what a step has told."""
        row = {**self.names, **self.known, **found}
        if not self.columns:
            return row
        row = {"outcome": "done", **row}
        return {name: row.get(name, np.nan) for name in self.columns}


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A declaration.

    Attributes
    ----------
    title : str
        Of the page.
    question : str
        What it answers, a line.
    takes : str
        About how long it takes.
    runs : callable
        ``runs(options)`` lists all runs that the options of the command ask for.
    report : callable
        ``report(rows, options)`` is the page below its head.
    draw : callable or None
        ``draw(rows, path)`` writes a figure.
    order : dict of str to sequence or None
        Columns by which rows are sorted, the first counts most, each in the order of a registry or of its values.  Rows
        that a registry lacks are not shown.
    tables, data, methods : collections of str
        What ``--table``, ``--data`` and ``--method`` choose from; there is no such option for what is empty.
    seeds : int, dict of str to int, or None
        Seeds by default; by table, of which others have 3; None if there is nothing to seed.
    options : dict of str to dict
        Flag -> parameters of ``add_argument``, for what only this benchmark can be told.
    alone : bool
        Whether runs are not made at the same time.
    jobs : int
        Runs at the same time by default.
    threads : int
        Of each run.
    """

    title: str
    question: str
    takes: str
    runs: Callable
    report: Callable
    draw: Callable | None = None
    order: dict = field(default_factory=dict)
    tables: tuple = ()
    data: tuple = ()
    methods: tuple = ()
    seeds: int | dict | None = None
    options: dict = field(default_factory=dict)
    alone: bool = False
    jobs: int = 2
    threads: int = 1


def checkout_option(repository, **parameters):
    """Parameters of an option that takes a checkout of published code."""
    return {"type": Path, "metavar": "PATH", "help": f"checkout of github.com/{repository}", **parameters}


def sizes_option(default, what):
    """Parameters of an option that takes sizes of simulated data."""
    shown = ", ".join(f"{size:,}" for size in default)
    return {"type": int, "nargs": "*", "default": default, "help": f"{what} (default: {shown})"}
