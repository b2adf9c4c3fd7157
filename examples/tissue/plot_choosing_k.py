"""
How many domains?
=================

``n_clusters`` is the one number that no method can know.  Two criteria make a guess, and their curves say how good the
guess is.
"""

# %%
# A simulated tissue of six domains.  Left out, the number is estimated by "bic": where the likelihood stops rising
# fast.
import matplotlib.pyplot as plt

from skst import SpaLLMFusion
from skst.datasets import make_spatial_domains
from skst.partition import estimate_n_clusters
from skst.plotting import plot_domains, plot_k_curve

adata = make_spatial_domains(1500, n_domains=6, random_state=1)
print(adata.uns["source"])
model = SpaLLMFusion(strategy="expression", random_state=0).fit(adata)
print(f"by bic: {model.n_clusters_} domains")

# %%
# "stability" asks which partitions repeat from one half of the spots to the other.
found, curve = estimate_n_clusters(model.embedding_, criterion="stability", random_state=0)
print(f"by stability: {found} domains")

# %%
# Look at the curves before you report a number.  A sharp bend or one high peak is an answer; a smooth bend is none.
figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained", width_ratios=(1, 1, 1.1))
plot_k_curve(model, axes[0])
axes[0].set_title("bic")
plot_k_curve(curve, axes[1])
axes[1].set_title("stability")
plot_domains(adata, model.labels_, reference="label", ax=axes[2], title=f"{model.n_clusters_} domains")
plt.show()
