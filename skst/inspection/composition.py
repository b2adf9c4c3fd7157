"""Which domains samples are made of, and whether that differs between conditions."""

import itertools
import math
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skst.inputs.labels import label_column, sort_labels
from skst.inputs.types import RandomState
from skst.inspection._statistics import holm

# Spots of a domain to be expected in the smallest sample, for its shares to be compared.
_FEWEST = 5


def domain_composition(source: Any, labels: Any, sample: Any) -> pd.DataFrame:
    """Share of each domain in each sample.

    Parameters
    ----------
    source : AnnData, DataFrame, Series or array-like of shape (n_spots, ...)
        What has the spots.
    labels : array-like of shape (n_spots,) or str
        Domain of each spot, or a column of ``obs``; spots without one take no part.
    sample : array-like of shape (n_spots,) or str
        Sample (donor, animal) of each spot, likewise.

    Returns
    -------
    DataFrame of shape (n_samples, n_domains), float64
        Rows sum to 1.  ``attrs["n_spots"]`` holds the spots of each sample.

    Raises
    ------
    ValueError
        If lengths differ, or no spot has both.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.inspection import domain_composition
    >>> domain_composition(np.zeros((4, 1)), ["L1", "L1", "L2", "L2"], ["a", "a", "a", "b"]).round(2)
          L1    L2
    a   0.67  0.33
    b   0.00  1.00
    """
    counts = _counts(*_columns(source, labels=labels, sample=sample))
    shares = counts.div(counts.sum(axis=1), axis=0)
    shares.attrs["n_spots"] = {str(name): int(size) for name, size in counts.sum(axis=1).items()}
    return shares


def composition_test(
    source: Any,
    labels: Any,
    *,
    sample: Any,
    condition: Any,
    n_permutations: int = 9999,
    random_state: RandomState = None,
) -> pd.DataFrame:
    """Test whether domains take other shares of the samples of one condition than of others.

    Spots of a sample are alike for many reasons, so samples are what is compared, and what is permuted: conditions are
    dealt out to samples anew, and a domain's p is the share of deals that separate them as well as the truth does.  A
    test that permutes cells finds a difference between any two samples.

    The statistic is the sum of squares of the mean shares of conditions around the mean share of all samples.  Shares
    are compared as they are: logarithms of the share of a rare domain depend on how many spots a sample has.

    Parameters
    ----------
    source : AnnData, DataFrame, Series or array-like of shape (n_spots, ...)
        What has the spots.
    labels, sample, condition : array-like of shape (n_spots,) or str
        Domain, sample and condition of each spot, or columns of ``obs``.  Spots that lack one take no part.
    n_permutations : int, default=9999
        Deals that are drawn; where there are no more than so many in all, each is made once.
    random_state : int, RandomState instance or None, default=None
        Draws them.

    Returns
    -------
    DataFrame
        One row a domain: "domain", "share <condition>" (mean share over its samples) for each condition, "effect"
        (the mean share of the second of two conditions less that of the first; of more, the largest less the smallest),
        "p", "p_holm" (corrected for all domains) and "p_least", the smallest p that so many samples allow.  A domain of
        which fewer than 5 spots are to be expected in the smallest sample has no p (NaN): there, to see none tells of
        the number of spots.

    Raises
    ------
    ValueError
        If there are fewer than two conditions or three samples, or a sample has spots of two conditions.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skst.inspection import composition_test
    >>> obs = pd.DataFrame({"sample": np.repeat(list("abcdefgh"), 20), "condition": np.repeat(["ctrl", "ko"], 80)})
    >>> obs["domain"] = (["L1"] * 10 + ["L2"] * 10) * 8
    >>> obs.loc[obs["condition"] == "ko", "domain"] = (["L1"] * 4 + ["L2"] * 16) * 4
    >>> found = composition_test(obs, obs["domain"], sample=obs["sample"], condition=obs["condition"])
    >>> found[["domain", "share ctrl", "share ko", "p"]].round(3)
      domain  share ctrl  share ko      p
    0     L1         0.5       0.2  0.029
    1     L2         0.5       0.8  0.029
    """
    whole = isinstance(n_permutations, Integral)
    if not (whole and n_permutations >= 1):
        raise ValueError(f"n_permutations={n_permutations!r} is not a positive integer; give one.")
    labels, sample, condition = _columns(source, labels=labels, sample=sample, condition=condition)
    counts = _counts(labels, sample)
    of_sample = condition.groupby(sample).agg(lambda values: values.unique().tolist())
    mixed = [name for name in counts.index if len(of_sample[name]) > 1]
    if mixed:
        raise ValueError(
            f"condition has {len(of_sample[mixed[0]])} values in sample {mixed[0]!r}; give each sample one, or name "
            "samples so that each is of one condition."
        )
    names = sort_labels({values[0] for values in of_sample})
    codes = np.array([names.index(of_sample[name][0]) for name in counts.index])
    if len(names) < 2 or len(codes) < 3:
        raise ValueError(
            f"there are {len(codes)} sample(s) of {len(names)} condition(s); at least 3 samples of 2 conditions are "
            "needed to compare them."
        )
    shares = counts.div(counts.sum(axis=1), axis=0).to_numpy()
    deals, exact = _deals(codes, n_permutations, check_random_state(random_state))
    truth = _between(shares, codes, len(names))
    # Sums of the same terms in another order differ by rounding, and a tie must count.
    as_large = sum(_between(shares, deal, len(names)) >= truth * (1 - 1e-9) - 1e-12 for deal in deals)
    p = np.asarray(as_large / len(deals) if exact else (1 + as_large) / (1 + len(deals)))
    means = np.array([shares[codes == code].mean(axis=0) for code in range(len(names))])
    table = pd.DataFrame({"domain": counts.columns.to_list()})
    for code, name in enumerate(names):
        table[f"share {name}"] = shares[codes == code].mean(axis=0)
    table["effect"] = means[1] - means[0] if len(names) == 2 else np.ptp(means, axis=0)
    # Conditions of as many samples can change their names, and separate them as well.
    sizes = np.bincount(codes)
    alike = math.prod(math.factorial(int(n)) for n in np.unique(sizes, return_counts=True)[1])
    least = alike / len(deals) if exact else 1 / (1 + len(deals))
    totals = counts.to_numpy().sum(axis=1)
    rare = shares.mean(axis=0) * totals.min() < _FEWEST
    corrected = np.full(len(p), np.nan)
    corrected[~rare] = holm(p[~rare])
    return table.assign(p=np.where(rare, np.nan, p), p_holm=corrected, p_least=least)


