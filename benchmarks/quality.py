"""Accuracy as counts are lost, at SpaLLM's quality levels: ``python benchmarks/quality.py``."""

import sys
from functools import partial

from accuracy import REFERENCES, in_order, parse
from harness import Run, run_all
from methods import METHODS, SPATIAL
from semst import semst
from tables import by_method, head, paired, section, seed_counts

# Share of the non-zero counts that is set to zero.
LEVELS = {"Q0": 0.0, "Q1": 0.5, "Q2": 0.75, "Q3": 0.875, "Q4": 0.9375}
DATA = {name: data for name, data in SPATIAL.items() if name == "osmFISH" or name.startswith("DLPFC")}
COMPARED = {name: METHODS[name] for name in ("SpaLLMFusion", *REFERENCES)}
COMPARED["SemSTClusterer"] = semst
COMPARED["SemST, no text"] = partial(semst, fusion=None)


def main(argv=None):
    """Run what has not been run yet, write ``quality.csv`` and ``quality.md``; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = parse(__doc__, DATA, COMPARED, argv)
    runs = [
        Run(
            {"data": data, "quality": level, "method": method, "seed": seed},
            DATA[data],
            COMPARED[method],
            masked,
        )
        for seed in range(arguments.seeds)
        for data in arguments.data
        for level, masked in LEVELS.items()
        for method in arguments.method
    ]
    path = arguments.output / "quality.csv"
    rows, failed = run_all(runs, path, jobs=arguments.jobs, fresh=arguments.fresh)
    if not rows.empty:
        text = head("Accuracy at lower quality", rows, "quality.py", argv) + report(in_order(rows, DATA, COMPARED))
        path.with_suffix(".md").write_text(text, encoding="utf-8")
    return 1 if failed else 0


def report(rows):
    """The tables of a table of runs, as Markdown."""
    shares = ", ".join(f"{level} {masked:.2%}" for level, masked in LEVELS.items())
    sections = [
        f"\nShare of the non-zero counts that is set to zero, drawn anew for each seed: {shares}.  Every method is "
        "told the number of labels.  Adjusted Rand index, mean ± standard deviation over seeds; below it the "
        "differences between SpaLLMFusion, or SemSTClusterer, and the other methods, run by run.\n"
    ]
    rows = rows.sort_values("quality", kind="stable")
    for data, part in rows.groupby("data", sort=False):
        part = part.sort_values("method", kind="stable", key=lambda names: names.map(list(COMPARED).index))
        part = part.sort_values("quality", kind="stable")
        tables = [
            by_method(part, "ari", index="quality"),
            paired(part, REFERENCES, index="quality"),
            paired(part, ("SemST, no text", "expression"), method="SemSTClusterer", index="quality"),
        ]
        sections.append(section(data, seed_counts(part), *(table for table in tables if not table.empty)))
    return "".join(sections)


if __name__ == "__main__":
    sys.exit(main())
