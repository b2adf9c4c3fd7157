"""Attacks on vectors kept on disk: damage, splices, shards of other models, other names."""

import os
import shutil
import zlib

import numpy as np

from skst.text.cache import VectorCache

from .arena import Kind
from .mutations import damaged, pick
from .verdict import HELD, LOST, REFUSED, require

_TEXTS = [f"gene {i}" for i in range(30)]


def vectors_of(texts, d=6):
    """Vectors that only their texts decide."""
    rows = [np.random.default_rng(zlib.crc32(text.encode())).random(d) for text in texts]
    return np.array(rows, dtype=np.float32).reshape(len(rows), d)


def _prepare(folder):
    here, there, longer = (VectorCache(key, folder) for key in ("here", "there", "longer"))
    for start in (0, 10, 20):
        texts = _TEXTS[start : start + 10]
        here.store(texts, vectors_of(texts))
        there.store(texts, -vectors_of(texts))
        longer.store(texts, vectors_of(texts, 9))
    return folder


def _attempt(rng, folder, kept):
    shutil.copytree(kept, folder / "cache")
    here, there, longer = (VectorCache(key, folder / "cache") for key in ("here", "there", "longer"))
    is_in = {path: set(_alone(path).lookup(_TEXTS)[1].nonzero()[0]) for path in _shards(here)}
    reader = here if rng.random() < 0.5 else None
    if reader is not None:
        reader.lookup(_TEXTS[: int(rng.integers(1, 31))])
    touched, moved = set(), False
    for _ in range(int(rng.integers(1, 4))):
        touched_now, moved_now = pick(rng, _DEEDS)(rng, folder, here, pick(rng, (there, longer)))
        touched |= touched_now
        moved |= moved_now
    lost = set().union(*(rows for path, rows in is_in.items() if path in touched))
    if reader is not None:
        _check(reader, lost, moved)
    fresh = VectorCache("here", folder / "cache")
    found = _check(fresh, lost, False)
    missing = [text for text, there in zip(_TEXTS, found, strict=True) if not there]
    fresh.store(missing, vectors_of(missing))
    require(_check(VectorCache("here", folder / "cache"), set(), False).all(), "stored again, and missing", LOST)
    return REFUSED if missing else HELD


def _alone(path):
    """A cache that holds one shard only."""
    alone = VectorCache("here", path.parents[1] / "alone" / path.stem)
    alone.path.mkdir(parents=True)
    shutil.copy(path, alone.path)
    return alone


def _check(cache, lost, moved):
    """Which texts are found; a Failure where one has a wrong vector, or is missing without need."""
    vectors, found = cache.lookup(_TEXTS)
    expected = vectors_of([text for text, there in zip(_TEXTS, found, strict=True) if there])
    require(vectors.shape == expected.shape or not found.any(), f"vectors of shape {vectors.shape}")
    require(not found.any() or np.array_equal(vectors, expected), "a wrong vector")
    missing = set((~found).nonzero()[0]) - lost
    # A reader that knew what had been exchanged may ask once too often.
    require(moved or not missing, f"{len(missing)} texts of untouched shards are missing", LOST)
    return found


def _shards(cache):
    return sorted(path for path in cache.path.glob("*.npz") if path.is_file() and not path.is_symlink())


# Deeds: what they have touched, and whether whole shards have other names now.


def _damage(rng, folder, here, other):
    if not (shards := _shards(here)):
        return set(), False
    path = pick(rng, shards)
    path.write_bytes(damaged(path.read_bytes(), rng, pick(rng, shards + _shards(other)).read_bytes()))
    return {path}, False


def _overwrite(rng, folder, here, other):
    if not (shards := _shards(here)):
        return set(), False
    path = pick(rng, shards)
    shutil.copy(pick(rng, _shards(other)), path)
    return {path}, False


def _plant(rng, folder, here, other):
    names = [f"{rng.bytes(12).hex()}.npz", pick(rng, _shards(other)).name, "zzz.npz", "00.npz"]
    shutil.copy(pick(rng, _shards(other)), here.path / pick(rng, names))
    return set(), False


def _plant_damaged(rng, folder, here, other):
    content = damaged(pick(rng, _shards(other)).read_bytes(), rng, b"".join(p.read_bytes() for p in _shards(here)[:1]))
    (here.path / f"{rng.bytes(12).hex()}.npz").write_bytes(content)
    return set(), False


def _exchange(rng, folder, here, other):
    shards = _shards(here)
    if len(shards) < 2:
        return set(), False
    first, second = (shards[i] for i in rng.permutation(len(shards))[:2])
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    return {first, second}, True


def _rename(rng, folder, here, other):
    if not (shards := _shards(here)):
        return set(), False
    path = pick(rng, shards)
    path.rename(path.with_name(f"{rng.bytes(12).hex()}.npz"))
    return {path}, True


def _remove(rng, folder, here, other):
    if not (shards := _shards(here)):
        return set(), False
    path = pick(rng, shards)
    path.unlink()
    return {path}, False


def _replace(rng, folder, here, other):
    if not (shards := _shards(here)):
        return set(), False
    path = pick(rng, shards)
    path.unlink()
    kind = pick(rng, ("folder", "pipe", "link", "circle", "device"))
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link": pick(rng, _shards(other)), "circle": path, "device": "/dev/zero"}[kind])
    return {path}, False


def _litter(rng, folder, here, other):
    here.path.mkdir(exist_ok=True)
    (here.path / "about.json").write_bytes(damaged(b'{"model": "here"}', rng))
    (here.path / "a.npz.00.part").write_bytes(rng.bytes(50))
    (here.path / "empty.npz").touch()
    return set(), False


_DEEDS = (_damage, _damage, _damage, _overwrite, _plant, _plant_damaged, _exchange, _rename, _remove, _replace, _litter)

KINDS = [Kind("cached vectors", _attempt, _prepare)]
