"""Averaged expression of a tissue whose slices are read one at a time, in three passes.

The first learns depth, noise and which genes have text, the second covariances of all views at once, the third scores.
Each is a function of one slice, which may run in another process and is kept by ``memory``, and a sum.  One more pass
chooses genes where counts have to be pooled first.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csr_array

from skst import limits
from skst._threads import one_thread_each
from skst.expression.moments import add_moments, averaged_moments, leading_axes, projected
from skst.expression.panels import on_genes, share_of_counts
from skst.expression.pooling import MAX_POOLING
from skst.expression.smooth import AveragedPCA, propagate, single_hop
from skst.expression.survey import ColumnSums, Survey, add_surveys, mark_of, reach_of, sampled_rows, survey
from skst.expression.views import AveragedViews
from skst.graph.build import averaging_operator
from skst.inputs.aside import aside_of
from skst.inputs.blocks import in_rows, some_columns
from skst.inputs.counting import check_range, warn_of_shallow
from skst.inputs.places import Faults, faults_of_degrees
from skst.inputs.slices import Slice, of_slice
from skst.inputs.types import Matrix
from skst.text.gene_sums import GeneSums, weights_of_genes

# Blocks that are done side by side, each with matrices of its own.
MAX_THREADS = 4
# Rows of a file that a tile lies among, for each of its own: beyond, finding them costs more than a copy of the file.
MAX_SPREAD = 4


class Block(NamedTuple):
    """Some spots of a slice, and all that their averages take in.

    Attributes
    ----------
    rows : ndarray of int of shape (n_core,)
        The spots, as rows of the slice.
    X : ndarray or csr_array
        Their counts, and those of spots around them.
    average : csr_array
        Averaging operator of all of these.
    core : ndarray of int of shape (n_core,) or None
        Where among them the spots are; None if there are no others.
    """

    rows: NDArray[np.integer]
    X: Matrix
    average: csr_array
    core: NDArray[np.integer] | None


def blocks(one: Slice, average: csr_array, n_hops: int, n_columns: int) -> Iterator[Block]:
    """A slice in blocks that fit into memory; most are one.

    Parameters
    ----------
    one : Slice
    average : csr_array of shape (n_spots, n_spots)
        Averaging operator of the slice.
    n_hops : int
        Hops that are averaged over.
    n_columns : int
        Columns of what is held dense.
    """
    n_spots = len(one.places)
    size = _spots_a_block(one, n_columns)
    whole = one.read() if one.at_hand or n_spots * n_columns <= limits.SLICE_ENTRIES else None
    if n_spots <= size and whole is not None:
        yield Block(np.arange(n_spots), whole, average, None)
        return
    from skst.nn.batches import Halo, tiles

    halo, rows = Halo([average], hops=max(n_hops, 1)), whole
    for core in tiles(one.places, size):
        patch = halo(core)
        if rows is None and np.ptp(patch.nodes) > MAX_SPREAD * len(patch.nodes):
            rows = aside_of(one)
        X = one.read(patch.nodes) if rows is None else rows[patch.nodes]
        yield Block(core, X, patch.operators[0], np.arange(patch.n_core))


def over_blocks(
    work: Callable[[Block], Any], one: Slice, average: csr_array, n_hops: int, n_columns: int
) -> Iterator[Any]:
    """What a function says of each block of a slice, in order; blocks of what is in memory are done side by side.

    Parameters
    ----------
    work : callable
    one, average, n_hops, n_columns
        As of :func:`blocks`.
    """
    found = blocks(one, average, n_hops, n_columns)
    if not one.at_hand or len(one.places) <= _spots_a_block(one, n_columns):  # in a file, or one block
        return map(work, found)
    return _side_by_side(work, found)


def _spots_a_block(one, n_columns):
    """Few enough that the cache nearly holds them, of slices in memory; but around blocks of few spots lie too many."""
    size, held = (max(1, most // n_columns) for most in (limits.TILE_ENTRIES, limits.HELD_ENTRIES))
    return min(size, held) if one.at_hand and (held >= limits.HELD_SPOTS or len(one.places) > size) else size


def _side_by_side(work, found):
    settings = {"backend": "threading", "pre_dispatch": "n_jobs", "return_as": "generator"}
    threads = joblib.Parallel(min(joblib.cpu_count(), MAX_THREADS), **settings)
    with one_thread_each():
        yield from threads(joblib.delayed(work)(block) for block in found)


class Passes:
    """Passes over the slices of a tissue.

    Parameters
    ----------
    slices : Slices
    graph : SpatialNeighbors
        Joins the spots of a slice.
    pca : AveragedPCA or AveragedViews
        What is fitted, or was.
    memory : joblib.Memory, default=None
        Keeps what is found in each slice.
    fix : str, default="pass raw counts, or set normalize=False"
        What to do about a slice that holds no counts.
    verbose : int, default=0
        Whether there are bars of progress.

    Attributes
    ----------
    n_passes : int
        Over the files, so far.
    from_memory : bool
        Whether all of the last pass was kept from an earlier fit.
    faults : Faults
        Spots that the graph tells nothing about, once the first pass is done.
    marks : list of str
        What tells each slice from others, from then on.
    """

    def __init__(self, slices, graph, pca, *, memory=None, fix="pass raw counts, or set normalize=False", verbose=0):
        self.slices = slices
        self.pca = pca
        self.fix = fix
        self.verbose = verbose
        self.n_passes = 0
        self.from_memory = False
        lasting = all(one.counts.portable or one.at_hand for one in slices.slices)
        self._memory = memory if lasting and memory is not None and memory.location is not None else None
        self._keys = None if self._memory is None else [_key(one) for one in slices.slices]
        self.graph = _Kept(graph) if self._memory is None and all(one.at_hand for one in slices.slices) else graph

    def look(self, text: Any = None) -> tuple[Survey, ColumnSums | None]:
        """First pass: learn hops, depth and scales of genes, and choose genes.

        Parameters
        ----------
        text : tuple (weighting, normalize), default=None
            How text weighs genes, where there is any.

        Returns
        -------
        seen : Survey
        sums : ColumnSums or None
            Of what text weighs genes by.
        """
        pca = self.pca
        n_hops = MAX_POOLING if pca.n_hops == "auto" and pca.normalize else 0
        sampled = np.zeros(self.slices.n_spots, dtype=bool)
        sampled[sampled_rows(self.slices.n_spots)] = True
        each = [np.flatnonzero(sampled[rows]) for rows in self.slices.rows]
        found = list(self.run(_look, "depth", self.graph, n_hops, pca.normalize, text, self.fix, each=each))
        if pca.normalize:
            depths = [float(np.median(part.sizes)) for part, _, _ in found]
            warn_of_shallow([one.called for one in self.slices.slices], depths)
        parts = zip(found, self.slices.slices, strict=True)
        self.marks = [mark_of(part.told, one.places) for (part, _, _), one in parts]
        seen = add_surveys([part for part, _, _ in found])
        seen = seen._replace(sizes=self.slices.joined([part.sizes for part, _, _ in found]))
        alone, crowded, most = zip(*(faults for _, _, faults in found), strict=True)
        self.faults = Faults(sum(alone), sum(crowded), max(most))
        pca.learn(seen)
        if pca.n_pool_ and any(len(one.kept_) < self.slices.n_genes for one in _pcas(pca)):
            # What varies is known once counts are pooled.
            variance = ColumnSums.add(list(self.run(_vary, "genes", self.graph, _pcas(pca)[0]))).variance
            for one in _pcas(pca):
                one.keep_genes(variance)
        return seen, None if text is None else ColumnSums.add([sums for _, sums, _ in found])

    def find_axes(self, text: GeneSums | None = None, n_columns: int = 0) -> "TextAxes | None":
        """Second pass: find the axes of expression, and return those of text.

        Parameters
        ----------
        text : GeneSums, default=None
        n_columns : int, default=0
            Axes of text that are wanted.
        """
        parts = _pcas(self.pca)
        # Text that sums the same square roots has no covariance of its own.
        same = text is not None and not parts[0].n_pool_ and parts[0].normalize
        same = same and text.normalize and text.weighting == "contrast"  # type: ignore[union-attr]
        told = text.told if same else np.empty(0, dtype=int)  # type: ignore[union-attr]
        genes = np.unique(np.concatenate([told, *(one.kept_ for one in parts)]))
        found = self.run(_covary, "covariances", self.graph, parts[0], genes, None if same else text)
        expression, meaning = _add_pairs(found)
        if same:
            meaning = projected(expression, text.vectors[genes] / np.sqrt(parts[0].depth_))  # type: ignore[union-attr]
        elif text is not None and text.few:
            meaning = projected(meaning, text.vectors[text.told])
        for one in parts:
            some = np.searchsorted(genes, one.kept_)
            scales = one.gene_scales_[one.kept_].astype(np.float64)
            scatter = expression.scatter[np.ix_(some, some)] * np.outer(scales, scales)
            n_components = min(one.n_components, self.slices.n_spots, len(some))
            axes, sizes = leading_axes(scatter, n_components)
            others = len(some) - n_components
            beyond = max(np.trace(scatter) - sizes.sum(), 0.0) / others if others else sizes[-1]
            one.learn_axes(axes, expression.mean[some], sizes, beyond, expression.n_rows)
        if text is None:
            return None
        axes, sizes = leading_axes(meaning.scatter, min(n_columns, self.slices.n_spots, len(meaning.mean)))
        total = np.sqrt(sizes.sum() / meaning.n_rows) or 1.0
        offset = 0.0 if text.offset is None else text.offset
        return TextAxes(text, (meaning.mean - offset).astype(np.float32), (axes / total).astype(np.float32))

    def scores(self, text: "TextAxes | None" = None) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Third pass: averaged scores of all spots, neither centred nor scaled, and of their text."""
        found = zip(self.slices.rows, self.run(_score, "scores", self.graph, self.pca, text), strict=True)
        structure, meaning = in_rows(self.slices.n_spots, ((rows, *sides) for rows, sides in found))
        return structure, meaning

    def run(self, function, name, *constant, each=None):
        """What a function says of each slice, from memory where it is there."""
        self.n_passes += 1
        n_slices = len(self.slices.slices)
        keys, each = self._keys or [None] * n_slices, each or [None] * n_slices
        if self._memory is not None:
            function = self._memory.cache(function, ignore=["one"])
            told = [(one, *own, *constant) for one, *own in zip(self.slices.slices, keys, each, strict=True)]
            self.from_memory = all(function.check_call_in_cache(*arguments) for arguments in told)
        own = list(zip(keys, each, strict=True))
        return self.slices.map(function, own, *constant, name=name, verbose=self.verbose)


