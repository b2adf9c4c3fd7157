"""
A bad slice among good ones
===========================

One slice of four has lost nearly all of its molecules.  Nothing fails, but it spoils the others too: a warning says so,
and is to be heeded.
"""

# %%
# Of slice 3 one count in fifty is left.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import sparse

from skst import SpaLLMFusion
from skst.datasets import make_spatial_domains, mask_counts
from skst.metrics import score_partition
from skst.plotting import plot_domains

adata = make_spatial_domains(3200, n_domains=4, n_slices=4, depth=200, random_state=0)
print(adata.uns["source"])
names = list(adata.obs["batch"].cat.categories)
parts = [adata[adata.obs["batch"] == name].X for name in names]
adata.X = sparse.vstack([*parts[:2], mask_counts(parts[2], 0.98, random_state=0), parts[3]], format="csr")
molecules = pd.Series(np.asarray(adata.X.sum(axis=1)).ravel(), adata.obs_names)
print(molecules.groupby(adata.obs["batch"], observed=True).median())

# %%
# Where spots of a domain come from needs no labels to tell: one that a single slice has to itself is a difference
# between slices, not between places.
all_four = SpaLLMFusion(strategy="expression", n_clusters=4, batch_key="batch", random_state=0).fit(adata)
print(pd.crosstab(adata.obs["batch"], all_four.labels_, colnames=["domain"]))

# %%
# Fitted to the good slices, these are as they should be.  The bad one can be predicted, but counts that are lost stay
# lost.
good = adata[adata.obs["batch"] != "slice3"].copy()
three = SpaLLMFusion(strategy="expression", n_clusters=4, batch_key="batch", random_state=0).fit(good)
print(pd.crosstab(good.obs["batch"], three.labels_, colnames=["domain"]))

figure, axes = plt.subplots(2, 4, figsize=(12, 6.4), layout="constrained")
fits = {"all fitted": all_four.labels_, "without slice 3": three.predict(adata)}
for row, (how, labels) in zip(axes, fits.items(), strict=True):
    for ax, name in zip(row, names, strict=True):
        rows = np.flatnonzero(adata.obs["batch"] == name)
        ari = score_partition(adata.obs["label"].iloc[rows], labels[rows])["ari"]
        palette = dict(enumerate(("#0072B2", "#E69F00", "#009E73", "#D55E00")))
        title = f"{name}, {how}\nARI {ari:.2f}"
        plot_domains(adata[rows], labels[rows], palette=palette, ax=ax, legend=False, title=title)
plt.show()
