"""STAGATE: a graph attention autoencoder whose decoder is its encoder, transposed."""

import numbers

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
from torch import nn
from torch_geometric.utils import softmax

from skst._constraints import Interval
from skst.embedding.encoders.attention import edge_starts, neighbor_sum
from skst.embedding.encoders.base import GraphEncoder
from skst.nn.surroundings import options


class STAGATE(GraphEncoder):
    r"""Graph attention autoencoder of STAGATE [1]_, as an encoder of :class:`~skst.SpatialGraphTransformer`.

    With x the expression of a spot, and j running over spot i and its neighbours,

    .. math::

        a_{ij} &= \mathrm{softmax}_j \, \mathrm{sigmoid}(v_s^\top W_1 x_i + v_r^\top W_1 x_j) \\
        z_i &= W_2 \, \mathrm{ELU}\Big( \sum_j a_{ij} W_1 x_j \Big) \\
        \hat x_i &= W_1^\top \mathrm{ELU}\Big( \sum_j a_{ij} W_2^\top z_j \Big)

    and z is the embedding.  The decoder has no parameters of its own: its weights are those of the encoder, transposed,
    and its attention is the encoder's.  The loss is the mean square of :math:`\hat x - x`.

    The cell-type-aware module mixes in attention with vectors v of its own over a pruned graph, which lacks the edges
    between spots of different pre-clusters:

    .. math:: a = (1 - \alpha) \, a^\mathrm{spatial} + \alpha \, a^\mathrm{pruned}

    Parameters
    ----------
    n_inputs : int or None, default=50
        Leading principal axes of expression that the network reads; None for the genes themselves.
    n_hidden : int, default=64
        Columns of the hidden layer, rows of :math:`W_1`.
    pruned_weight : float, default=0.0
        :math:`\alpha`, the share of the attention over the pruned graph, from 0 to 1; 0 leaves the module out.
    n_types : int, default=7
        Pre-clusters; without effect for ``pruned_weight=0``.
    max_epochs, lr, weight_decay, patience, batch_size, callbacks, device, verbose
        As in :class:`GraphEncoder`.

    Attributes
    ----------
    network_, history_, interrupted_
        As in :class:`GraphEncoder`; the term of the loss is "reconstruction".

    Raises
    ------
    ValueError
        From ``fit_embed``: if a parameter is out of its range.

    Notes
    -----
    Where this differs from the paper and the published code, and why:

    - *Inputs* are by default the scores on 50 principal axes of expression instead of 3,000 genes: what is left out is
      mostly the noise of single genes, and an epoch costs a fraction.
    - *Sizes* are 64 hidden columns and ``n_components`` of z, 300 epochs and no weight decay, as for all encoders here;
      published are 512 and 30, 1,000 epochs and 1e-4.
    - *One step for tied weights.*  The published PyTorch code holds each matrix and its transpose as two parameters
      with one memory and lets Adam move both in turn, about twice the learning rate.  Here a matrix is one parameter,
      whose gradient is the sum of both roles, as in the original TensorFlow code.
    - *The loss* is the mean square, as in the published PyTorch code; the TensorFlow code takes the norm of the whole
      residual, whose gradient would depend on the number of spots in a mini-batch.
    - *Start.*  :math:`W_1` and :math:`W_2` begin with orthonormal rows or columns and not as independent normal draws:
      a transpose undoes such a matrix as far as its rank allows, so training begins near an autoencoder.
    - *No clipping* of the gradient, published at a norm of 5: that of the mean square of inputs of unit variance stays
      below it.
    - *The graph* is undirected, where the published graph of k nearest neighbours sends messages from a spot to its
      neighbours only; and two spots in one place are neighbours, where the published code drops such pairs.
    - *Pre-clusters* are found by k-means of the inputs, and not by Louvain: new spots are told theirs by the nearest
      centre.  The published pruned graph can lose spots that have no edges left; here each keeps the one to itself.

    The sum over neighbours commutes with :math:`W_1` and :math:`W_2^\top` and is taken on the side of fewer columns, by
    products with a sparse matrix (:func:`neighbor_sum`).

    References
    ----------
    .. [1] K. Dong and S. Zhang, "Deciphering spatial domains from spatially resolved transcriptomics with an adaptive
       graph attention auto-encoder", Nature Communications 13, 1739 (2022).

    Examples
    --------
    >>> import numpy as np
    >>> from skst.graph import averaging_operator, spatial_graph
    >>> from skst.embedding.encoders.stagate import STAGATE
    >>> rng = np.random.default_rng(0)
    >>> expression = rng.normal(size=(100, 12)).astype(np.float32)
    >>> average = averaging_operator(spatial_graph(rng.uniform(size=(100, 2))))
    >>> STAGATE(max_epochs=5).fit_embed(expression, average, 4, random_state=0).shape
    (100, 4)
    """

    PAPER = {
        "n_inputs": None,
        "n_hidden": 512,
        "max_epochs": 1000,
        "lr": 1e-3,
        "weight_decay": 1e-4,
    }
    # The published radius is chosen for each platform; on the grid of Visium it holds six neighbours.
    PAPER_TRANSFORMER = {"n_components": 30, "graph": "knn", "graph__n_neighbors": 6, "n_top_genes": 3000}

    def __init__(
        self,
        *,
        n_inputs=50,
        n_hidden=64,
        pruned_weight=0.0,
        n_types=7,
        max_epochs="auto",
        lr=1e-3,
        weight_decay=0.0,
        patience=None,
        batch_size="auto",
        callbacks=None,
        device="auto",
        verbose=0,
    ):
        self.n_inputs = n_inputs
        self.n_hidden = n_hidden
        self.pruned_weight = pruned_weight
        self.n_types = n_types
        self.max_epochs = max_epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.patience = patience
        self.batch_size = batch_size
        self.callbacks = callbacks
        self.device = device
        self.verbose = verbose

    _parameter_constraints = {
        **GraphEncoder._parameter_constraints,
        "pruned_weight": [Interval(numbers.Real, 0, 1, closed="both")],
        "n_types": [Interval(numbers.Integral, 1, None, closed="left")],
    }

    def _network(self, n_inputs, n_components, generator):
        return STAGATENetwork(
            n_inputs, self.n_hidden, n_components, pruned_weight=self.pruned_weight, generator=generator
        )

    def _more(self, inputs, points, batch, seed):
        self._centres = None
        if self.pruned_weight:
            n_types = min(self.n_types, len(np.unique(inputs, axis=0)))
            self._centres = KMeans(n_types, random_state=seed).fit(inputs).cluster_centers_
        return self._more_of_new(inputs)

    def _more_of_new(self, inputs):
        return {} if self._centres is None else {"type": pairwise_distances_argmin(inputs, self._centres)}


