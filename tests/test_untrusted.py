"""Sparse matrices and files from outside: what is whole passes as it is, what is not ends in one sentence."""

import gzip
import io
import os
import pickle

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse

from skst.files import untrusted as _untrusted
from skst.files.hdf5 import open_h5, read_h5ad
from skst.files.untrusted import RefusedError, bounded_text, check_anndata, check_sparse, checked_csr, open_text, told

FORMATS = ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"]
DENSE = np.array([[1, 0, 0, 2], [0, 0, 3, 0], [0, 0, 0, 4]], dtype=np.float32)


def _refused(error):
    message = str(error.value)
    assert message.endswith(".") and ". " not in message and "\n" not in message
    return message


# Sparse matrices


@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dense", [DENSE, np.zeros((3, 4)), np.zeros((0, 4)), np.zeros((3, 0))], ids=str)
def test_whole_matrices_pass_untouched(name, kind, dense):
    if name == "bsr" and 0 in dense.shape:
        pytest.skip("scipy makes no blocks of nothing")
    matrix = getattr(sparse, f"{name}_{kind}")(dense)
    before = pickle.dumps(matrix)
    check_sparse(matrix, "X")
    assert pickle.dumps(matrix) == before


def test_what_scipy_allows_passes():
    unsorted = sparse.csr_matrix((np.ones(4), [3, 0, 0, 2], [0, 3, 3, 4]), shape=(3, 4))  # and an entry in two parts
    slack = sparse.csr_matrix(DENSE)
    slack.data, slack.indices = np.append(slack.data, 9), np.append(slack.indices, 0)
    wide = sparse.csr_matrix(DENSE)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.uint64)
    swapped = sparse.csr_matrix(DENSE)
    swapped.indices = swapped.indices.astype(">i4")
    for matrix in (unsorted, slack, wide, swapped, sparse.eye(4, 3, k=-2), DENSE, None, "X"):
        check_sparse(matrix, "X")


def test_arrays_of_one_dimension():
    flat = sparse.coo_array(np.array([0, 1, 0, 2]))
    check_sparse(flat, "X")
    try:
        row = flat.tocsr()
    except ValueError:
        pytest.skip("this scipy makes no rows of them")
    check_sparse(row, "X")
    row.indices[0] = 4
    with pytest.raises(ValueError, match="from 3 to 4 where there are 4"):
        check_sparse(row, "X")


