"""What networks on graphs read of spots: of a tissue that is in memory, or of slices that are read one at a time."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csr_array

from skst.embedding.sliced import Passes, over_blocks
from skst.expression.counts import library_sizes
from skst.expression.smooth import DENSE_GENES, AveragedPCA
from skst.files.aside import RowsAside
from skst.genes.ranking import RankedGenes
from skst.graph.build import averaging_operator
from skst.graph.neighbors import SpatialNeighbors, as_graph
from skst.graph.operators import warn_if_alike
from skst.inputs.blocks import column_sums, in_rows, some_columns
from skst.inputs.counting import check_counts, check_depths, check_range
from skst.inputs.order import content_order, order_by_sums
from skst.inputs.slices import Slices
from skst.inputs.spots import Spots
from skst.inputs.types import Matrix
from skst.text.columns import TextOfSpots, text_reads_whole


class Learnt(NamedTuple):
    """What networks are trained on.

    Attributes
    ----------
    scores : ndarray of shape (n_spots, n_components), float32
        Of each spot by its own expression.
    semantic : ndarray of shape (n_spots, n_semantic), float32, or None
        Columns of text.
    genes : ndarray of int of shape (n_decoded,)
        Columns of X whose counts are decoded, ascending.
    order : ndarray of int of shape (n_decoded,)
        An order of these that does not depend on that of the columns; that of all below.
    log_rates, loadings : ndarray
        As from :meth:`AveragedPCA.genes <skst.expression.smooth.AveragedPCA.genes>`.
    counts : ndarray, csr_array or RowsAside of shape (n_spots, n_decoded)
    sizes : ndarray of shape (n_spots,), float64
        Library sizes.
    """

    scores: NDArray[np.float32]
    semantic: NDArray[np.float32] | None
    genes: NDArray[np.integer]
    order: NDArray[np.integer]
    log_rates: NDArray[np.float32]
    loadings: NDArray[np.float32]
    counts: Matrix | RowsAside
    sizes: NDArray[np.float64]


def networks_read_whole(graph: Any, text: Any) -> str | None:
    """What keeps networks on a graph, with text or without, from slices that are read one at a time; None if nothing.

    Parameters
    ----------
    graph : object
        The parameter of an estimator.
    text : GeneTextEncoder or None
    """
    if not isinstance(as_graph(graph), SpatialNeighbors):
        return f"graph={graph!r}"
    return None if text is None else text_reads_whole(text, ("sentence", "prompt"))


class WholeTissue:
    """Spots in memory.

    Parameters
    ----------
    X : object
        What they were read from.
    spots : Spots
    pca : AveragedPCA
        Fitted by :meth:`learn`, or before.
    """

    marks = None

    def __init__(self, X: Any, spots: Spots, pca: AveragedPCA):
        self.X = X
        self.spots = spots
        self.pca = pca

    def learn(
        self, average: csr_array, text: TextOfSpots | None, n_decoded: int, seed: int, rng: np.random.RandomState
    ) -> Learnt:
        """Fit the axes, and the text, and read what networks are trained on.

        Parameters
        ----------
        average : csr_array of shape (n_spots, n_spots)
            Averaging operator.
        text : TextOfSpots or None
        n_decoded : int
            Genes whose counts are decoded.
        seed : int
            Of what fits the text.
        rng : RandomState
            Of what finds the axes.
        """
        check_counts(self.spots, self.X)
        check_depths(self.spots)
        X, pca = self.spots.X, self.pca
        scores = pca.fit_scores(X, average, rng)
        semantic = None if text is None else text.fit_transform(self.X, seed, average)
        variances = pca.average(scores, average).var(axis=0, dtype=np.float64)
        genes, log_rates, loadings = pca.genes(variances, n_decoded)
        # Networks know genes in an order of their own, so that draws do not depend on that of the columns.
        order = content_order(some_columns(X, genes), axis=1)
        log_rates, loadings = log_rates[order], loadings[order]
        return Learnt(scores, semantic, genes, order, log_rates, loadings, X[:, genes[order]], library_sizes(X))

    def read(
        self, average: csr_array, text: TextOfSpots | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Scores and columns of text, of what was learnt before."""
        semantic = None if text is None else text.transform(self.X, average)
        return self.pca.scores(self.spots.X, average), semantic


