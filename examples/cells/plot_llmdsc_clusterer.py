"""
Cell types from autoencoders and a graph cut
============================================

:class:`~skst.LLMDSCClusterer` needs no coordinates.  A few small autoencoders look at the counts, each through genes
chosen in another way; a normalised cut of the graph of cells, which is never built, pulls cells alike together; text
follows what they find.
"""

# %%
# Mouse pancreas: 1,886 cells and 14,878 genes of two mice, with 13 annotated types.  By default a language model
# also reads rankings of the genes of many cells, which takes longer than the training; here it reads the descriptions
# of 500 genes once, and a cell has the weighted sum of them.
import matplotlib.pyplot as plt
import pandas as pd
from sklearn.manifold import TSNE

from skst import GeneTextEncoder, LLMDSCClusterer
from skst.datasets import fetch_baron_mouse, make_spatial_domains
from skst.metrics import score_partition
from skst.plotting import plot_domains

try:
    adata = fetch_baron_mouse()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(900, n_genes=300, effect=4, depth=1000, random_state=0)
print(adata.uns["source"])
known = adata.obs["label"]
text = GeneTextEncoder(mode="aggregate", n_top_genes=500)
model = LLMDSCClusterer(known.nunique(), text=text, random_state=0).fit(adata)
scores = score_partition(known, model.labels_)
print(pd.Series(scores)[["ari", "nmi", "acc", "macro_f1"]].round(3).to_string())

# %%
# An ARI this high hides the rare types.  Each row of the table is a type: some of the rarest share a cluster, while
# common ones fill several.
table = pd.crosstab(known, model.labels_)
print(table.loc[known.value_counts().index].to_string())

# %%
# The map is only for looking at: t-SNE of the embedding that was partitioned.  Clusters take the colour of the type
# that they overlap most, one to one.  Below are the losses of the first network.  In the second stage, right of the
# line, text joins, and cells are drawn towards their cluster.  Chance is an alignment of log(1,024) = 6.9; the text
# begins below it, as a linear prediction of the embedding.
figure = plt.figure(figsize=(10, 7.5), layout="constrained")
top, bottom = figure.subfigures(2, 1, height_ratios=(2, 1))
axes = top.subplots(1, 2)
places = TSNE(random_state=0).fit_transform(model.embedding_)
plot_domains(places, known, ax=axes[0], spot_size=6, title="annotated types")
found = f"clusters found (ARI {scores['ari']:.2f})"
plot_domains(places, model.labels_, reference=known, ax=axes[1], spot_size=6, title=found)
rows = model.history_[model.history_["network"] == 0].reset_index(drop=True)
terms = ["mse", "cut", "alignment", "kl"]
for ax, term in zip(bottom.subplots(1, len(terms)), terms, strict=True):
    ax.plot(rows[term])
    ax.axvline(rows["stage"].eq(1).sum(), color="0.7", linewidth=0.8)
    ax.set(title=term, xlabel="epoch of both stages", xlim=(0, len(rows)))
plt.show()
