"""
Types of cells or domains of tissue?
====================================

A slice of single cells can be cut in two ways: by what each cell is, or by where it is.  ``spatial_weight`` of
:class:`~skst.SpatialGraphTransformer` goes from the one to the other, and the numbers of domains can be cut down later
without a new fit.
"""

# %%
# STARmap: 1,207 cells of mouse visual cortex, of which both are known, 16 types and 7 domains.
import matplotlib.pyplot as plt
from sklearn.metrics import adjusted_rand_score

from skst import SpaLLMFusion
from skst.datasets import fetch_starmap, make_spatial_domains
from skst.plotting import plot_domains

try:
    adata = fetch_starmap()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(1200, n_genes=300, n_domains=7, n_cell_types=16, depth=1000, random_state=0)
print(adata.uns["source"])
model = SpaLLMFusion(strategy="expression", n_clusters=7, random_state=0)
domains = model.fit_predict(adata)
cells = SpaLLMFusion(strategy="expression", n_clusters=16, random_state=0)
types = cells.set_params(spatial__spatial_weight=0.2).fit_predict(adata)
for name, labels in (("domains", domains), ("types", types)):
    truths = {column: adjusted_rand_score(adata.obs[column], labels) for column in ("label", "cell_type")}
    print(f"{name}: {truths['label']:.2f} with domains, {truths['cell_type']:.2f} with types (adjusted Rand index)")

# %%
# Four domains, each a union of the seven.
figure, axes = plt.subplots(3, 1, figsize=(9, 8), layout="constrained")
titles = ("7 domains", "4 domains, joined of the 7", "16 types of cells in place")
for ax, labels, title in zip(axes, (domains, model.domains_at(4), types), titles, strict=True):
    plot_domains(adata, labels, ax=ax)
    ax.set_title(title)
plt.show()
