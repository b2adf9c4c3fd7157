"""
Several slices, and one that was not seen
=========================================

Slices of one tissue share their domains.  No edge of the graph joins two of them, and a slice that comes later is
predicted.
"""

# %%
# Four slices that differ in shape and depth; the last one is kept back.
import matplotlib.pyplot as plt

from skst import SpaLLMFusion
from skst.datasets import make_spatial_domains
from skst.metrics import score_partition
from skst.plotting import plot_domains

adata = make_spatial_domains(4000, n_domains=5, n_slices=4, random_state=2)
print(adata.uns["source"])
unseen = adata.obs["batch"] == "slice4"
train, test = adata[~unseen].copy(), adata[unseen].copy()
model = SpaLLMFusion(n_clusters=5, batch_key="batch", random_state=0).fit(train)
model.write(train)
model.write(test)
print(f"ARI of the slice that was not fitted: {score_partition(test.obs['label'], test.obs['domain'])['ari']:.2f}")

# %%
# One palette, so that a domain has one colour on all slices.
figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
parts = [train[train.obs["batch"] == name] for name in ("slice1", "slice2", "slice3")]
for ax, part, name in zip(axes, [*parts, test], ("slice 1", "slice 2", "slice 3", "slice 4, predicted"), strict=True):
    colours = dict(zip(part.obs["domain"].cat.categories, train.uns["domain_colors"], strict=False))
    plot_domains(part, "domain", palette=colours, ax=ax, title=name, legend=False)
plt.show()
