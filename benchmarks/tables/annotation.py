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
from benchmarks.declare import Benchmark, Run
from benchmarks.pages import by_method, paired, section
from skst.files.home import find_file
from skst.inspection import annotate_by_markers, annotate_by_text, load_cell_types, marker_genes

_T, _B, _NK = r"\bt[ -]cell|\bt (helper|cytotoxic|memory|regulatory)", r"\bb[ -]cell", r"natural killer|\bnk\b"
_DC, _STELLATE = r"dendritic|\bdc\b", r"stellate|pericyte|fibroblast|mural|smooth muscle|mesenchymal"
_EXCITATORY, _INHIBITORY = r"pyramidal|glutam|excitatory", r"interneuron|gaba|inhibitory"
_MONOCYTE, _T_ONLY = r"^(classical )?monocytes?$", r"^t cells?$"

RIGHT = {
    "Baron mouse": {
        "alpha": "alpha cell",
        "beta": "beta cell",
        "gamma": r"gamma (\(pp\) )?cell",
        "delta": r"(?<!gamma )delta cell",
        "ductal": "duct|cholangiocyte|^epithelial cell",
        "endothelial": "endothel",
        "quiescent_stellate": _STELLATE,
        "activated_stellate": _STELLATE,
        "macrophage": "macrophage|kupffer|microglia|monocyte",
        "schwann": "schwann",
        "B_cell": _B,
        "T_cell": _T,
        "immune_other": f"{_T}|{_B}|{_NK}|{_DC}|macrophage|monocyte|immune",
    },
    "PBMC3k": {
        "B": _B,
        "CD14+ Mono": _MONOCYTE,
        "FCGR3A+ Mono": "monocyte",
        "DC": _DC,
        "NK": _NK,
        "Platelet": "platelet|megakaryocyte",
        "CD8 T": f"cd8|{_T_ONLY}|t cytotoxic",
        "Memory CD4 T": f"memory cd4|{_T_ONLY}|t (helper|memory)",
        "Naive CD4 T": f"naive cd4|{_T_ONLY}|t helper",
    },
    "PBMC68k reduced": {
        "CD14+ Monocyte": _MONOCYTE,
        "CD19+ B": _B,
        "CD34+": "progenitor|stem",
        "CD56+ NK": _NK,
        "Dendritic": _DC,
        "CD4+/CD25 T Reg": f"regulatory|{_T_ONLY}|t helper",
        "CD4+/CD45RA+/CD25- Naive T": f"naive cd4|{_T_ONLY}|t helper",
        "CD4+/CD45RO+ Memory": f"memory cd4|{_T_ONLY}|t (helper|memory)",
        "CD8+ Cytotoxic T": f"cd8 cytotoxic|{_T_ONLY}|t cytotoxic",
        "CD8+/CD45RA+ Naive Cytotoxic": f"naive cd8|{_T_ONLY}|t cytotoxic",
    },
    # The first pattern that the label begins with.
    "osmFISH": {
        "pyramidal": _EXCITATORY,
        "Hippocampus": f"{_EXCITATORY}|dentate",
        "Inhibitory": _INHIBITORY,
        "Oligodendrocyte Precursor": r"oligodendrocyte (precursor|progenitor)",
        "Oligodendrocyte": r"oligodendrocytes?$",
        "Astrocyte": "astrocyte",
        "Endothelial": "endothel",
        "Pericytes": "pericyte|mural",
        "Vascular Smooth Muscle": "smooth muscle",
        "Perivascular Macrophages": "macrophage|microglia",
        "Microglia": "microglia|macrophage",
        "Ependymal": "ependym",
        "C. Plexus": "choroid",
    },
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


def runs(options):
    """One a data set."""
    return [Run({"data": name}, (execute,), DATA[name], kept=False) for name in options.data]


def report(rows, options):
    """The tables of all names, as Markdown."""
    runs = rows.groupby(["tissue", "data", "method", "seed"], sort=False)[["right", "named"]].mean().reset_index()
    sections = [
        f"\nKnown labels serve as clusters.  {len(load_cell_types())} types ship with the package.  Controls: mean ± "
        f"SD over {N_CONTROLS} draws.  Settings of the namings were chosen on these data sets, so these figures "
        "flatter them; the controls and the other table share the settings.\n"
    ]
    for tissue, part in runs.groupby("tissue", sort=False):
        sections.append(
            section(
                f"Share of clusters named right, {tissue}",
                f'Clusters without a name count as wrong, except that "{FORCED}" takes the best overlap in any case.',
                by_method(part, "right"),
                paired(part, ["text permuted", "text gaussian", "bare names"], method="text", value="right"),
            )
        )
    named = runs[(runs["tissue"] == "all tissues") & runs["method"].str.startswith("markers")]
    sure = rows[rows["named"] & (rows["tissue"] == "all tissues")]
    sure = sure.groupby(["data", "method", "seed"], sort=False)["right"].mean().reset_index()
    sections.append(
        section(
            "Names that are withheld",
            "Share of clusters with a name, then share of these names that are right.",
            by_method(named, "named"),
            by_method(sure[sure["method"].isin(named["method"])], "right"),
        )
    )
    shown = rows[(rows["tissue"] == "tissue known") & rows["method"].isin(["markers", FORCED, "text"])]
    for data, part in shown.groupby("data", sort=False):
        marked = part["name"].fillna("unassigned") + part["right"].map({True: "", False: " (x)"})
        table = part.assign(name=marked).pivot(index="label", columns="method", values="name")
        sections.append(section(f"Names, {data}", "(x): wrong, or none.", table[list(part["method"].unique())]))
    return "".join(sections)


BENCHMARK = Benchmark(
    title="Names of clusters",
    question="Are clusters given the right names, by markers and by text?",
    takes="2 to 4 minutes",
    runs=runs,
    report=report,
    data=RIGHT,
    jobs=1,
)
