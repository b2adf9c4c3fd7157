"""Attacks on files of gene vectors: archives of numpy, texts, pickles."""

import contextlib
import csv
import gzip
import io
import os
import pickle
import warnings
import zipfile
import zlib

import numpy as np

from skst.genes.table import read_gene_vectors

from .arena import Kind
from .mutations import altered, damaged, pick
from .verdict import HELD, Failure, require

_NAMES = [f"GENE{i}" for i in range(12)]
_VECTORS = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


def _read(path, content):
    path.write_bytes(content)
    return read_gene_vectors(path)


def _check(read, names, vectors, exact=True):
    """Compare a table with what its file says; the last vector of each name counts."""
    said = dict(zip(names, np.asarray(vectors, dtype=np.float32), strict=True))
    got_names, got = read
    require(got.ndim == 2 and got.dtype == np.float32 and np.isfinite(got).all(), f"{got.dtype} of {got.shape}")
    require(sorted(got_names) == sorted(said), f"names {list(got_names)[:3]} for {list(said)[:3]}")
    expected = np.array([said[name] for name in got_names]).reshape(len(got_names), -1)
    require(got.shape == expected.shape, f"shape {got.shape} for {expected.shape}")
    same = np.array_equal(got, expected) if exact else np.allclose(got, expected, rtol=1e-6, atol=1e-38)
    require(same, "other numbers than the file has")
    return HELD


def _is_original(read):
    return list(read[0]) == _NAMES and np.array_equal(read[1], _VECTORS)


# Archives of numpy


def _npz(rng, folder, kept):
    genes, vectors = np.array(_NAMES), _VECTORS
    if rng.random() < 0.5:
        genes, vectors = (altered(array, rng) if rng.random() < 0.5 else array for array in (genes, vectors))
    file = io.BytesIO()
    pick(rng, (np.savez, np.savez_compressed))(file, genes=genes, vectors=vectors)
    content = file.getvalue()
    way = rng.random()
    if way < 0.3:
        content = damaged(content, rng, kept)
    elif way < 0.6:
        content = _rewritten(content, rng)
    read = _read(folder / "a.npz", content)
    if _is_original(read):
        return HELD
    with np.load(folder / "a.npz", allow_pickle=False) as file:
        return _check(read, file["genes"].astype(str).tolist(), file["vectors"])


