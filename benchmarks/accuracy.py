"""Scores, seconds and memory of every method on every data set: ``python benchmarks/accuracy.py``."""

import argparse
import sys
from pathlib import Path

import pandas as pd
from harness import Run, run_all
from methods import DATA, METHODS
from records import RESULTS
from tables import by_method, head, paired, section

REFERENCES = ("expression", "text permuted", "text Gaussian")


def main(argv=None):
    """Run what has not been run yet, write ``accuracy.csv`` and ``accuracy.md``; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = parse(__doc__, DATA, METHODS, argv)
    runs = [
        Run({"data": data, "method": method, "seed": seed}, DATA[data], METHODS[method])
        for seed in range(arguments.seeds)
        for data in arguments.data
        for method in arguments.method
    ]
    path = arguments.output / "accuracy.csv"
    rows, failed = run_all(runs, path, jobs=arguments.jobs, fresh=arguments.fresh)
    if not rows.empty:
        text = head("Accuracy", rows, "accuracy.py", argv) + report(in_order(rows, DATA, METHODS))
        path.with_suffix(".md").write_text(text + encoding(path.parent / "encoding.csv"), encoding="utf-8")
    return 1 if failed else 0


def parse(description, data, methods, argv):
    """Arguments that the benchmarks of accuracy share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0, 1, ... of each method (default: 10)")
    parser.add_argument("--data", nargs="+", choices=list(data), default=list(data), metavar="NAME")
    parser.add_argument("--method", nargs="+", choices=list(methods), default=list(methods), metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time (default: 2)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    return parser.parse_args(argv)


def in_order(rows, *registries):
    """Rows in the order of the registries, and by seed."""
    place = {name: i for registry in registries for i, name in enumerate(registry)}
    rows = rows[rows["data"].isin(place) & rows["method"].isin(place)]
    return rows.sort_values(["data", "method", "seed"], key=lambda column: column.map(lambda x: place.get(x, x)))


def report(rows):
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
    return "".join(sections)


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


if __name__ == "__main__":
    sys.exit(main())
