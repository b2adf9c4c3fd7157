"""Pickles of gene vectors: what Python itself would read of them, what would run code, and what would never end."""

import pickle
import pickletools
import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skst.files import plain_pickle
from skst.files.plain_pickle import read_plain_pickle
from skst.genes.table import read_gene_vectors

# What numpy's pickles call, in a module whose name changed with numpy 2.
RECONSTRUCT, SCALAR = (value.__reduce__()[0] for value in (np.zeros(1), np.float64(1)))


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


_NUMBERS = st.one_of(st.floats(allow_nan=False), st.integers(-(2**70), 2**70))


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(
        st.text(max_size=4),
        st.one_of(
            st.lists(_NUMBERS, max_size=5),
            hnp.arrays(st.sampled_from(["<f4", "<f8", ">i4", "|b1"]), hnp.array_shapes(max_dims=3, max_side=4)),
            st.floats(0, 1).map(lambda x: [x] * 3000),
        ),
        max_size=4,
    ),
    st.integers(0, 5),
    st.sampled_from([pickle.dumps, pickle._dumps]),
    st.booleans(),
)
def test_vectors_are_those_of_pickle_itself(rows, protocol, dumps, optimized):
    data = dumps(rows, protocol=protocol)
    read = read_plain_pickle(pickletools.optimize(data) if optimized else data)
    assert list(read) == list(rows)
    for name, row in rows.items():
        np.testing.assert_array_equal(read[name], np.array(row, dtype=getattr(row, "dtype", np.float64)))
        assert not isinstance(row, np.ndarray) or read[name].dtype == row.dtype


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_in_the_order_of_fortran(protocol):
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(read_plain_pickle(pickle.dumps({"A": array}, protocol=protocol))["A"], array)


def test_texts_of_python_2():
    data = b"(dp1\nS'INS'\np2\n(lp3\nF0.5\naI2\naL3L\nas."  # as it writes protocol 0
    assert read_plain_pickle(data)["INS"].tolist() == [0.5, 2, 3]
    assert read_plain_pickle(b"\x80\x02}q\x01U\x03INSq\x02]q\x03(K\x01K\x02es.")["INS"].tolist() == [1, 2]


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
        "object dtype state": _Reduce(RECONSTRUCT, np.ndarray, (0,), b"b", state=object_state),
        "scalar of objects": _Reduce(SCALAR, np.dtype(object), b"x" * 8),
        "reconstruct another class": _Reduce(RECONSTRUCT, np.memmap, (0,), b"b"),
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
                RECONSTRUCT,
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
                RECONSTRUCT,
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
    path.write_bytes(pickle.dumps({"A": np.arange(3.0)}))
    np.testing.assert_array_equal(read_gene_vectors(path)[1], [[0, 1, 2]])


