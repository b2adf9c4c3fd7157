"""How many domains: the bend of a likelihood, or partitions that repeat."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_random_state

from skst._progress import progress_bar
from skst.inputs.types import RandomState
from skst.metrics import agreement_matrix
from skst.partition.tied import few_rows_allowed, fit_tied_mixture

CRITERIA = ("bic", "stability")
N_LEADING = 10
# Starts of EM of which the best is kept, for a BIC, and times that the rows are halved.
N_STARTS, N_HALVINGS = 3, 5
_MAX_SEED = np.iinfo(np.int32).max


def estimate_n_clusters(
    embedding: ArrayLike,
    *,
    n_clusters: Sequence[int] = range(1, 16),
    criterion: str = "bic",
    max_samples: int = 20_000,
    random_state: RandomState = None,
    verbose: int = 0,
) -> tuple[int, pd.DataFrame]:
    """Estimate the number of domains from tied Gaussian mixtures of each number.

    The mixtures see the ten leading principal components.  By "bic", the estimate is where the curve of the Bayesian
    information criterion bends.  The BIC of real tissue falls with every component added, as no domain is Gaussian;
    where it stops falling fast is the number farthest below the chord from the first to the last point of the curve.

    By "stability", the rows are halved at random a few times and mixtures fitted to either half assign all rows.  The
    estimate is the number whose partitions agree best, by adjusted Rand index, with those that the other half gives at
    that number, the one before and the one after.

    Parameters
    ----------
    embedding : array-like of shape (n_spots, n_components)
        Embedding.
    n_clusters : sequence of int, default=range(1, 16)
        Numbers tried, ascending; those above half the number of spots are left out.
    criterion : {"bic", "stability"}, default="bic"
        What is looked at.
    max_samples : int, default=20_000
        Rows, drawn at random, that are looked at when there are more.
    random_state : int, RandomState instance or None, default=None
        Seeds starts, halves and drawn rows.
    verbose : int, default=0
        1 shows a bar of progress.

    Returns
    -------
    chosen : int
        The estimate: the only number that can be tried if there is but one, and 1 if there is none.
    curve : DataFrame
        Columns ``n_clusters``, ``criterion`` (BIC, lower is better, or agreement, at most 1, higher is better) and
        ``chosen`` (bool), one row a number tried.

    Raises
    ------
    ValueError
        If the criterion is unknown, or `n_clusters` holds anything but integers from 1.

    See Also
    --------
    skst.plotting.plot_k_curve : Draws the curve.

    Notes
    -----
    The number of domains is a choice of resolution more than a fact of the data: look at the curve and give
    `n_clusters` where anatomy tells it.  The bend is the default because it is the nearer to known numbers, over all
    labelled data of the benchmarks; stability is the one to read for several resolutions that all repeat.

    Stability follows CellCharter [1]_, which compares several starts on all rows; halves tell partitions that follow
    the sample too.  A single cluster agrees with itself and with no other partition, so that it is chosen where nothing
    repeats better than by half.

    References
    ----------
    .. [1] M. Varrone et al., "CellCharter reveals spatial cell niches associated with tissue remodeling and cell
       plasticity", Nature Genetics 56, 2024.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from skst.partition import estimate_n_clusters
    >>> X, y = make_blobs(400, centers=4, random_state=1, cluster_std=0.5)
    >>> estimate_n_clusters(X, random_state=0)[0]
    4
    >>> chosen, curve = estimate_n_clusters(X, criterion="stability", random_state=0)
    >>> curve.nlargest(2, "criterion")["n_clusters"].sort_values().tolist()
    [4, 5]
    """
    from sklearn.decomposition import PCA

    if criterion not in CRITERIA:
        raise ValueError(f"criterion={criterion!r} is not one of {CRITERIA}.")
    wanted = np.asarray(n_clusters)
    if wanted.ndim != 1 or wanted.dtype.kind not in "iu" or wanted.min(initial=1) < 1:
        raise ValueError(f"n_clusters={n_clusters!r} is no sequence of numbers from 1; give one, such as range(1, 16).")
    embedding = check_array(embedding, dtype=np.float64)
    rng = check_random_state(random_state)
    if len(embedding) > max_samples:
        embedding = embedding[rng.choice(len(embedding), max_samples, replace=False)]
    # Components beyond the leading ones are noise in a small tissue, and bend the curve late.
    leading = PCA(min(N_LEADING, *embedding.shape)).set_output(transform="default")
    with np.errstate(invalid="ignore"):  # shares of no variance
        embedding = leading.fit_transform(embedding)
    embedding /= np.sqrt(embedding.var(axis=0).sum()) or 1.0
    tried = [int(k) for k in np.unique(wanted) if k <= len(embedding) // 2]
    values = (_bics if criterion == "bic" else _stabilities)(embedding, tried, rng, verbose)
    if len(tried) < 2:
        chosen = tried[0] if tried else 1
    elif criterion == "bic":
        x = (np.array(tried) - tried[0]) / (tried[-1] - tried[0])
        chord = values[0] + (values[-1] - values[0]) * x
        chosen = tried[int(np.argmax(chord - values))]
    else:
        chosen = tried[int(np.argmax(values))]
    curve = pd.DataFrame({"n_clusters": tried, "criterion": values})
    return chosen, curve.assign(chosen=curve["n_clusters"] == chosen)


def _bics(rows, tried, rng, verbose):
    """BIC of the best of a few mixtures of each number."""
    seed = rng.randint(_MAX_SEED)
    values = []
    with progress_bar(len(tried), "bic", "numbers of clusters", shown=bool(verbose)) as advance, few_rows_allowed():
        for k in tried:
            fitted = [fit_tied_mixture(rows, k, seed + start) for start in range(N_STARTS)]
            values.append(min(mixture.bic(len(rows)) for mixture in fitted))
            advance()
    return np.array(values)


def _stabilities(rows, tried, rng, verbose):
    """Mean agreement of partitions by one half of the rows with those by the other at k - 1, k and k + 1."""
    if not tried:
        return np.zeros(0)
    half = len(rows) // 2
    # Ends have neighbours, too: without them the first and the last number would be measured by themselves.
    needed = sorted({near for k in tried for near in (k - 1, k, k + 1) if 1 <= near <= half})
    place = {k: i for i, k in enumerate(needed)}
    agreement = np.zeros((N_HALVINGS, len(needed), len(needed)))
    bar = progress_bar(N_HALVINGS * len(needed), "stability", "mixtures", shown=bool(verbose))
    with bar as advance, few_rows_allowed():
        for i in range(N_HALVINGS):
            order, seed = rng.permutation(len(rows)), rng.randint(_MAX_SEED)
            parts = [], []
            for k in needed:
                for labels, part in zip(parts, (order[:half], order[half:]), strict=True):
                    labels.append(fit_tied_mixture(rows[part], k, seed).posterior(rows).argmax(axis=1))
                advance()
            agreement[i] = agreement_matrix(parts[0] + parts[1])[: len(needed), len(needed) :]
    mean = agreement.mean(axis=0)
    mean = (mean + mean.T) / 2
    near = [[place[j] for j in (k - 1, k, k + 1) if j in place] for k in tried]
    return np.array([mean[place[k], others].mean() for k, others in zip(tried, near, strict=True)])
