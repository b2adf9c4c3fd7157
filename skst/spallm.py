"""SpaLLMFusion: a spatial embedding and a gene-text embedding, aligned, added and partitioned."""

import numbers
import os
from functools import partial
from typing import Any, Self

import joblib
import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import check_memory, has_fit_parameter

from skst import limits
from skst._constraints import HasMethods, Interval, StrOptions
from skst._parameters import or_new
from skst._version import __version__
from skst.base import DOMAINS, DomainMixin
from skst.embedding import SpatialGraphTransformer
from skst.embedding.from_slices import embed_slices, fit_slices, views_read_whole
from skst.embedding.fusion import ALIGNMENTS, STRATEGIES, ViewFusion
from skst.embedding.panels import sums_for
from skst.embedding.sliced import TextAxes
from skst.inputs.reading import names_told, where_of
from skst.inputs.slices import slices_in_memory
from skst.inputs.spots import graph_of, read_beside, read_spots
from skst.inputs.tables import table_of
from skst.inputs.types import PerSpot
from skst.text import GeneTextEncoder

N_VOTERS = 18  # two rings of a hexagonal lattice


class SpaLLMFusion(DomainMixin, BaseEstimator):
    r"""Find spatial domains from expression, coordinates and what is written about genes.

    Two views of each spot are made: a spatial embedding :math:`H_{ST}` and a text embedding
    :math:`H_{LLM} = X F` with F the language model's vectors of gene descriptions (SpaLLM, Sec. 2.2 and 2.3).
    The text view is averaged over the spatial graph, reduced by PCA to as many columns as the spatial view,
    scaled to the same total variance, rotated to match it (R), and the weighted sum (Sec. 2.4)

    .. math:: H = \alpha H_{ST} + \beta\, \mathrm{PCA}(H_{LLM}) R

    is partitioned into domains.  Labels are never seen.

    Parameters
    ----------
    spatial : transformer, default=None
        Makes the spatial embedding; ``SpatialGraphTransformer("views")`` by default.
    text : transformer, default=None
        Makes the text embedding; ``GeneTextEncoder()`` by default.
    strategy : {"weighted", "concat", "expression", "functional"}, default="weighted"
        Weighted sum of the two views, both side by side (:math:`[\alpha H_{ST}, \beta H_{LLM}]`), the spatial view
        alone, or the text view alone.
    alpha, beta : float, default=1.0, 0.05
        Weights of the spatial and of the text view, both of unit total variance.
    align : {"procrustes", "regression", "none"}, default="procrustes"
        How the text view is brought onto the axes of the spatial view before the sum: by a rotation, by ridge
        regression, or, as published, not at all.
    n_clusters : int, default=None
        Number of domains; estimated by :func:`skst.partition.estimate_n_clusters` if None.
    clusterer : {"mixture", "kmeans", "leiden", "louvain"} or estimator, default="mixture"
        Partition of the fused embedding, see :func:`skst.partition.make_clusterer`.
    n_vote_neighbors : int or "auto", default="auto"
        Spatial neighbours that vote on the label of a spot, see :func:`skst.partition.majority_vote`; 0 for no vote.
        "auto" is 18, but 0 where more than half of what `spatial` embeds is a spot's own expression.
    gene_names : array-like of str of shape (n_genes,), default=None
        Names of the columns of an `X` that carries none.
    layer : str, default=None
        Layer of an AnnData that holds the counts; ``X.X`` by default.
    spatial_key : str, default="spatial"
        Key of the coordinates in ``X.obsm``.
    batch_key : str, default=None
        Column of ``X.obs`` that names the slice of each spot.
    memory : str, path-like or joblib.Memory, default=None
        Where the two embeddings are cached, so that a search over the weights costs only the partition.
    random_state : int, RandomState instance or None, default=None
        Seeds the partition, and the transformers where they have no seed of their own.
    verbose : int, default=0
        1 prints a line a step.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_spots,)
        Domain of each spot, equal to ``predict`` of the same data.
    embedding_ : ndarray of shape (n_spots, n_columns), float32
        Fused embedding; where the spatial one is several views side by side, each is fused on its own.
    n_clusters_ : int
        Number of domains asked for or estimated.
    n_clusters_curve_ : DataFrame
        Only if `n_clusters` is None: the criterion at each number.
    spatial_, text_ : estimator or None
        Fitted transformers; None where the strategy does not use them.  Of slices that are read one at a time, and of
        more than 50,000 spots, the former keeps no ``embedding_``.
    clusterer_ : estimator
        Fitted partition of the embedding.
    from_cache_ : dict
        Whether the "spatial" and the "text" embedding were read from `memory`.
    n_features_in_ : int
        Number of genes seen in ``fit``.
    feature_names_in_ : ndarray of str of shape (n_genes,)
        Gene names, where X has them.

    Raises
    ------
    ValueError
        If `n_clusters` is larger than the number of spots, no gene has text, or ``strategy="functional"`` meets
        data without gene names.

    See Also
    --------
    GeneTextEncoder, SpatialGraphTransformer

    Notes
    -----
    Deviations from the paper:

    - The paper adds the principal components of :math:`H_{LLM}` to the columns of :math:`H_{ST}` as they come.
      The two bases share no axes, so the sum mixes unrelated columns; ``align="none"`` keeps that form.
    - The text view is averaged over the spatial graph, as often as the spatial view is, when `spatial` is a
      :class:`SpatialGraphTransformer`; the paper leaves it a view of the spot alone.
    - Both views have unit total variance, so that `alpha` and `beta` are weights.

    References
    ----------
    .. [1] Z. Zou and Z. Duan, "SpaLLM: a general framework for spatial domain identification with large
       language models".

    Examples
    --------
    >>> from skst import GeneTextEncoder, SpaLLMFusion
    >>> from skst.datasets import make_spatial_domains
    >>> adata = make_spatial_domains(n_samples=400, n_domains=3, random_state=0)
    >>> text = GeneTextEncoder(model="lexical")
    >>> labels = SpaLLMFusion(text=text, n_clusters=3, random_state=0).fit_predict(adata)
    >>> labels.shape
    (400,)
    """

    _parameter_constraints = {
        **DOMAINS,
        "spatial": [HasMethods(["fit_transform", "transform"]), None],
        "n_vote_neighbors": [*DOMAINS["n_vote_neighbors"], StrOptions({"auto"})],
        "strategy": [StrOptions(set(STRATEGIES))],
        "alpha": [Interval(numbers.Real, 0, None, closed="left")],
        "beta": [Interval(numbers.Real, 0, None, closed="left")],
        "align": [StrOptions(set(ALIGNMENTS))],
        "memory": "no_validation",
    }

    def __init__(
        self,
        spatial=None,
        text=None,
        *,
        strategy="weighted",
        alpha=1.0,
        beta=0.05,
        align="procrustes",
        n_clusters=None,
        clusterer="mixture",
        n_vote_neighbors="auto",
        gene_names=None,
        layer=None,
        spatial_key="spatial",
        batch_key=None,
        memory=None,
        random_state=None,
        verbose=0,
    ):
        self.spatial = spatial
        self.text = text
        self.strategy = strategy
        self.alpha = alpha
        self.beta = beta
        self.align = align
        self.n_clusters = n_clusters
        self.clusterer = clusterer
        self.n_vote_neighbors = n_vote_neighbors
        self.gene_names = gene_names
        self.layer = layer
        self.spatial_key = spatial_key
        self.batch_key = batch_key
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: object = None, *, coordinates: PerSpot = None, batch: PerSpot = None) -> Self:
        """Embed the spots twice, fuse the embeddings, and partition the result.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or list of AnnData or paths, one a slice
            Raw counts; a list, and an AnnData in a file that has a `batch_key`, is read one slice at a time.
        y : None
            Ignored.
        coordinates : array-like of shape (n_spots, 2) or (n_spots, 3), default=None
            Positions; by default those of the AnnData.
        batch : array-like of shape (n_spots,), default=None
            Slice of each spot; by default the column `batch_key` of the AnnData.

        Returns
        -------
        self : SpaLLMFusion
        """
        self._validate_params()
        weights = {"expression": (self.alpha,), "functional": (1,)}.get(self.strategy, (self.alpha, self.beta))
        if not any(weights):
            raise ValueError(f"alpha=0 and beta={self.beta} leave nothing of the spots; give one a weight above 0.")
        X, places, slices, _ = self._open(X, coordinates, batch, reset=True)
        spots = self._read_spots(X, **places, reset=True) if slices is None else slices.spots()
        self._marked = None  # of an earlier fit
        parts = self._parts_of(spots) if slices is None else slices
        self._check_partition(spots.X.shape[0])
        # All seeds are drawn before anything else, so that strategies can be compared seed by seed.
        rng = check_random_state(self.random_state)
        seeds = dict(zip(("spatial", "text", "partition"), rng.randint(np.iinfo(np.int32).max, size=3), strict=True))
        memory = check_memory(os.fspath(self.memory) if isinstance(self.memory, os.PathLike) else self.memory)
        self.from_cache_: dict[str, bool] = {}

        # In a method of its own, so that vectors of all spots are gone before the partition.
        if parts is None:
            self.embedding_ = self._fit_views(X, spots, memory, seeds)
        else:
            self.embedding_, sizes, marks = self._fit_slices(parts, memory, seeds)
            spots = spots if slices is None else slices.spots(sizes)
        found_in = {"beside": self._beside(X)} if slices is None else {"slices": slices, "marks": marks}
        self._find_domains(spots, seeds["partition"], self._fusion.n_fused_, **found_in)
        return self

    def _fit_views(self, X, spots, memory, seeds):
        """Fit both views and the fusion; return the fused embedding."""
        spatial = self.part("spatial")
        self._say(f"spatial embedding of {spots.X.shape[0]} spots x {spots.X.shape[1]} genes: {spatial}")
        structure, self.spatial_ = self._view(spatial, "spatial", X, spots, memory, seeds)
        self.text_, meaning = None, None
        if self.strategy != "expression":
            text = self.part("text")
            self._say(f"text embedding: {text}")
            meaning, self.text_ = self._view(text, "text", X, spots, memory, seeds)
            meaning = self._averaged(X, meaning, spots)
        return self._fit_fusion(structure, meaning)

    def _reads_whole(self):
        spatial, text = self.part("spatial"), None if self.strategy == "expression" else self.part("text")
        ours = isinstance(spatial, SpatialGraphTransformer)
        return views_read_whole(spatial, text) if ours else f"spatial={spatial!r}"

    def _parts_of(self, spots):
        """Slices of spots in memory that are many, or others than slices of the fit; None where they are one whole."""
        few = spots.X.shape[0] <= limits.MAX_WHOLE and self._marked is None
        if few or spots.coordinates is None or self._reads_whole():
            return None
        return slices_in_memory(spots, type(self).__name__)

    def _read_spots(self, X, **given):
        return super()._read_spots(X, **given, unknown=self._reads_whole() is None)

    def _fit_slices(self, slices, memory, seeds):
        """Fit both views and the fusion one slice at a time; return the fused embedding, library sizes and marks."""
        spatial, text = self._handed_on(self.part("spatial"), seeds["spatial"]), None
        if self.strategy != "expression":
            text = self._handed_on(self.part("text"), seeds["text"])
        self._say(f"views of {slices.n_spots} spots x {slices.n_genes} genes in {len(slices.slices)} slices: {spatial}")
        views = fit_slices(spatial, slices, text=text, memory=memory, verbose=self.verbose)
        self.spatial_, self.text_ = spatial, text
        self.from_cache_ = dict.fromkeys(("spatial", "text") if text is not None else ("spatial",), views.from_memory)
        text_axes = None if views.text_axes is None else (views.text_axes.mean, views.text_axes.axes)
        if text_axes is None:
            self._check_text()
        self._fusion = self._new_fusion()
        fused = self._fusion.fit_fuse_reduced(views.structure, views.meaning, text_axes)
        return fused, views.sizes, views.marks

    def _embed_slices(self, slices):
        axes = self._fusion.text_axes_
        text_axes = None if axes is None else TextAxes(self.text_.gene_sums(), *axes)
        views = embed_slices(self.spatial_, slices, text_axes=text_axes, verbose=self.verbose)
        return self._fusion.fuse_reduced(views.structure, views.meaning, in_place=True)

    def _parts(self):
        return {
            "spatial": or_new(partial(SpatialGraphTransformer, "views")),
            "text": or_new(partial(GeneTextEncoder, verbose=self.verbose)),
        }

    def _view(self, transformer, view, X, spots, memory, seeds):
        """Embedding of X by a copy of `transformer`, and the fitted copy; from `memory` where it is there."""
        X, transformer = table_of(X), self._handed_on(transformer, seeds[view])
        keywords = _place(transformer, spots)
        if memory.location is None:
            key = None
        else:
            where = where_of(transformer.get_params(deep=False))
            with names_told():
                seen, _ = read_spots(X, where, coordinates=spots.coordinates, batch=spots.batch)
            parts = [transformer, *transformer.get_params(deep=True).values()]
            texts = [part.outside() for part in parts if isinstance(part, GeneTextEncoder)]
            key = _fingerprint(seen), texts, __version__
        cached = memory.cache(_fit_transform, ignore=["X", "keywords"])
        self.from_cache_[view] = bool(cached.check_call_in_cache(transformer, X, keywords, key))
        with names_told():
            return cached(transformer, X, keywords, key)

    def _beside(self, X):
        parts = [part.get_params(deep=True) for part in (self.spatial_, self.text_) if part is not None]
        # Parts of parts too, such as the steps of a pipeline.
        parts += [nested.get_params() for part in parts for nested in part.values() if _has_params(nested)]
        return [read_beside(X, where_of(part), self.layer) for part in parts]

    def _n_voters(self):
        if self.n_vote_neighbors != "auto":
            return self.n_vote_neighbors
        return N_VOTERS if getattr(self.spatial_, "spatial_weight", 1.0) >= 0.5 else 0

    def _averaged(self, X, meaning, spots):
        """The text view seen over as many hops as the spatial view."""
        if hasattr(self.spatial_, "average") and spots.coordinates is not None:
            places = {"coordinates": spots.coordinates, "batch": spots.batch}
            graph = graph_of(X, getattr(self.spatial_, "graph", None))
            return self.spatial_.average(meaning, **places, counts=spots.X, graph=graph)
        return meaning

    def _embed(self, X, spots):
        parts = self._parts_of(spots)
        if parts is not None:
            return self._embed_slices(parts)
        X = table_of(X)
        with names_told():
            structure = np.asarray(self.spatial_.transform(X, **_place(self.spatial_, spots)))
            if self._fusion.text_axes_ is None:
                return self._fusion.fuse(structure, None)
            meaning = self._meaning(X, spots)
        return self._fusion.fuse(structure, self._averaged(X, meaning, spots))

    def _meaning(self, X, spots):
        """Text of other spots; of genes that X lacks nothing is told."""
        if spots.present is None:
            return np.asarray(self.text_.transform(X, **_place(self.text_, spots)))
        return sums_for(self.spatial_, self.text_.gene_sums(), spots.present)(spots.X)

    def _fit_fusion(self, structure, meaning):
        """Learn centres, scales and the alignment of the views; return the fused embedding."""
        if meaning is not None and not np.ptp(meaning, axis=0).any():
            meaning = None  # no gene names: the encoder has warned
            self._check_text()
        self._fusion = self._new_fusion()
        return self._fusion.fit_fuse(structure, meaning)

    def _check_text(self):
        """Raise if all rests on text, and there is none."""
        if self.strategy == "functional":
            raise ValueError(
                "strategy='functional' has nothing to go by, as the text embedding is the same for all spots; pass "
                "gene names that a table of descriptions knows, or use strategy='expression'."
            )

    def _new_fusion(self):
        n_views = getattr(self.spatial_, "n_views_", 1)
        return ViewFusion(self.strategy, alpha=self.alpha, beta=self.beta, align=self.align, n_views=n_views)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        views = [self.part("spatial")]
        if self.strategy != "expression":
            views.append(self.part("text"))
        tags.input_tags.positive_only = any(get_tags(view).input_tags.positive_only for view in views)
        return tags


def _has_params(value):
    return hasattr(value, "get_params") and not isinstance(value, type)


def _fit_transform(transformer, X, keywords, key):
    return np.asarray(transformer.fit_transform(X, **keywords)), transformer


def _place(transformer, spots):
    """Coordinates and slices for a transformer that takes them."""
    if not has_fit_parameter(transformer, "coordinates"):
        return {}
    return {"coordinates": spots.coordinates, "batch": spots.batch}


def _fingerprint(spots):
    """Hash of everything an embedding of `spots` can depend on."""
    X = spots.X
    values = (X.data, X.indices, X.indptr, X.shape) if sparse.issparse(X) else X
    return joblib.hash((values, spots.genes, spots.coordinates, spots.batch, spots.graph))
