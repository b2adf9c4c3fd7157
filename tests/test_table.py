import gzip
import io
import pickle
import struct
import zipfile

import numpy as np
import pandas as pd
import pytest

from skst.files import untrusted as _untrusted
from skst.genes import table
from skst.genes.table import read_gene_vectors

NAMES = ["INS", "NA", "MT-CO1", "1-Mar"]
VECTORS = np.array([[0.5, -1.25, 3e-7], [1, 2, 3], [0, 0, 0], [-7.5, 1e20, 4]], dtype=np.float32)
TABLE = dict(zip(NAMES, VECTORS, strict=True))


def _write_csv(path, separator, header, compress=False):
    lines = [] if header is None else [header]
    lines += [separator.join([name, *(repr(float(x)) for x in row)]) for name, row in TABLE.items()]
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if compress else text.encode())


def _write(path):
    kind = path.name.split(".", 1)[1]
    frame = pd.DataFrame(VECTORS, index=NAMES, columns=["d0", "d1", "d2"])
    if kind == "csv":
        _write_csv(path, ",", "gene,d0,d1,d2")
    elif kind == "tsv":
        _write_csv(path, "\t", "gene\t0\t1\t2")
    elif kind == "csv.gz":
        _write_csv(path, ",", None, compress=True)
    elif kind == "txt":
        _write_csv(path, "\t", "d0\td1\td2")  # as R writes it
    elif kind == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    elif kind == "pq":
        pytest.importorskip("pyarrow")
        pd.DataFrame({"gene": NAMES, "vector": list(VECTORS)}).to_parquet(path)
    elif kind == "npz":
        np.savez(path, genes=np.array(NAMES), vectors=VECTORS)
    elif kind == "h5ad":
        import anndata
        from scipy import sparse

        adata = anndata.AnnData(sparse.csr_matrix(VECTORS), obs=pd.DataFrame(index=NAMES))
        adata.write_h5ad(path)
    else:
        path.write_bytes(pickle.dumps({name: row.tolist() for name, row in TABLE.items()}))


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz", "txt", "parquet", "pq", "npz", "h5ad", "pickle", "pkl"])
def test_every_format_gives_the_same_table(tmp_path, kind):
    path = tmp_path / f"vectors.{kind}"
    _write(path)
    names, vectors = read_gene_vectors(str(path))
    assert names.tolist() == NAMES
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, VECTORS)


def test_tables_in_memory():
    import anndata

    frame = pd.DataFrame(VECTORS, index=NAMES)
    named = frame.reset_index(names="gene")
    adata = anndata.AnnData(VECTORS, obs=pd.DataFrame(index=NAMES))
    for source in (TABLE, frame, named, adata):
        names, vectors = read_gene_vectors(source)
        assert names.tolist() == NAMES
        np.testing.assert_array_equal(vectors, VECTORS)


