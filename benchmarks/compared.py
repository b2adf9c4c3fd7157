"""The benchmarks of one estimator: tables that compare its first method with the others."""

from dataclasses import dataclass, field

from benchmarks.declare import Benchmark, run_of
from benchmarks.methods import factories
from benchmarks.pages import by_method, in_order, paired


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Tables of one estimator, of which the first is beside other methods and has more scores."""

    # Title -> factories, by name.
    tables: dict
    data: dict
    # Title -> number of seeds, 3 for tables that are not in it.
    seeds: dict
    # Title -> data sets, for tables that are not of all.
    only: dict = field(default_factory=dict)
    # Further scores of the first table.
    scores: tuple = ("nmi",)

    def declare(self, *, made_otherwise=(), **declaration):
        """The declaration; `made_otherwise` names further tables, which have no methods."""
        axes = {"table": (*self.tables, *made_otherwise), "data": self.data}
        order = {"data": self.data, "method": factories(self.tables), "seed": None}
        return Benchmark(**{"runs": self.runs, **declaration}, axes=axes, order=order, seeds=self.seeds)

    def runs(self, options):
        """Runs that fill the tables asked for, each once though several tables show it."""
        wanted = {
            (name, method, seed): {"data": name, "method": method, "seed": seed}
            for table in options.table
            for method in self.tables.get(table, ())
            for name in options.data
            if name in self.only.get(table, self.data)
            for seed in range(options.seeds or self.seeds.get(table, 3))
        }
        return [run_of(names, self.data, factories(self.tables)) for names in wanted.values()]

    def part(self, rows, table):
        """Rows of a table in its order; none of one of which fewer than two methods were run."""
        shown = [name for name in self.data if name in self.only.get(table, self.data)]
        part = in_order(rows, {"data": shown, "method": self.tables[table], "seed": None})
        if table != next(iter(self.tables)):
            part = part[part["seed"] < self.seeds.get(table, 3)]
        return part if part["method"].nunique() > 1 else part.head(0)

    def frames(self, rows, table, differences=True):
        """Adjusted Rand index of a table and differences from its first method; of the first table, more scores."""
        part = self.part(rows, table)
        first, *others = self.tables[table]
        frames = [by_method(part, "ari")]
        if differences:
            frames.append(paired(part, others, method=first))
        if table == next(iter(self.tables)):
            frames += [by_method(part, score) for score in self.scores]
            frames.append(by_method(part, "seconds", digits=1))
        return frames
