import gzip
import io
import pickle
import pickletools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

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
        ("a.pickle", pickle.dumps(["A"]), "a list where a dict"),
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


def _old_module_names(data):
    """The pickle as numpy 1 writes it (names are length-prefixed in protocol 4, newline-ended before)."""
    return data.replace(b"numpy._core.", b"numpy.core.")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i8", "|u1"])
def test_pickled_arrays_of_every_protocol(tmp_path, protocol, dtype):
    rows = {"A": np.array([1, 2, 3], dtype=dtype), "B": np.array([7, 0, 250], dtype=dtype)}
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(rows, protocol=protocol))
    _, vectors = read_gene_vectors(path)
    np.testing.assert_array_equal(vectors, [[1, 2, 3], [7, 0, 250]])


def test_arrays_pickled_by_numpy_1(tmp_path):
    data = _old_module_names(pickle.dumps({"A": np.array([1.5, -2.0])}, protocol=2))
    assert b"numpy.core." in data
    path = tmp_path / "a.pickle"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_gene_vectors(path)[1], [[1.5, -2.0]])


def test_pickled_lists_of_numpy_scalars(tmp_path):
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps({"A": [np.float32(0.5), np.float64(2), 3]}))
    np.testing.assert_array_equal(read_gene_vectors(path)[1], [[0.5, 2, 3]])


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(st.sampled_from(["<f4", "<f8", ">i4", "|b1"]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=5)),
    st.integers(0, 5),
    st.booleans(),
)
def test_unpickled_arrays_are_those_of_pickle_itself(array, protocol, fortran):
    array = np.asfortranarray(array) if fortran else array
    read = table._PlainUnpickler(io.BytesIO(pickle.dumps({"a": array}, protocol=protocol))).load()["a"]
    np.testing.assert_array_equal(read.values, array)
    assert read.values.dtype == array.dtype


class _Reduce:
    """Pickles as a call of whatever function with whatever arguments."""

    def __init__(self, function, *args, state=None):
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.parts


def _protocol_0(*opcodes):
    return b"".join(opcodes) + b"."


def _malicious(marker):
    import builtins
    import codecs
    import os
    import subprocess

    core = np._core.multiarray
    command = f"touch {marker}"
    object_state = (1, (1,), np.dtype(object), False, [_Reduce(os.system, command)])
    array_of_objects = np.array([_Reduce(os.system, command)], dtype=object)
    values = {
        "os.system": _Reduce(os.system, command),
        "subprocess": _Reduce(subprocess.check_output, ["touch", str(marker)]),
        "eval": _Reduce(eval, f"open({str(marker)!r}, 'w')"),
        "exec": _Reduce(exec, f"open({str(marker)!r}, 'w')"),
        "open": _Reduce(open, str(marker), "w"),
        "getattr": _Reduce(getattr, _Reduce(__import__, "os"), "system"),
        "import": _Reduce(__import__, "antigravity"),
        "codecs": _Reduce(codecs.decode, b"x", "zlib"),
        "codecs.encode": _Reduce(codecs.encode, "x", "zlib"),
        "object array": array_of_objects,
        "object dtype state": _Reduce(core._reconstruct, np.ndarray, (0,), b"b", state=object_state),
        "scalar of objects": _Reduce(core.scalar, np.dtype(object), b"x" * 8),
        "reconstruct another class": _Reduce(core._reconstruct, np.memmap, (0,), b"b"),
        "numpy.load": _Reduce(np.load, str(marker), None, True),
        "structured dtype": np.zeros(1, dtype=[("a", "f8")]),
        "text dtype": np.array(["a"]),
        "date dtype": np.zeros(1, dtype="M8[s]"),
        "set": {1.0},
        "attribute of a builtin": _Reduce(builtins.dict.fromkeys, ["a"]),
    }
    pickles = {
        f"{name}, protocol {protocol}": pickle.dumps({"A": value}, protocol=protocol)
        for name, value in values.items()
        for protocol in (2, 4)
    }
    # What no object pickles to: instructions written by hand.
    shell = b"cos\nsystem\n"
    pickles["inst"] = _protocol_0(b"(S'" + command.encode() + b"'\nios\nsystem\n")
    pickles["dotted name"] = b"\x80\x04\x8c\x08builtins\x8c\x0ddict.__class__\x93."
    pickles["alter a stand-in"] = _protocol_0(
        b"cnumpy.core.multiarray\n_reconstruct\n", b"(d", b"S'_function'\n", shell, b"s", b"b"
    )
    pickles["alter a stand-in by slots"] = _protocol_0(b"cnumpy\nndarray\n", b"(N(dS'_function'\nS'x'\nst", b"b")
    pickles["alter a builtin type"] = _protocol_0(b"c__builtin__\ndict\n", b"(N(dS'get'\nI1\nst", b"b")
    pickles["persistent id"] = b"Pspam\n."
    pickles["extension code"] = b"\x80\x02\x82\x01."
    wild = (3, "|", None, None, None, -1, -1, 63)
    pickles["dtype turned into objects"] = pickle.dumps(
        {
            "A": _Reduce(
                core._reconstruct,
                np.ndarray,
                (0,),
                b"b",
                state=(1, (1,), _FakeDtype("O8", wild), False, b"x" * 8),
            )
        },
        protocol=2,
    )
    pickles["array longer than its bytes"] = pickle.dumps(
        {
            "A": _Reduce(
                core._reconstruct,
                np.ndarray,
                (0,),
                b"b",
                state=(1, (1 << 40,), np.dtype("f8"), False, b"x" * 8),
            )
        },
        protocol=2,
    )
    return pickles


