"""LLMDSCClusterer: autoencoders of cells with an exact graph cut, and text aligned to what they find."""

import functools
import numbers
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skst._constraints import Interval, StrOptions
from skst._parameters import or_new
from skst.base import PARTITION, CellTypeMixin, TrainsNetworks
from skst.embedding.batches import CORRECTIONS, CorrectsCells
from skst.expression.axes import WithoutDepth
from skst.expression.gene_views import GeneViews
from skst.inputs.aside import put_aside
from skst.inputs.counting import check_counts
from skst.inputs.order import in_content_order
from skst.inputs.slices import Slices
from skst.inputs.types import Expression, PerSpot
from skst.partition.choice import soft_labels
from skst.partition.tied import likeliest_clusters
from skst.results import data_hash, record_of
from skst.settings import CellLosses, CellNetwork
from skst.text import GeneTextEncoder
from skst.text.columns import TextOfSpots, text_reads_whole

# Principal axes that the networks read and reconstruct.
N_AXES = 50
_MAX_SEED = np.iinfo(np.int32).max


class LLMDSCClusterer(CorrectsCells, TrainsNetworks, CellTypeMixin, BaseEstimator):
    r"""Find cell types with autoencoders that cut the graph of cells, and align text to what they find.

    No coordinates are needed.  An autoencoder turns the expression of a cell into a structural embedding, and a
    projection brings the cell's text vector beside it (scLLM-DSC, Eqs. 6 to 13).  The loss is

    .. math:: \mathcal{L} = \alpha \mathcal{L}_{align} + \beta \mathcal{L}_{NCut} + \gamma \mathcal{L}_{MSE}
        + \delta \mathcal{L}_{KL}

    with a symmetric InfoNCE and a variance hinge for the alignment, the normalised cut of the graph of cells in a
    factored form that needs no cells x cells matrix, the error of reconstruction, and the divergence of a soft
    assignment from a target found by optimal transport.  Training has two stages: reconstruction and cut, then all.
    Several networks are trained, each on genes chosen in another way; the partition is a consensus of what they and the
    principal axes of all choices say.

    Parameters
    ----------
    n_clusters : int, default=None
        Number of cell types; estimated by :func:`skst.partition.estimate_n_clusters` if None.
    text : transformer, default=None
        Makes the text vectors; ``GeneTextEncoder(mode="dual", k_g=60, max_texts=1000)``, the two paths, by default.
    text_weight : float, default=0.1
        Share of the projected text in the embedding, from 0 to 1; the paper's Eq. 13 has 0.5.
    align_to : {"structure", "shared", None}, default="structure"
        "structure": text is projected onto the structural embedding, which the alignment does not move.  "shared": both
        views are projected into a space of `n_projection` columns, brought to unit length, and moved.  None: no text.
    n_top_genes : int or sequence of int, default=(1000, 2000, 4000)
        Numbers of genes to look at; each is chosen by two criteria, see Notes.
    inputs : {"axes", "counts"}, default="axes"
        What networks read and reconstruct: 50 principal axes of the genes, from which training begins, or raw counts,
        from a random start, as published.
    network : CellNetwork, default=None
        Networks and their training: how many, of what size, on which device.
    losses : CellLosses, default=None
        Weights alpha to delta of the losses, and their forms.
    clusterer : {"mixture", "kmeans", "leiden", "louvain"} or estimator, default="mixture"
        Partition of the embedding, see :func:`skst.partition.make_clusterer`.
    batch_effect : {"shift", "harmony"} or None, default=None
        What corrects axes that networks read, as in :class:`skst.SpatialGraphTransformer`; needs ``inputs="axes"``.
    normalize : bool, default=True
        Whether `X` holds counts.  False takes its values as they are, such as logarithms.
    gene_names : array-like of str of shape (n_genes,), default=None
        Names of the columns of an `X` that carries none.
    layer : str, default=None
        Layer of an AnnData that holds the counts; ``X.X`` by default.
    batch_key : str, default=None
        Column of ``X.obs`` that names batches, for `batch_effect`; items of a list are batches of their own.
    random_state : int, RandomState instance or None, default=None
        Determines everything; two runs on a CPU with the same int are identical.
    verbose : int, default=0
        1 shows what is done, and a progress bar of each stage.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_cells,)
        Type of each cell, equal to ``predict`` of the same data.
    soft_assignment_ : ndarray of shape (n_cells, n_clusters), float64
        Share of each type in each cell: the posterior of the clusterer where it has one, else Student's t around the
        mean of each type.
    embedding_ : ndarray of shape (n_cells, n_views * n_columns), float32
        Z of Eq. 13 of each network and, unless `inputs` or `align_to` is as published, the leading axes of each choice
        of genes, side by side.
    structural_embedding_ : ndarray of shape (n_cells, n_networks * n_columns), float32
        What networks make of expression, each of unit total variance.
    semantic_embedding_ : ndarray of the shape of `structural_embedding_`, float32, or None
        What they make of the text, beside it.
    batch_shift_ : ndarray of shape (n_batches,) or None
        Mean squared distance that cells of each batch were moved by; 1 is the variance of all leading axes.
    history_ : DataFrame
        One row an epoch: "network", "stage", "epoch", "train_loss", its terms ("mse", "cut", "alignment", "kl"), "dur".
    interrupted_ : bool
        Whether training was cut short by Ctrl-C; what had been learnt by then is used.
    n_clusters_ : int
        Number of types asked for or estimated.
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
        If `n_clusters` is larger than the number of cells, counts are negative, or no gene varies.

    Warns
    -----
    UserWarning
        If one cluster takes nearly all cells or some take none, genes have no names or no text, X looks
        log-transformed, or training was interrupted.

    See Also
    --------
    skst.inspection.marker_genes : What the types express.
    skst.inspection.annotate_by_text : Names for the types.

    Notes
    -----
    :meth:`paper` gives the published settings.  Deviations from the paper and its published code:

    - The published code keeps the epoch that scores best against the true labels, twice.  Here labels are never seen.
    - It never trains its projection heads, partitions the structural view and not Z, refreshes the target in the first
      epochs only, and passes probabilities to a loss that takes their logarithms.  All four are mended.
    - Alignment by InfoNCE tells every cell from every other, which spreads types apart; so does bringing
      rows to unit length.  Here the text follows the structure, which it does not move, and has a small share of Z.
    - Networks read principal axes of genes of unit variance, and begin there.  The part of a gene that follows the
      library size is removed first, within square roots of counts: otherwise large types break up by depth.
    - Genes are chosen by the ratio of their variance to that of genes of like mean, and by the variance of Pearson
      residuals.  Which types a single choice finds is a matter of luck; a consensus of several networks, and of
      the axes that they begin at, is steadier.
    - The cut leaves out the trivial direction in which all affinities are positive.

    References
    ----------
    .. [1] P. Xu et al., "scLLM-DSC: LLM-knowledge enhanced cross-modal deep structural clustering for single-cell RNA
       sequencing", arXiv:2606.13007.
    .. [2] P. Xu et al., "scCDCG: efficient deep structural clustering for single-cell RNA-seq via deep cut-informed
       graph embedding", DASFAA 2024.

    Examples
    --------
    >>> from skst import GeneTextEncoder, LLMDSCClusterer
    >>> from skst.datasets import make_spatial_domains
    >>> adata = make_spatial_domains(n_samples=300, n_domains=3, random_state=0)
    >>> text = GeneTextEncoder(model="lexical", mode="dual")
    >>> model = LLMDSCClusterer(3, text=text, random_state=0)
    >>> model = model.set_params(network__n_networks=2, network__max_epochs=5).fit(adata)
    >>> model.labels_.shape, model.history_.shape[0]
    ((300,), 20)
    """

    _parameter_constraints = {
        **PARTITION,
        "text_weight": [Interval(numbers.Real, 0, 1, closed="both")],
        "align_to": [StrOptions({"structure", "shared"}), None],
        "n_top_genes": [Interval(numbers.Integral, 1, None, closed="left"), "array-like"],
        "inputs": [StrOptions({"axes", "counts"})],
        "network": [CellNetwork, None],
        "losses": [CellLosses, None],
        "batch_effect": [StrOptions(set(CORRECTIONS)), None],
        "normalize": ["boolean"],
        "batch_key": [str, None],
    }

    def __init__(
        self,
        n_clusters=None,
        *,
        text=None,
        text_weight=0.1,
        align_to="structure",
        n_top_genes=(1000, 2000, 4000),
        inputs="axes",
        network=None,
        losses=None,
        clusterer="mixture",
        batch_effect=None,
        normalize=True,
        gene_names=None,
        layer=None,
        batch_key=None,
        random_state=None,
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.text = text
        self.text_weight = text_weight
        self.align_to = align_to
        self.n_top_genes = n_top_genes
        self.inputs = inputs
        self.network = network
        self.losses = losses
        self.clusterer = clusterer
        self.batch_effect = batch_effect
        self.normalize = normalize
        self.gene_names = gene_names
        self.layer = layer
        self.batch_key = batch_key
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def paper(cls, n_clusters: int | None = None, **parameters: Any) -> Self:
        """The settings of the published code, as far as the mended losses allow.

        One linear autoencoder of raw counts from a random start, both views projected into 16 columns, the published
        weights of the losses, 200 epochs a stage, and k-means on Z.

        Parameters
        ----------
        n_clusters : int, default=None
            Number of cell types.
        **parameters
            Others, which win over those of the paper.

        Returns
        -------
        LLMDSCClusterer
            Not fitted.
        """
        published = {
            "text_weight": 0.5,
            "align_to": "shared",
            "n_top_genes": 2000,
            "inputs": "counts",
            "network__n_projection": 16,
            "network__n_networks": 1,
            "network__linear": True,
            "network__max_epochs": 200,
            "losses__align": 0.3,
            "losses__cut": 0.15,
            "losses__mse": 0.3,
            "losses__kl": 0.32,
            "clusterer": "kmeans",
        }
        return cls(n_clusters).set_params(**published | parameters)

    def _parts(self):
        return {
            "text": or_new(self._two_paths),
            "network": or_new(CellNetwork),
            "losses": or_new(CellLosses),
        }

    def _two_paths(self):
        return GeneTextEncoder(mode="dual", k_g=60, max_texts=1000, normalize=self.normalize, verbose=self.verbose)

    def fit(self, X: Expression, y: object = None, *, batch: PerSpot = None) -> Self:
        """Train the networks and partition what they find.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or list of AnnData or paths
            Raw counts, unless ``normalize=False``; files of more than 20,000 cells are read one at a time.
        y : None
            Ignored.
        batch : array-like of shape (n_cells,), default=None
            Batch of each cell; by default the column `batch_key` of the AnnData.

        Returns
        -------
        self : LLMDSCClusterer
        """
        from skst.nn.cell_ensemble import CellEnsemble
        from skst.nn.cut import cut_of_cells
        from skst.nn.training import resolve_device

        self._validate_params()
        network, losses = self.part("network").check(), self.part("losses").check()
        self._check_batch_effect()
        opened = self._open(X, batch=batch, reset=True)
        X, cells, order, batch = self._read(opened.source, opened.places["batch"], reset=True)
        self._check_partition(cells.shape[0])
        # All seeds are drawn before anything else, so that variants can be compared seed by seed.
        rng = check_random_state(self.random_state)
        text_seed, partition_seed, *seeds = rng.randint(_MAX_SEED, size=2 + network.n_networks)

        self._say(f"axes of {cells.shape[0]} cells x {cells.shape[1]} genes")
        views = network.n_networks, self.n_top_genes, N_AXES, network.n_components
        self._genes = GeneViews(*views, normalize=self.normalize, raw=self.inputs == "counts")
        axes = self._fit_batches(self._genes.fit_axes(cells, rng), batch, network.n_components, rng)
        inputs = axes if self.inputs == "axes" else self._genes.inputs(cells)
        self._choose_n_clusters(axes[0], partition_seed, slice(None))
        semantic = self._fit_text(X, cells, order, text_seed)
        n_cells, cut = cells.shape[0], cut_of_cells(self._genes.expression_, cells, losses)
        del cells  # a copy of the counts in another order, gone before anything is trained
        self._ensemble = CellEnsemble(
            {
                "n_hidden": network.n_hidden,
                "n_components": min(network.n_components, *(part.shape[1] for part in inputs)),
                "n_projection": network.n_projection if self.align_to == "shared" else None,
                "from_axes": self.inputs == "axes",
                "linear": network.linear,
            }
        ).fit(
            self._in_turn(inputs),
            semantic,
            seeds,
            functools.partial(likeliest_clusters, n_clusters=self.n_clusters_),
            batch_size=network.cells_a_batch(n_cells),
            say=self._say,
            max_epochs=network.epochs(n_cells),
            lr=network.lr,
            patience=network.patience,
            power=losses.target_power,
            kl_weight=losses.kl,
            align_weight=losses.align,
            device=resolve_device(network.device),
            callbacks=network.callbacks,
            verbose=self.verbose,
            weights=losses.weights() | {"cut": cut, "move_structure": self.align_to == "shared"},
        )
        self.networks_, self.history_ = self._ensemble.networks, self._ensemble.history
        self.interrupted_ = self._ensemble.interrupted
        self._check_interruption(network.n_networks, "types")
        views = self._ensemble.views(self._in_turn(inputs), semantic)
        in_place = np.argsort(order)
        self.embedding_ = self._side_by_side(inputs, *views)[in_place]
        self.structural_embedding_, *text = (view[in_place] for view in views)
        self.semantic_embedding_ = text[0] if text else None
        n_columns = self.structural_embedding_.shape[1] // len(self.networks_)
        self._fit_clusterer(partition_seed, order, n_views=self.embedding_.shape[1] // n_columns)
        self.soft_assignment_ = soft_labels(
            self.clusterer_, self.embedding_, self.labels_, self.n_clusters_, self._numbers
        )
        self._check_collapse("ask for fewer clusters, raise losses__cut, or see history_", "cells")
        self._record = record_of(self, self._seen)
        return self

    def _embed(self, X, batch):
        X, cells, order, batch = self._read(X, batch)
        semantic = None if self.text_ is None else self._text.transform(X, cells, order=order)
        inputs = self._without_batches(self._genes.inputs(cells), batch)
        return self._side_by_side(inputs, *self._ensemble.views(self._in_turn(inputs), semantic))[np.argsort(order)]

    def _read(self, X, batch, reset=False):
        """What text is made of; expression in an order that does not depend on how cells came; that order; batches."""
        if isinstance(X, Slices):
            X = cells = put_aside(X, counts=self.normalize)
        else:
            cells = self._read_spots(X, batch=batch, reset=reset)
            if self.normalize:
                check_counts(cells, X, unless=type(self).__name__)
        if reset:
            self._seen = data_hash(cells)
        ordered, order, self._gene_order = in_content_order(cells.X, None if reset else self._gene_order)
        return X, ordered, order, None if cells.batch is None else cells.batch[order]

    def _reads_whole(self):
        return "inputs='counts'" if self.inputs == "counts" else self.align_to and text_reads_whole(self.part("text"))

    def _in_turn(self, inputs):
        return [inputs[i] for i in self._genes.which_]

    def _fit_text(self, X, cells, order, seed):
        """Columns of the text of the cells; None if nothing tells cells apart."""
        self.text_ = self._text = None
        if self.align_to is None:
            return None
        text = self._handed_on(self.part("text"), seed)
        self._say(f"text of the cells: {text}")
        self._text = TextOfSpots(text, WithoutDepth(self._genes.expression_))
        semantic = self._text.fit_transform(X, seed, cells, order=order)
        self.text_ = None if semantic is None else text
        return semantic

    def _side_by_side(self, inputs, structure, text=None):
        """Z of Eq. 13, with the text's share, and the axes that the networks began at."""
        weight = np.float32(self.text_weight)
        fused = structure if text is None else (1 - weight) * structure + weight * text
        if self.inputs == "counts" or self.align_to == "shared":
            return fused
        n_columns = structure.shape[1] // len(self.networks_)
        return np.hstack([fused, *(part[:, :n_columns] / np.float32(np.sqrt(n_columns)) for part in inputs)])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Cosines of expression weigh the graph that is cut.
        tags.input_tags.positive_only = bool(self.normalize or self.part("losses").cut)
        return tags
