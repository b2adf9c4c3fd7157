"""
The control experiment, on paper first
======================================

Does it matter *what* is written about a gene?  Deal the descriptions out to the wrong genes and see.  Here the answer
is known: the tissue is simulated so that related genes mark the same domain, and counts are few.
"""

# %%
# Three domains, 150 genes, and 12 molecules a spot.  Text alone is partitioned, so that nothing else can help.
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

# %%
# One draw says little: a point is a seed.
figure, ax = plt.subplots(figsize=(6, 2.2), layout="constrained")
for row, values in enumerate(scores.values()):
    ax.scatter(values, [row] * len(values), s=50, alpha=0.7)
ax.set_yticks(range(len(scores)), scores)
ax.invert_yaxis()
ax.set(xlabel="adjusted Rand index", xlim=(-0.05, 1.05))

# %%
# The last draw of each, on the tissue.
plot_domain_comparison(adata, truth="label", predictions=predictions)
plt.show()
