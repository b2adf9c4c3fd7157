"""Scores of a partition: against known labels, over the tissue, and against other partitions."""

from skst.inputs.labels import UNLABELLED
from skst.metrics.partitions import (
    agreement_matrix,
    clustering_accuracy,
    hungarian_match,
    macro_f1,
    score_partition,
    weighted_f1,
)
from skst.metrics.places import chaos_score, pas_score, spatial_silhouette

__all__ = [
    "UNLABELLED",
    "agreement_matrix",
    "chaos_score",
    "clustering_accuracy",
    "hungarian_match",
    "macro_f1",
    "pas_score",
    "score_partition",
    "spatial_silhouette",
    "weighted_f1",
]
