"""Tiny folders as instruments write them, of simulated tissue: what the pages of the guide on platforms read."""

import gzip
import json

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from skst.datasets import make_spatial_domains

PIXELS = 4  # a micrometre


def tissue(n_samples=400, seed=0):
    """Four domains; each spot is "spot0", ... and has its domain in ``obs["label"]``."""
    adata = make_spatial_domains(n_samples=n_samples, n_genes=80, n_domains=4, effect=3, random_state=seed)
    adata.obs_names = [f"spot{i}" for i in range(adata.n_obs)]
    return adata


def square(adata):
    """Rows and columns of the spots on a square lattice, which is as good a place for them."""
    side = int(np.ceil(np.sqrt(adata.n_obs)))
    order = np.lexsort(adata.obsm["spatial"].T[::-1])
    place = np.empty(adata.n_obs, dtype=int)
    for column, members in enumerate(np.array_split(order, side)):
        rows = np.argsort(adata.obsm["spatial"][members, 1])
        place[members[rows]] = column * side + np.arange(len(members))
    return place % side, place // side


def write_10x(path, adata, control=()):
    """Counts in the format of Cell Ranger, with features that are no genes if `control` names some."""
    noise = np.random.default_rng(0).poisson(0.1, (adata.n_obs, len(control)))
    counts = sparse.csr_matrix(sparse.hstack([adata.X, noise]).astype(np.int32))
    names = [*adata.var_names, *control]
    kinds = ["Gene Expression"] * adata.n_vars + ["Negative Control Probe"] * len(control)
    with h5py.File(path, "w") as file:
        file.attrs["library_ids"] = np.array([b"section1"])
        matrix = file.create_group("matrix")
        matrix["shape"] = counts.shape[::-1]
        for part in ("data", "indices", "indptr"):
            matrix[part] = getattr(counts, part)
        matrix["barcodes"] = np.array(adata.obs_names, dtype="S")
        texts = {"id": names, "name": names, "feature_type": kinds, "genome": ["mm10"] * len(names)}
        for part, values in texts.items():
            matrix[f"features/{part}"] = np.array(values, dtype="S")
        matrix["features/_all_tag_keys"] = np.array([b"genome"])


def _scales(folder, **more):
    scales = {"tissue_hires_scalef": 0.1, "tissue_lowres_scalef": 0.03, "spot_diameter_fullres": 55.0 * PIXELS}
    (folder / "scalefactors_json.json").write_text(json.dumps(scales | more))


def _positions(adata, row, column):
    y, x = (100 + adata.obsm["spatial"][:, [1, 0]] * PIXELS).T
    columns = {"barcode": adata.obs_names, "in_tissue": 1, "array_row": row, "array_col": column}
    return pd.DataFrame(columns | {"pxl_row_in_fullres": y, "pxl_col_in_fullres": x})


def visium(path):
    """``outs`` of Space Ranger 2, without images."""
    adata = tissue()
    (path / "spatial").mkdir(parents=True)
    write_10x(path / "filtered_feature_bc_matrix.h5", adata)
    _scales(path / "spatial")
    _positions(adata, *square(adata)).to_csv(path / "spatial" / "tissue_positions.csv", index=False)
    return adata


def visium_hd(path):
    """``outs`` of Space Ranger 3: bins of 8 and of 16 micrometres."""
    found = {}
    for size, n_samples in ((8, 600), (16, 200)):
        adata = found[size] = tissue(n_samples)
        row, column = square(adata)
        adata.obsm["spatial"] = size * np.column_stack([column, row]).astype(float)
        folder = path / "binned_outputs" / f"square_{size:03}um"
        (folder / "spatial").mkdir(parents=True)
        write_10x(folder / "filtered_feature_bc_matrix.h5", adata)
        wide = {"bin_size_um": float(size), "microns_per_pixel": 1 / PIXELS, "spot_diameter_fullres": size * PIXELS}
        _scales(folder / "spatial", **wide)
        _positions(adata, row, column).to_parquet(folder / "spatial" / "tissue_positions.parquet", index=False)
    with h5py.File(path / "sample_feature_slice.h5", "w") as file:
        file.attrs["metadata_json"] = json.dumps({"hd_layout_json": json.dumps({"file_format": "1.0"})})
    return found[8]


