"""
What a language model says of 33 genes
======================================

:class:`~skst.GeneTextEncoder` reads a short description of every gene, turns it into a vector, and carries
the vectors over to cells.  Here we look at the vectors themselves: which genes does the text call alike, and
are those the genes that a real tissue expresses together?
"""

# %%
# Counts of 33 genes in a slice of mouse cortex.  Fitting matches gene names to descriptions and encodes each
# text once.
import matplotlib.pyplot as plt
import numpy as np

from skst import GeneTextEncoder
from skst.datasets import fetch_osmfish, make_spatial_domains

try:
    adata = fetch_osmfish()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(3000, n_genes=100, random_state=0)
print(adata.uns["source"])
encoder = GeneTextEncoder(random_state=0).fit(adata)
print(encoder.gene_report_.head())

# %%
# Cosine of two genes' vectors beside the correlation of their expression.  Both are centred first: raw text
# vectors share a large common part, which says no more than that all texts are about genes.  Counts are
# divided by their sum over the cell, or all genes would go together with the size of cells.
vectors = encoder.gene_vectors_ - encoder.gene_vectors_.mean(axis=0)
vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
by_text = vectors @ vectors.T
counts = adata.X.toarray()
shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
by_expression = np.corrcoef(np.sqrt(shares), rowvar=False)

# %%
# Genes in one order for both panels, that of their strongest axis in the text.
order = np.argsort(np.linalg.svd(vectors)[0][:, 0])
genes = adata.var_names[order]
figure, axes = plt.subplots(1, 2, figsize=(13, 6), layout="constrained")
for ax, matrix, title in zip(axes, (by_text, by_expression), ("text", "expression"), strict=True):
    image = ax.imshow(matrix[np.ix_(order, order)], cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set_title(f"similarity of genes by {title}")
    ax.set_xticks(range(len(genes)), genes, rotation=90, fontsize=7)
    ax.set_yticks(range(len(genes)), genes, fontsize=7)
figure.colorbar(image, ax=axes, shrink=0.7)

# %%
# How much the two have in common, over pairs of different genes.  A correlation near zero means that text
# brings knowledge that the counts do not hold, or none that matters here; the other examples tell which.
pairs = np.triu_indices(len(genes), k=1)
print("correlation of text and expression:", np.corrcoef(by_text[pairs], by_expression[pairs])[0, 1].round(3))
plt.show()
