"""
Names for clusters, in three ways
=================================

A cluster is a number.  Its marker genes name it in two ways: by overlap with known markers, which can say that it does
not know, and by text, which compares what is written about the genes with what is said of cell types.  Where cells are
annotated already, the best one-to-one mapping is the third.
"""

# %%
# Clusters of mouse pancreas, found without text; see ``plot_llmdsc_clusterer.py``.
import matplotlib.pyplot as plt
import pandas as pd

from skst import LLMDSCClusterer
from skst.datasets import fetch_baron_mouse, make_spatial_domains
from skst.inspection import annotate_by_markers, annotate_by_text, best_mapping, marker_genes
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
# Both ways use the cell types that ship with the package, here those of the pancreas.  Marker overlap leaves some
# clusters without a name; text names all of them.
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
names = {"markers": by_markers, "text": by_text, "best mapping": mapped, "permuted text": permuted}
print(pd.DataFrame({way: table["cell_type"] for way, table in names.items()}).to_string())
print(pd.DataFrame({"text": by_text["margin"], "permuted text": permuted["margin"]}).round(3).to_string())

# %%
# Bands are cells, from the annotation through the clusters to the names.
figure = plt.figure(figsize=(11, 6.5))
ax = figure.add_axes((0.14, 0.05, 0.66, 0.88))
plot_annotation(labels, {"annotation": known, "markers": by_markers, "text": by_text}, ax=ax)
plt.show()
