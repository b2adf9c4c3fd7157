"""Text vectors on disk: what is stored is found, by whatever threads and processes, before and after merges."""

import json
import os
import pickle
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shards import shards_of, some_texts, vectors_of

from skst.text import cache as cache_module
from skst.text.cache import VectorCache


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
        cache.store(some_texts(i, i + 1), np.ones((1, 2)))
    opened = []
    load = np.load
    monkeypatch.setattr(cache_module.np, "load", lambda path, **options: opened.append(path) or load(path, **options))
    assert cache.lookup(some_texts(2, 3))[1].all()
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


def test_many_shards_are_merged_without_loss(tmp_path):
    cache = VectorCache("m", tmp_path)
    texts = some_texts(0, 150)
    for i in range(0, 150, 2):
        cache.store(texts[i : i + 2], vectors_of(texts[i : i + 2]))
    assert len(shards_of(cache)) <= cache_module._MAX_SHARDS
    for reader in (cache, VectorCache("m", tmp_path)):
        vectors, found = reader.lookup(texts)
        assert found.all()
        np.testing.assert_array_equal(vectors, vectors_of(texts))


def test_an_open_cache_survives_a_merge_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_MAX_SHARDS", 3)
    reader, writer = VectorCache("m", tmp_path), VectorCache("m", tmp_path)
    texts = some_texts(0, 4)
    for text in texts[:3]:
        writer.store([text], vectors_of([text]))
    assert reader.lookup(texts[:3])[1].all()
    writer.store(texts[3:], vectors_of(texts[3:]))
    assert len(shards_of(writer)) == 1
    vectors, found = reader.lookup(texts)
    assert found.all()
    np.testing.assert_array_equal(vectors, vectors_of(texts))


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
    hidden = shards_of(cache)[0]

    def fail_on_hidden(file, **options):
        if file.name == str(hidden):
            raise OSError(5, "Input/output error")
        return load(file, **options)

    monkeypatch.setattr(cache_module.np, "load", fail_on_hidden)
    VectorCache("m", tmp_path).store(["d"], np.ones((1, 2)))
    monkeypatch.undo()
    assert len(shards_of(cache)) == 2
    assert VectorCache("m", tmp_path).lookup(list("abcd"))[1].all()


def test_large_shards_are_not_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_MAX_SHARDS", 2)
    monkeypatch.setattr(cache_module, "_MERGE_BELOW", 4000)
    cache = VectorCache("m", tmp_path)
    cache.store(some_texts(0, 50), np.ones((50, 100)))
    (large,) = shards_of(cache)
    for i in range(100, 104):
        cache.store(some_texts(i, i + 1), np.ones((1, 100)))
    assert large in shards_of(cache)
    assert len(shards_of(cache)) <= 1 + 2
    assert cache.lookup(some_texts(0, 50) + some_texts(100, 104))[1].all()


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
    processes = get_context("forkserver" if hasattr(os, "fork") else "spawn")
    if hasattr(os, "fork"):
        processes.set_forkserver_preload([__name__])  # what each would load anew
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ProcessPoolExecutor(3, mp_context=processes) as pool:
            faults = list(pool.map(_write_and_read, [tmp_path] * 3, range(3)))
    assert faults == [""] * 3
    cache = VectorCache("m", tmp_path)
    vectors, found = cache.lookup(some_texts(0, 60))
    np.testing.assert_array_equal(vectors[:, 0], np.flatnonzero(found))
    assert not list(cache.path.glob("*.part"))


def test_threads_share_a_cache_with_each_other_and_with_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_MAX_SHARDS", 4)
    cache = pickle.loads(pickle.dumps(VectorCache("m", tmp_path)))

    def work(seed):
        for i in range(30):
            texts = some_texts(5 * seed + i, 5 * seed + i + 3)
            cache.store(texts, vectors_of(texts))
            vectors, found = cache.lookup(texts)
            assert found.all()
            np.testing.assert_array_equal(vectors, vectors_of(texts))

    with ThreadPoolExecutor(4) as threads:
        done = threads.map(work, range(4))
        if hasattr(os, "fork"):  # a child may come at any moment, and have the cache of its parent
            children = [get_context("fork").Process(target=work, args=(seed,)) for seed in range(4, 7)]
            for child in children:
                child.start()
            for child in children:
                child.join(60)
                assert child.exitcode == 0
        list(done)
    assert VectorCache("m", tmp_path).lookup(some_texts(0, 45))[1].all()


def test_a_merge_amid_a_lookup_hides_nothing(tmp_path, monkeypatch):
    texts = some_texts(0, 8)
    reader, writer = VectorCache("m", tmp_path), VectorCache("m", tmp_path)
    for text in texts:
        writer.store([text], vectors_of([text]))
    load = np.load

    def merge_first(path, **options):
        monkeypatch.undo()
        monkeypatch.setattr(cache_module, "_MAX_SHARDS", 1)
        writer.store(["last"], vectors_of(["last"]))
        return load(path, **options)

    monkeypatch.setattr(cache_module.np, "load", merge_first)
    assert reader.lookup(texts)[1].all()
    assert len(shards_of(writer)) == 1


def test_forty_thousand_texts_are_looked_up_within_a_second(tmp_path):
    texts = some_texts(0, 40_000)
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
            vectors = vectors_of(texts, d=3)
            cache.store(texts, vectors)
            expected.update(zip(texts, vectors, strict=True))
        asked = ["never stored, for it is too long", *expected]
        for reader in (cache, VectorCache("m", directory)):
            vectors, found = reader.lookup(asked)
            assert found.tolist() == [False] + [True] * len(expected)
            if expected:
                np.testing.assert_array_equal(vectors, np.stack(list(expected.values())))
