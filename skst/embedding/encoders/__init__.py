"""Graph networks that embed spots, for ``SpatialGraphTransformer(method=...)``.

Importing this package loads torch and torch-geometric.
"""

from skst.embedding.encoders.base import GraphEncoder
from skst.embedding.encoders.graphst import GraphST
from skst.embedding.encoders.spaceflow import SpaceFlow
from skst.embedding.encoders.stagate import STAGATE
from skst.embedding.encoders.stcluster import StCluster

__all__ = ["STAGATE", "GraphEncoder", "GraphST", "SpaceFlow", "StCluster"]
