"""Labelled single-cell RNA-seq: Baron mouse pancreas, PBMC3k, sc_mixology and PBMC68k."""

import importlib.util
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from skst.datasets._base import Home, fetch_file, give, pack, read_h5ad, read_table, read_tidy, require
from skst.datasets._tenx import read_10x_tar
from skst.files.home import find_file, get_data_home

if TYPE_CHECKING:
    from anndata import AnnData


@overload
def fetch_baron_mouse(
    *, data_home: Home = ..., download_if_missing: bool = ..., return_X_y: Literal[False] = ...
) -> "AnnData": ...
@overload
def fetch_baron_mouse(
    *, data_home: Home = ..., download_if_missing: bool = ..., return_X_y: Literal[True]
) -> "tuple[AnnData, NDArray[np.object_]]": ...
def fetch_baron_mouse(
    *, data_home: Home = None, download_if_missing: bool = True, return_X_y: bool = False
) -> "AnnData | tuple[AnnData, NDArray[np.object_]]":
    """Mouse pancreas, inDrop: 1,886 cells of two mice, 14,878 genes, 13 cell types [1]_.

    A tidy copy ``Baron_mouse_pancreas.h5ad`` in the data home is preferred; otherwise the tables of GEO
    GSE84133 are downloaded (their hash is not pinned).

    Parameters
    ----------
    data_home : str or path-like, default=None
        Where the files are looked for and downloaded to; by default :func:`get_data_home`.
    download_if_missing : bool, default=True
        If False, a missing file is an error.
    return_X_y : bool, default=False
        If True, return ``(adata, labels)`` with `labels` an object ndarray of shape (n_cells,), NaN where
        unlabelled.

    Returns
    -------
    AnnData of shape (1886, 14878), or a tuple if `return_X_y`
        ``X`` UMI counts (csr, float32), ``obs["label"]`` the cell type, ``obs["batch"]`` the mouse,
        ``uns["source"]``.

    Raises
    ------
    OSError
        If a file is absent and is not, or cannot be, downloaded.

    References
    ----------
    .. [1] Baron, M. et al. (2016). A single-cell transcriptomic map of the human and mouse pancreas reveals
       inter- and intra-cell population structure. Cell Systems 3, 346-360.

    Examples
    --------
    >>> from skst.datasets import fetch_baron_mouse
    >>> fetch_baron_mouse().obs["batch"].nunique()  # doctest: +SKIP
    2
    """
    tidy = find_file("Baron_mouse_pancreas.h5ad", data_home)
    if tidy is not None:
        return give(read_tidy(tidy, spatial=False), return_X_y)
    tables = {}
    for mouse, accession in (("mouse1", "GSM2230761"), ("mouse2", "GSM2230762")):
        path = fetch_file(f"{accession}_{mouse}_umifm_counts.csv.gz", data_home, download_if_missing)
        table = read_table(path, index_col=0)
        require(
            path,
            {"barcode", "assigned_cluster"} <= set(table),
            "the columns 'barcode' and 'assigned_cluster'",
        )
        tables[mouse] = table.drop(columns="barcode")
    cells = pd.concat(tables, names=["batch", "cell"], join="inner")
    label = cells.pop("assigned_cluster")
    adata = pack(
        cells.to_numpy(dtype=np.float32),
        genes=_unmangle(cells.columns),
        label=label,
        spots=cells.index.get_level_values("cell"),
        obs={"batch": pd.Categorical(cells.index.get_level_values("batch"))},
        source="Baron et al. 2016 Cell Systems 3:346, GEO GSE84133, inDrop, mouse pancreas",
        species="mouse",
    )
    return give(adata, return_X_y)


def _unmangle(names):
    # R puts an X before a leading digit and dots for dashes; no mouse gene here has a dot of its own.
    if not any(re.match(r"X\d", name) for name in names):
        return names
    return [re.sub(r"^X(?=\d)", "", name).replace(".", "-") for name in names]