def test_the_last_of_repeated_names_is_kept_with_a_warning():
    frame = pd.DataFrame([[1.0], [2.0], [3.0]], index=["A", "B", "A"])
    with pytest.warns(UserWarning, match="repeat 1 names, such as 'A'"):
        names, vectors = read_gene_vectors(frame)
    assert names.tolist() == ["B", "A"]
    assert vectors.ravel().tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ({}, "empty"),
        ({"A": [1.0, 2.0], "B": [1.0]}, "2 numbers for 'A' but 1 for 'B'"),
        ({"A": [1.0], "B": [float("nan")]}, "NaN or infinite numbers for 1 genes, such as 'B'"),
        ({"A": [1.0], "B": [1e60]}, "such as 'B'"),
        ({"A": [[1.0]]}, "list of numbers for 'A'"),
        ({"A": ["x"]}, "list of numbers for 'A'"),
        ({"A": []}, "shape"),
        ({1: [1.0]}, "1 as a gene name"),
        ({"": [1.0]}, "'' as a gene name"),
        (pd.DataFrame({"gene": ["A"], "d0": ["x"]}), "list of numbers for 'A'"),
        (pd.DataFrame({"gene": ["A"], "d0": ["x"], "d1": [1.0]}), "one row of numbers"),
        (pd.DataFrame([[1.0, 2.0]]), "as a gene name"),
    ],
)
def test_wrong_tables_are_told_in_one_sentence(source, match):
    with pytest.raises(ValueError, match=match) as error:
        read_gene_vectors(source)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.csv", b"", "cannot be read as .csv"),
        ("a.csv", b"gene,d0\nA,1\nB,2,3\n", "cannot be read as .csv"),
        ("a.csv", b"gene,d0,d1\nA,1,2\nB,1\n", "such as 'B'"),
        ("a.csv", b"gene;d0\nA;1\n", "one row of numbers"),
        ("a.csv.gz", b"gene,d0\nA,1\n", "cannot be read"),
        ("a.npz", b"PK\x03\x04broken", "cannot be read as .npz"),
        ("a.h5ad", b"nothing", "cannot be read as .h5ad"),
        ("a.pickle", b"\x80\x04]", "cannot be read as .pickle"),
        ("a.pickle", pickle.dumps([1.0]), "a list where a dict"),
        ("a.json", b"{}", "unknown extension"),
        ("a.npz.gz", b"", "unknown extension"),
        ("gene_vectors", b"", "unknown extension"),
    ],
)
def test_wrong_files_are_told_in_one_sentence(tmp_path, name, content, match):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match) as error:
        read_gene_vectors(path)
    assert "\n" not in str(error.value)


def test_absent_file_and_other_types(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a file"):
        read_gene_vectors(tmp_path / "absent.csv")
    with pytest.raises(TypeError, match="are a int"):
        read_gene_vectors(3)


def test_npz_with_pickled_objects_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, genes=np.array(["A", None], dtype=object), vectors=np.ones((2, 1)))
    with pytest.raises(ValueError, match="cannot be read as .npz"):
        read_gene_vectors(path)


def _refused(path, match):
    with pytest.raises(ValueError, match=match) as error:
        read_gene_vectors(path)
    message = str(error.value)
    assert message.startswith("Gene vectors") and message.endswith(".")
    assert ". " not in message and "\n" not in message


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"gene,d0\nA" + b",1" * 100_000, "100000 numbers a gene"),
        (b"A" + b",1" * 100_000, "100000 numbers a gene"),
        (b"gene,d0\n\n  \n\nA" + b",1" * 100_000, "100000 numbers a gene"),
        (b"gene,d0\nA," + b"1" * 2**23, "a line of more than"),
        (b"gene,d0\nIN\0S,1\n", "zero bytes"),
        (b"gene,d0\nINS,1\0, 2\n", "zero bytes"),
    ],
)
def test_text_that_is_no_table_is_not_parsed(tmp_path, content, match):
    for name, whole in (("a.csv", content), ("a.csv.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(whole)
        _refused(tmp_path / name, match)


@pytest.fixture
def small_limit(monkeypatch):
    """Files may unfold to 64 KiB, so that a bomb of a megabyte is one."""
    monkeypatch.setattr(_untrusted, "_ANY_FILE_BYTES", 2**16)


def test_text_has_an_end(tmp_path, small_limit, monkeypatch):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"gene,d0\n" + b"A,1\n" * 10**6))
    _refused(path, "unfolds to more than")
    monkeypatch.setattr(table, "_MAX_GENES", 1000)
    path.write_bytes(gzip.compress(b"gene,d0\n" + b"A,1\n" * 1200))
    _refused(path, "1001 genes")


def test_numbers_in_memory_are_told_as_such():
    with pytest.raises(ValueError, match="list of numbers for 'A'"):
        read_gene_vectors({"A": [10**400]})


