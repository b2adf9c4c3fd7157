"""Embedding to domains: mixtures in consensus, graph communities, votes among neighbours.

Everything here takes an embedding of shape (n_spots, n_components) and knows nothing about genes.
"""

from skst.partition.choice import agreement_medoid, estimate_n_clusters, majority_vote, make_clusterer
from skst.partition.communities import GraphCommunities
from skst.partition.mixture import ConsensusMixture

__all__ = [
    "ConsensusMixture",
    "GraphCommunities",
    "agreement_medoid",
    "estimate_n_clusters",
    "majority_vote",
    "make_clusterer",
]
