"""What X is."""

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from .cases import ALL, QUICK, READERS, SPATIAL, error, works
from .counts import of_values
from .kit import as_fitted, as_slices, finite

TITLE = "What X is"
_TYPE = {"kind": TypeError}


def _path(kit):
    path = kit.tmp_path / "tissue.h5ad"
    if not path.exists():
        kit.tissue().write_h5ad(path)
    return path


def _halves(kit):
    adata = kit.tissue()
    return {name: adata[adata.obs["batch"] == name].copy() for name in ("left", "right")}


def _joined(kit, parts, **options):
    return anndata.concat(parts, label="slice", index_unique="-", **options)[
        [f"{name}-{key}" for name, key in _order(kit, parts)]
    ].copy()


def _order(kit, parts):
    keys = list(parts) if isinstance(parts, dict) else range(len(parts))
    of_spot = {name: str(key) for key, part in zip(keys, _halves(kit).values(), strict=True) for name in part.obs_names}
    return [(name, of_spot[name]) for name in kit.tissue().obs_names]


def _foreign(module, name, **parts):
    """An object of a package that is not installed here."""
    return type(name, (), {"__module__": module, **parts})()


def _spatialdata(**tables):
    return _foreign("spatialdata._core.spatialdata", "SpatialData", tables=tables)


def _frames(kit):
    return [part.to_df() for part in _halves(kit).values()]


def _bad_index(kit):
    adata = kit.tissue()
    adata.X.indices[5] = 1000
    return adata


def _lazy(kit):
    import dask.array

    return of_values(kit, dask.array.from_array(kit.tissue().X.toarray(), chunks=50))


def _open_dataset(kit):
    import h5py

    return of_values(kit, anndata.io.sparse_dataset(h5py.File(_path(kit))["X"]))


