"""Which genes are specific to a spot, to its neighbours and to a region, in one measure."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csr_array

from skst.expression.counts import library_sizes

# Genes of most variance that are looked at.
_MOST_GENES = 3000
# Standard errors by which a marker of a region is above the mean of the tissue.
_STANDARD_ERRORS = 3.0
# Part of the highest score of a spot that a gene must have to be named: what is below is mostly noise.
_LEAST_PART = 0.1
# Scores are compared in these steps, so that equal ones are equal in whatever order they were summed.
_STEP = 1e-6
# Rows and columns that are made dense at a time.
_ROWS, _COLUMNS = 2048, 64


class SpecificGenes:
    r"""Score genes by how far they are above the tissue, and by how much of that is pattern.

    With :math:`y_{ij} = \sqrt{x_{ij} / \sum_l x_{il}}` the square root of the share of gene j in the counts of spot i,

    .. math:: s_{ij} = w_j \max(0, y_{ij} - \bar y_j), \qquad
              w_j = \max(0, \operatorname{cov}(y_j, P y_j) / \operatorname{var} y_j),

    where means are those of the slice and P averages over neighbours.  The weight is the share of the variation of a
    gene that neighbours have in common (Moran's I), so that noise scores little; without a single edge it is 1.

    Attributes
    ----------
    symbols : ndarray of str of shape (n_genes,), dtype object
        Genes that have a score anywhere, in alphabetical order: those with a symbol and a weight, of the 3,000 of most
        variance.
    values : csr_array of shape (n_spots, n_genes), float32
        y.
    weights : ndarray of shape (n_genes,), float64
        w.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.graph import spatial_graph
    >>> from skst.expression.specificity import SpecificGenes
    >>> counts = np.array([[9, 1], [9, 1], [1, 9], [1, 9]])
    >>> symbols = np.array(["SNAP25", "MBP"], dtype=object)
    >>> genes = SpecificGenes(counts, spatial_graph([[0, 0], [0, 1], [3, 0], [3, 1]], n_neighbors=1), symbols)
    >>> genes.symbols[genes.of_spots(1)[:, 0]].tolist(), genes.weights.round(6).tolist()
    (['SNAP25', 'SNAP25', 'MBP', 'MBP'], [1.0, 1.0])
    """

    def __init__(self, X, edges, symbols, slices=None):
        """See the class.

        Parameters
        ----------
        X : ndarray, sparse matrix or sparse array of shape (n_spots, n_genes)
            Counts.
        edges : csr_array of shape (n_spots, n_spots)
            Ones where spots (rows) have neighbours (columns).
        symbols : ndarray of str of shape (n_genes,), dtype object
            What the genes are called; those called "" count to the library size only, and those called alike are added.
        slices : ndarray of int of shape (n_spots,), default=None
            Number of the slice of each spot, from 0 on.
        """
        X = sparse.csr_array(X)
        n_spots = X.shape[0]
        self._slices = np.zeros(n_spots, dtype=np.int64) if slices is None else slices
        degree = np.diff(edges.indptr)
        self._has_neighbors = degree > 0
        rates = np.repeat(1.0 / np.maximum(degree, 1), degree)
        self._average = sparse.csr_array((rates, edges.indices, edges.indptr), shape=edges.shape)
        sizes = library_sizes(X)
        self.symbols, X = _by_symbol(X, symbols)
        self.values = _root_shares(X, sizes)
        self._learn_moments()
        self._keep(np.sort(np.argsort(-np.rint(self._variance / _STEP**2), kind="stable")[:_MOST_GENES]))
        self.weights = self._pattern() if self._has_neighbors.any() else np.ones(len(self.symbols))
        self._keep(np.flatnonzero((self.weights > _STEP) & (self._variance > _STEP**2)))
        self._roots = sparse.vstack(
            [self._root_scores(slice(start, start + _ROWS)) for start in range(0, n_spots, _ROWS)], format="csr"
        )

    def of_spots(self, k: int) -> NDArray[np.integer]:
        """The genes of highest score of each spot: ndarray of int of shape (n_spots, k), -1 beyond the last."""
        chunks = (self._roots[start : start + _ROWS].toarray() for start in range(0, self._roots.shape[0], _ROWS))
        return np.concatenate([leading(own**2, k, _LEAST_PART) for own in chunks])

    def of_neighbors(self, k: int) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
        """The genes that the neighbours of each spot share, and how like them the spot is.

        Returns
        -------
        columns : ndarray of int of shape (n_spots, k)
            Genes by the square of the mean of the root of the score, which is small unless nearly all neighbours score.
        likeness : ndarray of shape (n_spots,), float64
            Cosine of the roots of the scores of the spot and of their mean over its neighbours.
        """
        columns, likeness = [], []
        for own, around in self._chunks(np.arange(len(self._slices))):
            columns.append(leading(around**2, k, _LEAST_PART))
            lengths = np.linalg.norm(own, axis=1) * np.linalg.norm(around, axis=1)
            likeness.append((own * around).sum(axis=1) / np.maximum(lengths, 1e-12))
        return np.concatenate(columns), np.concatenate(likeness)

    def differences(self, spots: NDArray[np.integer], k: int) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """The genes of which some spots score more than what their neighbours share, and less.

        Parameters
        ----------
        spots : ndarray of int of shape (n,)
            Their indices.
        k : int
            Most genes of either kind.

        Returns
        -------
        more, less : ndarray of int of shape (n, k)
        """
        more: list[NDArray[np.integer]] = [np.empty((0, k), dtype=np.int64)]
        less: list[NDArray[np.integer]] = [np.empty((0, k), dtype=np.int64)]
        for own, around in self._chunks(spots):
            difference = own**2 - around**2
            more.append(leading(difference, k))
            less.append(leading(-difference, k))
        return np.concatenate(more), np.concatenate(less)

    def of_regions(self, members: csr_array, k: int) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
        r"""The genes that mark regions, and how far each region is above the tissue.

        The score of a gene is the mean of :math:`w_j (y_{ij} - \bar y_j)` over the spots of a region where the mean of
        :math:`y_{ij} - \bar y_j` is three standard errors above 0, and else 0.

        Parameters
        ----------
        members : csr_array of shape (n_regions, n_spots), float64
            Ones where a spot belongs to a region.
        k : int
            Most genes of a region.

        Returns
        -------
        columns : ndarray of int of shape (n_regions, k)
        heights : ndarray of shape (n_regions,)
            Sum over all genes of what would be the scores without a threshold, in multiples of 1e-6: a number that
            tells regions apart whatever they are called.
        """
        columns, heights = [], []
        for start in range(0, members.shape[0], _ROWS):
            block = members[start : start + _ROWS]
            n_spots = np.diff(block.indptr)[:, None]
            # Spots of each region (row) in each slice.
            ones = np.ones(len(self._slices))
            by_slice = (block @ sparse.csr_array((ones, (np.arange(len(ones)), self._slices)))).toarray()
            excess = ((block @ self.values).toarray() - by_slice @ self._means) / n_spots
            score = self.weights * excess
            score[excess <= _STANDARD_ERRORS * np.sqrt(self._variance / n_spots)] = 0.0
            columns.append(leading(score, k))
            heights.append(np.rint((self.weights * excess).sum(axis=1) / _STEP))
        return np.concatenate(columns), np.concatenate(heights)

    def _learn_moments(self):
        """Mean in each slice, and variance about it."""
        n_spots = np.bincount(self._slices)
        slices = sparse.csr_array(
            (np.ones(len(self._slices)), (self._slices, np.arange(len(self._slices)))),
            shape=(len(n_spots), len(self._slices)),
        )
        self._means = (slices @ self.values).toarray() / n_spots[:, None]
        squares = np.asarray(self.values.power(2, dtype=np.float64).sum(axis=0))
        self._variance = np.maximum(squares - n_spots @ self._means**2, 0) / len(self._slices)

    def _keep(self, columns):
        if len(columns) == len(self.symbols):
            return
        self.symbols, self.values = self.symbols[columns], sparse.csr_array(self.values[:, columns])
        self._means, self._variance = self._means[:, columns], self._variance[columns]
        if hasattr(self, "weights"):
            self.weights = self.weights[columns]

    def _pattern(self):
        """Moran's I of every gene."""
        by_column = self.values.tocsc()
        shares = []
        for start in range(0, by_column.shape[1], _COLUMNS):
            block = by_column[:, start : start + _COLUMNS].toarray().astype(np.float64)
            block -= self._means[self._slices, start : start + _COLUMNS]
            common = (block * (self._average @ block)).sum(axis=0)
            total = (block[self._has_neighbors] ** 2).sum(axis=0)
            shares.append(np.divide(common, total, out=np.zeros_like(total), where=total > 1e-9))
        return np.clip(np.concatenate([*shares, []]), 0, 1)

    def _root_scores(self, rows):
        values = self.values[rows]
        lengths = np.diff(values.indptr)
        excess = values.data - self._means[np.repeat(self._slices[rows], lengths), values.indices]
        above = excess > 0
        columns = values.indices[above]
        roots = np.sqrt(self.weights[columns] * excess[above])
        ends = np.concatenate([[0], np.cumsum(above)])[values.indptr]
        return sparse.csr_array((roots, columns, ends), shape=values.shape)

    def _chunks(self, spots):
        """Roots of the scores of some spots at a time, and their means over the neighbours."""
        for start in range(0, len(spots), _ROWS):
            rows = spots[start : start + _ROWS]
            yield self._roots[rows].toarray(), (self._average[rows] @ self._roots).toarray()


def leading(scores: np.ndarray, k: int, least_part: float = 0.0) -> NDArray[np.integer]:
    """Columns of the highest positive scores of each row, highest first and equal ones in the order of columns.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_columns)
        Scores; what differs by less than about 1e-6 counts as equal.
    k : int
        Most columns of a row.
    least_part : float, default=0.0
        Part of the highest score of the row that a column must have.

    Returns
    -------
    ndarray of int of shape (n_rows, k)
        -1 beyond the last of them.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.expression.specificity import leading
    >>> leading(np.array([[0.1, 0.3, 0.1, 0.02], [0.0, 0.0, 0.0, 0.2]]), 3, least_part=0.1)
    array([[ 1,  0,  2],
           [ 3, -1, -1]])
    """
    n_rows, n_columns = scores.shape
    columns = np.full((n_rows, k), -1)
    width = min(k, n_columns)
    if width == 0:
        return columns
    steps = np.rint(scores / _STEP)
    # One number that orders by score, then by column.
    order = np.arange(n_columns) - steps * n_columns
    top = np.argpartition(order, width - 1, axis=1)[:, :width]
    top = np.take_along_axis(top, np.argsort(np.take_along_axis(order, top, axis=1), axis=1), axis=1)
    steps = np.take_along_axis(steps, top, axis=1)
    columns[:, :width] = np.where((steps > 0) & (steps >= least_part * steps[:, :1]), top, -1)
    return columns


def _by_symbol(X, symbols):
    """One column for each symbol, in alphabetical order."""
    named = np.flatnonzero(symbols != "")
    distinct, first, column = np.unique(symbols[named].astype(str), return_index=True, return_inverse=True)
    if len(distinct) == len(named):
        return distinct.astype(object), X[:, named[first]]
    into = sparse.csr_array((np.ones(len(named), dtype=X.dtype), (named, column)), shape=(X.shape[1], len(distinct)))
    return distinct.astype(object), sparse.csr_array(X @ into)


def _root_shares(X, sizes):
    """Square root of the share of each gene in the counts of its spot, float32."""
    # Divided once, in float64: the counts of a spot in any multiple give the same shares.
    shares = X.data / np.repeat(np.where(sizes > 0, sizes, 1.0), np.diff(X.indptr))
    return sparse.csr_array((np.sqrt(shares).astype(np.float32), X.indices, X.indptr), shape=X.shape)