def _npz(path, genes, vectors, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in (("genes", genes), ("vectors", vectors)):
            content = io.BytesIO()
            if isinstance(array, bytes):
                content.write(array)
            else:
                np.save(content, array)
            archive.writestr(f"{name}{options.get('suffix', '.npy')}", content.getvalue())


def _npy(shape, dtype, body=b""):
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def test_npz_arrays_that_declare_what_they_do_not_hold(tmp_path, small_limit):
    path, names = tmp_path / "a.npz", np.array(["A", "B"])
    for vectors in (
        _npy((2, 10**12), "<f4"),
        _npy((2, 10**9), "<f4", b"\0" * 64),
        _npy((2**62, 2**62), "<f4", b"\0" * 64),
        _npy((-1, 3), "<f4", b"\0" * 12),
        _npy((2, 2), "<f4", b"\0" * 17),
    ):
        _npz(path, names, vectors)
        _refused(path, "shape .* that it declares")
    _npz(path, names, _npy((1, 1), "|O", pickle.dumps(None)))
    _refused(path, "Object arrays cannot be loaded")
    _npz(path, names, np.zeros((2, 2**19), dtype=np.float32))
    _refused(path, "unfold to more than")
    _npz(path, names[:1], np.zeros((1, 70_000), dtype=np.int8))
    _refused(path, "70000 numbers a gene")
    _npz(path, np.array("AB"), np.ones((2, 2)))
    _refused(path, r"genes have the shape \(\)")
    _npz(path, names, np.ones((2, 2)), suffix="")  # numpy.load would take these for the arrays
    _refused(path, "cannot be read as .npz")


def test_parquet_that_repeats_itself_has_an_end(tmp_path, small_limit):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"gene": ["A", "B"], "vector": [[1.0] * 200_000] * 2}), path)
    _refused(path, "unfold to more than")
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(600, dtype=np.int32)), ["x" * 1000])
    parquet.write_table(pa.table({"gene": text, "d0": np.ones(600)}), path, store_schema=False)
    _refused(path, "unfold to more than")
    parquet.write_table(pa.table({"gene": pa.array(["A"] * 1_100_000), "d0": np.ones(1_100_000)}), path)
    _refused(path, "1100000 genes")


def test_parquet_keeps_categories_and_index(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    for frame in (
        pd.DataFrame({"gene": pd.Categorical(["A", "B"]), "d0": [1.0, 2.0], "d1": [3.0, 4.0]}),
        pd.DataFrame({"d0": [1.0, 2.0], "d1": [3.0, 4.0]}, index=pd.CategoricalIndex(["A", "B"])),
    ):
        frame.to_parquet(path, row_group_size=1)
        names, vectors = read_gene_vectors(path)
        assert names.tolist() == ["A", "B"] and vectors.tolist() == [[1, 3], [2, 4]]


def test_damaged_sparse_vectors_are_refused(tmp_path):
    import anndata
    import h5py
    from scipy import sparse

    path = tmp_path / "a.h5ad"
    _write(path)
    with h5py.File(path, "a") as file:
        file["X/indices"][1] = 2_000_000_000
    _refused(path, "in X, its column indices go from 0 to 2000000000 where there are 3")
    X = sparse.csr_matrix(VECTORS)
    X.indices[0] = -3
    with pytest.raises(ValueError, match="X of the AnnData .* from -3 to 2"):
        read_gene_vectors(anndata.AnnData(X, obs=pd.DataFrame(index=NAMES)))


def test_sparse_vectors_that_fit_no_memory_are_refused(tmp_path, small_limit):
    import anndata
    from scipy import sparse

    path, n = tmp_path / "a.h5ad", 5000
    adata = anndata.AnnData(sparse.csr_matrix((n, n), dtype=np.float32))
    adata.obs_names = adata.var_names = [f"g{i}" for i in range(n)]
    adata.write_h5ad(path)
    _refused(path, "unfold to more than")
