"""Consensus of Gaussian mixtures: the default step from embedding to domains."""

import numbers
from typing import Self

import numpy as np
from joblib import Parallel, cpu_count, delayed
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skst import limits
from skst._constraints import Interval
from skst._threads import one_thread_each
from skst.metrics import agreement_matrix
from skst.partition.nested import merge_tree
from skst.partition.tied import TiedMixture, few_rows_allowed, fit_tied_mixture

_MAX_SEED = np.iinfo(np.int32).max
# Rows of a block, so that it stays in the processor's cache.
_ROWS = 16_384


def check_n_clusters(n_clusters, n_spots):
    """Raise ValueError unless `n_clusters` is an integer from 1 to `n_spots`."""
    if not isinstance(n_clusters, numbers.Integral) or isinstance(n_clusters, bool) or n_clusters < 1:
        raise ValueError(f"n_clusters={n_clusters!r} is not a positive integer.")
    if n_clusters > n_spots:
        raise ValueError(f"n_clusters={n_clusters} is larger than the {n_spots} spots (samples) in X; ask for fewer.")


class ConsensusMixture(ClusterMixin, BaseEstimator):
    """Tied Gaussian mixtures on several depths of an embedding, and what they agree on.

    A mixture of Gaussians with one covariance in common finds domains that k-means cuts through, but which of
    its optima EM reaches, and how many components of the embedding it should see, decide more than the method
    does.  So mixtures are fitted from several starts, on the leading principal components of the embedding up to
    several depths, and the likeliest few of each depth are kept.  Their posteriors are matched to those of the
    *medoid*, the mixture whose partition agrees best with all others, and averaged.

    An embedding can be several, side by side.  Each then has mixtures and a consensus of its own, and these are brought
    to one, weighted by how well each agrees with the others.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of domains.
    n_views : int, default=1
        Number of embeddings of equal width that X holds side by side.
    n_leading : tuple of int, default=(8, 10, 12, 15, 20)
        Numbers of leading principal components that mixtures see; those beyond the columns of X count as all.
    n_init : int, default=9
        Starts of EM at each depth.
    n_keep : int, default=3
        Likeliest of them that take part in the consensus.
    max_samples : int, default=50_000
        Rows, drawn at random, on which mixtures are fitted when there are more; all rows are then assigned.
    n_jobs : int, default=None
        Threads, in joblib's sense, that fit mixtures at the same time; by default one for each 10,000 rows that are
        fitted, as far as there are cores.
    random_state : int, RandomState instance or None, default=None
        Determines starts and drawn rows.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_spots,)
        Domain of each spot, equal to ``predict`` of the same rows.
    agreement_ : float
        Mean adjusted Rand index between the mixtures: near 1 where the partition does not depend on the start.
    children_ : ndarray of int of shape (n_clusters - 1, 2)
        Which domains to join for fewer ones, see :func:`merge_tree`: row i joins two nodes to node
        ``n_clusters + i``, and nodes below ``n_clusters`` are domains.
    n_features_in_ : int
        Number of columns seen in ``fit``.

    Raises
    ------
    ValueError
        If `n_clusters` is larger than the number of rows.

    See Also
    --------
    GraphCommunities : Leiden and Louvain communities.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from skst.partition import ConsensusMixture
    >>> X, y = make_blobs(300, centers=3, random_state=0, cluster_std=0.5)
    >>> mixture = ConsensusMixture(3, random_state=0).fit(X)
    >>> int(len(set(mixture.labels_)))
    3
    """

    _parameter_constraints = {
        "n_clusters": [Interval(numbers.Integral, 1, None, closed="left")],
        "n_views": [Interval(numbers.Integral, 1, None, closed="left")],
        "n_leading": ["array-like"],
        "n_init": [Interval(numbers.Integral, 1, None, closed="left")],
        "n_keep": [Interval(numbers.Integral, 1, None, closed="left")],
        "max_samples": [Interval(numbers.Integral, 2, None, closed="left")],
        "n_jobs": [numbers.Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        n_views=1,
        n_leading=(8, 10, 12, 15, 20),
        n_init=9,
        n_keep=3,
        max_samples=50_000,
        n_jobs=None,
        random_state=None,
    ):
        self.n_clusters = n_clusters
        self.n_views = n_views
        self.n_leading = n_leading
        self.n_init = n_init
        self.n_keep = n_keep
        self.max_samples = max_samples
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Fit the mixtures and assign each row to a domain.

        Parameters
        ----------
        X : array-like of shape (n_spots, n_components)
            Embedding.
        y : None
            Ignored.

        Returns
        -------
        self : ConsensusMixture
        """
        self._validate_params()
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        check_n_clusters(self.n_clusters, len(X))
        rng = check_random_state(self.random_state)
        sample = X if len(X) <= self.max_samples else X[rng.choice(len(X), self.max_samples, replace=False)]
        if X.shape[1] % self.n_views:
            raise ValueError(
                f"n_views={self.n_views} does not divide the {X.shape[1]} columns of X; give views of one width."
            )
        self._views, rows = _fit_views(sample.astype(np.float64), self.n_views)

        depths = sorted({min(int(depth), rows[0].shape[1]) for depth in self.n_leading})
        starts = [
            (view, depth, rng.randint(_MAX_SEED))
            for view in range(self.n_views)
            for depth in depths
            for _ in range(self.n_init)
        ]
        found = (
            delayed(fit_tied_mixture)(rows[view][:, :depth], self.n_clusters, seed) for view, depth, seed in starts
        )
        with one_thread_each(), few_rows_allowed():
            fitted = self._side_by_side(found, len(sample))
            self._keep(fitted, [view for view, _, _ in starts])
            self._match(rows)
            self.children_ = merge_tree(np.hstack(rows), self._posterior(sample))
        self.labels_ = self._predict(X)
        return self

    def _side_by_side(self, tasks, n_rows):
        """Results of tasks on so many rows, which are worth threads where those of libraries wait for each other."""
        worth = min(cpu_count(), n_rows // limits.ROWS_A_THREAD)
        n_jobs = worth if self.n_jobs is None and worth > 1 else self.n_jobs
        return Parallel(n_jobs, backend="threading")(tasks)

    def _keep(self, fitted, view_of):
        """Keep the likeliest of the mixtures of each view and depth."""
        # Likelihoods can be compared at one depth of one view only.
        self.mixtures_: list[TiedMixture] = []
        self._view_of: list[int] = []
        for i in range(0, len(fitted), self.n_init):
            self.mixtures_ += sorted(fitted[i : i + self.n_init], key=lambda m: -m.log_likelihood)[: self.n_keep]
            self._view_of += [view_of[i]] * (len(self.mixtures_) - len(self._view_of))

    def _match(self, rows):
        """Renumber the components of each mixture so that they mean the same as those of the medoid of medoids."""
        posteriors = [m.posterior(rows[view]) for m, view in zip(self.mixtures_, self._view_of, strict=True)]
        hard = [posterior.argmax(axis=1) for posterior in posteriors]
        n = len(hard)
        agreement = agreement_matrix(hard)
        self.agreement_ = float(agreement[np.triu_indices(n, 1)].mean()) if n > 1 else 1.0
        # Views come to one mind each, and then to one in common: a view with a divided mind has no say by halves.
        members = np.array_split(np.arange(n), self.n_views)
        minds, within = zip(*(_consensus([posteriors[i] for i in part]) for part in members), strict=True)
        # Of all that can be known without labels, agreement with the others tells best how good a partition is.
        self._weights = _mean_agreement(minds)
        consensus, between = _consensus(minds, self._weights)
        orders = [order[between[view]] for view, part in enumerate(within) for order in part]
        medoid = int(agreement.sum(axis=1).argmax())
        if len(np.unique(consensus.argmax(axis=1))) < len(np.unique(hard[medoid])):
            # The average has voted a domain away: the medoid alone keeps all of them.
            self.mixtures_, self._view_of = [self.mixtures_[medoid]], [self._view_of[medoid]]
            orders, self._weights = [np.arange(self.n_clusters)], np.ones(self.n_views)
        self._orders = orders

    def _posterior(self, X):
        views = self._seen(X)
        total = np.zeros((len(X), self.n_clusters))
        for mixture, view, order, weight in self._members():
            total += weight * mixture.posterior(views[view])[:, order]
        return total / total.sum(axis=1, keepdims=True)

    def _seen(self, X):
        """Each view of some rows as mixtures see it."""
        columns = np.split(X.astype(np.float64, copy=False), self.n_views, axis=1)
        return [pca.transform(part) * scale for part, (pca, scale) in zip(columns, self._views, strict=True)]

    def _members(self):
        """Mixtures, their views, the order of their components, and their weights."""
        weights = self._weights / np.bincount(self._view_of, minlength=self.n_views).clip(1)
        return zip(self.mixtures_, self._view_of, self._orders, weights[self._view_of], strict=True)

    def _predict(self, X):
        if len(X) <= limits.MAX_POSTERIOR:
            return self._posterior(X).argmax(axis=1).astype(np.int64)
        blocks = (delayed(self._predict_block)(X[start : start + _ROWS]) for start in range(0, len(X), _ROWS))
        with one_thread_each():
            return np.concatenate(self._side_by_side(blocks, len(X)))

    def _predict_block(self, X):
        """The same with a row a component, so that maxima and sums over components go along the memory."""
        views = [view.T for view in self._seen(X)]
        total = np.zeros((self.n_clusters, len(X)))
        for mixture, view, order, weight in self._members():
            logits = mixture.coefficients.T @ views[view][: len(mixture.coefficients)] + mixture.intercepts[:, None]
            logits -= logits.max(axis=0)
            np.exp(logits, out=logits)
            logits *= weight / logits.sum(axis=0)
            total += logits[order]
        return total.argmax(axis=0).astype(np.int64)

    def predict(self, X: ArrayLike) -> NDArray[np.integer]:
        """Domain of each row: the component with the largest mean posterior.

        Parameters
        ----------
        X : array-like of shape (n_spots, n_components)
            Embedding.

        Returns
        -------
        ndarray of int of shape (n_spots,)
        """
        check_is_fitted(self)
        return self._predict(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Mean posterior of each domain.

        Parameters
        ----------
        X : array-like of shape (n_spots, n_components)
            Embedding.

        Returns
        -------
        ndarray of shape (n_spots, n_clusters), float64
            Rows sum to 1.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        step = limits.MAX_POSTERIOR
        return np.concatenate([self._posterior(X[start : start + step]) for start in range(0, len(X), step)])


def _fit_views(rows, n_views):
    """PCA and one overall scale a view, so that the ridge on the covariance means the same for every embedding."""
    from sklearn.decomposition import PCA

    views, scaled = [], []
    for part in np.split(rows, n_views, axis=1):
        pca = PCA(svd_solver="covariance_eigh" if len(part) > part.shape[1] else "full")
        with np.errstate(invalid="ignore"):  # shares of no variance, where all rows are alike
            part = pca.set_output(transform="default").fit_transform(part)
        scale = 1.0 / (np.sqrt(part.var(axis=0).sum()) or 1.0)
        views.append((pca, scale))
        scaled.append(part * scale)
    return views, scaled


def _mean_agreement(posteriors):
    """Mean adjusted Rand index of each with the others, as weights that sum to 1."""
    pairs = agreement_matrix([posterior.argmax(axis=1) for posterior in posteriors])
    weights = np.maximum(pairs.sum(axis=1) - 1, 0.0)
    return weights / weights.sum() if weights.any() else np.full(len(weights), 1 / len(weights))


def _consensus(posteriors, weights=None):
    """Mean of posteriors matched to that of their medoid, and the order of the components of each."""
    agreement = agreement_matrix([posterior.argmax(axis=1) for posterior in posteriors])
    consensus = posteriors[int(agreement.sum(axis=1).argmax())]
    for _ in range(10):
        orders = [linear_sum_assignment(-consensus.T @ posterior)[1] for posterior in posteriors]
        previous = consensus.argmax(axis=1)
        matched = [posterior[:, order] for posterior, order in zip(posteriors, orders, strict=True)]
        consensus = np.average(matched, axis=0, weights=weights)
        if np.array_equal(previous, consensus.argmax(axis=1)):
            break
    return consensus, orders
