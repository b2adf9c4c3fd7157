"""Who is whose neighbour, given or learnt."""

from skst.graph.build import averaging_operator, expression_graph, nearest_neighbors, spatial_graph
from skst.graph.learner import SpatialGraphLearner

__all__ = ["SpatialGraphLearner", "averaging_operator", "expression_graph", "nearest_neighbors", "spatial_graph"]
