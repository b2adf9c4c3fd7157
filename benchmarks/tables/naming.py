"""Is the one name of `annotate` right, and as often as it says?

The known labels serve as clusters.  `TRUE` holds for each label the types of the package's tree that it is: a name is
right if it is one of them or a kind of one, broad if one of them is a kind of it, and wrong otherwise.  Clusters of
shuffled genes, as many and as long, have no name that is right.
"""

from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from benchmarks.data import DATA
from benchmarks.declare import Benchmark, Run
from benchmarks.methods import EXACT
from skst.inspection import annotate_by_markers, annotate_by_text, load_cell_types, marker_genes
from skst.inspection.naming import CALIBRATION, WEIGHTS, Weights, features, gather, settle
from skst.inspection.type_tree import TypeTree

_TABLE = pd.read_csv(Path(__file__).with_suffix(".tsv"), sep="\t", quoting=3)
# Kind and data set -> label, or how it begins -> types that are right.
TRUE = {
    key: part.set_index("label")["type"].str.split("|").to_dict()
    for key, part in _TABLE.groupby(["kind", "data"], sort=False)
}
# Columns of the types, where they are not "label".
COLUMNS = {("cell", "osmFISH"): "cell_type"}
SETTINGS = [Weights(overlap, WEIGHTS.inherited, text) for overlap, text in product((1.5, 2, 2.5, 3), (0, 0.25, 0.5, 1))]
SOURCES = {
    "markers": (annotate_by_markers, {}),
    "markers, always named": (annotate_by_markers, {"alpha": 1, "min_overlap": 1}),
    "text": (annotate_by_text, {"model": EXACT}),
}
# What a cluster of shuffled genes counts in a fit, beside 1 for a real one.
SHUFFLED = 0.4
MIN_CONFIDENCE = 0.35
BINS = (0, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1)


def types_of(kind, data, label):
    """The types that a known label is."""
    true = TRUE[kind, data]
    return true.get(label) or next(types for start, types in true.items() if label.lower().startswith(start.lower()))


def level(kind, data, label, name):
    """Whether a name is "right", "broad" or "wrong" for a known label; "none" without a name."""
    if name is None:
        return "none"
    true = types_of(kind, data, label)
    tree, place = _tree(kind)
    if any(tree.within[place[name], place[type_]] for type_ in true):
        return "right"
    return "broad" if any(tree.within[place[type_], place[name]] for type_ in true) else "wrong"


@lru_cache
def _tree(kind):
    types = load_cell_types(kind=kind)
    names = types["cell_type"].tolist()
    return TypeTree(dict(zip(names, types["parent"], strict=True)), names), {name: n for n, name in enumerate(names)}


def shuffled(markers, seed=0):
    """Clusters as long as these of genes drawn from all that were measured."""
    rng = np.random.default_rng(seed)
    genes = np.array(markers.attrs["genes"], dtype=object)
    sizes = markers.groupby("cluster", observed=True, sort=False).size()
    drawn = np.concatenate([rng.permutation(genes)[:size] for size in sizes])
    found = markers.assign(gene=drawn)
    found.attrs = markers.attrs
    return found


def execute(run):
    """Rows of one data set: one a cluster and setting, and one a cluster and source alone."""
    kind, name = run.names["kind"], run.names["data"]
    markers = marker_genes(run.data.load(), COLUMNS.get((kind, name), "label"))
    types, rows = load_cell_types(kind=kind), []
    table = types.assign(gene=types["markers"].str.split("|")).explode("gene")
    for way, (function, parameters) in SOURCES.items():
        found = function(markers, types if way == "text" else table, **parameters)["cell_type"]
        rows += [_row(run, way, label, name, clusters="real") for label, name in found.items()]
    for clusters, listed in (("real", markers), ("shuffled", shuffled(markers))):
        seen = gather(listed, None, "lexical", None, None, kind)
        for weights in SETTINGS:
            _, settled = settle(seen, weights)
            for label, (place, chance, relative) in zip(seen.found, settled, strict=True):
                row = _row(run, "annotate", label, seen.names[place], clusters=clusters)
                rows.append({**row, **weights._asdict(), "chance": round(chance, 6), "relative": round(relative, 6)})
    return rows


def _row(run, method, label, name, *, clusters):
    judged = level(*run.names.values(), label, name) if clusters == "real" else "wrong"
    return {"method": method, "clusters": clusters, "label": label, "name": name, "level": judged}


def fit(rows):
    """Intercept and weights of the confidence: regularised logistic regression of whether names are true."""
    X = np.column_stack(features(rows["chance"], rows["relative"]))
    weight = np.where(rows["clusters"] == "real", 1, SHUFFLED)
    model = LogisticRegression(C=10).fit(X, rows["level"].isin(["right", "broad"]), sample_weight=weight)
    return (*model.intercept_, *model.coef_[0])


def told(rows, calibration):
    """The rows with their confidence, and names withheld that are less sure than the default asks."""
    odds, overlaps = features(rows["chance"], rows["relative"])
    sure = expit(calibration[0] + calibration[1] * odds + calibration[2] * overlaps)
    return rows.assign(confidence=sure, named=sure >= MIN_CONFIDENCE)


def of_setting(rows, weights=WEIGHTS):
    """The rows of `annotate` on cells with these weights."""
    rows = rows[(rows["method"] == "annotate") & (rows["kind"] == "cell")]
    return rows[(rows["overlap"] == weights.overlap) & (rows["text"] == weights.text)]


