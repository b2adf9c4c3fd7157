"""What every estimator of domains does alike: partition an embedding, predict, transform."""

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skst._contract import read_spots
from skst.partition.choice import estimate_n_clusters, majority_vote, make_clusterer
from skst.partition.mixture import check_n_clusters


class DomainMixin(ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin):
    """Methods of an estimator that embeds spots and partitions the embedding.

    The estimator has the parameters ``n_clusters``, ``clusterer``, ``n_vote_neighbors`` and ``verbose``, sets
    ``embedding_`` in ``fit`` and then calls ``_find_domains``; ``_embed(X, spots)`` embeds other spots.
    """

    def transform(self, X, *, coordinates=None, batch=None):
        """Embedding of spots, new slices included.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray or sparse of shape (n_spots, n_genes)
            Raw counts of the genes seen in ``fit``; give whole slices, as neighbours count.
        coordinates, batch
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n_spots, n_columns), float32
        """
        check_is_fitted(self)
        return self._embed(X, read_spots(self, X, coordinates=coordinates, batch=batch))

    def predict(self, X, *, coordinates=None, batch=None):
        """Domain of each spot, new slices included.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray or sparse of shape (n_spots, n_genes)
            Raw counts of the genes seen in ``fit``; give whole slices, as neighbours count.
        coordinates, batch
            As in ``fit``.

        Returns
        -------
        ndarray of int of shape (n_spots,)
            Domains numbered as in ``labels_``.
        """
        check_is_fitted(self)
        spots = read_spots(self, X, coordinates=coordinates, batch=batch)
        return self._voted(self.clusterer_.predict(self._embed(X, spots)), spots)

    def fit_predict(self, X, y=None, *, coordinates=None, batch=None):
        """Fit and return ``labels_``.

        Parameters
        ----------
        X, y, coordinates, batch
            As in ``fit``.

        Returns
        -------
        ndarray of int of shape (n_spots,)
        """
        return self.fit(X, y, coordinates=coordinates, batch=batch).labels_

    def fit_transform(self, X, y=None, *, coordinates=None, batch=None):
        """Fit and return ``embedding_``.

        Parameters
        ----------
        X, y, coordinates, batch
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n_spots, n_columns), float32
        """
        return self.fit(X, y, coordinates=coordinates, batch=batch).embedding_

    def _check_partition(self, spots):
        """Raise what the partition would, before anything takes time."""
        if self.n_clusters is not None:
            check_n_clusters(self.n_clusters, spots.X.shape[0])
        make_clusterer(self.clusterer, 1)

    def _find_domains(self, spots, seed, n_views=1):
        """Set the number of domains, the clusterer and the labels from ``embedding_``."""
        seed = int(seed)
        vars(self).pop("n_clusters_curve_", None)
        self.n_clusters_ = self.n_clusters
        if self.n_clusters is None:
            self._say("estimating the number of domains")
            first = self.embedding_[:, : self.embedding_.shape[1] // n_views]
            self.n_clusters_, self.n_clusters_curve_ = estimate_n_clusters(first, random_state=seed)
        self.clusterer_ = make_clusterer(self.clusterer, self.n_clusters_, seed, n_views=n_views)
        self._say(f"partition into {self.n_clusters_} domains: {self.clusterer_}")
        self.clusterer_.fit(self.embedding_)
        self.labels_ = self._voted(self.clusterer_.predict(self.embedding_), spots)

    def _voted(self, labels, spots):
        if spots.coordinates is None or self.n_vote_neighbors == 0:
            return labels
        return majority_vote(labels, spots.coordinates, n_neighbors=self.n_vote_neighbors, batch=spots.batch)

    def _say(self, step):
        if self.verbose:
            print(f"[{type(self).__name__}] {step}")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self):
        return np.shape(self.embedding_)[1]
