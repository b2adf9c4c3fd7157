"""Scores, seconds and memory of every method on every data set."""

import pandas as pd

from benchmarks.data import DATA
from benchmarks.declare import Benchmark
from benchmarks.fits import run_of
from benchmarks.methods import METHODS
from benchmarks.pages import by_method, paired, section

REFERENCES = ("expression", "text permuted", "text Gaussian")


def runs(options):
    """Each method on each data set, seed by seed."""
    return [
        run_of({"data": data, "method": method, "seed": seed}, DATA[data], METHODS[method])
        for seed in range(options.seeds)
        for data in options.data
        for method in options.method
    ]


def report(rows, options):
    """The tables of a table of runs, as Markdown."""
    data = rows.groupby("data", sort=False)
    sizes = data[["n_spots", "n_genes", "k"]].first().assign(seeds=data["seed"].nunique())
    peak = rows.groupby(["data", "method"], sort=False)["peak_mib"].max().unstack()
    peak = peak.reindex(columns=rows["method"].unique())
    differences = paired(rows, REFERENCES)
    sections = [
        section(
            "Data",
            "Every method is told k, the number of labels.  The labels themselves only score.  All tables show the "
            "mean over seeds ± the standard deviation over them.",
            sizes,
        ),
        section("Adjusted Rand index", "1 is perfect, 0 is chance.", by_method(rows, "ari")),
    ]
    if not differences.empty:
        text = (
            "ARI of SpaLLMFusion minus that of another method with the same seed.  Text has helped where all three "
            "differences are above their spread."
        )
        sections.append(section("Does the text help?", text, differences))
    sections += [
        section("Normalised mutual information", "1 is perfect.", by_method(rows, "nmi")),
        section("Accuracy", "Share of spots in the right domain, clusters matched to domains.", by_method(rows, "acc")),
        section("Macro F1", "Clusters matched to domains.", by_method(rows, "macro_f1")),
        section(
            "Seconds",
            "Wall time of a fit with the text vectors at hand.",
            by_method(rows, "seconds", digits=1),
        ),
        section("Peak memory", "Largest resident size in MiB, libraries and data included.", peak.round()),
    ]
    return "".join(sections) + encoding(options.output / "encoding.csv")


def encoding(path):
    """Table of what making text vectors took, or nothing if none had to be made."""
    if not path.exists():
        return ""
    rows = pd.read_csv(path).drop_duplicates("data", keep="last").set_index("data")
    text = (
        "Once for each text, outside of the seconds above.  Texts that an earlier data set had are not encoded again: "
        "`encoded` counts the others."
    )
    columns = ["genes", "with_text", "coverage", "encoded", "seconds", "text_model"]
    return section("Making text vectors", text, rows[columns])


BENCHMARK = Benchmark(
    title="Accuracy",
    question="How good is each method on each data set, and does the text help?",
    takes="25 to 45 minutes",
    runs=runs,
    report=report,
    order={"data": DATA, "method": METHODS, "seed": None},
    data=DATA,
    methods=METHODS,
    seeds=10,
)
