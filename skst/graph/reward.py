"""What a graph among candidate edges is worth, and how that changes with the policy that draws it."""

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, expit
from sklearn.exceptions import ConvergenceWarning

from skst.graph.candidates import spot_sums

# Weights beside modularity, which has 1.  The degree of all spots is held tightly, that of each loosely.
AGREEMENT, COMPACTNESS, ENTROPY = 0.2, 0.05, 0.02
MEAN_DEGREE, SPOT_DEGREE = 10.0, 0.1
# Communities at one resolution could be an accident of it.
RESOLUTIONS = (8, 16, 32)
MAX_CLUSTERED = 20_000
GAINS = ("modularity", "agreement", "compactness", "entropy")


class GraphReward:
    """Reward of a graph; probabilities in place of edges make the exact terms expectations over independent edges.

    Parameters
    ----------
    edges : ndarray of int of shape (2, n_edges)
        The two spots of each candidate edge, which is listed once.
    agreement : ndarray of shape (n_edges,)
        How much more alike the spots of an edge are than any two.
    distance : ndarray of shape (n_edges,)
        How far apart they are, in units of their surroundings.
    n_spots : int
        Number of spots.
    n_neighbors : float
        Degree wanted.
    """

    def __init__(self, edges, agreement, distance, *, n_spots, n_neighbors):
        self.edges, self.n_spots, self.k = edges, n_spots, n_neighbors
        self.n_wanted = n_neighbors * n_spots / 2
        self.agreement = AGREEMENT * agreement / self.n_wanted
        self.compactness = -COMPACTNESS * distance / self.n_wanted

    def settle(self, embedding: np.ndarray, random_state: np.random.RandomState) -> None:
        """Take clusters of the embedding of the spots for communities."""
        from sklearn.cluster import KMeans

        n_spots = len(embedding)
        sample = embedding
        if n_spots > MAX_CLUSTERED:
            sample = embedding[random_state.choice(n_spots, MAX_CLUSTERED, replace=False)]
        i, j = self.edges
        self.partitions = []
        for n_clusters in RESOLUTIONS:
            seed = random_state.randint(np.iinfo(np.int32).max)
            kmeans = KMeans(min(n_clusters, n_spots), n_init=1, random_state=seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct spots than clusters do no harm
                labels = kmeans.fit(sample).predict(embedding)
            self.partitions.append((labels, labels[i] == labels[j]))

    def exact(self, p: NDArray[np.float64]) -> tuple[dict[str, float], NDArray[np.float64]]:
        """Expectation of all terms but modularity over independent edges, by name, and the gradient of their sum."""
        i, j = self.edges
        k, n_wanted, n_spots = self.k, self.n_wanted, self.n_spots
        variance = p * (1 - p)
        surplus = p.sum() / n_wanted - 1
        strain = spot_sums(self.edges, p, n_spots) / k - 1
        # The variance of a degree is the sum over its edges, each of which is in the degrees of two spots.
        cost = MEAN_DEGREE * (surplus**2 + variance.sum() / n_wanted**2)
        cost += SPOT_DEGREE * (np.square(strain).sum() + 2 * variance.sum() / k**2) / n_spots
        slope = MEAN_DEGREE * (2 * surplus / n_wanted + (1 - 2 * p) / n_wanted**2)
        slope += SPOT_DEGREE * 2 * ((strain[i] + strain[j]) / k + (1 - 2 * p) / k**2) / n_spots
        terms = {
            "agreement": float(p @ self.agreement),
            "compactness": float(p @ self.compactness),
            "cost": float(cost),
            "mean_degree": float(2 * p.sum() / n_spots),
        }
        return terms, self.agreement + self.compactness - slope

    def modularity(self, weights: np.ndarray) -> float:
        """Newman's modularity of a weighted graph, mean over the partitions."""
        total, census = self._census(weights)
        shares = [within / total - np.square(volumes / (2 * total)).sum() for *_, within, volumes in census]
        return float(np.mean(shares))

    def modularity_slope(self, weights: np.ndarray) -> NDArray[np.float64]:
        """Derivative of the modularity by the weight of each edge."""
        i, j = self.edges
        total, census = self._census(weights)
        slope = np.zeros(len(weights))
        for labels, same, within, volumes in census:
            slope += same - within / total + np.square(volumes).sum() / (2 * total**2)
            slope -= (volumes[labels[i]] + volumes[labels[j]]) / (2 * total)
        return slope / (total * len(census))

    def _census(self, weights):
        """Total weight; for each partition its labels, edges within, their weight, and degrees summed by community."""
        total = max(weights.sum(dtype=np.float64), np.finfo(np.float32).tiny)
        degree = spot_sums(self.edges, weights, self.n_spots)
        return total, [
            (labels, same, weights[same].sum(dtype=np.float64), np.bincount(labels, degree))
            for labels, same in self.partitions
        ]


def policy_gradient(
    logits: NDArray[np.float64], reward: GraphReward, drawn: list[NDArray[np.bool_]]
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Unbiased estimate of the gradient of the expected reward and entropy.

    Parameters
    ----------
    logits : ndarray of shape (n_edges,), float64
        Of the probabilities p of the edges.
    reward : GraphReward
        With communities settled.
    drawn : list of ndarray of shape (n_edges,), bool
        Independent draws of the edges by p, at least one.

    Returns
    -------
    gradient : ndarray of shape (n_edges,), float64
        By the logits.
    terms : dict of str to float
        The reward and its terms as in ``SpatialGraphLearner.history_``, modularity from the draws, the others exact.
    """
    p = expit(logits)
    terms, slope = reward.exact(p)
    expected, expansion = reward.modularity(p), reward.modularity_slope(p)
    values = np.array([reward.modularity(a) for a in drawn])
    advantage = values - expected - np.array([expansion @ (a - p) for a in drawn])
    slope = slope + expansion - ENTROPY * logits / reward.n_wanted
    gradient = p * (1 - p) * slope
    for share, a in zip(advantage, drawn, strict=True):
        gradient += share / len(drawn) * (a - p)
    entropy = ENTROPY * float((entr(p) + entr(1 - p)).sum()) / reward.n_wanted
    terms |= {"modularity": float(values.mean()), "baseline": expected, "entropy": entropy}
    terms["reward"] = sum(terms[name] for name in GAINS) - terms["cost"]
    return gradient, terms
