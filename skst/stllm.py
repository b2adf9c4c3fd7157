"""STLLMClusterer: a graph of the tissue, told in words at three levels, read, and partitioned."""

import numbers
import warnings
from functools import partial
from itertools import compress
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skst import limits
from skst._constraints import Interval
from skst._parameters import or_new
from skst.base import DOMAINS, DomainMixin
from skst.embedding.fusion import ViewFusion
from skst.embedding.panels import axes_for
from skst.expression.views import AveragedViews
from skst.graph.neighbors import GRAPH, SpatialNeighbors, as_graph
from skst.graph.operators import OnGraph
from skst.inputs.counting import check_counts, check_depths
from skst.inputs.order import content_order
from skst.inputs.reading import ON_MISSING, missing, names_told
from skst.inputs.types import Expression, PerSpot
from skst.narration.genes import genes_in_words
from skst.narration.levels import read_levels, report_of
from skst.narration.narrator import TissueNarrator
from skst.settings import Narration
from skst.text import GeneTextEncoder
from skst.text.columns import TextColumns
from skst.text.controls import gaussian_of_texts, permuted_order
from skst.text.text_vectors import TextVectors

# Length of random vectors in place of text, that of all-MiniLM-L6-v2.
_NOISE_LENGTH = 384
_MAX_SEED = np.iinfo(np.int32).max


