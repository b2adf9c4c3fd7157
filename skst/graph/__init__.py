"""Spatial and expression graphs, and the embeddings made on them."""

from skst.graph.build import averaging_operator, expression_graph, nearest_neighbors, spatial_graph
from skst.graph.transformer import SpatialGraphTransformer

__all__ = ["SpatialGraphTransformer", "averaging_operator", "expression_graph", "nearest_neighbors", "spatial_graph"]