@overload
def fetch_pbmc3k(
    *, data_home: Home = ..., download_if_missing: bool = ..., return_X_y: Literal[False] = ...
) -> "AnnData": ...
@overload
def fetch_pbmc3k(
    *, data_home: Home = ..., download_if_missing: bool = ..., return_X_y: Literal[True]
) -> "tuple[AnnData, NDArray[np.object_]]": ...
def fetch_pbmc3k(
    *, data_home: Home = None, download_if_missing: bool = True, return_X_y: bool = False
) -> "AnnData | tuple[AnnData, NDArray[np.object_]]":
    """Peripheral blood of a healthy donor, 10x Genomics: 2,638 cells, 13,714 genes, 9 cell types [1]_.

    Only a tidy copy ``PBMC3k_10x.h5ad`` in the data home holds the cell types.  Without one the 2,700 x
    32,738 filtered matrix of 10x Genomics is downloaded (its hash is not pinned), which has no labels: a
    warning says so.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Where the file is looked for and downloaded to; by default :func:`get_data_home`.
    download_if_missing : bool, default=True
        If False, a missing file is an error.
    return_X_y : bool, default=False
        If True, return ``(adata, labels)``.

    Returns
    -------
    AnnData of shape (n_cells, n_genes), or a tuple if `return_X_y`
        ``X`` UMI counts (csr, float32), ``obs["label"]`` the cell type, ``uns["source"]``.

    Raises
    ------
    OSError
        If the file is absent and is not, or cannot be, downloaded.

    Warns
    -----
    UserWarning
        If the downloaded matrix is read, which has no labels.

    References
    ----------
    .. [1] Zheng, G. X. Y. et al. (2017). Massively parallel digital transcriptional profiling of single
       cells. Nature Communications 8, 14049.

    Examples
    --------
    >>> from skst.datasets import fetch_pbmc3k
    >>> fetch_pbmc3k().obs["label"].nunique()  # doctest: +SKIP
    9
    """
    tidy = find_file("PBMC3k_10x.h5ad", data_home)
    if tidy is not None:
        return give(read_tidy(tidy, spatial=False), return_X_y)
    path = fetch_file("pbmc3k_filtered_gene_bc_matrices.tar.gz", data_home, download_if_missing)
    warnings.warn(
        f"{path.name} has no cell types, so every label is NaN; put PBMC3k_10x.h5ad into "
        f"{get_data_home(data_home)} to score a clustering.",
        UserWarning,
        stacklevel=2,
    )
    X, barcodes, symbols, ids = read_10x_tar(path)
    adata = pack(
        X,
        genes=symbols,
        label=np.full(len(barcodes), np.nan),
        spots=barcodes,
        var={"ensembl_id": ids},
        source="Zheng et al. 2017 Nature Communications 8:14049, 10x Genomics, PBMC 3k",
        species="human",
    )
    return give(adata, return_X_y)


@overload
def fetch_scmixology(
    *, data_home: Home = ..., download_if_missing: bool = ..., return_X_y: Literal[False] = ...
) -> "AnnData": ...
@overload
def fetch_scmixology(
    *, data_home: Home = ..., download_if_missing: bool = ..., return_X_y: Literal[True]
) -> "tuple[AnnData, NDArray[np.object_]]": ...
def fetch_scmixology(
    *, data_home: Home = None, download_if_missing: bool = True, return_X_y: bool = False
) -> "AnnData | tuple[AnnData, NDArray[np.object_]]":
    """Five lung adenocarcinoma lines, CEL-seq2: 909 cells of three plates, 5 lines [1]_.

    The line of a cell is known from its genotype.  A tidy copy ``scmixology_5cl_celseq2.h5ad`` in the data
    home, with gene symbols, is preferred; the published tables, downloaded otherwise, name genes by Ensembl
    id.

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
    AnnData of shape (909, 12653), or a tuple if `return_X_y`
        ``X`` UMI counts (csr, float32) of the genes found on all plates, ``obs["label"]`` the line,
        ``obs["batch"]`` the plate, ``uns["source"]``.

    Raises
    ------
    OSError
        If a file is absent and is not, or cannot be, downloaded.

    References
    ----------
    .. [1] Tian, L. et al. (2019). Benchmarking single cell RNA-sequencing analysis pipelines using mixture
       control experiments. Nature Methods 16, 479-487.

    Examples
    --------
    >>> from skst.datasets import fetch_scmixology
    >>> fetch_scmixology().obs["batch"].nunique()  # doctest: +SKIP
    3
    """
    tidy = find_file("scmixology_5cl_celseq2.h5ad", data_home)
    if tidy is not None:
        return give(read_tidy(tidy, spatial=False), return_X_y)
    counts, labels, plates = [], [], []
    for plate in ("p1", "p2", "p3"):
        stem = f"sc_celseq2_5cl_{plate}"
        counts_path = fetch_file(f"{stem}.count.csv.gz", data_home, download_if_missing)
        table_path = fetch_file(f"{stem}.metadata.csv.gz", data_home, download_if_missing)
        # Neither header names the index, so pandas takes the first column for it.
        count, table = read_table(counts_path), read_table(table_path)
        require(table_path, "cell_line_demuxlet" in table, "the column 'cell_line_demuxlet'")
        require(table_path, count.columns.isin(table.index).all(), f"all cells of {counts_path.name}")
        labels.append(table["cell_line_demuxlet"].loc[count.columns])
        counts.append(count.add_prefix(f"{plate}_"))
        plates += [plate] * count.shape[1]
    cells = pd.concat(counts, axis=1, join="inner").T
    adata = pack(
        cells.to_numpy(),
        genes=cells.columns,
        label=pd.concat(labels),
        spots=cells.index,
        obs={"batch": pd.Categorical(plates)},
        var={"ensembl_id": cells.columns.to_numpy()},
        source="Tian et al. 2019 Nature Methods 16:479, GEO GSE118767, CEL-seq2, five lung cancer lines",
        species="human",
    )
    return give(adata, return_X_y)


