"""Model selection where the rows that are fitted are the rows that are scored.

Clustering a tissue is usually transductive: the slice that is clustered is the slice that is scored.
:class:`NoSplit` and :func:`labels_scorer` say so to scikit-learn.  To ask how well domains carry over to
slices that were not seen, use :class:`~sklearn.model_selection.GroupKFold` and :func:`predict_scorer`
instead.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer
from sklearn.pipeline import Pipeline

from skst.inputs.labels import UNLABELLED, Labels, column_of, labelled
from skst.inputs.rows import is_anndata, match_rows
from skst.metrics.mixing import clisi_score, graph_connectivity, ilisi_score
from skst.metrics.partitions import SCORES

__all__ = ["NoSplit", "embedding_scorer", "labels_scorer", "predict_scorer"]

_OF_EMBEDDINGS = ("ilisi", "clisi", "graph_connectivity")


class NoSplit:
    """One fold, in which all rows are both fitted and scored.

    Give it as ``cv`` to :class:`~sklearn.model_selection.GridSearchCV` or
    :func:`~sklearn.model_selection.cross_validate` together with :func:`labels_scorer`.  The scores are those
    of the data that were fitted: they rank settings on this tissue and say nothing about other tissues.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skst.model_selection import NoSplit, labels_scorer
    >>> X = np.repeat([[0.0], [5.0], [9.0]], 10, axis=0) + np.linspace(0, 1, 30)[:, None]
    >>> y = np.repeat(["L1", "L2", "L3"], 10).astype(object)
    >>> y[3] = None
    >>> search = GridSearchCV(
    ...     KMeans(random_state=0), {"n_clusters": [2, 3, 4]}, cv=NoSplit(), scoring=labels_scorer("ari")
    ... )
    >>> search.fit(X, y).best_params_
    {'n_clusters': 3}
    """

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Number of folds, whatever the data.

        Parameters
        ----------
        X, y, groups : object, default=None
            Not used.

        Returns
        -------
        int
            Always 1.
        """
        return 1

    def split(self, X: Any, y: object = None, groups: object = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All rows as the training set and as the test set, once.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray or sparse matrix of shape (n_spots, n_genes)
            Only its number of rows is read.
        y, groups : object, default=None
            Not used.

        Yields
        ------
        train, test : ndarray of int of shape (n_spots,)
            Row indices, 0 to n_spots - 1.
        """
        rows = np.arange(X.shape[0] if hasattr(X, "shape") else len(X))
        yield rows, rows.copy()

    def __repr__(self) -> str:
        return "NoSplit()"


def labels_scorer(
    metric: str | Callable[..., float] = "ari", *, ignore: Sequence[Any] = UNLABELLED
) -> Callable[..., float]:
    """Scorer that compares the ``labels_`` of a fitted clusterer with known labels.

    For ``cv=NoSplit()``, where the rows that are scored are those that were fitted.  ``labels_`` belong to
    the training rows, so a scorer that read them on a held-out fold would compare the labels of some spots
    with the truth of others. Whether the rows are the same cannot be seen from the outside: a test fold may
    have as many rows as the training fold.  The scorer therefore never switches to ``predict`` on its own.
    It refuses folds of another length, and for held-out rows there is :func:`predict_scorer`.

    Parameters
    ----------
    metric : {"ari", "nmi", "acc", "macro_f1", "weighted_f1"}, str or callable, default="ari"
        A score of :func:`skst.metrics.score_partition`, the name of another scorer of scikit-learn, or a function
        of ``(y_true, y_pred)`` where greater is better; it receives labelled spots only.
    ignore : tuple, default=("NA", "nan", "None", "<NA>")
        Values of `y` that mean "unlabelled", beside NaN, None and NA, which always do.

    Returns
    -------
    callable
        ``scorer(estimator, X, y) -> float``, which can be pickled if `metric` can.  Of a pipeline the last
        step is asked.

    Raises
    ------
    ValueError
        If `metric` is unknown.  The scorer itself raises it if `y` is None or labels no spot, or if
        ``labels_`` and `y` differ in length; AttributeError if there are no ``labels_``.  A search turns such
        an error into a NaN score and a warning, unless it has ``error_score="raise"``.

    Examples
    --------
    >>> from sklearn.cluster import AgglomerativeClustering
    >>> from skst.model_selection import labels_scorer
    >>> X, y = [[0.0], [0.1], [5.0], [5.1], [5.2]], ["L1", "L1", "L2", "L2", "NA"]
    >>> labels_scorer("acc")(AgglomerativeClustering(2).fit(X), X, y)
    1.0
    """
    return _PartitionScorer("labels_", _check_metric(metric), tuple(ignore))


def predict_scorer(
    metric: str | Callable[..., float] = "ari", *, ignore: Sequence[Any] = UNLABELLED
) -> Callable[..., float]:
    """Scorer that compares ``predict(X)`` with known labels, on held-out rows as well as on fitted ones.

    With :class:`~sklearn.model_selection.GroupKFold` over slices this is the test of generalisation: whole
    slices are held out, as neighbouring spots of one slice are too alike to be on both sides.

    Parameters
    ----------
    metric : {"ari", "nmi", "acc", "macro_f1", "weighted_f1"} or callable, default="ari"
        As in :func:`labels_scorer`.
    ignore : tuple, default=("NA", "nan", "None", "<NA>")
        As in :func:`labels_scorer`.

    Returns
    -------
    callable
        ``scorer(estimator, X, y) -> float``, which can be pickled if `metric` can.

    Raises
    ------
    ValueError
        If `metric` is unknown; from the scorer itself if `y` is None, labels no spot, or is not as long as X.

    Examples
    --------
    Three slices of two layers; each is held out in turn.

    >>> import numpy as np
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.model_selection import GroupKFold, cross_validate
    >>> from skst.model_selection import predict_scorer
    >>> rng = np.random.default_rng(0)
    >>> layer, slices = np.tile(["L1", "L2"], 30), np.repeat(["a", "b", "c"], 20)
    >>> X = (layer == "L2")[:, None] * 5 + rng.normal(size=(60, 2))
    >>> kmeans, cv = KMeans(2, random_state=0), GroupKFold(3)
    >>> results = cross_validate(kmeans, X, layer, groups=slices, cv=cv, scoring=predict_scorer("acc"))
    >>> results["test_score"].round(2).tolist()
    [1.0, 1.0, 1.0]
    """
    return _PartitionScorer("predict", _check_metric(metric), tuple(ignore))


def embedding_scorer(metric: str = "ilisi", *, batch_key: str = "batch") -> Callable[..., float]:
    """Scorer of an embedding of several slices: are they mixed, and do labels hold together?

    For ``cv=NoSplit()``: the ``embedding_`` of a fitted estimator is read, or, where there is none, what ``transform``
    gives of X; of a pipeline that of the last step, or else what its last step was fitted to.

    Parameters
    ----------
    metric : {"ilisi", "clisi", "graph_connectivity"}, default="ilisi"
        :func:`skst.metrics.ilisi_score`, among spots of one label where `y` is given; or, of the labels `y`,
        :func:`skst.metrics.clisi_score` or :func:`skst.metrics.graph_connectivity`.
    batch_key : str, default="batch"
        Column of ``X.obs`` that tells the slices for ``"ilisi"``.

    Returns
    -------
    callable
        ``scorer(estimator, X, y) -> float``, which can be pickled.  Where spots are drawn, it always draws the same.

    Raises
    ------
    ValueError
        If `metric` is unknown.  The scorer itself raises it if labels or slices are absent, or ``embedding_`` and X
        differ in length; AttributeError if there is no embedding.

    Notes
    -----
    An embedding of noise mixes best: ask for ``"ilisi"`` beside ``"clisi"``, never alone.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skst import SpatialGraphTransformer
    >>> from skst.datasets import make_spatial_domains
    >>> from skst.model_selection import NoSplit, embedding_scorer
    >>> adata = make_spatial_domains(400, n_slices=2, random_state=0)
    >>> scoring = {metric: embedding_scorer(metric) for metric in ("ilisi", "clisi")}
    >>> search = GridSearchCV(
    ...     SpatialGraphTransformer(batch_key="batch"), {"n_hops": [0, 2]}, cv=NoSplit(), scoring=scoring, refit="clisi"
    ... ).fit(adata, adata.obs["label"])
    >>> search.best_params_
    {'n_hops': 2}
    """
    if metric not in _OF_EMBEDDINGS:
        raise ValueError(f"metric={metric!r} is unknown; choose one of {list(_OF_EMBEDDINGS)}.")
    return _EmbeddingScorer(metric, batch_key)


def _check_metric(metric: str | Callable[..., float]) -> Callable[..., float]:
    if callable(metric):
        return metric
    if metric in SCORES:
        return SCORES[metric]
    try:
        return get_scorer(metric)._score_func
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"metric={metric!r} is unknown; choose one of {list(SCORES)}, a scorer name of scikit-learn such as "
            "'adjusted_rand_score', or pass a function."
        ) from error


@dataclass(frozen=True)
class _PartitionScorer:
    """A scorer in scikit-learn's sense: a class, so that it can be pickled to other processes."""

    source: str
    metric: Callable[..., float]
    ignore: tuple[Any, ...]

    def __call__(self, estimator: Any, X: Any, y: Labels | None = None) -> float:
        if y is None:
            raise ValueError("y is None; pass the known labels as y, with None or NaN for unlabelled spots.")
        (y,) = match_rows(X, y=y)
        y = column_of(y, "y").to_numpy(dtype=object)
        labels = estimator.predict(X) if self.source == "predict" else _training_labels(estimator, len(y))
        return float(self.metric(*labelled(y, labels, self.ignore)))


def _training_labels(estimator: Any, n_spots: int) -> np.ndarray:
    while isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    name = type(estimator).__name__
    if not hasattr(estimator, "labels_"):
        raise AttributeError(f"{name} has no labels_ to score; fit it, or use predict_scorer if it only has predict.")
    if len(estimator.labels_) != n_spots:
        raise ValueError(
            f"{name} has labels_ of {len(estimator.labels_)} fitted spots but {n_spots} are scored; use "
            "cv=NoSplit() to score the fitted spots, or predict_scorer for held-out ones."
        )
    return estimator.labels_


@dataclass(frozen=True)
class _EmbeddingScorer:
    """As :class:`_PartitionScorer`, of an embedding."""

    metric: str
    batch_key: str

    def __call__(self, estimator: Any, X: Any, y: Labels | None = None) -> float:
        (y,) = match_rows(X, y=y)
        if self.metric == "ilisi":
            if not is_anndata(X) or self.batch_key not in X.obs:
                found = list(X.obs) if is_anndata(X) else f"is of type {type(X).__name__}"
                raise ValueError(
                    f"batch_key={self.batch_key!r} names no column of X.obs ({found}); pass an AnnData that has it."
                )
            slices = X.obs[self.batch_key].to_numpy()
            return ilisi_score(_embedding(estimator, X), slices, labels=y, random_state=0)
        if y is None:
            raise ValueError("y is None; pass the known labels as y, with None or NaN for unlabelled spots.")
        score = clisi_score if self.metric == "clisi" else graph_connectivity
        return score(_embedding(estimator, X), column_of(y, "y"), random_state=0)


def _embedding(estimator: Any, X: Any) -> np.ndarray:
    steps = estimator
    if isinstance(estimator, Pipeline):
        steps, estimator = estimator[:-1], estimator[-1]
        if isinstance(estimator, Pipeline):
            return _embedding(estimator, steps.transform(X))
    name = type(estimator).__name__
    if not hasattr(estimator, "embedding_"):
        if not hasattr(steps, "transform"):
            raise AttributeError(f"{name} has neither an embedding_ nor a transform; fit it, or score another.")
        return np.asarray(steps.transform(X))
    n_spots = X.shape[0] if hasattr(X, "shape") else len(X)
    if len(estimator.embedding_) != n_spots:
        raise ValueError(
            f"{name} has an embedding_ of {len(estimator.embedding_)} fitted spots but {n_spots} are scored; use "
            "cv=NoSplit() to score the fitted spots."
        )
    return estimator.embedding_
