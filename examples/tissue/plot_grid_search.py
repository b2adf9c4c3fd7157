"""
Choosing settings with a grid search
====================================

:class:`~sklearn.model_selection.GridSearchCV` searches the settings of a clusterer of skst as of any
estimator.  Two pieces adapt it to tissue: :class:`~skst.model_selection.NoSplit`, as the slice that is
clustered is the slice that is scored, and :func:`~skst.model_selection.labels_scorer`, which ignores spots
without annotation.
"""

# %%
# `memory` keeps the two embeddings, so that every further pair of weights costs a partition and nothing else.
import tempfile

import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV

from skst import SpaLLMFusion
from skst.datasets import fetch_osmfish, make_spatial_domains
from skst.model_selection import NoSplit, labels_scorer

try:
    adata = fetch_osmfish()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(3000, n_genes=100, random_state=0)
print(adata.uns["source"])
with tempfile.TemporaryDirectory() as memory:
    search = GridSearchCV(
        SpaLLMFusion(n_clusters=adata.obs["label"].nunique(), memory=memory, random_state=0),
        {"alpha": [0.5, 1.0], "beta": [0.0, 0.1, 0.3, 1.0]},
        cv=NoSplit(),
        scoring=labels_scorer("ari"),
        error_score="raise",
    )
    search.fit(adata, adata.obs["label"])
print(search.best_params_, round(search.best_score_, 3))

# %%
# The search used the annotation, so its best score is an upper bound for this slice, and no estimate for
# another.  For that hold out whole slices: ``cv=GroupKFold()``, ``groups=adata.obs["batch"]`` and
# :func:`~skst.model_selection.predict_scorer`.
figure, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
results = search.cv_results_
for alpha in sorted(set(results["param_alpha"])):
    chosen = results["param_alpha"] == alpha
    ax.plot(results["param_beta"][chosen], results["mean_test_score"][chosen], marker="o", label=f"alpha = {alpha:g}")
ax.set_xlabel("beta, the weight of the text")
ax.set_ylabel("adjusted Rand index")
ax.legend()
plt.show()
