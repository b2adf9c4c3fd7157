"""What text adds to an embedding of spots, whatever made the embedding."""

import warnings
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from skst import limits
from skst.expression.counts import library_sizes, median_depth, scale_depth, square_root
from skst.inputs.types import Matrix

# Up to here all spots make one batch; larger tissue is cut into tiles of so many.
# Without training spots do not depend on each other, so so many are passed through the network at a time.
CHUNK = 65_536


class Modulation(NamedTuple):
    """What the text does to each spot, for each network side by side.

    Attributes
    ----------
    alpha, beta : ndarray of shape (n_spots, n_columns), float32
        Scale and shift of each column that a network modulates; 0 changes nothing.
    """

    alpha: np.ndarray
    beta: np.ndarray


class SemanticHead:
    r"""Modulate a finished embedding by the text of its spots (SemST, Table 3).

    With H the embedding, which stays as it is, and T the text vectors of the spots,

    .. math:: (\alpha, \beta) = \mathrm{MLP}(T), \qquad Z = (1 + \alpha) \odot H + \beta

    is learnt, without labels, so that Z explains the counts: the loss is the negative log-likelihood of a negative
    binomial with ``log mean = log library size + Z D + b``, plus a spatial regularisation of Z, plus a price on what
    the text adds.  Training begins with Z = H.  The W of the paper is left out: decoder and W matter to the likelihood
    by their product alone, so that training W would move Z for no gain, with any text.

    Parameters
    ----------
    n_genes : int, default=500
        Number of genes decoded: those of which the embedding explains most variance.
    spatial_weight : float, default=0.1
        Weight of the spatial regularisation beside the likelihood.
    text_weight : float, default=0.3
        Weight of the mean square of what the text adds to Z, relative to Z without it.
    max_epochs : int, default=80
        Most passes over the spots; with 0 the embedding stays as it is.
    lr : float, default=1e-3
        Learning rate of Adam.
    patience : int or None, default=20
        Training ends when its loss has not fallen for so many epochs; None runs all.
    device : str, default="auto"
        Where to train, such as "cpu" or "cuda"; "auto" takes a GPU if there is one.
    random_state : int, default=0
        Seed of the network and of its batches.

    Attributes
    ----------
    embedding_ : ndarray of shape (n_spots, n_components), float32
        Modulated embedding, of unit total variance.
    modulation_ : Modulation
        Factors alpha and beta of each spot, each of shape (n_spots, n_components).
    genes_ : ndarray of int of shape (n_decoded,)
        Columns of the counts that are decoded, ascending.
    history_ : DataFrame
        One row an epoch: "epoch", "train_loss", its terms ("zinb", "spatial", "text") and "dur" in seconds.

    See Also
    --------
    skst.SpatialGraphTransformer : Uses this head for ``semantic=``.
    skst.nn.SemanticModulation : The module, for torch models.

    References
    ----------
    .. [1] J. Long et al., "When genes speak: a semantic-guided framework for spatially resolved transcriptomics data
       clustering", arXiv:2511.11380.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.graph import averaging_operator, spatial_graph
    >>> from skst.embedding.semantic import SemanticHead
    >>> rng = np.random.default_rng(0)
    >>> counts = rng.poisson(3, (60, 10)).astype(np.float32)
    >>> average = averaging_operator(spatial_graph(rng.random((60, 2))))
    >>> head = SemanticHead(max_epochs=3).fit(np.sqrt(counts[:, :4]), rng.random((60, 8)), counts, average)
    >>> head.embedding_.shape, head.modulation_.alpha.shape
    ((60, 4), (60, 4))
    """

    def __init__(
        self,
        *,
        n_genes=500,
        spatial_weight=0.1,
        text_weight=0.3,
        max_epochs=80,
        lr=1e-3,
        patience=20,
        device="auto",
        random_state=0,
    ):
        self.n_genes = n_genes
        self.spatial_weight = spatial_weight
        self.text_weight = text_weight
        self.max_epochs = max_epochs
        self.lr = lr
        self.patience = patience
        self.device = device
        self.random_state = random_state

    def fit(
        self,
        embedding: ArrayLike,
        semantic: ArrayLike,
        counts: Matrix,
        average: csr_array,
        *,
        points: np.ndarray | None = None,
        batch: NDArray[np.integer] | None = None,
    ) -> Self:
        """Learn the modulation.

        Parameters
        ----------
        embedding : array-like of shape (n_spots, n_components)
            Embedding to be modulated, of any scale.
        semantic : array-like of shape (n_spots, n_semantic)
            Text vectors, of any scale.
        counts : ndarray or csr_array of shape (n_spots, n_genes)
            Raw counts.
        average : csr_array of shape (n_spots, n_spots)
            Averaging operator of the spatial graph, from :func:`skst.graph.averaging_operator`.
        points : ndarray of shape (n_spots, n_dims), default=None
            Where spots lie, so that tiles of large tissue are compact; by default in the embedding.
        batch : ndarray of int of shape (n_spots,), default=None
            Slice of each spot.

        Returns
        -------
        self : SemanticHead

        Raises
        ------
        ValueError
            If rows do not match, or text vectors are not finite or the same for all spots.

        Warns
        -----
        UserWarning
            If training was cut short by Ctrl-C.
        """
        from skst.nn.batches import tiles
        from skst.nn.ensemble import NetworkEnsemble
        from skst.nn.training import SpotBatches, resolve_device

        embedding, semantic = np.asarray(embedding, dtype=np.float32), _check(semantic, embedding)
        if not np.ptp(semantic, axis=0).any():
            raise ValueError("semantic has the same text vector for every spot; give vectors that differ.")
        self._from, self._text = _centre_and_scale(embedding), _centre_and_scale(semantic)
        embedding, semantic = _standardized(embedding, self._from), _standardized(semantic, self._text)
        sizes = library_sizes(counts)
        self.genes_, log_rates, loadings = _explained(embedding, counts, sizes, self.n_genes)
        shape = {
            "n_features": embedding.shape[1],
            "n_hidden": 0,
            "n_components": embedding.shape[1],
            "n_semantic": semantic.shape[1],
            "n_genes": len(self.genes_),
            "n_branches": 1,
            "convolve": False,
            "project": False,
        }
        parts = None
        if len(embedding) > limits.MAX_FULL_BATCH:
            parts = tiles(embedding if points is None else points, limits.TILE_SIZE, batch=batch)
        batches = SpotBatches(
            [],
            [embedding],
            [average],
            semantic,
            counts=counts[:, self.genes_],
            sizes=np.maximum(sizes, 1.0),
            tiles=parts,
            random_state=np.random.default_rng(self.random_state),
        )
        self._ensemble = NetworkEnsemble(shape, loadings, log_rates)
        self.embedding_ = self._ensemble.fit(
            batches,
            [self.random_state],
            [True],
            lr=self.lr,
            say=lambda _: None,
            max_epochs=self.max_epochs,
            patience=self.patience,
            device=resolve_device(self.device),
            callbacks=None,
            verbose=0,
            weights={
                "correlation_weight": 0.0,
                "spatial_weight": self.spatial_weight,
                "text_weight": self.text_weight,
            },
        )[0]
        if self._ensemble.interrupted:
            warnings.warn(
                "Training of the modulation was interrupted; the embedding is modulated by what had been learnt.",
                stacklevel=2,
            )
        self.modulation_ = Modulation(*self._ensemble.factors(semantic))
        self.history_ = self._ensemble.history.drop(columns="network")
        return self

    def transform(self, embedding: ArrayLike, semantic: ArrayLike) -> NDArray[np.float32]:
        """Modulate other spots.

        Parameters
        ----------
        embedding : array-like of shape (n_spots, n_components)
            Their embedding, made as that of ``fit`` was.
        semantic : array-like of shape (n_spots, n_semantic)
            Their text vectors.

        Returns
        -------
        ndarray of shape (n_spots, n_components), float32
        """
        from skst.nn.training import SpotBatches

        embedding, semantic = np.asarray(embedding, dtype=np.float32), _check(semantic, embedding)
        embedding, semantic = _standardized(embedding, self._from), _standardized(semantic, self._text)
        chunks = (slice(i, i + CHUNK) for i in range(0, len(embedding), CHUNK))
        return np.vstack([self._ensemble.embed(SpotBatches([], [embedding[c]], [], semantic[c]))[0] for c in chunks])


