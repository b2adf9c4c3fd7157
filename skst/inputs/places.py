"""Where spots lie: coordinates and slices, and whether they tell anything."""

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from skst.files.untrusted import told
from skst.inputs.gene_names import is_missing
from skst.inputs.rows import detached, is_anndata, unmasked

# More spots than this at one place are no duplicates, and neither are more than this share of spots that share a place.
_FEW = 10
_OVERLAID = 0.25
# Fewer spots on a line can be all that there is of a tissue.
_ENOUGH = 50
# Squares of smaller numbers, and of larger ones than its inverse, are out of the range of numbers.
_SMALLEST = 1e-150


def read_coordinates(coordinates: ArrayLike | None, n_spots: int) -> NDArray[np.float64] | None:
    """Positions as an array of shape (n_spots, 2) or (n_spots, 3), float64; None if there are none.

    Parameters
    ----------
    coordinates : array-like or None
    n_spots : int

    Raises
    ------
    ValueError
        If they are no numbers, not finite, or of another shape.
    """
    if coordinates is None:
        return None
    if sparse.issparse(coordinates):
        raise ValueError("coordinates are a sparse matrix; pass coordinates.toarray().")
    coordinates = as_numbers(coordinates)
    if coordinates.ndim != 2 or coordinates.shape[1] not in (2, 3):
        raise ValueError(
            f"coordinates have shape {coordinates.shape}; pass an array of shape (n_spots, 2) or (n_spots, 3)."
        )
    if len(coordinates) != n_spots:
        raise ValueError(f"coordinates have {len(coordinates)} rows but X has {n_spots}; give one row a spot.")
    bad = ~np.isfinite(coordinates).all(axis=1)
    if bad.any():
        raise ValueError(
            f"coordinates of {bad.sum()} spots are NaN or infinite, the first in row {np.flatnonzero(bad)[0]}; "
            "drop these spots or locate them."
        )
    largest = np.abs(coordinates).max(initial=0.0)
    if largest > 0 and not _SMALLEST < largest < 1 / _SMALLEST:
        raise ValueError(
            f"coordinates reach {largest:.3g}, of which distances cannot be computed; give them in another unit."
        )
    return coordinates


def as_numbers(coordinates: Any) -> NDArray[np.float64]:
    """Coordinates of any shape as float64, NaN where one is missing.

    Parameters
    ----------
    coordinates : array-like

    Raises
    ------
    ValueError
        If they are no numbers.
    """
    if isinstance(coordinates, str) or is_anndata(coordinates):
        raise ValueError(
            f"coordinates are of type {type(coordinates).__name__}; pass positions, such as adata.obsm['spatial'], or "
            "the name of their key as spatial_key=."
        )
    try:
        if isinstance(coordinates, pd.DataFrame):  # columns may be nullable, of arrow, or text
            return coordinates.apply(pd.to_numeric).to_numpy(dtype=np.float64, na_value=np.nan)
        coordinates = detached(coordinates)
        if np.iscomplexobj(coordinates) or getattr(coordinates, "dtype", np.dtype(float)).kind in "mM":
            raise TypeError("complex numbers or times")
        values = np.ma.asarray(coordinates, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"coordinates hold something else than numbers ({told(error)}); pass the two or three columns of positions."
        ) from error
    return np.asarray(values.filled(np.nan))


def read_batch(batch: ArrayLike | None, n_spots: int) -> NDArray[np.integer] | None:
    """Slices as codes from 0, in order of appearance; None if none are named.

    Parameters
    ----------
    batch : array-like or None
    n_spots : int

    Raises
    ------
    ValueError
        If there are more or fewer than `n_spots`, or some are missing.
    """
    if batch is None:
        return None
    if isinstance(batch, (str, dict)) or is_anndata(batch):
        raise ValueError(
            f"batch is of type {type(batch).__name__}; give one slice name a spot, or name a column of X.obs by "
            "batch_key=."
        )
    batch = unmasked(batch)
    names = batch.to_numpy() if isinstance(batch, pd.DataFrame) else np.asarray(batch)
    if names.ndim == 2 and names.shape[1] == 1:
        names = names.ravel()
    if names.shape != (n_spots,):
        raise ValueError(f"batch has shape {names.shape} but X has {n_spots} rows; give one slice name a spot.")
    if names.dtype.kind in "iub":
        return pd.factorize(names)[0]
    try:
        codes, known = pd.factorize(names.astype(object))
    except TypeError as error:  # lists among them
        raise ValueError(f"batch holds no names ({told(error)}); give one slice name a spot.") from error
    missing = codes < 0
    missing |= np.isin(codes, [code for code, name in enumerate(known) if is_missing(name)])
    if missing.any():
        raise ValueError(f"batch is missing for {missing.sum()} spots; name their slice.")
    return codes