class _FakeDtype:
    def __init__(self, code, state):
        self.parts = (np.dtype, (code, False, True), state)

    def __reduce__(self):
        return self.parts


def test_malicious_pickles_run_nothing(tmp_path):
    marker = tmp_path / "executed"
    path = tmp_path / "a.pickle"
    for name, data in _malicious(marker).items():
        path.write_bytes(data)
        with pytest.raises(ValueError, match="Gene vectors") as error:
            read_gene_vectors(path)
        assert "\n" not in str(error.value), name
        assert not marker.exists(), name
    # Nothing that was refused has altered what the next file is read with.
    path.write_bytes(pickle.dumps(TABLE))
    np.testing.assert_array_equal(read_gene_vectors(path)[1], VECTORS)


def test_dtype_flags_of_a_pickle_are_not_believed():
    # With the flags of an object array numpy itself would take the raw bytes for pointers.
    dtype = _FakeDtype("f8", (3, "<", None, None, None, -1, -1, 63))
    data = pickle.dumps(
        _Reduce(
            np._core.multiarray._reconstruct,
            np.ndarray,
            (0,),
            b"b",
            state=(1, (1,), dtype, False, b"\x01" * 8),
        ),
        protocol=2,
    )
    values = table._PlainUnpickler(io.BytesIO(data)).load().values
    assert values.dtype == np.dtype("<f8") and not values.dtype.hasobject


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damaged_pickles_raise_or_give_plain_values(data):
    """Whatever a byte is changed to, the unpickler fails or returns nothing but plain values."""
    whole = bytearray(pickle.dumps({"A": np.arange(3.0), "B": [1.0, 2.0]}, protocol=data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    if any(
        argument is not None and opcode.name in ("LONG_BINPUT", "PUT") and int(argument) > 10**6
        for opcode, argument, _ in _opcodes(bytes(whole))
    ):
        return  # costs memory and nothing else
    try:
        content = table._PlainUnpickler(io.BytesIO(bytes(whole))).load()
    except Exception:
        return
    allowed = (str, int, float, bool, bytes, bytearray, list, dict, tuple, set, frozenset, type(None))
    assert isinstance(content, (*allowed, table._Array, table._Dtype, table._Call))


def _opcodes(data):
    try:
        yield from pickletools.genops(data)
    except Exception:
        return
