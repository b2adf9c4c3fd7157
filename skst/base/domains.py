"""What estimators of domains do alike: predict and transform spots, and let neighbours vote."""

import numbers
import warnings
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skst import limits
from skst._constraints import Interval
from skst.base.partition import PARTITION, PartitionMixin
from skst.inputs.order import content_order
from skst.inputs.places import are_scattered
from skst.inputs.types import Expression, PerSpot
from skst.partition.choice import majority_vote
from skst.partition.mixture import ConsensusMixture, check_n_clusters
from skst.partition.nested import labels_at, merge_tree
from skst.partition.numbers import renumber
from skst.results import data_hash, every_item, record_of

DOMAINS: dict[str, list] = {
    **PARTITION,
    "n_vote_neighbors": [Interval(numbers.Integral, 0, None, closed="left")],
    "spatial_key": [str],
    "batch_key": [str, None],
}
# Brains have some ten layers and regions in a slice; types of cells are more.
_MANY_DOMAINS = 15


class DomainMixin(PartitionMixin):
    """Methods of an estimator that embeds spots and partitions the embedding.

    The estimator has the parameter ``n_vote_neighbors`` too, and calls ``_find_domains`` after ``embedding_`` is set;
    ``_embed(X, spots)`` embeds other spots, ``_embed_slices(slices)`` those of slices that are read one at a time.
    """

    # Whether slices that are read one at a time are embedded each by itself.
    _slices_apart = True

    def transform(self, X: Any, *, coordinates: PerSpot = None, batch: PerSpot = None) -> Any:
        """Embedding of spots, new slices included.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or what else ``fit`` takes
            Raw counts of the genes seen in ``fit``; give whole slices, as neighbours count.
        coordinates, batch
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n_spots, n_columns), float32; a list of these, one a slice, if X is a list
        """
        check_is_fitted(self)
        opened = self._open(X, coordinates, batch)
        if opened.slices is not None:
            return opened.given_back(self._embed_slices(opened.slices))
        return opened.given_back(self._embed(opened.X, self._read_spots(opened.X, **opened.places)))

    def predict(self, X: Any, *, coordinates: PerSpot = None, batch: PerSpot = None) -> Any:
        """Domain of each spot, new slices included.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or what else ``fit`` takes
            Raw counts of the genes seen in ``fit``; give whole slices, as neighbours count.
        coordinates, batch
            As in ``fit``.

        Returns
        -------
        ndarray of int of shape (n_spots,)
            Domains numbered as in ``labels_``; a list of these, one a slice, if X is a list.
        """
        check_is_fitted(self)
        opened = self._open(X, coordinates, batch)
        if opened.slices is None:
            spots = self._read_spots(opened.X, **opened.places)
            return opened.given_back(self._domains_of(self._embed(opened.X, spots), spots))
        parts = opened.slices.groups(limits.MAX_PREDICTED if self._slices_apart else opened.slices.n_spots)
        found = [part.given_back(self._domains_of(self._embed_slices(part), part.spots())) for part in parts]
        return opened.given_back(opened.slices.joined(sum(found, [])))

    def _domains_of(self, embedding, spots):
        return renumber(self._voted(self._partition_of(embedding), spots), self._numbers)

    def write(
        self, adata: Any, *, key_added: str = "domain", coordinates: PerSpot = None, batch: PerSpot = None
    ) -> None:
        """Write domains and embedding into an AnnData, where scanpy and squidpy look for them.

        Parameters
        ----------
        adata : AnnData, SpatialData, or list of these, one a slice
            The spots of ``fit``, or others, which are predicted first.  It gets, for ``key_added="domain"``,
            ``obs["domain"]``, categories "0", "1", ...; ``uns["domain_colors"]``, those of :mod:`skst.plotting`;
            ``obsm["X_domain"]``, the embedding; ``obsm["domain_posterior"]``, of clusterers that have one, before
            neighbours vote; and ``uns["domain"]``, a dict that tells the estimator, its parameters, versions, what
            ``fit`` warned of, and a hash of its data.
        key_added : str, default="domain"
            Column of ``obs``.
        coordinates, batch
            As in ``fit``.

        Raises
        ------
        TypeError
            If `adata` is no AnnData.
        ValueError
            If `key_added` is taken by what no estimator wrote.

        Examples
        --------
        >>> from skst import SpaLLMFusion
        >>> from skst.datasets import make_spatial_domains
        >>> adata = make_spatial_domains(n_samples=300, n_domains=3, random_state=0)
        >>> SpaLLMFusion(strategy="expression", n_clusters=3, random_state=0).fit(adata).write(adata)
        >>> list(adata.obs["domain"].cat.categories), adata.uns["domain"]["estimator"]
        (['0', '1', '2'], 'SpaLLMFusion')
        """
        check_is_fitted(self)
        items = every_item(adata, key_added, coordinates=coordinates, batch=batch)
        # Items that are read one at a time are embedded so; those of other estimators are one tissue.
        apart = self._slices_apart and self._reads_whole() is None
        for some, X in [([item], item) for item in items] if apart else [(items, adata)]:
            opened = self._open(X, coordinates, batch, whole=True)
            spots = self._read_spots(opened.X, **opened.places)
            embed, settle = partial(self._embed, spots=spots), partial(self._voted, spots=spots)
            self._write(some, opened.rows, opened.X, key_added, spots, embed, settle)

    def fit_predict(
        self, X: Expression, y: object = None, *, coordinates: PerSpot = None, batch: PerSpot = None
    ) -> NDArray[np.integer]:
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

    def fit_transform(
        self, X: Expression, y: object = None, *, coordinates: PerSpot = None, batch: PerSpot = None
    ) -> NDArray[np.float32]:
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

    def domains_at(self, n_clusters: int) -> NDArray[np.integer]:
        """Labels of the spots of ``fit`` with fewer domains, which are unions of those in ``labels_``.

        Nothing is fitted anew.  Domains are joined in one order, so that those at 4 are unions of those at 7 too.

        Parameters
        ----------
        n_clusters : int
            Number of domains, at most as many as were found.

        Returns
        -------
        ndarray of int of shape (n_spots,)
            Numbered anew, the largest domain first; ``labels_`` at the number that was found.

        Raises
        ------
        ValueError
            If more domains are asked for than were found.

        See Also
        --------
        skst.partition.merge_tree : Says which domains to join.
        """
        check_is_fitted(self)
        check_n_clusters(n_clusters, len(self.labels_))
        n_found = len(np.unique(self.labels_[self.labels_ >= 0]))
        if n_clusters > n_found:
            raise ValueError(
                f"n_clusters={n_clusters} is larger than the {n_found} domains that fit has found; domains can be "
                "joined but not split, so fit with more."
            )
        return labels_at(self.labels_, self._tree(), n_clusters)

    def _tree(self):
        """Which domains to join, by the numbers of ``labels_``."""
        if isinstance(self.clusterer_, ConsensusMixture):
            children = self.clusterer_.children_
            n = len(children) + 1
            nodes = np.append(renumber(np.arange(n), self._numbers), np.arange(n, 2 * n - 1))
            return nodes[children]
        return merge_tree(self.embedding_, self.labels_[:, None] == np.arange(self.labels_.max() + 1))

    def _find_domains(self, spots, seed, n_views=1, *, beside=(), slices=None, marks=None):
        """Set the number of domains, the clusterer and the labels from ``embedding_``.

        `beside` is what else was read; `slices`, if they were read one at a time, are known again by their `marks`.
        """
        order = content_order(spots.X, spots.coordinates)
        self._choose_n_clusters(self.embedding_[:, : self.embedding_.shape[1] // n_views], seed, order)
        self._fit_clusterer(seed, order, n_views, settle=lambda labels: self._voted(labels, spots))
        advice = "see that counts vary between spots, or ask for fewer clusters"
        if spots.coordinates is not None:
            advice = "see that counts and coordinates vary, ask for fewer clusters, or lower n_neighbors or radius"
        self._check_collapse(advice, "spots")
        self._check_question(spots)
        self._record = record_of(self, data_hash(spots, *beside))
        self._marked = None if slices is None else dict(zip(marks, slices.rows, strict=True))

    def _check_question(self, spots):
        """Warn if types of cells seem to be asked for, which averages over neighbours cannot tell."""
        if self.n_clusters is None or self.n_clusters < _MANY_DOMAINS or not self._n_voters():
            return
        if spots.coordinates is not None and are_scattered(spots.coordinates, spots.batch):
            warnings.warn(
                f"n_clusters={self.n_clusters} is more domains than most tissues have, and places are those of single "
                "cells; for types of cells use SpaLLMFusion with spatial__spatial_weight=0.2, or LLMDSCClusterer.",
                UserWarning,
                stacklevel=4,
            )

    def _n_voters(self):
        """How many neighbours vote on a label."""
        return self.n_vote_neighbors

    def _voted(self, labels, spots):
        n_neighbors = self._n_voters()
        if spots.coordinates is None or n_neighbors == 0:
            return labels
        return majority_vote(labels, spots.coordinates, n_neighbors=n_neighbors, batch=spots.batch)
