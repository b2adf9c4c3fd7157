"""What a benchmark is: runs to make, and a page to show them."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

from benchmarks.data import DataSet
from benchmarks.fits import fit
from benchmarks.methods import TEXT_FREE

# Of benchmarks that measure cost: one run at a time has all cores, and no GPU unless it is about that.
COST = {"alone": True, "threads": os.cpu_count()}


@dataclass(frozen=True)
class Run:
    """Something to be done once, which makes one row or more."""

    # Columns that tell its rows, or the last of them, from those of other runs.
    names: dict
    # Each is called with this run in a process of its own and returns a row, a list of rows, or None.  If one fails
    # there are no rows.
    steps: tuple = (fit,)
    # What it reads: it is left out if that is not at hand.
    data: DataSet | None = None
    # What else the steps need to know.
    settings: dict = field(default_factory=dict)
    # Columns of its rows that no step has to tell.  If "outcome" is one, a run that is ended for its cost has a row;
    # "code" is that of the process if it is not known.
    known: dict = field(default_factory=dict)
    # Seconds and GiB that the last step may take.
    limits: tuple | None = None
    # Whether it reads gene texts, whose vectors are then made beforehand.
    reads: bool = False
    # Stem of the table, if it is not named as the benchmark.
    file: str | None = None
    # Whether its rows say what made them and are kept for the next call; if not, it is run by each.
    kept: bool = True
    # Where steps leave what later ones read.
    folder: str | None = None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A declaration; the page is laid out by the template of the same name in ``layouts``."""

    # What it answers, a line.
    question: str
    # Column -> what it can be.  Each has an option that chooses.
    axes: dict = field(default_factory=dict)
    # Of all runs, if `runs` is not given.
    steps: tuple = (fit,)
    # Seeds by default; by table, of which others have 3; None if there is nothing to seed.
    seeds: int | dict | None = None
    # ``runs(options)`` lists what the options of the command ask for; by default each seed and point of the axes.
    runs: Callable | None = None
    # ``survey(runs, call)`` says before they begin what the missing runs will take, and returns those that can be made;
    # the others have failed.  ``call(function, argument)`` calls apart and returns an exception where one was raised.
    survey: Callable | None = None
    # As of runs.
    kept: bool = True
    # ``draw(rows, path)`` writes a figure.
    draw: Callable | None = None
    # Columns by which rows are sorted, the first counts most, each in the order of a registry or, for None, of its
    # values.  Rows that a registry lacks are not shown.  By default the axes and the seed.
    order: dict | None = None
    # Flag -> default and help, for what only this benchmark can be told.  The default tells the type; ``Path`` stands
    # for a path that need not be given.
    options: dict = field(default_factory=dict)
    # Whether runs are not made at the same time; how many are by default; and the threads of each.
    alone: bool = False
    # Whether runs made alone may see a GPU.
    gpu: bool = False
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
