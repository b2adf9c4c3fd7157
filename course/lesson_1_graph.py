# %% [markdown]
# Clustering on a graph
# =====================
#
# **45 minutes.** You know k-means, PCA and mixtures; you need no biology. At the end you will have written, in a few
# lines of numpy, the method that is hardest to beat at finding regions in tissue, and know why it works.
#
# **You will learn** why k-means fails where each row is nearly all noise; how to average over a graph, and how far;
# what the adjusted Rand index says; what a mixture and a vote among neighbours add; and how far to trust a method that
# chooses the number of clusters.
#
# **The words.** A thin slice of tissue lies on a grid of *spots*, which are the rows of our matrix. A *gene* is a
# column: one of the things that a cell can make copies of. A *count* is how many copies of a gene were caught at a
# spot. A *domain* is a region of the tissue whose spots use their genes in the same way, such as a layer of the brain.
# If you know text: spots are documents, genes are words, and domains are topics. If you know images: a slice is an
# image of 200 channels, taken in very little light, and domains are its segments.
#
# **How it works.** Run the cells from top to bottom. Each exercise has a cell for your answer, and below it a cell that
# checks the answer and says what is wrong. Later cells use your answers: if you are stuck, the page of this lesson
# has a solution folded away below each exercise.
#
# The tissue here is simulated, so the domains are known. They are used to score, and for nothing else.

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from skst import SpaLLMFusion, SpatialGraphTransformer
from skst.datasets import fetch_osmfish, make_spatial_domains
from skst.graph import averaging_operator, spatial_graph
from skst.partition import estimate_n_clusters
from skst.plotting import PALETTE, plot_domain_comparison, plot_domains, plot_k_curve

# %% tags=["sizes"]
SPOTS = 2000

# %%
tissue = make_spatial_domains(SPOTS, n_domains=5, pattern="rings", depth=600, effect=1.6, random_state=0)
counts = tissue.X.toarray()
places = tissue.obsm["spatial"]
truth = tissue.obs["label"].to_numpy()
print(f"{counts.shape[0]} spots, {counts.shape[1]} genes, {np.median(counts.sum(axis=1)):.0f} copies in a typical spot")

# %% [markdown]
# Look at the data
# ----------------
#
# Left the domains, which nobody will tell us. In the middle the number of copies caught at each spot: it says how
# well a spot was measured, and nothing else. Right a gene that is 1.6 times as strong in one domain as in the others.
# Can you see which?

# %% alt="Three maps of one tissue: five rings that are its domains, and two that look like noise"
marker = np.flatnonzero(tissue.var["programme"] == "domain1")[0]
figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
plot_domains(tissue, "label", ax=axes[0], title="domains", legend=False)
panels = {"copies in a spot": counts.sum(axis=1), f"copies of one gene, {tissue.var_names[marker]}": counts[:, marker]}
for ax, (title, values) in zip(axes[1:], panels.items(), strict=True):
    ax.scatter(*places.T, c=values, s=9, cmap="viridis")
    ax.set(title=title, aspect="equal")
    ax.axis("off")

# %% [markdown]
# A score: the adjusted Rand index
# --------------------------------
#
# Clusters have no names, so accuracy makes no sense. The *Rand index* asks of every pair of spots whether both
# partitions agree: together in both, or apart in both. *Adjusted* means that what chance alone would reach has been
# taken off: 1 is the same partition, 0 is chance. Names do not matter:

# %%
print(adjusted_rand_score(["a", "a", "b", "b"], [7, 7, 3, 3]))
print(f"{adjusted_rand_score(truth, np.random.default_rng(0).permutation(truth)):.3f}")


def ari_of_kmeans(features):
    """How well k-means finds the domains in these features."""
    return adjusted_rand_score(truth, KMeans(5, n_init=5, random_state=0).fit_predict(features))


print(f"k-means on counts: {ari_of_kmeans(counts):.2f}")

# %% [markdown]
# That is no better than chance. The largest differences between rows are how well a spot was measured.
#
# Exercise 1: profiles
# --------------------
#
# Write ``profiles(counts)``: scale each row so that its sum is the median of all row sums, then take square roots.
# (The noise of a count grows with its size; that of its square root does not.) Leave ``counts`` as they are.


# %% tags=["answer"]
def profiles(counts):
    """Counts at one depth, as square roots."""
    ### BEGIN SOLUTION
    depth = counts.sum(axis=1, keepdims=True)
    return np.sqrt(counts / depth * np.median(depth))
    ### END SOLUTION