def warn_of_places(coordinates: NDArray[np.float64], batch: NDArray[np.integer] | None) -> bool:
    """Warn, once and with the number of spots, if places or slices cannot tell who is whose neighbour.

    Parameters
    ----------
    coordinates : ndarray of shape (n_spots, n_dimensions)
    batch : ndarray of int of shape (n_spots,) or None
        Codes from 0.

    Returns
    -------
    bool
        Whether it had to.

    Warns
    -----
    UserWarning
        If most spots are alone in their slice, many lie at one place, many share their place with another spot, or
        those of a slice lie on a line.
    """
    message = _fault_of_slices(batch) or _fault_of_places(coordinates, batch) or _fault_of_line(coordinates, batch)
    if message:
        warnings.warn(message.format(n_spots=len(coordinates)), UserWarning, stacklevel=5)
    return message is not None


def _fault_of_slices(batch):
    if batch is None:
        return None
    sizes = np.bincount(batch)
    n_alone = int((sizes == 1).sum())
    if 2 * n_alone <= len(batch):
        return None
    return (
        f"batch names {len(sizes)} slices for {{n_spots}} spots, {n_alone} of which are alone in theirs and have no "
        "neighbours; name slices, not spots, by batch_key= (or batch=)."
    )


def _fault_of_places(coordinates, batch):
    places = pd.DataFrame(coordinates)
    if batch is not None:
        places["slice"] = batch
    shared = places.duplicated(keep=False)
    if shared.sum() <= _FEW:
        return None
    sizes = places[shared].groupby(list(places), sort=False).size()
    # Where many places are shared, as by slices on one array, it takes more than is usual there to stand out.
    usual = sizes.median() if len(sizes) > _FEW else 1
    crowded = sizes[sizes > max(_FEW, 3 * usual)]
    if len(crowded):
        place = crowded.idxmax()[: coordinates.shape[1]]
        where = ", ".join(f"{value:.6g}" for value in place)
        among = "one place" if len(crowded) == 1 else f"{len(crowded)} places"
        return (
            f"{int(crowded.sum())} of {{n_spots}} spots lie at {among}, ({where}), as spots do that were not located, "
            "and are averaged with one another; drop these spots, or leave out coordinates to use expression alone."
        )
    if shared.mean() <= _OVERLAID:
        return None
    return (
        f"{int(shared.sum())} of {{n_spots}} spots share their place with another spot, as slices do that lie on one "
        "array, and are averaged with it; name the slice of each spot by batch_key= (or batch=), or drop duplicates."
    )


def _fault_of_line(coordinates, batch):
    if coordinates.shape[1] != 2:
        return None
    codes = np.zeros(len(coordinates), dtype=np.int64) if batch is None else batch
    sizes = np.bincount(codes)
    scaled = coordinates / np.abs(coordinates).max(initial=1e-300)
    x, y = (column - (np.bincount(codes, column) / sizes)[codes] for column in scaled.T)
    xx, yy, xy = (np.bincount(codes, product) for product in (x * x, y * y, x * y))
    on_line = (sizes >= _ENOUGH) & (xx * yy - xy**2 <= 1e-12 * (xx + yy) ** 2)
    n_spots = int(sizes[on_line].sum())
    if 2 * n_spots <= len(codes):
        return None
    return (
        f"{n_spots} of {{n_spots}} spots lie on one line with all of their slice, as row numbers do; pass the columns "
        "of both positions, or leave out coordinates to use expression alone."
    )


