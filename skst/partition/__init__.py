"""Embedding to domains: mixtures in consensus, graph communities, votes among neighbours.

Everything here takes an embedding of shape (n_spots, n_components) and knows nothing about genes.
"""

from skst.partition.choice import agreement_medoid, majority_vote, make_clusterer
from skst.partition.communities import GraphCommunities
from skst.partition.estimate import estimate_n_clusters
from skst.partition.mixture import ConsensusMixture
from skst.partition.nested import labels_at, merge_tree

__all__ = [
    "ConsensusMixture",
    "GraphCommunities",
    "agreement_medoid",
    "estimate_n_clusters",
    "labels_at",
    "majority_vote",
    "make_clusterer",
    "merge_tree",
]
