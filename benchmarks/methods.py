"""What is compared, on what: the registries of data sets and methods that all benchmarks read."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
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
    """The usual single-cell pipeline without space: 30 components of log-normalised, scaled genes, k-means."""
    log = FunctionTransformer(partial(log_expression, normalize=normalize))
    return make_pipeline(log, StandardScaler(), PCA(30, random_state=seed), KMeans(k, n_init=10, random_state=seed))


def log_expression(adata, *, n_top_genes=2000, normalize=True):
    """Logarithm of counts scaled to the median library size, for the genes of largest variance."""
    X = adata.X.toarray()
    if normalize:
        sums = X.sum(axis=1, keepdims=True)
        X = np.log1p(X / np.maximum(sums, 1) * np.median(sums))
    return X[:, np.sort(np.argsort(-X.var(axis=0), kind="stable")[:n_top_genes])]


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
