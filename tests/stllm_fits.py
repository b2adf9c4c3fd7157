"""STLLMClusterer with settings that are quick to fit, and a language model that keeps what it read."""

from skst import GeneTextEncoder, STLLMClusterer

LEVELS = ("spot", "neighborhood", "region")


def lexical(**parameters):
    return GeneTextEncoder().set_params(**({"model": "lexical"} | parameters))


def quick_stllm(**parameters):
    quick = {"text": lexical(), "n_clusters": 3, "narration__n_regions": 6, "graph": "knn", "clusterer": "kmeans"}
    return STLLMClusterer().set_params(**(quick | {"random_state": 0} | parameters))
