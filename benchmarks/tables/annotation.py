"""Are clusters given the right names?

The known labels serve as clusters, so that only the naming is judged: overlap with known markers, what is written about
the genes against what is said of cell types, the controls of the latter, and both together.  A name is right if it is
at the level of the label or broader ("T cell" for a naive CD4 T cell); `RIGHT` holds a regular expression for each
label.
"""

import re
from itertools import product
from pathlib import Path

import pandas as pd

from benchmarks.data import DATA
from benchmarks.declare import Benchmark
from benchmarks.methods import EXACT
from skst.files.home import find_file
from skst.inspection import annotate, annotate_by_markers, annotate_by_text, load_cell_types, marker_genes

# Data set -> label, or how it begins -> pattern of the names that are right, of which the first counts.
RIGHT = {
    name: part.set_index("label")["pattern"].to_dict()
    for name, part in pd.read_csv(Path(__file__).with_suffix(".tsv"), sep="\t", quoting=3).groupby("data", sort=False)
}
# Data set -> column of the cell types, and the tissue for those who know it.
TYPES = dict.fromkeys(RIGHT, ("label", "blood"))
TYPES |= {"Baron mouse": ("label", "pancreas"), "osmFISH": ("cell_type", "brain")}
N_CONTROLS = 5
FORCED = "markers, always named"


def ways(types, table):
    """Ways of naming: function, what it compares with, name, seed, and other parameters of the function."""
    rows = types.assign(gene=types["markers"].str.split("|")).explode("gene")
    found = [
        (annotate_by_markers, rows, "markers", 0, {}),
        (annotate_by_markers, rows, FORCED, 0, {"alpha": 1, "min_overlap": 1}),
        (annotate_by_text, types, "text", 0, {"model": EXACT}),
        (annotate, types, "annotate", 0, {}),
        (annotate_by_text, types.assign(description=""), "bare names", 0, {"model": EXACT}),
    ]
    for seed, control in product(range(N_CONTROLS), ("permuted", "gaussian")):
        parameters = {"model": EXACT, "control": control, "random_state": seed}
        found.append((annotate_by_text, types, f"text {control}", seed, parameters))
    if table is not None:
        found.append((annotate_by_markers, table, "markers, PanglaoDB", 0, {}))
    return found


def is_right(data, label, name):
    """Whether a name, or None, is right for a known label."""
    patterns = RIGHT[data]
    pattern = patterns.get(label) or next(p for start, p in patterns.items() if label.lower().startswith(start.lower()))
    return name is not None and re.search(pattern, name.lower()) is not None


def execute(run):
    """Rows of one data set: one a cluster, way of naming, choice of tissue and seed."""
    name = run.names["data"]
    column, tissue = TYPES[name]
    if panglao := find_file(Path("gene_text") / "markers.tsv.gz", None):
        panglao = pd.read_csv(panglao, sep="\t", dtype=str)
        panglao = panglao[panglao["source"].str.startswith("PanglaoDB") & (panglao["species"] == "human")]
    markers = marker_genes(run.data.load(), column)
    rows = []
    for known, kept, table in (("all tissues", None, panglao), ("tissue known", tissue, None)):
        for function, compared, method, seed, parameters in ways(load_cell_types(kept), table):
            for label, found in function(markers, compared, **parameters)["cell_type"].items():
                row = {"tissue": known, "method": method, "seed": seed, "label": label, "name": found}
                rows.append({**row, "right": is_right(name, label, found), "named": found is not None})
    return rows


BENCHMARK = Benchmark(
    question="Are clusters given the right names, by markers, by text and by both?",
    axes={"data": {name: DATA[name] for name in RIGHT}},
    steps=(execute,),
    kept=False,
    jobs=1,
)
