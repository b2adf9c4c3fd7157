"""Slices written to files, each of them whole or not at all."""

import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData

FILE_FORMATS = ("h5ad", "zarr")


def write_slice(adata: "AnnData", folder: str | os.PathLike[str], name: str, file_format: str) -> Path:
    """Write a slice; under its name it is only once it is whole.

    Parameters
    ----------
    adata : AnnData
    folder : path-like
        Made if it is not there.
    name : str
    file_format : {"h5ad", "zarr"}

    Returns
    -------
    Path
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    path, part = (folder / f"{start}{name}.{file_format}" for start in ("", ".part-"))
    try:
        with warnings.catch_warnings():
            # anndata tells which version of zarr it will write one day; it reads both.
            warnings.filterwarnings("ignore", "Writing zarr v2 data", UserWarning)
            getattr(adata, f"write_{file_format}")(part)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(part, path)
    finally:
        _remove(part)
    return path


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
