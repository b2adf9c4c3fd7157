"""What estimators of cell types do alike: embed, predict and write cells, by batch where these are named."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from skst.base.partition import PartitionMixin
from skst.inputs.types import Expression, PerSpot
from skst.partition.numbers import renumber
from skst.results import every_item


class CellTypeMixin(PartitionMixin):
    """Methods of an estimator that embeds cells; ``_embed(X, batch)`` embeds others, or those of slices."""

    def transform(self, X: Expression, *, batch: PerSpot = None) -> NDArray[np.float32]:
        """Embedding of cells, new ones included.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or list of AnnData or paths
            Cells with the genes seen in ``fit``; give whole batches if effects of batch are corrected.
        batch
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n_cells, n_columns), float32; a list of these if X is a list
        """
        check_is_fitted(self)
        opened = self._open(X, batch=batch)
        return opened.given_back(self._embed(opened.source, opened.places["batch"]))

    def predict(self, X: Expression, *, batch: PerSpot = None) -> NDArray[np.integer]:
        """Type of each cell, new ones included.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or list of AnnData or paths
            Cells with the genes seen in ``fit``; give whole batches if effects of batch are corrected.
        batch
            As in ``fit``.

        Returns
        -------
        ndarray of int of shape (n_cells,)
            Types numbered as in ``labels_``; a list of these if X is a list.
        """
        check_is_fitted(self)
        opened = self._open(X, batch=batch)
        embedding = self._embed(opened.source, opened.places["batch"])
        return opened.given_back(renumber(self._partition_of(embedding), self._numbers))

    def write(self, adata: Any, *, key_added: str = "cluster", batch: PerSpot = None) -> None:
        """Write types and embedding into an AnnData, where scanpy looks for them.

        Parameters
        ----------
        adata : AnnData, SpatialData, or list of these
            Cells of ``fit``, or others, which are predicted first.  What is written is said there:
            :meth:`skst.SpaLLMFusion.write`.
        key_added : str, default="cluster"
            Column of ``obs``.
        batch
            As in ``fit``.

        Raises
        ------
        TypeError, ValueError
            As there.
        """
        check_is_fitted(self)
        items = every_item(adata, key_added, batch=batch)
        opened = self._open(adata, batch=batch, whole=True)
        batch = opened.places["batch"]
        spots, embed = self._read_spots(opened.X, batch=batch), partial(self._embed, batch=batch)
        self._write(items, opened.rows, opened.X, key_added, spots, embed)

    def fit_predict(self, X: Expression, y: object = None, *, batch: PerSpot = None) -> NDArray[np.integer]:
        """Fit and return ``labels_``.

        Parameters
        ----------
        X, y, batch
            As in ``fit``.

        Returns
        -------
        ndarray of int of shape (n_cells,)
        """
        return self.fit(X, y, batch=batch).labels_

    def fit_transform(self, X: Expression, y: object = None, *, batch: PerSpot = None) -> NDArray[np.float32]:
        """Fit and return ``embedding_``.

        Parameters
        ----------
        X, y, batch
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n_cells, n_columns), float32
        """
        return self.fit(X, y, batch=batch).embedding_
