"""Lists of slices, and slices that stay in their files."""

import os

import anndata
import numpy as np
from sklearn.metrics import adjusted_rand_score

from skst.embedding.sliced import Passes

from .cases import QUICK, error, warning, works
from .kit import agree, finite

TITLE = "Many slices"


def _halves(kit):
    """The two slices of the tissue."""
    adata = kit.tissue()
    return [adata[adata.obs["batch"] == name].copy() for name in ("left", "right")]


def _paths(kit, parts=None):
    """Files of slices, by default of the two of the tissue."""
    paths = [kit.tmp_path / f"{number}.h5ad" for number in range(len(parts or "ab"))]
    for part, path in zip(parts or _halves(kit), paths, strict=True):
        part.write_h5ad(path)
    return paths


def _as_halves(kit, fitted):
    """Check that a fit found what it finds in the whole with its slices named."""
    expected, batch = kit.fitted(batch_key="batch"), kit.tissue().obs["batch"].to_numpy()
    order = np.concatenate([np.flatnonzero(batch == name) for name in ("left", "right")])
    if hasattr(expected, "labels_"):
        assert adjusted_rand_score(fitted.labels_, expected.labels_[order]) == 1
    else:
        np.testing.assert_allclose(fitted.embedding_, expected.embedding_[order], atol=1e-4)


def _as_cells(kit, fitted):
    """The same without slices."""
    agree(fitted, kit.make().fit(anndata.concat(_halves(kit))))


def _with(kit, change):
    """Files of three slices, the one in the middle changed."""
    middle = kit.tissue()[:60].copy()
    return _paths(kit, [_halves(kit)[0], change(middle), _halves(kit)[1]])


def _without(adata):
    del adata.obsm["spatial"]
    return adata


def _flat(adata):
    adata.obsm["spatial"] = np.column_stack([adata.obsm["spatial"], np.zeros(len(adata))])
    return adata


def _negative(adata):
    adata.X.data[0] = -1
    return adata


def _cut(kit):
    paths = _with(kit, lambda adata: adata)
    paths[1].write_bytes(paths[1].read_bytes()[:5000])
    return paths


def _changed(kit):
    """Fit, while someone writes to a file."""
    paths, find_axes = _paths(kit), Passes.find_axes

    def touched(self, *arguments):
        os.utime(paths[1], ns=(1, 1))
        return find_axes(self, *arguments)

    kit.monkeypatch.setattr(Passes, "find_axes", touched)
    try:
        return kit.make().fit(paths)
    finally:
        kit.monkeypatch.setattr(Passes, "find_axes", find_axes)


def _fit_halves(kit):
    return kit.make().fit(_paths(kit))


