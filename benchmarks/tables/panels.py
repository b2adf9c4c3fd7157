"""A slice that lacks some of the genes of a fit, and fits to few genes."""

import warnings
from functools import partial
from unittest.mock import patch

import anndata
import numpy as np
from scipy.sparse import csr_matrix, diags_array

from benchmarks.data import SPATIAL, DataSet, read
from benchmarks.declare import Benchmark, Run
from benchmarks.fits import scores
from benchmarks.methods import fusion
from benchmarks.pages import by_method, spread, wide
from skst.embedding import panels
from skst.expression.counts import column_variance, scale_depth, square_root

# Shares of the genes that are absent, and numbers that are left of genes drawn at random.
SHARES = (0.05, 0.2, 0.5)
FEW = (3, 5, 10, 20, 50)
ALL, UNKNOWN, ZEROS, MEAN, REFIT = "all genes", "unknown", "zeros", "mean of the fit", "refit"
LACKING = (UNKNOWN, ZEROS, MEAN, REFIT)


def _two(first, second):
    """Two slices of cortex with the genes that both have."""
    slices = {name: SPATIAL[f"DLPFC {name}"].load() for name in (first, second)}
    return anndata.concat(slices, label="part", index_unique="-")


PAIRS = {
    "osmFISH, halves": SPATIAL["osmFISH"],
    "STARmap, halves": SPATIAL["STARmap"],
    "DLPFC 151673, 151674": DataSet(partial(_two, "151673", "151674")),
    "DLPFC 151507, 151510": DataSet(partial(_two, "151507", "151510")),
}


def parts(adata, truth):
    """What is fitted and what is predicted, each with its labels: two slices, or the halves of one.

    It is cut along its longer side, so that both halves have most of the domains.
    """
    if "part" in adata.obs:
        first = (adata.obs["part"] == adata.obs["part"].iloc[0]).to_numpy()
    else:
        places = adata.obsm["spatial"][:, np.argmin(np.ptp(adata.obsm["spatial"], axis=0))]
        first = places <= np.median(places)
    return [(adata[rows].copy(), truth[rows]) for rows in (first, ~first)]


def filled(adata, present, shares):
    """A slice with counts for absent genes that are the mean of the fit, at the depth of each spot."""
    X = csr_matrix(adata.X) @ diags_array(present.astype(np.float32))
    sizes = np.asarray(X.sum(axis=1)).ravel() / shares[present].sum()
    return _with(adata, X.toarray() + np.outer(sizes, np.where(present, 0.0, shares)))


def _with(adata, X):
    changed = adata.copy()
    changed.X = np.asarray(X, dtype=np.float32)
    return changed


def absent_genes(adata, seed):
    """Which genes are left in each case, and what that is called."""
    n = adata.n_vars
    drawn = np.random.RandomState(seed).permutation(n)
    X = csr_matrix(adata.X, dtype=np.float32)
    varying = np.argsort(-column_variance(square_root(scale_depth(X, 1.0))), kind="stable")
    for called, order in (("at random", drawn), ("most variable", varying)):
        for share in SHARES:
            yield f"{share:.0%} {called}", ~np.isin(np.arange(n), order[: round(share * n)])


def lacking(run):
    """How well domains of another slice are found that lacks genes, by what is done about these."""
    (old, old_truth), (new, truth) = parts(*read(run.data))
    make = partial(fusion, int(old_truth.nunique()), run.names["seed"], strategy="expression")
    model = make().fit(old)
    shares = np.asarray(old.X.sum(axis=0)).ravel() / old.X.sum()
    rows = [{"absent": "none", "method": ALL, **scores(truth, model.predict(new))}]
    for absent, present in absent_genes(old, run.names["seed"]):
        found = {
            UNKNOWN: model.predict(new[:, present].copy()),
            ZEROS: model.predict(_with(new, new.X.toarray() * present)),
            MEAN: model.predict(filled(new, present, shares)),
            REFIT: make().fit(old[:, present].copy()).predict(new[:, present].copy()),
        }
        _, lost = panels.on_genes(model.spatial_._pca, present)
        told = {"absent": absent, "counts": round(shares[present].sum(), 4), "lost": round(lost, 4)}
        rows += [{**told, "method": method, **scores(truth, labels)} for method, labels in found.items()]
    return rows


def few(run):
    """How well domains are found by few genes, drawn at random."""
    (adata, truth), _ = parts(*read(run.data))
    seed, total, rows = run.names["seed"], adata.X.sum(), []
    drawn = np.random.RandomState(seed).permutation(adata.n_vars)
    for n in FEW:
        if n < adata.n_vars:
            some = adata[:, drawn[:n]].copy()
            found = fusion(int(truth.nunique()), seed, strategy="expression").fit_predict(some)
            counts = round(float(some.X.sum() / total), 4)
            rows.append({"genes": n, "method": "few genes", "counts": counts, **scores(truth, found)})
    return rows


def both(run):
    """All rows of a pair of slices; panels that are refused are measured, too."""
    with warnings.catch_warnings(action="ignore"), patch.object(panels, "MOST_LOST", 1.0):
        return [*lacking(run), *few(run)]


def runs(options):
    """One a pair of slices and seed."""
    return [
        Run({"data": data, "seed": seed}, (both,), PAIRS[data])
        for seed in range(options.seeds)
        for data in options.data
    ]


def table(rows, data):
    """Mean ± SD over seeds for a pair of slices: one row a case, one column what is done."""
    rows = rows[(rows["data"] == data) & rows["method"].isin(LACKING)]
    if rows.empty:
        return rows
    found = by_method(rows, "ari", index="absent").drop(index="mean", errors="ignore")
    means = rows.groupby("absent", sort=False)[["counts", "lost"]].mean()
    found.insert(0, "counts left", means["counts"].map("{:.0%}".format))
    found.insert(1, "variance lost", means["lost"].map("{:.1%}".format))
    return found.rename_axis("genes absent")


def whole(rows, data):
    """The score with all genes, as text."""
    return spread(rows[(rows["data"] == data) & (rows["method"] == ALL)]["ari"])


def by_number(rows):
    """Mean ± SD over seeds of fits to few genes, one row a number, one column a tissue."""
    rows = rows[rows["method"] == "few genes"]
    return rows if rows.empty else wide(rows.astype({"genes": int}), "ari", "genes", "data", spread)


BENCHMARK = Benchmark(
    question="What of a new slice that lacks some of the genes?",
    axes={"data": PAIRS},
    runs=runs,
    order={"data": PAIRS, "seed": None},
    seeds=3,
)