class _Kept:
    """A graph that keeps what it built of slices that are in memory, from pass to pass."""

    def __init__(self, graph):
        self.graph = graph
        self.built = {}

    def build(self, X, places):
        if id(places) not in self.built:
            self.built[id(places)] = self.graph.build(X, places)
        return self.built[id(places)]


class TextAxes(NamedTuple):
    """What brings the text of spots, averaged over hops, onto few axes.

    Attributes
    ----------
    sums : GeneSums
        What makes the vectors.
    mean : ndarray of shape (d,)
    axes : ndarray of shape (d, n_columns)
    """

    sums: GeneSums
    mean: NDArray[np.float32]
    axes: NDArray[np.float32]


def _pcas(pca: AveragedPCA | AveragedViews) -> list[AveragedPCA]:
    return pca.pcas_ if isinstance(pca, AveragedViews) else [pca]


def _key(one):
    """Hash of what a slice holds, whatever it is called."""
    return joblib.hash((one.counts, one.places, one.columns))


def _operator(graph, one):
    return averaging_operator(graph.build(None, one.places))


def _reach(pca):
    """Hops from a spot to the farthest whose counts its embedding takes in."""
    return pca.n_pool_ + len(pca.hop_weights_) - 1


def _look(one, key, sampled, graph, n_hops, normalize, text, fix):
    average = _operator(graph, one)
    sizes, told = np.empty((2, len(one.places)))

    def look(block):
        seen = survey(block.X, block.average, block.core, normalize=normalize)
        if normalize:
            with of_slice(one.called):
                check_range(seen.lowest.min(), 0.0, False, lambda: fix)
        sizes[block.rows], told[block.rows] = seen.sizes, seen.told
        if text is None:
            return seen, None
        X = block.X if block.core is None else block.X[block.core]
        return seen, ColumnSums.of(weights_of_genes(X, *text))

    seen, sums = zip(*over_blocks(look, one, average, 1, one.n_genes), strict=True)
    reach = reach_of(average, sampled, n_hops)
    whole = add_surveys(seen)._replace(sizes=sizes, told=told, n_edges=average.nnz, reach=reach, n_sampled=len(sampled))
    return whole, None if text is None else ColumnSums.add(sums), faults_of_degrees(np.diff(average.indptr) - 1)


