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
    """A labelled data set."""

    # Returns an AnnData with ``obs["label"]``; raises OSError where the data are not at hand.
    load: Callable
    # False if ``X`` is log-normalised already, so that methods take it as it is.
    normalize: bool = True


def _at_home(fetch, *names):
    return DataSet(partial(fetch, *names, download_if_missing=False))


def _mouse(number):
    """One of the two mice of the Baron data."""
    adata = CELLS["Baron mouse"].load()
    return adata[adata.obs["batch"] == f"mouse{number}"].copy()


SPATIAL = {
    "osmFISH": _at_home(datasets.fetch_osmfish),
    "STARmap": _at_home(datasets.fetch_starmap),
    **{f"DLPFC {name}": _at_home(datasets.fetch_dlpfc, name) for name in ("151673", "151674", "151510", "151507")},
    "HER2ST H1": _at_home(datasets.fetch_her2st, "H1"),
}
CELLS = {
    "Baron mouse": _at_home(datasets.fetch_baron_mouse),
    "PBMC3k": _at_home(datasets.fetch_pbmc3k),
    "sc_mixology": _at_home(datasets.fetch_scmixology),
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
    """Simulated tissue, with its domains as labels."""
    adata = datasets.make_spatial_domains(n_spots, n_genes=N_GENES, n_domains=N_DOMAINS, random_state=0)
    del adata.uns["truth"]
    return adata


def write_tissue(run, simulate=tissue):
    """Leave simulated data in the folder of a run, for its later steps."""
    simulate(run.settings["size"]).write_h5ad(Path(run.folder) / "tissue.h5ad")


def read_tissue(run):
    """What `write_tissue` left: the data without labels, and the labels."""
    import anndata

    return read(DataSet(partial(anndata.read_h5ad, Path(run.folder) / "tissue.h5ad")))
