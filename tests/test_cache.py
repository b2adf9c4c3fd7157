import json
import os
import stat
import time
import warnings
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skst.genes import cache as cache_module
from skst.genes.cache import VectorCache


def _vectors(texts, d=8):
    """A vector that only its text decides."""
    return np.stack([np.random.default_rng(zlib.crc32(text.encode())).random(d) for text in texts]).astype("f4")


def _texts(start, stop):
    return [f"gene {i}" for i in range(start, stop)]


def _shards(cache):
    return sorted(cache.path.glob("*.npz"))


def test_what_is_stored_is_found_by_another_cache(tmp_path):
    texts = ["insulin", "", "häm\n", "\ud800", "insulin " * 500]
    vectors = np.arange(40, dtype=np.float64).reshape(5, 8) / 3
    VectorCache("m", tmp_path).store(texts, vectors)
    cache = VectorCache("m", tmp_path)
    found_vectors, found = cache.lookup(["new", *texts[::-1], "insulin"])
    assert found.tolist() == [False] + [True] * 6
    np.testing.assert_array_equal(found_vectors, np.float32(vectors)[[4, 3, 2, 1, 0, 0]])
    assert found_vectors.dtype == np.float32
    assert (cache.hits, cache.misses) == (6, 1)


def test_models_do_not_share_vectors(tmp_path):
    one, other = VectorCache("one", tmp_path), VectorCache("other", tmp_path)
    one.store(["a"], [[1.0]])
    assert not other.lookup(["a"])[1].any()
    assert json.loads((one.path / "about.json").read_text())["model"] == "one"


def test_default_directory_is_the_cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("SKST_CACHE_HOME", str(tmp_path / "home"))
    cache = VectorCache("m")
    cache.store(["a"], [[1.0]])
    assert len(list((tmp_path / "home" / "vectors").rglob("*.npz"))) == 1


@pytest.mark.parametrize("key", [None, "", 3])
def test_key_must_be_a_text(key, tmp_path):
    with pytest.raises(ValueError, match="key="):
        VectorCache(key, tmp_path)


def test_vectors_must_fit_the_texts(tmp_path):
    cache = VectorCache("m", tmp_path)
    with pytest.raises(ValueError, match=r"shape \(1, 2\) for 2 texts"):
        cache.store(["a", "b"], np.ones((1, 2)))
    cache.store([], np.empty((0, 2)))
    assert not cache.path.exists()


def test_a_later_store_is_seen_by_an_open_cache(tmp_path):
    reader, writer = VectorCache("m", tmp_path), VectorCache("m", tmp_path)
    assert not reader.lookup(["a"])[1].any()
    writer.store(["a"], [[1.0]])
    assert reader.lookup(["a"])[1].all()


def test_shards_are_not_read_again_for_what_is_known(tmp_path, monkeypatch):
    cache = VectorCache("m", tmp_path)
    for i in range(5):
        cache.store(_texts(i, i + 1), np.ones((1, 2)))
    opened = []
    load = np.load
    monkeypatch.setattr(cache_module.np, "load", lambda path, **options: opened.append(path) or load(path, **options))
    assert cache.lookup(_texts(2, 3))[1].all()
    assert len(opened) == 1


def test_lengths_that_differ_under_one_key_are_an_error(tmp_path):
    cache = VectorCache("m", tmp_path)
    cache.store(["a"], np.ones((1, 2)))
    cache.store(["b"], np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"vectors of \[2, 3\] numbers"):
        cache.lookup(["a", "b"])


def test_clear(tmp_path):
    cache = VectorCache("m", tmp_path)
    cache.store(["a"], [[1.0]])
    young, old = cache.path / "young.part", cache.path / "old.part"
    young.touch()
    old.touch()
    os.utime(old, (0, 0))
    cache.lookup(["a"])
    cache.clear()
    assert (cache.hits, cache.misses) == (0, 0)
    assert not cache.lookup(["a"])[1].any()
    assert list(cache.path.iterdir()) == [young]
    VectorCache("never written", tmp_path).clear()


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
    texts = _texts(0, 8)
    writer = VectorCache("m", tmp_path)
    writer.store(texts, np.full((8, 8), 0.5))
    (broken,) = _shards(writer)
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


def test_a_shard_of_another_form_is_ignored(tmp_path):
    cache = VectorCache("m", tmp_path)
    cache.store(["a"], [[1.0]])
    np.savez(cache.path / "objects.npz", texts=np.array([None]), vectors=np.ones((1, 1)))
    np.savez(cache.path / "short.npz", texts=np.zeros((2, 32), np.uint8), vectors=np.ones((1, 1), np.float32))
    assert VectorCache("m", tmp_path).lookup(["a", "b"])[1].tolist() == [True, False]


def test_many_shards_are_merged_without_loss(tmp_path):
    cache = VectorCache("m", tmp_path)
    texts = _texts(0, 150)
    for i in range(0, 150, 2):
        cache.store(texts[i : i + 2], _vectors(texts[i : i + 2]))
    assert len(_shards(cache)) <= cache_module._MAX_SHARDS
    for reader in (cache, VectorCache("m", tmp_path)):
        vectors, found = reader.lookup(texts)
        assert found.all()
        np.testing.assert_array_equal(vectors, _vectors(texts))


