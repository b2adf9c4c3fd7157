"""What a tissue is told from, checked."""

import numpy as np
from scipy import sparse
from scipy.sparse import csr_array

from skst.inputs.rows import match_rows
from skst.inputs.types import Matrix


def read_tissue(X, graph, regions, symbols, functions, coordinates, batch):
    """Check what a narrator is told of, and bring it into one form.

    Parameters
    ----------
    X, graph, regions, symbols, functions, coordinates, batch
        As for :meth:`skst.narration.TissueNarrator.fit`.

    Returns
    -------
    X, edges, codes, symbols, functions, coordinates, slices
    """
    regions, coordinates, batch = match_rows(X, regions=regions, coordinates=coordinates, batch=batch)
    X = sparse.csr_array(X)
    n_spots, n_genes = X.shape
    symbols = np.asarray(symbols, dtype=object)
    functions = np.full(n_genes, "", dtype=object) if functions is None else np.asarray(functions, dtype=object)
    regions = np.asarray(regions)
    slices = np.zeros(n_spots, dtype=np.int64) if batch is None else np.unique(batch, return_inverse=True)[1]
    if coordinates is not None:
        coordinates = np.asarray(coordinates, dtype=np.float64)
    of_spots = {"regions": regions, "batch": slices, "coordinates": coordinates}
    of_genes = {"symbols": symbols, "functions": functions}
    for values_of, n, kind in ((of_spots, n_spots, "spots"), (of_genes, n_genes, "genes")):
        for name, values in values_of.items():
            if values is not None and len(values) != n:
                raise ValueError(f"{name} has {len(values)} entries but X has {n} {kind}; give one for each.")
    if n_spots == 0:
        raise ValueError("X has no spots; give at least one.")
    if graph.shape != (n_spots, n_spots):
        raise ValueError(f"graph has the shape {graph.shape} but X has {n_spots} spots; give one row for each.")
    if X.nnz and not (np.isfinite(X.data).all() and X.data.min() >= 0):
        raise ValueError("X holds values that are negative or not finite; pass raw counts.")
    if coordinates is not None and not np.isfinite(coordinates).all():
        raise ValueError("coordinates hold values that are not finite; give every spot a position, or none.")
    return X, edges_of(graph), regions, symbols, functions, coordinates, slices


def edges_of(graph: Matrix) -> csr_array:
    """Ones where a spot has another for a neighbour, float64."""
    graph = sparse.coo_array(graph)
    edge = (graph.data != 0) & (graph.row != graph.col)
    ones = np.ones(int(edge.sum()))
    edges = sparse.csr_array((ones, (graph.row[edge], graph.col[edge])), shape=graph.shape)
    edges.data[:] = 1.0
    return edges