def across_sets(rows):
    """Rows of the default weights with the confidence that the other data sets fit."""
    rows = of_setting(rows)
    return pd.concat([told(part, fit(rows[rows["data"] != name])) for name, part in rows.groupby("data", sort=False)])


def across_halves(rows):
    """Each half of the labels with the weights and the confidence that do best on the other half, and those weights.

    Halves take every second label of a data set.  Best is the mean over data sets of the share right, broad names
    counting half, of all clusters.
    """
    scored, chosen = [], []
    for side in (0, 1):
        best = max(SETTINGS, key=lambda weights: worth(_half(rows, weights, side)))
        scored.append(told(_half(rows, best, 1 - side), fit(_half(rows, best, side))))
        chosen.append(best)
    return pd.concat(scored), chosen


def _half(rows, weights, side):
    part = of_setting(rows, weights)
    return part[part.groupby(["data", "clusters"]).cumcount() % 2 == side]


def worth(rows):
    """Mean over data sets of the share of clusters named right, broad names counting half."""
    rows = rows[rows["clusters"] == "real"]
    return rows["level"].map({"right": 1, "broad": 0.5}).fillna(0).groupby(rows["data"]).mean().mean()


def summary(rows):
    """Of the real clusters of each data set: how many have names, true ones, and wrong ones that are sure."""
    rows = rows[rows["clusters"] == "real"]
    parts = [*rows.groupby("data", sort=False), ("all clusters", rows)]
    found = {}
    for name, part in parts:
        named = part[part["named"]]
        true = named["level"].isin(["right", "broad"])
        found[name] = {
            "clusters": len(part),
            "named": f"{part['named'].mean():.3f}",
            "true, of the named": f"{true.mean():.3f}" if len(named) else "-",
            "right": f"{(named['level'] == 'right').mean():.3f}" if len(named) else "-",
            "broad": f"{(named['level'] == 'broad').mean():.3f}" if len(named) else "-",
            "true, of all": f"{true.sum() / len(part):.3f}",
        }
        if "confidence" in part:
            sure = part["confidence"] > 0.8
            found[name]["wrong at > 0.8"] = f"{int((sure & (part['level'] == 'wrong')).sum())} of {int(sure.sum())}"
    table = pd.DataFrame(found).T.rename_axis("data")
    sets = table.iloc[:-1].apply(pd.to_numeric, errors="coerce").mean()
    table.loc["mean over sets"] = [f"{sets[column]:.3f}" if column[0] in "ntrb" else "" for column in table]
    return table


def sources(rows):
    """The summary over sets of each source alone, of clusters of `kind` cells."""
    rows = rows[(rows["kind"] == "cell") & (rows["method"] != "annotate")].assign(named=lambda r: r["name"].notna())
    tables = {method: summary(part).loc["mean over sets"] for method, part in rows.groupby("method", sort=False)}
    return pd.DataFrame(tables).T.drop(columns="clusters").rename_axis("source")


def calibration(rows):
    """How often names of each level of confidence are true, withheld or not."""
    rows = rows[rows["clusters"] == "real"].assign(true=lambda r: r["level"].isin(["right", "broad"]))
    groups = rows.groupby(pd.cut(rows["confidence"], BINS, include_lowest=True), observed=True)
    table = pd.DataFrame(
        {
            "clusters": groups.size(),
            "mean confidence": groups["confidence"].mean().map("{:.3f}".format),
            "true": groups["true"].mean().map("{:.3f}".format),
        }
    )
    levels = [f"{max(level.left, 0):g} to {level.right:g}" for level in table.index]
    return table.set_axis(levels).rename_axis("confidence")


def of_shuffled(rows):
    """How many clusters of shuffled genes get a name, by data set."""
    rows = rows[rows["clusters"] == "shuffled"]
    counts = rows.groupby("data", sort=False)["named"].agg(["size", "sum"])
    sure = (rows["confidence"] > 0.8).groupby(rows["data"], sort=False).sum()
    return counts.set_axis(["clusters", "named"], axis=1).assign(**{"at > 0.8": sure})


def domains(rows):
    """Names of domains by the default weights and calibration."""
    rows = rows[(rows["kind"] == "domain") & (rows["method"] == "annotate")]
    rows = rows[(rows["overlap"] == WEIGHTS.overlap) & (rows["text"] == WEIGHTS.text)]
    return told(rows, CALIBRATION) if len(rows) else rows.assign(confidence=[], named=[])


def names(rows):
    """Names with what became of them, one row a cluster."""
    rows = rows[rows["clusters"] == "real"]
    shown = rows["name"].where(rows["named"], "unknown; " + rows["name"]) + rows["level"].map(
        {"right": "", "broad": " (broad)", "wrong": " (x)"}
    )
    table = pd.DataFrame({"name": shown, "confidence": rows["confidence"].map("{:.2f}".format)})
    return table.set_axis(rows["data"] + ": " + rows["label"].astype(str)).rename_axis("cluster")


def runs(options):
    """One run a kind and data set."""
    return [
        Run({"kind": kind, "data": name}, steps=(execute,), data=DATA[name], kept=False)
        for kind, name in TRUE
        if name in options.data
    ]


BENCHMARK = Benchmark(
    question="Is the one name of annotate right, and as often as it says?",
    axes={"data": {name: DATA[name] for _, name in TRUE}},
    runs=runs,
    kept=False,
    order={},
    jobs=1,
)