def test_an_open_cache_survives_a_merge_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_MAX_SHARDS", 3)
    reader, writer = VectorCache("m", tmp_path), VectorCache("m", tmp_path)
    texts = _texts(0, 4)
    for text in texts[:3]:
        writer.store([text], _vectors([text]))
    assert reader.lookup(texts[:3])[1].all()
    writer.store(texts[3:], _vectors(texts[3:]))
    assert len(_shards(writer)) == 1
    vectors, found = reader.lookup(texts)
    assert found.all()
    np.testing.assert_array_equal(vectors, _vectors(texts))


def test_a_merge_that_fails_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_MAX_SHARDS", 2)
    cache = VectorCache("m", tmp_path)
    savez, load = np.savez, np.load

    def fail_on_merge(file, **arrays):
        if len(arrays["texts"]) > 1:
            raise OSError(28, "No space left on device")
        savez(file, **arrays)

    monkeypatch.setattr(cache_module.np, "savez", fail_on_merge)
    with pytest.warns(UserWarning, match="No space left"):
        for text in "abc":
            cache.store([text], np.ones((1, 2)))
    assert VectorCache("m", tmp_path).lookup(list("abc"))[1].all()

    # A shard that a passing fault of the disk hides from the merge stays too.
    monkeypatch.undo()
    monkeypatch.setattr(cache_module, "_MAX_SHARDS", 2)
    hidden = _shards(cache)[0]

    def fail_on_hidden(path, **options):
        if path == hidden:
            raise OSError(5, "Input/output error")
        return load(path, **options)

    monkeypatch.setattr(cache_module.np, "load", fail_on_hidden)
    VectorCache("m", tmp_path).store(["d"], np.ones((1, 2)))
    monkeypatch.undo()
    assert len(_shards(cache)) == 2
    assert VectorCache("m", tmp_path).lookup(list("abcd"))[1].all()


def test_large_shards_are_not_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_MAX_SHARDS", 2)
    monkeypatch.setattr(cache_module, "_MERGE_BELOW", 4000)
    cache = VectorCache("m", tmp_path)
    cache.store(_texts(0, 50), np.ones((50, 100)))
    (large,) = _shards(cache)
    for i in range(100, 104):
        cache.store(_texts(i, i + 1), np.ones((1, 100)))
    assert large in _shards(cache)
    assert len(_shards(cache)) <= 1 + 2
    assert cache.lookup(_texts(0, 50) + _texts(100, 104))[1].all()


def _write_and_read(directory, seed):
    """Store and look up overlapping texts; the worst that was found."""
    cache_module._MAX_SHARDS = 4
    rng = np.random.default_rng(seed)
    cache = VectorCache("m", directory)
    for _ in range(25):
        numbers = rng.integers(0, 60, size=5)
        texts = [f"gene {i}" for i in numbers]
        cache.store(texts, np.repeat(numbers[:, None], 6, axis=1))
        vectors, found = cache.lookup(texts)
        if not found.all() or not (vectors == numbers[:, None]).all():
            return f"stored {texts}, found {found} {vectors}"
    return ""


def test_several_processes_write_merge_and_read_at_once(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
            faults = list(pool.map(_write_and_read, [tmp_path] * 3, range(3)))
    assert faults == [""] * 3
    cache = VectorCache("m", tmp_path)
    vectors, found = cache.lookup(_texts(0, 60))
    np.testing.assert_array_equal(vectors[:, 0], np.flatnonzero(found))
    assert not list(cache.path.glob("*.part"))


def test_a_directory_that_cannot_be_written_warns_once(tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the directory should be")
    cache = VectorCache("m", blocked)
    with pytest.warns(UserWarning, match="cannot be cached in .* set SKST_CACHE_HOME"):
        cache.store(["a"], [[1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.store(["b"], [[1.0]])
        assert not cache.lookup(["a", "b"])[1].any()


def test_a_full_disk_warns_once_and_leaves_nothing_behind(tmp_path, monkeypatch):
    cache = VectorCache("m", tmp_path)
    cache.store(["a"], [[1.0]])

    def fail(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.np, "savez", fail)
    with pytest.warns(UserWarning, match="No space left on device"):
        cache.store(["b"], [[2.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.store(["c"], [[2.0]])
    assert len(_shards(cache)) == 1 and not list(cache.path.glob("*.part"))
    assert cache.lookup(["a", "b"])[1].tolist() == [True, False]


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


def test_forty_thousand_texts_are_looked_up_within_a_second(tmp_path):
    texts = _texts(0, 40_000)
    vectors = np.random.default_rng(0).random((40_000, 384), dtype=np.float32)
    cache = VectorCache("m", tmp_path)
    for start in range(0, 40_000, 2_000):
        cache.store(texts[start : start + 2_000], vectors[start : start + 2_000])
    cache = VectorCache("m", tmp_path)
    began = time.process_time()
    found_vectors, found = cache.lookup(texts)
    assert time.process_time() - began < 1
    assert found.all()
    np.testing.assert_array_equal(found_vectors, vectors)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.text(max_size=4), min_size=1, max_size=4), max_size=12), st.integers(1, 4))
def test_it_behaves_like_a_dict(tmp_path_factory, stores, most):
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "_MAX_SHARDS", most)
        cache, expected = VectorCache("m", directory), {}
        for texts in stores:
            vectors = _vectors(texts, d=3)
            cache.store(texts, vectors)
            expected.update(zip(texts, vectors, strict=True))
        asked = ["never stored, for it is too long", *expected]
        for reader in (cache, VectorCache("m", directory)):
            vectors, found = reader.lookup(asked)
            assert found.tolist() == [False] + [True] * len(expected)
            if expected:
                np.testing.assert_array_equal(vectors, np.stack(list(expected.values())))
