"""
An embedding that knows where cells lie
=======================================

:class:`~skst.SpatialGraphTransformer` turns counts and coordinates into a short vector per cell.  It is a
transformer like any other, so that a pipeline with a clusterer of scikit-learn finds tissue domains.
"""

# %%
# The same mixture model with and without the neighbourhood.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skst import SpatialGraphTransformer
from skst.datasets import fetch_osmfish, make_spatial_domains
from skst.plotting import plot_domain_comparison

try:
    adata = fetch_osmfish()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(3000, n_genes=100, random_state=0)
print(adata.uns["source"])
n_clusters = adata.obs["label"].nunique()


def mixture():
    """A fresh mixture, the same for both."""
    return GaussianMixture(n_clusters, covariance_type="tied", n_init=3, random_state=0)


with_place = make_pipeline(SpatialGraphTransformer(method="smooth", random_state=0), mixture())
without_place = make_pipeline(FunctionTransformer(np.sqrt), PCA(20, random_state=0), mixture())

# %%
# An AnnData goes straight into the first pipeline: the first step reads counts and coordinates from it.  The
# second one is plain scikit-learn, and needs the bare matrix.
predictions = {
    "with coordinates": with_place.fit_predict(adata),
    "without": without_place.fit_predict(adata.X.toarray()),
}
plot_domain_comparison(adata, truth="label", predictions=predictions)
plt.show()