def _columns(source, **columns):
    """Columns of the spots that have all of them."""
    n_spots = source.shape[0] if hasattr(source, "shape") else len(source)
    read = [label_column(source, values, name, n_spots) for name, values in columns.items()]
    known = np.logical_and.reduce([column.notna() for column in read])
    if not known.any():
        raise ValueError(f"{', '.join(columns)} are told together of none of the {n_spots} spots; give all of a spot.")
    return [column[known].reset_index(drop=True) for column in read]


def _counts(labels, sample):
    """Spots of each domain in each sample."""
    table = pd.crosstab(sample, labels).rename_axis(index=None, columns=None)
    return table.reindex(index=sort_labels(table.index), columns=sort_labels(table.columns))


def _deals(codes, n_permutations, rng):
    """Ways to deal conditions out to samples, and whether these are all there are."""
    n_ways = math.factorial(len(codes))
    for size in np.bincount(codes):
        n_ways //= math.factorial(int(size))
    if n_ways > n_permutations:
        return [rng.permutation(codes) for _ in range(n_permutations)], False
    return list(_all_deals(len(codes), np.bincount(codes).tolist())), True


def _all_deals(n, sizes):
    """Each way to give the first of the codes to so many places, the second to so many of the rest, ..."""

    def fill(left, code, deal):
        if code == len(sizes) - 1:
            deal[left] = code
            yield deal.copy()
            return
        for chosen in itertools.combinations(left, sizes[code]):
            deal[list(chosen)] = code
            yield from fill([place for place in left if place not in chosen], code + 1, deal)

    yield from fill(list(range(n)), 0, np.zeros(n, dtype=np.int64))


def _between(shares: NDArray[np.float64], codes: NDArray[np.integer], n: int) -> NDArray[np.float64]:
    """Sum of squares between conditions, of each domain."""
    sizes = np.bincount(codes, minlength=n)
    means = np.array([shares[codes == code].sum(axis=0) for code in range(n)]) / sizes[:, None]
    return sizes @ np.square(means - shares.mean(axis=0))
