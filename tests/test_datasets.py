import functools
import gzip
import hashlib
import http.server
import importlib
import io
import sys
import tarfile
import threading

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from skst import datasets
from skst.datasets import _base
from skst.files import untrusted as _untrusted
from skst.files.home import get_data_home

# name, files, shape, labels, unlabelled, batches, a gene and the label in which it is most abundant
REAL = [
    (
        "fetch_osmfish",
        "osmFISH_SScortex_mouse_all_cells.loom",
        (4839, 33),
        11,
        0,
        None,
        "Plp1",
        "White matter",
    ),
    ("fetch_starmap", "starmap_BY3_1k.h5ad", (1207, 1020), 7, 0, None, "Cux2", "L2/3"),
    ("fetch_dlpfc", "DLPFC_151673.h5ad", (3639, 8513), 7, 28, 1, "MBP", "WM"),
    ("fetch_her2st", "HER2ST_H1.h5ad", (613, 15029), 6, 83, 1, "FABP4", "adipose tissue"),
    ("fetch_baron_mouse", "Baron_mouse_pancreas.h5ad", (1886, 14878), 13, 0, 2, "Gcg", "alpha"),
    ("fetch_pbmc3k", "PBMC3k_10x.h5ad", (2638, 13714), 9, 0, None, "MS4A1", "B"),
    ("fetch_scmixology", "scmixology_5cl_celseq2.h5ad", (909, 12653), 5, 0, 3, None, None),
    ("load_pbmc68k", "PBMC68k_reduced_700.h5ad", (700, 765), 10, 0, None, "CD79A", "CD19+ B"),
]


@pytest.mark.parametrize("name, file, shape, n_labels, unlabelled, n_batches, gene, label", REAL)
def test_real_data_in_the_common_form(name, file, shape, n_labels, unlabelled, n_batches, gene, label):
    if not (get_data_home() / file).exists():
        pytest.skip(f"{file} is not in the data home")
    adata, y = getattr(datasets, name)(return_X_y=True)
    assert adata.shape == shape
    assert isinstance(adata.X, sparse.csr_matrix) and adata.X.dtype == np.float32
    if name != "load_pbmc68k":
        assert np.array_equal(adata.X.data, np.round(adata.X.data)) and adata.X.data.min() >= 0
    assert isinstance(adata.obs["label"].dtype, pd.CategoricalDtype)
    assert adata.obs["label"].nunique() == n_labels and adata.obs["label"].isna().sum() == unlabelled
    assert y.dtype == object and pd.isna(y).sum() == unlabelled and len(y) == adata.n_obs
    assert adata.obs_names.is_unique and adata.var_names.is_unique and len(adata.uns["source"]) > 20
    assert n_batches == (adata.obs["batch"].nunique() if "batch" in adata.obs else None)
    if name in ("fetch_osmfish", "fetch_starmap", "fetch_dlpfc", "fetch_her2st"):
        assert adata.obsm["spatial"].dtype == np.float64 and adata.obsm["spatial"].shape == (shape[0], 2)
    if gene:
        share = pd.Series(adata[:, gene].X.toarray().ravel() / adata.X.sum(axis=1).A1, index=adata.obs_names)
        assert share.groupby(adata.obs["label"], observed=True).mean().idxmax() == label