class SlicedTissue:
    """Slices, each of which is in memory while it is read.

    What is kept of a spot is its scores, its text, and, in a temporary file, counts of the genes that are decoded.
    Methods are those of :class:`WholeTissue`.

    Parameters
    ----------
    slices : Slices
    graph : SpatialNeighbors
        Joins spots of a slice.
    pca : AveragedPCA
    verbose : int, default=0
        Whether there are bars of progress.
    """

    def __init__(self, slices: Slices, graph: SpatialNeighbors, pca: AveragedPCA, *, verbose: int = 0):
        self.slices = slices
        self.pca = pca
        self._passes = Passes(slices, graph, pca, fix="pass raw counts", verbose=verbose)

    @property
    def marks(self) -> list[str]:
        """What tells each slice from others, once it was learnt from."""
        return self._passes.marks

    def learn(
        self, average: csr_array, text: TextOfSpots | None, n_decoded: int, seed: int, rng: np.random.RandomState
    ) -> Learnt:
        """As there."""
        encoder, pca = None if text is None else text.encoder, self.pca
        seen, sums = self._passes.look(None if encoder is None else (encoder.weighting, encoder.normalize))
        check_range(seen.lowest.min(), seen.highest.max(), seen.fractions, lambda: "pass raw counts")
        warn_if_alike(np.stack([seen.lowest, seen.highest]), self.slices.n_spots)
        self._passes.find_axes()
        if len(pca.kept_) > DENSE_GENES:  # as many draws as in memory, so that batches are the same from here on
            rng.uniform(size=len(pca.kept_))
        genes, log_rates, loadings = pca.genes(pca.scaled_variances, n_decoded)
        scores, counts, order, _ = self._read("scores", genes)
        semantic = None
        if text is not None and sums is not None:
            told = pca.counts_, sums.mean, sums.variance
            ranked = text.encoder.learn_texts(self.slices.genes, *told, lambda rank: self._read("texts", rank=rank)[-1])
            semantic = text.fit_transform_ranked(ranked, average)
        return Learnt(scores, semantic, genes, order, log_rates[order], loadings[order], counts, seen.sizes)

    def read(
        self, average: csr_array, text: TextOfSpots | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """As there."""
        scores, *_, ranked = self._read("scores", rank=None if text is None else text.encoder.rank)
        return scores, None if text is None else text.transform_ranked(ranked, average)

    def _read(self, name, decoded=None, rank=None):
        """Scores, counts of some genes, their order, and the genes that texts name of all spots."""
        slices = self.slices
        pca = self.pca if name == "scores" else None
        found = self._passes.run(_read, name, self._passes.graph, pca, decoded, rank)
        scores, ranked, sums = None, [], 0.0
        counts = None if decoded is None else RowsAside(slices.n_spots, len(decoded))
        for rows, (own, some, named) in zip(slices.rows, found, strict=True):
            if pca is not None:
                scores = np.empty((slices.n_spots, own.shape[1]), dtype=np.float32) if scores is None else scores
                scores[rows] = own
            if counts is not None:
                counts.append(some, rows)
                sums = sums + np.stack([column_sums(some, power) for power in (1, 2, 3)])
            ranked.append(named)
        order = None
        if counts is not None:
            order = order_by_sums(sums)
            counts = counts.ordered(columns=order)
        together = None
        if rank is not None:
            together = _in_turn(RankedGenes.join(ranked), np.concatenate(slices.rows))
        return scores, counts, order, together


def _read(one, key, each, graph, pca, decoded, rank):
    average = averaging_operator(graph.build(None, one.places))

    def read(block):
        own = slice(None) if block.core is None else block.core
        scores = counts = None
        if pca is not None:
            scores = pca.scores_of(pca.values(block.X, block.average, pca.kept_))[own]
        X = block.X[own]
        if decoded is not None:
            counts = sparse.csr_array(X[:, decoded])
        return block.rows, scores, counts, None if rank is None else rank(X)

    n_hops, width = (0, one.n_genes) if pca is None else (pca.n_pool_, len(pca.kept_))
    rows, scores, counts, ranked = zip(*over_blocks(read, one, average, n_hops, width), strict=True)
    place = np.concatenate(rows)
    return (
        None if pca is None else in_rows(len(one.places), zip(rows, scores, strict=True))[0],
        None if decoded is None else sparse.vstack(counts, format="csr")[np.argsort(place)],
        None if rank is None else _in_turn(RankedGenes.join(ranked), place),
    )


def _in_turn(ranked, rows):
    """Ranks of spots that come as these rows, in the order of rows; most are in it."""
    return ranked if np.array_equal(rows, np.arange(len(rows))) else ranked.take(np.argsort(rows))
