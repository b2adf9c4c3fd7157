"""
A text model of your own
========================

``model`` takes any object with an ``encode`` that turns a list of texts into vectors: a model that is not on a hub, a
lookup, or, as here, a count of words.
"""

# %%
# A few words, and how often each stands in a description.
import matplotlib.pyplot as plt
import numpy as np

from skst import GeneTextEncoder, SpaLLMFusion
from skst.datasets import make_spatial_domains
from skst.plotting import plot_domain_comparison

WORDS = (
    "myelin neuron synapse receptor channel immune antigen cytokine adhesion matrix collagen keratin muscle actin "
    "vessel growth hormone insulin kinase transcription factor DNA repair mitochondrial transport membrane secreted "
    "enzyme signaling"
).split()


class WordCount:
    """Texts as counts of a few words."""

    def encode(self, texts):
        return np.array([[text.lower().count(word.lower()) for word in WORDS] for text in texts], dtype=np.float32)


adata = make_spatial_domains(1500, n_domains=4, random_state=0)
print(adata.uns["source"])
encoder = GeneTextEncoder(model=WordCount()).fit(adata)

# %%
# What it says of the genes that mark the domains.
chosen = [np.flatnonzero(adata.var["programme"] == f"domain{number}")[:8] for number in range(1, 5)]
rows = np.concatenate(chosen)
figure, ax = plt.subplots(figsize=(9, 6), layout="constrained")
ax.imshow(np.sqrt(encoder.gene_vectors_[rows]), cmap="Blues", aspect="auto")
ax.set_xticks(range(len(WORDS)), WORDS, rotation=90)
ax.set_yticks(range(len(rows)), adata.var_names[rows], fontsize=7)
ax.hlines(np.cumsum([len(part) for part in chosen])[:-1] - 0.5, -0.5, len(WORDS) - 0.5, color="black", linewidth=0.8)
ax.set_title("words in the descriptions of eight marker genes of each domain")

# %%
# And the domains that it finds with no help of expression but through these words.
model = SpaLLMFusion(text=GeneTextEncoder(model=WordCount()), strategy="functional", n_clusters=4, random_state=0)
plot_domain_comparison(adata, truth="label", predictions={"counts of words": model.fit_predict(adata)})
plt.show()
