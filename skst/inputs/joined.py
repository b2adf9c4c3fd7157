"""Slices of a list as one table in memory, for estimators that need all spots at once."""

from typing import Any

import numpy as np
from scipy import sparse

from skst.inputs.columns import numbered
from skst.inputs.slices import Slices


def in_one(slices: Slices, *, layer: str | None, spatial_key: str | None) -> Any:
    """An AnnData of the spots of all slices and of the genes that all have.

    Parameters
    ----------
    slices : Slices
    layer, spatial_key : str or None
        Where counts and places are looked for.

    Returns
    -------
    AnnData
        Counts are in ``X``, and in `layer` if that is named.
    """
    from anndata import AnnData

    shared = np.ones(slices.n_genes, dtype=bool)
    for one in slices.slices:
        shared &= True if one.present is None else one.present
    columns = slice(None) if shared.all() else np.flatnonzero(shared)
    parts = [one.read()[:, columns] for one in slices.slices]
    if any(map(sparse.issparse, parts)):
        counts = sparse.vstack([sparse.csr_array(part) for part in parts], format="csr")
    else:
        counts = np.concatenate(parts)
    joined = AnnData(counts)
    joined.var_names = (numbered(slices.n_genes) if slices.names is None else slices.names)[columns]
    if layer is not None:
        joined.layers[layer] = counts
    if spatial_key is not None:
        joined.obsm[spatial_key] = slices.places
    return joined
