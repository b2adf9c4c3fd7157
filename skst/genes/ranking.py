"""Which genes are named of a spot, and how many."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skst.inputs.types import Matrix

FEWEST_GENES = 5
"""Least that an adaptive rule names: fewer genes give the same text to most spots of a tissue."""

MOST_GENES = 50
"""Most that an adaptive rule names: a prompt of 50 symbols is about as long as all-MiniLM-L6-v2 reads, 256 tokens."""

K_RULES = ("entropy", "mass")
"""Names of the adaptive rules."""

_MASS = 0.5
_TIE = 1e-6  # sums of float32 counts differ by less than this with the library size


class RankedGenes(NamedTuple):
    """The named genes of every spot, laid out as the rows of a CSR matrix.

    Attributes
    ----------
    starts : ndarray of int of shape (n_spots + 1,)
        Spot i names ``columns[starts[i]:starts[i + 1]]``.
    columns : ndarray of int of shape (n_named,)
        Columns of the expression matrix; within a spot in descending order of expression.
    """

    starts: np.ndarray
    columns: np.ndarray

    def take(self, spots: Sequence[int] | NDArray[np.integer]) -> "RankedGenes":
        """The ranking of some spots: those whose indices are given, in this order."""
        numbers = np.diff(self.starts)[spots]
        starts = np.concatenate([[0], np.cumsum(numbers)])
        shift = np.repeat(self.starts[:-1][spots] - starts[:-1], numbers)
        return RankedGenes(starts, self.columns[np.arange(starts[-1]) + shift])

    @classmethod
    def join(cls, parts: Sequence["RankedGenes"]) -> "RankedGenes":
        """The ranking of spots that come in parts, one after the other."""
        numbers = np.concatenate([np.diff(part.starts) for part in parts])
        return cls(np.concatenate([[0], np.cumsum(numbers)]), np.concatenate([part.columns for part in parts]))


def adaptive_k(X: Matrix, rule: str) -> NDArray[np.integer]:
    r"""How many genes to name of each spot, from its own expression.

    With :math:`p_1 \ge p_2 \ge \dots` the shares of the spot's counts, the rules are

    .. math::

        k_\text{entropy} = \operatorname{round} \exp \Big( - \sum_j p_j \log p_j \Big), \qquad
        k_\text{mass} = \min \Big\{ k : \sum_{j \le k} p_j \ge \tfrac{1}{2} \Big\},

    the effective number of genes (as many equally expressed genes have the same entropy) and the number of
    leading genes that hold half of the counts.  Both are clipped to :data:`FEWEST_GENES` and :data:`MOST_GENES`.
    This answers an open question of SemST, which names equally many genes of every spot.

    Parameters
    ----------
    X : ndarray, sparse matrix or sparse array of shape (n_spots, n_genes)
        Expression; only positive values count.  Neither the library size nor the order of columns matters.
    rule : {"entropy", "mass"}
        The rule.

    Returns
    -------
    ndarray of int of shape (n_spots,)
        From 5 to 50; 5 for a spot without counts.

    Raises
    ------
    ValueError
        If there is no such rule.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.genes.ranking import adaptive_k
    >>> even, steep = np.ones(40), 0.5 ** np.arange(40)
    >>> adaptive_k(np.stack([even, steep]), "entropy"), adaptive_k(np.stack([even, steep]), "mass")
    (array([40,  5]), array([20,  5]))
    """
    if rule not in K_RULES:
        raise ValueError(f"rule={rule!r} is not one of {K_RULES}; give one of them.")
    X = sparse.csr_array(X)
    numbers = np.zeros(X.shape[0], dtype=np.int64)
    for i, (start, end) in enumerate(zip(X.indptr[:-1], X.indptr[1:], strict=True)):
        # Sorted first, because sums of floats depend on the order of their terms.
        values = -np.sort(-X.data[start:end].astype(np.float64))
        values = values[values > 0]
        if len(values):
            shares = values / values.sum()
            if rule == "entropy":
                numbers[i] = np.rint(np.exp(-np.sum(shares * np.log(shares))))
            else:
                numbers[i] = np.searchsorted(np.cumsum(shares), _MASS - _TIE) + 1
    return np.clip(numbers, FEWEST_GENES, MOST_GENES)


def rank_genes(X: Matrix, symbols: NDArray[np.object_], k: int | str) -> RankedGenes:
    """The most expressed genes of each spot, highest first.

    Equal values are ranked by symbol, so that the order of columns does not matter.  Library normalisation divides a
    row by one number, so counts rank alike before and after it.

    Parameters
    ----------
    X : ndarray, sparse matrix or sparse array of shape (n_spots, n_genes)
        Expression; only positive values count.
    symbols : ndarray of str of shape (n_genes,), dtype object
        Symbols of the columns; a gene with symbol "" is left out, by the adaptive rules too.
    k : int or {"entropy", "mass"}
        Most genes of a spot, or a rule of :func:`adaptive_k`.

    Returns
    -------
    RankedGenes

    Examples
    --------
    >>> import numpy as np
    >>> from skst.genes.ranking import rank_genes
    >>> ranked = rank_genes(np.array([[2, 2, 0], [0, 1, 5]]), np.array(["PLP1", "MBP", "GAD1"], dtype=object), 30)
    >>> ranked.columns, ranked.starts
    (array([1, 0, 2, 1]), array([0, 2, 4]))
    """
    named = np.flatnonzero(symbols != "")
    columns = named[np.argsort(symbols[named], kind="stable")]
    X = sparse.csr_array(X[:, columns])
    X.sort_indices()
    numbers = adaptive_k(X, k) if isinstance(k, str) else np.full(X.shape[0], k)
    tops = []
    for start, end, number in zip(X.indptr[:-1], X.indptr[1:], numbers, strict=True):
        values = X.data[start:end]
        top = np.argsort(-values, kind="stable")[:number]
        tops.append(columns[X.indices[start:end][top[values[top] > 0]]])
    starts = np.cumsum([0, *map(len, tops)])
    return RankedGenes(starts, np.concatenate(tops))
