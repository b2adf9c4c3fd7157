"""Spatial and expression graphs, the embeddings made on them, and what is told of them."""

from skst.graph.build import averaging_operator, expression_graph, nearest_neighbors, spatial_graph
from skst.graph.narrator import TissueNarrator
from skst.graph.policy import SpatialGraphLearner
from skst.graph.transformer import SpatialGraphTransformer

__all__ = [
    "SpatialGraphLearner",
    "SpatialGraphTransformer",
    "TissueNarrator",
    "averaging_operator",
    "expression_graph",
    "nearest_neighbors",
    "spatial_graph",
]
