"""Attacks on HDF5 files: vectors and counts as AnnData, and counts as 10x Genomics writes them."""

import os
import sys
from contextlib import suppress
from unittest import mock

import numpy as np

from skst.datasets._base import read_tidy
from skst.datasets._tenx import read_10x_h5
from skst.files import rehearsal as _rehearsal
from skst.genes.table import read_gene_vectors

from .arena import Kind
from .mutations import altered, damaged, pick
from .verdict import HELD, require

_SHAPE = (14, 9)


def _counts():
    from scipy import sparse

    counts = np.random.default_rng(0).poisson(0.7, size=_SHAPE).astype(np.float32)
    counts[0, 0] = counts[-1, -1] = 3
    return sparse.csr_matrix(counts)


def _prepare_h5ad(folder):
    import anndata
    import pandas as pd

    contents = []
    for make in (lambda X: X, lambda X: X.toarray(), lambda X: X.tocsc()):
        adata = anndata.AnnData(make(_counts()))
        adata.obs_names, adata.var_names = [f"spot{i}" for i in range(14)], [f"GENE{i}" for i in range(9)]
        adata.obs["label"] = pd.Categorical(["a", "b"] * 7)
        adata.obsm["spatial"] = np.arange(28.0).reshape(14, 2)
        adata.layers["more"] = _counts()
        adata.write_h5ad(folder / "a.h5ad")
        contents.append((folder / "a.h5ad").read_bytes())
    return contents


def _h5ad(rng, folder, contents):
    path = folder / "a.h5ad"
    path.write_bytes(pick(rng, contents))
    _attack(path, rng, pick(rng, contents))
    if rng.random() < 0.5:
        names, vectors = _rehearsed(read_gene_vectors, path)
        _check(
            path,
            "X",
            "X",
            lambda said: np.array_equal(said[-len(names) :], vectors, equal_nan=True) or len(names) < len(said),
        )
        return HELD
    adata = _rehearsed(read_tidy, path, spatial=True)
    _check(path, "X", "X", lambda said: np.array_equal(said, adata.X.toarray(), equal_nan=True))
    _check(
        path, "layers/more", "layers", lambda said: np.array_equal(said, adata.layers["more"].toarray(), equal_nan=True)
    )
    return HELD


def _rehearsed(read, *what, **options):
    """Read with a rehearsal that is forked, as starting a program for each of thousands of files takes long."""
    with mock.patch.object(_rehearsal, "_words_of", _words_of_fork):
        return read(*what, **options)


def _words_of_fork(command, seconds):
    told, telling = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(telling, 1)
            sys.stdout = os.fdopen(1, "w")
            _rehearsal._rehearse(*(kind(word) for kind, word in zip((str, int, int), list(command)[3:], strict=True)))
        finally:
            os._exit(0)
    os.close(telling)
    with os.fdopen(told) as words:
        os.waitpid(child, 0)
        return words.read()


def _check(path, key, what, holds):
    """Compare a matrix of an AnnData with what its file says of it."""
    import h5py

    with h5py.File(path, "r") as file:
        if key not in file:
            return
        part = file[key]
        if isinstance(part, h5py.Dataset):
            said = part[:]
        else:
            rows_first = part.attrs["encoding-type"] == "csr_matrix"
            shape = tuple(map(int, part.attrs["shape"]))
            said = dense(part["data"][:], part["indices"][:], part["indptr"][:], shape, rows_first)
    require(holds(said.astype(np.float32)), f"other numbers in {what} than the file has")


def dense(data, indices, indptr, shape, rows_first=True):
    """The matrix that compressed rows or columns stand for, number by number; an IndexError where they are none."""
    full = np.zeros(shape if rows_first else shape[::-1], dtype=np.result_type(data, np.float64))
    for major in range(len(indptr) - 1):
        for at in range(int(indptr[major]), int(indptr[major + 1])):
            if int(indices[at]) < 0:
                raise IndexError(at)
            full[major, int(indices[at])] += data[at]
    return full if rows_first else full.T


# What is done to a file


def _attack(path, rng, other):
    """Damage bytes, or change what the file holds so that it stays an HDF5 file."""
    import h5py

    way = rng.random()
    if way < 0.1:
        return
    if way < 0.4:
        path.write_bytes(damaged(path.read_bytes(), rng, other))
        return
    with h5py.File(path, "a") as file:
        for _ in range(int(rng.integers(1, 4))):
            keys = []
            file.visit(keys.append)
            with suppress(ValueError, KeyError, OSError, RuntimeError):  # an earlier deed left nothing to do it to
                pick(rng, _DEEDS)(file, pick(rng, keys) if keys else "X", rng, path.parent)


def _alter(file, key, rng, folder):
    import h5py

    item = file.get(key)
    if not isinstance(item, h5py.Dataset) or item.shape is None or item.dtype.kind == "O" or item.size > 10**4:
        return
    attributes = dict(item.attrs)
    value = altered(item[()], rng)
    del file[key]
    file[key] = value
    for name, attribute in attributes.items():
        file[key].attrs[name] = attribute


