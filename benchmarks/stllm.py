"""STLLMClusterer, its graph, its levels, its words: ``python benchmarks/stllm.py``."""

import sys
import warnings
from functools import partial

from accuracy import in_order
from harness import run_all, runs_of_tables, tables_parser
from methods import METHODS, SPATIAL
from semst import semst
from tables import comparisons, head

from skst import GeneTextEncoder, STLLMClusterer
from skst.stllm import LEVELS


def stllm(k, seed, normalize=True, *, control=None, **parameters):
    """STLLMClusterer with its defaults but for what is named; a control is drawn anew for each seed."""
    text = None if control is None else GeneTextEncoder(control=control, random_state=seed)
    return STLLMClusterer(k, random_state=seed, text=text, **parameters)


def without(level):
    """All levels but one."""
    return [other for other in LEVELS if other != level]


# What costs next to nothing to read, so that each seed can have a graph, and with it texts, of its own.
_SHORT = {"levels": ["spot", "region"], "spot_text": "compose"}
# Name -> factory(k, seed, normalize), by table.
TABLES = {
    "Domains": {
        "STLLMClusterer": stllm,
        "no text": partial(stllm, levels=[]),
        "expression": METHODS["expression"],
        "SpaLLMFusion": METHODS["SpaLLMFusion"],
        "SemSTClusterer": semst,
    },
    "Graph": {
        "no text": partial(stllm, levels=[]),
        "learned, no text": partial(stllm, levels=[], graph="learned"),
        "composed spots, regions": partial(stllm, **_SHORT),
        "learned, composed spots, regions": partial(stllm, **_SHORT, graph="learned"),
    },
    "Levels": {
        "STLLMClusterer": stllm,
        **{f"w/o {level}": partial(stllm, levels=without(level)) for level in LEVELS},
        "composed spots": partial(stllm, spot_text="compose"),
    },
    "Words": {
        "STLLMClusterer": stllm,
        "permuted": partial(stllm, control="permuted"),
        "nonsense": partial(stllm, control="unrelated"),
        "Gaussian": partial(stllm, control="gaussian"),
        "no text": partial(stllm, levels=[]),
    },
    "Text alone": {
        "text alone": partial(stllm, alpha=0.0),
        "composed": partial(stllm, alpha=0.0, spot_text="compose"),
        "permuted, alone": partial(stllm, alpha=0.0, control="permuted"),
        "nonsense, alone": partial(stllm, alpha=0.0, control="unrelated"),
        "Gaussian, alone": partial(stllm, alpha=0.0, control="gaussian"),
    },
}
FACTORIES = {name: factory for table in TABLES.values() for name, factory in table.items()}
SEEDS = {"Domains": 5}
# Each permutation of genes makes the model read all texts again: controls on the smaller tissues only.
SMALL = ("osmFISH", "STARmap", "HER2ST H1")
ONLY = dict.fromkeys(("Words", "Text alone"), SMALL)
TEXTS = {
    "Domains": "One setting for all.  `no text` is STLLMClusterer with `levels=()`; `expression` is SpaLLMFusion "
    "without text, on the smooth encoder.",
    "Graph": "Six nearest spots against six learnt ones on the mean, without text, and with the spots' texts composed "
    "of the vectors of their genes beside the texts of regions.",
    "Levels": "Levels left out, and texts of spots composed instead of read.",
    "Words": "What is told.  `permuted`: each gene under the name of another, and what that one does.  `nonsense`: "
    "words without meaning for all genes, nothing of what they do.  `Gaussian`: a random vector for each text.",
    "Text alone": "The same without expression in the embedding (`alpha=0`).  Regions are found by expression still, "
    "and vectors of texts are averaged over the graph: a random vector for each distinct text tells places apart.",
}


def main(argv=None):
    """Run what has not been run yet, write ``stllm.csv`` and ``stllm.md``; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = tables_parser(__doc__, TABLES, SPATIAL, "5 for Domains, 3 for the others").parse_args(argv)
    warnings.simplefilter("ignore", UserWarning)
    wanted = runs_of_tables(arguments, TABLES, SPATIAL, seeds=SEEDS, only=ONLY)
    path = arguments.output / "stllm.csv"
    rows, failed = run_all(wanted, path, jobs=arguments.jobs, fresh=arguments.fresh)
    if not rows.empty:
        text = head("STLLMClusterer", rows, "stllm.py", argv) + report(in_order(rows, SPATIAL, FACTORIES))
        path.with_suffix(".md").write_text(text, encoding="utf-8")
    return 1 if failed else 0


def report(rows):
    """The tables of a table of runs, as Markdown."""
    return comparisons(rows, TABLES, TEXTS, main="Domains", data=SPATIAL, only=ONLY)


if __name__ == "__main__":
    sys.exit(main())
