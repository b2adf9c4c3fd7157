"""Cluster spatial and single-cell transcriptomics, with what language models know about genes."""

from importlib import import_module
from typing import TYPE_CHECKING

from skst._version import __version__

if TYPE_CHECKING:  # type checkers do not see what __getattr__ loads
    from skst.embedding import SpatialGraphTransformer as SpatialGraphTransformer
    from skst.llmdsc import LLMDSCClusterer as LLMDSCClusterer
    from skst.reporting import report as report
    from skst.semst import SemSTClusterer as SemSTClusterer
    from skst.spallm import SpaLLMFusion as SpaLLMFusion
    from skst.stllm import STLLMClusterer as STLLMClusterer
    from skst.text import GeneTextEncoder as GeneTextEncoder

# Public names load on first use, so that `import skst` stays fast.
_HOMES = {
    "GeneTextEncoder": "skst.text",
    "SpatialGraphTransformer": "skst.embedding",
    "SpaLLMFusion": "skst.spallm",
    "SemSTClusterer": "skst.semst",
    "STLLMClusterer": "skst.stllm",
    "LLMDSCClusterer": "skst.llmdsc",
    "report": "skst.reporting",
}
_MODULES = (
    "datasets",
    "embedding",
    "genes",
    "graph",
    "inspection",
    "metrics",
    "model_selection",
    "narration",
    "nn",
    "partition",
    "plotting",
    "settings",
    "text",
)

__all__ = [*_HOMES, *_MODULES, "__version__"]


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(f"skst.{name}")
    raise AttributeError(f"module 'skst' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
