"""What is compared, on what: the registries of data sets and methods that all benchmarks read."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skst import GeneTextEncoder, SpaLLMFusion, SpatialGraphTransformer, datasets


class DataSet(NamedTuple):
    """A labelled data set.

    Attributes
    ----------
    load : callable
        Returns an AnnData with ``obs["label"]``; raises OSError where the data are not at hand.
    normalize : bool
        False if ``X`` is log-normalised already, so that methods take it as it is.
    """

    load: Callable
    normalize: bool = True


def _dlpfc(name):
    return DataSet(partial(datasets.fetch_dlpfc, name, download_if_missing=False))


SPATIAL = {
    "osmFISH": DataSet(partial(datasets.fetch_osmfish, download_if_missing=False)),
    "STARmap": DataSet(partial(datasets.fetch_starmap, download_if_missing=False)),
    "DLPFC 151673": _dlpfc("151673"),
    "DLPFC 151674": _dlpfc("151674"),
    "DLPFC 151510": _dlpfc("151510"),
    "DLPFC 151507": _dlpfc("151507"),
    "HER2ST H1": DataSet(partial(datasets.fetch_her2st, "H1", download_if_missing=False)),
}
CELLS = {
    "Baron mouse": DataSet(partial(datasets.fetch_baron_mouse, download_if_missing=False)),
    "PBMC3k": DataSet(partial(datasets.fetch_pbmc3k, download_if_missing=False)),
    "sc_mixology": DataSet(partial(datasets.fetch_scmixology, download_if_missing=False)),
    "PBMC68k reduced": DataSet(datasets.load_pbmc68k, normalize=False),
}
DATA = {**SPATIAL, **CELLS}


def fusion(k, seed, normalize=True, *, text=None, **parameters):
    """SpaLLMFusion with its defaults but for what is named; `text` holds parameters of GeneTextEncoder."""
    if not normalize:
        parameters["spatial"] = SpatialGraphTransformer(normalize=False)
        text = {"normalize": False, **(text or {})}
    if text is not None:
        parameters["text"] = GeneTextEncoder(random_state=seed, **text)
    return SpaLLMFusion(n_clusters=k, random_state=seed, **parameters)


def smooth_kmeans(k, seed, normalize=True):
    """k-means on expression averaged over spatial neighbours."""
    spatial = SpatialGraphTransformer(normalize=normalize, random_state=seed)
    return make_pipeline(spatial, KMeans(k, n_init=10, random_state=seed))


def pca_kmeans(k, seed, normalize=True):
    """The usual single-cell pipeline, without space: log-normalised, scaled, variable genes, PCA, k-means."""
    return make_pipeline(
        FunctionTransformer(partial(scaled_genes, normalize=normalize)),
        PCA(30, random_state=seed),
        KMeans(k, n_init=10, random_state=seed),
    )


def scaled_genes(adata, *, n_top_genes=2000, normalize=True):
    """z-scores, at most 10, of the log-normalised expression of the most variable genes.

    Genes are chosen by dispersion among genes of like mean, the usual way: by variance alone, a tissue of few
    strong genes (pancreas) is lost.
    """
    X = adata.X[:, adata.X.getnnz(axis=0) >= 3].toarray()
    if normalize:
        X = np.log1p(X / np.maximum(X.sum(axis=1, keepdims=True), 1) * 1e4)
    if X.shape[1] > n_top_genes:
        X = X[:, np.sort(np.argsort(-relative_dispersion(np.expm1(X)), kind="stable")[:n_top_genes])]
    return np.minimum(StandardScaler().fit_transform(X), 10)


def relative_dispersion(X, n_bins=20):
    """Log of variance over mean of each gene, standardised among the genes in the same of `n_bins` bins of log mean.

    A gene alone in its bin, whose spread is unknown, gets 1.
    """
    mean = X.mean(axis=0, dtype=np.float64)
    dispersion = pd.Series(np.log(X.var(axis=0, dtype=np.float64, ddof=1) / mean))
    bins = dispersion.groupby(pd.cut(np.log1p(mean), n_bins, labels=False))
    return ((dispersion - bins.transform("mean")) / bins.transform("std")).fillna(1).to_numpy()


# Name -> factory(k, seed, normalize) of an unfitted estimator with fit_predict(adata).
METHODS = {
    "SpaLLMFusion": fusion,
    "expression": partial(fusion, strategy="expression"),
    "functional": partial(fusion, strategy="functional"),
    "concat": partial(fusion, strategy="concat"),
    "as published": partial(fusion, align="none", alpha=0.5, beta=0.5, text={"weighting": "abundance"}),
    "text permuted": partial(fusion, text={"control": "permuted"}),
    "text Gaussian": partial(fusion, text={"control": "gaussian"}),
    "smooth + k-means": smooth_kmeans,
    "PCA + k-means": pca_kmeans,
}
# Methods that need no text vectors, so none are made for them.
TEXT_FREE = {"expression", "smooth + k-means", "PCA + k-means"}
