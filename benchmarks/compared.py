"""The benchmarks of one estimator: tables that compare its first method with the others."""

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.fits import run_of
from benchmarks.methods import factories
from benchmarks.pages import by_method, in_order, paired, section, seed_counts

_NAMES = {"nmi": "normalised mutual information", "acc": "accuracy", "macro_f1": "macro F1"}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Tables of one estimator, of which the first is beside other methods and has more scores.

    Attributes
    ----------
    tables : dict of str to dict
        Title -> factories, by name.
    texts : dict of str to str
        Title -> what the table shows.
    data : dict of str to DataSet
        In the order of the rows.
    seeds : dict of str to int
        Title -> number of seeds, 3 for tables that are not in it.
    only : dict of str to sequence of str
        Title -> data sets, for tables that are not of all.
    scores : tuple of str
        Further scores of the first table.
    unpaired : tuple of str
        Titles of tables without differences.
    filled : str
        What is said of where the rows come from.
    note : callable or None
        ``note(rows)`` is what is added to the text of the first table.
    """

    tables: dict
    texts: dict
    data: dict
    seeds: dict
    only: dict = field(default_factory=dict)
    scores: tuple = ("nmi",)
    unpaired: tuple = ()
    filled: str = "whichever command made them; the command above is the last."
    note: Callable | None = None

    @property
    def order(self):
        """How rows are sorted."""
        return {"data": self.data, "method": factories(self.tables), "seed": None}

    def runs(self, options):
        """Runs that fill the tables asked for, each once though several tables show it."""
        wanted = {}
        for table in options.table:
            shown = [name for name in options.data if name in self.only.get(table, self.data)]
            for method, factory in self.tables.get(table, {}).items():  # none for a table made in another way
                for name in shown:
                    for seed in range(options.seeds or self.seeds.get(table, 3)):
                        names = {"data": name, "method": method, "seed": seed}
                        wanted[tuple(names.values())] = run_of(names, self.data[name], factory)
        return list(wanted.values())

    def report(self, rows):
        """The tables, as Markdown; those of which fewer than two methods were run are left out."""
        sections = [
            "\nEvery method is told k, the number of labels; the labels themselves only score.  Mean ± standard "
            "deviation over seeds of the adjusted Rand index; differences are between runs of one seed.  The tables "
            f"are filled from all runs that this code has made, {self.filled}\n"
        ]
        main = next(iter(self.tables))
        for table, methods in self.tables.items():
            shown = [name for name in self.data if name in self.only.get(table, self.data)]
            part = in_order(rows, {"data": shown, "method": methods, "seed": None})
            if table != main:
                part = part[part["seed"] < self.seeds.get(table, 3)]
            if part["method"].nunique() < 2:
                continue
            first, *others = methods
            frames = [by_method(part, "ari")]
            if table not in self.unpaired:
                frames.append(paired(part, others, method=first))
            text = f"{self.texts[table]}  {seed_counts(part)}"
            if table == main:
                frames += [by_method(part, score) for score in self.scores]
                frames.append(by_method(part, "seconds", digits=1))
                told = ", ".join(["differences", *(_NAMES[score] for score in self.scores)])
                text += f"  Then {told}, and seconds with text vectors at hand."
                text += self.note(part) if self.note else ""
            sections.append(section(table, text, *(frame for frame in frames if not frame.empty)))
        return "".join(sections)
