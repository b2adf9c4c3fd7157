"""
Did the text matter on this tissue?
===================================

A clustering with text may beat one without for reasons that have nothing to do with what the text says.
:func:`skst.inspection.semantic_permutation_test` refits an estimator with the texts dealt out to the wrong genes, with
Gaussian vectors, and with no text, under the same seeds, and tests the differences.
"""

# %%
# Labels are used for one of the scores, never for a fit. Without them, stability and coherence remain. Six replicates
# and k-means keep this short; for a conclusion of your own take at least 20.
import matplotlib.pyplot as plt

from skst import SpaLLMFusion
from skst.datasets import fetch_osmfish, make_spatial_domains
from skst.inspection import semantic_permutation_test
from skst.plotting import plot_text_scores

try:
    adata = fetch_osmfish()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(3000, n_genes=100, random_state=0)
print(adata.uns["source"])
labels = adata.obs["label"]
model = SpaLLMFusion(n_clusters=labels.nunique(), clusterer="kmeans")
result = semantic_permutation_test(model, adata, labels, n_permutations=6, random_state=0, verbose=1)
print(result.summary())

# %%
# A point is one replicate, a bar the mean. If the text matters, its points lie to the right of those of both controls.
figure = plot_text_scores(result.scores)
plt.show()
