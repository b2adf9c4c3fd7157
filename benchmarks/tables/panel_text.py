"""Slices of which panels share few genes or none: is what text says of genes a bridge between them?"""

import warnings
from unittest.mock import patch

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import normalize

from benchmarks.data import read
from benchmarks.declare import Benchmark, Run
from benchmarks.fits import scores
from benchmarks.methods import fusion, reader
from benchmarks.pages import by_method, spread
from benchmarks.tables import panels
from benchmarks.tables.panels import parts
from skst.embedding import panels as lost
from skst.expression.counts import library_sizes, median_depth, scale_depth, square_root
from skst.expression.smooth import propagate, single_hop
from skst.partition import ConsensusMixture
from skst.text.controls import gaussian_like, permuted_order

PAIRS = {name: data for name, data in panels.PAIRS.items() if name != "STARmap, halves"}
# Genes of a panel, half of all where there are fewer, and how many of them both panels have.
SIZE, SHARED = 500, (0, 5, 10, 20, 50)
SOURCES = ("text", "permuted", "Gaussian")
SHARED_ALONE, ALONE, SAME = "these alone", "fitted alone", "same panel"
METHODS = [SHARED_ALONE, *(f"{form}, {source}" for form in ("kernel", "loadings") for source in SOURCES)]
# Of the kernel: most similar genes that speak for one, and the difference of cosines that counts.
N_SIMILAR, WIDTH = 20, 0.1


def kernel(fitted, measured, known):
    """Weights by which measured genes speak for fitted ones: a softmax of cosines over the most similar."""
    cosines = normalize(fitted) @ normalize(measured).T
    cosines[:, ~known] = -np.inf
    cosines[cosines < -np.sort(-cosines, axis=1)[:, [min(N_SIMILAR, known.sum()) - 1]]] = -np.inf
    weights = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / WIDTH)
    return weights / weights.sum(axis=1, keepdims=True) * fitted.any(axis=1, keepdims=True)


class Bridge:
    """What a fit knows of its axes, for slices of other genes; `deviations` are of averaged roots of its genes."""

    def __init__(self, pca, X, average):
        roots = pca.values(X, average, np.arange(X.shape[1]))
        roots = roots.toarray() if issparse(roots) else roots
        self.pca, self.deviations = pca, _deviations(pca, roots, average)[1]
        axes, _ = pca._unscaled
        self.axes = axes / pca.gene_scales_[pca.kept_][:, None]  # orthonormal

    def standardised(self, X, average):
        """Roots of a slice at a depth of its own, less mean and over deviation of what is averaged of them."""
        pooled = propagate(average, X.toarray(), single_hop(self.pca.n_pool_))
        roots = square_root(scale_depth(pooled, median_depth(library_sizes(pooled))))
        mean, deviation = _deviations(self.pca, roots, average)
        return np.divide(roots - mean, deviation, out=np.zeros_like(roots), where=deviation > 1e-6)

    def by_kernel(self, values, fitted, measured, same):
        """Scores from fitted genes, each of which is what measured ones that read alike say of it."""
        weights = kernel(fitted, measured, values.any(axis=0) & measured.any(axis=1))
        weights[: same.sum()] = np.eye(len(weights), len(measured))[: same.sum()]
        scales = self.deviations * self.pca.gene_scales_
        return (values @ (weights.T * scales))[:, self.pca.kept_] @ self.axes

    def by_loadings(self, values, fitted, measured, same):
        """Scores by least squares on loadings of the measured genes, which a ridge regression tells from vectors."""
        kept, spread = self.pca.kept_, np.sqrt(np.maximum(self.pca.variances_, 1e-12))
        scales = np.maximum(self.deviations * self.pca.gene_scales_, 1e-9)
        loadings = np.zeros((len(fitted), len(spread)))
        loadings[kept] = self.axes * spread / scales[kept, None]
        known = kept[fitted[kept].any(axis=1)]
        regression = RidgeCV(np.logspace(-2, 4, 13)).fit(fitted[known], loadings[known])
        told = regression.predict(measured) * measured.any(axis=1)[:, None]
        told[same] = loadings[: same.sum()]
        own = told / np.maximum(1 - np.square(told).sum(axis=1, keepdims=True), 0.05)
        return values @ own @ np.linalg.inv(own.T @ told + np.eye(len(spread))) * spread

    def settled(self, centred):
        """Scores as those of the fit are: with its mean, and scaled."""
        return ((centred + self.pca.mean_ @ self.axes) * self.pca._unscaled[1]).astype(np.float32)


