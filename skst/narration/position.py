"""Where in the tissue a spot lies: how deep below its edge, and how far along the axis of its expression."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, cKDTree

from skst.inputs.rows import match_rows

# A disc of this radius, in typical distances of neighbours, has to fit into a bay of the outline.  No lattice has
# spots on the rim of such a disc, so that rounding decides nothing.
_REACH = 1.9
# Leading singular value over the next, below which expression has no one direction.
_DOMINANCE = 1.1
# Least correlation with a gene that tells one end of an axis from the other, and its standard errors from 0.
_CORRELATION, _STANDARD_ERRORS = 0.2, 4.0


class ExpressionAxis(NamedTuple):
    """The direction of a slice along which expression changes most.

    Attributes
    ----------
    along : ndarray of shape (n_spots,)
        Position of each spot, from -1 at one end to 1 at the other.
    covariance, correlation : ndarray of shape (n_genes,)
        Of each gene with the position.
    """

    along: np.ndarray
    covariance: np.ndarray
    correlation: np.ndarray

    def end_gene(self, sign: int, weights: NDArray[np.float64]) -> int | None:
        """The gene that marks the end at `sign`: a column, or None if no gene is bound to that end."""
        needed = max(_CORRELATION, _STANDARD_ERRORS / np.sqrt(len(self.along)))
        scores = np.rint(1e6 * sign * weights * self.covariance)
        scores[sign * self.correlation < needed] = 0
        best = int(np.argmax(scores)) if len(scores) else 0
        return best if len(scores) and scores[best] > 0 else None


def tissue_depth(coordinates: ArrayLike, *, batch: ArrayLike | None = None) -> NDArray[np.float64]:
    """How deep below the outer edge of its slice each spot lies.

    The spots are triangulated (in space: joined to tetrahedra), and triangles too wide to be tissue are taken away
    from the outside inwards, which follows bays, necks and separate pieces (an alpha shape).  What is missing inside
    stays filled: a hole is no edge.  It takes n log n steps.

    Parameters
    ----------
    coordinates : array-like of shape (n_spots, 2) or (n_spots, 3)
        Positions, in any unit.
    batch : array-like of shape (n_spots,), default=None
        Slice of each spot.

    Returns
    -------
    ndarray of shape (n_spots,), float64
        Distance to the nearest spot of the edge, relative to the deepest spot of the slice: 0 at the edge, 1 at the
        deepest spot; 0 everywhere in a slice that is all edge.  To move, turn, mirror or stretch a slice evenly
        changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.narration.position import tissue_depth
    >>> x, y = np.meshgrid(np.arange(5), np.arange(5))
    >>> tissue_depth(np.column_stack([x.ravel(), y.ravel()])).reshape(5, 5)[2]
    array([0. , 0.5, 1. , 0.5, 0. ])
    """
    (batch,) = match_rows(coordinates, origin="coordinates", batch=batch)
    coordinates = np.asarray(coordinates, dtype=np.float64)
    depth = np.zeros(len(coordinates))
    for members in members_of_slices(batch, len(coordinates)):
        points = coordinates[members]
        edge = _outer_edge(points)
        distance = cKDTree(points[edge]).query(points)[0]
        depth[members] = distance / (distance.max() or 1.0)
    # Equal depths are equal whichever way the slice is turned.
    return np.round(depth, 9)


def members_of_slices(batch: ArrayLike | None, n_spots: int) -> list[NDArray[np.integer]]:
    """Indices of the spots of each slice, one array a slice."""
    codes = np.zeros(n_spots, dtype=np.int64) if batch is None else np.unique(batch, return_inverse=True)[1]
    return [np.flatnonzero(codes == code) for code in range(codes.max(initial=-1) + 1)]


def expression_axis(
    coordinates: NDArray[np.float64], values: csr_array, weights: NDArray[np.float64]
) -> ExpressionAxis | None:
    r"""The direction of a slice along which expression changes most.

    With Q an orthonormal basis of the centred coordinates, Y the expression of the slice and W the diagonal matrix of
    the weights, it is the leading left singular vector u of :math:`Q^\top Y W`, and the position of the spots is Qu.
    It turns with the coordinates, and which end comes first is left open.

    Parameters
    ----------
    coordinates : ndarray of shape (n_spots, 2) or (n_spots, 3)
        Positions of the spots of one slice.
    values : csr_array of shape (n_spots, n_genes)
        Their expression.
    weights : ndarray of shape (n_genes,)
        Weights of the genes.

    Returns
    -------
    ExpressionAxis or None
        None if there is no such direction: one place only, no gene that changes, or all directions alike.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from skst.narration.position import expression_axis
    >>> x, y = np.repeat(np.arange(6.0), 6), np.tile(np.arange(6.0), 6)
    >>> axis = expression_axis(np.column_stack([x, y]), sparse.csr_array(np.column_stack([x, 5 - x])), np.ones(2))
    >>> np.abs(axis.along[::6]).round(1), np.abs(axis.correlation).round(1)
    (array([1. , 0.6, 0.2, 0.2, 0.6, 1. ]), array([1., 1.]))
    """
    n_spots = len(coordinates)
    basis, lengths, _ = np.linalg.svd(coordinates - coordinates.mean(axis=0), full_matrices=False)
    basis = basis[:, lengths > 1e-7 * lengths[0]]
    moments = (values.T @ basis).T
    directions, strengths, _ = np.linalg.svd(moments * weights, full_matrices=False)
    if len(strengths) == 0 or strengths[0] <= 1e-9 or (len(strengths) > 1 and strengths[0] < _DOMINANCE * strengths[1]):
        return None
    along = basis @ directions[:, 0]
    # A few spots far off must not move the ends of the tissue.
    low, high = np.quantile(along, (0.01, 0.99))
    moments = directions[:, 0] @ moments
    squares = np.asarray(values.power(2).sum(axis=0)) - np.asarray(values.sum(axis=0)) ** 2 / n_spots
    spread = np.sqrt(np.maximum(squares, 0))
    return ExpressionAxis(
        along=np.clip(np.round((2 * along - low - high) / (high - low), 9), -1, 1),
        covariance=moments / np.sqrt(n_spots),
        correlation=np.divide(moments, spread, out=np.zeros_like(moments), where=spread > 1e-9),
    )


def _outer_edge(points):
    """Mask of the spots on the outline of their slice."""
    places, place = np.unique(points, axis=0, return_inverse=True)
    centred = places - places.mean(axis=0)
    lengths, axes = np.linalg.svd(centred, full_matrices=False)[1:]
    # Spots on a line, or on a plane in space, have their edge within it.
    centred = centred @ axes[lengths > 1e-7 * lengths[0]].T
    n_places, n_dims = centred.shape
    edge = np.ones(n_places, dtype=bool)
    if n_dims == 1:
        edge = (centred[:, 0] == centred.min()) | (centred[:, 0] == centred.max())
    elif n_places > n_dims + 1:
        edge = _hull_of_tissue(centred)
    return edge[place.ravel()]


def _hull_of_tissue(places):
    triangulation = Delaunay(places)
    corners, neighbors = triangulation.simplices, triangulation.neighbors
    n_simplices, n_corners = corners.shape
    wide = _circumradius(places[corners]) > _REACH * _typical_distance(places, corners)
    # From the outside, number n_simplices, one gets through wide triangles only.
    beyond = np.where(neighbors < 0, n_simplices, neighbors)
    passable = np.append(wide, True)
    here, facet = np.nonzero(wide[:, None] & passable[beyond])
    ways = sparse.coo_array((np.ones(len(here)), (here, beyond[here, facet])), shape=(n_simplices + 1,) * 2)
    component = connected_components(ways, directed=False)[1]
    outside = component == component[-1]
    edge = np.ones(len(places), dtype=bool)
    edge[corners[~outside[:-1]]] = False
    # Facet k lies opposite to corner k.
    here, facet = np.nonzero(~outside[:-1, None] & outside[beyond])
    for step in range(1, n_corners):
        edge[corners[here, (facet + step) % n_corners]] = True
    return edge


def _typical_distance(places, corners):
    lengths = [np.linalg.norm(places[corners[:, i]] - places[corners[:, j]], axis=1) for i, j in _pairs(corners)]
    return np.median(np.concatenate(lengths))


def _pairs(corners):
    return combinations(range(corners.shape[1]), 2)


def _circumradius(simplices):
    """Radius of the sphere through the corners; infinite where they lie on a plane."""
    sides = simplices[:, 1:] - simplices[:, :1]
    squares = (sides**2).sum(axis=2)
    flat = np.abs(np.linalg.det(sides)) <= 1e-9 * squares.max(axis=1) ** (sides.shape[2] / 2)
    sides[flat] = np.eye(sides.shape[2])
    centres = np.linalg.solve(2 * sides, squares[:, :, None])[:, :, 0]
    return np.where(flat, np.inf, np.linalg.norm(centres, axis=1))
