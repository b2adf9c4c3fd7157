"""Slices that differ by batch: corrected where an effect of batch is shown, and left alone where it is not."""

import logging
import warnings
from functools import partial
from importlib.util import find_spec

import anndata
import numpy as np
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score

from benchmarks.data import CELLS, SPATIAL, DataSet
from benchmarks.declare import Benchmark, Run
from benchmarks.pages import by_method, spread, wide
from skst import SpaLLMFusion, SpatialGraphTransformer
from skst.partition import ConsensusMixture, majority_vote
from skst.spallm import N_VOTERS

NONE, SHIFT, HARMONY = "not corrected", "shift", "plain Harmony"
METHODS = (NONE, SHIFT, HARMONY)
LEFT_OUT = [f"{method}, {how}" for method in (NONE, SHIFT) for how in ("predicted", "fitted")]
# What is made of a slice: efficiencies of genes, exp(-strength |normal|), counts of an ambient profile, and depth.
EFFECTS = {
    "efficiency of genes 0.25": {"genes": 0.25},
    "efficiency of genes 0.5": {"genes": 0.5},
    "efficiency of genes 1": {"genes": 1.0},
    "a fifth ambient": {"ambient": 0.2},
    "a quarter of the depth": {"depth": 0.25},
}
AS_IS, LACKING, LACKING_TOO = "as it is", "a domain cut out", "a domain cut out, efficiency of genes 0.5"
CASES = (AS_IS, *EFFECTS, LACKING, LACKING_TOO, "left out")
ONE_DONOR, DONORS, CELLS_OF, NO_BATCH = "one donor", "two donors", "cells", "no batch"


def _two(first, second):
    """Two slices of cortex with the genes that both have."""
    slices = {name: SPATIAL[f"DLPFC {name}"].load() for name in (first, second)}
    return anndata.concat(slices, label="part", index_unique="-")


def _batches(name):
    adata = CELLS[name].load()
    adata.obs["part"] = adata.obs["batch"].astype(str)
    return adata


SETS = {
    "DLPFC 151673, 151674": DataSet(partial(_two, "151673", "151674")),
    "DLPFC 151507, 151510": DataSet(partial(_two, "151507", "151510")),
    "DLPFC 151507, 151673": DataSet(partial(_two, "151507", "151673")),
    "DLPFC 151510, 151673": DataSet(partial(_two, "151510", "151673")),
    "Baron mouse 1, 2": DataSet(partial(_batches, "Baron mouse")),
    "sc_mixology, plates": DataSet(partial(_batches, "sc_mixology")),
    "osmFISH, halves": SPATIAL["osmFISH"],
    "STARmap, halves": SPATIAL["STARmap"],
    "HER2ST H1, halves": SPATIAL["HER2ST H1"],
}
KINDS = dict(zip(SETS, [ONE_DONOR] * 2 + [DONORS] * 2 + [CELLS_OF] * 2 + [NO_BATCH] * 3, strict=True))
# On which effects are simulated.
SIMULATED = ("DLPFC 151673, 151674", "osmFISH, halves")


def tissue(data):
    """Slices, or halves across the longer side, in the column "part", as codes."""
    adata = data.load()
    if "part" in adata.obs:
        adata.obs["part"] = np.unique(adata.obs["part"], return_inverse=True)[1]
    else:
        places = adata.obsm["spatial"][:, np.argmax(np.ptp(adata.obsm["spatial"], axis=0))]
        adata.obs["part"] = (places > np.median(places)).astype(int)
    adata.X = csr_matrix(adata.X, dtype=np.float32)
    return adata