CASES = [
    works(
        "X is a list of AnnData, one a slice, and the estimator can read them one at a time",
        "no edge joins two of them; ``labels_`` follow the list, and ``predict`` of a list gives a list.",
        "Nothing.",
        lambda kit: kit.make().fit(_halves(kit)),
        _as_halves,
        of=QUICK,
    ),
    works(
        "X is a list of paths, and the estimator can read them one at a time",
        "one file at a time is in memory, see :doc:`large`.",
        "Nothing.",
        _fit_halves,
        _as_halves,
        of=QUICK,
    ),
    works(
        "X is a list of AnnData, and the estimator needs all spots at once",
        "they are put together in memory; ``labels_`` follow the list, and ``predict`` of a list gives a list.",
        "Nothing, if they fit into memory.",
        lambda kit: kit.make().fit(_halves(kit)),
        _as_halves,
        of=("semst", "stllm"),
    ),
    works(
        "X is a list of paths, and the estimator trains networks",
        "up to 20,000 spots are put together in memory, and one file at a time is beyond, see :doc:`large`.",
        "Nothing.",
        _fit_halves,
        _as_halves,
        of=("semst",),
    ),
    works(
        "X is a list of paths, and the estimator knows no slices",
        "files are put together in memory, or read one at a time where networks are trained on more than 20,000 cells.",
        "Nothing.",
        _fit_halves,
        _as_cells,
        of=("text", "llmdsc"),
    ),
    works(
        "X is a list of AnnData, and the estimator knows no slices",
        "they are put together in memory.",
        "Nothing.",
        lambda kit: kit.make().fit(_halves(kit)),
        _as_cells,
        of=("text", "llmdsc"),
    ),
    works(
        "A list is given to a method that needs all spots at once, such as a graph network",
        "slices are put together in memory.",
        'Nothing, if they fit there; ``method="smooth"`` and ``"views"`` read one at a time.',
        lambda kit: kit.make(method="spaceflow").fit(_halves(kit)),
        finite,
        of=("transformer",),
    ),
    works(
        "A slice in a list has its genes in another order",
        "they are put into the order of the first slice.",
        "Nothing.",
        lambda kit: kit.make().fit([_halves(kit)[0], _halves(kit)[1][:, ::-1].copy()]),
        _as_halves,
        of=QUICK,
    ),
    works(
        "A slice in a list has a single spot",
        "the spot has no neighbours and is assigned by its own expression.",
        "Nothing.",
        lambda kit: kit.make().fit([kit.tissue()[:199].copy(), kit.tissue()[199:].copy()]),
        finite,
        of=QUICK,
    ),
    error(
        "A file of a list does not exist",
        r"Slice 1 of X, '.*absent.h5ad', is not there; check the path",
        "names the slice and the path before anything is fitted.",
        "Check the path.",
        lambda kit: kit.make().fit([_paths(kit)[0], kit.tmp_path / "absent.h5ad"]),
        _fit_halves,
        _as_halves,
        of=QUICK,
        kind=FileNotFoundError,
    ),
    error(
        "A file of a list was cut off, or is none of AnnData's",
        r"Slice 1 of X, '.*1.h5ad', cannot be used: .*(broken|do not follow each other).*; (write|get) it a.*",
        "names the slice and the path before anything is fitted.",
        "Write it anew.",
        lambda kit: kit.make().fit(_cut(kit)),
        _fit_halves,
        _as_halves,
        of=QUICK,
    ),
    error(
        "A slice in a list has no spots",
        r"Slice 1 of X, '.*1.h5ad', cannot be used: it has no spots; leave it out",
        "names the slice.",
        "Leave it out.",
        lambda kit: kit.make().fit(_with(kit, lambda adata: adata[:0].copy())),
        _fit_halves,
        _as_halves,
        of=QUICK,
    ),
    error(
        "A slice in a list has no places",
        r"Slice 1 of X, '.*1.h5ad', cannot be used: there is no obsm\['spatial'\]; put the places of its spots there.*",
        "names the slice and the key.",
        "Locate its spots, or leave it out.",
        lambda kit: kit.make().fit(_with(kit, _without)),
        _fit_halves,
        _as_halves,
        of=QUICK,
    ),
    error(
        "Slices in a list have places of two and of three dimensions",
        r"Slice 1 of X, '.*', cannot be used: its places have 3 dimensions where those of the first slice have 2; .*",
        "names the slice.",
        "Give all slices as many.",
        lambda kit: kit.make().fit(_with(kit, _flat)),
        _fit_halves,
        _as_halves,
        of=QUICK,
    ),
    warning(
        "Slices in a list have different genes",
        r"The 3 slices of X have 40 genes in common \(slice 1 has fewest, 40\), so these are used and 20 .*",
        "counts the genes that all have, and goes on with these; see :doc:`panels`.",
        "Nothing, if these are enough.",
        lambda kit: kit.make().fit(_with(kit, lambda adata: adata[:, :40].copy())),
        _fit_halves,
        _as_halves,
        of=QUICK,
    ),
    error(
        "Slices in a list have hardly a gene in common",
        r"The 3 slices of X have 5 genes in common \(slice 1 has fewest, 5\), and fewer than 10 tell .*",
        "counts the genes that all have.",
        "Name genes alike in all slices, or leave out those of other genes.",
        lambda kit: kit.make().fit(_with(kit, lambda adata: adata[:, :5].copy())),
        _fit_halves,
        _as_halves,
        of=QUICK,
    ),
    error(
        "A slice in a list holds negative values",
        "Slice 1 of X, '.*', cannot be used: Negative values in data: X holds -1 where raw counts are expected; .*",
        "names the slice.",
        "Pass raw counts.",
        lambda kit: kit.make().fit(_with(kit, _negative)),
        _fit_halves,
        _as_halves,
        of=QUICK,
    ),
    error(
        "A list names a file, or holds an AnnData, twice",
        "X names '.*0.h5ad' twice, as slices 0 and 2; give each once",
        "names both places.",
        "Give each once.",
        lambda kit: kit.make().fit([*_paths(kit), _paths(kit)[0]]),
        _fit_halves,
        _as_halves,
        of=QUICK,
    ),
    error(
        "A list holds both AnnData and paths",
        "X is a list that holds a AnnData and a PosixPath; give one AnnData a slice, or one path a slice",
        "names both types.",
        "Give one of them.",
        lambda kit: kit.make().fit([_halves(kit)[0], _paths(kit)[1]]),
        _fit_halves,
        _as_halves,
        of=QUICK,
        kind=TypeError,
    ),
    error(
        "A file changes while it is read again",
        "Slice 1 of X, '.*', cannot be used: the file has changed since it was first read; leave it alone until the .*",
        "does not mix what it was with what it is.",
        "Fit again.",
        _changed,
        _fit_halves,
        _as_halves,
        of=QUICK,
    ),
    error(
        "``coordinates=`` or ``batch=`` beside a list",
        "batch= is given, but X is read slice by slice; leave batch out, and give each batch as one .*",
        "says where these belong.",
        "Leave them out.",
        lambda kit: kit.make().fit(_halves(kit), batch=[0] * 200),
        _fit_halves,
        _as_halves,
        of=QUICK,
    ),
    error(
        "An item of a list holds several slices by ``batch_key``",
        "Slice 0 of X, '.*', cannot be used: it is an item of a list, but batch_key='batch' names 2 slices in it; .*",
        "does not join them.",
        "Give each slice alone, or one AnnData.",
        lambda kit: kit.make(batch_key="batch").fit(_paths(kit, [kit.tissue()])),
        lambda kit: kit.make(batch_key="batch").fit(_halves(kit)),
        _as_halves,
        of=QUICK,
    ),
    error(
        "A list is given, and what is to be read is no counts",
        r"X is a list of 2 AnnData, of which counts and places are read, and use_rep='X_scVI' asks for more; put .*",
        "shows the call that puts slices together.",
        "Follow it.",
        lambda kit: kit.make(use_rep="X_scVI").fit(_halves(kit)),
        lambda kit: kit.make().fit(_halves(kit)),
        _as_halves,
        of=("transformer",),
        kind=TypeError,
    ),
    warning(
        "The files of ``predict`` lack genes of ``fit``",
        "X lacks 20 of the 60 genes seen in fit, which are taken as unknown, and with them .*",
        "expects of them what the other genes tell, slice by slice.",
        "Nothing, if little is lost.",
        lambda kit: kit.fitted().predict(_paths(kit, [kit.tissue()[:, 20:].copy()])),
        lambda kit: kit.fitted().predict(_paths(kit, [kit.tissue()])),
        lambda kit, labels: np.testing.assert_array_equal(labels[0], kit.fitted().labels_),
    ),
    error(
        "A file of ``predict`` lacks nearly all genes of ``fit``",
        "Slice 1 of X, '.*', cannot be used: it lacks 57 of the 60 genes seen in fit, and with them .*",
        "names the slice.",
        "Leave it out, or fit on the genes that all share.",
        lambda kit: kit.fitted().predict(_paths(kit, [kit.tissue(), kit.tissue()[:, 57:].copy()])),
        lambda kit: kit.fitted().predict(_paths(kit, [kit.tissue()])),
        lambda kit, labels: np.testing.assert_array_equal(labels[0], kit.fitted().labels_),
    ),
]
