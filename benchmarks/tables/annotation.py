"""Are clusters given the right names?

The known labels serve as clusters, so that only the naming is judged: overlap with known markers, what is written about
the genes against what is said of cell types, and the controls of the latter.  A name is right if it is at the level of
the label or broader ("T cell" for a naive CD4 T cell); `RIGHT` holds a regular expression for each label.
"""

import itertools
import re
from pathlib import Path

import pandas as pd

from benchmarks.data import DATA
from benchmarks.declare import Benchmark
from skst.files.home import find_file
from skst.inspection import annotate_by_markers, annotate_by_text, load_cell_types, marker_genes

# Data set -> label, or how it begins -> pattern of the names that are right, of which the first counts.
RIGHT = {
    name: part.set_index("label")["pattern"].to_dict()
    for name, part in pd.read_csv(Path(__file__).with_suffix(".tsv"), sep="\t", quoting=3).groupby("data", sort=False)
}
# Data set -> column of the cell types, and the tissue for those who know it.
TYPES = {name: ("label", "blood") for name in RIGHT} | {
    "Baron mouse": ("label", "pancreas"),
    "osmFISH": ("cell_type", "brain"),
}
N_CONTROLS = 5
FORCED = "markers, always named"


def ways(types, table):
    """Ways of naming: name -> function, what it compares with, and its other parameters."""
    rows = types.assign(gene=types["markers"].str.split("|")).explode("gene")
    found = {
        "markers": (annotate_by_markers, rows, {}),
        FORCED: (annotate_by_markers, rows, {"alpha": 1, "min_overlap": 1}),
        "text": (annotate_by_text, types, {}),
        "bare names": (annotate_by_text, types.assign(description=""), {}),
    }
    for seed, control in itertools.product(range(N_CONTROLS), ("permuted", "gaussian")):
        found[f"text {control}", seed] = (annotate_by_text, types, {"control": control, "random_state": seed})
    if table is not None:
        found["markers, PanglaoDB"] = (annotate_by_markers, table, {})
    return found


def is_right(data, label, name):
    """Whether a name, or None, is right for a known label."""
    patterns = RIGHT[data]
    pattern = patterns.get(label) or next(p for start, p in patterns.items() if label.lower().startswith(start.lower()))
    return name is not None and re.search(pattern, name.lower()) is not None


def execute(run):
    """Rows of one data set: one a cluster, way of naming, choice of tissue and seed."""
    name, table = run.names["data"], known_markers()
    column, tissue = TYPES[name]
    markers = marker_genes(run.data.load(), column)
    rows = []
    for known in ("all tissues", "tissue known"):
        types = load_cell_types(tissue if known == "tissue known" else None)
        for way, (function, compared, parameters) in ways(types, table if known == "all tissues" else None).items():
            method, seed = way if isinstance(way, tuple) else (way, 0)
            rows += [
                {"tissue": known, "method": method, "seed": seed, "label": label, "name": found}
                | {"right": is_right(name, label, found), "named": found is not None}
                for label, found in function(markers, compared, **parameters)["cell_type"].items()
            ]
    return rows


def known_markers():
    """PanglaoDB's human markers, where the data home has a table of markers."""
    path = find_file(Path("gene_text") / "markers.tsv.gz", None)
    if path is None:
        return None
    table = pd.read_csv(path, sep="\t", dtype=str)
    return table[table["source"].str.startswith("PanglaoDB") & (table["species"] == "human")]


BENCHMARK = Benchmark(
    title="Names of clusters",
    question="Are clusters given the right names, by markers and by text?",
    takes="2 to 4 minutes",
    axes={"data": {name: DATA[name] for name in RIGHT}},
    steps=(execute,),
    kept=False,
    jobs=1,
)