def _vary(one, key, each, graph, pca):
    def vary(block):
        values = pca.values(block.X, block.average, np.arange(one.n_genes))
        return ColumnSums.of(values if block.core is None else values[block.core])

    return ColumnSums.add(over_blocks(vary, one, _operator(graph, one), pca.n_pool_, one.n_genes))


def _covary(one, key, each, graph, pca, genes, text):
    def covary(block):
        values = pca.values(block.X, block.average, genes)
        expression = averaged_moments(values, block.average, pca.hop_weights_, block.core)
        if text is None:
            return expression, None
        pooled = propagate(block.average, _summands(text, block.X), single_hop(pca.n_pool_))
        return expression, averaged_moments(pooled, block.average, pca.hop_weights_, block.core)

    width = max(len(genes), 0 if text is None else min(text.vectors.shape[1], len(text.told)))
    return _add_pairs(over_blocks(covary, one, _operator(graph, one), _reach(pca), width))


def _summands(text, X):
    """What text is a product of: weights of genes, where they are fewer than numbers of a vector, or else the sums."""
    weights = text.weights(X)
    if not text.few:
        return weights @ text.vectors
    some = some_columns(weights, text.told)
    return some.toarray() if sparse.issparse(some) else some


def _score(one, key, each, graph, pca, text):
    if one.present is not None:
        pca, _ = on_genes(pca, one.present)
        share = share_of_counts(pca.counts_, one.present)
        text = None if text is None else text._replace(sums=text.sums.on_genes(one.present, share))
    leading = _pcas(pca)[0]
    genes = np.unique(np.concatenate([part.kept_ for part in _pcas(pca)]))
    same = all(len(part.kept_) == len(genes) for part in _pcas(pca))

    def score(block):
        chosen = slice(None) if block.core is None else block.core
        values = leading.values(block.X, block.average, genes)
        parts = [one.scores_of(values if same else values[:, np.searchsorted(genes, one.kept_)]) for one in _pcas(pca)]
        own = pca.averaged(np.hstack(parts), block.average)[chosen]
        if text is None:
            return block.rows, own, None
        offset = 0.0 if text.sums.offset is None else text.sums.offset
        told = pca.spread(text.sums.weights(block.X) @ (text.sums.vectors @ text.axes), block.average)[chosen]
        return block.rows, own, told - (text.mean + offset) @ text.axes

    return in_rows(len(one.places), over_blocks(score, one, _operator(graph, one), _reach(leading), len(genes)))


def _add_pairs(found):
    """Both sums of pairs of moments, which are taken as they come."""
    expression = meaning = None
    for own, told in found:
        expression = own if expression is None else add_moments([expression, own])
        if told is not None:
            meaning = told if meaning is None else add_moments([meaning, told])
    return expression, meaning