CASES = [
    error(
        "X is the path of a file",
        r"X is the path '.*tissue.h5ad'; read it first, X = anndata.read_h5ad\('.*tissue.h5ad'\)",
        "shows the call that reads it.",
        "Read the file first.",
        lambda kit: kit.make().fit(str(_path(kit))),
        lambda kit: kit.make().fit(anndata.read_h5ad(str(_path(kit)))),
        as_fitted,
        of=ALL,
        **_TYPE,
    ),
    error(
        "X is a dict of AnnData by the names of slices",
        "X is a dict of 2 AnnData; put them together, X = anndata.concat",
        "shows the call that puts them together.",
        "Follow it; slices keep their names.",
        lambda kit: kit.make().fit(_halves(kit)),
        lambda kit: kit.fit(_joined(kit, _halves(kit)), batch_key="slice"),
        as_slices,
        of=QUICK,
        **_TYPE,
    ),
    error(
        "X is a list of DataFrames",
        r"X is a list of 2 DataFrame; put them together, X = pandas.concat\(X\), and name the slice .* by batch=",
        "shows the call that puts them together.",
        "Follow the call.",
        lambda kit: kit.make().fit(_frames(kit)),
        lambda kit: kit.fit(
            pd.concat(_frames(kit)).loc[kit.tissue().obs_names],
            coordinates=kit.places(),
            batch=kit.tissue().obs["batch"],
        ),
        as_slices,
        of=QUICK,
        **_TYPE,
    ),
    error(
        "X is a list of sparse matrices, or of arrays",
        r"X is a list of 2 ndarray; put them together, X = numpy.vstack\(X\)",
        "shows the call that puts them together.",
        "Follow the call.",
        lambda kit: kit.make().fit([frame.to_numpy() for frame in _frames(kit)]),
        lambda kit: kit.make(gene_names=kit.tissue().var_names).fit(
            np.vstack([frame.to_numpy() for frame in _frames(kit)])
        ),
        as_fitted,
        of=("text",),
        **_TYPE,
    ),
    error(
        "X is ``None``, a number, or another object without counts",
        "X is of type NoneType; pass an AnnData, a DataFrame or an array of counts",
        "says what it is.",
        "Pass counts.",
        lambda kit: kit.make().fit(None),
        lambda kit: kit.make().fit(kit.tissue()),
        as_fitted,
        of=READERS,
        **_TYPE,
    ),
    error(
        "X is a dict of columns",
        "X is of type dict; pass an AnnData, a DataFrame or an array of counts",
        "says what it is.",
        "``pandas.DataFrame(X)``.",
        lambda kit: kit.make().fit(kit.tissue().to_df().to_dict("list")),
        lambda kit: kit.make().fit(pd.DataFrame(kit.tissue().to_df().to_dict("list"))),
        as_fitted,
        of=("text", "llmdsc"),
        **_TYPE,
    ),
    works(
        "X is a SpatialData",
        "its table is read.",
        "Nothing.",
        lambda kit: kit.make().fit(_spatialdata(table=kit.tissue())),
        as_fitted,
        of=READERS,
    ),
    error(
        "X is a SpatialData with several tables",
        r"The SpatialData has several tables, \['fine', 'coarse'\]; pass one, such as sdata.tables\['fine'\]",
        "names them.",
        "Pass one.",
        lambda kit: kit.make().fit(_spatialdata(fine=kit.tissue(), coarse=kit.tissue())),
        lambda kit: kit.make().fit(_spatialdata(fine=kit.tissue(), coarse=kit.tissue()).tables["fine"]),
        as_fitted,
        of=READERS,
    ),
    error(
        "X is a SpatialData without a table",
        r"The SpatialData has no table, and counts are read from one; make it, sdata.aggregate\(.*\)",
        "shows the call that makes one.",
        "Follow the call.",
        lambda kit: kit.make().fit(_spatialdata()),
        lambda kit: kit.make().fit(_spatialdata(table=kit.tissue())),
        as_fitted,
        of=READERS,
    ),
    error(
        "The table of a SpatialData does not say where its spots lie",
        r"The table 'table' of the SpatialData has no obsm\['spatial'\]; put centroids there, "
        r"spatialdata.get_centroids\(SHAPES\).compute\(\), in the order of its rows, or pass coordinates=",
        "says where to get places.",
        "Follow the sentence.",
        lambda kit: kit.make().fit(_spatialdata(table=kit.without_places())),
        lambda kit: kit.make().fit(_spatialdata(table=kit.without_places()), coordinates=kit.places()),
        as_fitted,
        of=SPATIAL,
    ),
    error(
        "X is a MuData",
        r'X is a MuData, which holds tables of several kinds; pass the AnnData in it, X.mod\["rna"\]',
        "says where the AnnData is.",
        "Pass that.",
        lambda kit: kit.make().fit(_foreign("mudata._core", "MuData", mod={"rna": kit.tissue()}, shape=(200, 60))),
        lambda kit: kit.make().fit(_foreign("mudata._core", "MuData", mod={"rna": kit.tissue()}).mod["rna"]),
        as_fitted,
        of=QUICK,
        **_TYPE,
    ),
    error(
        "X is ``adata.raw``",
        r"X is a Raw, which holds tables of several kinds; pass the AnnData in it, X.to_adata\(\)",
        "says how to get an AnnData.",
        "``adata.raw.to_adata()``.",
        lambda kit: kit.make().fit(_raw(kit)),
        lambda kit: kit.make().fit(_raw(kit).to_adata()),
        as_fitted,
        of=("text", "llmdsc"),
        **_TYPE,
    ),
    error(
        "X is an open HDF5 file, or a group of one",
        r"X is a File, which holds tables of several kinds; pass the AnnData in it, anndata.io.read_elem\(X\)",
        "shows the call that reads it.",
        "Follow the call.",
        lambda kit: kit.make().fit(_file(kit)),
        lambda kit: kit.make().fit(anndata.io.read_elem(_file(kit))),
        as_fitted,
        of=QUICK,
        **_TYPE,
    ),
    error(
        "X is a masked array",
        r"X is a masked array, of which estimators would read what is masked; pass X.filled\(0\)",
        "does not read what is masked.",
        "``X.filled(0)``.",
        lambda kit: kit.make().fit(np.ma.masked_equal(kit.tissue().X.toarray(), 3)),
        lambda kit: kit.make(gene_names=kit.tissue().var_names).fit(
            np.ma.masked_equal(kit.tissue().X.toarray(), 3).filled(0)
        ),
        finite,
        of=("text", "llmdsc"),
        **_TYPE,
    ),
    works(
        "The AnnData is backed by a file",
        "it is read.",
        "Nothing.",
        lambda kit: kit.make().fit(anndata.read_h5ad(_path(kit), backed="r")),
        as_fitted,
        of=READERS,
    ),
    works(
        "X is lazy (dask)",
        "it is computed.",
        "Nothing.",
        lambda kit: kit.make().fit(_lazy(kit)),
        as_fitted,
        of=("text", *QUICK),
    ),
    works(
        "X is a sparse dataset of an open file",
        "it is read.",
        "Nothing.",
        lambda kit: kit.make().fit(_open_dataset(kit)),
        as_fitted,
        of=("text", *QUICK),
    ),
    works(
        "X is a view of an AnnData",
        "it is read as a copy would be.",
        "Nothing.",
        lambda kit: kit.make().fit(kit.tissue()[np.arange(200)]),
        as_fitted,
        of=("text", *QUICK),
    ),
    works(
        "X is a sparse matrix of another format than CSR, or a ``numpy.matrix``",
        "it is converted.",
        "Nothing.",
        lambda kit: [
            kit.make(gene_names=kit.tissue().var_names).fit(make(kit.tissue().X.toarray()))
            for make in (sparse.csc_array, sparse.coo_matrix, sparse.dok_array, sparse.lil_matrix, _matrix)
        ],
        lambda kit, fits: [as_fitted(kit, fitted) for fitted in fits],
        of=("text",),
    ),
    works(
        "X is a list of lists",
        "it is read as an array.",
        "Nothing.",
        lambda kit: kit.make(gene_names=kit.tissue().var_names).fit(kit.tissue().X.toarray().tolist()),
        as_fitted,
        of=("text", "llmdsc"),
    ),
    error(
        "X is an empty list",
        r"X is an empty list \(shape=\(0,\)\); pass a table of counts, or a list of slices",
        "says so.",
        "Look for the slices where they are: a pattern of paths that finds none gives such a list.",
        lambda kit: kit.make().fit([]),
        lambda kit: kit.make(gene_names=kit.tissue().var_names).fit(kit.tissue().X.toarray().tolist()),
        of=("text", "llmdsc"),
    ),
    error(
        "X is a single row, or a Series",
        r"Reshape your data: X has the shape \(60,\), where one row a spot and one column a gene are expected",
        "shows the shape.",
        "``X.reshape(1, -1)``, or ``X.to_frame().T``.",
        lambda kit: kit.fitted().transform(kit.tissue().to_df().iloc[0]),
        lambda kit: kit.fitted().transform(kit.tissue().to_df().iloc[0].to_frame().T),
        of=("text", "llmdsc"),
    ),
    error(
        "X has three dimensions",
        r"Reshape your data: X has the shape \(1, 200, 60\), where one row a spot and one column a gene",
        "shows the shape.",
        "``X[0]``.",
        lambda kit: kit.make().fit(kit.tissue().X.toarray()[None]),
        lambda kit: kit.make(gene_names=kit.tissue().var_names).fit(kit.tissue().X.toarray()[None][0]),
        as_fitted,
        of=("text", "llmdsc"),
    ),
    error(
        "Rows of X have different lengths",
        r"X holds something else than numbers \(.*inhomogeneous.*\); pass a table of counts",
        "says that no table can be made of it.",
        "Pass as many genes of each spot.",
        lambda kit: kit.make().fit([[1, 2], [3]]),
        lambda kit: kit.make().fit(kit.tissue()),
        as_fitted,
        of=("text", "llmdsc"),
    ),
    error(
        "Filtering has left no spot",
        r"X has 0 sample\(s\) \(shape=\(0, 60\)\) while a minimum of 1 is required; see what filtering has left",
        "shows the shape.",
        "Filter less.",
        lambda kit: kit.make().fit(kit.tissue()[:0].copy()),
        lambda kit: kit.make().fit(kit.tissue()),
        as_fitted,
        of=READERS,
    ),
    error(
        "Filtering has left no gene",
        r"X has 0 feature\(s\) \(shape=\(200, 0\)\) while a minimum of 1 is required; see what filtering has left",
        "shows the shape.",
        "Filter less.",
        lambda kit: kit.make().fit(kit.tissue()[:, :0].copy()),
        lambda kit: kit.make().fit(kit.tissue()),
        as_fitted,
        of=READERS,
    ),
    error(
        "A sparse matrix has indices that lead out of it, as from a broken file",
        "X cannot be used: its column indices go from 0 to 1000 where there are 60; .*",
        "looks before compiled code does, which would crash.",
        "Write or read the file again.",
        lambda kit: kit.make().fit(_bad_index(kit)),
        lambda kit: kit.make().fit(kit.tissue()),
        as_fitted,
        of=READERS,
    ),
]


def _raw(kit):
    adata = kit.tissue()
    adata.raw = adata
    return adata.raw


def _file(kit):
    import h5py

    return h5py.File(_path(kit))


def _matrix(values):
    import warnings

    with warnings.catch_warnings(action="ignore"):
        return np.matrix(values)
