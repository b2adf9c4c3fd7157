"""
A network of one's own on the graph of a tissue
===============================================

:func:`~skst.graph.to_pyg` hands a tissue to torch-geometric.  Here two of its convolutions, with semantic modulation
between them, learn to rebuild expression from the neighbourhood; what they have learnt is partitioned by skst.
"""

# %%
# STARmap, or a simulated tissue where that is out of reach.  A language model reads 500 prompts of ten genes each.
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.decomposition import PCA
from torch_geometric.loader import RandomNodeLoader
from torch_geometric.nn import GCNConv, SAGEConv

from skst import GeneTextEncoder
from skst.datasets import fetch_starmap, make_spatial_domains
from skst.graph import from_pyg, to_pyg
from skst.metrics import score_partition
from skst.nn import SemanticModulation
from skst.partition import ConsensusMixture
from skst.plotting import plot_domain_comparison

try:
    adata = fetch_starmap()
except OSError:  # neither in the data home nor to be downloaded
    adata = make_spatial_domains(1200, n_genes=300, random_state=0)
print(adata.uns["source"])
n_clusters = adata.obs["label"].nunique()
text = GeneTextEncoder(mode="prompt", k_g=10, max_texts=500, random_state=0).fit_transform(adata)

# %%
# ``to_pyg`` takes what it is given as it is, so that scaling is ours: 50 principal axes of square roots of shares, and
# as many of the text.
counts = adata.X.toarray()
shares = counts / counts.sum(axis=1, keepdims=True)
axes, text_axes = (PCA(50, random_state=0).fit_transform(values) for values in (np.sqrt(shares), text))
data = to_pyg(adata, features=axes / axes.std(), text=text_axes / text_axes.std())
print(data)


# %%
# A module of torch like any other.  ``SemanticModulation`` stands between two convolutions of torch-geometric.
class Network(torch.nn.Module):
    """Embeds spots, and rebuilds what they express from the embedding."""

    def __init__(self, n_in, n_text, n_components):
        super().__init__()
        self.first = SAGEConv(n_in, 64)
        self.modulate = SemanticModulation(64, n_text)
        self.second = GCNConv(64, n_components)
        self.rebuild = torch.nn.Linear(n_components, n_in)

    def embed(self, data):
        hidden = self.first(data.x, data.edge_index).relu()
        return self.second(self.modulate(hidden, data.text), data.edge_index)


# %%
# Trained on random thirds of the spots, which keep a third of the edges.  For ``NeighborLoader`` and ``ClusterLoader``
# torch-geometric wants compiled extensions; ``RandomNodeLoader`` runs without.
def learn(data, n_epochs=100):
    """Embedding of the spots and the loss of each epoch."""
    torch.manual_seed(0)
    network = Network(data.num_features, data.text.shape[1], 20)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(n_epochs):
        parts = []
        for part in RandomNodeLoader(data, num_parts=3, shuffle=True):
            loss = torch.nn.functional.mse_loss(network.rebuild(network.embed(part)), part.x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            parts.append(loss.item())
        losses.append(np.mean(parts))
    with torch.no_grad():
        return network.embed(data).numpy(), losses


# %%
# The embedding goes on into a partition.  Beside it, the same with each spot reading the text of another: where that
# does as well, the text told the network nothing about the spots.
others = data.clone()
others.text = data.text[torch.randperm(data.num_nodes, generator=torch.Generator().manual_seed(0))]
predictions, histories = {}, {}
for name, read in {"own text": data, "text of another spot": others}.items():
    embedding, histories[name] = learn(read)
    predictions[name] = ConsensusMixture(n_clusters, random_state=0).fit_predict(embedding)
    scores = score_partition(adata.obs["label"], predictions[name])
    print(f"{name}: ARI {scores['ari']:.2f}, loss {histories[name][-1]:.3f}")

plot_domain_comparison(adata, truth="label", predictions=predictions)

# %%
# And back: the graph of any ``Data`` as a matrix, for whatever in skst takes a graph.  The two losses are hard to tell
# apart.
graph = from_pyg(data)
print(f"{graph.nnz // 2} edges, {graph.nnz / graph.shape[0]:.1f} a spot")

figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
for name, losses in histories.items():
    axis.plot(losses, label=name)
axis.set(xlabel="epoch", ylabel="loss", title="rebuilding expression")
axis.legend(frameon=False)
plt.show()
