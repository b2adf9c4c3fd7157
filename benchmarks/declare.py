"""What a benchmark is: runs to make, and a page to show them."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from benchmarks.data import DataSet
from benchmarks.fits import fit
from benchmarks.methods import TEXT_FREE

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
    settings : dict
        What else the steps need to know.
    known : dict
        Columns of its rows that no step has to tell.  If "outcome" is one, a run that is ended for its cost has a row;
        "code" is that of the process if it is not known.
    limits : tuple of (int, int) or None
        Seconds and GiB that the last step may take.
    reads : bool
        Whether it reads gene texts, whose vectors are then made beforehand.
    file : str or None
        Stem of the table, if it is not named as the benchmark.
    kept : bool
        Whether its rows say what made them and are kept for the next call; if not, it is run by each.
    folder : str or None
        Where steps leave what later ones read.
    """

    names: dict
    steps: tuple = (fit,)
    data: DataSet | None = None
    settings: dict = field(default_factory=dict)
    known: dict = field(default_factory=dict)
    limits: tuple | None = None
    reads: bool = False
    file: str | None = None
    kept: bool = True
    folder: str | None = None

    @property
    def label(self):
        """Its names, to be printed."""
        return ", ".join(map(str, self.names.values()))


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A declaration; the page below its head is laid out by the template of the same name in ``layouts``.

    Attributes
    ----------
    title : str
        Of the page.
    question : str
        What it answers, a line.
    takes : str
        About how long it takes.
    axes : dict of str to collection of str
        Column -> what it can be.  Each has an option that chooses.
    steps : tuple of callables
        Of all runs, if `runs` is not given.
    seeds : int, dict of str to int, or None
        Seeds by default; by table, of which others have 3; None if there is nothing to seed.
    runs : callable or None
        ``runs(options)`` lists what the options of the command ask for; by default each seed and point of the axes.
    kept : bool
        As of runs.
    draw : callable or None
        ``draw(rows, path)`` writes a figure.
    order : dict of str to sequence or None
        Columns by which rows are sorted, the first counts most, each in the order of a registry or of its values.  Rows
        that a registry lacks are not shown.  By default the axes and the seed.
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
    axes: dict = field(default_factory=dict)
    steps: tuple = (fit,)
    seeds: int | dict | None = None
    runs: Callable | None = None
    kept: bool = True
    draw: Callable | None = None
    order: dict | None = None
    options: dict = field(default_factory=dict)
    alone: bool = False
    jobs: int = 2
    threads: int = 1

    def grid(self, options):
        """Each seed and point of the axes that the options choose."""
        axes = {"seed": range(options.seeds)} if self.seeds else {}
        axes |= {name: getattr(options, name) for name in self.axes}
        registries = self.axes["data"], self.axes.get("method", {})
        return [
            run_of(dict(zip(axes, point, strict=True)), *registries, steps=self.steps, kept=self.kept)
            for point in product(*axes.values())
        ]


def run_of(names, data, methods, **rest):
    """The run of one data set, by one of the methods if "method" is among its names."""
    method = names.get("method")
    seed = {"seed": names["seed"]} if "seed" in names else {}  # the last, where runs are named
    return Run(
        {name: value for name, value in names.items() if name != "seed"} | seed,
        data=data[names["data"]],
        settings={"factory": methods.get(method)},
        reads=method is not None and method not in TEXT_FREE,
        **rest,
    )


def checkout_option(repository):
    """Parameters of an option that takes a checkout of published code."""
    return {"type": Path, "metavar": "PATH", "help": f"checkout of github.com/{repository}"}


def number_option(default, what, **parameters):
    """Parameters of an option that takes a number."""
    return {"type": int, "default": default, "help": f"{what} (default: {default})", **parameters}


def sizes_option(default, what):
    """Parameters of an option that takes sizes of simulated data."""
    return number_option(default, what, nargs="*")
