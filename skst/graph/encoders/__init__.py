"""Graph networks that embed spots, for ``SpatialGraphTransformer(method=...)``.

Importing this package loads torch and torch-geometric.
"""

from skst.graph.encoders.base import GraphEncoder
from skst.graph.encoders.graphst import GraphST
from skst.graph.encoders.spaceflow import SpaceFlow
from skst.graph.encoders.stagate import STAGATE
from skst.graph.encoders.stcluster import StCluster

__all__ = ["STAGATE", "GraphEncoder", "GraphST", "SpaceFlow", "StCluster"]
