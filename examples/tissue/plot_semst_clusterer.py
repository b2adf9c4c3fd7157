"""
Domains from two graphs, text and a likelihood of counts
========================================================

:class:`~skst.SemSTClusterer` sees each spot on a graph of its neighbours in space and on one of spots with like
expression, lets what is written about the spot's genes scale and shift what it sees, and learns without labels by
explaining the counts.
"""

# %%
# STARmap: 1,207 cells and 1,020 genes of mouse visual cortex, with seven annotated layers.  Raw counts go in.  A
# language model reads 500 prompts of ten genes each, and the vectors of all cells are predicted from these.
import matplotlib.pyplot as plt
import pandas as pd

from skst import GeneTextEncoder, SemSTClusterer
from skst.datasets import fetch_starmap, make_spatial_domains
from skst.metrics import score_partition
from skst.plotting import plot_domains

try:
    adata = fetch_starmap()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(1200, n_genes=300, random_state=0)
print(adata.uns["source"])
text = GeneTextEncoder(mode="prompt", k_g=10, max_texts=500, verbose=1)
model = SemSTClusterer(adata.obs["label"].nunique(), text=text, random_state=0, verbose=1).fit(adata)
scores = score_partition(adata.obs["label"], model.labels_)
print(pd.Series(scores)[["ari", "nmi", "acc"]].round(3).to_string())

# %%
# The annotation was not seen; it is drawn beside the domains, with the fall of the training loss of each network.
# The network that begins at averaged expression (0) has less to learn than the one that begins at random (1).
figure, axes = plt.subplots(3, 1, figsize=(8, 7), height_ratios=(1, 1, 1.3), layout="constrained")
plot_domains(adata, "label", ax=axes[0], title="annotated layers")
plot_domains(adata, model.labels_, reference="label", ax=axes[1], title=f"domains found (ARI {scores['ari']:.2f})")
for network, rows in model.history_.groupby("network"):
    axes[2].plot(rows["epoch"], rows["train_loss"], label=f"network {network}")
axes[2].set(xlabel="epoch", ylabel="training loss")
axes[2].legend(frameon=False)
plt.show()
