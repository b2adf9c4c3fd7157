"""Text vectors on disk where something goes wrong: damage, other models' files, full disks, power cuts."""

import errno
import os
import shutil
import stat
import time
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shards import shards_of, some_texts, vectors_of

from skst.text import cache as cache_module
from skst.text.cache import VectorCache


def _damage(path, how):
    content = path.read_bytes()
    if how == "truncated":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = b""
    elif how == "flipped vector":
        at = content.rindex(np.float32(0.5).tobytes() * 8)
        content = content[:at] + b"\x01" + content[at + 1 :]
    elif how == "flipped text":
        # The texts' digests come first, behind two headers of together less than 256 bytes.
        content = content[:200] + bytes([content[200] ^ 255]) + content[201:]
    elif how == "noise":
        content = b"noise" * 100
    elif how == "pickle":
        content = b"\x80\x04cos\nsystem\n."
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "empty", "flipped vector", "flipped text", "noise", "pickle"])
@pytest.mark.parametrize("when", ["before", "after the index was read"])
def test_broken_shards_are_removed_and_made_again(tmp_path, how, when):
    texts = some_texts(0, 8)
    writer = VectorCache("m", tmp_path)
    writer.store(texts, np.full((8, 8), 0.5))
    (broken,) = shards_of(writer)
    writer.store(["whole"], np.ones((1, 8)))
    cache = VectorCache("m", tmp_path)
    if when != "before":
        cache.lookup(["absent"])
    _damage(broken, how)
    vectors, found = cache.lookup([*texts, "whole"])
    if how == "flipped text" and when != "before":
        # The index is right and the vectors are whole, so they are good.
        assert found.all()
        return
    assert found.tolist() == [False] * 8 + [True]
    np.testing.assert_array_equal(vectors, np.ones((1, 8)))
    assert not broken.exists()
    cache.store(texts, np.full((8, 8), 0.5))
    assert VectorCache("m", tmp_path).lookup(texts)[1].all()


@pytest.mark.parametrize(
    ("header", "damaged"),
    [
        (b"(200, 32)", b"(100, 32)"),
        (b"(200, 40)", b"(100, 40)"),
        (b"(200, 40)", b"(200, 20)"),
        (b"'<f4'", b"'<f2'"),
    ],
)
def test_an_array_that_ends_early_is_not_believed(tmp_path, header, damaged):
    """The container checks its CRC only where an array is read to its end."""
    texts = some_texts(0, 200)
    cache = VectorCache("m", tmp_path)
    cache.store(texts, vectors_of(texts, d=40))
    (shard,) = shards_of(cache)
    shard.write_bytes(shard.read_bytes().replace(header, damaged))
    assert not VectorCache("m", tmp_path).lookup(texts)[1].any()
    assert not shard.exists()


