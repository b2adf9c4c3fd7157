"""What speaks for each type in each cluster: shared markers, texts, and the tissue of the other clusters."""

import numpy as np
from scipy.special import logsumexp

# Rank at which a gene counts half as much as the first, and as a share of the genes that were measured.
_HALF, _HALF_SHARE = 20, 0.1
# Weight of a tissue that no other cluster is from, beside 1 for the one that most are from.
_OTHER_TISSUE = 0.05
_TILTS = np.linspace(-3, 20, 93)


def overlap(listed, known, n_measured):
    """How far the known markers of each type (column) lead the genes of each cluster beyond chance, in nats.

    `listed` has the genes of each cluster, the most specific first, and `known` those of each type, all measured.
    Genes count 1 / (1 + rank / half).  What is returned is Chernoff's bound of minus the logarithm of the chance that
    as many genes drawn blindly from those measured sum up to as much; negative if they sum up to less than expected.
    """
    half = min(_HALF, max(2, n_measured * _HALF_SHARE))
    sizes = np.array([len(genes) for genes in known], dtype=float)
    found = np.zeros((len(listed), len(known)))
    for row, genes in enumerate(listed):
        weights = 1 / (1 + np.arange(len(genes)) / half)
        rank = dict(zip(genes, weights, strict=True))
        sums = np.array([sum(rank.get(gene, 0.0) for gene in of) for of in known])
        # Genes that are not listed count nothing.
        terms = np.append(np.outer(_TILTS, weights), np.zeros((len(_TILTS), 1)), axis=1)
        counts = np.append(np.ones(len(genes)), max(n_measured - len(genes), 0))
        log_mean = logsumexp(terms, b=counts, axis=1) - np.log(n_measured)
        rate = np.max(_TILTS[:, None] * sums - log_mean[:, None] * sizes, axis=0)
        found[row] = np.where(sums >= sizes * weights.sum() / n_measured, rate, -rate)
    return found


def standardised(scores, n_read, n_top):
    """Scores of texts as distances from the mean over all types in their SD, less so where few genes were read."""
    spread = scores.std(axis=1, keepdims=True)
    away = np.divide(
        scores - scores.mean(axis=1, keepdims=True), spread, out=np.zeros_like(scores), where=spread > 1e-9
    )
    return away * np.sqrt(np.asarray(n_read) / n_top)[:, None]


def posterior(energy, tissues=None):
    """Chances of the types (columns) for each cluster, given what speaks for them in units of log-odds.

    Clusters of one data set are from one tissue, or a few: a type of a tissue that no other cluster is likely to be
    from loses.  `tissues` tells for each type and tissue whether it is found there; types found in any have all.
    """
    prior = np.zeros_like(energy)
    chances = _normalised(energy)
    if tissues is None or len(energy) == 1:
        return chances
    shares = tissues / tissues.sum(axis=1, keepdims=True)
    shares[tissues.all(axis=1)] = 0  # they tell nothing of the tissue
    for _ in range(4):
        mass = chances @ shares
        # Without the cluster itself, which would vouch for its own tissue.
        others = mass.sum(axis=0) - mass + 1e-9
        others = others / others.max(axis=1, keepdims=True)
        best = np.array([np.where(tissues, weights, 0).max(axis=1) for weights in others])
        prior = np.log(_OTHER_TISSUE + (1 - _OTHER_TISSUE) * best)
        chances = _normalised(energy + prior)
    return chances


def _normalised(energy):
    return np.exp(energy - logsumexp(energy, axis=1, keepdims=True))