# %% tags=["check"]
found = profiles(np.array([[1.0, 3.0], [8.0, 8.0], [0.0, 9.0]]))
assert found is not None, "profiles returns nothing yet"
assert np.allclose(found**2, [[2.25, 6.75], [4.5, 4.5], [0, 9]]), "each row, squared, has to sum to 9 here"
P = profiles(counts)
assert np.array_equal(counts, tissue.X.toarray()), "counts itself must not change: run from the top, and make a copy"
print(f"k-means on counts: {ari_of_kmeans(counts):.2f}, on profiles: {ari_of_kmeans(P):.2f}")

# %% [markdown]
# Still chance! What differs between domains is real, but within one spot noise is larger. No clusterer mends that:
# the noise has to go first. Here is what k-means has not been told: **spots that lie side by side are mostly of one
# domain.**
#
# The graph
# ---------
#
# Join each spot to its 6 nearest others. The result is a sparse matrix of zeros and ones, 2,000 by 2,000, of which
# almost all entries are zero.

# %% alt="Spots of a part of the tissue, joined to their neighbours by lines"
A = spatial_graph(places, n_neighbors=6)
print(f"{A.shape[0]} spots, {A.nnz / A.shape[0]:.1f} neighbours a spot, {A.nnz / A.shape[0] ** 2:.2%} of the matrix")
rows, columns = A.nonzero()
figure, ax = plt.subplots(figsize=(5, 5), layout="constrained")
ax.add_collection(LineCollection(np.stack([places[rows], places[columns]], axis=1), color="0.6", linewidth=0.7))
ax.scatter(*places.T, c=np.array(PALETTE)[np.unique(truth, return_inverse=True)[1]], s=40, zorder=2)
middle = np.median(places, axis=0)
ax.set(xlim=middle[0] + np.array([-1000, 1000]), ylim=middle[1] + np.array([-1000, 1000]), aspect="equal")
ax.axis("off")

# %% [markdown]
# Exercise 2: an averaging operator in five lines
# -----------------------------------------------
#
# Write ``averaging(A)``, which returns a sparse matrix that, multiplied by features, replaces each spot by the mean of
# itself and its neighbours. Add the spot itself to its neighbours, then divide each row by its sum. Keep it sparse:
# ``sparse.eye_array(n)`` and ``sparse.diags_array(values)`` help.


# %% tags=["answer"]
def averaging(A):
    """The operator that replaces each spot by the mean of itself and its neighbours."""
    ### BEGIN SOLUTION
    with_self = A + sparse.eye_array(A.shape[0])
    size = with_self.sum(axis=1)
    return sparse.diags_array(1 / size) @ with_self
    ### END SOLUTION


# %% tags=["check"]
M = averaging(A)
assert sparse.issparse(M), "the operator has to be a sparse matrix"
assert np.allclose(M.sum(axis=1), 1), "each row has to sum to 1"
assert np.allclose(M.diagonal(), 1 / (A.sum(axis=1) + 1)), "a spot counts as one of its own neighbours"
assert abs(M - averaging_operator(A)).max() < 1e-6, "this is not the operator of skst"
print("That is skst.graph.averaging_operator.")

# %% [markdown]
# Now average once, twice, and often. ``M @ (M @ P)`` averages over the neighbours of neighbours: this is one *hop*
# more. Only the leading principal axes are kept, as those of the noise are not worth having.


# %% alt="Four maps: domains, and what k-means finds after 0, 2 and 20 hops"
def reduced(features):
    """Scores on the 20 leading principal axes."""
    return PCA(20, svd_solver="full").fit_transform(features)


def after_hops(n_hops):
    """Profiles averaged so many times, on 20 principal axes."""
    averaged = P
    for _ in range(n_hops):
        averaged = M @ averaged
    return reduced(averaged)


predictions = {f"{n} hops": KMeans(5, n_init=5, random_state=0).fit_predict(after_hops(n)) for n in (0, 2, 20)}
figure = plot_domain_comparison(tissue, truth="label", predictions=predictions)

# %% [markdown]
# Exercise 3: how far?
# --------------------
#
# Make ``by_hops``, a dictionary from each of 0, 1, 2, 3, 4, 6, 8, 12, 20 hops to ``ari_of_kmeans`` after so many; and
# set ``best_hops`` to the number with the highest score. Before you run it, draw the curve that you expect.

