"""Spots on two graphs, of their neighbours in space and of spots of like expression, as networks read them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from skst import limits
from skst.expression.smooth import AveragedPCA
from skst.graph.build import averaging_operator, expression_graph
from skst.inputs.spots import Spots


def on_two_graphs(
    spots: Spots,
    pca: AveragedPCA,
    scores: NDArray[np.float32],
    spatial: csr_array,
    semantic: NDArray[np.float32] | None,
    *,
    n_neighbors: int,
    tile_size: int | str,
    counts: Any = None,
    sizes: NDArray[np.float64] | None = None,
    rng: np.random.RandomState | None = None,
) -> Any:
    """Batches of spots.

    Parameters
    ----------
    spots : Spots
    pca : AveragedPCA
        Fitted.
    scores : ndarray of shape (n_spots, n_components)
        Of each spot by its own expression.
    spatial : csr_array of shape (n_spots, n_spots)
        Averaging operator of the spatial graph.
    semantic : ndarray of shape (n_spots, n_semantic) or None
        Columns of text.
    n_neighbors : int
        Neighbours of a spot by its averaged expression.
    tile_size : int or "auto"
        Spots in a tile; "auto" for all at once where they are few.
    counts : ndarray, csr_array or RowsAside of shape (n_spots, n_decoded), default=None
        What is decoded; without counts nothing is learnt.
    sizes : ndarray of shape (n_spots,), default=None
        Library sizes.
    rng : RandomState, default=None
        Draws the batches.

    Returns
    -------
    skst.nn.training.SpotBatches
    """
    from skst.nn.batches import tiles
    from skst.nn.training import SpotBatches

    scale = np.float32(np.sqrt(scores.shape[1]))
    averaged = pca.average(scores, spatial) * scale
    expression = averaging_operator(expression_graph(averaged, n_neighbors=n_neighbors))
    operators = [spatial, expression]
    start = [averaged, expression @ averaged]
    features = [(operator @ scores - pca.offset_) * scale for operator in operators]
    parts = None
    if tile_size != "auto" or len(scores) > limits.MAX_FULL_BATCH:
        points = averaged if spots.coordinates is None else spots.coordinates
        parts = tiles(points, limits.TILE_SIZE if isinstance(tile_size, str) else tile_size, batch=spots.batch)
    sizes = None if sizes is None else np.maximum(sizes, 1.0)
    told = {"counts": counts, "sizes": sizes, "random_state": rng}
    return SpotBatches(features, start, operators, semantic, tiles=parts, **told)