def changed(adata, seed, *, genes=0.0, ambient=0.0, depth=1.0):
    """The tissue with an effect of batch on its last slice, simulated by thinning counts."""
    rng = np.random.RandomState(seed)
    rows = (adata.obs["part"] == adata.obs["part"].max()).to_numpy()
    X = adata.X[rows].toarray().astype(int)
    kept = np.exp(-genes * np.abs(rng.normal(size=X.shape[1]))) * depth * (1 - ambient)
    profile, sizes = X.mean(axis=0), X.sum(axis=1)
    thin = rng.binomial(X, kept).astype(np.float32)
    if ambient:
        thin += rng.poisson(ambient * np.outer(sizes, profile / profile.sum()))
    X = adata.X.tolil()
    X[np.flatnonzero(rows)] = thin
    new = adata.copy()
    new.X = csr_matrix(X, dtype=np.float32)
    return new


def without_largest(adata):
    """The tissue less the largest domain of its last slice, and what that is called."""
    last = adata.obs["part"] == adata.obs["part"].max()
    domain = adata.obs.loc[last, "label"].value_counts().index[0]
    return adata[~(last & (adata.obs["label"] == domain)).to_numpy()].copy(), domain


def model_of(k, seed, method):
    """SpaLLMFusion without text, with or without a correction."""
    spatial = SpatialGraphTransformer("views", batch_effect=None if method == NONE else "shift")
    settings = {"batch_key": "part", "n_clusters": k, "random_state": seed}
    return SpaLLMFusion(spatial, strategy="expression", **settings)


def by_harmony(adata, k, seed):
    """Labels of the same partition on what harmonypy makes of each view."""
    import harmonypy

    logging.getLogger("harmonypy").setLevel(logging.ERROR)
    spatial = SpatialGraphTransformer("views", batch_key="part")
    views, told = spatial.fit_transform(adata), {"part": adata.obs["part"].to_numpy().astype(str)}
    settings = {"verbose": False, "random_state": seed, "ncores": 1}
    parts = [
        np.asarray(harmonypy.run_harmony(view.astype(float), told, "part", **settings).Z_corr)
        for view in np.split(views, spatial.n_views_, axis=1)
    ]
    labels = ConsensusMixture(k, n_views=spatial.n_views_, random_state=seed).fit_predict(np.hstack(parts))
    if "spatial" not in adata.obsm:
        return labels
    return majority_vote(labels, adata.obsm["spatial"], n_neighbors=N_VOTERS, batch=told["part"])


def mixing(truth, labels, parts):
    """Overlap of the shares that clusters have of each true domain in each slice, 1 if they are the same everywhere."""
    overlaps, sizes = [], []
    for domain in truth.dropna().unique():
        own = (truth == domain).to_numpy()
        counts = np.stack(
            [np.bincount(labels[own & (parts == p)], minlength=labels.max() + 1) for p in np.unique(parts)]
        )
        if counts.sum(axis=1).min() < 10:
            continue
        shares = counts / counts.sum(axis=1, keepdims=True)
        apart = 0.5 * np.abs(shares - shares.mean(axis=0)).sum(axis=1).mean() * len(shares) / (len(shares) - 1)
        overlaps.append(1 - apart)
        sizes.append(counts.sum())
    return float(np.average(overlaps, weights=sizes)) if sizes else np.nan


def scores_of(truth, labels, parts):
    """Adjusted Rand index of all spots and mean over slices, and mixing within domains."""
    known = truth.notna().to_numpy()

    def score(rows):
        return adjusted_rand_score(truth[rows], labels[rows])

    slices = np.mean([score(known & (parts == part)) for part in np.unique(parts)])
    return {
        "ari": round(score(known), 5),
        "ari_slices": round(slices, 5),
        "mixing": round(mixing(truth, labels, parts), 4),
    }