def _damages():
    def part(name, value):
        return lambda matrix: setattr(matrix, name, np.array(value))

    def entry(name, place, value):
        return lambda matrix: getattr(matrix, name).__setitem__(place, value)

    ints = [0, 3, 2, 3]
    yield from (
        ("csr", entry("indices", 1, 2_000_000_000), "column indices go from 0 to 2000000000 where there are 4"),
        ("csr", entry("indices", 1, 4), "from 0 to 4"),
        ("csr", entry("indices", 1, -1), "from -1 to 3"),
        ("csr", part("indices", [0, 2**40, 2, 3]), "1099511627776"),
        ("csr", part("indices", np.array([0, 2**63 + 1, 2, 3], dtype=np.uint64)), "9223372036854775809"),
        ("csr", part("indices", [0.0, 3.0, 2.0, 3.0]), "column indices are no array of integers"),
        ("csr", part("indices", [True, False, True, False]), "no array of integers"),
        ("csr", part("indices", np.reshape(ints, (4, 1))), "no array of integers"),
        ("csr", lambda matrix: setattr(matrix, "indices", ints), "no array of integers"),
        ("csr", part("indices", ints[:3]), "4 values for 3 indices"),
        ("csr", part("data", [1.0]), "1 values for 4 indices"),
        ("csr", lambda matrix: setattr(matrix, "indices", None), "4 values for 1 indices"),
        ("csr", part("indices", 3), "4 values for 1 indices"),
        ("csr", part("data", [[1.0, 2.0, 3.0, 4.0]]), "data are no array of one dimension"),
        ("csr", part("indptr", [0, 2, 1, 4]), "does not rise from 0"),
        ("csr", part("indptr", np.array([0, 2, 1, 4], dtype=np.uint64)), "does not rise from 0"),
        ("csr", part("indptr", [1, 2, 3, 4]), "does not rise from 0"),
        ("csr", part("indptr", [0, 2, 3, 5]), "ends at 5 where 4 values"),
        ("csr", part("indptr", [0, 2, 4]), "3 entries where 4 are due"),
        ("csr", part("indptr", [0.0, 2.0, 3.0, 4.0]), "indptr is no array of integers"),
        ("csr", lambda matrix: setattr(matrix, "_shape", (3, -4)), r"shape is \(3, -4\)"),
        ("csr", lambda matrix: setattr(matrix, "_shape", (3, 2)), "from 0 to 3 where there are 2"),
        ("csr", lambda matrix: setattr(matrix, "_shape", (9, 4)), "4 entries where 10 are due"),
        ("csc", entry("indices", 0, 3), "row indices go from 0 to 3"),
        ("csc", part("indptr", [0, 1, 1, 2, 9]), "ends at 9"),
        ("bsr", entry("indices", 0, 99), "block indices"),
        ("bsr", part("data", np.ones((4, 2, 3))), "blocks of"),
        ("bsr", part("data", np.ones(4)), "no array of blocks"),
        ("coo", lambda matrix: setattr(matrix, "coords", (np.array([0, 0, 1, 3]), np.array(ints))), "axis 0"),
        ("coo", lambda matrix: setattr(matrix, "coords", (np.array([0, 0, 1, 2]), np.array([0, 9, 2, 3]))), "axis 1"),
        ("coo", lambda matrix: setattr(matrix, "coords", (np.array([0, 0, 1]), np.array(ints))), "4 values for 3"),
        ("coo", lambda matrix: setattr(matrix, "coords", (np.array(ints),)), "too few or too many axes"),
        ("dia", part("offsets", [0.0]), "offsets are no array of integers"),
        ("dia", part("offsets", np.arange(50)), "for 50 offsets"),
        ("dia", lambda matrix: matrix.offsets.__setitem__(0, -(2**31)), "offsets go from -2147483648"),
        ("lil", lambda matrix: matrix.rows[0].append(1), "other lengths"),
        ("lil", lambda matrix: matrix.rows[0].__setitem__(0, -1), "from -1"),
        ("lil", lambda matrix: matrix.rows.__setitem__(0, (0, 3)), "no lists"),
        ("dok", lambda matrix: matrix._dict.__setitem__((0, 4), 1.0), "axis 1"),
    )


@pytest.mark.parametrize(("name", "damage", "match"), list(_damages()))
def test_damaged_matrices_are_named(name, damage, match):
    for kind in ("matrix", "array"):
        matrix = getattr(sparse, f"{name}_{kind}")(DENSE)
        damage(matrix)
        with pytest.raises(ValueError, match=match) as error:
            check_sparse(matrix, "layers['counts']")
        assert _refused(error).startswith("layers['counts'] cannot be used: ")


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(["i4", "i8", "u4", "u8", "i2"]), st.lists(st.integers(-3, 7), max_size=6), st.data())
def test_exactly_the_indices_within_the_shape_pass(dtype, indices, data):
    assume("u" not in dtype or min(indices, default=0) >= 0)
    indptr = data.draw(st.lists(st.integers(-1, 7), min_size=3, max_size=5))
    assume("u" not in dtype or min(indptr) >= 0)
    matrix = sparse.csr_matrix((3, 4))
    matrix.data = np.ones(len(indices))
    matrix.indices, matrix.indptr = np.array(indices, dtype=dtype), np.array(indptr, dtype=dtype)
    whole = (
        len(indptr) == 4
        and indptr[0] == 0
        and sorted(indptr) == indptr
        and indptr[-1] <= len(indices)
        and all(0 <= index < 4 for index in indices)
    )
    if not whole:
        with pytest.raises(ValueError, match="X cannot be used"):
            check_sparse(matrix, "X")
        return
    check_sparse(matrix, "X")
    # Compiled code refuses other types of indices in words, and finds its way with these.
    matrix.indices, matrix.indptr = matrix.indices.astype("i8"), matrix.indptr.astype("i8")
    assert matrix.toarray().sum() == indptr[-1]


def test_checked_csr_loses_no_value():
    X = sparse.csr_matrix(DENSE)
    assert (checked_csr(X.data, X.indices, X.indptr, X.shape, "X") != X).nnz == 0
    with pytest.raises(ValueError, match="ends at 3 where 4 values are stored"):
        checked_csr(X.data, X.indices, np.array([0, 2, 3, 3]), X.shape, "X")
    with pytest.raises(ValueError, match="no array of integers"):
        checked_csr(X.data, X.indices.astype(float), X.indptr, X.shape, "X")