def _splice(path, **arrays):
    """Exchange arrays of a shard, and nothing else of it."""
    with np.load(path) as content:
        arrays, mark = {**content, **arrays}, content.zip.comment
    np.savez(path, **arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = mark


@pytest.mark.parametrize("open_before", [True, False])
@pytest.mark.parametrize("how", ["copied", "moved folder", "renamed", "unmarked", "vectors", "fewer", "rows", "texts"])
def test_a_shard_that_was_not_made_here_is_not_believed(tmp_path, how, open_before):
    texts = some_texts(0, 6)
    here, there = VectorCache("here", tmp_path), VectorCache("there", tmp_path)
    here.store(texts, vectors_of(texts))
    there.store(texts, -vectors_of(texts))
    (shard,), (other,) = shards_of(here), shards_of(there)
    reader = VectorCache("here", tmp_path)
    if open_before:
        assert reader.lookup(texts)[1].all()
    if how == "copied":
        shutil.copy(other, shard)
    elif how == "renamed":
        here.store(some_texts(6, 12), vectors_of(some_texts(6, 12)))
        next(path for path in shards_of(here) if path != shard).replace(shard)
    elif how == "moved folder":
        here.clear()
        other.rename(shard)
    elif how == "unmarked":  # as older versions made them
        np.savez(shard, **np.load(shard))
    elif how == "vectors":
        _splice(shard, vectors=-vectors_of(texts))
    elif how == "fewer":
        _splice(shard, vectors=vectors_of(texts)[:, :4])
    elif how == "rows":
        _splice(shard, vectors=vectors_of(texts)[::-1])
    else:
        _splice(shard, texts=np.load(shard)["texts"][::-1])
    # What is whole may be of use where it came from.
    stays = how in ("copied", "moved folder", "renamed", "unmarked")
    assert not reader.lookup(texts)[1].any()
    assert shard.exists() == stays
    reader.store(texts, vectors_of(texts))
    for cache in (reader, VectorCache("here", tmp_path)):
        np.testing.assert_array_equal(cache.lookup(texts)[0], vectors_of(texts))


def test_other_models_shards_hide_none_and_are_not_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_MAX_SHARDS", 3)
    here, there = VectorCache("here", tmp_path), VectorCache("there", tmp_path)
    texts = some_texts(0, 6)
    there.store(texts, -vectors_of(texts))
    here.store(texts, vectors_of(texts))
    for i in range(8):
        shutil.copy(shards_of(there)[0], here.path / f"{i:x}.npz")
    savez, written = np.savez, []
    monkeypatch.setattr(
        cache_module.np, "savez", lambda file, **arrays: (written.append(len(arrays["texts"])), savez(file, **arrays))
    )
    for i in range(6):
        reader = VectorCache("here", tmp_path)
        np.testing.assert_array_equal(reader.lookup([*texts, "absent"])[0], vectors_of(texts))
        reader.store(texts[i:], vectors_of(texts[i:]))
    assert len(shards_of(here)) == 8 + 1
    assert written == [6, 5, 4, 6, 3, 2, 1, 6]


def test_a_broken_shard_hides_no_other(tmp_path):
    texts = some_texts(0, 8)
    cache = VectorCache("m", tmp_path)
    for _ in range(2):
        cache.store(texts, np.full((8, 8), 0.5))
    whole = [path.read_bytes() for path in shards_of(cache)]
    for i in range(2):
        for path, content in zip(shards_of(cache), whole, strict=True):
            path.write_bytes(content)
        broken = shards_of(cache)[i]
        reader = VectorCache("m", tmp_path)
        assert reader.lookup(texts)[1].all()
        _damage(broken, "flipped vector")
        assert reader.lookup(texts)[1].all()
        broken.write_bytes(whole[i])


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_no_damage_gives_a_wrong_vector(tmp_path_factory, data):
    texts = some_texts(0, 3)
    cache = VectorCache("m", tmp_path_factory.mktemp("cache"))
    cache.store(texts, vectors_of(texts, d=3))
    (path,) = shards_of(cache)
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    flipped = bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :]
    truncated = data.draw(st.booleans())
    path.write_bytes(content[:at] + (b"" if truncated else flipped))
    for reader in (cache, VectorCache("m", cache.path.parent)):
        vectors, found = reader.lookup(texts)
        assert not (truncated and found.any())
        np.testing.assert_array_equal(vectors, vectors_of(texts, d=3)[found] if found.any() else np.empty((0, 0)))


def _bad_directory(tmp_path, kind):
    bad = tmp_path / "bad"
    if kind == "file":
        bad.write_text("a file where the directory should be")
    elif kind == "under a file":
        (tmp_path / "file").touch()
        bad = tmp_path / "file" / "cache"
    elif kind == "file of the model":
        VectorCache("m", bad).path.parent.mkdir()
        VectorCache("m", bad).path.touch()
    elif kind == "dangling link":
        bad.symlink_to(tmp_path / "gone")
    elif kind == "loop":
        bad.symlink_to(bad)
    return bad


@pytest.mark.parametrize("kind", ["file", "under a file", "file of the model", "dangling link", "loop"])
def test_a_directory_that_cannot_be_written_warns_once(tmp_path, kind):
    bad = _bad_directory(tmp_path, kind)
    with pytest.warns(UserWarning, match="cannot be cached in .* set SKST_CACHE_HOME.* space.$") as warned:
        for cache in (VectorCache("m", bad), VectorCache("m", bad)):
            cache.store(["a"], [[1.0]])
            cache.store(["b"], [[1.0]])
            assert not cache.lookup(["a", "b"])[1].any()
            cache.clear()
    assert len(warned) == 1 and ". " not in str(warned[0].message)


def test_a_directory_that_disappears_is_made_again(tmp_path):
    cache = VectorCache("m", tmp_path / "cache")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for gone in (cache.path, tmp_path / "cache"):
            cache.store(["a"], [[1.0]])
            shutil.rmtree(gone)
            assert not cache.lookup(["a"])[1].any()
        cache.store(["b"], [[1.0]])
    assert VectorCache("m", tmp_path / "cache").lookup(["b"])[1].all()


