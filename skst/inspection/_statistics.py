"""Randomisation tests of paired differences, and corrections for many tests."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

_EXACT = 16  # differences up to which all 2 ** n sign patterns are listed
_DRAWS = 9999


def sign_flip_p(differences: np.ndarray, rng: np.random.Generator) -> float:
    """One-sided p of mean(`differences`) > 0, where under the null each difference has either sign alike.

    All sign patterns are listed for up to 16 differences, the observed one among them; beyond, 9,999 are
    drawn and the observed one is added, so that p is never 0.

    scipy.stats.permutation_test does the same, but misses ties where the mean is near 0, and refuses a single
    difference.
    """
    differences = np.asarray(differences, dtype=np.float64)
    n = len(differences)
    exact = n <= _EXACT
    positive = (np.arange(2**n)[:, None] >> np.arange(n)) & 1 if exact else rng.integers(0, 2, (_DRAWS, n))
    # Sums of the same terms in another order differ by rounding, and a tie must count.
    slack = 1e-12 * np.abs(differences).sum()
    as_large = np.count_nonzero((2 * positive - 1) @ differences >= differences.sum() - slack)
    return as_large / 2**n if exact else (1 + as_large) / (1 + _DRAWS)


def mean_interval(differences: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of Student's t for the mean; NaN for a single difference."""
    n = len(differences)
    if n < 2:
        return float("nan"), float("nan")
    mean, error = np.mean(differences), np.std(differences, ddof=1) / np.sqrt(n)
    half = stats.t.ppf(0.975, n - 1) * error
    return float(mean - half), float(mean + half)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down correction: controls the chance of a single false finding among all tests.

    scipy corrects the rate of false findings alone.
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected
