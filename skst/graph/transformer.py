"""SpatialGraphTransformer: expression and coordinates to a spatially aware embedding."""

import numbers

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skst._contract import Spots, check_counts, read_spots
from skst.graph import smooth
from skst.graph.build import KINDS, spatial_operator


class SpatialGraphTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
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
    method : {"smooth"}, default="smooth"
        Encoder.
    n_components : int, default=20
        Columns of the embedding; fewer where X has fewer rows or columns.
    graph : {"knn", "radius", "delaunay"}, default="knn"
        Which spots are neighbours, see :func:`spatial_graph`.
    n_neighbors : int, default=6
        Neighbours of a spot for ``graph="knn"``.
    radius : float, default=None
        Reach for ``graph="radius"``, in units of the coordinates.
    n_hops : int or "auto", default="auto"
        Hops to average over.  "auto" is the formula above; an integer averages square roots over exactly so many
        hops and pools nothing.
    n_top_genes : int or None, default=3000
        Number of genes of largest variance kept; None keeps all.
    normalize : bool, default=True
        False takes X as it is (already normalised, of any sign): no scaling, no square root, no pooling.
    layer : str, default=None
        Layer of an AnnData that holds the counts; ``X.X`` by default.
    spatial_key : str, default="spatial"
        Key of the coordinates in ``X.obsm``.
    batch_key : str, default=None
        Column of ``X.obs`` that names the slice of each spot.
    on_missing : {"warn", "error"}, default="warn"
        What to do when there are no coordinates: warn and embed the expression alone, or raise.
    random_state : int, RandomState instance or None, default=None
        Start vector of the iterative PCA; results do not depend on it beyond rounding.

    Attributes
    ----------
    embedding_ : ndarray of shape (n_spots, n_columns), float32
        Embedding of the spots seen in ``fit``, scaled to a total variance of 1.
    n_components_ : int
        Columns of the embedding.
    n_pool_ : int
        Hops over which raw counts were pooled (:math:`p`).
    hop_weights_ : ndarray of float32
        Weight of each number of hops, from 0, over which square roots are averaged.
    components_ : ndarray of shape (n_columns, n_genes), float32
        Principal axes, zero for genes that were not kept.
    n_features_in_ : int
        Number of genes seen in ``fit``.
    feature_names_in_ : ndarray of str of shape (n_genes,)
        Gene names, where X has them.

    Raises
    ------
    ValueError
        From ``fit``: if counts are negative or not finite, coordinates are not usable, or a key is not in the AnnData.

    Warns
    -----
    UserWarning
        If there are no coordinates, or if X looks log-transformed.

    See Also
    --------
    SpaLLMFusion : Adds gene text to this embedding and finds domains.

    Notes
    -----
    Everything is sparse up to the projection.  The principal axes of the averaged expression are found from
    products with :math:`\bar A` and the counts alone, at a cost linear in spots and non-zeros.

    Counts are pooled *raw*, so that a profile is the mean of molecules and not of spots; scaling each shallow
    spot to a common depth first gives the same weight to 3 molecules as to 300.

    New spots are embedded on a graph of their own: pass whole slices to ``transform``.

    Without coordinates nothing is averaged: a graph of expression neighbours would make the embedding of a cell
    depend on the cells it happens to be transformed with.

    Examples
    --------
    >>> from skst import SpatialGraphTransformer
    >>> from skst.datasets import make_spatial_domains
    >>> adata = make_spatial_domains(n_samples=300, random_state=0)
    >>> SpatialGraphTransformer(n_components=5).fit_transform(adata).shape
    (300, 5)
    """

    _parameter_constraints = {
        "method": [StrOptions({"smooth"})],
        "n_components": [Interval(numbers.Integral, 1, None, closed="left")],
        "graph": [StrOptions(set(KINDS))],
        "n_neighbors": [Interval(numbers.Integral, 1, None, closed="left")],
        "radius": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "n_hops": [Interval(numbers.Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "n_top_genes": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "normalize": ["boolean"],
        "layer": [str, None],
        "spatial_key": [str],
        "batch_key": [str, None],
        "on_missing": [StrOptions({"warn", "error"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        method="smooth",
        *,
        n_components=20,
        graph="knn",
        n_neighbors=6,
        radius=None,
        n_hops="auto",
        n_top_genes=3000,
        normalize=True,
        layer=None,
        spatial_key="spatial",
        batch_key=None,
        on_missing="warn",
        random_state=None,
    ):
        self.method = method
        self.n_components = n_components
        self.graph = graph
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.n_hops = n_hops
        self.n_top_genes = n_top_genes
        self.normalize = normalize
        self.layer = layer
        self.spatial_key = spatial_key
        self.batch_key = batch_key
        self.on_missing = on_missing
        self.random_state = random_state

    def fit(self, X, y=None, *, coordinates=None, batch=None):
        """Find the principal axes of the averaged expression.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray or sparse of shape (n_spots, n_genes)
            Raw counts.
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

    def fit_transform(self, X, y=None, *, coordinates=None, batch=None):
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
        spots = read_spots(self, X, coordinates=coordinates, batch=batch, reset=True)
        average = spatial_operator(self, spots)
        if self.normalize:
            check_counts(spots)
        pca = smooth.AveragedPCA(
            self.n_components, n_hops=self.n_hops, n_top_genes=self.n_top_genes, normalize=self.normalize
        )
        scores = pca.fit_scores(spots.X, average, check_random_state(self.random_state))
        self.embedding_ = pca.average(scores, average)
        self.n_components_ = scores.shape[1]
        self.n_pool_, self.hop_weights_ = pca.n_pool_, pca.hop_weights_
        self.components_ = np.zeros((self.n_components_, spots.X.shape[1]), dtype=np.float32)
        self.components_[:, pca.kept_] = pca.axes_.T
        self._pca = pca
        return self.embedding_

    def transform(self, X, *, coordinates=None, batch=None):
        """Embed spots by the axes found in ``fit``, on a graph among themselves.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray or sparse of shape (n_spots, n_genes)
            Raw counts of the same genes; an AnnData may order them differently or hold more.
        coordinates, batch
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n_spots, n_columns), float32
        """
        check_is_fitted(self)
        spots = read_spots(self, X, coordinates=coordinates, batch=batch)
        average = spatial_operator(self, spots)
        if self.normalize:
            check_counts(spots)
        return self._pca.average(self._pca.scores(spots.X, average), average)

    def average(self, values, *, coordinates, batch=None):
        """Average anything about spots over the hops that the embedding sees.

        Parameters
        ----------
        values : ndarray of shape (n_spots, n_columns)
            One row a spot.
        coordinates, batch
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n_spots, n_columns)
        """
        check_is_fitted(self)
        average = spatial_operator(self, Spots(values, None, np.asarray(coordinates, dtype=np.float64), batch))
        return self._pca.spread(values, average)

    @property
    def _n_features_out(self):
        return self.n_components_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = bool(self.normalize)
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