def _check(semantic, embedding):
    semantic = np.asarray(semantic, dtype=np.float32)
    if semantic.ndim != 2 or len(semantic) != len(embedding):
        raise ValueError(
            f"semantic has shape {semantic.shape} but there are {len(embedding)} spots; give one text vector a spot."
        )
    if not np.isfinite(semantic).all():
        raise ValueError("semantic holds NaN or infinite text vectors; give zeros for spots without text.")
    return semantic


def _centre_and_scale(values):
    """Mean of each column, and the root of their mean variance."""
    deviation = float(np.sqrt(values.var(axis=0, dtype=np.float64).mean()))
    return values.mean(axis=0, dtype=np.float64).astype(np.float32), np.float32(deviation or 1.0)


def _standardized(values, centre_and_scale):
    centre, scale = centre_and_scale
    return (values - centre) / scale


def _explained(embedding, counts, sizes, n_genes):
    """Genes of which a centred embedding explains most variance, log rates, and how these change with the embedding."""
    depth = median_depth(sizes)
    root = square_root(scale_depth(counts, depth, sizes))
    covariance = np.asarray(root.T @ embedding, dtype=np.float64)
    slopes = covariance @ np.linalg.pinv((embedding.T @ embedding).astype(np.float64), hermitian=True)
    genes = np.sort(np.argsort(-(slopes * covariance).sum(axis=1), kind="stable")[:n_genes])
    totals = np.asarray(counts[:, genes].sum(axis=0, dtype=np.float64)).ravel()
    rates = np.maximum(totals, 0.5) / max(sizes.sum(), 1.0)
    # A rate is the square of a root over the depth, so its logarithm changes by 2 d root / root.
    loadings = 2.0 * slopes[genes] / np.sqrt(np.maximum(rates * depth, 1e-3))[:, None]
    return genes, np.log(rates).astype(np.float32), loadings.astype(np.float32)
