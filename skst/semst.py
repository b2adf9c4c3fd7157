"""SemSTClusterer: two graphs, graph convolutions modulated by text, and a likelihood of counts."""

import numbers
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skst._constraints import Interval, StrOptions
from skst._parameters import or_new
from skst.base import DOMAINS, DomainMixin, TrainsNetworks
from skst.embedding.semantic import Modulation
from skst.embedding.tissue import SlicedTissue, WholeTissue, networks_read_whole
from skst.embedding.two_graphs import on_two_graphs
from skst.expression.counts import median_depth
from skst.expression.smooth import AveragedPCA
from skst.graph.neighbors import GRAPH, as_graph
from skst.graph.operators import OnGraph
from skst.inputs.reading import ON_MISSING
from skst.inputs.types import Expression, PerSpot
from skst.settings import GraphLosses, GraphNetwork
from skst.text import GeneTextEncoder
from skst.text.columns import TextOfSpots

# The convolutions see the leading axes of the expression of this many genes.
N_INPUT_GENES = 3000
# So many prompts are read; the vectors of others are predicted from the genes they name.
MAX_TEXTS = 1000
_MAX_SEED = np.iinfo(np.int32).max


class SemSTClusterer(OnGraph, TrainsNetworks, DomainMixin, BaseEstimator):
    r"""Find spatial domains with graph networks that are modulated by text.

    Each spot is seen on two graphs, of its neighbours in space and of spots with like expression.  With X the leading
    principal axes of its expression, A the averaging operator of each graph and T the text vector of the spot, a
    network (SemST, Eqs. 3 to 8) computes

    .. math::

        H_g = S_g + A_g\, \mathrm{ReLU}(A_g X W_g) V_g, \qquad (\alpha, \beta) = \mathrm{MLP}(T), \qquad
        Z = ((1 + \alpha) \odot [H_{spa}, H_{fea}] + \beta) W

    and learns, without labels, the parameters that make Z explain the counts: the loss is the negative log-likelihood
    of a (zero-inflated) negative binomial with the library size as offset, plus a correlation reduction between
    :math:`H_{spa}` and :math:`H_{fea}`, plus a spatial regularisation of Z.  Several networks are trained; mixtures on
    all their representations, and on averaged expression, are brought to a consensus.

    Parameters
    ----------
    n_clusters : int, default=None
        Number of domains; estimated by :func:`skst.partition.estimate_n_clusters` if None.
    text : transformer, default=None
        Makes the text vectors; ``GeneTextEncoder(mode="prompt", max_texts=1000)`` by default: prompts of the most
        expressed genes of a spot, of which 1,000 are read.
    fusion : {"fsm", "concat", "add", "cross_attention", None}, default="fsm"
        How text enters, see :func:`skst.nn.make_fusion`; None leaves it out.
    graph : {"knn", "radius", "delaunay", "learned"}, SpatialNeighbors or SpatialGraphLearner, default="knn"
        Which spots are neighbours in space: a kind of :class:`skst.graph.SpatialNeighbors` with its defaults (6
        neighbours), or learnt.  An object has settings of your own; ``graph__n_neighbors`` reaches into either.
    n_expression_neighbors : int, default=15
        Neighbours of a spot by the cosine of averaged expression.
    network : GraphNetwork, default=None
        Networks and their training: how many, of what size, on which device.
    losses : GraphLosses, default=None
        Weights of the losses.
    clusterer : {"mixture", "kmeans", "leiden", "louvain"} or estimator, default="mixture"
        Partition of the embedding, see :func:`skst.partition.make_clusterer`.
    n_vote_neighbors : int, default=18
        Spatial neighbours that vote on the label of a spot, see :func:`skst.partition.majority_vote`; 0 for no vote.
    gene_names : array-like of str of shape (n_genes,), default=None
        Names of the columns of an `X` that carries none.
    layer : str, default=None
        Layer of an AnnData that holds the counts; ``X.X`` by default.
    spatial_key : str, default="spatial"
        Key of the coordinates in ``X.obsm``.
    batch_key : str, default=None
        Column of ``X.obs`` that names the slice of each spot.
    on_missing : {"warn", "error"}, default="warn"
        What to do when there are no coordinates: warn and use the expression graph alone, or raise.
    random_state : int, RandomState instance or None, default=None
        Determines everything; two runs on a CPU with the same int are identical.
    verbose : int, default=0
        1 shows what is done, and a progress bar of each network.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_spots,)
        Domain of each spot, equal to ``predict`` of the same data.
    embedding_ : ndarray of shape (n_spots, n_views * n_columns), float32
        Averaged expression (left out if networks start at random) and the representation of each network, side by
        side, each of unit total variance.
    modulation_ : Modulation or None
        Factors ``alpha`` and ``beta`` of each spot, arrays of shape (n_spots, n_networks * 2 * n_columns): for each
        network those of the spatial and of the expression view; only with ``fusion="fsm"``.
    denoised_ : ndarray of shape (n_spots, n_decoded), float32
        Expected counts of each spot at the median library size, made on demand from the embedding.
    denoised_genes_ : ndarray of int of shape (n_decoded,)
        Columns of `X` that are decoded.
    history_ : DataFrame
        One row an epoch: "network", "epoch", "train_loss", its terms ("zinb", "correlation", "spatial", "text"), "dur".
    interrupted_ : bool
        Whether training was cut short by Ctrl-C; what had been learnt by then is used.
    n_clusters_ : int
        Number of domains asked for or estimated.
    n_clusters_curve_ : DataFrame
        Only if `n_clusters` is None: the criterion at each number.
    networks_ : list of torch.nn.Module
        Trained networks, on the CPU.
    text_ : estimator or None
        Fitted text encoder.
    clusterer_ : estimator
        Fitted partition of the embedding.
    n_features_in_ : int
        Number of genes seen in ``fit``.
    feature_names_in_ : ndarray of str of shape (n_genes,)
        Gene names, where X has them.

    Raises
    ------
    ValueError
        If `n_clusters` is larger than the number of spots, counts are negative, or no gene has text.

    Warns
    -----
    UserWarning
        If there are no coordinates or gene names, X looks log-transformed, or training was interrupted.

    See Also
    --------
    skst.inspection.semantic_permutation_test : Whether the text mattered.
    skst.inspection.modulation_report : Whether the modulation has collapsed.
    SpaLLMFusion : Text added to averaged expression, without a network.

    Notes
    -----
    Deviations from the paper and its published code:

    - The published code keeps the epoch that scores best against the true labels.  Here labels are never seen.
    - It fits the likelihood to scaled expression.  Here it is that of the counts, with the library size as offset, a
      linear decoder, and one dispersion a gene.
    - It works with N x N matrices.  Here the spatial regularisation is a polynomial in sums over spots, and every
      cost is linear in their number.
    - Half of the networks start at averaged expression, so that training begins no worse than that; a network that
      starts at random differs more from the next.  A consensus of both is steadier than either.  The representation of
      a network that starts at random is turned to the axes on which its decoder spends most variance, as its own are
      arbitrary.
    - The text of a spot is averaged over the graph as its expression is; a prompt of the spot alone repeats the noise
      of its counts, which the likelihood rewards.  Its 64 leading components are used.  For the same reason what text
      adds has a price (`losses__text`): without it modulation lowers the loss by little and breaks domains up (DLPFC
      151674: ARI .60 to .41, ``python -m benchmarks semst``).
    - The partition is a consensus of Gaussian mixtures, not k-means.

    Beyond 20,000 spots networks see tiles of the tissue with the ring of neighbours that the convolution needs, and a
    sample of five expression neighbours a spot.  Embedding always uses all edges.

    :meth:`paper` gives the published settings.

    References
    ----------
    .. [1] J. Long et al., "When genes speak: a semantic-guided framework for spatially resolved transcriptomics data
       clustering", arXiv:2511.11380.

    Examples
    --------
    >>> from skst import GeneTextEncoder, SemSTClusterer
    >>> from skst.datasets import make_spatial_domains
    >>> from skst.settings import GraphNetwork
    >>> adata = make_spatial_domains(n_samples=300, n_domains=3, random_state=0)
    >>> text = GeneTextEncoder(model="lexical", mode="prompt")
    >>> model = SemSTClusterer(3, text=text, network=GraphNetwork(max_epochs=5), random_state=0).fit(adata)
    >>> model.labels_.shape, model.history_.shape[0]
    ((300,), 10)
    """

    _parameter_constraints = {
        **DOMAINS,
        **ON_MISSING,
        "fusion": [StrOptions({"fsm", "concat", "add", "cross_attention"}), None],
        "graph": GRAPH,
        "n_expression_neighbors": [Interval(numbers.Integral, 1, None, closed="left")],
        "network": [GraphNetwork, None],
        "losses": [GraphLosses, None],
    }

    # Spots of like expression are sought in all slices.
    _slices_apart = False

    def __init__(
        self,
        n_clusters=None,
        *,
        text=None,
        fusion="fsm",
        graph="knn",
        n_expression_neighbors=15,
        network=None,
        losses=None,
        clusterer="mixture",
        n_vote_neighbors=18,
        gene_names=None,
        layer=None,
        spatial_key="spatial",
        batch_key=None,
        on_missing="warn",
        random_state=None,
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.text = text
        self.fusion = fusion
        self.graph = graph
        self.n_expression_neighbors = n_expression_neighbors
        self.network = network
        self.losses = losses
        self.clusterer = clusterer
        self.n_vote_neighbors = n_vote_neighbors
        self.gene_names = gene_names
        self.layer = layer
        self.spatial_key = spatial_key
        self.batch_key = batch_key
        self.on_missing = on_missing
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def paper(cls, n_clusters: int | None = None, **parameters: Any) -> Self:
        """The settings of the paper, as far as the corrected losses allow.

        One network from a random start, 64 columns, 15 neighbours in each graph, zero inflation, the published weights
        of the losses and epochs of its largest Visium set, and k-means.

        Parameters
        ----------
        n_clusters : int, default=None
            Number of domains.
        **parameters
            Others, which win over those of the paper.

        Returns
        -------
        SemSTClusterer
            Not fitted.
        """
        published = {
            "network__n_networks": 1,
            "network__start": "random",
            "network__n_components": 64,
            "network__zero_inflation": True,
            "network__max_epochs": 200,
            "network__lr": 5e-4,
            "network__patience": None,
            "graph__n_neighbors": 15,
            "losses__text": 0.0,
            "losses__balanced": False,
            "clusterer": "kmeans",
            "n_vote_neighbors": 0,
        }
        return cls(n_clusters).set_params(**published | parameters)

    def _parts(self):
        return {
            "text": or_new(self._prompts),
            "graph": as_graph,
            "network": or_new(GraphNetwork),
            "losses": or_new(GraphLosses),
        }

    def _prompts(self):
        return GeneTextEncoder(mode="prompt", max_texts=MAX_TEXTS, verbose=self.verbose)

    def fit(self, X: Expression, y: object = None, *, coordinates: PerSpot = None, batch: PerSpot = None) -> Self:
        """Train the networks and partition their representations.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or list of AnnData or paths, one a slice
            Raw counts; files of more than 20,000 spots are read one slice at a time.
        y : None
            Ignored.
        coordinates : array-like of shape (n_spots, 2) or (n_spots, 3), default=None
            Positions; by default those of the AnnData.
        batch : array-like of shape (n_spots,), default=None
            Slice of each spot; by default the column `batch_key` of the AnnData.

        Returns
        -------
        self : SemSTClusterer
        """
        from skst.nn.ensemble import NetworkEnsemble
        from skst.nn.training import resolve_device

        self._validate_params()
        network, losses = self.part("network").check(), self.part("losses").check()
        X, places, slices, _ = self._open(X, coordinates, batch, reset=True)
        spots = self._read_spots(X, **places, reset=True) if slices is None else slices.spots()
        self._check_partition(spots.X.shape[0])
        # All seeds are drawn before anything else, so that variants can be compared seed by seed.
        rng = check_random_state(self.random_state)
        # The third seed was of a search that no longer draws.
        text_seed, partition_seed, _, *seeds = rng.randint(_MAX_SEED, size=3 + network.n_networks)

        self._say(f"graphs of {spots.X.shape[0]} spots x {self.n_features_in_} genes")
        spatial = self._fit_operator(spots, rng)
        self._pca = AveragedPCA(network.n_components, n_top_genes=N_INPUT_GENES)
        self._tile, self._start = network.batch_size, network.start
        tissue = WholeTissue(X, spots, self._pca) if slices is None else self._slices_of(slices)
        learnt = tissue.learn(spatial, self._new_text(text_seed), network.n_top_genes, text_seed, rng)
        scores, semantic, counts, sizes = learnt.scores, learnt.semantic, learnt.counts, learnt.sizes
        self.denoised_genes_, self._decoded = learnt.genes, learnt.order
        self.text_ = None if semantic is None else self._text.encoder
        self._depth = np.float32(median_depth(sizes))
        batches = self._batches(spots, spatial, scores, semantic, counts=counts, sizes=sizes, rng=rng)
        shape = {
            "n_features": scores.shape[1],
            "n_hidden": network.n_hidden,
            "n_components": scores.shape[1],
            "n_semantic": None if semantic is None else semantic.shape[1],
            "n_genes": len(self.denoised_genes_),
            "fusion": None if semantic is None else self.fusion,
            "zero_inflation": network.zero_inflation,
        }
        loadings = learnt.loadings / np.float32(np.sqrt(scores.shape[1]))
        self._ensemble = NetworkEnsemble(shape, loadings, learnt.log_rates)
        embeddings = self._ensemble.fit(
            batches,
            seeds,
            network.averaged_starts(),
            lr=network.lr,
            say=self._say,
            max_epochs=network.epochs(batches.n_batches),
            patience=network.patience,
            device=resolve_device(network.device),
            callbacks=network.callbacks,
            verbose=self.verbose,
            weights=losses.weights(),
        )
        self.history_, self.networks_ = self._ensemble.history, self._ensemble.networks
        self.interrupted_ = self._ensemble.interrupted
        self._check_interruption(network.n_networks, "domains")
        factors = None if semantic is None else self._ensemble.factors(semantic)
        self.modulation_ = None if factors is None else Modulation(*factors)
        self.embedding_ = self._side_by_side(batches, embeddings)
        del batches, embeddings, semantic, learnt, counts  # what was learnt from is gone before the partition
        spots = spots if slices is None else slices.spots(sizes)
        n_views = self.embedding_.shape[1] // scores.shape[1]
        self._find_domains(spots, partition_seed, n_views, slices=slices, marks=tissue.marks)
        return self

    @property
    def denoised_(self) -> np.ndarray:
        """Expected counts of the decoded genes in each spot, at the median library size."""
        check_is_fitted(self)
        parts = np.split(self.embedding_, self.embedding_.shape[1] // self._pca.axes_.shape[1], axis=1)
        return self._ensemble.rates(parts[-len(self.networks_) :])[:, np.argsort(self._decoded)] * self._depth

    def _embed(self, X, spots):
        return self._embed_tissue(WholeTissue(X, spots, self._pca), spots)

    def _embed_slices(self, slices):
        return self._embed_tissue(self._slices_of(slices), slices.spots())

    def _embed_tissue(self, tissue, spots):
        spatial = self._operator(spots)
        scores, semantic = tissue.read(spatial, None if self.text_ is None else self._text)
        batches = self._batches(spots, spatial, scores, semantic)
        return self._side_by_side(batches, self._ensemble.embed(batches))

    def _slices_of(self, slices):
        return SlicedTissue(slices, self.graph_, self._pca, verbose=self.verbose)

    def _reads_whole(self):
        return networks_read_whole(self.graph, self.part("text") if self.fusion else None)

    def _new_text(self, seed):
        """What makes columns of text, not yet fitted; None without text."""
        self._text = None
        if self.fusion is not None:
            text = self._handed_on(self.part("text"), seed)
            self._say(f"text of the spots: {text}")
            self._text = TextOfSpots(text, self._pca.spread)
        return self._text

    def _batches(self, spots, spatial, scores, semantic, **learning):
        settings = {"n_neighbors": self.n_expression_neighbors, "tile_size": self._tile}
        return on_two_graphs(spots, self._pca, scores, spatial, semantic, **settings, **learning)

    def _side_by_side(self, batches, embeddings):
        averaged = (
            [] if self._start == "random" else [batches.start[0] / np.float32(np.sqrt(batches.start[0].shape[1]))]
        )
        return np.hstack([*averaged, *embeddings]).astype(np.float32)
