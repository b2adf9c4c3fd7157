"""Finding, downloading and packing the files behind the data sets."""

import csv
import os
import warnings
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse

from skst.files import hdf5 as _hdf5
from skst.files.home import find_file, get_data_home, writable_home
from skst.files.untrusted import RefusedError, open_text, told
from skst.metrics import UNLABELLED

# A folder of data sets, None for the usual one.
Home: TypeAlias = str | os.PathLike[str] | None


@cache
def registry():
    """Name -> (sha256 or None, url) of every file that can be downloaded.

    The hash is None where the published file has not been seen by this project; the file is then taken as it
    comes.
    """
    with resources.files("skst.datasets").joinpath("registry.tsv").open(encoding="utf-8") as lines:
        return {row["name"]: (row["sha256"] or None, row["url"]) for row in csv.DictReader(lines, delimiter="\t")}


def fetch_file(name, data_home=None, download_if_missing=True):
    """Path of a file of the registry, downloaded if need be.

    Raises
    ------
    OSError
        If the file is absent and may not, or cannot, be downloaded.
    """
    path = find_file(name, data_home)
    if path is not None:
        return path
    home = get_data_home(data_home)
    if not download_if_missing:
        raise OSError(
            f"{name} is not in the data home {home} and download_if_missing=False; set SKST_DATA_HOME "
            "(or data_home) to a directory that holds it, or allow the download."
        )
    sha256, url = registry()[name]
    import pooch

    try:
        return Path(pooch.retrieve(url, sha256, fname=name, path=writable_home(data_home)))
    except OSError as error:
        reason = f"could not be reached ({type(error).__name__})"
    except ValueError:  # how pooch says that the hash differs
        reason = f"does not have the sha256 {sha256} of the published file"
    raise OSError(f"{name} was not downloaded: {url} {reason}; put the file into {home}, or set SKST_DATA_HOME.")


def pack(X, *, genes, label, source, species, spots=None, spatial=None, obs=None, var=None):
    """AnnData in the common form: csr float32 counts, categorical label, float64 coordinates."""
    import anndata

    spots = pd.RangeIndex(X.shape[0]) if spots is None else spots
    obs = pd.DataFrame(obs or {}, index=pd.Index(np.asarray(spots, dtype=str)))
    obs["label"] = as_label(label)
    var = pd.DataFrame(var or {}, index=pd.Index(np.asarray(genes, dtype=str)))
    adata = anndata.AnnData(as_counts(X), obs=obs, var=var)
    if spatial is not None:
        adata.obsm["spatial"] = np.asarray(spatial, dtype=np.float64)
    adata.uns.update(source=source, species=species)
    return adata


def as_counts(X):
    """`X` as float32 csr_matrix, the class that AnnData reads from disk."""
    X = sparse.csr_matrix(X, dtype=np.float32)
    X.sort_indices()
    return X


def as_label(values):
    """Categorical labels, NaN where unlabelled."""
    values = pd.Series(np.asarray(values, dtype=object)).astype("string")
    return pd.Categorical(values.mask(values.isin((*UNLABELLED, "undetermined", ""))).astype(object))


@contextmanager
def reading(path):
    """Say in one sentence what is wrong with the file at `path`, whatever its reader says."""
    try:
        yield
    except (FileNotFoundError, ImportError, PermissionError, RefusedError):
        raise
    except Exception as error:  # every format's reader has its own
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {told(error)}); replace it with the published file."
        ) from error


def read_h5ad(path):
    """An h5ad without the warnings about its age, which its readers cannot mend."""
    import anndata

    with reading(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=anndata.OldFormatWarning)
        return _hdf5.read_h5ad(path)


def read_table(path, **options):
    """A table of text, as pandas reads it with `options`."""
    with reading(path), open_text(path) as file:
        return pd.read_csv(file, **options)


def read_column(path, file, key, length=None, *, text=False):
    """Texts or numbers of one dimension in an open HDF5 file, `length` of them where that is known."""
    import h5py

    column = file.get(key)
    require(path, isinstance(column, h5py.Dataset), f"the dataset '{key}'")
    require(path, column.shape is not None and column.ndim == 1, f"a list in '{key}'")
    require(path, length is None or len(column) == length, f"{length} entries in '{key}'")
    if text:
        require(path, h5py.check_string_dtype(column.dtype) is not None, f"texts in '{key}'")
        return column.asstr()[:]
    require(path, column.dtype.kind in "biuf", f"numbers in '{key}'")
    return column[:]


def read_tidy(path, *, spatial):
    """A tidy h5ad, checked for what every data set promises."""
    adata = read_h5ad(path)
    require(path, adata.X is not None, "counts in X")
    require(path, "label" in adata.obs, "a column 'label' in obs")
    require(path, not spatial or "spatial" in adata.obsm, "coordinates in obsm['spatial']")
    with reading(path):
        adata.X = as_counts(adata.X)
        adata.obs["label"] = as_label(adata.obs["label"])
        if spatial:
            adata.obsm["spatial"] = np.asarray(adata.obsm["spatial"], dtype=np.float64)
    adata.uns.setdefault("source", str(path.name))
    return adata


def require(path, present, what):
    """Say that the file at `path` lacks `what`."""
    if not present:
        raise RefusedError(f"{path} lacks {what}; replace it with the published file.")


def give(adata, return_X_y):
    """`adata`, or the pair of it and its labels."""
    return (adata, adata.obs["label"].to_numpy(dtype=object)) if return_X_y else adata


def join_slices(slices, parts):
    """One AnnData of several slices on the genes they share, or the only part as it is."""
    import anndata

    for slice, part in zip(slices, parts, strict=True):
        part.obs["batch"] = pd.Categorical([slice] * part.n_obs, categories=slices)
    if len(parts) == 1:
        return parts[0]
    for slice, part in zip(slices, parts, strict=True):
        part.obs_names = [f"{slice}_{spot}" for spot in part.obs_names]
    adata = anndata.concat(parts, join="inner", merge="same")
    adata.obs["batch"] = pd.Categorical(adata.obs["batch"], categories=slices)
    adata.obs["label"] = as_label(adata.obs["label"])
    adata.X = as_counts(adata.X)
    adata.uns.update(source="; ".join(part.uns["source"] for part in parts), species=parts[0].uns["species"])
    return adata


def check_slices(slice, known):
    """`slice`, one or several, as a list of known names."""
    slices = [str(name) for name in ([slice] if isinstance(slice, str | int | np.integer) else slice)]
    unknown = [name for name in slices if name not in known]
    if unknown or not slices or len(set(slices)) < len(slices):
        raise ValueError(f"slice={slice!r} must be one, or several different ones, of {', '.join(known)}.")
    return slices