def xenium(path):
    """Output of Xenium Onboard Analysis 3, as much as tells the cells."""
    import zarr

    adata = tissue()
    path.mkdir()
    numbers = np.column_stack([np.arange(adata.n_obs), np.ones(adata.n_obs)]).astype(np.uint32)
    letters = np.array(list("abcdefghijklmnop"))
    adata.obs_names = ["".join(letters[[n >> 4 * i & 15 for i in range(7, -1, -1)]]) + "-1" for n in numbers[:, 0]]
    write_10x(path / "cell_feature_matrix.h5", adata, control=["NegControlProbe_00042", "NegControlProbe_00041"])
    (path / "experiment.xenium").write_text(
        json.dumps({"analysis_sw_version": "xenium-3.0.0.15", "pixel_size": 0.2125})
    )
    cells = {"cell_id": adata.obs_names, "x_centroid": adata.obsm["spatial"][:, 0]}
    cells |= {"y_centroid": adata.obsm["spatial"][:, 1], "cell_area": 60.0, "nucleus_area": 20.0}
    cells["transcript_counts"] = np.asarray(adata.X.sum(axis=1)).ravel()
    pd.DataFrame(cells).to_parquet(path / "cells.parquet", index=False)
    with zarr.storage.ZipStore(path / "cells.zarr.zip", mode="w") as store:
        group = zarr.open_group(store, mode="w", zarr_format=2)
        group.create_array("cell_id", data=numbers)
        summary = group.create_array("cell_summary", data=np.ones((adata.n_obs, 2)))
        summary.attrs["column_names"] = ["z_level", "nucleus_count"]
        for mask in (0, 1):
            group.create_array(f"polygon_sets/{mask}/cell_index", data=np.arange(adata.n_obs, dtype=np.uint32))
    return adata


def merscope(path):
    """One region of MERSCOPE, in which four cells have next to no molecules."""
    adata = tissue()
    path.mkdir()
    names = [str(112000000000 + i) for i in range(adata.n_obs)]
    counts = pd.DataFrame(adata.X.toarray().astype(int), index=pd.Index(names, name="cell"), columns=adata.var_names)
    counts.iloc[:4] = 0
    counts["Blank-1"], counts["Blank-2"] = 1, 0
    counts.to_csv(path / "cell_by_gene.csv")
    adata.obs_names = names
    x, y = adata.obsm["spatial"].T
    cells = {"fov": 0, "volume": 500.0, "center_x": x, "center_y": y}
    pd.DataFrame(cells, index=counts.index.rename("EntityID")).to_csv(path / "cell_metadata.csv")
    return adata[4:]


def cosmx(path):
    """Flat files of two fields of view, in each of which places begin anew."""
    adata = tissue()
    path.mkdir()
    x, y = adata.obsm["spatial"].T * PIXELS
    right = x > np.median(x)
    keys = pd.DataFrame({"fov": 1 + right, "cell_ID": 0})
    keys["cell_ID"] = keys.groupby("fov").cumcount() + 1
    counts = pd.DataFrame(adata.X.toarray().astype(int), columns=adata.var_names)
    counts = counts.assign(**{"Negative1": 0, "SystemControl1": 1})
    pd.concat([keys, counts], axis=1).to_csv(path / "slide1_exprMat_file.csv", index=False)
    local = {"CenterX_local_px": x - right * np.median(x), "CenterY_local_px": y}
    cells = keys.assign(Area=3000, **local, CenterX_global_px=x, CenterY_global_px=y)
    cells.to_csv(path / "slide1_metadata_file.csv", index=False)
    adata.obs_names = [f"{row.cell_ID}_{row.fov}" for row in keys.itertuples()]
    return adata


def stereoseq(path):
    """A GEM file of SAW: molecules by the spot of the chip on which they lie, of which a bin has 50 by 50."""
    adata = tissue()
    path.mkdir()
    row, column = square(adata)
    counts = sparse.coo_matrix(adata.X)
    within = np.random.default_rng(0).integers(0, 50, (2, counts.nnz))
    molecules = {"geneID": adata.var_names[counts.col], "x": 50 * column[counts.row] + within[0]}
    molecules |= {"y": 50 * row[counts.row] + within[1], "MIDCount": counts.data.astype(int), "ExonCount": 0}
    with gzip.open(path / "chip1.tissue.gem.gz", "wt") as file:
        file.write("#FileFormat=GEMv0.1\n#BinSize=1\n")
        pd.DataFrame(molecules).to_csv(file, sep="\t", index=False)
    adata.obs_names = [f"{x}-{y}" for x, y in zip(column, row, strict=True)]
    return adata
