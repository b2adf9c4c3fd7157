"""Does what is written about the genes of a cell find the cells that a description is about?

What was tried for scores of cells or spots by a description, and why there is no such function: each known label is
looked for by the description of its type, and judged by the area under the ROC curve of its cells against all others.
"""

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from benchmarks.data import DATA
from benchmarks.declare import Benchmark, Run
from benchmarks.methods import EXACT, reader
from benchmarks.tables.naming import COLUMNS, TRUE, types_of
from skst.expression.counts import library_sizes
from skst.graph import averaging_operator, spatial_graph
from skst.inspection import load_cell_types
from skst.text.text_vectors import TextVectors

SETS = [(kind, name) for kind, name in TRUE if DATA[name].normalize]
# Genes that a description is held against: those of the nearest texts, by how far they are beyond the next one; and
# those that are expressed together with them.
N_NEAR, N_TOGETHER = 10, 30
N_CONTROLS = 5
MARKERS = "known markers"


def standardised(adata, kind):
    """z-scores of genes, at most 3, in tissue after averaging over neighbours twice."""
    X = sparse.csr_array(adata.X, dtype=np.float64)
    shares = np.sqrt((X / np.maximum(library_sizes(X), 1)[:, None]).toarray())
    if kind == "domain":
        average = averaging_operator(spatial_graph(adata.obsm["spatial"]))
        for _ in range(2):
            shares = (shares + average @ shares) / 2
    return np.clip((shares - shares.mean(axis=0)) / np.maximum(shares.std(axis=0), 1e-9), -3, 3)


def relevance(vectors, described):
    """How near the text of each gene (row) is to each description (column) beyond others, and unit vectors of both."""
    vectors = vectors - vectors.mean(axis=0)
    # What all texts of genes have most of is told by none.
    axis = np.linalg.svd(vectors, full_matrices=False)[2][0]
    units = normalize(vectors - np.outer(vectors @ axis, axis)), normalize(described - described.mean(axis=0))
    near = units[0] @ units[1].T
    return (near - near.mean(axis=0)) / near.std(axis=0), units


def leading(values, n):
    """What the n largest of each column are beyond the next one; of few genes, a fifth."""
    n = min(n, max(3, len(values) // 5))
    return np.maximum(values - np.sort(values, axis=0)[-n - 1], 0)


def ways(Z, together, models, order):
    """Scores of cells (rows) for descriptions (columns), by way; genes have the texts of others by `order`.

    `together` has the correlations of genes, none below 0.
    """
    (near, (genes, described)), (by_words, _) = models
    near, genes, both = near[order], genes[order], (near + by_words)[order]
    yield "sum of all genes", normalize(Z @ genes) @ described.T
    yield "nearest genes", Z @ leading(near, N_NEAR)
    yield "by words", Z @ leading(by_words[order], N_NEAR)
    yield "by both", Z @ leading(both, N_NEAR)
    yield "by both, co-expressed", Z @ leading(together @ leading(both, N_NEAR), N_TOGETHER)


def sought(kind, name, truth):
    """Known labels, and the type by whose description each is looked for."""
    beginnings = tuple(label.lower() for label in TRUE[kind, name])
    labels = [label for label in truth.dropna().unique() if label.lower().startswith(beginnings)]
    return {label: types_of(kind, name, label)[0] for label in labels}


def execute(run):
    """Rows of one data set: one a way, and a draw of the control."""
    kind, name = run.names["kind"], run.names["data"]
    adata = run.data.load()
    truth = adata.obs[COLUMNS.get((kind, name), "label")]
    labels = sought(kind, name, truth)
    if not labels:
        return []
    encoders = {model: reader(0, model=model).fit(adata) for model in (EXACT, "lexical")}
    known = np.logical_and.reduce([encoder.gene_vectors_.any(axis=1) for encoder in encoders.values()])
    types = load_cell_types(kind=kind)
    said = (types["cell_type"] + ": " + types["description"]).tolist()
    asked = pd.Index(types["cell_type"]).get_indexer([*labels.values()])
    models = []
    for model, encoder in encoders.items():
        near, (genes, described) = relevance(encoder.gene_vectors_[known], TextVectors(model)(said))
        models.append((near[:, asked], (genes, described[asked])))
    symbols = encoders["lexical"].gene_report_["symbol"].str.upper().to_numpy()[known]
    members = [np.isin(symbols, genes) for genes in types["markers"].str.split("|").iloc[asked]]
    Z, rows = standardised(adata, kind)[:, known], []
    together = np.maximum(Z.T @ Z / len(Z), 0)
    for seed in range(N_CONTROLS + 1):
        order = np.random.RandomState(seed).permutation(len(symbols)) if seed else np.arange(len(symbols))
        for way, scores in [*ways(Z, together, models, order), (MARKERS, Z @ np.array(members, dtype=float).T[order])]:
            auc = [roc_auc_score(truth == label, scores[:, place]) for place, label in enumerate(labels)]
            rows.append({"way": way, "control": "permuted" if seed else "none", "seed": seed, "auc": np.mean(auc)})
    return rows


def table(rows):
    """One row a data set: area under the curve, and with permuted texts in brackets."""
    rows = rows.assign(set=rows["data"] + ", " + rows["kind"] + "s")
    means = rows.groupby(["set", "way", "control"], sort=False)["auc"].mean().unstack()
    means = pd.concat([means, pd.concat({"mean": means.groupby("way", sort=False).mean()}, names=["set"])])
    told = means["none"].map("{:.2f}".format) + means["permuted"].map(" ({:.2f})".format)
    found = told.unstack().reindex(columns=rows["way"].unique(), index=[*rows["set"].unique(), "mean"])
    return found.rename_axis("data")


def runs(options):
    """One a kind and data set."""
    return [
        Run({"kind": kind, "data": name}, steps=(execute,), data=DATA[name], kept=False)
        for kind, name in SETS
        if name in options.data
    ]


BENCHMARK = Benchmark(
    question="Does likeness to a description find the cells that it is about?",
    axes={"data": {name: DATA[name] for _, name in SETS}},
    runs=runs,
    kept=False,
    order={},
    jobs=1,
)