def test_a_shard_is_on_the_disk_before_it_has_its_name_and_before_others_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_MAX_SHARDS", 1)
    cache = VectorCache("m", tmp_path)
    cache.store(["a"], [[1.0]])
    calls = []

    def note(owner, name, tell):
        call = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **kwargs: (calls.append(tell(*args)), call(*args, **kwargs))[1])

    def tell_sync(fd):
        state = os.fstat(fd)
        return "sync folder" if stat.S_ISDIR(state.st_mode) else f"sync {state.st_size}"

    note(os, "fsync", tell_sync)
    note(os, "replace", lambda source, target: f"rename {os.stat(source).st_size}")
    note(cache_module.Path, "unlink", lambda path: "delete")
    cache.store(["b"], [[2.0]])
    (merged,) = shards_of(cache)
    size = merged.stat().st_size
    assert [call.split()[0] for call in calls[:3]] == ["sync", "rename", "sync"]
    assert calls[3:] == [f"sync {size}", f"rename {size}", "sync folder", "delete", "delete"]

    def refuse(fd):
        raise OSError(errno.EINVAL, "this file system cannot")

    monkeypatch.setattr(os, "fsync", refuse)
    cache.store(["c"], [[3.0]])
    assert VectorCache("m", tmp_path).lookup(["a", "b", "c"])[1].all()


def _fail(file, **arrays):
    file.write(b"half of it")
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("disk", ["free", "full"])
def test_leftovers_of_killed_processes_are_swept(tmp_path, monkeypatch, disk):
    cache = VectorCache("m", tmp_path)
    cache.store(["a"], [[1.0]])
    for name in ("young.part", "0.npz.1f.part", "about.json.9.part", "some.part"):
        (cache.path / name).write_bytes(shards_of(cache)[0].read_bytes())
        os.utime(cache.path / name, None if name == "young.part" else (time.time() - 4000,) * 2)
    if disk == "full":
        monkeypatch.setattr(cache_module.np, "savez", _fail)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        VectorCache("m", tmp_path).store(["b"], [[1.0]])
    assert [path.name for path in cache.path.glob("*.part")] == ["young.part"]


def test_a_full_disk_warns_once_leaves_nothing_behind_and_is_tried_again(tmp_path, monkeypatch):
    cache = VectorCache("m", tmp_path)
    cache.store(["a"], [[1.0]])
    monkeypatch.setattr(cache_module.np, "savez", _fail)
    with pytest.warns(UserWarning, match="No space left on device") as warned:
        cache.store(["b"], [[2.0]])
        cache.store(["c"], [[2.0]])
    assert len(warned) == 1
    assert len(shards_of(cache)) == 1 and not list(cache.path.glob("*.part"))
    assert cache.lookup(["a", "b"])[1].tolist() == [True, False]
    monkeypatch.undo()
    cache.store(["d"], [[2.0]])
    for reader in (cache, VectorCache("m", tmp_path)):
        assert reader.lookup(["a", "c", "d"])[1].tolist() == [True, False, True]


def test_a_merge_that_fails_is_not_tried_again_at_each_store(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_MAX_SHARDS", 2)
    cache = VectorCache("m", tmp_path)
    savez, merges = np.savez, []

    def fail_on_merge(file, **arrays):
        if len(arrays["texts"]) > 1:
            merges.append(len(arrays["texts"]))
            _fail(file)
        savez(file, **arrays)

    monkeypatch.setattr(cache_module.np, "savez", fail_on_merge)
    with pytest.warns(UserWarning, match="No space left") as warned:
        for text in "abcdefghi":
            cache.store([text], [[1.0]])
    assert merges == [3, 6, 9] and len(warned) == 1
    assert cache.lookup(list("abcdefghi"))[1].all()


def test_a_read_that_fails_is_tried_again(tmp_path, monkeypatch):
    cache = VectorCache("m", tmp_path)
    cache.store(["a"], [[1.0]])
    for fault in (OSError(24, "Too many open files"), MemoryError(), LookupError("unknown encoding: cp437")):
        monkeypatch.setattr(cache_module.np, "load", lambda path, fault=fault, **options: (_ for _ in ()).throw(fault))
        assert not cache.lookup(["a"])[1].any()
        monkeypatch.undo()
        assert cache.lookup(["a"])[1].all()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser writes anywhere")
def test_a_read_only_cache_is_still_read(tmp_path):
    cache = VectorCache("m", tmp_path)
    cache.store(["a"], [[1.0]])
    cache.path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.warns(UserWarning, match="cannot be cached"):
            cache.store(["b"], [[1.0]])
        assert VectorCache("m", tmp_path).lookup(["a"])[1].all()
    finally:
        cache.path.chmod(stat.S_IRWXU)
