"""Heaps of HDF5 files whose objects do not follow each other are found before the library walks them."""

import mmap
import struct

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skst.files import heaps
from skst.files.hdf5 import open_h5
from skst.files.heaps import has_broken_heap
from skst.genes import read_gene_vectors


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("heaps") / "a.h5ad"
    names = [f"spot{i}" * (1 + i % 5) for i in range(300)]
    anndata.AnnData(np.ones((300, 2), dtype=np.float32), obs=pd.DataFrame(index=names)).write_h5ad(path)
    return path.read_bytes()


def _heap(content):
    start = content.index(b"GCOL")
    return start, struct.unpack("<Q", content[start + 8 : start + 16])[0]


def test_whole_files_pass(content, tmp_path):
    path = tmp_path / "a.h5ad"
    path.write_bytes(content)
    assert content.count(b"GCOL") > 1 and not has_broken_heap(path)
    for libver in ("earliest", "latest"):
        with h5py.File(tmp_path / "b.h5", "w", libver=libver) as file:
            file["texts"] = [f"{i}" * i for i in range(400)]
            file["texts"].attrs["more"] = ["a" * i for i in range(200)]
        assert not has_broken_heap(tmp_path / "b.h5")
    for other in (b"", b"GCOL\1\0\0\0" * 9, content[:100]):
        path.write_bytes(other)
        assert not has_broken_heap(path)


def test_an_object_without_an_end_is_refused(content, tmp_path):
    start, _ = _heap(content)
    size = struct.unpack("<Q", content[start + 24 : start + 32])[0]
    second = start + 32 + -(-size // 8) * 8  # after the first object
    for place, value in ((second, bytes(16)), (second + 8, b"\xff" * 8), (start + 8, struct.pack("<Q", 2**40))):
        path = tmp_path / "a.h5ad"
        path.write_bytes(content[:place] + value + content[place + len(value) :])
        assert has_broken_heap(path)
        for read in (open_h5, read_gene_vectors):
            with pytest.raises(ValueError, match="its texts do not follow each other; get it again"):
                read(path)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_damage_of_a_heap_goes_on_for_ever(content, tmp_path_factory, data):
    start, size = _heap(content)
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(start, start + size - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.h5ad"
    path.write_bytes(damaged)
    has_broken_heap(path)  # ends


def test_data_that_are_stored_in_part_are_refused(tmp_path):
    path = tmp_path / "a.h5ad"
    anndata.AnnData(np.arange(72, dtype=np.float32).reshape(9, 8)).write_h5ad(path)
    content = path.read_bytes()
    size = struct.pack("<Q", 288)
    at = [i for i in range(len(content)) if content.startswith(size, i)]
    for place in at:
        path.write_bytes(content[:place] + struct.pack("<Q", 256) + content[place + 8 :])
        with pytest.raises(ValueError, match="declares 288 bytes and stores 256"):
            read_gene_vectors(path)
    assert len(at) == 1


@pytest.mark.parametrize("offset", range(-9, 3))
def test_heaps_across_windows_are_found_once(offset, content, tmp_path, monkeypatch):
    monkeypatch.setattr(heaps, "_WINDOW", mmap.PAGESIZE)
    path = tmp_path / "a.h5ad"
    path.write_bytes(content)
    assert not has_broken_heap(path)
    start, _ = _heap(content)
    head, broken = content[:start], content[start : start + 8] + b"\xff" * 8
    path.write_bytes(head.ljust(start + (-start) % mmap.PAGESIZE + mmap.PAGESIZE + offset, b"\0") + broken)
    assert has_broken_heap(path)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        assert len(list(heaps._heaps_of(whole))) == 1
