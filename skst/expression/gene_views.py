"""Several choices of genes, and the same cells on the principal axes of each."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from skst.expression.axes import CellAxes, CellExpression, sampled_cells
from skst.inputs.blocks import row_blocks
from skst.inputs.types import Matrix

CRITERIA = ("residual", "trend")


class GeneViews:
    """Several looks at the same cells, each by genes chosen in another way.

    Parameters
    ----------
    n_views : int
        Networks that take the choices of genes in turn.
    n_top_genes : int or sequence of int
        Numbers of genes; each is chosen by both criteria.  Choices that come out alike, as in small panels, are one.
    n_axes : int
        Principal axes of each.
    n_leading : int
        Axes that together get the variance `n_leading`, one each on average.
    normalize : bool, default=True
        Whether X holds counts.
    raw : bool, default=False
        Give the counts of the genes in place of axes.

    Attributes
    ----------
    expression_ : CellExpression
    which_ : list of int of length n_views
        The choice of genes behind each view.
    """

    def __init__(self, n_views, n_top_genes, n_axes, n_leading, *, normalize=True, raw=False):
        self.n_views = n_views
        self.n_top_genes = n_top_genes
        self.n_axes = n_axes
        self.n_leading = n_leading
        self.normalize = normalize
        self.raw = raw

    def fit(self, X: Matrix, random_state: np.random.RandomState) -> Self:
        """Choose the genes and find the axes; parameters as in :meth:`fit_axes`."""
        self.fit_axes(X, random_state)
        return self

    def fit_axes(self, X: Matrix, random_state: np.random.RandomState) -> list[NDArray[np.float32]]:
        """Choose the genes, find the axes, and say where the cells are on them.

        Parameters
        ----------
        X : ndarray or csr_array of shape (n_cells, n_genes), float32
            Counts.
        random_state : RandomState
            Draws start vectors of the iterative solver.

        Returns
        -------
        list of ndarray of shape (n_cells, n_columns), float32
            As from :meth:`axes`.

        Raises
        ------
        ValueError
            If no gene varies, or `n_top_genes` is not a positive integer or a sequence of these.
        """
        numbers_of_genes = np.atleast_1d(self.n_top_genes)
        if numbers_of_genes.size == 0 or numbers_of_genes.dtype.kind not in "iu" or numbers_of_genes.min() < 1:
            raise ValueError(f"n_top_genes={self.n_top_genes!r} is not a positive integer, nor a sequence of these.")
        self.expression_ = CellExpression(self.normalize).fit(X)
        choices: dict[bytes, NDArray[np.integer]] = {}
        # The leading views are to differ in both, numbers and criteria.
        for shift in range(len(CRITERIA)):
            for i, n_genes in enumerate(numbers_of_genes):
                genes = self.expression_.genes(CRITERIA[(i + shift) % len(CRITERIA)], n_genes)
                choices.setdefault(genes.tobytes(), genes)
        self._genes = list(choices.values())
        if len(self._genes[0]) == 0:
            raise ValueError(
                "X has no gene that varies between cells beyond their depth "
                f"(n_samples={X.shape[0]}, n_features={X.shape[1]}); pass counts of more cells or genes."
            )
        self.which_ = [i % len(self._genes) for i in range(self.n_views)]
        read = self.expression_.read(X[sampled_cells(X.shape[0])])
        self._axes = [CellAxes(self.expression_, genes, self.n_axes).fit(*read, random_state) for genes in self._genes]
        scores = self._scores(X)
        self._scales = []
        for part in scores:
            leading = part[:, : self.n_leading]
            total = leading.var(axis=0, dtype=np.float64).sum()
            self._scales.append(np.float32(np.sqrt(leading.shape[1] / total) if total > 0 else 1.0))
        return self._scaled(scores)

    def inputs(self, X: Matrix) -> list[Matrix]:
        """What is seen of cells.

        Parameters
        ----------
        X : ndarray or csr_array of shape (n_cells, n_genes), float32
            Counts.

        Returns
        -------
        list of ndarray or csr_array of shape (n_cells, n_columns), float32
            One a choice of genes.
        """
        if self.raw:
            return [X[:, genes] for genes in self._genes]
        return self.axes(X)

    def axes(self, X: Matrix) -> list[NDArray[np.float32]]:
        """Principal axes of cells by each choice of genes; parameters and result as in :meth:`inputs`."""
        return self._scaled(self._scores(X))

    def _scores(self, X):
        """Scores on the axes of each choice of genes, which go through X together, a block of cells at a time."""
        found = [np.empty((X.shape[0], axes.axes_.shape[1]), dtype=np.float32) for axes in self._axes]
        for rows, block in row_blocks(X):
            read = self.expression_.read(block)
            for scores, axes in zip(found, self._axes, strict=True):
                scores[rows] = axes.transform(*read)
        return found

    def _scaled(self, scores):
        for part, scale in zip(scores, self._scales, strict=True):
            part *= scale
        return scores
