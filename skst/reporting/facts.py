"""What there is to tell of a fit: labels, sizes, genes, names, scores and cautions."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skst.inputs.labels import Labels, label_column
from skst.inspection import annotate, marker_genes
from skst.metrics import chaos_score, pas_score, score_partition

if TYPE_CHECKING:
    from anndata import AnnData

KEY = "skst_report"
# Genes named of each cluster.
_GENES = 8
# A cluster with a smaller share of the spots is worth a look.
_SMALL = 0.005


class Facts(NamedTuple):
    """All that the page shows, as numbers and texts."""

    labels: NDArray[np.integer]
    places: NDArray[np.floating] | None
    plane: NDArray[np.floating]
    batch: pd.Series | None
    record: Mapping[str, Any]
    genes: Mapping[int, list[str]]
    names: Mapping[int, str]
    scores: list[tuple[str, float, str]]
    cautions: list[str]


def gather(model: Any, adata: "AnnData", truth: Labels | None, names: Any) -> Facts:
    """Everything to tell of a fitted estimator and its spots.

    Parameters
    ----------
    model : estimator
    adata : AnnData
        Not changed.
    truth : array-like or str or None
        Known labels.
    names : DataFrame, Series, dict or None
        Names of clusters.

    Returns
    -------
    Facts
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        written = _without_copy(adata)
        model.write(written, key_added=KEY)
        labels = written.obs[KEY].cat.codes.to_numpy().astype(np.intp)
        batch = _batch(model, adata)
        places = _places(model, adata)
        genes, by_markers = _genes(model, adata, labels)
        scores = _scores(adata, labels, places, batch, truth)
    record = written.uns[KEY]
    told = _names(model, names)
    cautions = [*_cautions(model, adata, labels, batch, record), *dict.fromkeys(str(w.message) for w in caught)]
    return Facts(
        labels,
        places,
        _plane(written.obsm[f"X_{KEY}"]),
        batch,
        record,
        genes,
        by_markers if told is None else told,
        scores,
        cautions,
    )


def _without_copy(adata):
    """An AnnData of the same arrays that results can be written to."""
    from anndata import AnnData

    parts = {name: dict(getattr(adata, name)) for name in ("obsm", "obsp", "layers")}
    return AnnData(X=adata.X, obs=adata.obs.copy(), var=adata.var, **parts)


def _batch(model, adata):
    key = getattr(model, "batch_key", None)
    return None if key is None else adata.obs[key].astype(str)


def _places(model, adata):
    key = getattr(model, "spatial_key", None)
    if key is None or key not in adata.obsm:
        return None
    return np.asarray(adata.obsm[key], dtype=np.float64)[:, :2]


def _plane(embedding):
    """The two main axes of an embedding, where spots without places can be drawn."""
    centred = np.asarray(embedding, dtype=np.float64) - np.mean(embedding, axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    plane = centred @ axes[:, ::-1][:, :2]
    return plane if plane.shape[1] == 2 else np.column_stack([plane, np.zeros(len(plane))])


def _genes(model, adata, labels):
    """Leading genes of each cluster, and its name where the clusters are types of cells."""
    if len(np.unique(labels[labels >= 0])) < 2:
        return {}, {}
    try:
        column = pd.Series(labels, adata.obs_names).where(labels >= 0)
        markers = marker_genes(adata, column, layer=getattr(model, "layer", None))
    except ValueError as error:  # values that are no counts, or genes without names
        warnings.warn(f"Marker genes are left out: {error}", stacklevel=2)
        return {}, {}
    leading = markers[markers["rank"] <= _GENES].groupby("cluster", observed=True)["gene"].agg(list)
    genes = {int(cluster): [*map(str, of)] for cluster, of in leading.items()}
    if hasattr(model, "spatial_key"):
        return genes, {}
    types = annotate(markers)["cell_type"].dropna()
    return genes, {int(cluster): str(kind) for cluster, kind in types.items()}


def _names(model, names):
    """Names of clusters by their numbers, given or told by the estimator; None where neither is."""
    if names is None:
        table = getattr(model, "domains_", None)
        if not isinstance(table, pd.DataFrame):
            return None
        names = table.set_index("domain")["name"]
    if isinstance(names, pd.DataFrame):
        names = names["cell_type"]
    return {int(cluster): str(what) for cluster, what in dict(names).items() if not pd.isna(what)}


def _scores(adata, labels, places, batch, truth):
    found = labels >= 0
    scores = []
    if truth is not None:
        known = label_column(adata, truth, "truth", len(labels))
        both = known.notna().to_numpy() & found
        against = score_partition(known[both], labels[both])
        scores += [
            ("Adjusted Rand index", against["ari"], "against known labels; 0 is chance, 1 the same partition"),
            ("Normalised mutual information", against["nmi"], "against known labels; not corrected for chance"),
            ("Accuracy", against["acc"], "share of spots in the right cluster after the best one-to-one match"),
            ("Macro F1", against["macro_f1"], "the same match, each label counted alike, so that rare ones count"),
        ]
    if places is not None:
        slices = None if batch is None else batch.to_numpy()[found]
        pas = pas_score(labels[found], places[found], batch=slices)
        chaos = chaos_score(labels[found], places[found], batch=slices)
        scores += [
            ("PAS", pas, "share of spots among neighbours of other domains; 0 is smooth, not right"),
            ("CHAOS", chaos, "mean distance to the nearest spot of the same domain; small is smooth, not right"),
        ]
    return scores


def _cautions(model, adata, labels, batch, record):
    source = str(adata.uns.get("source", ""))
    if source.startswith("simulated"):
        yield "The data are simulated: nothing here says anything about real tissue."
    if record["predicted"]:
        yield "These spots are not those of the fit, or have changed since: their clusters are predicted."
    if getattr(model, "interrupted_", False):
        yield "Training was interrupted; clusters are those of what had been learnt by then."
    if getattr(model, "n_clusters", 1) is None:
        yield f"The number of clusters, {record['n_clusters']}, was estimated; plot_k_curve shows by how sharp a bend."
    sizes = np.bincount(labels[labels >= 0], minlength=record["n_clusters"])
    if (empty := np.flatnonzero(sizes == 0)).size:
        yield f"No spot is in cluster {_listed(empty)}."
    if (small := np.flatnonzero((sizes > 0) & (sizes < _SMALL * len(labels)))).size:
        yield f"Cluster {_listed(small)} has less than {_SMALL:.1%} of the spots."
    if batch is not None and batch.nunique() > 1:
        shares = pd.crosstab(labels, batch.to_numpy())
        alone = shares.max(axis=1) > 0.95 * shares.sum(axis=1)
        if (lonely := shares.index[alone]).size:
            yield f"Cluster {_listed(lonely)} is of a single slice: a difference between slices, or between tissues?"
    if _has_read(model):
        yield (
            "Text about genes was used. Whether it mattered is not to be seen here: "
            "skst.inspection.semantic_permutation_test compares it with text of other genes and with noise."
        )
    if (genes := getattr(getattr(model, "text_", None), "gene_report_", None)) is not None and "text" in genes:
        without = float((genes["text"].astype(str) == "").mean())
        if without > 0.5:
            yield f"Nothing is written about {without:.0%} of the genes."


def _has_read(model):
    """Whether text took part in the fit."""
    found = (getattr(model, name, None) for name in ("text_", "semantic_embedding_", "text_report_"))
    return any(value is not None and (not hasattr(value, "__len__") or len(value)) for value in found)


def _listed(numbers):
    return ", ".join(map(str, numbers))
