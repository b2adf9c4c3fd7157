"""
Ten slices in files
===================

A tissue of many slices need not fit into memory: a list of files is read one slice at a time.
"""

# %%
# Ten slices of 3,000 spots, written one by one.  Yours are ``.h5ad`` or ``.zarr`` with places in ``obsm["spatial"]``.
import tempfile

import anndata as ad
import matplotlib.pyplot as plt

from skst import SpaLLMFusion
from skst.datasets import make_spatial_domains
from skst.metrics import score_partition
from skst.plotting import plot_domains

folder = tempfile.TemporaryDirectory()
paths = make_spatial_domains(30_000, n_slices=10, n_domains=5, n_genes=100, random_state=0, to=folder.name)
print(f"{len(paths)} files, the first of {paths[0].stat().st_size / 2**20:.1f} MiB")

# %%
# ``fit`` and ``predict`` take the list; results of ``predict`` are one array a slice.
model = SpaLLMFusion(strategy="expression", n_clusters=5, random_state=0).fit(paths)
domains = model.predict(paths)
print(f"the files were read {model.spatial_.n_passes_} times")

# %%
# All ten, in one set of colours.
figure, axes = plt.subplots(2, 5, figsize=(13, 5.8), layout="constrained")
colours = dict(enumerate(plt.get_cmap("tab10").colors))
for ax, path, labels in zip(axes.flat, paths, domains, strict=True):
    adata = ad.read_h5ad(path)
    ari = score_partition(adata.obs["label"], labels)["ari"]
    plot_domains(adata, labels, palette=colours, ax=ax, legend=False, title=f"{path.stem}, ARI {ari:.2f}")
folder.cleanup()
plt.show()