def _tissue():
    adata = anndata.AnnData(sparse.csr_matrix(DENSE))
    adata.layers["l"], adata.raw = sparse.csc_matrix(DENSE), adata.copy()
    adata.obsm["o"], adata.varm["v"] = sparse.csr_matrix(DENSE), sparse.csr_matrix(DENSE.T)
    adata.obsp["p"] = sparse.csr_matrix(np.eye(3))
    adata.uns["a"] = {"b": {"m": sparse.csr_matrix(DENSE)}, "frame": pd.DataFrame({"x": [1]})}
    return adata


@pytest.mark.parametrize(
    "part", ["X", "layers['l']", "raw.X", "obsm['o']", "varm['v']", "obsp['p']", "uns['a']['b']['m']"]
)
def test_every_matrix_of_an_anndata_is_looked_at(part):
    adata = _tissue()
    check_anndata(adata, "the tissue")
    matrix = eval(f"adata.{part}")
    matrix.indices[0] = 99
    with pytest.raises(ValueError) as error:
        check_anndata(adata, "the tissue")
    assert _refused(error).startswith(f"the tissue cannot be used: in {part}, its ")


# HDF5


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "id_rsa"
    path.write_bytes(b"PRIVATE KEY " * 20)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["g/a"] = np.arange(5)
    return path


def _virtual(file, source):
    layout = h5py.VirtualLayout(shape=(5,), dtype="i8")
    layout[:] = h5py.VirtualSource(source, "g/a", shape=(5,))
    file.create_virtual_dataset("v", layout)


def _lattice(file):
    group = file.create_group("start")
    for i in range(25):
        below = file.create_group(f"level{i}")
        group["a"] = group["b"] = below
        group = below


def _shared_text(file):
    """Many entries that are one text, as the library's own functions would not write them."""
    text = file.create_dataset("one", shape=(1,), chunks=(1,), dtype=h5py.string_dtype())
    text[0] = "x" * 100_000
    file.flush()
    many = file.create_dataset("many", shape=(50_000,), chunks=(50_000,), dtype=h5py.string_dtype())
    many.id.write_direct_chunk((0,), text.id.read_direct_chunk((0,))[1] * 50_000)


def _hidden_reference(file):
    hidden = file.create_dataset(None, shape=(2,), dtype="S8")
    file["g/a"].attrs["categories"] = hidden.ref
    file["gone"] = hidden
    del file["gone"]