class STAGATENetwork(nn.Module):
    """The network of :class:`STAGATE`.

    Parameters
    ----------
    n_inputs, n_hidden, n_latent : int
        Columns of the inputs, of the hidden layer and of the embedding.
    pruned_weight : float, default=0.0
        Share of the attention over the pruned graph.  Where it is positive, batches hold the pre-cluster of each spot,
        ``batch.more["type"]``.
    generator : torch.Generator, default=None
        As in :class:`~skst.nn.SemanticModulation`.

    Attributes
    ----------
    first : Parameter of shape (n_hidden, n_inputs)
        W1.
    second : Parameter of shape (n_latent, n_hidden)
        W2.
    ends : Parameter of shape (2, n_hidden)
        Vectors of the attention, v_s for where an edge goes to and v_r for where it comes from.
    pruned_ends : Parameter of shape (2, n_hidden) or None
        The same of the pruned graph.

    Examples
    --------
    >>> from skst.embedding.encoders.stagate import STAGATENetwork
    >>> sum(parameter.numel() for parameter in STAGATENetwork(50, 64, 20).parameters())
    4608
    """

    terms = ("reconstruction",)

    def __init__(self, n_inputs, n_hidden, n_latent, *, pruned_weight=0.0, generator=None):
        super().__init__()
        self.pruned_weight = pruned_weight
        made = options(generator)
        self.first = nn.Parameter(torch.empty(n_hidden, n_inputs, **made))
        self.second = nn.Parameter(torch.empty(n_latent, n_hidden, **made))
        self.ends = nn.Parameter(torch.empty(2, n_hidden, **made))
        self.pruned_ends = nn.Parameter(torch.empty(2, n_hidden, **made)) if pruned_weight else None
        for ends in (self.ends, self.pruned_ends) if pruned_weight else (self.ends,):
            nn.init.normal_(ends, std=(2 / n_hidden) ** 0.5, generator=generator)
        nn.init.orthogonal_(self.first, generator=generator)
        nn.init.orthogonal_(self.second, generator=generator)

    def forward(self, batch):
        """Embedding, of shape (n_nodes, n_latent), and reconstruction, of shape (n_nodes, n_inputs)."""
        weights = self._attention(batch)
        latent = self._encode(batch, weights)
        hidden = F.elu(neighbor_sum(latent, weights, batch.edges) @ self.second)
        return latent, hidden @ self.first

    def losses(self, output, batch, generator=None):
        """Mean square error of the reconstruction of the core; nothing is drawn."""
        n = batch.n_core
        return {"reconstruction": (1.0, F.mse_loss(output[1][:n], batch.inputs[:n]))}

    def embed(self, batch):
        """Embedding of the core, of shape (n_core, n_latent)."""
        return self._encode(batch, self._attention(batch))[: batch.n_core]

    def _encode(self, batch, weights):
        n_hidden, n_inputs = self.first.shape
        # Sum and product commute: sum the fewer columns.
        if n_inputs <= n_hidden:
            hidden = neighbor_sum(batch.inputs, weights, batch.edges) @ self.first.T
        else:
            hidden = neighbor_sum(batch.inputs @ self.first.T, weights, batch.edges)
        return F.elu(hidden) @ self.second.T

    def _attention(self, batch):
        weights = self._attend(self.ends, batch)
        if self.pruned_weight:
            source, target = batch.more["type"][batch.edges]
            pruned = self._attend(self.pruned_ends, batch, source != target)
            weights = (1 - self.pruned_weight) * weights + self.pruned_weight * pruned
        return weights

    def _attend(self, ends, batch, cut=None):
        # v' (W1 x) = (v' W1) x: no column of W1 x is needed for the scores.
        source, target = batch.edges
        to, of = (batch.inputs @ (ends @ self.first).T).T
        scores = torch.sigmoid(to.index_select(0, target) + of.index_select(0, source))
        if cut is not None:
            scores = scores.masked_fill(cut, -torch.inf)
        return softmax(scores, ptr=edge_starts(target, len(batch.inputs)))
