"""
Coarse and fine domains of one fit
==================================

Separate fits of four and of eight domains cross each other's borders.  ``domains_at`` joins the domains of one fit, so
that each coarse domain is a union of fine ones.
"""

# %%
# A slice of human cortex, or a simulated one where that is out of reach.
import matplotlib.pyplot as plt
import pandas as pd

from skst import SpaLLMFusion
from skst.datasets import fetch_dlpfc, make_spatial_domains
from skst.plotting import plot_domains

try:
    adata = fetch_dlpfc("151673")
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(3000, n_domains=8, random_state=0)
print(adata.uns["source"])
model = SpaLLMFusion(strategy="expression", n_clusters=8, random_state=0).fit(adata)

# %%
# Three resolutions of one fit.
figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
for ax, k in zip(axes, (2, 4, 8), strict=True):
    plot_domains(adata, model.domains_at(k), reference=model.labels_, ax=ax, title=f"{k} domains")

# %%
# Each row has its spots in one column: no fine domain is cut.
print(pd.crosstab(model.labels_, model.domains_at(4), rownames=["of 8"], colnames=["of 4"]))
plt.show()
