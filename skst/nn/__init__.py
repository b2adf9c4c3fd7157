"""Torch modules and losses for networks of spots, usable in any torch model.

Importing this package loads torch; nothing else in skst does so before it is needed.
"""

from skst.nn.assignment import assignment_divergence, sinkhorn_target, soft_assignment
from skst.nn.batches import Halo, Patch, epoch_batches, tiles
from skst.nn.contrastive import info_nce, variance_hinge
from skst.nn.counts import zinb_loss
from skst.nn.cut import NormalizedCut
from skst.nn.losses import correlation_reduction, spatial_regularization
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
    "NormalizedCut",
    "Patch",
    "SemanticAddition",
    "SemanticConcatenation",
    "SemanticCrossAttention",
    "SemanticModulation",
    "SparseOperator",
    "assignment_divergence",
    "correlation_reduction",
    "epoch_batches",
    "info_nce",
    "make_fusion",
    "sinkhorn_target",
    "soft_assignment",
    "spatial_regularization",
    "tiles",
    "variance_hinge",
    "zinb_loss",
]
