"""The registries of labelled data, and simulated tissue."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from skst import datasets

# Of simulated tissue.
N_GENES, N_DOMAINS = 200, 7
# SpaLLM's quality levels: share of the non-zero counts that is set to zero.
LEVELS = {"Q0": 0.0, "Q1": 0.5, "Q2": 0.75, "Q3": 0.875, "Q4": 0.9375}


class DataSet(NamedTuple):
    """A labelled data set.

    Attributes
    ----------
    load : callable
        Returns an AnnData with ``obs["label"]``; raises OSError where the data are not at hand.
    normalize : bool
        False if ``X`` is log-normalised already, so that methods take it as it is.
    """

    load: Callable
    normalize: bool = True


def _dlpfc(name):
    return DataSet(partial(datasets.fetch_dlpfc, name, download_if_missing=False))


def _mouse(number):
    """One of the two mice of the Baron data."""
    adata = CELLS["Baron mouse"].load()
    return adata[adata.obs["batch"] == f"mouse{number}"].copy()


SPATIAL = {
    "osmFISH": DataSet(partial(datasets.fetch_osmfish, download_if_missing=False)),
    "STARmap": DataSet(partial(datasets.fetch_starmap, download_if_missing=False)),
    "DLPFC 151673": _dlpfc("151673"),
    "DLPFC 151674": _dlpfc("151674"),
    "DLPFC 151510": _dlpfc("151510"),
    "DLPFC 151507": _dlpfc("151507"),
    "HER2ST H1": DataSet(partial(datasets.fetch_her2st, "H1", download_if_missing=False)),
}
CELLS = {
    "Baron mouse": DataSet(partial(datasets.fetch_baron_mouse, download_if_missing=False)),
    "PBMC3k": DataSet(partial(datasets.fetch_pbmc3k, download_if_missing=False)),
    "sc_mixology": DataSet(partial(datasets.fetch_scmixology, download_if_missing=False)),
    "PBMC68k reduced": DataSet(datasets.load_pbmc68k, normalize=False),
}
DATA = {**SPATIAL, **CELLS}
# The cells, and each of the two mice.
MICE = {**CELLS, "Baron mouse 1": DataSet(partial(_mouse, 1)), "Baron mouse 2": DataSet(partial(_mouse, 2))}
# Tissues whose counts are taken away.
THINNED = {name: data for name, data in SPATIAL.items() if name == "osmFISH" or name.startswith("DLPFC")}
# Where each seed makes a language model read anew, which takes longer than all else.
SMALL = ("osmFISH", "STARmap", "HER2ST H1")


def read(data):
    """The data without labels, and the labels."""
    adata = data.load()
    return adata, adata.obs.pop("label")


def tissue(n_spots):
    """Simulated tissue, and its domains."""
    adata = datasets.make_spatial_domains(n_spots, n_genes=N_GENES, n_domains=N_DOMAINS, random_state=0)
    del adata.uns["truth"]
    return adata, adata.obs.pop("label")


def write_tissue(run):
    """Leave simulated tissue in the folder of a run, for its later steps."""
    adata, truth = tissue(run.settings["size"])
    adata.obs["label"] = truth
    adata.write_h5ad(Path(run.folder) / "tissue.h5ad")


def read_tissue(run):
    """What `write_tissue` left: the data without labels, and the labels."""
    import anndata

    return read(DataSet(partial(anndata.read_h5ad, Path(run.folder) / "tissue.h5ad")))