def _deviations(pca, roots, average):
    averaged = propagate(average, roots, pca.hop_weights_)
    return averaged.mean(axis=0), averaged.std(axis=0)


def vectors_of(run, seed):
    """Vectors of all genes by source, centred; zeros without a text."""
    vectors = reader(0, normalize=run.data.normalize).fit(run.data.load()).gene_vectors_
    known, rng = vectors.any(axis=1), np.random.RandomState(seed)
    vectors = (vectors - vectors[known].mean(axis=0)) * known[:, None]
    permuted = vectors[permuted_order([known], rng)]
    return dict(zip(SOURCES, (vectors, permuted, gaussian_like(vectors, rng) * known[:, None]), strict=True))


def bridged(run):
    """Rows of a pair of slices: the first fitted with one panel, the other predicted with another."""
    seed, ((old, old_truth), (new, truth)) = run.names["seed"], parts(*read(run.data))
    size = min(SIZE, old.n_vars // 2)
    drawn, vectors = np.random.RandomState(seed).permutation(old.n_vars), vectors_of(run, seed)
    # A third of the starts of the default, as many are compared.
    settings = {"strategy": "expression", "clusterer": ConsensusMixture(n_init=3, n_keep=1)}
    own = old[:, drawn[:size]].copy()
    model = fusion(int(old_truth.nunique()), seed, **settings).fit(own)
    spatial = model.spatial_
    spots = spatial._read_spots(own)
    bridges = [Bridge(pca, spots.X, spatial._operator(spots)) for pca in spatial._pca.pcas_]
    spots = spatial._read_spots(new[:, drawn[:size]].copy())
    average = spatial._operator(spots)
    rows = [{"shared": size, "method": SAME, **scores(truth, model.predict(new[:, drawn[:size]].copy()))}]
    for n_shared in (n for n in SHARED if n <= size):
        genes = np.concatenate([drawn[:n_shared], drawn[size : 2 * size - n_shared]])
        panel = new[:, genes].copy()
        found = {}
        if n_shared == SHARED[0]:
            found[ALONE] = fusion(int(truth.nunique()), seed, **settings).fit_predict(panel)
        if n_shared:
            found[SHARED_ALONE] = model.predict(panel)
        values = [one.standardised(csr_array(panel.X), average) for one in bridges]
        same = np.arange(len(genes)) < n_shared
        for form, source in ((form, source) for form in ("kernel", "loadings") for source in SOURCES):
            told = vectors[source][drawn[:size]], vectors[source][genes], same
            make = {"kernel": Bridge.by_kernel, "loadings": Bridge.by_loadings}[form]
            scored = [one.settled(make(one, part, *told)) for one, part in zip(bridges, values, strict=True)]
            embedding = spatial._pca.average(np.hstack(scored), average)
            # Moments are those of the fit: all that is told is which spots are alike, and like which.
            embedding -= embedding.mean(axis=0) - spatial.embedding_.mean(axis=0)
            embedding *= spatial.embedding_.std(axis=0) / np.maximum(embedding.std(axis=0), 1e-9)
            found[f"{form}, {source}"] = model._domains_of(embedding, spots)
        rows += [{"shared": n_shared, "method": method, **scores(truth, found[method])} for method in found]
    return rows


def quietly(run):
    """Rows of a pair; panels that are refused are measured, too."""
    with warnings.catch_warnings(action="ignore"), patch.object(lost, "MOST_LOST", 1.0):
        return bridged(run)


def runs(options):
    """One a pair of slices and seed."""
    return [
        Run({"data": data, "seed": seed}, (quietly,), PAIRS[data], reads=True)
        for seed in range(options.seeds)
        for data in options.data
    ]


def table(rows, data):
    """Mean ± SD over seeds for a pair of slices, one row a number of shared genes."""
    rows = rows[(rows["data"] == data) & rows["method"].isin(METHODS)]
    if rows.empty:
        return rows
    found = by_method(rows, "ari", index="shared").rename_axis("shared genes")
    return found.loc[[name for name in found.index if not str(name).startswith("mean")], METHODS]


def score_of(rows, data, method):
    """The score of one method, as text."""
    return spread(rows[(rows["data"] == data) & (rows["method"] == method)]["ari"])


BENCHMARK = Benchmark(
    question="Are slices that share few genes, or none, bridged by what text says of their genes?",
    axes={"data": PAIRS},
    runs=runs,
    order={"data": PAIRS, "shared": None, "method": [SAME, ALONE, *METHODS], "seed": None},
    seeds=3,
)
