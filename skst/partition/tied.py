"""EM for Gaussians with one covariance in common, at the cost of a product of the data with the means."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from sklearn.exceptions import ConvergenceWarning

# Rows that k-means sees.
_MAX_START = 10_000


class TiedMixture(NamedTuple):
    """A fitted mixture: its posterior is a softmax of linear functions, and that is all it keeps.

    Attributes
    ----------
    coefficients : ndarray of shape (n_components, n_clusters)
    intercepts : ndarray of shape (n_clusters,)
    log_likelihood : float
        Mean log-likelihood of a row.
    """

    coefficients: np.ndarray
    intercepts: np.ndarray
    log_likelihood: float

    def posterior(self, X: np.ndarray) -> NDArray[np.float64]:
        """Posterior of each cluster; of X the leading columns are read."""
        columns = X[:, : len(self.coefficients)].T
        return _softmax(self.coefficients.T @ columns + self.intercepts[:, None])[0].T

    def bic(self, n_rows: int) -> float:
        """Bayesian information criterion of a fit to `n_rows` rows; lower is better."""
        d, k = self.coefficients.shape
        n_parameters = k * d + d * (d + 1) / 2 + k - 1
        return -2 * n_rows * self.log_likelihood + n_parameters * np.log(n_rows)


def fit_tied_mixture(
    X: NDArray[np.float64],
    n_clusters: int,
    random_state: int,
    *,
    max_iter: int = 200,
    tol: float = 1e-3,
    ridge: float = 1e-6,
) -> TiedMixture:
    """Fit a mixture by EM from one start of k-means.

    The common covariance is the total scatter less that of the means, and with precision P the log-density of
    row x and mean m is ``x'Pm - m'Pm / 2`` plus a term that does not depend on m.  So neither step needs more
    than products of X with k vectors; `sklearn.mixture.GaussianMixture` rotates X once a cluster and iteration.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_components), float64
        Data, of mean near zero.
    n_clusters : int
        Number of Gaussians.
    random_state : int
        Seeds k-means.
    max_iter : int
        Most iterations.
    tol : float
        Gain in mean log-likelihood below which to stop.
    ridge : float
        Added to the diagonal of the covariance.

    Returns
    -------
    TiedMixture
    """
    n_rows, d = X.shape
    labels = _starting_labels(X, n_clusters, random_state)
    # A row a component, here and below: sums and maxima over components go along the memory.
    responsibilities = np.equal(np.arange(n_clusters)[:, None], labels).astype(np.float64)
    scatter = X.T @ X
    previous = -np.inf
    for _ in range(max_iter):
        sizes = responsibilities.sum(axis=1) + 10 * np.finfo(np.float64).eps
        means = responsibilities @ X / sizes[:, None]
        covariance = (scatter - (means * sizes[:, None]).T @ means) / n_rows + ridge * np.eye(d)
        factor = cho_factor(covariance, lower=True)
        coefficients = cho_solve(factor, means.T)
        intercepts = np.log(sizes / n_rows) - 0.5 * np.einsum("kd,dk->k", means, coefficients)
        responsibilities, log_sums = _softmax(coefficients.T @ X.T + intercepts[:, None])
        # the mean of x'Px is a trace, and twice the log of the Cholesky diagonal the log-determinant
        constant = np.trace(cho_solve(factor, scatter)) / n_rows + d * np.log(2 * np.pi)
        log_likelihood = log_sums.mean() - 0.5 * constant - np.log(np.diag(factor[0])).sum()
        if log_likelihood - previous < tol:
            break
        previous = log_likelihood
    return TiedMixture(coefficients, intercepts, float(log_likelihood))


@contextmanager
def few_rows_allowed() -> Iterator[None]:
    """Let k-means be silent about fewer distinct rows than clusters: EM goes on from what there is.

    Around all fits, which may run in threads: what warnings say is a matter of the process.
    """
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        yield


def _starting_labels(X, n_clusters, random_state):
    """Labels of one run of k-means, which sees some of many rows: mixtures go on from there."""
    from sklearn.cluster import KMeans

    model = KMeans(n_clusters, n_init=1, random_state=random_state)
    if len(X) <= _MAX_START:
        return model.fit(X).labels_
    rows = np.random.RandomState(random_state).choice(len(X), _MAX_START, replace=False)
    return model.fit(X[rows]).predict(X)


def _softmax(logits):
    """Shares of components, which are rows, in their place, and the logarithm of the sum of each column."""
    top = logits.max(axis=0)
    logits -= top
    np.exp(logits, out=logits)
    sums = logits.sum(axis=0)
    logits /= sums
    return logits, np.log(sums) + top


def likeliest_clusters(embedding: np.ndarray, seed: int, n_clusters: int) -> NDArray[np.integer]:
    """Hard clusters of the likeliest mixture, ndarray of int of shape (n_spots,); parameters as there."""
    values = embedding.astype(np.float64)
    return likeliest_mixture(values, n_clusters, np.random.RandomState(seed)).posterior(values).argmax(axis=1)


def likeliest_mixture(
    X: NDArray[np.float64],
    n_clusters: int,
    random_state: np.random.RandomState,
    *,
    n_init: int = 4,
    max_samples: int = 20_000,
) -> TiedMixture:
    """The likeliest of a few tied mixtures, from different starts.

    Parameters
    ----------
    X : ndarray of shape (n_spots, n_components), float64
    n_clusters : int
    random_state : RandomState
        Draws starts and rows.
    n_init : int, default=4
        Starts.
    max_samples : int, default=20_000
        Rows, drawn at random, on which mixtures are fitted when there are more.

    Returns
    -------
    TiedMixture
    """
    rows = X if len(X) <= max_samples else X[random_state.choice(len(X), max_samples, replace=False)]
    seeds = random_state.randint(np.iinfo(np.int32).max, size=n_init)
    with few_rows_allowed():
        fitted = [fit_tied_mixture(rows, n_clusters, seed) for seed in seeds]
    return max(fitted, key=lambda mixture: mixture.log_likelihood)
