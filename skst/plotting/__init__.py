"""Domains and modulation on the tissue, what samples consist of, names of clusters, the choice of k, scores by text."""

from skst.palette import PALETTE
from skst.plotting.annotation import plot_annotation
from skst.plotting.composition import plot_composition
from skst.plotting.curves import plot_k_curve, plot_text_scores
from skst.plotting.slices import plot_slices
from skst.plotting.tissue import plot_domain_comparison, plot_domains, plot_modulation

__all__ = [
    "PALETTE",
    "plot_annotation",
    "plot_composition",
    "plot_domain_comparison",
    "plot_domains",
    "plot_k_curve",
    "plot_modulation",
    "plot_slices",
    "plot_text_scores",
]
