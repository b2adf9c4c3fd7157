"""
What the text does to each cell
===============================

A :class:`~skst.SemSTClusterer` scales (alpha) and shifts (beta) the features of each cell by factors made from its
text.  The factors are kept, can be drawn on the tissue, and go with genes.
"""

# %%
# Two networks that begin at averaged expression, so that 0 means "as expression has it".
import matplotlib.pyplot as plt

from skst import GeneTextEncoder, SemSTClusterer
from skst.datasets import fetch_starmap, make_spatial_domains
from skst.inspection import modulation_genes, modulation_report
from skst.plotting import plot_modulation
from skst.settings import GraphNetwork

try:
    adata = fetch_starmap()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(1200, n_genes=300, random_state=0)
print(adata.uns["source"])
text = GeneTextEncoder(mode="prompt", k_g=10, max_texts=500)
network = GraphNetwork(start="averaged")
model = SemSTClusterer(adata.obs["label"].nunique(), text=text, network=network, random_state=0).fit(adata)
alpha, beta = model.modulation_

# %%
# Factors that are the same in all cells carry nothing of what the text says about any of them; the report warns if most
# are.
report = modulation_report(alpha, beta)
print(report.sort_values("share", ascending=False).head(6).round(3))

# %%
# The four shifts that vary most, and the genes whose expression goes with them.  All four follow one contrast, of
# astrocytes (Slc1a3, Glul, Atp1a2) against neurons (Pcsk2, Cadps2, Lamp5).  That genes go with a factor does not show
# that the model knew what they do: with permuted genes (``control="permuted"``) texts differ between cells as well.
leading = report["beta_sd"].nlargest(4).index
found = modulation_genes(beta[:, leading], adata, n_top=5).genes
found["dimension"] = leading[found["dimension"]]
print(found.groupby(["dimension", "direction"], sort=False)["gene"].agg(", ".join).to_string())

figure = plot_modulation(adata, beta, n_factors=4, name="beta")
plt.show()
