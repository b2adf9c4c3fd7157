"""Mini-batches of a tissue: compact tiles, and what a graph network must see around them.  NumPy and SciPy only."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csr_array


def tiles(points: ArrayLike, size: int, *, batch: ArrayLike | None = None) -> list[NDArray[np.int64]]:
    """Cut points into compact tiles of equal size, slice by slice.

    Each part is halved across its axis of largest variance, as in a k-d tree, until the tiles are small enough; this
    takes O(n log n) time and O(n) memory, and no randomness.

    Parameters
    ----------
    points : array-like of shape (n_spots, n_dims)
        Coordinates or, where there are none, any embedding of the spots.
    size : int
        Spots wanted in a tile.
    batch : array-like of shape (n_spots,), default=None
        Slice of each spot; no tile holds spots of two slices.

    Returns
    -------
    list of ndarray of int64
        Indices of the spots of each tile, ascending.  Each spot is in one tile.  A slice of n spots makes
        ``max(1, round(n / size))`` tiles, whose sizes differ by at most one.

    Raises
    ------
    ValueError
        If `size` is below 1, or `points` is not a table with a row for each entry of `batch`.

    Examples
    --------
    >>> from skst.nn.batches import tiles
    >>> tiles([[0.0, 0.0], [9.0, 0.0], [1.0, 0.0], [8.0, 0.0]], 2)
    [array([0, 2]), array([1, 3])]
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2:
        raise ValueError(f"points have shape {points.shape}; an array of shape (n_spots, n_dims) is expected.")
    if size < 1:
        raise ValueError(f"size={size!r}, but a tile holds at least 1 spot.")
    if batch is None:
        slices = [np.arange(len(points))]
    else:
        batch = np.asarray(batch)
        if batch.shape != (len(points),):
            raise ValueError(f"batch has shape {batch.shape} but points {len(points)} rows; give one slice a spot.")
        names, codes = np.unique(batch, return_inverse=True)
        slices = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes, minlength=len(names)))[:-1])
    found: list[NDArray[np.int64]] = []
    for members in slices:
        if len(members):
            _halve(points, members, max(1, round(len(members) / size)), found)
    return found


