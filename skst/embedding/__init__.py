"""From spots to vectors: averages over neighbours, graph networks, and views put together."""

from skst.embedding.transformer import SpatialGraphTransformer

__all__ = ["SpatialGraphTransformer"]
