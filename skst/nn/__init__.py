"""Torch modules and losses for networks of spots, usable in any torch model.

Importing this package loads torch; nothing else in skst does so before it is needed.
"""

from skst.nn.batches import Halo, Patch, epoch_batches, tiles
from skst.nn.losses import correlation_reduction, spatial_regularization, zinb_loss
from skst.nn.modulation import (
    FUSIONS,
    NoSemantics,
    SemanticAddition,
    SemanticConcatenation,
    SemanticCrossAttention,
    SemanticModulation,
    make_fusion,
)
from skst.nn.propagation import GraphBranch, SparseOperator

__all__ = [
    "FUSIONS",
    "GraphBranch",
    "Halo",
    "NoSemantics",
    "Patch",
    "SemanticAddition",
    "SemanticConcatenation",
    "SemanticCrossAttention",
    "SemanticModulation",
    "SparseOperator",
    "correlation_reduction",
    "epoch_batches",
    "make_fusion",
    "spatial_regularization",
    "tiles",
    "zinb_loss",
]