def _change_attribute(file, key, rng, folder):
    item = file.get(key)
    if item is None or not len(item.attrs):
        return
    name = pick(rng, sorted(item.attrs))
    value = item.attrs[name]
    words = ("csr_matrix", "csc_matrix", "array", "dict", "categorical", "dataframe", "string-array", "0.0.9", "")
    if isinstance(value, str):
        item.attrs[name] = pick(rng, words)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        item.attrs[name] = altered(value, rng)
    else:
        del item.attrs[name]


def _remove(file, key, rng, folder):
    file.pop(key, None)


def _move(file, key, rng, folder):
    keys = []
    file.visit(keys.append)
    target = pick(rng, [*keys, "elsewhere", f"{key}/within"])
    if target not in file and key in file and not target.startswith(f"{key}/"):
        file.move(key, target)


def _link(file, key, rng, folder):
    import h5py

    with h5py.File(folder / "other.h5", "w") as other:
        other["data"] = np.arange(5.0)
        other["group/data"] = np.arange(5.0)
    (folder / "secret").write_bytes(b"PRIVATE KEY " * 9)
    place = f"{key}_more" if rng.random() < 0.5 else key
    if "/" in place and not isinstance(file.get(place.rpartition("/")[0]), h5py.Group):
        return
    links = (
        lambda: h5py.ExternalLink(str(folder / "other.h5"), "/data"),
        lambda: h5py.ExternalLink(str(folder / "other.h5"), "/group"),
        lambda: h5py.SoftLink("/"),
        lambda: h5py.SoftLink(f"/{key}"),
        lambda: h5py.SoftLink("/nowhere"),
        lambda: file["/"],
    )
    file.pop(place, None)
    if rng.random() < 0.3:
        file.create_dataset(place, shape=(9,), dtype="S8", external=[(str(folder / "secret"), 0, 72)])
    else:
        file[place] = pick(rng, links)()


def _declare(file, key, rng, folder):
    import h5py

    n_rows, n_columns = (int(10 ** rng.uniform(0, 9)) for _ in range(2))
    dtype = pick(rng, ("f4", "i8", h5py.string_dtype(), "S100", h5py.vlen_dtype("i4"), h5py.ref_dtype))
    shape = pick(rng, ((n_rows,), (n_rows, n_columns), (n_rows, 1, n_columns)))
    place = key if rng.random() < 0.5 and isinstance(file.get(key), h5py.Dataset) else "declared"
    file.pop(place, None)
    file.create_dataset(place, shape=shape, chunks=(1,) * len(shape) if n_rows < 9 else True, dtype=dtype)


_DEEDS = (_alter, _alter, _alter, _change_attribute, _remove, _move, _link, _declare)

# 10x Genomics


def _prepare_10x(folder):
    import h5py

    counts = _counts()
    with h5py.File(folder / "a.h5", "w") as file:
        file["matrix/data"], file["matrix/indices"] = counts.data.astype("i4"), counts.indices.astype("i8")
        file["matrix/indptr"], file["matrix/shape"] = counts.indptr.astype("i8"), np.array(_SHAPE[::-1], dtype="i4")
        file["matrix/barcodes"] = np.array([f"SPOT{i}-1" for i in range(14)], dtype="S")
        features = file.create_group("matrix/features")
        features["name"] = np.array([f"GENE{i // 2}" for i in range(9)], dtype="S")
        features["id"] = np.array([f"ENSG{i}" for i in range(9)], dtype="S")
        features["feature_type"] = np.array(["Gene Expression"] * 8 + ["Antibody Capture"], dtype="S")
    return [(folder / "a.h5").read_bytes()]


def _tenx(rng, folder, contents):
    import h5py

    path = folder / "a.h5"
    path.write_bytes(contents[0])
    _attack(path, rng, contents[0])
    X, barcodes, symbols, ids = _rehearsed(read_10x_h5, path)
    require(X.shape == (len(barcodes), len(symbols)) == (len(barcodes), len(ids)), f"shape {X.shape}")
    require(len(set(symbols)) == len(symbols) or len(set(ids)) < len(ids), "repeated symbols")
    with h5py.File(path, "r") as file:
        part = file["matrix"]
        data = part["data"][:].astype(np.float32)
        said = dense(data, part["indices"][:], part["indptr"][:], tuple(map(int, part["shape"][:]))[::-1])
        if "feature_type" in part["features"]:
            said = said[:, part["features/feature_type"].asstr()[:] == "Gene Expression"]
    require(np.array_equal(said.astype(np.float32), X.toarray(), equal_nan=True), "other counts than the file has")
    return HELD


KINDS = [Kind("h5ad", _h5ad, _prepare_h5ad, rounds=25), Kind("10x h5", _tenx, _prepare_10x, rounds=25)]
