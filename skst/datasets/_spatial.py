"""Labelled spatial transcriptomics: osmFISH, STARmap, DLPFC and HER2ST."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
from numpy.typing import NDArray

from skst.datasets._base import (
    Home,
    as_label,
    check_slices,
    fetch_file,
    give,
    join_slices,
    pack,
    read_column,
    read_h5ad,
    read_table,
    read_tidy,
    reading,
    require,
)
from skst.datasets._tenx import read_10x_h5
from skst.files.hdf5 import open_h5
from skst.files.home import find_file

if TYPE_CHECKING:
    from anndata import AnnData

_DLPFC_SLICES = (
    *("151507", "151508", "151509", "151510"),
    *("151669", "151670", "151671", "151672"),
    *("151673", "151674", "151675", "151676"),
)
_HER2ST_SLICES = ("A1", "B1", "C1", "D1", "E1", "F1", "G2", "H1")


@overload
def fetch_osmfish(
    *, data_home: Home = ..., download_if_missing: bool = ..., return_X_y: Literal[False] = ...
) -> "AnnData": ...
@overload
def fetch_osmfish(
    *, data_home: Home = ..., download_if_missing: bool = ..., return_X_y: Literal[True]
) -> "tuple[AnnData, NDArray[np.object_]]": ...
def fetch_osmfish(
    *, data_home: Home = None, download_if_missing: bool = True, return_X_y: bool = False
) -> "AnnData | tuple[AnnData, NDArray[np.object_]]":
    """Mouse somatosensory cortex, osmFISH: 4,839 cells, 33 genes, 11 regions [1]_.

    Cells that the authors marked as not valid are left out.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Where the file is looked for and downloaded to; by default :func:`get_data_home`.  A download goes to
        the user's cache where the data home is read-only.
    download_if_missing : bool, default=True
        If False, a missing file is an error.
    return_X_y : bool, default=False
        If True, return ``(adata, labels)`` with `labels` an object ndarray of shape (n_cells,), NaN where
        unlabelled.

    Returns
    -------
    AnnData of shape (4839, 33), or a tuple if `return_X_y`
        ``X`` molecule counts (csr, float32), ``obs["label"]`` the region, ``obs["cell_type"]``,
        ``obsm["spatial"]`` float64 in pixels, ``uns["source"]``.

    Raises
    ------
    OSError
        If the file is absent and is not, or cannot be, downloaded.

    References
    ----------
    .. [1] Codeluppi, S. et al. (2018). Spatial organization of the somatosensory cortex revealed by osmFISH.
       Nature Methods 15, 932-935.

    Examples
    --------
    >>> from skst.datasets import fetch_osmfish
    >>> fetch_osmfish().shape  # doctest: +SKIP
    (4839, 33)
    """
    path = fetch_file("osmFISH_SScortex_mouse_all_cells.loom", data_home, download_if_missing)
    with reading(path), open_h5(path) as loom:
        require(path, "matrix" in loom and getattr(loom["matrix"], "ndim", 0) == 2, "the dataset 'matrix'")
        counts = loom["matrix"][:].T
        genes = read_column(path, loom, "row_attrs/Gene", counts.shape[1], text=True)
        numbers, texts = (
            {key: read_column(path, loom, f"col_attrs/{key}", len(counts), text=text) for key in keys}
            for text, keys in ((False, ("Valid", "X", "Y")), (True, ("Region", "ClusterName", "CellID")))
        )
        valid = numbers["Valid"] == 1
        adata = pack(
            counts[valid],
            genes=genes,
            label=texts["Region"][valid],
            spots=texts["CellID"][valid],
            obs={"cell_type": as_label(texts["ClusterName"][valid])},
            spatial=np.column_stack([numbers["X"], numbers["Y"]])[valid],
            source="Codeluppi et al. 2018 Nature Methods 15:932, osmFISH, mouse somatosensory cortex",
            species="mouse",
        )
    return give(adata, return_X_y)


@overload
def fetch_starmap(
    *, data_home: Home = ..., download_if_missing: bool = ..., return_X_y: Literal[False] = ...
) -> "AnnData": ...
@overload
def fetch_starmap(
    *, data_home: Home = ..., download_if_missing: bool = ..., return_X_y: Literal[True]
) -> "tuple[AnnData, NDArray[np.object_]]": ...
def fetch_starmap(
    *, data_home: Home = None, download_if_missing: bool = True, return_X_y: bool = False
) -> "AnnData | tuple[AnnData, NDArray[np.object_]]":
    """Mouse visual cortex, STARmap: 1,207 cells, 1,020 genes, 7 layers [1]_.

    Slice BY3 with the layers annotated for BANKSY [2]_; cells without annotation are left out.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Where the files are looked for and downloaded to; by default :func:`get_data_home`.
    download_if_missing : bool, default=True
        If False, a missing file is an error.
    return_X_y : bool, default=False
        If True, return ``(adata, labels)``.

    Returns
    -------
    AnnData of shape (1207, 1020), or a tuple if `return_X_y`
        ``X`` molecule counts (csr, float32), ``obs["label"]`` the layer, ``obs["cell_type"]``,
        ``obsm["spatial"]`` float64 in pixels, ``uns["source"]``.

    Raises
    ------
    OSError
        If a file is absent and is not, or cannot be, downloaded.

    References
    ----------
    .. [1] Wang, X. et al. (2018). Three-dimensional intact-tissue sequencing of single-cell transcriptional
       states. Science 361, eaat5691.
    .. [2] Singhal, V. et al. (2024). BANKSY unifies cell typing and tissue domain segmentation for scalable
       spatial omics data analysis. Nature Genetics 56, 431-441.

    Examples
    --------
    >>> from skst.datasets import fetch_starmap
    >>> fetch_starmap().obs["label"].nunique()  # doctest: +SKIP
    7
    """
    path = fetch_file("starmap_BY3_1k.h5ad", data_home, download_if_missing)
    table_path = fetch_file("Starmap_BY3_1k_meta_annotated_18oct22.csv", data_home, download_if_missing)
    cells = read_h5ad(path)
    table = read_table(table_path, index_col=0)
    table.index = table.index.astype(str)
    for column in ("x", "y", "cluster_name", "smoothed_manual"):
        require(table_path, column in table, f"the column '{column}'")
    kept = cells.obs_names.intersection(table.index, sort=False)
    require(table_path, len(kept) > 0, f"any cell of {path.name}")
    cells, table = cells[kept], table.loc[kept]
    adata = pack(
        cells.X,
        genes=cells.var_names,
        label=table["smoothed_manual"],
        spots=kept,
        obs={"cell_type": as_label(table["cluster_name"])},
        spatial=table[["x", "y"]],
        source="Wang et al. 2018 Science 361:eaat5691, STARmap BY3, mouse visual cortex; layers from BANKSY",
        species="mouse",
    )
    return give(adata, return_X_y)


@overload
def fetch_dlpfc(
    slice: str | int | Sequence[str | int] = ...,
    *,
    data_home: Home = ...,
    download_if_missing: bool = ...,
    return_X_y: Literal[False] = ...,
) -> "AnnData": ...
@overload
def fetch_dlpfc(
    slice: str | int | Sequence[str | int] = ...,
    *,
    data_home: Home = ...,
    download_if_missing: bool = ...,
    return_X_y: Literal[True],
) -> "tuple[AnnData, NDArray[np.object_]]": ...
def fetch_dlpfc(
    slice: str | int | Sequence[str | int] = "151673",
    *,
    data_home: Home = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> "AnnData | tuple[AnnData, NDArray[np.object_]]":
    """Visium slices of the human dorsolateral prefrontal cortex with its layers [1]_.

    A tidy copy ``DLPFC_<slice>.h5ad`` in the data home is preferred; it may hold fewer genes.  Otherwise the
    count matrix, the positions and the layers are downloaded (the hash of the count matrices is not pinned).

    Parameters
    ----------
    slice : str, int or sequence of them, default="151673"
        One or several of 151507-151510, 151669-151672 and 151673-151676: three donors, four slices each.
        Several slices are joined on the genes they share.
    data_home : str or path-like, default=None
        Where the files are looked for and downloaded to; by default :func:`get_data_home`.
    download_if_missing : bool, default=True
        If False, a missing file is an error.
    return_X_y : bool, default=False
        If True, return ``(adata, labels)``.

    Returns
    -------
    AnnData of shape (n_spots, n_genes), or a tuple if `return_X_y`
        ``X`` UMI counts (csr, float32), ``obs["label"]`` the layer (L1 to L6, WM; NaN where unlabelled),
        ``obs["batch"]`` the slice, ``obsm["spatial"]`` float64 in pixels, x to the right and y down,
        ``uns["source"]``.

    Raises
    ------
    ValueError
        If `slice` names no slice of the data set.
    OSError
        If a file is absent and is not, or cannot be, downloaded.

    References
    ----------
    .. [1] Maynard, K. R. et al. (2021). Transcriptome-scale spatial gene expression in the human dorsolateral
       prefrontal cortex. Nature Neuroscience 24, 425-436.

    Examples
    --------
    >>> from skst.datasets import fetch_dlpfc
    >>> fetch_dlpfc(["151673", "151674"]).obs["batch"].nunique()  # doctest: +SKIP
    2
    """
    slices = check_slices(slice, _DLPFC_SLICES)
    parts = [_dlpfc_slice(name, data_home, download_if_missing) for name in slices]
    return give(join_slices(slices, parts), return_X_y)


def _dlpfc_slice(name, data_home, download_if_missing):
    tidy = find_file(f"DLPFC_{name}.h5ad", data_home)
    if tidy is not None:
        return read_tidy(tidy, spatial=True)
    counts = fetch_file(f"{name}_filtered_feature_bc_matrix.h5", data_home, download_if_missing)
    positions_path = fetch_file(f"{name}_tissue_positions_list.txt", data_home, download_if_missing)
    layers_path = fetch_file("barcode_level_layer_map.tsv", data_home, download_if_missing)
    X, barcodes, symbols, ids = read_10x_h5(counts)
    names = ["barcode", "in_tissue", "array_row", "array_col", "pixel_row", "pixel_col"]
    positions = read_table(positions_path, names=names, index_col="barcode")
    require(positions_path, np.isin(barcodes, positions.index).all(), f"positions of spots of {counts.name}")
    positions = positions.loc[barcodes]
    layers = read_table(layers_path, sep="\t", names=["barcode", "slice", "layer"], dtype=str)
    layers = layers[layers["slice"] == name].set_index("barcode")["layer"]
    return pack(
        X,
        genes=symbols,
        label=layers.reindex(barcodes),
        spots=barcodes,
        obs={key: positions[key].to_numpy() for key in ("array_row", "array_col")},
        var={"ensembl_id": ids},
        spatial=positions[["pixel_col", "pixel_row"]],
        source=f"Maynard et al. 2021 Nature Neuroscience 24:425, 10x Visium, human DLPFC, slice {name}",
        species="human",
    )


@overload
def fetch_her2st(
    slice: str | Sequence[str] = ...,
    *,
    data_home: Home = ...,
    download_if_missing: bool = ...,
    return_X_y: Literal[False] = ...,
) -> "AnnData": ...
@overload
def fetch_her2st(
    slice: str | Sequence[str] = ...,
    *,
    data_home: Home = ...,
    download_if_missing: bool = ...,
    return_X_y: Literal[True],
) -> "tuple[AnnData, NDArray[np.object_]]": ...
def fetch_her2st(
    slice: str | Sequence[str] = "H1",
    *,
    data_home: Home = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> "AnnData | tuple[AnnData, NDArray[np.object_]]":
    """Spatial Transcriptomics of HER2-positive breast cancer with a pathologist's regions [1]_.

    A tidy copy ``HER2ST_<slice>.h5ad`` in the data home is preferred; otherwise the counts and the annotation
    are downloaded.  Spots whose region is "undetermined" are unlabelled.

    Parameters
    ----------
    slice : str or sequence of str, default="H1"
        One or several of the annotated slices A1, B1, C1, D1, E1, F1, G2 and H1, one of each patient.
        Several slices are joined on the genes they share.
    data_home : str or path-like, default=None
        Where the files are looked for and downloaded to; by default :func:`get_data_home`.
    download_if_missing : bool, default=True
        If False, a missing file is an error.
    return_X_y : bool, default=False
        If True, return ``(adata, labels)``.

    Returns
    -------
    AnnData of shape (n_spots, n_genes), (613, 15029) for H1, or a tuple if `return_X_y`
        ``X`` UMI counts (csr, float32), ``obs["label"]`` the region, ``obs["batch"]`` the slice,
        ``obsm["spatial"]`` float64 in pixels, ``uns["source"]``.

    Raises
    ------
    ValueError
        If `slice` names no annotated slice.
    OSError
        If a file is absent and is not, or cannot be, downloaded.

    References
    ----------
    .. [1] Andersson, A. et al. (2021). Spatial deconvolution of HER2-positive breast cancer delineates
       tumor-associated cell type interactions. Nature Communications 12, 6012.

    Examples
    --------
    >>> from skst.datasets import fetch_her2st
    >>> fetch_her2st().obs["label"].nunique()  # doctest: +SKIP
    6
    """
    slices = check_slices(slice, _HER2ST_SLICES)
    parts = [_her2st_slice(name, data_home, download_if_missing) for name in slices]
    return give(join_slices(slices, parts), return_X_y)


def _her2st_slice(name, data_home, download_if_missing):
    tidy = find_file(f"HER2ST_{name}.h5ad", data_home)
    if tidy is not None:
        return read_tidy(tidy, spatial=True)
    counts_path = fetch_file(f"HER2ST_{name}.tsv.gz", data_home, download_if_missing)
    spots_path = fetch_file(f"HER2ST_{name}_labeled_coordinates.tsv", data_home, download_if_missing)
    counts = read_table(counts_path, sep="\t", index_col=0)
    spots = read_table(spots_path, sep="\t", dtype={"label": str}).dropna(subset=["x", "y"])
    for column in ("x", "y", "pixel_x", "pixel_y", "label"):
        require(spots_path, column in spots, f"the column '{column}'")
    # The counts name a spot by its place on the array, which the annotation gives before rounding.
    place = spots[["x", "y"]].round().astype(int).astype(str)
    spots.index = place["x"] + "x" + place["y"]
    kept = counts.index.intersection(spots.index, sort=False)
    require(spots_path, len(kept) > 0, f"any spot of {counts_path.name}")
    counts, spots = counts.loc[kept], spots.loc[kept]
    return pack(
        counts.to_numpy(),
        genes=counts.columns,
        label=spots["label"],
        spots=kept,
        obs={"array_x": spots["x"].to_numpy(), "array_y": spots["y"].to_numpy()},
        spatial=spots[["pixel_x", "pixel_y"]],
        source=f"Andersson et al. 2021 Nature Communications 12:6012, HER2+ breast cancer, slice {name}",
        species="human",
    )
