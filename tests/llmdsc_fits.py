"""LLMDSCClusterer with settings that are quick to fit."""

from skst import GeneTextEncoder, LLMDSCClusterer
from skst.partition import ConsensusMixture

# A mixture as by default, with few starts and depths.
FEW = ConsensusMixture(n_leading=(8, 15), n_init=2, n_keep=2)


def lexical(**parameters):
    return GeneTextEncoder().set_params(**({"model": "lexical", "mode": "dual", "k_g": 8} | parameters))


def quick_llmdsc(**parameters):
    """Quick to fit: two networks, few epochs, and k-means in place of the mixture."""
    quick = {
        "text": lexical(),
        "n_clusters": 4,
        "network__n_networks": 2,
        "n_top_genes": (40, 80),
        "network__max_epochs": 3,
    }
    return LLMDSCClusterer().set_params(**(quick | {"clusterer": "kmeans", "random_state": 0} | parameters))
