"""What every estimator of clusters does alike: partition an embedding."""

import numbers
import warnings

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning

from skst import limits
from skst._constraints import HasMethods, Interval
from skst._parameters import NestedParameters
from skst.inputs.reading import READING, ReadsSpots
from skst.partition.choice import make_clusterer, warn_of_collapse
from skst.partition.estimate import estimate_n_clusters
from skst.partition.mixture import ConsensusMixture, check_n_clusters
from skst.partition.numbers import renumber, stable_numbers
from skst.results import WritesResults

# What parameters of the same name may be, on every estimator.
PARTITION: dict[str, list] = {
    "n_clusters": [Interval(numbers.Integral, 1, None, closed="left"), None],
    "text": [HasMethods(["fit_transform", "transform"]), None],
    "clusterer": [str, HasMethods(["fit", "predict"]), None],
    **READING,
}


class PartitionMixin(
    NestedParameters, ReadsSpots, WritesResults, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
):
    """Methods of an estimator that partitions an embedding of its own.

    The estimator has the parameters ``n_clusters``, ``clusterer`` and ``verbose`` and sets ``embedding_`` in ``fit``.
    """

    def _check_partition(self, n_spots):
        """Raise what the partition would, before anything takes time."""
        if self.n_clusters is not None:
            check_n_clusters(self.n_clusters, n_spots)
        make_clusterer(self.clusterer, 1)

    def _choose_n_clusters(self, embedding, seed, order):
        """Set the number of clusters to what was asked for or, from the rows of an embedding in `order`, estimated."""
        vars(self).pop("n_clusters_curve_", None)
        self.n_clusters_ = self.n_clusters
        if self.n_clusters is None:
            self._say("estimating the number of clusters")
            self.n_clusters_, self.n_clusters_curve_ = estimate_n_clusters(
                embedding[order], random_state=int(seed), verbose=self.verbose
            )

    def _fit_clusterer(self, seed, order, n_views=1, settle=None):
        """Fit the clusterer to ``embedding_``, which holds so many embeddings side by side, and set ``labels_``.

        It sees the rows in `order`, from :func:`skst.inputs.order.content_order`.  `settle` turns its labels into final
        ones of the same numbers.
        """
        self.clusterer_ = make_clusterer(self.clusterer, self.n_clusters_, int(seed), n_views=n_views)
        self._say(f"partition into {self.n_clusters_} clusters: {self.clusterer_}")
        with warnings.catch_warnings():  # of fewer clusters than asked for, of which more is said below
            warnings.filterwarnings("ignore", "Number of distinct clusters", ConvergenceWarning)
            self.clusterer_.fit(self.embedding_[order])
        _put_back(self.clusterer_, order)
        found_all = isinstance(self.clusterer_, ConsensusMixture) and len(order) > limits.MAX_POSTERIOR
        labels = self.clusterer_.labels_ if found_all else np.asarray(self.clusterer_.predict(self.embedding_))
        labels = labels if settle is None else settle(labels)
        self._numbers = stable_numbers(labels)
        self.labels_ = renumber(labels, self._numbers)

    def _partition_of(self, embedding):
        """Labels that the clusterer gives to an embedding, not yet numbered as ``labels_`` are."""
        return np.asarray(self.clusterer_.predict(embedding))

    def _check_collapse(self, advice, rows):
        # Communities have warned of another number than was asked for.
        warn_of_collapse(self.labels_, getattr(self.clusterer_, "n_clusters_", self.n_clusters_), advice, rows)

    def _check_interruption(self, n_networks, what):
        """Warn if training was cut short, so that `what` was found is of what had been learnt by then."""
        if self.interrupted_:
            warnings.warn(
                f"Training was interrupted in network {len(self.networks_)} of {n_networks}; {what} are those of what "
                "had been learnt by then.",
                stacklevel=3,
            )

    def _say(self, step):
        if self.verbose:
            print(f"[{type(self).__name__}] {step}")

    @property
    def _n_features_out(self):
        return np.shape(self.embedding_)[1]


def _put_back(clusterer, order):
    """Bring what a clusterer knows of the rows that it saw in `order` into the order of the spots."""
    for name in ("labels_", "embedding_"):
        values = getattr(clusterer, name, None)
        if isinstance(values, np.ndarray) and len(values) == len(order):
            in_place = np.empty_like(values)
            in_place[order] = values
            setattr(clusterer, name, in_place)
