"""Readers of the two 10x Genomics count formats, free of scanpy."""

import bz2
import gzip
import lzma
import tarfile
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from scipy import sparse

from skst.datasets._base import read_column, reading, require
from skst.files.hdf5 import open_h5
from skst.files.untrusted import bounded_text, checked_csr, read_bounded, unfolded_limit

_COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_MAX_MEMBERS = 10_000


def read_10x_h5(path):
    """Counts of a Cell Ranger or Space Ranger (version 3 or later) ``*_feature_bc_matrix.h5``.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    X : csr_matrix of shape (n_spots, n_genes), float32
        UMI counts of the features of type "Gene Expression".
    barcodes : ndarray of str of shape (n_spots,)
        Spot barcodes.
    symbols : ndarray of str of shape (n_genes,)
        Gene symbols, unique: a repeated symbol gives way to the Ensembl id.
    ids : ndarray of str of shape (n_genes,)
        Ensembl ids.

    Raises
    ------
    ValueError
        If it is no such file: a part is missing or of another length, indices lead out of the matrix, or data
        lie in another file.
    """
    with reading(path), open_h5(path) as file:
        shape = read_column(path, file, "matrix/shape", 2)
        require(path, shape.dtype.kind in "iu" and shape.min() >= 0, "two sizes in 'matrix/shape'")
        n_genes, n_spots = map(int, shape)
        data, indices, indptr = (read_column(path, file, f"matrix/{key}") for key in ("data", "indices", "indptr"))
        # Stored by column with genes as rows, which is by row once spots are the rows.
        X = checked_csr(data.astype(np.float32), indices, indptr, (n_spots, n_genes), path)
        barcodes = read_column(path, file, "matrix/barcodes", n_spots, text=True)
        symbols = read_column(path, file, "matrix/features/name", n_genes, text=True)
        ids = read_column(path, file, "matrix/features/id", n_genes, text=True)
        if "feature_type" in file["matrix/features"]:
            types = read_column(path, file, "matrix/features/feature_type", n_genes, text=True)
            genes = types == "Gene Expression"
            X, symbols, ids = X[:, genes], symbols[genes], ids[genes]
    return X, barcodes, unique_symbols(symbols, ids), ids


def read_10x_tar(path):
    """Counts of a Cell Ranger 1 or 2 tar archive of ``matrix.mtx``, ``genes.tsv`` and ``barcodes.tsv``.

    The archive is read in memory, nothing is unpacked to disk.  Returns what :func:`read_10x_h5` returns, and
    raises as it does.
    """
    with reading(path):
        content = _members(path, ("matrix.mtx", "genes.tsv", "barcodes.tsv"))
        texts = {name: bounded_text(BytesIO(member), len(member), path) for name, member in content.items()}
        options = {"header": None, "dtype": str, "keep_default_na": False}
        genes = pd.read_csv(texts["genes.tsv"], sep="\t", usecols=[0, 1], **options)
        barcodes = pd.read_csv(texts["barcodes.tsv"], usecols=[0], **options)[0].to_numpy()
        X = _read_mtx(path, texts["matrix.mtx"], len(genes), len(barcodes))
    ids, symbols = genes[0].to_numpy(), genes[1].to_numpy()
    return X, barcodes, unique_symbols(symbols, ids), ids


def _members(path, names):
    """Content of the members of a tar archive with these names, in whatever folder."""
    limit = unfolded_limit(path)
    with open(path, "rb") as file:
        start = file.read(5)
    opener = next((opener for magic, opener in _COMPRESSIONS.items() if start.startswith(magic)), open)
    with opener(path, "rb") as file:
        content = read_bounded(file, limit, path)
    members, last = {}, -1
    with tarfile.open(fileobj=BytesIO(content), mode="r:") as archive:
        for n_before, member in enumerate(archive):
            # A negative size would lead back, and around for ever.
            require(path, member.offset > last and n_before < _MAX_MEMBERS, "members in a row, and not too many")
            last = member.offset
            name = PurePosixPath(member.name).name
            plain = name.removesuffix(".gz")
            if not member.isfile() or plain not in names:
                continue
            end = member.offset_data + member.size
            whole = member.size >= 0 and end <= len(content) and not member.issparse()
            require(path, whole and plain not in members, f"one whole member '{plain}'")
            members[plain] = content[member.offset_data : end]
            if plain != name:
                members[plain] = read_bounded(gzip.open(BytesIO(members[plain])), limit, path)
    for name in names:
        require(path, name in members, f"the member '{name}'")
    return members


def _read_mtx(path, text, n_genes, n_spots):
    # Not by scipy, whose reader asks for the memory that a header declares, and ends the process at a zero byte.
    header = text.readline().lower().split()
    counts = header[:3] == ["%%matrixmarket", "matrix", "coordinate"] and header[4:] == ["general"]
    require(path, counts and header[3] in ("integer", "real"), "counts in coordinates in 'matrix.mtx'")
    line = next(line for line in text if not line.startswith("%"))
    *shape, n_entries = map(int, line.split())
    require(path, shape == [n_genes, n_spots], f"{n_genes} genes and {n_spots} spots in 'matrix.mtx'")
    entries = pd.read_csv(text, sep=r"\s+", header=None, dtype={0: np.int64, 1: np.int64, 2: np.float32})
    whole = entries.shape == (n_entries, 3) and entries[2].notna().all()
    require(path, whole, f"{n_entries} entries in 'matrix.mtx'")
    places = entries[1].to_numpy() - 1, entries[0].to_numpy() - 1
    return sparse.coo_matrix((entries[2].to_numpy(), places), shape=(n_spots, n_genes)).tocsr()


def unique_symbols(symbols, ids):
    """`symbols`, with the id in place of each that an earlier gene already bears."""
    return np.where(pd.Index(symbols).duplicated(), ids, symbols).astype(object)
