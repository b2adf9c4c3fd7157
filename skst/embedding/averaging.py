"""Anything about spots, averaged as their expression is."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skst.graph.learner import SpatialGraphLearner
from skst.inputs.places import read_batch, read_coordinates
from skst.inputs.rows import match_rows
from skst.inputs.spots import Spots
from skst.inputs.types import PerSpot


class AveragesLikewise:
    """The method ``average`` of a transformer with ``graph_``, ``_pca`` and ``_in_place``."""

    graph_: Any
    _pca: Any
    _in_place: Any
    _operator: Any

    def average(
        self, values: Any, *, coordinates: Any, batch: PerSpot = None, counts: Any = None, graph: Any = None
    ) -> np.ndarray:
        """Average anything about spots over the hops that the embedding sees, with its share of the spots themselves.

        Parameters
        ----------
        values : ndarray of shape (n_spots, n_columns)
            One row a spot.
        coordinates, batch
            As in ``fit``.
        counts : ndarray or sparse of shape (n_spots, n_genes), default=None
            Counts of the spots, by which a learnt graph joins them; without effect for other graphs.
        graph : sparse matrix of shape (n_spots, n_spots), default=None
            Who is whose neighbour, if that was read from ``obsp``.

        Returns
        -------
        ndarray of shape (n_spots, n_columns)
        """
        check_is_fitted(self)
        if isinstance(self.graph_, SpatialGraphLearner) and counts is None:
            raise ValueError("counts=None, but the graph is learnt and joins spots by their counts; pass those, too.")
        coordinates, batch = match_rows(values, origin="values", coordinates=coordinates, batch=batch)
        values = np.asarray(values)
        places, batch = read_coordinates(coordinates, len(values)), read_batch(batch, len(values))
        spots = Spots(values if counts is None else counts, None, places, batch, graph)
        return self._in_place.spread(values, self._pca.spread(values, self._operator(spots, warn=False)))
