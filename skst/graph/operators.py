"""From the graph that an estimator asks for to the operator that averages over it."""

import warnings
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csr_array
from sklearn.base import clone

from skst.graph.build import averaging_operator
from skst.graph.neighbors import GivenGraph, SpatialNeighbors, as_graph
from skst.inputs.places import warn_of_graph, warn_of_places
from skst.inputs.reading import missing
from skst.inputs.spots import Spots
from skst.inputs.types import Matrix


def fit_operator(
    graph: Any, spots: Spots, rng: np.random.RandomState, *, spatial_key: str, strict: bool, normalize: bool = True
) -> tuple[csr_array, Any]:
    """Fit a graph to spots; without coordinates, each spot is alone.

    Parameters
    ----------
    graph : str or object with ``fit`` and ``build``
        As an estimator is given it, see :func:`skst.graph.neighbors.as_graph`.
    spots : Spots
    rng : RandomState
        Gives a seed to a graph that has none of its own.
    spatial_key : str
        Where coordinates were looked for, for what is said of their lack.
    strict : bool
        Whether that is an error.
    normalize : bool, default=True
        Whether the spots have raw counts, for a graph that is learnt and is given by its name.

    Returns
    -------
    operator : csr_array of shape (n_spots, n_spots), float32
        Averaging operator, see :func:`skst.graph.averaging_operator`.
    graph : object
        What builds the graph of other spots; None if that was to be learnt and could not be.

    Warns
    -----
    UserWarning
        If coordinates are lacking, or all counts are alike.
    """
    if spots.X.shape[1]:  # else the counts are elsewhere
        warn_if_alike(spots.X)
    builder = clone(as_graph(graph, normalize))
    if isinstance(builder, GivenGraph):
        return averaging_operator(builder.fit_to(spots)), builder
    parameters = builder.get_params()
    is_learnt = not isinstance(builder, SpatialNeighbors)
    if spots.coordinates is None:
        return _alone(spots, spatial_key, strict), None if is_learnt else builder
    told = warn_of_places(spots.coordinates, spots.batch)
    if "random_state" in parameters:
        seed = int(rng.randint(np.iinfo(np.int32).max))
        if parameters["random_state"] is None:
            builder.set_params(random_state=seed)
    builder.fit(spots.X, spots.coordinates, batch=spots.batch)
    if not told:
        _warn_of_graph(builder, builder.graph_, spots)
    return averaging_operator(builder.graph_), builder


def operator_of(graph: Any, spots: Spots, *, spatial_key: str, strict: bool, warn: bool = True) -> csr_array:
    """Averaging operator of other spots than those of ``fit``.

    Parameters
    ----------
    graph : object or None
        From :func:`fit_operator`.
    spots, spatial_key, strict
        As there.
    warn : bool, default=True
        Whether to warn of places and graphs that tell nothing.

    Returns
    -------
    csr_array of shape (n_spots, n_spots), float32
    """
    if isinstance(graph, GivenGraph):
        return averaging_operator(graph.of_others(spots))
    if spots.coordinates is None:
        return _alone(spots, spatial_key, strict)
    told = warn and warn_of_places(spots.coordinates, spots.batch)
    if graph is None:
        raise ValueError("coordinates are given but the graph was to be learnt in fit, which had none; fit with them.")
    built = graph.build(spots.X, spots.coordinates, batch=spots.batch)
    if warn and not told:
        _warn_of_graph(graph, built, spots)
    return averaging_operator(built)


class OnGraph:
    """Methods of an estimator that averages spots over a graph.

    It has the parameters ``graph``, ``spatial_key`` and ``on_missing``.
    """

    def _fit_operator(self, spots, rng, normalize=True):
        """Set ``graph_`` and return the averaging operator of the spots of ``fit``, see :func:`fit_operator`."""
        operator, self.graph_ = fit_operator(
            self.graph,
            spots,
            rng,
            spatial_key=self.spatial_key,
            strict=self.on_missing == "error",
            normalize=normalize,
        )
        return operator

    def _operator(self, spots, warn=True):
        """Averaging operator of other spots, see :func:`operator_of`."""
        strict = self.on_missing == "error"
        return operator_of(self.graph_, spots, spatial_key=self.spatial_key, strict=strict, warn=warn)


def _alone(spots, spatial_key, strict):
    missing(
        "X has no coordinates",
        "only its expression is used",
        f"put them in obsm[{spatial_key!r}] of an AnnData or pass coordinates=",
        strict=strict,
    )
    return sparse.eye_array(spots.X.shape[0], dtype=np.float32, format="csr")


def setting_of(builder: SpatialNeighbors) -> str:
    """The parameter of a graph that decides how many neighbours a spot has, as a message names it."""
    name = {"knn": "n_neighbors", "radius": "radius"}.get(builder.kind, "kind")
    return f"{name}={getattr(builder, name)!r}"


def _warn_of_graph(builder, built, spots):
    if isinstance(builder, SpatialNeighbors):
        warn_of_graph(built, spots.coordinates, spots.batch, setting_of(builder))


def warn_if_alike(X: Matrix, n_spots: int | None = None) -> None:
    """Warn if no row of X differs from the first, so that all that tells spots apart is what rounding leaves.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n_rows, n_genes)
        Counts of the spots, or of two of them that have the least and the most that is counted of each gene.
    n_spots : int, default=None
        How many spots that stands for; by default as many as there are rows.
    """
    n_rows = X.shape[0]
    n_spots = n_rows if n_spots is None else n_spots
    few = X[[0, n_rows // 2, n_rows - 1]]  # nearly always enough to know
    for rows in (few, X):
        if sparse.issparse(rows):
            differ = (rows.max(axis=0) != rows.min(axis=0)).nnz > 0
        else:
            differ = (rows != rows[0]).any()
        if n_spots == 1 or differ:
            return
    found = "counts nothing in any of" if not few.sum() else "is the same in all of"
    warnings.warn(
        f"X {found} its {n_spots} spots, so that domains are arbitrary; pass counts that tell spots apart.",
        UserWarning,
        stacklevel=4,
    )