def epoch_batches(
    tiles: Sequence[NDArray[np.integer]], tiles_per_batch: int, rng: np.random.Generator | np.random.RandomState
) -> Iterator[NDArray[np.integer]]:
    """Group the tiles of one epoch at random.

    A batch that is a union of tiles from all over the tissue lets a loss over pairs see near and far spots.

    Parameters
    ----------
    tiles : list of ndarray of int
        From :func:`tiles`.
    tiles_per_batch : int
        Most tiles in a batch; the batches are made as even as they can be.
    rng : numpy.random.Generator or RandomState
        Draws the order.

    Yields
    ------
    ndarray of int
        Spots of one batch; over the epoch, each spot once.

    Raises
    ------
    ValueError
        If `tiles_per_batch` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.nn.batches import epoch_batches
    >>> tiles = [np.array([0, 1]), np.array([2, 3]), np.array([4])]
    >>> sorted(np.concatenate(list(epoch_batches(tiles, 2, np.random.default_rng(0)))).tolist())
    [0, 1, 2, 3, 4]
    """
    if tiles_per_batch < 1:
        raise ValueError(f"tiles_per_batch={tiles_per_batch!r}, but a batch holds at least 1 tile.")
    order = rng.permutation(len(tiles))
    for group in np.array_split(order, -(-len(tiles) // tiles_per_batch) or 1):
        if len(group):
            yield np.concatenate([tiles[i] for i in group])


class Patch(NamedTuple):
    """Some spots of a tissue and what lies around them, cut out by :class:`Halo`.

    Attributes
    ----------
    nodes : ndarray of int64 of shape (n_nodes,)
        Spots of the patch in the whole tissue: the core first, in the order asked for, then the halo, ascending.
    n_core : int
        Spots of the core; ``nodes[:n_core]`` are those that a loss may look at.
    operators : list of csr_array of shape (n_nodes, n_nodes)
        The operators between `nodes`, in their own dtype.  Rows that no core spot depends on are empty.
    """

    nodes: np.ndarray
    n_core: int
    operators: list[csr_array]


class Halo:
    """Cut out all that a graph network needs to embed some spots as it would in the whole tissue.

    The patch of a core holds, for each graph, the spots within `hops` steps of the core.  A network that applies one
    operator up to `hops` times in a branch gives the spots of the core the values of the full graph, to rounding.

    Parameters
    ----------
    operators : sequence of csr_array of shape (n_spots, n_spots)
        One averaging operator a graph.
    hops : int, default=2
        Graph convolutions in a branch.
    fanout : int, None, or sequence of these, default=None
        Most neighbours that a row keeps, itself apart, for all graphs or one entry a graph; None keeps all.

    Raises
    ------
    ValueError
        If the operators are not square and alike in shape, `hops` or a fanout is below 1, or `fanout` has not one
        entry a graph.

    Notes
    -----
    Neighbours in expression space lie all over the tissue, so two hops in that graph reach most of it.  There `fanout`
    bounds the patch: of a row with more neighbours, `fanout` are drawn, each with a probability in proportion to its
    weight, and share equally what the neighbours weighed together; the spot's weight on itself is kept.  A neighbour
    that holds more than ``1 / fanout`` of the weight may be drawn more than once.  Row sums stay, and the expectation
    of a sampled operator is the operator: the embedding of the first layer is an unbiased estimate, that of later
    ones, after a non-linearity, an estimate only.  A spatial graph is best left exact.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from skst.nn.batches import Halo
    >>> path = sparse.diags_array([np.ones(9), np.ones(9)], offsets=[-1, 1], shape=(10, 10)).tocsr()
    >>> Halo([path])([4]).nodes
    array([4, 2, 3, 5, 6])
    """

    def __init__(self, operators, *, hops=2, fanout=None):
        self.operators = [sparse.csr_array(operator) for operator in operators]
        shapes = [operator.shape for operator in self.operators]
        if not shapes or any(shape != (shapes[0][0],) * 2 for shape in shapes):
            raise ValueError(f"operators have shapes {shapes}; give square ones of the same spots, at least one.")
        if hops < 1:
            raise ValueError(f"hops={hops!r}, but a graph network has at least 1 layer.")
        self.hops = hops
        self.fanout = [fanout] * len(shapes) if fanout is None or np.isscalar(fanout) else list(fanout)
        if len(self.fanout) != len(shapes):
            raise ValueError(
                f"fanout has {len(self.fanout)} entries for {len(shapes)} operators; give one an operator."
            )
        if any(most is not None and most < 1 for most in self.fanout):
            raise ValueError(f"fanout={fanout!r} keeps no neighbour; give at least 1, or None to keep all.")

    def __call__(
        self, core: NDArray[np.integer], rng: np.random.Generator | np.random.RandomState | None = None
    ) -> Patch:
        """Cut out the patch of some spots.

        Parameters
        ----------
        core : array-like of int of shape (n_core,)
            Distinct spots.
        rng : numpy.random.Generator or RandomState, default=None
            Draws neighbours; needed only where there is a `fanout`.

        Returns
        -------
        Patch

        Raises
        ------
        ValueError
            If `core` repeats a spot or names one that is not there, or `rng` is missing where neighbours are drawn.
        """
        core = np.asarray(core, dtype=np.int64)
        n_spots = self.operators[0].shape[0]
        if len(core) and not (core.min() >= 0 and core.max() < n_spots):
            raise ValueError(f"core spans spots {core.min()} to {core.max()} of a tissue of {n_spots}.")
        if rng is None and any(most is not None for most in self.fanout):
            raise ValueError("rng is None, but fanout draws neighbours; pass numpy.random.default_rng(seed).")
        reached = np.zeros(n_spots, dtype=bool)
        reached[core] = True
        if reached.sum() != len(core):
            raise ValueError(f"core repeats {len(core) - reached.sum()} spots; name each once.")
        in_core, rows = reached.copy(), []
        for operator, most in zip(self.operators, self.fanout, strict=True):
            rows.append(_rows_around(operator, core, in_core, self.hops, most, rng))
            reached[rows[-1][1].indices] = True
        nodes = np.concatenate([core, np.flatnonzero(reached & ~in_core)])
        place = np.empty(n_spots, dtype=np.int32)  # set, and read, at `nodes` only
        place[nodes] = np.arange(len(nodes))
        return Patch(nodes, len(core), [_place_rows(spots, found, place, len(nodes)) for spots, found in rows])


def _halve(points, members, n_tiles, found):
    """Append `n_tiles` tiles of `members` to `found`, each of the floor or the ceiling of their mean size."""
    if n_tiles == 1:
        found.append(np.sort(members))
        return
    place = points[members]
    axis = place[:, np.argmax(place.var(axis=0))]
    n_left = n_tiles // 2
    cut = len(members) * n_left // n_tiles
    order = np.argpartition(axis, cut)
    _halve(points, members[order[:cut]], n_left, found)
    _halve(points, members[order[cut:]], n_tiles - n_left, found)


def _rows_around(operator, core, in_core, hops, most, rng):
    """All spots within hops - 1 steps of the core, ring by ring, and their rows of `operator`."""
    seen, ring, spots, rows = in_core.copy(), core, [], []
    for _ in range(hops):
        found = operator[ring]
        if most is not None:
            _draw(found, ring, most, rng)
        spots.append(ring)
        rows.append(found)
        ring = np.unique(found.indices[~seen[found.indices]])
        seen[ring] = True
    return np.concatenate(spots), sparse.vstack(rows, format="csr")


def _draw(rows, spots, most, rng):
    """Leave in each of the `rows` of `spots` its diagonal and a systematic sample of `most` other entries."""
    row = np.repeat(np.arange(len(spots)), np.diff(rows.indptr))
    entries = rows.indices != spots[row]
    entries = np.flatnonzero(entries & (np.bincount(row[entries], minlength=len(spots))[row] > most))
    # In a random order, so that any set of neighbours can be drawn together.
    entries = entries[np.lexsort((rng.random(len(entries)), row[entries]))]
    row, weights = row[entries], rows.data[entries].astype(np.float64)
    if len(weights) and weights.min() <= 0:
        raise ValueError(
            f"an operator has the weight {weights.min():.3g}, but fanout draws by weight: keep it positive."
        )
    total = np.bincount(row, weights, minlength=len(spots))
    # A ruler with a tick every `most`-th of the total is laid at random along a row: an entry is drawn once a tick.
    share = np.minimum((np.cumsum(weights) - (np.cumsum(total) - total)[row]) / total[row], 1.0)
    turns = np.diff(row, prepend=-1, append=-1) != 0
    first, last = turns[:-1], turns[1:]
    share[last] = 1.0  # whatever rounding made of it
    ticks = np.floor(most * share + rng.random(len(spots))[row])
    rows.data[entries] = np.where(first, ticks, np.diff(ticks, prepend=0.0)) * total[row] / most
    rows.eliminate_zeros()


def _place_rows(spots, rows, place, n_nodes):
    """`rows` of `spots` as a square matrix between the nodes of a patch."""
    at = np.repeat(place[spots], np.diff(rows.indptr))
    return sparse.coo_array((rows.data, (at, place[rows.indices])), shape=(n_nodes, n_nodes)).tocsr()
