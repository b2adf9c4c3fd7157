"""SpatialGraphTransformer: expression and coordinates to a spatially aware embedding."""

import numbers
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skst._constraints import HasMethods, Interval, StrOptions
from skst._parameters import NestedParameters
from skst.embedding.averaging import AveragesLikewise
from skst.embedding.batches import CORRECTIONS, CorrectsBatches
from skst.embedding.from_slices import embed_slices, fit_slices, reads_whole
from skst.embedding.methods import ENCODERS, encoder_class, fit_in_content_order, make_axes, make_encoder
from skst.embedding.modulated import Modulated
from skst.embedding.panels import axes_for
from skst.expression.in_place import InPlace
from skst.graph.neighbors import GRAPH, as_graph
from skst.graph.operators import OnGraph
from skst.inputs.counting import check_counts, check_depths
from skst.inputs.reading import ReadsSpots, names_told
from skst.inputs.types import PerSpot


class SpatialGraphTransformer(
    Modulated,
    CorrectsBatches,
    AveragesLikewise,
    NestedParameters,
    OnGraph,
    ReadsSpots,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    r"""Embed each spot by its own expression and that of its spatial neighbours.

    ``method="smooth"`` divides counts by the library size, takes square roots, averages them over the spatial
    graph and projects on principal axes.  With :math:`\bar A = D^{-1}(A + I)` the averaging operator of the
    spatial graph and :math:`s(\cdot)` scaling to a common depth, the embedding is

    .. math:: Z = \tfrac12 (\bar A + \bar A^2) \sqrt{s(\bar A^{p} X)}\, V

    with V the leading principal axes.  :math:`p` is zero where a spot holds molecules enough (500, by the median)
    for a stable square root.  Otherwise raw counts are pooled first, over the fewest hops that make the profile
    deep enough (1,500 effective molecules).

    Parameters
    ----------
    method : {"smooth", "views", "stagate", "graphst", "spaceflow", "stcluster"} or encoder, default="smooth"
        What makes the embedding: the formula above, the same in three ways (see Notes), or a graph network, of which an
        object of :mod:`skst.embedding.encoders`, such as ``STAGATE(n_hidden=128)``, has settings of your own.
    semantic : transformer, default=None
        Makes text vectors that modulate the embedding, such as ``GeneTextEncoder(mode="prompt", k_g=30)``; see Notes.
        Needs raw counts (``normalize=True``).  None leaves text out.
    n_components : int, default=20
        Columns of the embedding, or of each view; fewer where X has fewer rows or columns.
    graph : {"knn", "radius", "delaunay", "learned"}, object, key of ``obsp`` or sparse matrix, default="knn"
        Which spots are neighbours: a kind of :class:`skst.graph.SpatialNeighbors` with its defaults (6 neighbours), or
        learnt.  An object (that, or a ``SpatialGraphLearner``) has settings of your own; ``graph__n_neighbors`` reaches
        into either.  A key such as ``"spatial_connectivities"`` reads a graph made elsewhere, of which each entry above
        zero is an edge.
    n_hops : int or "auto", default="auto"
        Hops to average over: the formula above, or square roots over exactly so many hops, without pooling.
    spatial_weight : float, default=1.0
        Share of a spot's surroundings in the embedding; the rest is what it expresses itself (BANKSY's lambda).  1 is
        for domains, 0.2 for types of cells in place; 0 leaves the surroundings out.
    n_top_genes : int or None, default=3000
        Number of genes of largest variance kept; None keeps all.
    normalize : bool, default=True
        False takes X as it is (already normalised, of any sign): no scaling, no square root, no pooling.
    gene_names : array-like of str of shape (n_genes,), default=None
        Names of the columns of an `X` that carries none; read by `semantic` alone.
    layer : str, default=None
        Layer of an AnnData that holds the counts; ``X.X`` by default.
    use_rep : str, default=None
        Key of ``obsm`` of an AnnData whose columns are averaged as they are in place of counts, such as ``"X_scVI"``.
    spatial_key : str, default="spatial"
        Key of the coordinates in ``X.obsm``.
    batch_key : str, default=None
        Column of ``X.obs`` that names the slice of each spot.
    batch_effect : {"shift", "harmony"} or None, default=None
        What sets slices apart beside their domains and is taken out of the embedding: a shift of each slice, if it can
        be shown (see Notes), or what Harmony finds, which needs the extra ``skst[harmony]``.  None leaves all in.
    on_missing : {"warn", "error"}, default="warn"
        What to do when there are no coordinates: warn and embed the expression alone, or raise.
    random_state : int, RandomState instance or None, default=None
        Seeds the network, the modulation, and `semantic` where it has no seed of its own; without effect on the rest.

    Attributes
    ----------
    embedding_ : ndarray of shape (n_spots, n_columns), float32
        Embedding of the spots seen in ``fit``, scaled to a total variance of 1 a view.
    n_components_ : int
        Columns of the embedding.
    n_views_ : int
        Embeddings that it holds side by side.
    n_pool_ : int
        Hops over which raw counts were pooled (:math:`p`).
    hop_weights_ : ndarray of float32
        Weight of each number of hops, from 0, over which square roots are averaged.
    components_ : ndarray of shape (n_axes, n_genes), float32
        Principal axes of averaged expression, which the embedding of surroundings consists of, or which a network
        reads; zero for genes that were not kept.
    graph_ : SpatialNeighbors, SpatialGraphLearner or None
        What joins spots; None if that was to be learnt, without coordinates.
    encoder_ : encoder or None
        Fitted encoder, with its network; None for ``method="smooth"``.
    semantic_ : estimator or None
        Fitted text encoder; None without `semantic` or gene names.
    modulation_ : Modulation or None
        Factors ``alpha`` and ``beta`` of each spot, each of shape (n_spots, n_columns); 0 changes nothing.
    history_ : DataFrame or None
        One row an epoch of training, with losses, seconds ("dur") and "part"; None where nothing is trained.
    batch_shift_ : ndarray of shape (n_slices,) or None
        Mean squared distance by which spots of each slice were moved, where the variance of a view is 1; slices in the
        order in which they appear.  0 where no effect was shown, None where none was looked for.
    n_passes_ : int
        How often slices were read; only where that is done one at a time.
    n_features_in_ : int
        Number of genes seen in ``fit``.
    feature_names_in_ : ndarray of str of shape (n_genes,)
        Gene names, where X has them.

    Raises
    ------
    ValueError
        From ``fit``: if counts are negative or not finite, coordinates are not usable, a key is not in the AnnData, or
        `semantic` is given with ``normalize=False``.

    Warns
    -----
    UserWarning
        If there are no coordinates, no gene names for `semantic`, or if X looks log-transformed.

    See Also
    --------
    SpaLLMFusion : Adds gene text to this embedding and finds domains.

    Notes
    -----
    Everything is sparse up to the projection, at a cost linear in spots and non-zeros.  Counts are pooled *raw*: scaled
    first, 3 molecules would weigh as much as 300.  New spots have a graph of their own: pass whole slices.

    ``method="views"`` puts three embeddings side by side, for a clusterer that looks at each
    (:class:`~skst.partition.ConsensusMixture`): the formula; that of genes scaled to equal noise, each square root over
    that of the gene's variance which neighbours do not share, over its mean; and this over one hop alone.  Strong genes
    are the best witnesses, and the worst where entries are lost.  A number of hops, or X as it is, leaves one view.

    A network reads the scores of each spot on the leading principal axes of the averaged expression (50 by default),
    not averaged: noise that no neighbour shares is left out, and training costs as much with 20,000 genes as with 200.
    Its representation is centred and turned to its own principal axes.  :meth:`paper` gives published settings.

    Without coordinates nothing is averaged: with expression neighbours an embedding would depend on other cells.
    With a `spatial_weight` w below 1 a view is :math:`[\sqrt{w} Z, \sqrt{1 - w}\, O]`, with O the spot's own principal
    components, of genes of unit variance and rid of depth.

    With ``batch_effect="shift"`` slices are taken to be mixtures of the same domains, in proportions of their own, each
    moved as a whole (:class:`~skst.embedding.shifts.SliceShifts`).  A shift is shown by several domains that differ
    alike, and what only some differ by is left in.  New slices are corrected too, the domains of ``fit`` held fixed.

    With `semantic`, the embedding Z is modulated by text (FSM of SemST [1]_, Table 3).  With T the text vector of each
    spot, averaged over the same hops as the expression,

    .. math:: (\alpha, \beta) = \mathrm{MLP}(T), \qquad Z' = (1 + \alpha) \odot Z + \beta

    where the MLP is trained on the finished Z, from Z' = Z on, so that Z' explains the counts
    (:class:`~skst.embedding.semantic.SemanticHead`).  Without gene names Z stays as it is.

    References
    ----------
    .. [1] J. Long et al., "When genes speak: a semantic-guided framework for spatially resolved transcriptomics data
       clustering", arXiv:2511.11380.

    Examples
    --------
    >>> from skst import SpatialGraphTransformer
    >>> from skst.datasets import make_spatial_domains
    >>> adata = make_spatial_domains(n_samples=300, random_state=0)
    >>> SpatialGraphTransformer(n_components=5).fit_transform(adata).shape
    (300, 5)

    Modulated by text:

    >>> from skst import GeneTextEncoder
    >>> text = GeneTextEncoder(model="lexical", mode="prompt", k_g=10)
    >>> modulated = SpatialGraphTransformer(semantic=text, n_components=5, random_state=0).fit(adata)
    >>> modulated.embedding_.shape, modulated.modulation_.alpha.shape
    ((300, 5), (300, 5))
    """

    _parameter_constraints = {
        "method": [StrOptions({"smooth", "views", *ENCODERS}), HasMethods(["fit_embed", "embed"])],
        "semantic": [HasMethods(["fit_transform", "transform"]), None],
        "n_components": [Interval(numbers.Integral, 1, None, closed="left")],
        "graph": GRAPH,
        "n_hops": [Interval(numbers.Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "spatial_weight": [Interval(numbers.Real, 0, 1, closed="both")],
        "n_top_genes": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "normalize": ["boolean"],
        "gene_names": ["array-like", None],
        "layer": [str, None],
        "use_rep": [str, None],
        "spatial_key": [str],
        "batch_key": [str, None],
        "batch_effect": [StrOptions(set(CORRECTIONS)), None],
        "on_missing": [StrOptions({"warn", "error"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        method="smooth",
        *,
        semantic=None,
        n_components=20,
        graph="knn",
        n_hops="auto",
        spatial_weight=1.0,
        n_top_genes=3000,
        normalize=True,
        gene_names=None,
        layer=None,
        use_rep=None,
        spatial_key="spatial",
        batch_key=None,
        batch_effect=None,
        on_missing="warn",
        random_state=None,
    ):
        self.method = method
        self.semantic = semantic
        self.n_components = n_components
        self.graph = graph
        self.n_hops = n_hops
        self.spatial_weight = spatial_weight
        self.n_top_genes = n_top_genes
        self.normalize = normalize
        self.gene_names = gene_names
        self.layer = layer
        self.use_rep = use_rep
        self.spatial_key = spatial_key
        self.batch_key = batch_key
        self.batch_effect = batch_effect
        self.on_missing = on_missing
        self.random_state = random_state

    @classmethod
    def paper(cls, method: str, **parameters: Any) -> Self:
        """The published settings of an encoder, which reads the genes themselves.

        Parameters
        ----------
        method : {"stagate", "graphst", "spaceflow", "stcluster"}
            Encoder.
        **parameters
            Other parameters, or other values of those that are set here.

        Returns
        -------
        SpatialGraphTransformer

        Raises
        ------
        ValueError
            If there is no such encoder.
        """
        if method not in ENCODERS:
            raise ValueError(f"method={method!r} has no published settings; choose one of {tuple(ENCODERS)}.")
        encoder = encoder_class(method)
        return cls(encoder.paper()).set_params(**encoder.PAPER_TRANSFORMER | parameters)

    def _parts(self):
        return {"graph": lambda graph: as_graph(graph, self._counts)}

    def fit(self, X: Any, y: object = None, *, coordinates: PerSpot = None, batch: PerSpot = None) -> Self:
        """Find the principal axes of the averaged expression, and train the network where there is one.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or list of AnnData or paths, one a slice
            Raw counts.  "smooth" and "views" read a list, or an AnnData in its file with a `batch_key`, slice by slice.
        y : None
            Ignored.
        coordinates : array-like of shape (n_spots, 2) or (n_spots, 3), default=None
            Positions; by default those of the AnnData.
        batch : array-like of shape (n_spots,), default=None
            Slice of each spot; by default the column `batch_key` of the AnnData.

        Returns
        -------
        self : SpatialGraphTransformer
        """
        self.fit_transform(X, y, coordinates=coordinates, batch=batch)
        return self

    def fit_transform(self, X: Any, y: Any = None, *, coordinates: PerSpot = None, batch: PerSpot = None) -> np.ndarray:
        """Find the principal axes and embed the spots they were found from.

        Parameters
        ----------
        X, y, coordinates, batch
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n_spots, n_columns), float32
        """
        self._validate_params()
        if self.semantic is not None and not self._counts:
            raise ValueError(
                "semantic is given with normalize=False or use_rep=, but modulation is trained to explain raw counts; "
                "pass raw counts with normalize=True, or semantic=None."
            )
        X, places, slices, _ = self._open(X, coordinates, batch, reset=True)
        if slices is not None:
            self.embedding_ = fit_slices(self, slices).structure
            return self.embedding_
        spots = self._read_spots(X, **places, reset=True)
        rng = check_random_state(self.random_state)
        if self._counts:
            check_counts(spots, X, unless=type(self).__name__)
            check_depths(spots)
        average = self._fit_operator(spots, rng, self._counts)
        self.encoder_ = make_encoder(self.method)
        n_axes = getattr(self.encoder_, "n_inputs", None) or self.n_components
        settings = {"n_hops": self.n_hops, "n_top_genes": self.n_top_genes, "normalize": self._counts}
        self._pca = pca = make_axes(self.method, n_axes, **settings)
        scores = pca.fit_scores(spots.X, average, rng)
        self.n_pool_, self.hop_weights_ = pca.n_pool_, pca.hop_weights_
        self.components_ = pca.components(spots.X.shape[1])
        if self.encoder_ is None:
            embedding = pca.average(scores, average)
        else:
            inputs = self._inputs(spots, average, scores)
            embedding = fit_in_content_order(self.encoder_, spots, average, inputs, self.n_components, rng)
        embedding = self._fit_modulation(X, spots, average, embedding, rng)
        self._in_place = InPlace(self.spatial_weight, self.n_components, normalize=self._counts)
        embedding = self._in_place.fit_join(spots.X, embedding, getattr(pca, "n_views_", 1), rng)
        self.n_views_, self.n_components_ = self._in_place.n_views_, embedding.shape[1]
        self.embedding_ = self._fit_batches(embedding, spots.batch, rng)
        return self.embedding_

    def transform(self, X: Any, *, coordinates: PerSpot = None, batch: PerSpot = None) -> np.ndarray:
        """Embed spots by the axes found in ``fit``, on a graph among themselves.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or list of AnnData or paths, one a slice
            Raw counts of the same genes; an AnnData may order them differently, hold more, or lack some.
        coordinates, batch
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n_spots, n_columns), float32
            A list of these, one a slice, if X is a list.
        """
        check_is_fitted(self)
        opened = self._open(X, coordinates, batch)
        if opened.slices is not None:
            return opened.given_back(embed_slices(self, opened.slices).structure)
        X, spots = opened.X, self._read_spots(opened.X, **opened.places, unknown=reads_whole(self) is None)
        if self._counts:
            check_counts(spots, X, unless=type(self).__name__)
        average, pca = self._operator(spots), axes_for(self._pca, spots.present)
        scores = pca.scores(spots.X, average)
        if self.encoder_ is None:
            embedding = pca.average(scores, average)
        else:
            inputs = self._inputs(spots, average, scores)
            embedding = self.encoder_.embed(inputs, average, points=spots.coordinates, batch=spots.batch)
        if self._head is not None:
            with names_told():
                text = self.semantic_.transform(X)
            embedding = self._head.transform(embedding, self._spread_text(text, average))
        return opened.given_back(self._without_batches(self._in_place.join(spots.X, embedding), spots.batch))

    def _reads_whole(self):
        return reads_whole(self)

    @property
    def _counts(self):
        """Whether counts are read."""
        return self.normalize and self.use_rep is None

    @property
    def _n_features_out(self):
        return self.n_components_
