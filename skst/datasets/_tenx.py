"""Readers of the two 10x Genomics count formats, free of scanpy."""

import gzip
import tarfile
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from scipy import io, sparse

from skst.datasets._base import require


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
    """
    import h5py

    with h5py.File(path, "r") as file:
        for key in ("barcodes", "data", "indices", "indptr", "shape", "features/id", "features/name"):
            require(path, f"matrix/{key}" in file, f"the dataset 'matrix/{key}'")
        matrix = file["matrix"]
        n_genes, n_spots = matrix["shape"][:]
        # Stored by column with genes as rows, which is by row once spots are the rows.
        parts = (matrix["data"][:].astype(np.float32), matrix["indices"][:], matrix["indptr"][:])
        X = sparse.csr_matrix(parts, shape=(n_spots, n_genes))
        barcodes = matrix["barcodes"].asstr()[:]
        symbols = matrix["features/name"].asstr()[:]
        ids = matrix["features/id"].asstr()[:]
        if "feature_type" in matrix["features"]:
            genes = matrix["features/feature_type"].asstr()[:] == "Gene Expression"
            X, symbols, ids = X[:, genes], symbols[genes], ids[genes]
    return X, barcodes, unique_symbols(symbols, ids), ids


def read_10x_tar(path):
    """Counts of a Cell Ranger 1 or 2 tar archive of ``matrix.mtx``, ``genes.tsv`` and ``barcodes.tsv``.

    The archive is read in memory, nothing is unpacked to disk.  Returns what :func:`read_10x_h5` returns.
    """
    with tarfile.open(path, "r:*") as archive:
        members = {PurePosixPath(member.name).name: member for member in archive if member.isfile()}

        def opened(name):
            plain, zipped = members.get(name), members.get(f"{name}.gz")
            require(path, plain or zipped, f"the member '{name}'")
            return archive.extractfile(plain) if plain else gzip.open(archive.extractfile(zipped))

        X = sparse.csr_matrix(io.mmread(opened("matrix.mtx")).T, dtype=np.float32)
        genes = pd.read_csv(opened("genes.tsv"), sep="\t", header=None, dtype=str, keep_default_na=False)
        barcodes = pd.read_csv(opened("barcodes.tsv"), header=None, dtype=str)[0].to_numpy()
    ids, symbols = genes[0].to_numpy(), genes[1].to_numpy()
    return X, barcodes, unique_symbols(symbols, ids), ids


def unique_symbols(symbols, ids):
    """`symbols`, with the id in place of each that an earlier gene already bears."""
    return np.where(pd.Index(symbols).duplicated(), ids, symbols).astype(object)
