"""SpaLLMFusion with settings that are quick to fit."""

from sklearn.metrics import adjusted_rand_score

from skst import GeneTextEncoder, SpaLLMFusion


def lexical(**parameters):
    return GeneTextEncoder().set_params(model="lexical", **parameters)


def quick_fusion(**parameters):
    """Quick to fit: k-means in place of the mixture."""
    defaults = {"text": lexical(), "n_clusters": 4, "clusterer": "kmeans", "random_state": 0}
    return SpaLLMFusion(**(defaults | parameters))


def ari_of(fitted, adata):
    return adjusted_rand_score(adata.obs["label"], fitted.labels_)