# %% tags=["answer"]
# by_hops = {0: ..., 1: ..., and so on}
# best_hops = one of its keys
### BEGIN SOLUTION
by_hops = {n: ari_of_kmeans(after_hops(n)) for n in (0, 1, 2, 3, 4, 6, 8, 12, 20)}
best_hops = max(by_hops, key=by_hops.get)
### END SOLUTION

# %% tags=["check"] alt="The adjusted Rand index over hops: it rises steeply, then falls"
assert sorted(by_hops) == [0, 1, 2, 3, 4, 6, 8, 12, 20], "a score for each of the nine numbers of hops"
assert by_hops[best_hops] == max(by_hops.values()), "best_hops is not the best of them"
assert by_hops[0] + 0.1 < by_hops[best_hops] > by_hops[20], "the curve rises, and falls again"
figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ax.plot(list(by_hops), list(by_hops.values()), marker="o")
ax.set(xlabel="hops", ylabel="adjusted Rand index", xticks=list(by_hops))

# %% [markdown]
# It is the curve of bias and variance. Each hop averages over more spots: noise falls. Each hop also reaches further
# over the borders of domains: what is averaged is less and less one domain, and thin rings melt into each other.
#
# Mind what you just did: ``best_hops`` was chosen **by the labels**. On a real tissue you have none. What may be
# chosen in this way, and what such a score is worth, is lesson 3. From here on we use what skst does without being
# asked: the mean of one hop and two.
#
# Exercise 4: the embedding of skst
# ---------------------------------
#
# Compute ``Z``: the mean of the profiles averaged once and averaged twice, ``reduced`` to 20 principal axes. The
# check compares distances between spots, as axes may be turned around and the scale is free.

# %% tags=["answer"]
# Z = an array of shape (number of spots, 20)
### BEGIN SOLUTION
once = M @ P
Z = reduced((once + M @ once) / 2)
### END SOLUTION

# %% tags=["check"]
theirs = SpatialGraphTransformer(n_components=20).fit_transform(tissue)
assert Z.shape == theirs.shape, f"Z has the shape {Z.shape}, and should have {theirs.shape}"
i, j = np.random.default_rng(0).integers(len(Z), size=(2, 3000))
mine, others = (np.linalg.norm(E[i] - E[j], axis=1) for E in (Z, theirs))
correlation = np.corrcoef(mine, others)[0, 1]
assert correlation > 0.9999, f"distances of your embedding and of skst's have a correlation of {correlation:.4f}"
print(f"correlation of distances {correlation:.5f}: this is skst.SpatialGraphTransformer")

# %% [markdown]
# A mixture, and a vote
# ---------------------
#
# k-means takes clusters for balls of one size. A *mixture* of Gaussians that share one covariance allows any shape,
# the same for all: what is left of the noise stretches every cluster alike. After it, spots may vote: each takes the
# commonest label among those around it.
#
# Exercise 5: a vote
# ------------------
#
# Write ``vote(labels, M)`` with the operator of exercise 2: turn ``labels`` (integers from 0) into one column of zeros
# and ones for each label, average these, and take the label of the largest column.


# %% tags=["answer"]
def vote(labels, M):
    """The commonest label among each spot and its neighbours."""
    ### BEGIN SOLUTION
    shares = M @ np.eye(labels.max() + 1)[labels]
    return shares.argmax(axis=1)
    ### END SOLUTION


# %% tags=["check"] alt="Three maps: domains, what the mixture finds, and the same after the vote"
mixture = GaussianMixture(5, covariance_type="tied", n_init=5, random_state=0).fit_predict(Z)
voted = vote(mixture, M)
assert voted is not None and voted.shape == mixture.shape, "vote returns one label for each spot"
line = averaging(sparse.csr_array(np.diag(np.ones(4), 1) + np.diag(np.ones(4), -1)))
assert vote(np.array([2, 2, 0, 2, 2]), line).tolist() == [2] * 5, "one stray spot among others is outvoted"
assert vote(np.array([0, 0, 1, 1, 1]), line).tolist() == [0, 0, 1, 1, 1], "a border stays where it is"


def strays(labels):
    """Share of neighbours that have another label."""
    return (labels[rows] != labels[columns]).mean()


