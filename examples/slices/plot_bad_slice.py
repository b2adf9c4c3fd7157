"""
A bad slice among good ones
===========================

One slice of four has lost nearly all of its molecules.  Nothing fails, and that is the danger: look at each slice
before you believe all.
"""

# %%
# Of slice 3 one molecule in fifty is left.
import matplotlib.pyplot as plt
import numpy as np

from skst import SpaLLMFusion
from skst.datasets import make_spatial_domains, mask_counts
from skst.metrics import pas_score, score_partition
from skst.plotting import plot_domains

adata = make_spatial_domains(3200, n_domains=4, n_slices=4, depth=200, random_state=0)
print(adata.uns["source"])
X = adata.X.tolil()
bad = np.flatnonzero(adata.obs["batch"] == "slice3")
X[bad] = mask_counts(adata.X[bad], 0.98, random_state=0)
adata.X = X.tocsr()

# %%
# Molecules and PAS (the share of spots among neighbours of other domains) need no labels, and both point at it.
model = SpaLLMFusion(strategy="expression", n_clusters=4, batch_key="batch", random_state=0).fit(adata)
adata.obs["domain"] = model.labels_
for name, part in adata.obs.groupby("batch", observed=True):
    rows = adata.obs_names.get_indexer(part.index)
    molecules = np.median(np.asarray(adata.X[rows].sum(axis=1)))
    pas = pas_score(part["domain"], adata.obsm["spatial"][rows])
    ari = score_partition(part["label"], part["domain"])["ari"]
    print(f"{name}: {molecules:4.0f} molecules a spot, PAS {pas:.2f}, ARI {ari:.2f}")

# %%
# Fitted to the good slices alone, the model can still predict the bad one; what it says of it is as weak.
good = adata[adata.obs["batch"] != "slice3"].copy()
alone = SpaLLMFusion(strategy="expression", n_clusters=4, batch_key="batch", random_state=0).fit(good)
figure, axes = plt.subplots(2, 4, figsize=(12, 6), layout="constrained")
for row, labels in zip(axes, (model.labels_, alone.predict(adata)), strict=True):
    for ax, name in zip(row, ("slice1", "slice2", "slice3", "slice4"), strict=True):
        rows = np.flatnonzero(adata.obs["batch"] == name)
        part = adata[rows]
        ari = score_partition(part.obs["label"], labels[rows])["ari"]
        how = "all fitted" if row is axes[0] else "slice 3 predicted"
        title = f"{name}, {how}\nARI {ari:.2f}"
        plot_domains(part, labels[rows], reference="label", ax=ax, legend=False, title=title)
plt.show()
