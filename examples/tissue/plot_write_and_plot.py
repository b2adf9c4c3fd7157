"""
Writing back, and what the domains consist of
=============================================

``write`` puts domains, their colours and the embedding where scanpy and squidpy look for them.  Marker genes and shares
of types then follow from the columns of the AnnData.
"""

# %%
# A slice whose cells have types: eight, mixed in each of five domains.
import matplotlib.pyplot as plt
import pandas as pd

from skst import SpaLLMFusion
from skst.datasets import make_spatial_domains
from skst.inspection import marker_genes
from skst.plotting import PALETTE, plot_domains

adata = make_spatial_domains(2000, n_domains=5, n_cell_types=8, depth=800, random_state=3)
print(adata.uns["source"])
SpaLLMFusion(n_clusters=5, random_state=0).fit(adata).write(adata)
print(adata)

# %%
# The genes of each domain, most specific first.
markers = marker_genes(adata, "domain")
print(markers[markers["rank"] <= 5].groupby("cluster", observed=True)["gene"].agg(", ".join))

# %%
# Domains on the tissue, and the types in each.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
plot_domains(adata, "domain", palette=adata.uns["domain_colors"], ax=left, title="domains")
shares = pd.crosstab(adata.obs["domain"], adata.obs["cell_type"], normalize="index")
shares.plot.barh(stacked=True, ax=right, width=0.85, color=PALETTE, title="types of cells in each")
right.invert_yaxis()
right.set(xlabel="share of cells", ylabel="domain")
right.legend(bbox_to_anchor=(1, 1), frameon=False, fontsize="small")
plt.show()