def warn_of_graph(
    graph: csr_array, coordinates: NDArray[np.float64], batch: NDArray[np.integer] | None, setting: str
) -> None:
    """Warn, with the number of spots, if a graph joins most spots to none, or to most of their slice.

    Parameters
    ----------
    graph : csr_array of shape (n_spots, n_spots)
        Adjacency.
    coordinates : ndarray of shape (n_spots, n_dimensions)
    batch : ndarray of int of shape (n_spots,) or None
    setting : str
        What made the graph, such as "radius=50".

    Warns
    -----
    UserWarning
        If it concerns more than half of the spots.
    """
    warn_of_degrees(faults_of_degrees(np.diff(graph.indptr), batch), coordinates, batch, setting)


class Faults(NamedTuple):
    """Spots that a graph tells nothing about.

    Attributes
    ----------
    n_alone, n_crowded : int
        Those without a neighbour, and those with half of their slice or more for neighbours.
    most : int
        Other spots of the largest slice.
    """

    n_alone: int
    n_crowded: int
    most: int


def faults_of_degrees(degree: NDArray[np.integer], batch: NDArray[np.integer] | None = None) -> Faults:
    """Count spots by their number of neighbours; of slices that are looked at one by one, counts add up.

    Parameters
    ----------
    degree : ndarray of int of shape (n_spots,)
    batch : ndarray of int of shape (n_spots,), default=None
    """
    n_spots = len(degree)
    others = (np.full(n_spots, n_spots) if batch is None else np.bincount(batch)[batch]) - 1
    n_alone = int(((degree == 0) & (others > 0)).sum())
    return Faults(n_alone, int(((degree >= others / 2) & (others > 0)).sum()), int(others.max(initial=0)))


def warn_of_degrees(
    faults: Faults, coordinates: NDArray[np.float64], batch: NDArray[np.integer] | None, setting: str
) -> None:
    """Warn as :func:`warn_of_graph` does, of what was counted."""
    n_spots = len(coordinates)
    n_alone, n_crowded, most = faults
    if 2 * max(n_alone, n_crowded) <= n_spots:
        return
    found = f"{n_alone} of {n_spots} spots to no other" if n_alone >= n_crowded else None
    found = found or f"{n_crowded} of {n_spots} spots to half of their slice or more, so that averages are all alike"
    fix = "give more spots, or leave out coordinates to use expression alone"
    if setting.startswith("radius"):
        largest = coordinates if batch is None else coordinates[batch == np.bincount(batch).argmax()]
        fix = f"coordinates may be in another unit, so give a radius near {suggested_radius(largest):.3g}"
    elif setting.startswith("n_neighbors") and most >= 4:
        fix = "lower n_neighbors, or leave out coordinates to use expression alone"
    elif batch is not None:
        fix = "name slices, not groups of a few spots, by batch_key= (or batch=)"
    warnings.warn(f"{setting} joins {found}; {fix}.", UserWarning, stacklevel=6)


def suggested_radius(coordinates: NDArray[np.float64]) -> float:
    """A radius that reaches the next spots: one and a half of the median distance to the nearest place."""
    places = np.unique(coordinates, axis=0)
    if len(places) < 2:
        return 1.0
    distance = cKDTree(places).query(places, k=2)[0][:, 1]
    return 1.5 * float(np.median(distance))


def are_scattered(coordinates: NDArray[np.float64], batch: NDArray[np.integer] | None) -> bool:
    """Whether places are irregular, as those of cells are, and not on a lattice, as those of spots and bins are.

    Parameters
    ----------
    coordinates : ndarray of shape (n_spots, n_dimensions)
    batch : ndarray of int of shape (n_spots,) or None
        Slices, of which the largest is looked at.

    Returns
    -------
    bool
        Whether distances to the nearest place differ: the middle 80 % of them by more than half of their median.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.inputs.places import are_scattered
    >>> lattice = np.stack(np.meshgrid(np.arange(9.0), np.arange(9.0)), axis=-1).reshape(-1, 2)
    >>> are_scattered(lattice, None), are_scattered(9 * np.random.default_rng(0).random((81, 2)), None)
    (False, True)
    """
    places = np.unique(coordinates if batch is None else coordinates[batch == np.bincount(batch).argmax()], axis=0)
    if len(places) < _ENOUGH:
        return False
    low, median, high = np.percentile(cKDTree(places).query(places, k=2)[0][:, 1], [10, 50, 90])
    return bool(high - low > 0.5 * median)