print(f"neighbours of another label: {strays(mixture):.2f} before the vote, {strays(voted):.2f} after it")
scores = {"k-means": ari_of_kmeans(Z), "mixture": adjusted_rand_score(truth, mixture)}
print({name: round(score, 2) for name, score in {**scores, "vote": adjusted_rand_score(truth, voted)}.items()})
figure = plot_domain_comparison(tissue, truth="label", predictions={"mixture": mixture, "after the vote": voted})

# %% [markdown]
# The vote always makes the map smoother. Whether it makes it *better* is another question: look at both numbers, and
# at the thinnest ring. A smooth map is not yet a right one.
#
# How many domains?
# -----------------
#
# We said 5, since we made the tissue. ``estimate_n_clusters`` guesses, by one of two criteria. "bic" looks for the bend
# in the curve of the likelihood; "stability" asks which partitions come back if half of the spots are left out.

# %% alt="Two curves over the number of domains, one with a bend and one with a peak"
figure, axes = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
for ax, criterion in zip(axes, ("bic", "stability"), strict=True):
    found, curve = estimate_n_clusters(Z, criterion=criterion, random_state=0)
    plot_k_curve(curve, ax)
    ax.set_title(f"{criterion}: {found} domains")

# %% [markdown]
# Exercise 6: and where there is nothing to find?
# -----------------------------------------------
#
# Make a tissue like ours with ``effect=1``, which leaves no signal. Embed it with ``SpatialGraphTransformer`` on 20
# components, and set ``of_nothing`` to a dictionary of the numbers that the two criteria find, with the keys "bic" and
# "stability". Before you run it, write down what each should say.

# %% tags=["answer"]
# of_nothing = {"bic": a number, "stability": a number}
### BEGIN SOLUTION
nothing = make_spatial_domains(SPOTS, n_domains=5, pattern="rings", depth=600, effect=1, random_state=0)
empty = SpatialGraphTransformer(n_components=20).fit_transform(nothing)
of_nothing = {}
for criterion in ("bic", "stability"):
    of_nothing[criterion], _ = estimate_n_clusters(empty, criterion=criterion, random_state=0)
### END SOLUTION

# %% tags=["check"]
assert set(of_nothing) == {"bic", "stability"}, "a number for each of the two criteria"
assert of_nothing["stability"] == 1, "nothing comes back here, so stability should say 1"
assert of_nothing["bic"] > 1, "bic always finds a bend"
print("on a tissue without domains:", of_nothing)

# %% [markdown]
# "bic" answers a question that has no answer. Look at the curve, and not only at the number, before you report one.
#
# A real tissue
# -------------
#
# osmFISH is a slice of mouse cortex: cells in place of spots, and 33 genes. People who know brains have drawn its
# regions, among them the layers of the cortex. (Where the file is neither at hand nor to be downloaded, a simulated
# tissue stands in, and the first line says so.) ``SpaLLMFusion`` with ``strategy="expression"`` is what you have
# written, and a little more: several mixtures, from several starts, that have to agree.

# %% alt="Four maps of a mouse cortex: regions as drawn, k-means on counts, your pipeline, and skst"
try:
    cortex = fetch_osmfish()
except OSError:  # neither in the data home nor to be downloaded
    cortex = make_spatial_domains(SPOTS, n_genes=100, random_state=0)
print(cortex.uns["source"])
regions = cortex.obs["label"].to_numpy()
n_regions = len(set(regions))
M = averaging(spatial_graph(cortex.obsm["spatial"]))
once = M @ profiles(cortex.X.toarray())
Z = reduced((once + M @ once) / 2)
mine = vote(GaussianMixture(n_regions, covariance_type="tied", n_init=3, random_state=0).fit_predict(Z), M)
predictions = {
    "k-means on counts": KMeans(n_regions, n_init=3, random_state=0).fit_predict(cortex.X.toarray()),
    "yours": mine,
    "skst": SpaLLMFusion(n_clusters=n_regions, strategy="expression", random_state=0).fit_predict(cortex),
}
for name, labels in predictions.items():
    print(f"{name}: {adjusted_rand_score(regions, labels):.2f}")
figure = plot_domain_comparison(cortex, truth="label", predictions=predictions)

# %% [markdown]
# What to take home
# -----------------
#
# - Where each row is nearly all noise, what helps is to know which rows belong together, not a better clusterer.
# - An average over a graph is one sparse product. How far to average is a trade of variance against bias.
# - A score by labels is for experiments. So is every choice made by it.
# - A method that chooses a number of clusters chooses one where there are none.
#
# In lesson 2 every gene comes with a text. Does a language model help to find domains?