def compared(run):
    """Rows of one case: as it is or changed, by each method."""
    adata, seed, case = tissue(run.data), run.names["seed"], run.names["case"]
    if case in (LACKING, LACKING_TOO):
        adata, domain = without_largest(adata)
    effect = {"genes": 0.5} if case == LACKING_TOO else EFFECTS.get(case)
    adata = changed(adata, seed, **effect) if effect else adata
    truth = adata.obs.pop("label")
    parts, k, rows = adata.obs["part"].to_numpy(), int(truth.nunique()), []
    for method in METHODS:
        moved = np.nan
        if method != HARMONY:
            model = model_of(k, seed, method).fit(adata)
            labels = model.labels_
            moved = 0.0 if model.spatial_.batch_shift_ is None else float(model.spatial_.batch_shift_.mean())
        elif find_spec("harmonypy") is None:
            continue
        else:
            labels = by_harmony(adata, k, seed)
        row = {"method": method, **scores_of(truth, labels, parts), "moved": round(moved, 4)}
        row["kept"] = round(own_cluster(truth, labels, parts, domain), 4) if case in (LACKING, LACKING_TOO) else np.nan
        rows.append(row)
    return rows


def own_cluster(truth, labels, parts, domain):
    """Share of a domain's spots in its cluster, less what the slices that lack it have there."""
    own = (truth == domain).to_numpy()
    cluster = np.bincount(labels[own]).argmax()
    others = parts == parts.max()
    return float((labels[own] == cluster).mean() - (labels[others] == cluster).mean())


def left_out(run):
    """The last slice predicted by a fit of the others, and found by a fit of all."""
    adata, seed = tissue(run.data), run.names["seed"]
    truth = adata.obs.pop("label")
    k, last = int(truth.nunique()), (adata.obs["part"] == adata.obs["part"].max()).to_numpy()
    parts, rows = adata.obs["part"].to_numpy()[last], []
    for method in (NONE, SHIFT):
        known, new = adata[~last].copy(), adata[last].copy()
        predicted = model_of(int(truth[~last].nunique()), seed, method).fit(known).predict(new)
        fitted = model_of(k, seed, method).fit(adata).labels_[last]
        for how, labels in (("predicted", predicted), ("fitted", fitted)):
            rows.append({"method": f"{method}, {how}", "ari": scores_of(truth[last], labels, parts)["ari"]})
    return rows


def quietly(run):
    """Rows of a run; cells have no places, which is told."""
    with warnings.catch_warnings(action="ignore"):
        return left_out(run) if run.names["case"] == "left out" else compared(run)


def runs(options):
    """One a set, case and seed."""
    found = []
    for seed in range(options.seeds):
        for data in options.data:
            cases = [AS_IS]
            if data in SIMULATED:
                cases += [*EFFECTS, LACKING, LACKING_TOO]
            if KINDS[data] in (ONE_DONOR, DONORS) or data in SIMULATED:
                cases.append("left out")
            found += [Run({"data": data, "case": case, "seed": seed}, (quietly,), SETS[data]) for case in cases]
    return found


def scores_as_is(rows, value):
    """Mean ± SD over seeds of one score of slices as they are."""
    rows = rows[rows["case"] == AS_IS]
    found = by_method(rows, value)
    kinds = [KINDS.get(data, "") for data in found.index]
    found.insert(0, "slices", kinds)
    return found


def moved(rows):
    """By how much a shift moves the spots of each set."""
    rows = rows[(rows["case"] == AS_IS) & (rows["method"] == SHIFT)]
    return wide(rows, "moved", "data", "method", partial(spread, digits=3)).rename(columns={SHIFT: "squared shift"})


def by_case(rows, cases, value="ari"):
    """Scores of sets that were changed, one row a set and case."""
    rows = rows[rows["case"].isin(cases) & rows["data"].isin(SIMULATED)]
    rows = rows.assign(set=rows["data"] + ": " + rows["case"])
    return rows if rows.empty else by_method(rows, value, index="set").drop(index="mean", errors="ignore")


def predicted(rows):
    """The last slice, predicted and fitted."""
    return by_method(rows[rows["case"] == "left out"], "ari")


BENCHMARK = Benchmark(
    question="What is an effect of batch, and what becomes of slices once it is taken out?",
    axes={"data": SETS},
    runs=runs,
    order={"data": SETS, "case": CASES, "method": [*METHODS, *LEFT_OUT], "seed": None},
    seeds=5,
)
