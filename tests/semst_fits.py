"""SemSTClusterer with settings that are quick to fit."""

from skst import GeneTextEncoder, SemSTClusterer


def lexical(**parameters):
    return GeneTextEncoder().set_params(**({"model": "lexical", "mode": "prompt", "k_g": 8} | parameters))


def quick_semst(**parameters):
    """Quick to fit: two networks, few epochs, and k-means in place of the mixture."""
    quick = {"text": lexical(), "n_clusters": 4, "network__max_epochs": 5, "clusterer": "kmeans"}
    return SemSTClusterer().set_params(**(quick | {"random_state": 0} | parameters))
