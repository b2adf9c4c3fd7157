"""A spatial graph that is learnt: a policy says how likely each candidate edge joins two spots."""

import time
import warnings
from numbers import Integral, Real
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse import csr_array
from scipy.special import expit, logit
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skst._constraints import Interval
from skst._progress import progress_bar
from skst.expression.smooth import AveragedPCA, propagate, single_hop
from skst.graph.build import averaging_operator, spatial_graph
from skst.graph.candidates import FEATURES, Candidates, chance_cosine, edge_features
from skst.graph.reward import GAINS, GraphReward, policy_gradient
from skst.inputs.counting import check_counts
from skst.inputs.order import content_order
from skst.inputs.reading import ReadsSpots
from skst.inputs.types import Expression

# How often in training communities are found anew.
REFRESHES = 4
# Graphs drawn in an epoch.
SAMPLES = 2
# Below this deviation a feature tells no edges apart, and neither does a policy.
ALIKE = 1e-3
HISTORY = ("epoch", "reward", *GAINS, "cost", "mean_degree", "baseline", "dur")


class SpatialGraphLearner(ReadsSpots, BaseEstimator):
    r"""Learn which spots of a neighbourhood belong together, without labels.

    Each spot has its nearest spots as candidates.  A policy turns what is known of a pair of candidates (distance,
    expression, surroundings) into the probability of an edge, and is trained by policy gradient on a reward: joined
    spots are alike and close, the communities of the graph are separate, and spots have about `n_neighbors` edges.

    Parameters
    ----------
    n_candidates : int or None, default=None
        Nearest spots of its slice that are candidate neighbours of a spot; it is theirs, too.
        None for three times `n_neighbors`, and at least 18.
    n_neighbors : int, default=6
        Mean degree of the learnt graph, at most `n_candidates`.
    n_components : int, default=20
        Principal components by which the expression of spots is compared.
    max_epochs : int, default=100
        Steps of training; it begins with distance alone, and with 0 stays there.
    lr : float, default=0.1
        Step size of Adam, for features of unit variance.
    normalize : bool, default=True
        Whether X are raw counts, to be scaled to a common depth and square-rooted.
    random_state : int, RandomState instance or None, default=None
        Seeds the graphs that are drawn and the communities.
    verbose : int, default=0
        1 shows a bar of progress.

    Attributes
    ----------
    graph_ : csr_array of shape (n_spots, n_spots), float32
        Learnt graph: zeros and ones, symmetric, empty diagonal, no edge between slices.
    probabilities_ : csr_array of shape (n_spots, n_spots), float32
        Probability of each candidate edge, symmetric.
    policy_ : DataFrame
        A row for each feature of an edge: its "weight" in the logit, in units of its "scale" from its "mean".
    intercept_ : float
        Constant of the logit, set after training so that ``graph_`` has the degree wanted.
    history_ : DataFrame
        One row an epoch: "epoch"; "reward" and what it is made of, "modularity", "agreement", "compactness", "entropy"
        (times their weights) and "cost" (counted off); "mean_degree", the degree expected; "baseline", the modularity
        of the expected graph, with which drawn graphs are compared; "dur" in seconds.
    pca_ : AveragedPCA
        Principal axes of the expression.
    n_features_in_ : int
        Number of genes.
    feature_names_in_ : ndarray of str
        Their names, if X has any.

    See Also
    --------
    skst.graph.spatial_graph : Graphs by distance alone.
    skst.SpatialGraphTransformer : Embeds spots by their graph.

    Notes
    -----
    **Policy.** Edges are independent, :math:`a_e \sim \mathrm{Bernoulli}(p_e)` with
    :math:`\mathrm{logit}\,p_e = w^T f_e + b` and these features, alike in both spots of the edge: distance, relative to
    the mean distance of their candidates; "expression", the cosine of principal components averaged over `n_neighbors`
    nearest spots; "surroundings", that of components averaged twice over all candidates; the rank of the edge among
    the candidates of either spot by each of the three; degree and density of the candidates.  Ranks let a spot
    between domains keep the best that it has.  ``graph_`` holds the edges with :math:`p_e > 1/2` and the most probable
    edge of each spot, so that a spot has none only if it is alone in its slice.

    **Reward.** With k = `n_neighbors`, :math:`m = nk/2`, c the cosine by "expression", :math:`\bar c` its mean over all
    pairs of a slice, d the relative distance and :math:`\kappa_i` the degree of spot i,

    .. math:: Q(a) + \frac{1}{m} \sum_e a_e \left(0.2 (c_e - \bar c) - 0.05\, d_e\right)
              - 10 \left(\frac{1}{m} \sum_e a_e - 1\right)^2
              - \frac{0.1}{n} \sum_i \left(\frac{\kappa_i}{k} - 1\right)^2 + \frac{0.02}{m} H(p).

    H is the entropy of the policy, which keeps it from settling early.  Q is Newman's modularity [2]_, the mean over
    partitions into 8, 16 and 32 communities: k-means on the components averaged twice over the expected graph, made
    anew four times in training, where the reward may step.

    **Gradient.** All but Q is linear in each edge alone, so that its expectation has a closed form and an exact
    gradient.  Q is a ratio.  Its expansion about p to first order is differentiated exactly and is the baseline of
    drawn graphs: only what it leaves of their Q goes by the score function [1]_, as in [3]_.  The estimate is unbiased
    like that of REINFORCE, but what is left to chance shrinks with the number of edges.

    An epoch takes time and memory linear in the candidate edges.  Permuted spots have the permuted graph, but for spots
    of equal place and library size.

    **What it is good for.** More of its edges lie within a domain than of as many edges to nearest spots, about as many
    as of those between the spots most alike in averaged expression (``python -m benchmarks learned_graph``).  Clusters
    of expression averaged over it agree with the domains no better (``python -m benchmarks stllm``).  Weights of the
    reward were set on osmFISH, STARmap and DLPFC 151510.

    References
    ----------
    .. [1] R. J. Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning",
       Machine Learning 8, 1992.
    .. [2] M. E. J. Newman, "Analysis of weighted networks", Physical Review E 70, 2004.
    .. [3] S. Gu et al., "MuProp: unbiased backpropagation for stochastic neural networks", ICLR 2016.
    .. [4] Z. Xu et al., "ST-LLM: spatial transcriptomics embedding with large language models", AAAI 2026.  Proposes
       reinforcement learning of the graph; features, reward and estimator are not published, these are ours.

    Examples
    --------
    >>> from skst.datasets import make_spatial_domains
    >>> from skst.graph.learner import SpatialGraphLearner
    >>> adata = make_spatial_domains(300, depth=1000, random_state=0)
    >>> learner = SpatialGraphLearner(max_epochs=20, random_state=0).fit(adata.X, adata.obsm["spatial"])
    >>> learner.graph_.nnz / 300
    6.0
    >>> new = make_spatial_domains(200, depth=1000, random_state=1)
    >>> learner.build(new.X, new.obsm["spatial"]).shape
    (200, 200)
    """

    _parameter_constraints: dict = {
        "n_candidates": [Interval(Integral, 1, None, closed="left"), None],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "normalize": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        n_candidates=None,
        n_neighbors=6,
        n_components=20,
        max_epochs=100,
        lr=0.1,
        normalize=True,
        random_state=None,
        verbose=0,
    ):
        self.n_candidates = n_candidates
        self.n_neighbors = n_neighbors
        self.n_components = n_components
        self.max_epochs = max_epochs
        self.lr = lr
        self.normalize = normalize
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Expression, coordinates: ArrayLike, *, batch: ArrayLike | None = None) -> Self:
        """Train the policy and build the graph.

        Parameters
        ----------
        X : ndarray, sparse matrix or array, DataFrame or AnnData of shape (n_spots, n_genes)
            Raw counts, or anything if `normalize` is false.
        coordinates : array-like of shape (n_spots, 2) or (n_spots, 3)
            Positions, in any unit.
        batch : array-like of shape (n_spots,), default=None
            Slice of each spot.

        Returns
        -------
        SpatialGraphLearner
            Itself, fitted.

        Raises
        ------
        ValueError
            If a parameter, the counts or the coordinates are not what they should be.

        Warns
        -----
        UserWarning
            If the policy is degenerate: no edges, all edges, or all as probable as each other.
        """
        self._validate_params()
        if self.n_neighbors > self._n_candidates():
            raise ValueError(
                f"n_neighbors={self.n_neighbors} is more than n_candidates={self.n_candidates}, out of which they are "
                "chosen; raise n_candidates."
            )
        spots, order = self._read(X, coordinates, batch, reset=True)
        random_state = check_random_state(self.random_state)
        candidates = self._survey(spots, random_state)
        self.policy_ = pd.DataFrame(0.0, index=pd.Index(FEATURES, name="feature"), columns=["weight", "mean", "scale"])
        self.policy_["scale"] = 1.0
        self.policy_.loc["distance", "weight"] = -1.0
        self.intercept_ = 0.0
        n_edges = len(candidates.features)
        n_wanted = round(self.n_neighbors * len(order) / 2)
        history = []
        if n_edges:
            spread = candidates.features.std(axis=0, dtype=np.float64)
            self.policy_["mean"] = candidates.features.mean(axis=0, dtype=np.float64)
            self.policy_["scale"] = np.where(spread > ALIKE, spread, np.inf)
        if n_edges > n_wanted:
            history = self._train(candidates, random_state)
        self.history_ = pd.DataFrame(history, columns=HISTORY)
        logits = self._logits(candidates)
        if n_edges > n_wanted:
            _warn_degenerate(logits, n_wanted)
        self.intercept_ -= _threshold(logits, _best(candidates, logits), n_wanted)
        logits = self._logits(candidates)
        self.graph_ = _adjacency(candidates, order, _chosen(candidates, logits))
        self.probabilities_ = _adjacency(candidates, order, np.ones(n_edges, dtype=bool), expit(logits))
        return self

    def build(self, X: Expression, coordinates: ArrayLike, *, batch: ArrayLike | None = None) -> csr_array:
        """Graph of any spots by the policy as it is; parameters as in :meth:`fit`.

        Returns
        -------
        csr_array of shape (n_spots, n_spots), float32
            Zeros and ones; ``graph_`` for the spots of ``fit``.  Where spots differ more, or less, than those, its mean
            degree differs from `n_neighbors`.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        """
        check_is_fitted(self)
        spots, order = self._read(X, coordinates, batch, reset=False)
        candidates = self._survey(spots)
        return _adjacency(candidates, order, _chosen(candidates, self._logits(candidates)))

    def _read(self, X, coordinates, batch, reset):
        """The spots in an order that does not depend on how they came, and that order."""
        if coordinates is None:
            raise ValueError("coordinates=None, but candidate edges are spatial; pass one row of positions a spot.")
        spots = self._read_spots(X, coordinates=coordinates, batch=batch, reset=reset)
        if self.normalize:
            check_counts(spots, X, unless=type(self).__name__)
        order = content_order(spots.X, spots.coordinates)
        batch = None if spots.batch is None else spots.batch[order]
        return spots._replace(X=spots.X[order], coordinates=spots.coordinates[order], batch=batch), order

    def _n_candidates(self):
        return max(18, 3 * self.n_neighbors) if self.n_candidates is None else self.n_candidates

    def _survey(self, spots, random_state=None):
        """Candidate edges and what the policy sees of them; finds the principal axes if given a `random_state`."""
        near, wide = (
            averaging_operator(spatial_graph(spots.coordinates, n_neighbors=k, batch=spots.batch))
            for k in (self.n_neighbors, self._n_candidates())
        )
        if random_state is not None:
            self.pca_ = AveragedPCA(self.n_components, normalize=self.normalize)
            self.pca_.fit_scores(spots.X, near, random_state)
        scores = self.pca_.scores(spots.X, near)
        expression = self.pca_.average(scores, near)
        surroundings = propagate(wide, scores, single_hop(2)) - self.pca_.offset_
        edges = np.array(sparse.triu(wide, k=1).coords)
        features = edge_features(edges, spots, expression, surroundings)
        return Candidates(edges, features, scores, chance_cosine(expression, spots.batch))

    def _design(self, candidates):
        """Standardised features and a column of ones for the intercept."""
        mean, scale = (self.policy_[name].to_numpy(np.float32) for name in ("mean", "scale"))
        ones = np.ones((len(candidates.features), 1), dtype=np.float32)
        return np.hstack([(candidates.features - mean) / scale, ones])

    def _logits(self, candidates):
        return self._design(candidates)[:, :-1] @ self.policy_["weight"].to_numpy() + self.intercept_

    def _train(self, candidates, random_state):
        reward = GraphReward(
            candidates.edges,
            candidates.features[:, FEATURES.index("expression")] - candidates.chance[candidates.edges[0]],
            candidates.features[:, FEATURES.index("distance")],
            n_spots=len(candidates.scores),
            n_neighbors=self.n_neighbors,
        )
        design = self._design(candidates)
        weights = np.append(self.policy_["weight"], logit(reward.n_wanted / len(design)))
        adam = _Adam(weights)
        history = []
        with progress_bar(self.max_epochs, "SpatialGraphLearner", "epochs", shown=self.verbose) as advance:
            for epoch in range(self.max_epochs):
                start = time.perf_counter()
                logits = (design @ weights.astype(np.float32)).astype(np.float64)
                p = expit(logits)
                if epoch % -(-self.max_epochs // REFRESHES) == 0:
                    reward.settle(candidates.averaged(p), random_state)
                drawn = [random_state.uniform(size=len(p)) < p for _ in range(SAMPLES)]
                gradient, terms = policy_gradient(logits, reward, drawn)
                # The first half explores, the second settles.
                adam.climb(gradient.astype(np.float32) @ design, self.lr * min(1.0, 2 - 2 * epoch / self.max_epochs))
                history.append({"epoch": epoch + 1, **terms, "dur": time.perf_counter() - start})
                advance()
        self.policy_["weight"], self.intercept_ = weights[:-1], float(weights[-1])
        return history


class _Adam:
    """Ascent by moments of the gradient; changes `weights` in place.

    That of torch.optim takes the same steps, but loads torch and its compiler, which takes longer than the training of
    these nine numbers.  Steps along the gradient itself end at worse graphs.
    """

    def __init__(self, weights):
        self.weights, self.step = weights, 0
        self.first, self.second = np.zeros_like(weights), np.zeros_like(weights)

    def climb(self, gradient, lr):
        self.step += 1
        self.first += 0.1 * (gradient - self.first)
        self.second += 0.01 * (gradient**2 - self.second)
        first, second = self.first / (1 - 0.9**self.step), self.second / (1 - 0.99**self.step)
        self.weights += lr * first / (np.sqrt(second) + np.finfo(np.float32).tiny)


def _best(candidates, logits):
    """Whether an edge is the most probable one of either of its spots."""
    most = np.full(len(candidates.scores), -np.inf)
    for ends in candidates.edges:
        np.maximum.at(most, ends, logits)
    return (logits == most[candidates.edges]).any(axis=0)


def _chosen(candidates, logits):
    return (logits > 0) | _best(candidates, logits)


def _threshold(logits, best, n_wanted):
    """Logit above which there are `n_wanted` edges, those included that are the best of a spot in any case."""
    others, n_others = np.sort(logits[~best])[::-1], n_wanted - np.count_nonzero(best)
    if n_others >= len(others) or not len(others):
        return float(logits.min(initial=0)) - 1
    if n_others <= 0:
        return float(others[0]) + 1
    return float(others[n_others - 1 : n_others + 1].mean())


def _warn_degenerate(logits, n_wanted):
    n_edges, expected = len(logits), expit(logits).sum()
    if logits.std() < ALIKE:
        state = "all candidate edges are as probable as each other"
    elif expected < 0.1 * n_wanted:
        state = "it expects hardly any edges"
    elif n_edges - expected < 0.1 * (n_edges - n_wanted):
        state = "it expects nearly all candidate edges"
    else:
        return
    warnings.warn(
        f"The policy is degenerate, {state}, so the graph says little about expression; see that X and coordinates "
        "vary, lower lr, or use graph='knn'.",
        UserWarning,
        stacklevel=3,
    )


def _adjacency(candidates, order, chosen, values=None):
    """Symmetric matrix of the chosen edges, spots as they came."""
    i, j = order[candidates.edges[:, chosen]]
    values = np.ones(len(i)) if values is None else values[chosen]
    n_spots = len(order)
    both = sparse.coo_array(
        (np.tile(values, 2).astype(np.float32), (np.append(i, j), np.append(j, i))), (n_spots, n_spots)
    )
    graph = both.tocsr()
    graph.sort_indices()
    return graph
