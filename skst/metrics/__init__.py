"""Scores of a partition, against known labels, over the tissue, and against others, and of how slices mix."""

from skst.inputs.labels import UNLABELLED
from skst.metrics.mixing import clisi_score, graph_connectivity, ilisi_score, score_mixing
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
    "clisi_score",
    "clustering_accuracy",
    "graph_connectivity",
    "hungarian_match",
    "ilisi_score",
    "macro_f1",
    "pas_score",
    "score_mixing",
    "score_partition",
    "spatial_silhouette",
    "weighted_f1",
]