def _rewritten(content, rng):
    """The archive with members that are damaged before their checksums are taken, doubled, or that unfold far."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            member = old.read(info)
            how = int(rng.integers(6))
            if how == 0:
                member = damaged(member, rng)
            elif how == 1:
                head = bytearray(member)  # a header that declares something else
                at = member.index(b"{") + int(rng.integers(40))
                head[at] = int(rng.integers(32, 127))
                member = bytes(head)
            elif how == 2:
                member = _declared(member, pick(rng, ("(12,)", "(99999999999,)", "(-12,)", "(4, 3)", "(2, 2**60)")))
            elif how == 3 and rng.random() < 0.1:
                member += bytes(2**28)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for _ in range(2 if how == 4 else 1):
                    new.writestr(info.filename, member)
    return file.getvalue()


def _declared(member, shape):
    start, stop = member.index(b"(", 60), member.index(b")", 60) + 1
    width = stop - start
    text = shape.encode()
    if len(text) > width:
        # Headers end in blanks, which make room.
        return member[:start] + text + member[stop:].replace(b" " * (len(text) - width) + b"\n", b"\n", 1)
    return member[:start] + text.ljust(width) + member[stop:]


def _one_npz(folder):
    file = io.BytesIO()
    np.savez(file, genes=np.array(_NAMES[::-1]), vectors=_VECTORS[::-1] * 2)
    return file.getvalue()


# Texts

_FIELDS = (
    *("", " ", "NA", "nan", "inf", "-inf", "1e999", "1e-999", "0x10", "1_000", "true", '"', '"a', "'", "#", "é"),
    *("\ufeff", "\r", "\r\n", "\n\n", ",,,", "\t", "1,5", "1.5.2", "=cmd()", "9" * 400, "1" + "0" * 30, "\0"),
)


def _text(rng, folder, kept):
    tab, packed = rng.random() < 0.5, rng.random() < 0.5
    separator = "\t" if tab else ","
    fields = [[name, *map(repr, row)] for name, row in zip(_NAMES, _VECTORS.tolist(), strict=True)]
    if rng.random() < 0.5:
        fields.insert(0, ["gene", *(f"dim{i}" for i in range(5))])
    for _ in range(int(rng.integers(3))):
        row = pick(rng, fields)
        how = int(rng.integers(4))
        if how == 0:
            row[int(rng.integers(len(row)))] = pick(rng, _FIELDS)
        elif how == 1:
            row.append(pick(rng, _FIELDS))
        elif how == 2 and len(row) > 1:
            row.pop()
        else:
            fields.append(pick(rng, fields))
    content = pick(rng, ("\n", "\r\n")).join(separator.join(row) for row in fields).encode()
    if rng.random() < 0.4:
        content = damaged(content, rng, kept)
    if rng.random() < 0.02:
        content += pick(rng, (b"a" * 2**23, b",1" * 70_000, b"a,1\n" * 2**21, bytes(2**29)))
    name = f"a.{'tsv' if tab else 'csv'}"
    if packed:
        content, name = gzip.compress(content, 1), f"{name}.gz"
        if rng.random() < 0.4:
            content = damaged(content, rng, gzip.compress(kept, 1))
    read = _read(folder / name, content)
    if _is_original(read):
        return HELD
    if packed:
        content = gzip.decompress(content)
    rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=separator)]
    rows = [row for row in rows if len(row) > 1 or "".join(row).strip()]
    names, numbers = [row[0] for row in rows], [row[1:] for row in rows]
    if len(names) != len(set(read[0])) and not _are_numbers(numbers[0]) or names[0] not in read[0]:
        names, numbers = names[1:], numbers[1:]
    try:
        numbers = [[float(field) for field in row] for row in numbers]
    except ValueError as error:
        raise Failure("wrong", f"accepted, though {error}") from None
    return _check(read, names, numbers, exact=False)


def _are_numbers(fields):
    with contextlib.suppress(ValueError):
        return bool([float(field) for field in fields])
    return False


def _one_text(folder):
    return b"".join(b"OTHER%d,%d,2,3,4,5\n" % (i, i) for i in range(12))


# Pickles


class _Run:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.parts = function, args

    def __reduce__(self):
        return self.parts


class _Plain(pickle.Unpickler):
    """Python's own reading, with nothing to call but what makes arrays."""

    def find_class(self, module, name):
        if module.startswith("numpy") and name in ("ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer"):
            return super().find_class(module, name)
        if (module, name) in (("_codecs", "encode"), ("__builtin__", "str"), ("builtins", "float")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(name)


def _pickle(rng, folder, kept):
    marker = folder / "executed"
    rows = dict(zip(_NAMES, _VECTORS.astype(pick(rng, ("f4", "f8", ">f4"))), strict=True))
    if rng.random() < 0.5:
        rows = {name: row.tolist() for name, row in rows.items()}
    if rng.random() < 0.3:
        calls = (os.system, f"touch {marker}"), (open, str(marker), "w"), (exec, f"open({str(marker)!r}, 'w')")
        call = pick(rng, calls)
        key = pick(rng, _NAMES)
        rows[key] = pick(rng, (_Run(*call), [_Run(*call)], {"a": _Run(*call)}, np.array([_Run(*call)], dtype=object)))
    content = pickle.dumps(rows, protocol=int(rng.integers(6)))
    way = rng.random()
    if way < 0.5:
        content = damaged(content, rng, kept)
    elif way < 0.7:
        content = _reordered(content, rng)
    elif way < 0.8:
        content = pick(rng, _BOMBS)
    try:
        read = _read(folder / "a.pickle", content)
    finally:
        require(not marker.exists(), "a pickle was run")
    if _is_original(read):
        return HELD
    try:
        said = _Plain(io.BytesIO(_without_frame(content))).load()
    except Exception:  # what was damaged is not needed for the numbers, such as the version of a pickled array
        return _check(read, *read)
    return _check(read, list(said), [np.asarray(row, dtype=np.float32) for row in said.values()])


def _without_frame(content):
    """What a frame tells is how much to read at once, which is nothing about the content."""
    return content[:2] + content[11:] if content[2:3] == b"\x95" else content


def _reordered(content, rng):
    """Instructions of pickles thrown in."""
    content = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(content)))
        content[at:at] = pick(rng, _INSTRUCTIONS) * int(2 ** rng.uniform(0, 5))
    return bytes(content)


_INSTRUCTIONS = (
    *(b"(", b")", b"]", b"}", b"0", b"1", b"2", b"a", b"e", b"s", b"u", b"t", b"N", b"R", b"b", b"\x93", b"\x94"),
    *(b"h\0", b"q\0", b"j\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f", b"K\1", b"\x85", b"\x86", b"\x87", b"\x81", b"."),
    *(b"cos\nsystem\n", b"X\4\0\0\0GENE", b"B\xff\xff\xff\xff", b"\x8e" + b"\xff" * 8, b"\x96" + b"\xff" * 8),
)
_BOMBS = (
    b"\x80\x04}" + b"\x8c\1a(" * 10_000 + b".",
    b"\x80\x04](]" + b"q\0h\0h\0e" * 5_000 + b".",
    b"\x80\x02}U\1a]" + b"(" + b"K\1" * 10_000 + b"es" + b"h\0" * 10 + b".",
    b"\x80\x04" + b"\x8a\xff" + b"\x7f" * 255 + b".",
    b"I" + b"9" * 10**6 + b"\n.",
    b"\x80\x04" + b")" * 90_000 + b"\x86" * 80_000 + b".",
    b"\x80\x04]" + b"\x94" * 10**6 + b".",
    b"\x80\x04" + b"N" * 10**6 + b".",
    b"p999999999\n" * 3 + b".",
    b"\x80\x04]r\xff\xff\xff\xff.",
    zlib.compress(b"\x80\x04}."),
    b"",
)


def _one_pickle(folder):
    return pickle.dumps({"OTHER": [1.0, 2.0], "GENE1": np.arange(5.0)})


KINDS = [
    Kind("vectors, npz", _npz, _one_npz),
    Kind("vectors, text", _text, _one_text),
    Kind("vectors, pickle", _pickle, _one_pickle),
]
