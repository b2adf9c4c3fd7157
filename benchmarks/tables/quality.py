"""Accuracy as counts are lost, at SpaLLM's quality levels."""

from benchmarks.data import LEVELS, THINNED
from benchmarks.declare import Benchmark
from benchmarks.fits import run_of
from benchmarks.methods import QUALITY
from benchmarks.pages import by_method, paired, section, seed_counts
from benchmarks.tables.accuracy import REFERENCES


def runs(options):
    """Each method on each data set at each level, seed by seed."""
    return [
        run_of({"data": data, "quality": level, "method": method, "seed": seed}, THINNED[data], QUALITY[method], masked)
        for seed in range(options.seeds)
        for data in options.data
        for level, masked in LEVELS.items()
        for method in options.method
    ]


def report(rows, options):
    """The tables of a table of runs, as Markdown."""
    shares = ", ".join(f"{level} {masked:.2%}" for level, masked in LEVELS.items())
    sections = [
        f"\nShare of the non-zero counts that is set to zero, drawn anew for each seed: {shares}.  Every method is "
        "told the number of labels.  Adjusted Rand index, mean ± standard deviation over seeds; below it the "
        "differences between SpaLLMFusion, or SemSTClusterer, and the other methods, run by run.\n"
    ]
    for data, part in rows.groupby("data", sort=False):
        tables = [
            by_method(part, "ari", index="quality"),
            paired(part, REFERENCES, index="quality"),
            paired(part, ("SemST, no text", "expression"), method="SemSTClusterer", index="quality"),
        ]
        sections.append(section(data, seed_counts(part), *(table for table in tables if not table.empty)))
    return "".join(sections)


BENCHMARK = Benchmark(
    title="Accuracy at lower quality",
    question="What is left when counts are lost?",
    takes="35 to 60 minutes",
    runs=runs,
    report=report,
    order={"data": THINNED, "quality": None, "method": QUALITY, "seed": None},
    data=THINNED,
    methods=QUALITY,
    seeds=10,
)
