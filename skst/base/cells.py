"""What estimators of cell types do alike: predict and transform cells."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skst.base.partition import PartitionMixin
from skst.inputs.types import Expression
from skst.partition.numbers import renumber
from skst.results import every_item


class CellTypeMixin(PartitionMixin):
    """Methods of an estimator that embeds cells; ``_embed(X)`` embeds others, or those of slices."""

    def transform(self, X: Expression) -> NDArray[np.float32]:
        """Embedding of cells, new ones included.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or list of AnnData or paths
            Cells with the genes seen in ``fit``.

        Returns
        -------
        ndarray of shape (n_cells, n_columns), float32; a list of these if X is a list
        """
        check_is_fitted(self)
        opened = self._open(X)
        return opened.given_back(self._embed(opened.source))

    def predict(self, X: Expression) -> NDArray[np.integer]:
        """Type of each cell, new ones included.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or list of AnnData or paths
            Cells with the genes seen in ``fit``.

        Returns
        -------
        ndarray of int of shape (n_cells,)
            Types numbered as in ``labels_``; a list of these if X is a list.
        """
        check_is_fitted(self)
        opened = self._open(X)
        return opened.given_back(renumber(self._partition_of(self._embed(opened.source)), self._numbers))

    def write(self, adata: Any, *, key_added: str = "cluster") -> None:
        """Write types and embedding into an AnnData, where scanpy looks for them.

        Parameters
        ----------
        adata : AnnData, SpatialData, or list of these
            Cells of ``fit``, or others, which are predicted first.  What is written is said there:
            :meth:`skst.SpaLLMFusion.write`.
        key_added : str, default="cluster"
            Column of ``obs``.

        Raises
        ------
        TypeError, ValueError
            As there.
        """
        check_is_fitted(self)
        items = every_item(adata, key_added)
        opened = self._open(adata, whole=True)
        spots, rows = self._read_spots(opened.X), opened.rows
        self._write(items, rows, opened.X, key_added, spots, self._embed)

    def fit_transform(self, X: Expression, y: object = None) -> NDArray[np.float32]:
        """Fit and return ``embedding_``.

        Parameters
        ----------
        X, y
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n_cells, n_columns), float32
        """
        return self.fit(X, y).embedding_
