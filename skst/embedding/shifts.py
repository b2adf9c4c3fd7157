"""What sets slices apart where their domains agree: one shift of each slice, where it can be shown."""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from sklearn.exceptions import ConvergenceWarning

# Numbers of domains that slices are compared by: few, as slices that could have domains of their own would share none.
N_DOMAINS = (4, 6, 8)
# Starts of EM for each of these and each way to begin, and rows that it sees.
N_STARTS = 2
MAX_ROWS = 4000
_MAX_ITER, _TOL = 60, 1e-4
# Of the mean variance: no direction varies less within domains.
_LEAST_VARIANCE = 1e-3


class _Shared(NamedTuple):
    """Domains that slices share: what EM has found."""

    gain: float
    shifts: NDArray[np.float64]
    centres: NDArray[np.float64]
    shares: NDArray[np.float64]
    factor: NDArray[np.float64]


class SliceShifts:
    r"""One shift of each slice, learnt from domains that slices share in whatever proportions.

    Slices are taken to be mixtures of the same Gaussian domains, of one covariance, each slice with proportions
    :math:`\pi_s` of its own and moved by :math:`b_s`,

    .. math:: z_i \sim \sum_k \pi_{sk} \, N(c_k + b_s, \Sigma)

    so that a slice that has more of a domain than others, or alone, is not moved for it.  With
    :math:`\delta_{sk}` what is found between a domain in a slice and in all, a slice is moved by what its domains have
    in common, :math:`b_s = \sum_k w_k \delta_{sk}`, with weights by how much of each there is on both sides, less what
    they do not (James and Stein [1]_),
    :math:`b_s (1 - V_s / |b_s|^2)_+` with :math:`V_s` the squared error of that sum.

    Slices are moved only if the likelihood pays for the columns of their shifts, as it has to for those of centres
    (BIC), where spots that share their surroundings count once.  If it does not, slices of ``fit`` stay as they are,
    and another is moved if it pays for its own shift, and departs further than any of them.

    Parameters
    ----------
    n_alike : int, default=1
        Spots that tell as much as one does, as their surroundings are the same.

    Attributes
    ----------
    centres_ : ndarray of shape (n_domains, n_columns), float64
        Domains of the reference.
    shares_ : ndarray of shape (n_domains,), float64
        Their proportions, means over slices.
    shown_ : bool
        Whether slices of ``fit`` are set apart by shifts.
    origin_ : ndarray of shape (n_columns,), float64
        Mean of these shifts, which is left to all.

    References
    ----------
    .. [1] W. James and C. Stein, "Estimation with quadratic loss", Proc. 4th Berkeley Symp. on Math. Statist. and Prob.
       1, 361-379 (1961).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_blobs
    >>> from skst.embedding.shifts import SliceShifts
    >>> values, domains = make_blobs(600, centers=5, n_features=6, random_state=0)
    >>> slices = (np.arange(600) + (domains == 0)) % 2
    >>> moved = values + np.outer(slices, [0.0, 0, 3, 0, 0, 0])
    >>> corrected = SliceShifts().fit(moved, slices).correct(moved, slices)
    >>> difference = corrected - values
    >>> bool(np.ptp(difference, axis=0).max() < 0.5)
    True
    """

    def __init__(self, n_alike=1):
        self.n_alike = n_alike

    def fit(
        self,
        embedding: NDArray[np.floating],
        slices: NDArray[np.integer],
        n_views: int = 1,
        n_columns: int | None = None,
    ) -> "SliceShifts":
        """Learn the domains that slices share.

        Parameters
        ----------
        embedding : ndarray of shape (n_spots, n_views * n_columns)
            Views side by side; domains are found in the first, shifts in all.
        slices : ndarray of int of shape (n_spots,)
            Slice of each spot, as codes from 0.
        n_views : int, default=1
        n_columns : int, default=None
            Columns of the first view that domains are found in; all by default.

        Returns
        -------
        self
        """
        self.n_columns_ = embedding.shape[1] // n_views if n_columns is None else n_columns
        first = np.asarray(embedding[:, : self.n_columns_], dtype=np.float64)
        # In an order of their own, so that draws do not depend on how spots came.
        order = np.lexsort(first.T[::-1])
        if len(order) > MAX_ROWS:
            order = order[np.linspace(0, len(order) - 1, MAX_ROWS).astype(int)]
        known, sampled = _several(slices[order]), slices[order]
        if not len(known):  # a slice a spot tells nothing of slices
            known, slices, sampled = np.zeros(1, dtype=int), np.zeros_like(slices), np.zeros_like(sampled)
        taken = np.isin(sampled, known)
        best = self._likeliest(first[order[taken]], np.searchsorted(known, sampled[taken]), len(first))
        self._factor = best.factor
        members = [np.flatnonzero(slices == code) for code in known]
        self.shares_ = best.shares.mean(axis=0)
        sizes, sums = [], []
        for rows, shift, shares in zip(members, best.shifts, best.shares, strict=True):
            posterior, _ = self._posterior(first[rows] - shift, best.centres, shares)
            sizes.append(posterior.sum(axis=0))
            sums.append(posterior.T @ embedding[rows].astype(np.float64))
        self.centres_ = _centres(np.stack(sizes), np.stack(sums))
        self.shown_ = bool(best.shifts.any())
        found = [self._found(embedding[rows]) for rows in members]
        few = [self._found(embedding[slices == code]) for code in np.setdiff1d(slices, known)]
        self._most = max(gain for gain, _ in found + few)
        self.origin_ = np.mean([shift for _, shift in found], axis=0) * self.shown_
        return self

    def correct(self, embedding: NDArray[np.floating], slices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Embedding less the shift of each slice, which is learnt from that slice alone, the domains held fixed.

        Parameters
        ----------
        embedding : ndarray of shape (n_spots, n_views * n_columns)
        slices : ndarray of int of shape (n_spots,)
            Slices, of ``fit`` or others, as codes from 0.

        Returns
        -------
        ndarray of shape (n_spots, n_views * n_columns), float32
        """
        corrected = np.array(embedding, dtype=np.float32)
        for code in range(slices.max() + 1):
            rows = np.flatnonzero(slices == code)
            gain, shift = self._found(embedding[rows])
            if self.shown_ or gain > max(self._most, self._price(len(rows))):
                corrected[rows] -= (shift - self.origin_).astype(np.float32)
        return corrected

    def _likeliest(self, values, slices, n_spots):
        """The likeliest domains of many starts, without shifts or with, once centres and shifts are paid for."""
        n_slices, price = slices.max() + 1, self._price(n_spots)
        # Twice as many without shifts, which are one way to begin and not two.
        ways = [("none", 2 * N_STARTS)] + ([("zero", N_STARTS), ("mean", N_STARTS)] if n_slices > 1 else [])
        found = []
        for n_domains in N_DOMAINS:
            for begin, n_starts in ways:
                paid = price * (n_domains + (0 if begin == "none" else n_slices - 1))
                starts = (_shared_domains(values, slices, n_domains, begin, seed) for seed in range(n_starts))
                found += [one._replace(gain=one.gain - paid) for one in starts]
        return max(found, key=lambda one: one.gain)

    def _found(self, embedding):
        """Shift of one slice, and what it adds to the log-likelihood a spot."""
        first = np.asarray(embedding[:, : self.n_columns_], dtype=np.float64)
        own, gains, best = self.centres_[:, : self.n_columns_], {}, None
        for begin in ("none", "zero", "mean"):
            shift = first.mean(axis=0) - self.shares_ @ own if begin == "mean" else np.zeros(self.n_columns_)
            shares, before = self.shares_, -np.inf
            for _ in range(_MAX_ITER):
                posterior, gain = self._posterior(first - shift, own, shares)
                shares = posterior.mean(axis=0) + 1e-3 * self.shares_
                shares /= shares.sum()
                if begin != "none":
                    shift = (first - posterior @ own).mean(axis=0)
                if abs(gain - before) < _TOL:
                    break
                before = gain
            gains[begin] = gain
            if begin != "none" and gain >= max(gains.values()):
                best = posterior
        if best is None or len(first) < 2:  # one spot can be moved onto any domain
            return 0.0, np.zeros(embedding.shape[1])
        sizes = best.sum(axis=0) + 1e-9
        between = best.T @ embedding.astype(np.float64) / sizes[:, None] - self.centres_
        return max(gains.values()) - gains["none"], _in_common(between, sizes / sizes.sum(), self.shares_)

    def _price(self, n_spots):
        """What a centre or a shift costs by BIC, in log-likelihood a spot."""
        n_apart = max(n_spots / self.n_alike, 2.0)
        return self.n_columns_ * np.log(n_apart) / (2 * n_apart)

    def _posterior(self, values, centres, shares):
        return _posterior(values, centres, shares, self._factor)


def _several(slices):
    """Codes of slices that have more spots than one, which a shift would put anywhere."""
    return np.flatnonzero(np.bincount(slices) > 1)


def _shared_domains(values, slices, n_domains, begin, seed):
    """EM from one start: shifts of slices that stay "none", or begin at "zero" or at the "mean" of each slice."""
    from sklearn.cluster import KMeans

    n_spots, n_columns = values.shape
    each = np.eye(slices.max() + 1)[slices]
    sizes = each.sum(axis=0)[:, None]
    shifts = np.zeros((len(sizes), n_columns))
    if begin == "mean":
        shifts = each.T @ values / sizes
        shifts -= shifts.mean(axis=0)
    moved = values - shifts[slices]
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # of rows that are alike
        start = KMeans(min(n_domains, n_spots), n_init=1, max_iter=30, random_state=seed).fit(moved)
    posterior, before = np.eye(start.n_clusters)[start.labels_], -np.inf
    for _ in range(_MAX_ITER):
        members = posterior.sum(axis=0)[:, None] + 1e-9
        centres = posterior.T @ moved / members
        covariance = (moved.T @ moved - (centres * members).T @ centres) / n_spots
        least = _LEAST_VARIANCE * np.trace(covariance) / n_columns + np.finfo(np.float32).tiny
        factor = cholesky(covariance + least * np.eye(n_columns), lower=True)
        shares = each.T @ posterior + 1e-3
        shares /= shares.sum(axis=1, keepdims=True)
        posterior, gain = _posterior(moved, centres, shares[slices], factor)
        gain -= np.log(np.diag(factor)).sum()
        if begin != "none":
            shifts = each.T @ (values - posterior @ centres) / sizes
            shifts -= shifts.mean(axis=0)
            moved = values - shifts[slices]
        if abs(gain - before) < _TOL:
            break
        before = gain
    return _Shared(gain, shifts, centres, shares, factor)


def _posterior(values, centres, shares, factor):
    """Posterior of each domain for each spot, and the mean of log-likelihoods but for a constant."""
    white = solve_triangular(factor, values.T, lower=True).T
    white_centres = solve_triangular(factor, centres.T, lower=True).T
    logs = white @ white_centres.T - 0.5 * np.square(white_centres).sum(axis=1) + np.log(shares)
    logs -= 0.5 * np.square(white).sum(axis=1, keepdims=True)
    highest = logs.max(axis=1, keepdims=True)
    posterior = np.exp(logs - highest)
    total = posterior.sum(axis=1, keepdims=True)
    posterior /= total
    return posterior, float((np.log(total) + highest).mean())


def _centres(sizes, sums):
    """Centres of domains in all columns, from their sizes and sums in each slice, once slices are moved together."""
    shifts = np.zeros((len(sizes), 1, sums.shape[2]))
    for _ in range(20):
        centres = (sums - sizes[:, :, None] * shifts).sum(axis=0) / (sizes.sum(axis=0)[:, None] + 1e-9)
        shifts = (sums - sizes[:, :, None] * centres).sum(axis=1, keepdims=True) / sizes.sum(axis=1)[:, None, None]
        shifts -= shifts.mean(axis=0)
    return centres


def _in_common(between, here, there):
    """What the differences of domains have in common, less what they do not."""
    weights = here * there / (here + there)
    weights /= weights.sum()
    n_domains = 1 / np.square(weights).sum()
    common = weights @ between
    size = np.square(common).sum()
    if n_domains <= 1 or size == 0:
        return np.zeros_like(common)  # one domain: nobody knows whether it is the slice or the domain
    error = np.square(weights) @ np.square(between - common).sum(axis=1) * n_domains / (n_domains - 1)
    return max(0.0, 1 - error / size) * common