def test_dtype_flags_of_a_pickle_are_not_believed():
    # With the flags of an object array numpy itself would take the raw bytes for pointers.
    dtype = _FakeDtype("f8", (3, "<", None, None, None, -1, -1, 63))
    data = pickle.dumps(
        _Reduce(
            RECONSTRUCT,
            np.ndarray,
            (0,),
            b"b",
            state=(1, (1,), dtype, False, b"\x01" * 8),
        ),
        protocol=2,
    )
    values = read_plain_pickle(b"\x80\x02}X\x01\0\0\0A" + data[2:-1] + b"s.")["A"]
    assert values.dtype == np.dtype("<f8") and not values.dtype.hasobject


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damaged_pickles_raise_or_give_numbers(data):
    whole = bytearray(pickle.dumps({"A": np.arange(3.0), "B": [1.0, 2.0]}, protocol=data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        content = read_plain_pickle(bytes(whole))
    except Exception:
        return
    assert all(type(name) is str for name in content)
    assert all(isinstance(vector, np.ndarray) and vector.dtype.kind in "fiub" for vector in content.values())


ONE = b"G" + struct.pack(">d", 1.0)


def _text(text):
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _nested(opening, closing, depth=12):
    """Each level holds the one before ten times, by the memory."""
    levels = b"".join(
        opening + b"".join(b"h" + bytes([i]) for _ in range(10)) + closing + b"\x94" for i in range(depth)
    )
    return b"\x80\x04}K\x01\x94" + levels


BOMBS = {
    "lists in lists": _nested(b"](", b"e") + b".",
    "tuples in tuples": _nested(b"(", b"t") + b".",
    "dicts in dicts": b"\x80\x04}\x94"
    + b"".join(b"}" + _text("A") + b"h" + bytes([i]) + b"s\x94" for i in range(9))
    + b".",
    "deep tuple as key": b"}" + b")" + b"\x85" * 2_000_000 + ONE + b"s.",
    "deep list": b"}" + _text("A") + b"]" * 2_000_000 + b"a" * 1_999_999 + b"s.",
    "marks": b"}" + b"(" * 2_000_000 + b".",
    "colliding keys": b"}("
    + b"".join(b"\x8a\x0a" + (i * (2**61 - 1)).to_bytes(10, "little") + b"]" for i in range(40_000))
    + b"u.",
    "colliding keys, one by one": b"}" + b"\x8a\x0a" + (2**61 - 1).to_bytes(10, "little") + b"]s.",
    "text of lists": b"}" + _text("A") + b"cbuiltins\nstr\n]\x85Rs.",
    "list of a text": b"}" + _text("A") + b"cbuiltins\nlist\n" + _text("x") + b"\x85Rs.",
    "long text as a float": b"}" + _text("A") + b"](cbuiltins\nfloat\n" + _text("1" * 10**6) + b"\x85Res.",
    "one text encoded often": b"("
    + _text("x" * 10**5)
    + b"q\0"
    + _text("latin1")
    + b"\x86q\1"
    + b"c_codecs\nencode\nh\1R" * 9000
    + b".",
    "a memory of a billion": b"}r" + struct.pack("<I", 2**30) + b".",
    "a memory with no end": b"}p" + b"9" * 300 + b"\n.",
    "an integer of ten million bytes": b"}"
    + _text("A")
    + b"](\x8b"
    + struct.pack("<i", 10**7)
    + b"\xff" * 10**7
    + b"es.",
    "an integer of a million digits": b"}" + _text("A") + b"](L" + b"9" * 10**6 + b"L\nes.",
    "set": b"}" + _text("A") + b"\x8fs.",
    "duplicate": b"}" + b"2" * 100 + b".",
    "list in itself": b"}" + _text("A") + b"]q\0h\0as.",
    "array altered twice": None,
    "one vector, many names": b"]("
    + ONE * 100_000
    + b"eq\0}("
    + b"".join(_text(str(i)) + b"h\0" for i in range(40_000))
    + b"u.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_soon_and_in_little_memory(name):
    data = BOMBS[name]
    if data is None:
        array = pickle.dumps(np.arange(3.0), protocol=2)[2:-1]
        state = array[array.rindex(b"(K\x01") : -1]
        data = b"\x80\x02}X\x01\0\0\0A" + array + state + b"bs."
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="Gene vectors in a pickle hold"):
            read_plain_pickle(data)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data) + 2e7
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "length", [b"\x8e" + struct.pack("<Q", 2**62), b"\x96" + struct.pack("<Q", 2**40), b"B\xff\xff\xff\xff"]
)
def test_lengths_beyond_the_file_ask_for_no_memory(length):
    with pytest.raises(EOFError):
        read_plain_pickle(b"\x80\x05}" + length + b"abc.")


def test_instructions_have_an_end(monkeypatch):
    monkeypatch.setattr(plain_pickle, "_MAX_INSTRUCTIONS", 1000)
    floats = {"A": np.arange(1e6).tolist()}  # some instructions a thousand numbers, so nearly all within the limit
    with pytest.raises(ValueError, match="more than 1000 instructions"):
        read_plain_pickle(pickle.dumps(floats))
    assert len(read_plain_pickle(pickle.dumps({"A": floats["A"][:90_000]}))["A"]) == 90_000


def test_names_can_share_a_vector():
    vector = [0.5] * 1000
    read = read_plain_pickle(pickle.dumps({"A": vector, "B": vector, "C": [1.0]}))
    assert read["A"].tolist() == read["B"].tolist() == vector