@overload
def load_pbmc68k(*, data_home: Home = ..., return_X_y: Literal[False] = ...) -> "AnnData": ...
@overload
def load_pbmc68k(*, data_home: Home = ..., return_X_y: Literal[True]) -> "tuple[AnnData, NDArray[np.object_]]": ...
def load_pbmc68k(
    *, data_home: Home = None, return_X_y: bool = False
) -> "AnnData | tuple[AnnData, NDArray[np.object_]]":
    """Peripheral blood, 10x Genomics, a sample of 700 cells: 765 genes, 10 cell types [1]_.

    **Log-normalised values, not counts.**  Read from ``PBMC68k_reduced_700.h5ad`` in the data home, else from
    the installed scanpy, whose package carries it; nothing is downloaded and scanpy is not imported.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Where the file is looked for first; by default :func:`get_data_home`.
    return_X_y : bool, default=False
        If True, return ``(adata, labels)``.

    Returns
    -------
    AnnData of shape (700, 765), or a tuple if `return_X_y`
        ``X`` log-normalised expression (csr, float32), ``obs["label"]`` the cell type by similarity to sorted
        cells, ``uns["source"]``.

    Raises
    ------
    OSError
        If neither the file nor scanpy is there.

    References
    ----------
    .. [1] Zheng, G. X. Y. et al. (2017). Massively parallel digital transcriptional profiling of single
       cells. Nature Communications 8, 14049.

    Examples
    --------
    >>> from skst.datasets import load_pbmc68k
    >>> load_pbmc68k().shape  # doctest: +SKIP
    (700, 765)
    """
    tidy = find_file("PBMC68k_reduced_700.h5ad", data_home)
    if tidy is not None:
        return give(read_tidy(tidy, spatial=False), return_X_y)
    path = _inside_scanpy()
    if path is None:
        raise OSError(
            f"PBMC68k_reduced_700.h5ad is not in the data home {get_data_home(data_home)} and scanpy is not "
            "installed; pip install 'skst[scanpy]', or set SKST_DATA_HOME to a directory that holds the file."
        )
    stored = read_h5ad(path)
    require(path, "bulk_labels" in stored.obs, "a column 'bulk_labels' in obs")
    require(path, stored.raw is not None, "log-normalised values in raw")
    adata = pack(
        sparse.csr_matrix(stored.raw.X),
        genes=stored.raw.var_names,
        label=stored.obs["bulk_labels"],
        spots=stored.obs_names,
        source="Zheng et al. 2017 Nature Communications 8:14049, PBMC 68k, 700 cells, as in scanpy",
        species="human",
    )
    return give(adata, return_X_y)


def _inside_scanpy():
    # find_spec of a top-level package locates it without running it.
    spec = importlib.util.find_spec("scanpy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "datasets" / "10x_pbmc68k_reduced.h5ad"
        if path.is_file():
            return path
    return None
