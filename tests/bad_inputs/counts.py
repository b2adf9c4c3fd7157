"""Counts: what X holds."""

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from .cases import ALL, QUICK, READERS, error, warning, works
from .kit import as_fitted, finite, quick_text, quick_transformer

TITLE = "Counts"
_COLLAPSED = "The partition has collapsed"


def of_values(kit, values, **more):
    """The tissue with other values in X."""
    adata = kit.tissue()
    return anndata.AnnData(values, adata.obs, adata.var, obsm=dict(adata.obsm), **more)


def _dense(kit):
    return kit.tissue().X.toarray()


def _logged(kit, **more):
    return of_values(kit, np.log1p(_dense(kit)), **more)


def _with_raw(kit):
    adata = _logged(kit)
    adata.raw = kit.tissue()
    return adata


def _centred(kit):
    return of_values(kit, _dense(kit) - _dense(kit).mean(axis=0))


def _parts(normalize):
    return {"spatial": quick_transformer(normalize=normalize), "text": quick_text(normalize=normalize)}


def _alike(kit):
    return of_values(kit, np.tile(_dense(kit)[0], (200, 1)))


def _frame(kit, dtype):
    return kit.tissue().to_df().astype(dtype)


def _with_barcodes(kit):
    return kit.tissue().to_df().reset_index(names="barcode")


def _object(kit):
    values = _dense(kit).astype(object)
    values[3, 4] = "none"
    return values


