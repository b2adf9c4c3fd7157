"""Slices: ``batch_key=`` and ``batch=``."""

import anndata
import numpy as np
import pandas as pd

from .cases import DOMAINS, QUICK, SPATIAL, error, warning, works
from .kit import as_fitted, as_slices, finite

TITLE = "Slices"


def _batch(kit):
    return kit.tissue().obs["batch"]


def _barcoded(kit):
    adata = kit.tissue()
    adata.obs["barcode"] = adata.obs_names
    return adata


def _some_missing(kit, value):
    return np.where(np.arange(200) < 5, value, _batch(kit).astype(object))


CASES = [
    error(
        "``batch_key`` is no column of ``obs``",
        r"batch_key='slice' is not a column of X.obs, which has \['batch', .*\]; name one of these, or pass batch=",
        "lists the columns.",
        "Name one of them.",
        lambda kit: kit.fit(kit.tissue(), batch_key="slice"),
        lambda kit: kit.fit(kit.tissue(), batch_key="batch"),
        as_slices,
        of=SPATIAL,
    ),
    error(
        "``batch_key`` with a DataFrame or an array, which have no ``obs``",
        "batch_key='batch' asks for a part of an AnnData, but X is of type DataFrame; pass the AnnData, or pass batch=",
        "does not fit as if all were one slice.",
        "Pass the slices as ``batch=``.",
        lambda kit: kit.fit(kit.tissue().to_df(), coordinates=kit.places(), batch_key="batch"),
        lambda kit: kit.fit(kit.tissue().to_df(), coordinates=kit.places(), batch_key="batch", batch=_batch(kit)),
        as_slices,
        of=SPATIAL,
    ),
    error(
        "The name of a column is passed as ``batch=``",
        "batch is of type str; give one slice name a spot, or name a column of X.obs by batch_key=",
        "asks for the slices themselves.",
        '``batch_key="batch"``.',
        lambda kit: kit.fit(kit.tissue(), batch="batch"),
        lambda kit: kit.fit(kit.tissue(), batch_key="batch"),
        as_slices,
        of=SPATIAL,
    ),
    error(
        "``batch=`` names slices, not the slice of each spot",
        r"batch has shape \(2,\) but X has 200 rows; give one slice name a spot",
        "shows the shape.",
        "Give one name a spot.",
        lambda kit: kit.fit(kit.tissue(), batch=["left", "right"]),
        lambda kit: kit.fit(kit.tissue(), batch=_batch(kit).tolist()),
        as_slices,
        of=SPATIAL,
    ),
    error(
        "``batch=`` is a table of several columns",
        r"batch has shape \(200, 2\) but X has 200 rows; give one slice name a spot",
        "shows the shape.",
        "Pass the column that names slices.",
        lambda kit: kit.fit(kit.tissue(), batch=kit.tissue().obs[["batch", "label"]]),
        lambda kit: kit.fit(kit.tissue(), batch=kit.tissue().obs["batch"]),
        as_slices,
    ),
    works(
        "``batch=`` is a table of one column",
        "the column is read.",
        "Nothing.",
        lambda kit: kit.fit(kit.tissue(), batch=kit.tissue().obs[["batch"]]),
        as_slices,
    ),
    works(
        "Slices are named by numbers, categories or mixed types",
        "names only have to differ.",
        "Nothing.",
        lambda kit: kit.fit(kit.tissue(), batch=_batch(kit).map({"left": 1, "right": "2"}).astype("category")),
        as_slices,
        of=QUICK,
    ),
    error(
        "The slice of some spots is NaN or ``None``",
        "batch is missing for 5 spots; name their slice",
        "says of how many.",
        "Name their slice, or drop them.",
        lambda kit: kit.fit(kit.tissue(), batch=_some_missing(kit, None)),
        lambda kit: kit.fit(kit.tissue(), batch=_some_missing(kit, "left")),
        finite,
        of=SPATIAL,
    ),
    error(
        'Missing slices were turned into text (``"nan"``)',
        "batch is missing for 5 spots; name their slice",
        "takes the text for what it was.",
        "Name their slice, or drop them.",
        lambda kit: kit.fit(kit.tissue(), batch=_some_missing(kit, np.nan).astype(str)),
        lambda kit: kit.fit(kit.tissue()[5:].copy(), batch=_batch(kit)),
        finite,
    ),
    warning(
        "``batch_key`` names a column of barcodes: each spot is a slice",
        "batch names 200 slices for 200 spots, 200 of which are alone in theirs.*; name slices, not spots",
        "says how many spots are alone and have no neighbours.",
        "Name the column of slices.",
        lambda kit: kit.fit(_barcoded(kit), batch_key="barcode"),
        lambda kit: kit.fit(_barcoded(kit), batch_key="batch"),
        as_slices,
        of=QUICK,
    ),
    works(
        "One slice has a single spot",
        "the spot has no neighbours and is assigned by its own expression.",
        "Nothing.",
        lambda kit: kit.fit(kit.tissue(), batch=np.where(np.arange(200) == 7, "alone", "together")),
        finite,
        of=QUICK,
    ),
    works(
        "A slice was filtered away, but is still a category of the column",
        "only slices with spots count.",
        "Nothing.",
        lambda kit: kit.fit(
            kit.tissue(), batch=pd.Categorical(_batch(kit), categories=["gone", "left", "right", "also gone"])
        ),
        as_slices,
        of=QUICK,
    ),
    works(
        "All spots are of one slice",
        "the result is that without slices.",
        "Nothing.",
        lambda kit: kit.fit(kit.tissue(), batch=["only"] * 200),
        as_fitted,
        of=QUICK,
    ),
    error(
        "The slice of ``predict`` lacks the column ``batch_key``",
        r"batch_key='batch' is not a column of X.obs, which has \['label'\]; name one of these, or pass batch=",
        "lists the columns.",
        "Add the column, or pass ``batch=``.",
        lambda kit: kit.fitted(batch_key="batch").predict(_without_slices(kit)),
        lambda kit: kit.fitted(batch_key="batch").predict(_without_slices(kit), batch=_batch(kit)),
        lambda kit, labels: np.testing.assert_array_equal(labels, kit.fitted(batch_key="batch").labels_),
        of=DOMAINS,
    ),
    works(
        "A slice that ``fit`` did not see is predicted",
        "its graph is built anew, and spots join the domains that were found.",
        "Nothing; give the whole slice.",
        lambda kit: kit.fitted(batch_key="batch").predict(kit.tissue(), batch=["new"] * 200),
        lambda kit, labels: np.testing.assert_array_equal(np.unique(labels), range(4)),
        of=("fusion", "semst"),
    ),
]


def _without_slices(kit):
    adata = kit.tissue()
    return anndata.AnnData(adata.X, adata.obs[["label"]], adata.var, obsm=dict(adata.obsm))
