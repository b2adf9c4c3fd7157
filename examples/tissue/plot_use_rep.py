"""
An embedding from elsewhere
===========================

``use_rep`` reads columns of ``obsm`` in place of counts: what scVI or Harmony made, proteins, or features of an image.
They are averaged over neighbours and partitioned.
"""

# %%
# Plain principal components stand for such an embedding here.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from skst import SpaLLMFusion, SpatialGraphTransformer
from skst.datasets import fetch_osmfish, make_spatial_domains
from skst.plotting import plot_domain_comparison

try:
    adata = fetch_osmfish()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(3000, n_genes=100, random_state=0)
print(adata.uns["source"])
k = adata.obs["label"].nunique()
adata.obsm["X_other"] = PCA(20, random_state=0).fit_transform(np.log1p(adata.X.toarray()))

# %%
# The same columns without and with the neighbourhood.
spatial = SpatialGraphTransformer(use_rep="X_other")
model = SpaLLMFusion(spatial, strategy="expression", n_clusters=k, random_state=0).fit(adata)
predictions = {
    "k-means of the columns": KMeans(k, n_init=3, random_state=0).fit_predict(adata.obsm["X_other"]),
    "use_rep": model.labels_,
}
plot_domain_comparison(adata, truth="label", predictions=predictions)
plt.show()