def test_layers_of_real_slices_are_compact():
    # Coordinates that went to the wrong spots would scatter the labels.
    from sklearn.neighbors import NearestNeighbors

    for fetch, file in (
        (datasets.fetch_dlpfc, "DLPFC_151673.h5ad"),
        (datasets.fetch_starmap, "starmap_BY3_1k.h5ad"),
    ):
        if not (get_data_home() / file).exists():
            pytest.skip(f"{file} is not in the data home")
        adata, y = fetch(return_X_y=True)
        near = NearestNeighbors(n_neighbors=5).fit(adata.obsm["spatial"]).kneighbors(return_distance=False)
        assert (y[near] == y[:, None]).mean() > 0.8


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.asked.append(self.path)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A loopback server; ``published(name, content)`` puts a file there and into the registry."""
    root = tmp_path / "published"
    root.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=root))
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    files = {}
    monkeypatch.setattr(_base, "registry", lambda: files)
    monkeypatch.setenv("SKST_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def publish(name, content, sha256=None):
        (root / name).write_bytes(content)
        files[name] = (sha256, f"http://127.0.0.1:{server.server_port}/{name}")

    publish.server, publish.files, publish.home = server, files, tmp_path / "home"
    yield publish
    server.shutdown()
    server.server_close()
    thread.join()


def loom():
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["matrix"] = np.arange(6).reshape(2, 3)
        file["row_attrs/Gene"] = np.array([b"Plp1", b"Gad2"])
        for key, values in {
            "Valid": [1, 0, 1],
            "Region": [b"WM", b"WM", b"NA"],
            "ClusterName": [b"a", b"b", b"c"],
            "CellID": [b"7", b"8", b"9"],
            "X": [0.5, 1.5, 2.5],
            "Y": [3.0, 4.0, 5.0],
        }.items():
            file[f"col_attrs/{key}"] = np.array(values)
    return content.getvalue()


def test_a_file_is_downloaded_once_and_read(published):
    content = loom()
    name = "osmFISH_SScortex_mouse_all_cells.loom"
    published(name, content, hashlib.sha256(content).hexdigest())
    for _ in range(2):
        adata = datasets.fetch_osmfish(data_home=published.home)
    assert len(published.server.asked) == 1
    assert (published.home / name).is_file()
    assert adata.X.toarray().tolist() == [[0, 3], [2, 5]]
    assert adata.obs_names.tolist() == ["7", "9"]
    assert adata.obs["label"].isna().tolist() == [False, True]
    assert adata.obsm["spatial"].tolist() == [[0.5, 3.0], [2.5, 5.0]]


def test_a_home_that_cannot_be_written_falls_back_to_the_cache(published, tmp_path):
    published("osmFISH_SScortex_mouse_all_cells.loom", loom())
    published.home.write_text("a file, not a directory")
    assert datasets.fetch_osmfish(data_home=published.home).n_obs == 2
    assert (tmp_path / "cache" / "osmFISH_SScortex_mouse_all_cells.loom").is_file()
    assert datasets.fetch_osmfish(data_home=published.home, download_if_missing=False).n_obs == 2


def test_a_file_with_another_hash_is_refused(published):
    published("osmFISH_SScortex_mouse_all_cells.loom", loom(), "0" * 64)
    with pytest.raises(OSError, match="does not have the sha256 0000"):
        datasets.fetch_osmfish(data_home=published.home)
    assert not list(published.home.iterdir())


def test_without_network_the_error_names_the_way_out(published):
    published("osmFISH_SScortex_mouse_all_cells.loom", loom())
    published.files["osmFISH_SScortex_mouse_all_cells.loom"] = (None, "http://127.0.0.1:9/no.loom")
    with pytest.raises(OSError, match="could not be reached.*SKST_DATA_HOME"):
        datasets.fetch_osmfish(data_home=published.home)


@pytest.mark.parametrize("name", [row[0] for row in REAL if row[0] != "load_pbmc68k"])
def test_absent_files_are_not_downloaded_unasked(name, published):
    with pytest.raises(OSError, match="download_if_missing=False; set SKST_DATA_HOME"):
        getattr(datasets, name)(data_home=published.home, download_if_missing=False)
    assert not published.server.asked


def test_every_downloadable_name_has_a_url_and_a_hash_or_none():
    files = _base.registry()
    for slice in ("151507", "151676"):
        assert f"{slice}_filtered_feature_bc_matrix.h5" in files
    for name, (sha256, url) in files.items():
        assert url.startswith("http") and " " not in url and url.split("/")[-1]
        assert sha256 is None or (len(sha256) == 64 and int(sha256, 16) > 0), name
    for name in ("osmFISH_SScortex_mouse_all_cells.loom", "starmap_BY3_1k.h5ad"):
        path = get_data_home() / name
        if path.exists():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == files[name][0]


def tenx_h5(counts, barcodes, symbols, ids, types):
    content = io.BytesIO()
    stored = sparse.csc_matrix(counts.T)
    with h5py.File(content, "w") as file:
        for key in ("data", "indices", "indptr"):
            file[f"matrix/{key}"] = getattr(stored, key)
        file["matrix/shape"] = stored.shape
        file["matrix/barcodes"] = np.array(barcodes, dtype="S")
        for key, values in (("id", ids), ("name", symbols), ("feature_type", types)):
            file[f"matrix/features/{key}"] = np.array(values, dtype="S")
    return content.getvalue()


def publish_dlpfc(published, slice, genes):
    counts = np.arange(3 * len(genes)).reshape(3, -1) % 4
    ids = [f"ENSG{i}" for i in range(len(genes))]
    types = ["Gene Expression"] * (len(genes) - 1) + ["Antibody Capture"]
    published(f"{slice}_filtered_feature_bc_matrix.h5", tenx_h5(counts, ["A-1", "C-1", "B-1"], genes, ids, types))
    positions = b"B-1,1,2,4,20,10\nA-1,1,1,3,30,40\nZ-1,0,9,9,9,9\nC-1,1,5,6,7,8\n"
    published(f"{slice}_tissue_positions_list.txt", positions)
    published("barcode_level_layer_map.tsv", b"B-1\t151508\tWM\nA-1\t151508\tL1\nC-1\t151507\tL6\n")
    return counts


def test_dlpfc_from_the_published_files(published):
    counts = publish_dlpfc(published, "151508", ["MBP", "PCP4", "MBP", "CD3"])
    adata = datasets.fetch_dlpfc(151508, data_home=published.home)
    assert adata.obs_names.tolist() == ["A-1", "C-1", "B-1"]
    assert adata.var_names.tolist() == ["MBP", "PCP4", "ENSG2"]  # a repeated symbol gives way to the id
    assert np.array_equal(adata.X.toarray(), counts[:, :3])  # the antibody is no gene
    assert adata.obs["label"].tolist()[::2] == ["L1", "WM"] and adata.obs["label"].isna().tolist()[1]
    assert adata.obsm["spatial"].tolist() == [[40, 30], [8, 7], [10, 20]]  # x is the column of pixels
    assert adata.obs["batch"].tolist() == ["151508"] * 3


def test_several_slices_share_genes_and_keep_their_names(published):
    publish_dlpfc(published, "151508", ["MBP", "PCP4", "SNAP25", "-"])
    publish_dlpfc(published, "151507", ["PCP4", "MBP", "NRGN", "-"])
    adata = datasets.fetch_dlpfc([151507, "151508"], data_home=published.home)
    assert sorted(adata.var_names) == ["MBP", "PCP4"]
    assert adata.obs["batch"].cat.categories.tolist() == ["151507", "151508"]
    assert adata.obs_names.is_unique and adata.n_obs == 6
    single = datasets.fetch_dlpfc("151507", data_home=published.home)
    assert np.array_equal(adata.X.toarray()[:3], single[:, adata.var_names].X.toarray())
    assert adata.obs["label"].notna().sum() == 3


@pytest.mark.parametrize("slice", ["151511", [], ["151507", 151507], 7])
def test_unknown_slices_are_named(slice, tmp_path):
    with pytest.raises(ValueError, match=r"slice=.* must be one.*151507"):
        datasets.fetch_dlpfc(slice, data_home=tmp_path, download_if_missing=False)


def test_her2st_from_the_published_files(published):
    published("HER2ST_A1.tsv.gz", gzip.compress(b"\tERBB2\tCD74\n10x12\t3\t0\n11x12\t0\t1\n9x9\t5\t5\n"))
    spots = "Row.names\tx\ty\tpixel_x\tpixel_y\tlabel\na\t11.04\t11.98\t7.5\t8.5\tundetermined\n"
    spots += "b\t9.96\t12.01\t1.5\t2.5\tinvasive cancer\nc\tNA\tNA\tNA\tNA\tadipose tissue\n"
    published("HER2ST_A1_labeled_coordinates.tsv", spots.encode())
    adata = datasets.fetch_her2st("A1", data_home=published.home)
    assert adata.obs_names.tolist() == ["10x12", "11x12"]
    assert adata.X.toarray().tolist() == [[3, 0], [0, 1]]
    assert adata.obs["label"].astype(object).fillna("-").tolist() == ["invasive cancer", "-"]
    assert adata.obsm["spatial"].tolist() == [[1.5, 2.5], [7.5, 8.5]]


def test_baron_from_the_published_files(published):
    header = ",barcode,assigned_cluster,X0610007P14Rik,H2.Aa,Xist\n"
    for mouse, accession in (("mouse1", "GSM2230761"), ("mouse2", "GSM2230762")):
        table = f"{header}{mouse}_1,AC-GT,beta,1,2,0\n{mouse}_2,AC-GG,alpha,0,0,7\n"
        published(f"{accession}_{mouse}_umifm_counts.csv.gz", gzip.compress(table.encode()))
    adata = datasets.fetch_baron_mouse(data_home=published.home)
    assert adata.var_names.tolist() == ["0610007P14Rik", "H2-Aa", "Xist"]
    assert adata.X.toarray().tolist() == [[1, 2, 0], [0, 0, 7]] * 2
    assert adata.obs["batch"].tolist() == ["mouse1", "mouse1", "mouse2", "mouse2"]
    assert adata.obs["label"].tolist() == ["beta", "alpha"] * 2


def test_scmixology_from_the_published_files(published):
    for plate, genes in (("p1", "ABC"), ("p2", "BAD"), ("p3", "AEB")):
        rows = "".join(f'"{gene}",{ord(gene)},{ord(gene) + int(plate[1])}\n' for gene in genes)
        stem = f"sc_celseq2_5cl_{plate}"
        published(f"{stem}.count.csv.gz", gzip.compress(f'"c2","c1"\n{rows}'.encode()))
        table = '"n","cell_line_demuxlet"\n"c1",1,"H838"\n"c2",2,"A549"\n'
        published(f"{stem}.metadata.csv.gz", gzip.compress(table.encode()))
    adata = datasets.fetch_scmixology(data_home=published.home)
    assert sorted(adata.var_names) == ["A", "B"]  # the genes of all plates
    assert adata[:, "A"].X.toarray().ravel().tolist() == [65, 66, 65, 67, 65, 68]
    assert adata.obs["label"].tolist() == ["A549", "H838"] * 3
    assert adata.obs_names[2] == "p2_c2" and adata.obs["batch"].tolist() == [
        "p1",
        "p1",
        "p2",
        "p2",
        "p3",
        "p3",
    ]


def test_pbmc3k_without_labels_says_so(published):
    content = io.BytesIO()
    members = {
        "matrix.mtx": "%%MatrixMarket matrix coordinate integer general\n3 2 2\n1 2 5\n3 1 4\n",
        "genes.tsv": "ENSG1\tMS4A1\nENSG2\tNKG7\nENSG3\tMS4A1\n",
        "barcodes.tsv": "AA-1\nCC-1\n",
    }
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(f"filtered_gene_bc_matrices/hg19/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    published("pbmc3k_filtered_gene_bc_matrices.tar.gz", content.getvalue())
    with pytest.warns(UserWarning, match="has no cell types"):
        adata = datasets.fetch_pbmc3k(data_home=published.home)
    assert adata.X.toarray().tolist() == [[0, 0, 4], [5, 0, 0]]
    assert adata.var_names.tolist() == ["MS4A1", "NKG7", "ENSG3"] and adata.obs["label"].isna().all()


def test_pbmc68k_from_the_package_of_scanpy(tmp_path, monkeypatch):
    raw = anndata.AnnData(
        sparse.csr_matrix(np.array([[0.0, 1.5, 0.0], [2.5, 0.0, 0.0]])),
        obs=pd.DataFrame({"bulk_labels": pd.Categorical(["CD34+", "Dendritic"])}, index=["a", "b"]),
        var=pd.DataFrame(index=["HES4", "SSU72", "PARK7"]),
    )
    stored = raw[:, :2].copy()
    stored.raw = raw
    stored.X = np.full((2, 2), -9.0)  # scaled, to be left alone
    package = tmp_path / "site" / "scanpy"
    (package / "datasets").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('scanpy must not be imported')")
    stored.write_h5ad(package / "datasets" / "10x_pbmc68k_reduced.h5ad")
    monkeypatch.delitem(sys.modules, "scanpy", raising=False)
    monkeypatch.syspath_prepend(package.parent)
    adata = datasets.load_pbmc68k(data_home=tmp_path)
    assert adata.X.toarray().tolist() == [[0, 1.5, 0], [2.5, 0, 0]] and adata.X.dtype == np.float32
    assert adata.var_names.tolist() == ["HES4", "SSU72", "PARK7"]
    assert adata.obs["label"].tolist() == ["CD34+", "Dendritic"]


def test_pbmc68k_without_scanpy_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setenv("SKST_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OSError, match=r"pip install 'skst\[scanpy\]'"):
        datasets.load_pbmc68k(data_home=tmp_path)


@pytest.mark.parametrize(
    ("key", "values", "match"),
    [
        ("col_attrs/X", [0.5, 1.5], "3 entries in 'col_attrs/X'"),
        ("col_attrs/Valid", ["a", "b", "c"], "numbers in 'col_attrs/Valid'"),
        ("col_attrs/CellID", [1, 2, 3], "texts in 'col_attrs/CellID'"),
        ("row_attrs/Gene", ["a", "b", "c"], "2 entries in 'row_attrs/Gene'"),
        ("matrix", [1, 2, 3], "the dataset 'matrix'"),
        ("matrix/a", [1, 2, 3], "the dataset 'matrix'"),
    ],
)
def test_a_loom_that_does_not_fit_is_named(key, values, match, tmp_path):
    content = io.BytesIO(loom())
    with h5py.File(content, "a") as file:
        del file[key.removesuffix("/a")]
        file[key] = values
    (tmp_path / "osmFISH_SScortex_mouse_all_cells.loom").write_bytes(content.getvalue())
    with pytest.raises(ValueError, match=f"osmFISH.*lacks {match}"):
        datasets.fetch_osmfish(data_home=tmp_path)


def test_a_tidy_file_that_is_damaged_is_named(tmp_path):
    path = tmp_path / "DLPFC_151673.h5ad"
    adata = anndata.AnnData(
        sparse.csr_matrix(np.eye(3, dtype=np.float32)), obs=pd.DataFrame({"label": list("abc")}, index=list("xyz"))
    )
    adata.obsm["spatial"] = np.zeros((3, 2))
    adata.write_h5ad(path)
    with h5py.File(path, "a") as file:
        file["X/indices"][1] = 2_000_000_000
    with pytest.raises(ValueError, match="in X, its column indices go from 0 to 2000000000 where there are 3"):
        datasets.fetch_dlpfc(data_home=tmp_path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="DLPFC_151673.h5ad cannot be read .*; replace it"):
        datasets.fetch_dlpfc(data_home=tmp_path)


def test_a_published_table_that_unfolds_without_end_is_refused(published, monkeypatch):
    monkeypatch.setattr(_untrusted, "_ANY_FILE_BYTES", 2**16)
    published("HER2ST_A1.tsv.gz", gzip.compress(b"\tERBB2\n" + b"10x12\t3\n" * 10**5))
    published("HER2ST_A1_labeled_coordinates.tsv", b"x\n1\n")
    with pytest.raises(ValueError, match="HER2ST_A1.tsv.gz' cannot be used: it unfolds to more than"):
        datasets.fetch_her2st("A1", data_home=published.home)


def test_a_tidy_file_that_lacks_something_is_named(tmp_path):
    adata = anndata.AnnData(sparse.csr_matrix(np.eye(3, dtype=np.float32)))
    adata.write_h5ad(tmp_path / "DLPFC_151673.h5ad")
    with pytest.raises(ValueError, match="DLPFC_151673.h5ad lacks a column 'label' in obs"):
        datasets.fetch_dlpfc(data_home=tmp_path)
    adata.obs["label"] = ["L1", "L2", "NA"]
    adata.write_h5ad(tmp_path / "DLPFC_151673.h5ad")
    with pytest.raises(ValueError, match=r"lacks coordinates in obsm\['spatial'\]"):
        datasets.fetch_dlpfc(data_home=tmp_path)
    adata.obsm["spatial"] = np.zeros((3, 2), dtype=np.float32)
    adata.write_h5ad(tmp_path / "DLPFC_151673.h5ad")
    assert datasets.fetch_dlpfc(data_home=tmp_path).obs["label"].isna().tolist() == [False, False, True]


def test_public_names():
    assert datasets.get_data_home is get_data_home
    from skst.genes.descriptions import fetch_gene_descriptions

    assert datasets.fetch_gene_descriptions is fetch_gene_descriptions
    assert set(datasets.__all__) <= set(dir(datasets))
    with pytest.raises(AttributeError, match="no attribute 'fetch_nothing'"):
        _ = datasets.fetch_nothing
