"""Coordinates: missing, wrong, or telling nothing."""

import numpy as np
from scipy import sparse

from .cases import QUICK, SPATIAL, error, warning, works
from .kit import as_fitted, finite, quietly

TITLE = "Coordinates"
_COLLAPSED = "The partition has collapsed"
GRAPHS = ("transformer", "semst", "stllm")


def _placed(kit, change):
    """The tissue, with `change` made to a copy of its places."""
    adata = kit.tissue()
    changed = change(adata.obsm["spatial"].copy())
    adata.obsm["spatial"] = changed
    return adata


def _set(rows, value):
    def change(places):
        places[rows] = value
        return places

    return change


def _overlaid(kit):
    """Both halves of the tissue on one array, and the halves."""
    places = kit.places().to_numpy(copy=True)
    places[100:] = places[:100]
    return _placed(kit, lambda _: places), np.repeat(["a", "b"], 100)


def _unplaced(kit, **parameters):
    return kit.fit(kit.without_places(), **parameters)


CASES = [
    warning(
        "X has no coordinates",
        r"X has no coordinates, so only its expression is used; put them in obsm\['spatial'\].* pass coordinates=",
        "expression alone is used.",
        'Put them into ``obsm["spatial"]``, or pass ``coordinates=``.',
        _unplaced,
        lambda kit: _unplaced(kit, coordinates=kit.places()),
        as_fitted,
        of=QUICK,
    ),
    error(
        'X has no coordinates, and ``on_missing="error"``',
        'X has no coordinates; .*set on_missing="warn" to go on without',
        "says where coordinates are looked for.",
        'Give coordinates; or ``on_missing="warn"``.',
        lambda kit: _unplaced(kit, on_missing="error"),
        lambda kit: _unplaced(kit, on_missing="error", coordinates=kit.places()),
        as_fitted,
        of=GRAPHS,
    ),
    warning(
        "``predict`` is given no coordinates, ``fit`` was",
        "X has no coordinates, so only its expression is used",
        "spots are assigned by their own expression.",
        "Pass the coordinates of the new spots.",
        lambda kit: kit.fitted().predict(kit.without_places()),
        lambda kit: kit.fitted().predict(kit.tissue()),
        lambda kit, labels: np.testing.assert_array_equal(labels, kit.fitted().labels_),
        of=("semst", "stllm"),
    ),
    error(
        "The graph is learnt, ``fit`` had no coordinates, and ``predict`` has them",
        "coordinates are given but the graph was to be learnt in fit, which had none; fit with them",
        "cannot join spots by what was not learnt.",
        "Fit with coordinates.",
        lambda kit: quietly(lambda: _unplaced(kit, graph="learned")).transform(kit.tissue()),
        lambda kit: kit.fit(kit.tissue(), graph="learned").transform(kit.tissue()),
        of=("transformer",),
    ),
    error(
        "The key of the coordinates is not in ``obsm``",
        r"spatial_key='xy' is not in X.obsm, which holds \['spatial'\]; name one of these, or pass coordinates=",
        "lists the keys that are there.",
        "Name one of these by ``spatial_key``.",
        lambda kit: kit.fit(kit.tissue(), spatial_key="xy"),
        lambda kit: kit.fit(kit.tissue(), spatial_key="spatial"),
        as_fitted,
        of=SPATIAL,
    ),
    error(
        "The name of a key is passed as ``coordinates=``",
        "coordinates are of type str; pass positions.*or the name of their key as spatial_key=",
        "asks for the positions themselves.",
        '``spatial_key="spatial"``.',
        lambda kit: kit.fit(kit.tissue(), coordinates="spatial"),
        lambda kit: kit.fit(kit.tissue(), spatial_key="spatial"),
        as_fitted,
        of=SPATIAL,
    ),
    error(
        "An AnnData is passed as ``coordinates=``",
        r"coordinates are of type AnnData; pass positions, such as adata.obsm\['spatial'\]",
        "asks for the positions in it.",
        '``coordinates=adata.obsm["spatial"]``.',
        lambda kit: kit.fit(kit.without_places(), coordinates=kit.tissue()),
        lambda kit: kit.fit(kit.without_places(), coordinates=kit.tissue().obsm["spatial"]),
        as_fitted,
    ),
    error(
        "Some coordinates are NaN or infinite",
        "coordinates of 2 spots are NaN or infinite, the first in row 5; drop these spots or locate them",
        "says how many, and names the first row.",
        "Drop these spots, or locate them.",
        lambda kit: kit.fit(_placed(kit, _set([5, 9], np.nan))),
        lambda kit: kit.fit(_placed(kit, _set([5, 9], np.nan))[np.setdiff1d(range(200), [5, 9])].copy()),
        finite,
        of=SPATIAL,
    ),
    error(
        "Coordinates are missing in a table of nullable integers (``<NA>``), or masked",
        "coordinates of 10 spots are NaN or infinite",
        "takes ``<NA>``, ``None`` and what is masked for missing.",
        "Drop these spots, or locate them.",
        lambda kit: kit.fit(
            kit.without_places(), coordinates=kit.places()[10:].round().astype("Int64").reindex(kit.places().index)
        ),
        lambda kit: kit.fit(kit.tissue()[10:].copy(), coordinates=kit.places().round().astype("Int64")),
        finite,
    ),
    error(
        "There are fewer or more coordinates than spots, without names",
        "coordinates have 199 rows but X has 200; give one row a spot",
        "says how many there are of both.",
        "Give one row a spot, or a table with the names of spots.",
        lambda kit: _unplaced(kit, coordinates=kit.places().to_numpy()[1:]),
        lambda kit: _unplaced(kit, coordinates=kit.places().to_numpy()),
        as_fitted,
        of=SPATIAL,
    ),
    error(
        "A positions file is passed with all of its columns",
        r"coordinates have shape \(200, 5\); pass an array of shape \(n_spots, 2\)",
        "shows the shape.",
        "Pass the two columns of positions.",
        lambda kit: _unplaced(kit, coordinates=kit.places().assign(in_tissue=1, row=0, column=0)),
        lambda kit: _unplaced(kit, coordinates=kit.places().assign(in_tissue=1, row=0, column=0)[["x", "y"]]),
        as_fitted,
    ),
    error(
        "Coordinates come as two rows, ``(x, y)``",
        r"coordinates have shape \(2, 200\); pass an array of shape \(n_spots, 2\)",
        "shows the shape.",
        "``numpy.column_stack([x, y])``.",
        lambda kit: _unplaced(kit, coordinates=tuple(kit.places().to_numpy().T)),
        lambda kit: _unplaced(kit, coordinates=np.column_stack(tuple(kit.places().to_numpy().T))),
        as_fitted,
    ),
    works(
        "Coordinates are numbers written as text",
        "they are read as numbers.",
        "Nothing.",
        lambda kit: _unplaced(kit, coordinates=kit.places().astype(str)),
        as_fitted,
    ),
    error(
        'Coordinates hold text (``"12 um"``)',
        "coordinates hold something else than numbers .*; pass the two or three columns of positions",
        "shows what could not be read.",
        "Pass numbers.",
        lambda kit: _unplaced(kit, coordinates=kit.places().astype(str) + " um"),
        lambda kit: _unplaced(kit, coordinates=kit.places()),
        as_fitted,
    ),
    error(
        "Coordinates are a dict, or a generator",
        "coordinates hold something else than numbers .*dict",
        "asks for columns of positions.",
        "Make a DataFrame or an array of it.",
        lambda kit: _unplaced(kit, coordinates=kit.places().to_dict("list")),
        lambda kit: _unplaced(kit, coordinates=kit.places()),
        as_fitted,
    ),
    error(
        "Coordinates are a sparse matrix",
        r"coordinates are a sparse matrix; pass coordinates.toarray\(\)",
        "does not make it dense unasked.",
        "``coordinates.toarray()``.",
        lambda kit: _unplaced(kit, coordinates=sparse.csr_array(kit.places().to_numpy())),
        lambda kit: _unplaced(kit, coordinates=sparse.csr_array(kit.places().to_numpy()).toarray()),
        as_fitted,
    ),
    error(
        "Coordinates are so large that distances overflow",
        r"coordinates reach 1.*e\+303, of which distances cannot be computed; give them in another unit",
        "shows the largest.",
        "Give them in another unit.",
        lambda kit: kit.fit(_placed(kit, lambda places: places * 1e300)),
        lambda kit: kit.fit(_placed(kit, lambda places: places * 1e9)),
        as_fitted,
        of=SPATIAL,
    ),
    works(
        "Coordinates have a third column that is the same for all spots",
        "distances are what they are in the plane.",
        "Nothing.",
        lambda kit: kit.fit(_placed(kit, lambda places: np.column_stack([places, np.zeros(200)]))),
        as_fitted,
        of=QUICK,
    ),
    warning(
        "All spots lie on a line, as row numbers given for places do",
        "200 of 200 spots lie on one line with all of their slice, as row numbers do; pass the columns of",
        "says how many, and goes on; neighbours are the next along the line.",
        "Pass x and y, or leave coordinates out.",
        lambda kit: kit.fit(_placed(kit, lambda places: np.arange(200.0)[:, None] * [1, 1])),
        lambda kit: kit.fit(kit.tissue()),
        as_fitted,
        of=SPATIAL,
    ),
    works(
        "A few spots lie on a line",
        "the next spots along the line are neighbours.",
        "Nothing.",
        lambda kit: kit.fit(kit.tissue()[:40], coordinates=np.arange(40.0)[:, None] * [1, 0], graph="delaunay"),
        finite,
        of=("transformer",),
    ),
    warning(
        "All spots lie at one place",
        r"200 of 200 spots lie at one place, \(0, 0\).*; drop these spots, or leave out coordinates",
        "says how many, and where; each is averaged with spots that come first.",
        "Leave coordinates out, or give true ones.",
        lambda kit: kit.fit(_placed(kit, lambda places: 0 * places)),
        lambda kit: kit.fit(kit.tissue()),
        as_fitted,
        of=QUICK,
    ),
    warning(
        "Spots that could not be located lie at (0, 0)",
        r"60 of 200 spots lie at one place, \(0, 0\).*; drop these spots",
        "says how many, and where.",
        "Drop these spots.",
        lambda kit: kit.fit(_placed(kit, _set(slice(0, 60), 0))),
        lambda kit: kit.fit(_placed(kit, _set(slice(0, 60), 0))[60:].copy()),
        finite,
        of=QUICK,
    ),
    works(
        "A few spots share a place",
        "they are neighbours of one another.",
        "Nothing.",
        lambda kit: kit.fit(_placed(kit, _set([3, 4, 5], 0))),
        finite,
        of=QUICK,
    ),
    warning(
        "Slices lie on one array of spots, and ``batch_key`` was forgotten",
        "200 of 200 spots share their place with another spot.*; name the slice of each spot by batch_key=",
        "says how many places are taken twice, as tissues are averaged into each other.",
        "Name the slice of each spot, by ``batch_key=`` or ``batch=``.",
        lambda kit: kit.fit(_overlaid(kit)[0]),
        lambda kit: kit.fit(_overlaid(kit)[0], batch=_overlaid(kit)[1]),
        finite,
        of=QUICK,
    ),
    error(
        '``graph="radius"`` without a radius',
        "radius=None, but graph='radius' needs a positive distance in units of the coordinates",
        "asks for one before anything is done.",
        "``graph__radius=``, about one and a half of the distance between next spots.",
        lambda kit: kit.fit(kit.tissue(), graph="radius"),
        lambda kit: kit.fit(kit.tissue(), graph="radius", graph__radius=120.0),
        finite,
        of=GRAPHS,
    ),
    warning(
        "The radius is too small: no spot has a neighbour",
        "radius=0.001 joins 200 of 200 spots to no other; .* give a radius near 120",
        "proposes a radius.",
        "Take the one that is proposed.",
        lambda kit: kit.fit(kit.tissue(), graph="radius", graph__radius=0.001),
        lambda kit: kit.fit(kit.tissue(), graph="radius", graph__radius=120.0),
        finite,
        of=("transformer",),
    ),
    warning(
        "The radius is in another unit: all spots are neighbours of all",
        r"radius=1000000.0 joins 200 of 200 spots to half of their slice or more.* give a radius near 120",
        "proposes a radius, as averages are all alike.",
        "Take the one that is proposed.",
        lambda kit: kit.fit(kit.tissue(), graph="radius", graph__radius=1e6),
        lambda kit: kit.fit(kit.tissue(), graph="radius", graph__radius=120.0),
        finite,
        of=("transformer",),
        besides=_COLLAPSED,
    ),
    warning(
        "There are fewer spots than ``graph__n_neighbors`` takes",
        "n_neighbors=6 joins 6 of 6 spots to half of their slice or more.*; lower n_neighbors",
        "says that averages are all alike.",
        "Lower ``graph__n_neighbors``, or leave coordinates out.",
        lambda kit: kit.fit(kit.tissue()[:6].copy(), n_clusters=2),
        lambda kit: kit.fit(kit.tissue()[:6].copy(), n_clusters=2, graph__n_neighbors=1),
        finite,
        of=("semst", "stllm"),
        besides=_COLLAPSED,
    ),
    warning(
        "``graph__n_neighbors`` is larger than the tissue",
        "n_neighbors=300 joins 200 of 200 spots to half of their slice or more.*; lower n_neighbors",
        "says that averages are all alike.",
        "Lower ``graph__n_neighbors``; 6 is the number of a hexagonal array.",
        lambda kit: kit.fit(kit.tissue(), graph__n_neighbors=300),
        lambda kit: kit.fit(kit.tissue(), graph__n_neighbors=6),
        as_fitted,
        of=("transformer",),
        besides=_COLLAPSED,
    ),
]
