"""Labelled data sets, simulated tissue, and where they are kept."""

from typing import TYPE_CHECKING

from skst.datasets._cells import fetch_baron_mouse, fetch_pbmc3k, fetch_scmixology, load_pbmc68k
from skst.datasets._simulate import make_spatial_domains, mask_counts
from skst.datasets._spatial import fetch_dlpfc, fetch_her2st, fetch_osmfish, fetch_starmap
from skst.files.home import get_data_home

__all__ = [
    "fetch_baron_mouse",
    "fetch_dlpfc",
    "fetch_gene_descriptions",
    "fetch_her2st",
    "fetch_osmfish",
    "fetch_pbmc3k",
    "fetch_scmixology",
    "fetch_starmap",
    "get_data_home",
    "load_pbmc68k",
    "make_spatial_domains",
    "mask_counts",
]


if TYPE_CHECKING:
    from skst.genes.descriptions import fetch_gene_descriptions


def __getattr__(name):
    # Loaded on first use: whoever only wants a data set need not load the text side.
    if name == "fetch_gene_descriptions":
        from skst.genes.descriptions import fetch_gene_descriptions

        return fetch_gene_descriptions
    raise AttributeError(f"module 'skst.datasets' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
