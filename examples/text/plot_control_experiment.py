"""
The control experiment
======================

Text alone finds the domains of this tissue.  Is it the text?  Deal the descriptions out to the wrong genes, and see
whether it matters *what* is written.
"""

# %%
# Three simulated domains.  Each spot is the sum of the vectors of its genes, weighted by their counts, and nothing else
# is partitioned.
import matplotlib.pyplot as plt

from skst import GeneTextEncoder, SpaLLMFusion
from skst.datasets import make_spatial_domains
from skst.metrics import score_partition
from skst.plotting import plot_domain_comparison

adata = make_spatial_domains(1500, n_genes=150, n_domains=3, depth=12, effect=3, random_state=0)
print(adata.uns["source"])
predictions, scores = {}, {}
for name, control in {"right text": None, "permuted text": "permuted", "Gaussian": "gaussian"}.items():
    for seed in range(4):
        text = GeneTextEncoder(control=control, random_state=seed)
        model = SpaLLMFusion(text=text, strategy="functional", n_clusters=3, random_state=seed)
        predictions[name] = model.fit_predict(adata)
        scores.setdefault(name, []).append(score_partition(adata.obs["label"], predictions[name])["ari"])

plot_domain_comparison(adata, truth="label", predictions=predictions)

# %%
# A point is a seed.  Descriptions of other genes, and noise, find the domains too: any vectors, summed by the counts,
# are a projection of the counts, and it is these that know the domains.  A score of "text" without this figure beside
# it says nothing about text.
figure, ax = plt.subplots(figsize=(6, 2.2), layout="constrained")
for row, values in enumerate(scores.values()):
    ax.scatter(values, [row] * len(values), s=50, alpha=0.7)
ax.set_yticks(range(len(scores)), scores)
ax.invert_yaxis()
ax.set(xlabel="adjusted Rand index", xlim=(0.8, 1))
plt.show()
