"""An HDF5 file that ends the process that reads it is read by another process first."""

import os
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from rehearsing import STARTS_A_PROGRAM

from skst.files import rehearsal
from skst.files.hdf5 import open_h5
from skst.files.rehearsal import survives

# A library that does to its process what libhdf5 was seen to do over damaged files.
DEEDS = {
    "segmentation fault": "ctypes.string_at(0)",
    "abort": "os.abort()",
    "no end": "while True: pass",
    "any memory": "bytearray(2**34)",
}


@pytest.fixture(autouse=True)
def _as_for_users(monkeypatch):
    monkeypatch.setattr(rehearsal, "_words_of", STARTS_A_PROGRAM)


def _library(folder, deed):
    (folder / "h5py.py").write_text(f"import ctypes, os, resource\ndef File(path, mode):\n    {deed}\n")


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(9.0)
        file["texts"] = np.array([["a", "b"]] * 3, dtype=object)
        file["texts"].attrs["note"] = "text"
        file["group/again"] = file["numbers"]
        file["link"] = h5py.ExternalLink("/etc/passwd", "/x")
        file.create_dataset("declared", shape=(10**12,), dtype=h5py.string_dtype(), chunks=True)
        file["group"].attrs["text"] = "x"
    return path


@pytest.fixture
def hurried(tmp_path, monkeypatch):
    """The program of the other process, with one second for a read; seconds."""
    assert 1 < rehearsal._SECONDS < 4
    program = tmp_path / "hurried.py"
    text = Path(rehearsal.__file__).read_text("utf-8")
    program.write_text(text.replace(f"_SECONDS = {rehearsal._SECONDS} ", "_SECONDS = 1 "), "utf-8")
    monkeypatch.setattr(rehearsal, "__file__", str(program))
    assert program.read_text("utf-8").count("_SECONDS = 1 ") == 1
    return 1


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are known of Linux")
@pytest.mark.parametrize("deed", DEEDS)
def test_a_process_that_dies_is_not_this_one(whole, hurried, tmp_path, monkeypatch, deed):
    folder = tmp_path / "library"
    folder.mkdir()
    _library(folder, DEEDS[deed])
    monkeypatch.syspath_prepend(folder)
    assert not survives(whole, 2**28)


def test_a_file_whose_reading_ends_is_whole(whole, tmp_path, monkeypatch):
    assert survives(whole, 2**28)
    rehearsal._SURVIVED.clear()
    folder = tmp_path / "library"
    folder.mkdir()
    _library(folder, "raise RuntimeError('no file')")
    monkeypatch.syspath_prepend(folder)
    assert survives(whole, 2**28)  # whoever reads it meets the error


def test_a_file_is_rehearsed_once_until_it_changes(whole, monkeypatch):
    asked, words = [], rehearsal._words_of
    monkeypatch.setattr(rehearsal, "_words_of", lambda *told: asked.append(told) or words(*told))
    assert survives(whole, 2**28) and survives(str(whole), 2**28) and len(asked) == 1
    assert survives(whole, 2**27) and len(asked) == 2
    # Another content of the same size and time, in the place of the file and in the file.
    stat, content = whole.stat(), whole.read_bytes()
    for write in (lambda: whole.unlink() or whole.write_bytes(content), lambda: whole.write_bytes(content[::-1])):
        before = len(asked)
        write()
        os.utime(whole, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert survives(whole, 2**28) and len(asked) == before + 1


def test_what_did_not_come_back_is_asked_again(whole, monkeypatch):
    told = iter(["begun\n", "begun\n", "begun\ndone\n"])
    monkeypatch.setattr(rehearsal, "_words_of", lambda *command: next(told))
    assert [survives(whole, 2**28) for _ in range(4)] == [False, False, True, True]


# Four names, each found to lead nowhere after half a second.
SLOW = """
import time
class HardLink: pass
class File:
    attrs = {}
    def __init__(self, path, mode): pass
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def __iter__(self): return iter("abcd")
    def get(self, key, getlink): return HardLink()
    def __getitem__(self, key):
        until = time.process_time() + 0.5
        while time.process_time() < until: pass
        raise KeyError(key)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of time are known of Linux")
def test_a_long_file_has_more_time_than_one_read(whole, hurried, tmp_path, monkeypatch):
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "h5py.py").write_text(SLOW)
    monkeypatch.syspath_prepend(folder)
    assert 4 * 0.5 > hurried and survives(whole, 2**28)


def test_all_attributes_and_texts_are_read(whole, monkeypatch):
    read = []
    monkeypatch.setattr(rehearsal, "_allow", lambda: None)  # seconds of this process, which goes on with other tests
    monkeypatch.setattr(rehearsal, "_try", lambda do, *what: read.append((do.__name__, what[0])) or do(*what))
    with h5py.File(whole) as file:
        rehearsal._read_group(file, 2**28, set())
        names = sorted(what.name for do, what in read if do == "_read_dataset")
    assert names == ["/declared", "/numbers", "/texts"] or names == ["/declared", "/group/again", "/texts"]
    assert sum(do == "dict" for do, _ in read) == 5  # the root, a group and three datasets


def test_where_no_process_can_be_started_files_are_read(whole, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert survives(whole, 2**28)
    monkeypatch.setattr(sys, "executable", "")
    assert survives(whole, 2**28)


def test_such_a_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a"] = [1]
    monkeypatch.setattr(rehearsal, "_words_of", lambda command, seconds: "begun\n")
    with pytest.raises(ValueError, match="does not come back from reading it; get it again"):
        open_h5(path)


def test_pieces_that_are_only_declared_are_counted(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("few", shape=(100, 50), chunks=(1, 1), dtype="i1")
    open_h5(path).close()
    with h5py.File(path, "a") as file:
        file.create_dataset("many", shape=(7, 1, 516_662), chunks=(1, 1, 1), dtype="i1")
    with pytest.raises(ValueError, match="'/many' declares 3616634 pieces"):
        open_h5(path)
