"""
Five ways to see a tissue
=========================

:class:`~skst.SpatialGraphTransformer` averages expression over neighbours by default, or trains one of four published
graph networks.  All are followed by the same partition here, on a slice of mouse visual cortex (STARmap).
"""

# %%
# Each name stands for an encoder with its default settings; the number of layers is given, the annotation is not.
import time

import matplotlib.pyplot as plt

from skst import SpatialGraphTransformer
from skst.datasets import fetch_starmap, make_spatial_domains
from skst.metrics import score_partition
from skst.partition import make_clusterer
from skst.plotting import plot_domain_comparison

try:
    adata = fetch_starmap()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(1200, n_genes=300, random_state=0)
print(adata.uns["source"])
n_clusters = adata.obs["label"].nunique()

predictions, models = {}, {}
for method in ("smooth", "stagate", "graphst", "spaceflow", "stcluster"):
    start = time.perf_counter()
    model = SpatialGraphTransformer(method, random_state=0).fit(adata)
    seconds = time.perf_counter() - start
    labels = make_clusterer("mixture", n_clusters, random_state=0).fit_predict(model.embedding_)
    ari = score_partition(adata.obs["label"], labels)["ari"]
    print(f"{method:10} ARI {ari:.2f}, {seconds:.1f} s")
    predictions[method], models[method] = labels, model

plot_domain_comparison(adata, truth="label", predictions=predictions)

# %%
# Settings of a method go with its object.  Losses are in ``history_``: here those of an encoder that trains on.
from skst.embedding.encoders import GraphST  # noqa: E402

longer = SpatialGraphTransformer(GraphST(max_epochs=600), random_state=0).fit(adata)
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
for term in ("reconstruction", "contrast"):
    axis.plot(longer.history_["epoch"], longer.history_[term], label=term)
axis.set(xlabel="epoch", ylabel="loss", title="GraphST")
axis.set_ylim(bottom=0)
axis.legend(frameon=False)
plt.show()
