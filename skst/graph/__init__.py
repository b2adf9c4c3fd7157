"""Who is whose neighbour, given or learnt."""

from skst.graph.build import averaging_operator, expression_graph, nearest_neighbors, spatial_graph
from skst.graph.learner import SpatialGraphLearner
from skst.graph.neighbors import SpatialNeighbors
from skst.graph.pyg import from_pyg, to_pyg

__all__ = [
    "SpatialGraphLearner",
    "SpatialNeighbors",
    "averaging_operator",
    "expression_graph",
    "from_pyg",
    "nearest_neighbors",
    "spatial_graph",
    "to_pyg",
]
