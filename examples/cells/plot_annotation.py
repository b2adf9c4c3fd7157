"""
Names for clusters, and how sure they are
=========================================

A cluster is a number.  Its marker genes name it: by overlap with known markers, and by what is written about them
beside what is said of cell types.  ``annotate`` weighs both, says how sure it is, and gives no name where neither
tells.  Where cells are annotated already, the best one-to-one mapping is another way.
"""

# %%
# Clusters of mouse pancreas, found without text; see ``plot_llmdsc_clusterer.py``.
import matplotlib.pyplot as plt
import pandas as pd

from skst import LLMDSCClusterer
from skst.datasets import fetch_baron_mouse, make_spatial_domains
from skst.inspection import annotate, annotate_by_markers, annotate_by_text, best_mapping, marker_genes
from skst.plotting import plot_annotation

try:
    adata = fetch_baron_mouse()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(900, n_genes=300, effect=4, depth=1000, random_state=0)
print(adata.uns["source"])
known = adata.obs["label"].astype(str).to_numpy()
labels = LLMDSCClusterer(len(set(known)), align_to=None, random_state=0).fit_predict(adata)

# %%
# The genes of each cluster, most specific first by Welch's t.
markers = marker_genes(adata, labels)
print(markers[markers["rank"] <= 6].groupby("cluster", observed=True)["gene"].agg(", ".join).to_string())

# %%
# One name each, among all types that ship with the package.  They form a tree: where the evidence does not tell two
# kinds of a type apart, the name is the type.  "confidence" is the chance that the name is true, as measured on other
# data.
found = annotate(markers)
print(found[["cell_type", "confidence", "broader", "runner_up"]].round({"confidence": 2}).to_string())
print(found["genes"].to_string())

# %%
# With the tissue known there are fewer types to take it for.
found = annotate(markers, tissue="pancreas")

# %%
# Its two sources alone, here with the types of the pancreas.  Marker overlap leaves some clusters without a name; text
# names all of them.
by_markers = annotate_by_markers(markers, tissue="pancreas")
by_text = annotate_by_text(markers, tissue="pancreas")

# %%
# The mapping to known labels is one to one.  Of a type that is split, all clusters but one are left with a name that
# few of their cells have, or none ("share").
mapped = best_mapping(labels, known)
print(mapped.to_string())

# %%
# The control gives each gene the description of another.  Its names are wrong, and the margins between its first and
# second choice are about as wide as those of the text: a margin tells which names are close calls, not which are true.
permuted = annotate_by_text(markers, tissue="pancreas", control="permuted", random_state=0)
names = {"both": found, "markers": by_markers, "text": by_text, "best mapping": mapped, "permuted text": permuted}
print(pd.DataFrame({way: table["cell_type"] for way, table in names.items()}).to_string())
print(pd.DataFrame({"text": by_text["margin"], "permuted text": permuted["margin"]}).round(3).to_string())

# %%
# Bands are cells, from the annotation through the clusters to the names.
figure = plt.figure(figsize=(11, 6.5))
ax = figure.add_axes((0.14, 0.05, 0.66, 0.88))
plot_annotation(labels, {"annotation": known, "both": found, "markers": by_markers, "text": by_text}, ax=ax)
plt.show()