HOSTILE = {
    "external storage": lambda f, s: f.create_dataset("d", shape=(2,), dtype="S40", external=[(str(s), 0, 80)]),
    "external link": lambda f, s: f.__setitem__("l", h5py.ExternalLink(str(s.with_name("other.h5")), "/g")),
    "nested external link": lambda f, s: f.__setitem__("g/h/l", h5py.ExternalLink(str(s.with_name("other.h5")), "/g")),
    "virtual": lambda f, s: _virtual(f, str(s.with_name("other.h5"))),
    "virtual and its own": lambda f, s: _virtual(f, "."),
    "soft link to nothing": lambda f, s: f.__setitem__("l", h5py.SoftLink("/nothing")),
    "soft link to itself": lambda f, s: f.__setitem__("l", h5py.SoftLink("/l")),
    "soft link to the root": lambda f, s: f.__setitem__("g/l", h5py.SoftLink("/")),
    "circle": lambda f, s: f.__setitem__("g/l", f["/"]),
    "lattice": lambda f, s: _lattice(f),
    "depth": lambda f, s: f.create_group("/".join("d" * 50)),
    "much of nothing": lambda f, s: f.create_dataset("d", shape=(10**6, 10**6), chunks=(10**3, 10**3), dtype="f4"),
    "more than can be counted": lambda f, s: f.create_dataset("d", shape=(2**62, 2**62), chunks=(9, 9), dtype="f4"),
    "many empty texts": lambda f, s: f.create_dataset("d", shape=(10**8,), chunks=(10**3,), dtype=h5py.string_dtype()),
    "one text many times": lambda f, s: _shared_text(f),
    "references": lambda f, s: f.create_dataset("d", data=np.array([f["g"].ref], dtype=h5py.ref_dtype)),
    "lists of any length": lambda f, s: f.create_dataset("d", shape=(3,), dtype=h5py.vlen_dtype("i4")),
    "reference to what has no name": lambda f, s: _hidden_reference(f),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hdf5_that_leads_elsewhere_or_unfolds_is_refused(name, secret):
    path = secret.with_name("a.h5")
    with h5py.File(path, "w") as file:
        file["g/a"] = np.arange(5)
        HOSTILE[name](file, secret)
    with pytest.raises(RefusedError) as error:
        open_h5(path)
    assert "a.h5' cannot be used: " in _refused(error)
    os.rename(path, secret.with_name("b.h5"))  # and nothing holds it open


def test_data_repeated_by_names_are_counted_each_time(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    monkeypatch.setattr(_untrusted, "_ANY_FILE_BYTES", 2**20)
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.zeros(10**5), compression="gzip")
        file["soft"] = h5py.SoftLink("/a")
    open_h5(path).close()
    with h5py.File(path, "a") as file:
        for i in range(30):
            file[f"l{i}"] = file["a"]
    with pytest.raises(RefusedError, match="brings its data to more than"):
        open_h5(path)


def test_plain_hdf5_passes(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["g/texts"] = ["a", "b"]
        file["g/fixed"], file["flags"], file["empty"] = np.array([b"x"]), np.array([True]), h5py.Empty("f4")
        fields = [("name", h5py.string_dtype()), ("score", "f4")]
        file["table"] = np.array([("a", 1.0)], dtype=fields)
        file["soft"] = h5py.SoftLink("/g/texts")
        file["second name"] = file["g/texts"]
        file["flags"].attrs["categories"] = file["g/texts"].ref  # as AnnData did before 0.7
        file["flags"].attrs.create("none", h5py.Reference(), dtype=h5py.ref_dtype)
        file["type"] = np.dtype("f4")
    with open_h5(path) as file:
        assert file["soft"].asstr()[:].tolist() == ["a", "b"]


def test_h5ad_is_read_whole(tmp_path):
    path = tmp_path / "a.h5ad"
    _tissue().write_h5ad(path)
    assert np.array_equal(read_h5ad(path).X.toarray(), DENSE)
    for key, values in (("indices", [0, 3, 2, 7]), ("indptr", [0, 1, 1, 2, 3]), ("data", [1.0])):
        _tissue().write_h5ad(path)
        with h5py.File(path, "a") as file:
            del file[f"layers/l/{key}"]
            file[f"layers/l/{key}"] = np.array(values)
        with pytest.raises(RefusedError, match=r"a.h5ad' cannot be used: in layers\['l'\], it"):
            read_h5ad(path)


@pytest.mark.parametrize("shape", [(2**40, 4), (3, 2**40), (2, 4)])
def test_no_memory_is_taken_for_rows_that_are_only_declared(tmp_path, shape):
    path = tmp_path / "a.h5ad"
    _tissue().write_h5ad(path)
    with h5py.File(path, "a") as file:
        file["X" if shape[1] == 4 else "layers/l"].attrs["shape"] = np.array(shape)
    with pytest.raises(RefusedError, match="declares .* rows or columns") as error:
        read_h5ad(path)
    _refused(error)


def test_what_is_no_hdf5_is_not_opened(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(OSError):
        open_h5(path)


# Texts and errors


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50))
def test_text_comes_as_it_is(text):
    content = text.encode()
    assert bounded_text(io.BytesIO(content), len(content), "it").read() == text.removeprefix("\ufeff")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("content", "match"),
    [(b"a\n" * 600_000, "unfolds to more than"), (b"a\n\0b", "zero bytes"), (b"a" * 2**22 + b"b", "a line of more")],
)
def test_text_that_is_none_ends_in_a_sentence(tmp_path, monkeypatch, suffix, content, match):
    monkeypatch.setattr(_untrusted, "_ANY_FILE_BYTES", 2**20 if "unfolds" in match else 2**28)
    path = tmp_path / f"a.csv{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    if not suffix and "unfolds" in match:
        assert open_text(path).read() == content.decode()  # its own size is no bomb
        return
    with open_text(path, "The table") as file, pytest.raises(RefusedError, match=match) as error:
        file.read()
    assert _refused(error).startswith("The table cannot be used")


def test_errors_of_others_fit_into_a_sentence():
    assert told(ValueError("One. Two.\n  Three.")) == "One, Two, Three"
    assert len(told("x" * 1000)) == 150
    error = pickle.loads(pickle.dumps(_untrusted.refused("X", "it is broken", "mend it")))  # as other processes do
    assert str(error) == "X cannot be used: it is broken; mend it."
