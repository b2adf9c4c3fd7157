"""Slices that lack some of the genes of a fit: what is lost is told once, and refused where too little is left."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skst.expression.panels import on_genes, share_of_counts
from skst.expression.smooth import AveragedPCA
from skst.expression.views import AveragedViews
from skst.inputs.slices import Slice, of_slice
from skst.text.gene_sums import GeneSums

# Share of the variance on the axes that may be unknown.  Of the panels in the guide, those that lose more find domains
# less than half as well as all genes do.
MOST_LOST = 0.4


def axes_for(pca: AveragedPCA | AveragedViews, present: NDArray[np.bool_] | None) -> AveragedPCA | AveragedViews:
    """Fitted axes for spots that lack some of the genes.

    Parameters
    ----------
    pca : AveragedPCA or AveragedViews
    present : ndarray of bool of shape (n_genes,) or None
        Fitted genes that there are; None for all.

    Returns
    -------
    AveragedPCA or AveragedViews

    Raises
    ------
    ValueError
        If too little of the axes is known by these genes.

    Warns
    -----
    UserWarning
        If genes are absent.
    """
    if present is None:
        return pca
    known, lost = on_genes(pca, present)
    if lost > MOST_LOST:
        raise ValueError(f"X lacks {_too_much(present, lost)}.")
    _warn("X lacks", "", present, lost)
    return known


def check_slices(pca: AveragedPCA | AveragedViews, slices: Sequence[Slice]) -> None:
    """Warn once of genes that slices lack, and raise if one lacks too many; parameters and errors as above."""
    found = []
    for one in slices:
        if one.present is None:
            continue
        _, lost = on_genes(pca, one.present)
        if lost > MOST_LOST:
            with of_slice(one.called):
                raise ValueError(f"it lacks {_too_much(one.present, lost)}")
        found.append((one.present, lost))
    if found:
        fewest = min((present for present, _ in found), key=np.count_nonzero)
        lacking = "X lacks" if len(slices) == 1 else f"{len(found)} of the {len(slices)} slices of X lack"
        _warn(lacking, "" if len(found) == 1 else "up to ", fewest, max(lost for _, lost in found))


def sums_for(transformer: Any, sums: GeneSums, present: NDArray[np.bool_]) -> GeneSums:
    """Sums of gene vectors for spots that lack some of the genes, by the depth that a transformer was fitted to.

    Parameters
    ----------
    transformer : SpatialGraphTransformer
        Fitted by "smooth" or "views".
    sums : GeneSums
    present : ndarray of bool of shape (n_genes,)

    Returns
    -------
    GeneSums
    """
    return sums.on_genes(present, share_of_counts(transformer._pca.counts_, present))


def _warn(lacking, up_to, present, lost):
    warnings.warn(
        f"{lacking} {up_to}{_absent(present)} genes seen in fit, which are taken as unknown, and with them "
        f"{up_to}{100 * lost:.1f} % of the variance on the axes of the embedding; give counts of all genes, or fit on "
        "those that all slices have.",
        UserWarning,
        stacklevel=5,
    )


def _too_much(present, lost):
    return (
        f"{_absent(present)} genes seen in fit, and with them {100 * lost:.1f} % of the variance on the axes of the "
        f"embedding, of which {100 * MOST_LOST:.0f} % at most may be unknown; name genes alike, or fit on the genes "
        "that all slices share"
    )


def _absent(present):
    return f"{np.count_nonzero(~present)} of the {len(present)}"