CASES = [
    error(
        "X holds negative values, as after centring",
        "Negative values in data: X holds .* where raw counts are expected; pass raw counts",
        "shows the lowest value.",
        "Pass raw counts; or ``normalize=False`` where the estimator has it.",
        lambda kit: kit.fit(_centred(kit)),
        lambda kit: kit.fit(kit.tissue()),
        as_fitted,
        of=ALL,
    ),
    error(
        "X is centred, and :class:`~skst.SpaLLMFusion` is to take it as it is",
        "Negative values in data.*set normalize=False of SpatialGraphTransformer to use X as it is",
        "names the part that has ``normalize``.",
        "``spatial=SpatialGraphTransformer(normalize=False)``, and the same for ``text``.",
        lambda kit: kit.fit(_centred(kit)),
        lambda kit: kit.fit(_centred(kit), **_parts(False)),
        finite,
    ),
    error(
        "X holds NaN or infinite values",
        r"X holds NaN or infinite values \(inf\) in 1 entries, the first in row 3; drop these spots or set the entries",
        "says how many, and names the first row.",
        "Drop these spots, or set the entries to 0.",
        lambda kit: kit.fit(kit.change(3, 4, np.nan)),
        lambda kit: kit.fit(kit.change(3, 4, 0)),
        finite,
        of=ALL,
    ),
    error(
        "Counts are missing in a table of nullable numbers (``<NA>``)",
        "X holds NaN or infinite values .* the first in row 0",
        "takes ``<NA>`` for missing.",
        "``X.fillna(0)``.",
        lambda kit: kit.make().fit(_frame(kit, "Int64").mask(kit.tissue().to_df() == 1)),
        lambda kit: kit.make().fit(_frame(kit, "Int64").mask(kit.tissue().to_df() == 1).fillna(0)),
        finite,
        of=("text", "llmdsc"),
    ),
    error(
        "A value is beyond all counts (1e30, or too large for float32)",
        r"X holds values up to 1e\+30, which cannot be squared and added up; pass counts, or divide X",
        "shows the largest.",
        "Pass counts.",
        lambda kit: kit.fit(kit.change(3, 4, 1e30)),
        lambda kit: kit.fit(kit.tissue()),
        as_fitted,
        of=READERS,
    ),
    warning(
        "X is log-transformed",
        "X holds fractions and nothing above 6.4, so it looks log-transformed; pass raw counts",
        "goes on, and takes logarithms for counts.",
        "Pass raw counts; or ``normalize=False`` where the estimator has it.",
        lambda kit: kit.fit(_logged(kit)),
        lambda kit: kit.fit(kit.tissue()),
        as_fitted,
        of=("text", "transformer", "stllm"),
    ),
    warning(
        "X is log-transformed, and so both views of :class:`~skst.SpaLLMFusion` are",
        "X holds fractions .* looks log-transformed.*set normalize=False of (SpatialGraphTransformer|GeneTextEncoder)",
        "each part says so.",
        "Pass raw counts; or set ``normalize=False`` of both parts.",
        lambda kit: kit.fit(_logged(kit)),
        lambda kit: kit.fit(_logged(kit), **_parts(False)),
        finite,
        parts=2,
    ),
    warning(
        "X is log-transformed, and a layer has the counts",
        "pass raw counts, which layer='counts' seems to hold",
        "names the layer.",
        '``layer="counts"``.',
        lambda kit: kit.fit(_logged(kit, layers={"counts": kit.tissue().X})),
        lambda kit: kit.fit(_logged(kit, layers={"counts": kit.tissue().X}), layer="counts"),
        as_fitted,
        of=("text", "transformer", "stllm"),
    ),
    warning(
        "X is log-transformed, and ``adata.raw`` has the counts",
        r"pass raw counts, which X.raw.to_adata\(\) seems to hold",
        "says so.",
        "Pass ``adata.raw.to_adata()``.",
        lambda kit: kit.fit(_with_raw(kit)),
        lambda kit: kit.fit(_with_raw(kit).raw.to_adata()),
        as_fitted,
        of=("text", "transformer", "stllm"),
    ),
    error(
        "``layer=`` is not among the layers",
        r"layer='counts' is not among the layers of X, which are \['raw'\]; name one of them, or leave layer out",
        "lists the layers.",
        "Name one of them, or none.",
        lambda kit: kit.fit(_logged(kit, layers={"raw": kit.tissue().X}), layer="counts"),
        lambda kit: kit.fit(_logged(kit, layers={"raw": kit.tissue().X}), layer="raw"),
        as_fitted,
        of=ALL,
    ),
    error(
        "``layer=`` with a DataFrame or an array, which have no layers",
        "layer='counts' asks for a part of an AnnData, but X is of type DataFrame; .* or leave layer out",
        "does not read another table in its place.",
        "Pass the AnnData, or no ``layer``.",
        lambda kit: kit.make(layer="counts").fit(kit.tissue().to_df()),
        lambda kit: kit.make().fit(kit.tissue().to_df()),
        as_fitted,
        of=("text", "llmdsc"),
    ),
    error(
        "``adata.X`` is ``None``: counts are in layers alone",
        r"X.X is empty; name one of its layers \['counts'\] by layer=",
        "lists the layers.",
        "Name one of them by ``layer=``.",
        lambda kit: kit.fit(of_values(kit, None, layers={"counts": kit.tissue().X})),
        lambda kit: kit.fit(of_values(kit, None, layers={"counts": kit.tissue().X}), layer="counts"),
        as_fitted,
        of=READERS,
    ),
    works(
        "Some cells have no counts",
        "they get a place like any other, from their neighbours where there are any.",
        "Nothing; filter them where that is better.",
        lambda kit: kit.fit(kit.change([0, 5], slice(None), 0)),
        finite,
        of=ALL,
    ),
    works(
        "Some genes have no counts",
        "they have no weight.",
        "Nothing.",
        lambda kit: kit.fit(kit.change(slice(None), [0, 5], 0)),
        finite,
        of=READERS,
    ),
    warning(
        "X counts nothing at all",
        "X counts nothing in any of its 200 spots, so that domains are arbitrary; pass counts that tell spots apart",
        "says so, and goes on.",
        "Pass counts.",
        lambda kit: kit.fit(of_values(kit, 0 * _dense(kit))),
        lambda kit: kit.fit(kit.tissue()),
        as_fitted,
        of=("transformer", "fusion", "semst", "stllm"),
        besides=_COLLAPSED,
    ),
    warning(
        "All spots have the same counts",
        "X is the same in all of its 200 spots, so that domains are arbitrary; pass counts that tell spots apart",
        "says so, and goes on.",
        "Pass counts.",
        lambda kit: kit.fit(_alike(kit)),
        lambda kit: kit.fit(kit.tissue()),
        as_fitted,
        of=QUICK,
        besides=_COLLAPSED,
    ),
    error(
        "No gene varies between cells",
        r"X has no gene that varies between cells beyond their depth \(n_samples=200, n_features=60\); pass counts",
        "shows the numbers of cells and genes.",
        "Pass counts of more cells or genes.",
        lambda kit: kit.make().fit(_alike(kit)),
        lambda kit: kit.make().fit(kit.tissue()),
        as_fitted,
        of=("llmdsc",),
    ),
    works(
        "Counts are integers, booleans, half floats or of float64",
        "they are read as float32.",
        "Nothing.",
        lambda kit: [kit.fit(of_values(kit, _dense(kit).astype(dtype))) for dtype in ("int64", "uint16", "float64")],
        lambda kit, fits: [as_fitted(kit, fitted) for fitted in fits],
        of=QUICK,
    ),
    works(
        "Counts are in nullable, Arrow, sparse or text columns of a DataFrame",
        "they are read as numbers.",
        "Nothing.",
        lambda kit: [
            kit.make().fit(_frame(kit, dtype))
            for dtype in ("Int64", "int64[pyarrow]", object, str, pd.SparseDtype("float32", 0))
        ],
        lambda kit, fits: [as_fitted(kit, fitted) for fitted in fits],
        of=("text",),
    ),
    works(
        "A sparse matrix has explicit zeros, or entries in several parts",
        "parts are added up.",
        "Nothing.",
        lambda kit: kit.make(gene_names=kit.tissue().var_names).fit(_in_parts(kit)),
        as_fitted,
        of=("text", "llmdsc"),
    ),
    error(
        "A DataFrame has the barcodes as a column",
        "X holds something else than numbers .*; drop the columns that are no counts, such as 'barcode', or make names",
        "names such a column.",
        '``X.set_index("barcode")``.',
        lambda kit: kit.make().fit(_with_barcodes(kit)),
        lambda kit: kit.make().fit(_with_barcodes(kit).set_index("barcode")),
        as_fitted,
        of=("text", "llmdsc"),
    ),
    error(
        "X holds text",
        r"X holds something else than numbers \(could not convert string to float: 'none'\); pass counts alone",
        "shows what could not be read.",
        "Pass counts alone.",
        lambda kit: kit.make().fit(_object(kit)),
        lambda kit: kit.make(gene_names=kit.tissue().var_names).fit(_dense(kit).astype(object)),
        as_fitted,
        of=("text", "llmdsc"),
    ),
    error(
        "X holds complex numbers",
        r"X holds something else than numbers \(Complex data not supported.*\); pass counts alone",
        "does not drop their imaginary part.",
        "``X.real``.",
        lambda kit: kit.make().fit(_dense(kit) + 0j),
        lambda kit: kit.make(gene_names=kit.tissue().var_names).fit((_dense(kit) + 0j).real),
        as_fitted,
        of=("text", "llmdsc"),
    ),
]


def _in_parts(kit):
    whole = kit.tissue().X.tocoo()
    rows, columns = (np.concatenate([index, index]) for index in (whole.row, whole.col))
    return sparse.coo_array((np.concatenate([whole.data / 4, whole.data * 0.75]), (rows, columns)), whole.shape)
