"""Cells as sums of the vectors of their genes."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.sparsefuncs import mean_variance_axis

from skst.expression.counts import scale_depth, square_root
from skst.inputs.types import Matrix


def weights_of_genes(X: Matrix, weighting: str, normalize: bool, share: float = 1.0) -> Matrix:
    """How much each gene counts in each cell.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n_spots, n_genes)
    weighting : {"contrast", "abundance"}
        Square roots of shares in the counts, or the shares.
    normalize : bool
        False for X as it is.
    share : float, default=1.0
        Of the counts that there would be with genes that were not measured.

    Returns
    -------
    ndarray or csr_array of shape (n_spots, n_genes)
    """
    if not normalize:
        return X
    shares = scale_depth(X, share)
    return shares if weighting == "abundance" else square_root(shares)


def moments(Y: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each column."""
    if sparse.issparse(Y):
        return mean_variance_axis(Y, axis=0)
    return Y.mean(axis=0, dtype=np.float64), Y.var(axis=0, dtype=np.float64)


class GeneSums(NamedTuple):
    """What makes a vector of a cell from its counts: a product with gene vectors, and what is subtracted.

    Attributes
    ----------
    weighting : {"contrast", "abundance"}
    normalize : bool
        As of :func:`weights_of_genes`.
    vectors : ndarray of shape (n_genes, d), float32
    offset : ndarray of shape (d,) or None
    mean : ndarray of shape (n_genes,) or None
        What is subtracted from weights; it makes `offset`.
    share : float
        As there.
    """

    weighting: str
    normalize: bool
    vectors: NDArray[np.float32]
    offset: np.ndarray | None
    mean: NDArray[np.float32] | None = None
    share: float = 1.0

    @property
    def told(self) -> NDArray[np.integer]:
        """Genes that have a vector, ascending."""
        return np.flatnonzero(self.vectors.any(axis=1))

    @property
    def few(self) -> bool:
        """Whether these are fewer than the numbers of a vector, so that weights take less than sums."""
        return len(self.told) < self.vectors.shape[1]

    def weights(self, X: Matrix) -> Matrix:
        """How much each gene counts in each cell."""
        return weights_of_genes(X, self.weighting, self.normalize, self.share)

    def on_genes(self, present: NDArray[np.bool_], share: float) -> "GeneSums":
        """The same sums where some genes were not measured, which have no weight.

        Parameters
        ----------
        present : ndarray of bool of shape (n_genes,)
        share : float
            Of the counts of the fit that are of these genes.

        Returns
        -------
        GeneSums
        """
        offset = None if self.mean is None else self.mean[present] @ self.vectors[present]
        return self._replace(offset=offset, share=share)

    def __call__(self, X: Matrix) -> np.ndarray:
        """Vectors of cells, ndarray of shape (n_spots, d)."""
        summed = np.asarray(self.weights(X) @ self.vectors)
        return summed if self.offset is None else summed - self.offset


def gene_sums(
    vectors: NDArray[np.float32],
    known: NDArray[np.bool_],
    mean: NDArray[np.float32] | None = None,
    *,
    weighting: str = "contrast",
    normalize: bool = True,
) -> GeneSums:
    """Sums of gene vectors.

    Parameters
    ----------
    vectors : ndarray of shape (n_genes, d), float32
    known : ndarray of bool of shape (n_genes,)
        Genes that have a vector.
    mean : ndarray of shape (n_genes,), float32, default=None
        Given for a contrast: what is subtracted from weights, and gene vectors are centred and of unit length.
    weighting, normalize
        As of :func:`weights_of_genes`.

    Returns
    -------
    GeneSums
    """
    if mean is None:
        return GeneSums(weighting, normalize, vectors, None)
    unit = np.zeros_like(vectors)
    # A single gene has nothing to be centred against.
    unit[known] = vectors[known] - (vectors[known].mean(axis=0) if known.sum() > 1 else 0)
    lengths = np.linalg.norm(unit, axis=1, keepdims=True)
    weights = np.divide(unit, lengths, out=np.zeros_like(unit), where=lengths > 0)
    return GeneSums(weighting, normalize, weights, mean @ weights, mean)


class PathMixture:
    """Two paths from a cell to a vector, each centred and of unit root mean square length where it was fitted.

    Parameters
    ----------
    summed, written : ndarray of shape (n_spots, d)
        Vectors of the same cells: sums of gene vectors, and vectors of their texts.
    model : str
        What made the latter.

    Raises
    ------
    ValueError
        If they differ in length.
    """

    def __init__(self, summed, written, model):
        _check_lengths(summed, written, model)
        self._statistics = [_centre_and_size(path) for path in (summed, written)]

    @classmethod
    def of_parts(
        cls, parts: Callable[[], Iterator[tuple[np.ndarray, NDArray[np.float32]]]], model: str
    ) -> "PathMixture":
        """The same of vectors of some cells at a time, which `parts` makes twice."""
        n_cells, totals = 0, [np.zeros(1), np.zeros(1)]
        for pair in parts():
            _check_lengths(*pair, model)
            n_cells += len(pair[0])
            totals = [total + path.sum(axis=0, dtype=np.float64) for total, path in zip(totals, pair, strict=True)]
        centres = [(total / n_cells).astype(np.float32) for total in totals]
        squares = np.zeros(2)
        for pair in parts():
            apart = (path - centre for path, centre in zip(pair, centres, strict=True))
            squares += [np.square(path, dtype=np.float64).sum() for path in apart]
        made = object.__new__(cls)
        sizes = np.sqrt(squares / n_cells)
        made._statistics = [(centre, np.float32(size or 1)) for centre, size in zip(centres, sizes, strict=True)]
        return made

    def mix(self, summed: np.ndarray, written: np.ndarray, share: float) -> NDArray[np.float32]:
        """``share * summed + (1 - share) * written``, both centred and scaled; of shape (n_spots, d), float32."""
        pairs = zip((summed, written), self._statistics, strict=True)
        summed, written = ((path - centre) / size for path, (centre, size) in pairs)
        return (share * summed + (1 - share) * written).astype(np.float32)


def _check_lengths(summed, written, model):
    if written.shape[1] != summed.shape[1]:
        raise ValueError(
            f"vectors have length {summed.shape[1]} but model={model!r} makes vectors of length "
            f"{written.shape[1]}, which mode='dual' cannot add; use the model that made them."
        )


def _centre_and_size(vectors):
    centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    size = np.sqrt(np.mean(np.sum(np.square(vectors - centre, dtype=np.float64), axis=1)))
    return centre, np.float32(size if size > 0 else 1)
