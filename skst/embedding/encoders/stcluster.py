"""stCluster: spots told apart under dropped edges, while three tasks keep expression, tissue and types in view."""

import numbers
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch_geometric.utils import softmax

from skst._constraints import Interval
from skst.embedding.encoders.attention import neighbor_sum
from skst.embedding.encoders.base import GraphEncoder
from skst.embedding.encoders.stcluster_losses import cluster_task, contrast, cosines, spatial_task
from skst.nn.losses import unit_length
from skst.nn.surroundings import linear_layer, options

# Spots that the contrast of one step tells from each other: the similarities of all would be n_spots x n_spots.
CONTRASTED = 256
# No edge is dropped with a higher probability.
MOST_DROPPED = 0.7


class StCluster(GraphEncoder):
    r"""Graph contrast with three tasks of stCluster [1]_, as an encoder of :class:`~skst.SpatialGraphTransformer`.

    With x the expression of a spot, and j running over spot i and its neighbours,

    .. math::

        a_{ij} &= \mathrm{softmax}_j \, \mathrm{sigmoid}(v_s^\top W x_j + v_r^\top W x_i) \\
        z_i &= V \, \mathrm{ELU}\Big( b + \sum_j a_{ij} W x_j \Big)

    and z is the embedding.

    *Contrast.*  Two views z', z'' are made on graphs that have lost edges, each with a probability of
    :math:`\min(0.7, \rho \, g_e / \bar g)`, where g is 1 minus the cosine between the ends of the edge, so that edges
    between unlike spots go first, and :math:`\rho` is half of `edge_dropout` in the first view and all of it in the
    second.  A spot is to be told from the others by its two views:

    .. math::

        \ell_i(z', z'') = -\log \frac{e^{c(z'_i, z''_i) / \tau}}
        {\sum_{k \ne i} e^{c(z'_i, z''_k) / \tau} + \sum_k e^{c(z'_i, z'_k) / \tau}} , \qquad
        L_\mathrm{contrast} = \frac{1}{2n} \sum_i \left( \ell_i(z', z'') + \ell_i(z'', z') \right)

    with cosines c.

    *Tasks*, on the graph with all its edges: the expression is to be decoded from z, neighbours of one type T are to
    look alike and others not, and spots are to belong to one of several groups with centroids :math:`\mu`:

    .. math::

        L_\mathrm{reconstruction} &= \overline{(x - U z)^2} \\
        L_\mathrm{spatial} &= \frac{1}{2} \left( \frac{\sum_{ij} T_{ij} (1 - c(z_i, z_j))^2}{\sum_{ij} T_{ij}}
        + \frac{1}{n^2} \sum_{ij} c(z_i, z_j)^2 \right) \\
        L_\mathrm{cluster} &= \frac{1}{n} \sum_{ik} p_{ik} \log \frac{p_{ik}}{q_{ik}}, \qquad
        q_{ik} \propto \frac{1}{1 + \lVert z_i - \mu_k \rVert^2}, \qquad p_{ik} \propto \frac{q_{ik}^2}{\sum_i q_{ik}}

    where :math:`T_{ij}` is 1 for neighbours of one type, 0.04 for other neighbours, and 0 for spots that are not
    neighbours.  Types are found by k-means of expression before training; their mean profiles, encoded, are where the
    centroids start.  The loss is the weighted sum of all four.

    Parameters
    ----------
    n_inputs : int or None, default=50
        Leading principal axes of expression that the network reads; None for the genes themselves.
    n_hidden : int, default=64
        Columns of the hidden layer, rows of W.
    reconstruction_weight, contrast_weight, spatial_weight, cluster_weight : float, default=10.0, 0.3, 0.1, 0.1
        Weights of the terms of the loss; a term of weight 0 is not computed.
    edge_dropout : float, default=0.1
        Mean share of the edges that the second view loses, :math:`\rho`, from 0 to 1.
    n_types : int, default=15
        Types, and centroids.  They need not be as many as the domains.
    max_epochs, lr, weight_decay, patience, batch_size, callbacks, device, verbose
        As in :class:`GraphEncoder`.

    Attributes
    ----------
    network_, history_, interrupted_
        As in :class:`GraphEncoder`; the terms of the loss are "reconstruction", "contrast", "spatial" and "cluster".

    Raises
    ------
    ValueError
        From ``fit_embed``: if a parameter is out of its range.

    Notes
    -----
    Where this differs from the paper and the published code, and why:

    - *One loss.*  The published code takes a step on the contrast every epoch, and every 50th epoch another on the
      three tasks, whose weights are 0.3 each by default.  Here all four make one loss: a seed, a learning rate and a
      history then say all about training, and mini-batches need no second schedule.
    - *Reconstruction leads.*  The contrast takes all other spots for strangers, those of the same domain too, and by
      itself spreads the domains out until they cannot be found.  Its weight to those of the spatial and the cluster
      task is as published, 1 to 0.3; the weight of the reconstruction is that of GraphST.  The published weights belong
      to steps taken apart, and ``SpatialGraphTransformer.paper`` does not set them: in one loss the contrast would
      drown the rest.
    - *Reconstruction* is of x itself by a linear layer.  The published target has rows of unit length, which discards
      that some spots differ more than others, and the published ELU cannot go below -1, as centred expression does.
    - *Contrast of a sample.*  A step contrasts 256 spots with each other, drawn anew, and drops edges to them alone;
      all spots together need four matrices of n x n.  The sum in the denominator then has fewer terms, which shifts the
      loss by about :math:`\log(n / 256)`.
    - *The spatial task* takes the mean over neighbours and that over all pairs.  Published is the mean of
      :math:`(c - T)^2` over all pairs, in which neighbours count less and less as the tissue grows.
    - *T* is a weighting of the spatial graph.  The published code takes the 35 nearest neighbours, drops 96 % of the
      edges between types at random, and keeps an n x n matrix; the weight 0.04 is what that leaves on average.
    - *Types* come from k-means, which needs no graph of expression; published is Louvain, whose number of types depends
      on a resolution.  Centroids start at encoded types; the published ones start in the space of a PCA, which is not
      that of z.
    - *The target p* carries no gradient, as in the deep embedded clustering that it comes from; in the published code
      it does.
    - *The graph* is undirected, where the published graph of k nearest neighbours sends messages from a spot to its
      neighbours only.  An edge is still dropped in one direction at a time.
    - *Start.*  Matrices begin with orthonormal rows or columns and not as independent normal draws: no direction of the
      expression is lost before training.
    - *Sizes* are 64 hidden columns and ``n_components`` of z, 300 epochs, no weight decay and no clipping, as for all
      encoders here; published are 512 and 30, at most 1,000 epochs, 1e-4 and a norm of 5.

    The sum over neighbours commutes with W and is taken on the side of fewer columns.

    References
    ----------
    .. [1] T. Wang et al., "Accurately deciphering spatial domains for spatially resolved transcriptomics with
       stCluster", Briefings in Bioinformatics 25, bbae329 (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from skst.graph import averaging_operator, spatial_graph
    >>> from skst.embedding.encoders.stcluster import StCluster
    >>> rng = np.random.default_rng(0)
    >>> expression = rng.normal(size=(100, 12)).astype(np.float32)
    >>> average = averaging_operator(spatial_graph(rng.uniform(size=(100, 2))))
    >>> StCluster(max_epochs=5).fit_embed(expression, average, 4, random_state=0).shape
    (100, 4)
    """

    _parameter_constraints = {
        **GraphEncoder._parameter_constraints,
        "reconstruction_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "contrast_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "spatial_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "cluster_weight": [Interval(numbers.Real, 0, None, closed="left")],
        "edge_dropout": [Interval(numbers.Real, 0, 1, closed="both")],
        "n_types": [Interval(numbers.Integral, 1, None, closed="left")],
    }

    # Not the weights: those published are of other steps and scales of the terms, see Notes.
    PAPER = {
        "n_inputs": None,
        "n_hidden": 512,
        "edge_dropout": 0.1,
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
        reconstruction_weight=10.0,
        contrast_weight=0.3,
        spatial_weight=0.1,
        cluster_weight=0.1,
        edge_dropout=0.1,
        n_types=15,
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
        self.reconstruction_weight = reconstruction_weight
        self.contrast_weight = contrast_weight
        self.spatial_weight = spatial_weight
        self.cluster_weight = cluster_weight
        self.edge_dropout = edge_dropout
        self.n_types = n_types
        self.max_epochs = max_epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.patience = patience
        self.batch_size = batch_size
        self.callbacks = callbacks
        self.device = device
        self.verbose = verbose

    def _network(self, n_inputs, n_components, generator):
        weights = {
            "reconstruction": self.reconstruction_weight,
            "contrast": self.contrast_weight,
            "spatial": self.spatial_weight,
            "cluster": self.cluster_weight,
        }
        network = StClusterNetwork(
            n_inputs,
            self.n_hidden,
            n_components,
            n_types=self.n_types,
            weights=weights,
            edge_dropout=self.edge_dropout,
            generator=generator,
        )
        network.place_centroids(torch.from_numpy(self._profiles))
        return network

    def _more(self, inputs, points, batch, seed):
        kmeans = KMeans(min(self.n_types, len(inputs)), random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer types than asked for will do
            kmeans.fit(inputs)
        self._profiles = kmeans.cluster_centers_.astype(np.float32)
        return {"type": kmeans.labels_}


class StClusterNetwork(nn.Module):
    """The network of :class:`StCluster`.

    Parameters
    ----------
    n_inputs, n_hidden, n_latent : int
        Columns of the expression, of the hidden layer and of the embedding.
    weights : dict of str to float
        Weight of each term of the loss; a term of weight 0 is not computed.
    n_types, edge_dropout, temperature
        As in :class:`StCluster`.
    generator : torch.Generator, default=None
        As in :class:`~skst.nn.SemanticModulation`.
    """

    terms = ("reconstruction", "contrast", "spatial", "cluster")

    def __init__(
        self,
        n_inputs,
        n_hidden,
        n_latent,
        *,
        weights,
        n_types=15,
        edge_dropout=0.1,
        temperature=0.5,
        generator=None,
    ):
        super().__init__()
        self.first = linear_layer(n_inputs, n_hidden, generator=generator)
        self.ends = nn.Parameter(torch.empty(2, n_hidden, **options(generator)))
        self.second = linear_layer(n_hidden, n_latent, bias=False, generator=generator)
        self.decode = linear_layer(n_latent, n_inputs, bias=False, generator=generator)
        self.centroids = nn.Parameter(torch.empty(n_types, n_latent, **options(generator)))
        nn.init.normal_(self.ends, std=(2 / n_hidden) ** 0.5, generator=generator)
        nn.init.zeros_(self.first.bias)
        nn.init.normal_(self.centroids, generator=generator)
        for layer in (self.first, self.second, self.decode):
            nn.init.orthogonal_(layer.weight, generator=generator)
        self.weights, self.edge_dropout, self.temperature = weights, edge_dropout, temperature

    @torch.no_grad()
    def place_centroids(self, profiles):
        """Let there be one centroid a type, where a spot of mean expression without neighbours is.

        Parameters
        ----------
        profiles : Tensor of shape (n_types, n_inputs)
            Mean expression of each type.
        """
        self.centroids = nn.Parameter(self.second(F.elu(self.first(profiles))))

    def forward(self, batch):
        """What all nodes of a :class:`GraphBatch` send to neighbours, their attention scores, and z."""
        weight = self.first.weight
        if self._is_wide:
            sent = batch.inputs @ weight.T
            scores = sent @ self.ends.T
        else:
            sent = batch.inputs
            scores = sent @ (self.ends @ weight).T
        return sent, scores, self._gather(sent, scores, batch.edges)

    def losses(self, output, batch, generator=None):
        """Weight and value of each term, over the core of the batch; the contrast draws on the CPU."""
        sent, scores, latent = output
        core = latent[: batch.n_core]
        terms = {
            "reconstruction": lambda: F.mse_loss(self.decode(core), batch.inputs[: batch.n_core]),
            "contrast": lambda: contrast(*self._views(sent, scores, latent, batch, generator), self.temperature),
            "spatial": lambda: spatial_task(latent, batch.edges, batch.more["type"], batch.n_core),
            "cluster": lambda: cluster_task(core, self.centroids),
        }
        return {name: (self.weights[name], terms[name]()) for name in self.terms if self.weights[name]}

    def embed(self, batch):
        """z of the core of the batch."""
        return self(batch)[2][: batch.n_core]

    @property
    def _is_wide(self):
        """Whether W leaves fewer columns; the mean over neighbours commutes with it."""
        return self.first.in_features > self.first.out_features

    def _gather(self, sent, scores, edges, spots=slice(None)):
        """z of some spots, from what comes along the edges."""
        source, target = edges
        logits = torch.sigmoid(scores[:, 0].index_select(0, source) + scores[:, 1].index_select(0, target))
        attention = softmax(logits, target, num_nodes=len(sent))
        mean = neighbor_sum(sent, attention, edges)[spots]
        hidden = mean + self.first.bias if self._is_wide else self.first(mean)
        return self.second(F.elu(hidden))

    def _views(self, sent, scores, latent, batch, generator=None):
        """z of some spots of the core on two graphs that have lost edges."""
        spots = torch.randperm(batch.n_core, generator=generator, device="cpu")[:CONTRASTED].to(latent.device)
        drawn = torch.zeros(len(latent), dtype=torch.bool, device=latent.device)
        drawn[spots] = True
        edges = batch.edges[:, drawn[batch.edges[1]]]
        source, target = edges
        gap = 1 - cosines(unit_length(latent.detach(), 1), source, target)
        gap = gap / gap.mean().clamp(min=torch.finfo(gap.dtype).tiny)
        for rate in (self.edge_dropout / 2, self.edge_dropout):
            draws = torch.rand(gap.shape, generator=generator, dtype=gap.dtype, device="cpu").to(gap.device)
            lost = draws < (rate * gap).clamp(max=MOST_DROPPED)
            yield self._gather(sent, scores, edges[:, ~lost | (source == target)], spots)
