"""Spatial graphs: who is whose neighbour, slice by slice."""

import numpy as np
from joblib import Parallel, cpu_count, delayed
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csr_array
from scipy.spatial import Delaunay, cKDTree

from skst import limits
from skst.graph.approximate import neighbors_in_parts
from skst.inputs.places import read_batch, read_coordinates, suggested_radius
from skst.inputs.rows import match_rows

KINDS = ("knn", "radius", "delaunay")
_MANY = 20_000


def nearest_neighbors(points: np.ndarray, n_neighbors: int) -> NDArray[np.int64]:
    """Indices of the `n_neighbors` nearest other points.

    Parameters
    ----------
    points : ndarray of shape (n_points, n_dims)
        Points in Euclidean space.
    n_neighbors : int
        Neighbours wanted; fewer are returned where there are fewer other points.

    Returns
    -------
    ndarray of shape (n_points, min(n_neighbors, n_points - 1)), int64
        Neighbours in order of distance.  A point is never its own neighbour; exact duplicates of it are.
    """
    from sklearn.neighbors import KDTree, NearestNeighbors

    n_points = len(points)
    k = min(n_neighbors, n_points - 1)
    if k < 1:
        return np.empty((n_points, 0), dtype=np.int64)
    if n_points > _MANY and points.shape[1] <= 3:
        # What NearestNeighbors does of few dimensions; asked leaf by leaf, the tree stays in the processor's cache.
        tree = KDTree(points, leaf_size=30)
        order = np.asarray(tree.get_arrays()[1])
        found = np.empty((n_points, k + 1), dtype=np.int64)

        def ask(part):
            found[part] = tree.query(points[part], k + 1, return_distance=False)

        parts = np.array_split(order, -(-n_points // _MANY))
        Parallel(min(cpu_count(), len(parts)), backend="threading")(delayed(ask)(part) for part in parts)
    else:
        found = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points, return_distance=False)
    # Among exact duplicates a point need not come first, or at all: drop it where it is, else drop the last.
    own = found == np.arange(n_points)[:, None]
    own[~own.any(axis=1), -1] = True
    return found[~own].reshape(n_points, k)


def spatial_graph(
    coordinates: ArrayLike,
    *,
    kind: str = "knn",
    n_neighbors: int = 6,
    radius: float | None = None,
    batch: ArrayLike | None = None,
) -> csr_array:
    """Undirected graph of spatial neighbours, with no edge between slices.

    Parameters
    ----------
    coordinates : array-like of shape (n_spots, 2) or (n_spots, 3)
        Positions.
    kind : {"knn", "radius", "delaunay"}, default="knn"
        Join each spot to its `n_neighbors` nearest spots (an edge either way suffices), to all spots within
        `radius`, or to its neighbours in the Delaunay triangulation of its slice (of a line, the next spots along it).
    n_neighbors : int, default=6
        Neighbours of a spot for ``kind="knn"``; 6 is the number of a hexagonal lattice.
    radius : float, default=None
        Reach for ``kind="radius"``, in the units of `coordinates`.
    batch : array-like of shape (n_spots,), default=None
        Slice of each spot.

    Returns
    -------
    csr_array of shape (n_spots, n_spots), float32
        Symmetric adjacency of zeros and ones with an empty diagonal; an isolated spot has an empty row.

    Raises
    ------
    ValueError
        If `kind` is unknown, `radius` is not a positive number where it is needed or joins nearly all to all, or
        coordinates or slices cannot be read.

    Examples
    --------
    >>> from skst.graph import spatial_graph
    >>> spatial_graph([[0, 0], [0, 1], [5, 5]], kind="radius", radius=2).toarray()
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 0., 0.]], dtype=float32)
    """
    if kind not in KINDS:
        raise ValueError(f"graph={kind!r} is not one of {KINDS}.")
    if kind == "radius" and not (radius is not None and radius > 0):
        raise ValueError(
            f"radius={radius!r}, but graph='radius' needs a positive distance in units of the coordinates."
        )
    (batch,) = match_rows(coordinates, origin="coordinates", batch=batch)
    n_spots = len(coordinates)  # type: ignore[arg-type]
    coordinates, batch = read_coordinates(coordinates, n_spots), read_batch(batch, n_spots)
    if batch is None:
        return _graph_of(coordinates, kind, n_neighbors, radius)
    rows, cols = [], []
    for code in range(batch.max(initial=-1) + 1):
        members = np.flatnonzero(batch == code)
        edges = _graph_of(coordinates[members], kind, n_neighbors, radius).tocoo()  # type: ignore[index]
        rows.append(members[edges.row])
        cols.append(members[edges.col])
    return _zeros_and_ones(np.concatenate(rows), np.concatenate(cols), n_spots)


def _zeros_and_ones(rows, cols, n_spots):
    """The matrix of some entries, whether they are told once or twice."""
    if n_spots <= np.iinfo(np.int32).max:
        rows, cols = rows.astype(np.int32), cols.astype(np.int32)
    ones = np.ones(len(rows), dtype=np.float32)
    graph = sparse.coo_array((ones, (rows, cols)), shape=(n_spots, n_spots)).tocsr()
    graph.data[:] = 1.0
    return graph


def _adjacency(rows, cols, n_spots):
    """Zeros and ones, with an edge both ways where there is one either way."""
    return _zeros_and_ones(np.concatenate([rows, cols]), np.concatenate([cols, rows]), n_spots)


def _either_way(neighbors):
    """The same of the neighbours of each point; as rows of a matrix, since a list of edges takes five times as much."""
    n_points, k = neighbors.shape
    integers = np.int32 if n_points * max(k, 1) <= np.iinfo(np.int32).max else np.int64
    columns = np.sort(neighbors.astype(integers), axis=1).ravel()
    ends = np.arange(n_points + 1, dtype=integers) * integers(k)
    told = sparse.csr_array((np.ones(len(columns), dtype=np.float32), columns, ends), shape=(n_points, n_points))
    graph = sparse.csr_array(told + told.T.tocsr())
    graph.data[:] = 1.0
    return graph


def _graph_of(points, kind, n_neighbors, radius):
    """Graph of the spots of one slice."""
    n_points = len(points)
    if kind == "knn":
        return _either_way(nearest_neighbors(points, n_neighbors))
    if kind == "radius":
        from sklearn.neighbors import NearestNeighbors

        _check_reach(points, radius)
        found = NearestNeighbors(radius=radius).fit(points).radius_neighbors_graph().tocoo()
        return _adjacency(found.row, found.col, n_points)
    # Qhull merges duplicates: triangulate distinct places, then join the spots of one place to each other's star.
    places, place = np.unique(points, axis=0, return_inverse=True)
    at = sparse.csr_array((np.ones(n_points), (np.arange(n_points), place.ravel())), shape=(n_points, len(places)))
    found = (at @ (_triangulation(places) + sparse.eye_array(len(places))) @ at.T).tocoo()
    keep = found.row != found.col
    return _adjacency(found.row[keep], found.col[keep], n_points)


def _check_reach(points, radius):
    """Raise, rather than run out of memory, where a radius joins nearly all spots to nearly all others."""
    looked_at = points[np.unique(np.linspace(0, len(points) - 1, 200).astype(int))] if len(points) else points
    within = cKDTree(points).query_ball_point(looked_at, radius, return_length=True)
    n_edges = float(np.mean(within)) * len(points) if len(points) else 0.0
    if n_edges > limits.MAX_EDGES:
        raise ValueError(
            f"radius={radius:.6g} joins a spot to {np.mean(within):.0f} of the {len(points)} spots of its slice, too "
            f"many to be kept; give a radius near {suggested_radius(points):.3g}, which reaches the next spots alone."
        )


def _triangulation(places):
    """Adjacency of distinct places; those on a line, or on a plane in space, are triangulated in that."""
    n_places = len(places)
    centred = places - places.mean(axis=0)
    lengths, axes = np.linalg.svd(centred, full_matrices=False)[1:]
    spanned = lengths > 1e-7 * lengths[0]
    if not spanned.all():
        centred = centred @ axes[spanned].T
    if spanned.sum() > 1:
        pointer, neighbors = Delaunay(centred).vertex_neighbor_vertices
        return sparse.csr_array((np.ones(len(neighbors)), neighbors, pointer), shape=(n_places, n_places))
    order = np.argsort(centred.sum(axis=1))  # at most one column
    ends = order[:-1], order[1:]
    return sparse.csr_array((np.ones(n_places - 1), ends), shape=(n_places, n_places))


def expression_graph(embedding: ArrayLike, *, n_neighbors: int = 15) -> csr_array:
    """Undirected graph of spots whose embeddings point the same way, wherever they lie.

    Parameters
    ----------
    embedding : array-like of shape (n_spots, n_components)
        Embedding; neighbours are nearest by cosine.
    n_neighbors : int, default=15
        Neighbours of a spot; an edge either way suffices.  Beyond 100,000 spots the search is approximate.

    Returns
    -------
    csr_array of shape (n_spots, n_spots), float32
        Symmetric adjacency of zeros and ones with an empty diagonal.

    Examples
    --------
    >>> from skst.graph import expression_graph
    >>> expression_graph([[1, 0], [2, 0.1], [0, 3], [0.1, 1]], n_neighbors=1).toarray()
    array([[0., 1., 0., 0.],
           [1., 0., 0., 0.],
           [0., 0., 0., 1.],
           [0., 0., 1., 0.]], dtype=float32)
    """
    embedding = np.asarray(embedding, dtype=np.float32)
    lengths = np.linalg.norm(embedding, axis=1, keepdims=True)
    units = np.divide(embedding, lengths, out=np.zeros_like(embedding), where=lengths > 0)
    if len(units) <= limits.MAX_EXACT_GRAPH:
        neighbors = nearest_neighbors(units, n_neighbors)
    else:
        neighbors = neighbors_in_parts(units, min(n_neighbors, len(units) - 1))
    n_spots, k = neighbors.shape
    rows, cols = np.repeat(np.arange(n_spots), k), neighbors.ravel()
    others = rows != cols
    return _adjacency(rows[others], cols[others], n_spots)


def averaging_operator(graph: csr_array) -> csr_array:
    """Row-normalised ``A + I``: multiplying by it replaces each spot by the mean of itself and its neighbours.

    Parameters
    ----------
    graph : csr_array of shape (n_spots, n_spots)
        Adjacency without self-loops.

    Returns
    -------
    csr_array of shape (n_spots, n_spots), float32
        Rows sum to 1; an isolated spot keeps its own value.
    """
    with_self = sparse.csr_array(graph + sparse.eye_array(graph.shape[0], dtype=np.float32, format="csr"))
    degree = np.diff(with_self.indptr)
    with_self.data = np.repeat(1.0 / degree, degree).astype(np.float32)
    return with_self
