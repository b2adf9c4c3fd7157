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
from skst.metrics import score_mixing, score_partition
from skst.plotting import plot_slices

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

adata.obs["all fitted"], adata.obs["without slice 3"] = all_four.labels_, three.predict(adata)
for how in ("all fitted", "without slice 3"):
    scores = [score_partition(part["label"], part[how])["ari"] for _, part in adata.obs.groupby("batch", observed=True)]
    print(how, dict(zip(names, np.round(scores, 2).tolist(), strict=True)))

# %%
# One palette for all: the domains of the second row have the colours of those of the first that they match best.
plot_slices(adata, {how: how for how in ("all fitted", "without slice 3")}, reference="label")
plt.show()

# %%
# Scores of how slices mix do not tell the good fit from the spoilt one: good slices, too, are told apart within a
# domain, far from what chance would give, and yet have the same domains.  Look at domains by slices first.
for how, model, data in (("four slices", all_four, adata), ("three slices", three, good)):
    scores = score_mixing(model.embedding_, data.obs["batch"], data.obs["label"], random_state=0)
    print(how, {name: round(score, 2) for name, score in scores.items()})
