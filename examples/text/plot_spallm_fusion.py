"""
Does the text help? Two controls
================================

:class:`~skst.SpaLLMFusion` adds an embedding of gene descriptions to one of expression and place.  If the
score goes up, that need not be the text: any extra block of numbers changes a clustering.  So the same fusion
is run with two controls: the descriptions dealt out to the wrong genes, and Gaussian noise of the same size.
Text has helped only if it beats both.
"""

# %%
# Every variant is repeated with several seeds, as one run of a clustering is a sample of one.
import matplotlib.pyplot as plt
import pandas as pd

from skst import GeneTextEncoder, SpaLLMFusion
from skst.datasets import fetch_osmfish, make_spatial_domains
from skst.metrics import score_partition

try:
    adata = fetch_osmfish()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(3000, n_genes=100, random_state=0)
print(adata.uns["source"])
n_clusters = adata.obs["label"].nunique()


def fusion(text_control, strategy, seed):
    """One variant; `control` makes the vectors of the genes wrong on purpose."""
    text = GeneTextEncoder(control=text_control, random_state=seed)
    return SpaLLMFusion(text=text, strategy=strategy, n_clusters=n_clusters, random_state=seed)


variants = {
    "expression alone": (None, "expression"),
    "text, weighted": (None, "weighted"),
    "permuted text, weighted": ("permuted", "weighted"),
    "Gaussian, weighted": ("gaussian", "weighted"),
    "text alone": (None, "functional"),
}
rows = []
for name, (control, strategy) in variants.items():
    for seed in range(3):
        labels = fusion(control, strategy, seed).fit_predict(adata)
        rows.append({"variant": name, "seed": seed} | score_partition(adata.obs["label"], labels))
scores = pd.DataFrame(rows)
print(scores.groupby("variant", sort=False)[["ari", "nmi", "acc"]].agg(["mean", "std"]).round(3))

# %%
# One point per seed.
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.scatter(scores["ari"], scores["variant"], alpha=0.7)
ax.invert_yaxis()
ax.set_xlabel("adjusted Rand index against the annotated regions")
plt.show()