class STLLMClusterer(OnGraph, DomainMixin, BaseEstimator):
    r"""Find spatial domains from what a language model makes of a tissue told in words.

    On a graph of the spots, which may be learnt (:class:`~skst.graph.SpatialGraphLearner`), expression is averaged and
    reduced to principal axes, :math:`H_E`.  The tissue is then told at three levels
    (:class:`~skst.narration.TissueNarrator`): each spot by its most specific genes and its place, its
    neighbourhood by what it shares and borders, and its region by size, place and markers.  A frozen language model
    reads every distinct text once.  The vectors of the levels, averaged over the graph and side by side, make
    :math:`H_T`, and the domains are a partition of

    .. math:: H = \alpha H_E + \beta\, \mathrm{PCA}(H_T) R

    with both views of unit total variance, and R the rotation that matches the second to the first.

    Parameters
    ----------
    n_clusters : int, default=None
        Number of domains; estimated by :func:`skst.partition.estimate_n_clusters` if None.
    text : GeneTextEncoder, default=None
        Says which model reads, which table describes genes, and what is cached; ``GeneTextEncoder()`` by default.  Its
        `control` is heeded: "permuted" tells each gene under the name of another, "unrelated" by words without
        meaning, "gaussian" draws vectors at random.
    narration : Narration, default=None
        How the tissue is told: its levels, and how many genes, tokens and regions.
    alpha, beta : float, default=1.0, 0.03
        Weights of expression and of text; ``alpha=0`` leaves text alone.
    n_components : int, default=20
        Columns of each view.
    graph : {"knn", "radius", "delaunay", "learned"}, SpatialNeighbors or SpatialGraphLearner, default="knn"
        Which spots are neighbours: a kind of :class:`skst.graph.SpatialNeighbors` with its defaults (6 neighbours), or
        learnt.  An object has settings of your own; ``graph__n_neighbors`` reaches into either.
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
        What to do when there are no coordinates or gene names: warn and go on without, or raise.
    random_state : int, RandomState instance or None, default=None
        Determines everything.
    verbose : int, default=0
        1 shows what is done, and a progress bar of the reading.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_spots,)
        Domain of each spot, equal to ``predict`` of the same data.
    embedding_ : ndarray of shape (n_spots, n_views * n_columns), float32
        H, once for each of the views of :class:`~skst.SpatialGraphTransformer`, side by side.
    domains_ : DataFrame
        One row a domain, largest first: what :meth:`~skst.narration.TissueNarrator.table` tells of it, "text", its
        description, and "domain", its label.
    text_report_ : DataFrame
        One row a level: number of "texts", of "distinct" ones, of those "read" by the model now and not found in the
        cache, and "seconds".
    narrator_ : TissueNarrator
        Tells about the spots of ``fit``.  It holds what it tells of, so it is left out of a pickle.
    text_ : GeneTextEncoder or None
        What composes the texts of spots; None if they are read.
    graph_ : SpatialNeighbors, SpatialGraphLearner or None
        What joins spots; None if that was to be learnt, without coordinates.
    history_ : DataFrame or None
        The reward of each epoch, if the graph was learnt.
    n_clusters_ : int
        Number of domains asked for or estimated.
    n_clusters_curve_ : DataFrame
        Only if `n_clusters` is None: the criterion at each number.
    clusterer_ : estimator
        Fitted partition of the embedding.
    n_features_in_ : int
        Number of genes seen in ``fit``.
    feature_names_in_ : ndarray of str of shape (n_genes,)
        Gene names, where X has them.

    Raises
    ------
    ValueError
        If `n_clusters` is larger than the number of spots, a level is unknown, counts are negative, or ``alpha=0`` and
        there is no text; with ``on_missing="error"`` if there are no coordinates, or no gene has a name or a symbol.

    Warns
    -----
    UserWarning
        If there are no coordinates or gene names, genes with a symbol make up less than half of the counts, or X looks
        log-transformed.

    See Also
    --------
    SpaLLMFusion : The same fusion, of vectors of genes instead of texts about places.
    skst.inspection.semantic_permutation_test : Whether the text mattered.

    Notes
    -----
    Only the abstract of the paper [1]_ is public: a graph built by reinforcement learning, hierarchical descriptions
    of it, and the embedding of these by a language model.  How each is done here is a design of this package.

    The learnt graph joins spots of one domain more often than the nearest neighbours do, but averaging over it finds
    domains no better, and on some tissues worse (``python -m benchmarks stllm``).  So it is not the default.

    Text has a small weight.  At ``beta=0.05`` the texts of regions, the same for all spots of one, already print the
    borders of regions onto the domains of cortex.  A tied mixture sees directions of little variance as well as
    others, so weights act beyond their size.

    Texts describe a whole slice, so ``predict`` wants whole slices too: a new slice is told by its own depth, axis and
    markers, with regions by the expression profiles of ``fit``.

    References
    ----------
    .. [1] Z. Xu et al., "ST-LLM: Spatial transcriptomics embedding with large language models", AAAI 2026,
       doi:10.1609/aaai.v40i40.40713.

    Examples
    --------
    >>> from skst import GeneTextEncoder, STLLMClusterer
    >>> from skst.datasets import make_spatial_domains
    >>> adata = make_spatial_domains(n_samples=300, n_domains=3, random_state=0)
    >>> text = GeneTextEncoder(model="lexical")
    >>> model = STLLMClusterer(3, text=text, random_state=0).fit(adata)
    >>> model.labels_.shape, int(model.domains_["n_spots"].sum())
    ((300,), 300)
    >>> print(model.describe(0).splitlines()[0])
    Spot
    """

    _parameter_constraints = {
        **DOMAINS,
        **ON_MISSING,
        "text": [GeneTextEncoder, None],
        "narration": [Narration, None],
        "alpha": [Interval(numbers.Real, 0, None, closed="left")],
        "beta": [Interval(numbers.Real, 0, None, closed="left")],
        "n_components": [Interval(numbers.Integral, 1, None, closed="left")],
        "graph": GRAPH,
    }

    def __init__(
        self,
        n_clusters=None,
        *,
        text=None,
        narration=None,
        alpha=1.0,
        beta=0.03,
        n_components=20,
        graph="knn",
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
        self.narration = narration
        self.alpha = alpha
        self.beta = beta
        self.n_components = n_components
        self.graph = graph
        self.clusterer = clusterer
        self.n_vote_neighbors = n_vote_neighbors
        self.gene_names = gene_names
        self.layer = layer
        self.spatial_key = spatial_key
        self.batch_key = batch_key
        self.on_missing = on_missing
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Expression, y: object = None, *, coordinates: PerSpot = None, batch: PerSpot = None) -> Self:
        """Learn the graph, tell the tissue, read it, and partition.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or list of AnnData or paths, one a slice
            Raw counts.
        y : None
            Ignored.
        coordinates : array-like of shape (n_spots, 2) or (n_spots, 3), default=None
            Positions; by default those of the AnnData.
        batch : array-like of shape (n_spots,), default=None
            Slice of each spot; by default the column `batch_key` of the AnnData.

        Returns
        -------
        self : STLLMClusterer
        """
        from sklearn.cluster import KMeans

        self._validate_params()
        # What was fitted is told likewise of new slices.
        self._narration = clone(self.part("narration").check())
        X, places, *_ = self._open(X, coordinates, batch, reset=True)
        spots = self._read_spots(X, **places, reset=True)
        check_counts(spots, X)
        check_depths(spots)
        self._check_partition(spots.X.shape[0])
        # In the order of SpaLLMFusion, which finds the same domains where there is no text.
        seeds = check_random_state(self.random_state).randint(_MAX_SEED, size=3)
        spatial_seed, self._text_seed, partition_seed = (int(seed) for seed in seeds)
        rng = np.random.RandomState(spatial_seed)

        self._say(f"graph of {spots.X.shape[0]} spots: {self.graph}")
        average = self._fit_operator(spots, rng)
        self.history_ = getattr(self.graph_, "history_", None)
        self._pca = AveragedViews(self.n_components)
        structure = self._pca.average(self._pca.fit_scores(spots.X, average, rng), average)
        n_regions = min(self._narration.n_regions, len(np.unique(structure, axis=0)))
        # Sorted, and from the same start for any random_state: what is told depends on the tissue alone, and what was
        # read for one seed is in the cache for the next.
        ordered = structure[content_order(spots.X, spots.coordinates)]
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # of rows alike but for rounding
            self._regions = KMeans(n_regions, n_init=3, random_state=0).fit(ordered)
        self._name_genes(spots)
        self.narrator_ = self._narrate(spots, average, self._regions.predict(structure))
        meaning = self._fit_levels(X, average)
        if self.alpha == 0 and (meaning is None or self.beta == 0):
            raise ValueError(
                "alpha=0 leaves text alone, of which there is none; pass gene names, levels and beta above 0."
            )
        self._fusion = ViewFusion(alpha=self.alpha, beta=self.beta, n_views=self._pca.n_views_)
        self.embedding_ = self._fusion.fit_fuse(structure, meaning)
        self._find_domains(spots, partition_seed, n_views=self._pca.n_views_)
        self.domains_ = self._tell_domains(spots, average)
        return self

    def describe(self, i: int) -> str:
        """What is written about a spot of ``fit``, at all three levels; the model reads those of `narration`.

        Parameters
        ----------
        i : int
            Its index, from 0.

        Returns
        -------
        str
            A paragraph a level.

        Raises
        ------
        NotFittedError
            Before ``fit``, and after a pickle was loaded.
        IndexError, TypeError
            If there is no such spot.
        """
        check_is_fitted(self)
        if not hasattr(self, "narrator_"):
            raise NotFittedError(
                "narrator_ holds data of fit and is left out of a pickle; fit again to describe spots."
            )
        if not isinstance(i, numbers.Integral):  # type: ignore[unreachable]
            raise TypeError(f"i={i!r} is no index; give the number of the spot, such as X.obs_names.get_loc(name).")
        if not 0 <= i < len(self.labels_):  # type: ignore[unreachable]
            raise IndexError(f"i={i} is none of the {len(self.labels_)} spots of fit; give an index from 0.")
        return self.narrator_.describe(i)

    def __getstate__(self):
        return {name: value for name, value in super().__getstate__().items() if name != "narrator_"}

    def _read_spots(self, X, **given):
        return super()._read_spots(X, **given, unknown=isinstance(getattr(self, "graph_", None), SpatialNeighbors))

    def _embed(self, X, spots):
        average, pca = self._operator(spots), axes_for(self._pca, spots.present)
        structure = pca.average(pca.scores(spots.X, average), average)
        if not self._columns:
            return self._fusion.fuse(structure, None)
        narrator = self._narrate(spots, average, self._regions.predict(structure))
        reader = self._reader(fitted=self._model)
        columns = [
            columns.transform(vectors, average)
            for columns, vectors in zip(self._columns, self._read(X, narrator, reader)[0], strict=True)
        ]
        return self._fusion.fuse(structure, np.hstack(columns))

    def _parts(self):
        return {"text": or_new(GeneTextEncoder), "graph": as_graph, "narration": or_new(Narration)}

    def _name_genes(self, spots):
        """What genes are called in the texts and what they do; nothing without gene names."""
        self.text_ = None
        self._encoder = self._handed_on(self.part("text"), self._text_seed).check()
        if self.verbose:
            self._encoder.set_params(verbose=self.verbose)
        # A control is drawn by the seed of the encoder, so that it can be the same under other seeds of the rest.
        self._control_seed = int(check_random_state(self._encoder.random_state).randint(_MAX_SEED))
        self._symbols, self._functions, lack = genes_in_words(spots, self._encoder.part("descriptions"))
        told = bool(self._narration.levels)
        if told and self._functions is None:
            strict = "error" in (self.on_missing, self._encoder.on_missing)
            missing(lack[0], "STLLMClusterer goes on without text", lack[1], strict=strict)
        elif told and lack is not None:
            warnings.warn(f"{lack[0]}; {lack[1]}.", UserWarning, stacklevel=3)
        if self._functions is not None and self._encoder.control == "permuted":
            order = permuted_order([self._symbols != ""], np.random.RandomState(self._control_seed))
            self._symbols, self._functions = self._symbols[order], self._functions[order]

    def _narrate(self, spots, average, regions):
        narrator = TissueNarrator(
            k_g=self._narration.k_g,
            max_tokens=self._narration.max_tokens,
            names="nonsense" if self._encoder.control == "unrelated" else "symbol",
        )
        places = {"coordinates": spots.coordinates, "batch": spots.batch}
        return narrator.fit(spots.X, average, regions, symbols=self._symbols, functions=self._functions, **places)

    def _fit_levels(self, X, average):
        """The levels that tell spots apart side by side, each of mean variance 1; None if there are none."""
        self._columns, self._told, self._model = [], [], None
        self.text_report_ = report_of([])
        if self._functions is None or not self._narration.levels:
            return None
        n_spots = len(self.narrator_.region_index_)
        spot_text = self._narration.spot_text
        self._composes = spot_text == "compose" or (spot_text == "auto" and n_spots > limits.MAX_READ)
        self._told = [level for level in Narration.LEVELS if level in self._narration.levels]
        encode = self._reader()
        self._model = None if encode is None else encode.identity
        vectors, self.text_report_ = self._read(X, self.narrator_, encode)
        learnt = [TextColumns(self._pca.spread) for _ in vectors]
        values = [c.fit_transform(v, self._text_seed, average) for c, v in zip(learnt, vectors, strict=True)]
        informative = [c.informative_ for c in learnt]
        self._told, self._columns, values = (list(compress(part, informative)) for part in (self._told, learnt, values))
        return np.hstack(values) if values else None

    def _reader(self, fitted=None):
        """What reads texts; None where vectors are random."""
        if self._encoder.control == "gaussian":
            return None
        return TextVectors(self._encoder.part("model"), verbose=self._encoder.verbose, fitted=fitted)

    def _read(self, X, narrator, encode):
        """Vectors of each level for each spot, and what it took."""
        compose = partial(self._composed, X) if self._composes else None
        noise = partial(gaussian_of_texts, seed=self._control_seed, d=_NOISE_LENGTH)
        return read_levels(narrator, self._told, encode, noise=noise, compose=compose, say=self._say)

    def _composed(self, X):
        """Vectors of spots from those of the descriptions of their genes."""
        with names_told():
            if self.text_ is None:
                self.text_ = clone(self._encoder).set_params(mode="aggregate", max_texts=None).fit(X)
            return self.text_.transform(X)

    def _tell_domains(self, spots, average):
        narrator = self._narrate(spots, average, self.labels_)
        table = narrator.table().rename(columns={"region": "domain"})
        return table.assign(text=narrator.region_texts())
