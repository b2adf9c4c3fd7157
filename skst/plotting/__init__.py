"""Domains and modulation on the tissue, names of clusters, the choice of k, and scores under each text."""

from skst.palette import PALETTE
from skst.plotting.annotation import plot_annotation
from skst.plotting.curves import plot_k_curve, plot_text_scores
from skst.plotting.tissue import plot_domain_comparison, plot_domains, plot_modulation

__all__ = [
    "PALETTE",
    "plot_annotation",
    "plot_domain_comparison",
    "plot_domains",
    "plot_k_curve",
    "plot_modulation",
    "plot_text_scores",
]
