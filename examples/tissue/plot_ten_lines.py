"""
Domains in ten lines
====================

Counts and places go in, a domain for each spot comes out.  This is all of it, on a simulated tissue whose domains are
known.
"""

# %%
# ``adata`` is an AnnData of raw counts with places in ``obsm["spatial"]``; yours goes in its place.
import matplotlib.pyplot as plt

from skst import SpaLLMFusion
from skst.datasets import make_spatial_domains
from skst.plotting import plot_domain_comparison

adata = make_spatial_domains(2000, n_domains=5, pattern="rings", random_state=0)
print(adata.uns["source"])
model = SpaLLMFusion(n_clusters=5, random_state=0).fit(adata)
plot_domain_comparison(adata, truth="label", predictions={"found": model.labels_}, micrometers=1)
plt.show()
