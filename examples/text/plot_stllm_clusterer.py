"""
A tissue told in words, on a graph that is learnt
=================================================

:class:`~skst.STLLMClusterer` writes about each spot, its neighbourhood and its region, has a language model read the
texts, and adds what comes of it to the averaged expression.  Here the graph is learnt too.
"""

# %%
# STARmap: 1,207 cells and 1,020 genes of mouse visual cortex, with seven annotated layers.  Raw counts go in.  The
# first time, the model reads some 2,400 texts, which takes a minute or two; after that they are in the cache.
import matplotlib.pyplot as plt
import pandas as pd

from skst import STLLMClusterer
from skst.datasets import fetch_starmap, make_spatial_domains
from skst.metrics import score_partition
from skst.plotting import plot_domains

try:
    adata = fetch_starmap()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(1200, n_genes=300, random_state=0)
print(adata.uns["source"])
model = STLLMClusterer(adata.obs["label"].nunique(), graph="learned", random_state=0, verbose=1).fit(adata)
scores = score_partition(adata.obs["label"], model.labels_)
print(pd.Series(scores)[["ari", "nmi", "acc"]].round(3).to_string())
print(model.text_report_)

# %%
# What the model reads of one spot, and what is told of the domains that were found: a table, and in full the text of
# the largest.  Its numbers of regions are those of the column "name".
print(model.describe(100))
columns = ["domain", "name", "n_spots", "place", "markers"]
print(model.domains_[columns].to_string(index=False, max_colwidth=50))
print(model.domains_["text"].iloc[0])

# %%
# The annotation was not seen; it is drawn beside the domains.
figure, axes = plt.subplots(2, 1, figsize=(8, 4.5), layout="constrained")
plot_domains(adata, "label", ax=axes[0], title="annotated layers")
plot_domains(adata, model.labels_, reference="label", ax=axes[1], title=f"domains found (ARI {scores['ari']:.2f})")

# %%
# What the graph gained in training, term by term.  It begins with the nearest cells as neighbours.
terms = ("reward", "modularity", "agreement")
figure, axes = plt.subplots(1, len(terms), figsize=(8, 2.5), layout="constrained")
for ax, term in zip(axes, terms, strict=True):
    ax.plot(model.history_["epoch"], model.history_[term])
    ax.set(title=term, xlabel="epoch")
plt.show()
