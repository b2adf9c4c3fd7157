"""Disks that are full while vectors and embeddings are kept: results are right all the same, and nothing is lost."""

import ctypes
import os
import resource
import signal
import warnings
from functools import partial

import numpy as np

from skst.text import cache as cache_module
from skst.text.cache import VectorCache

from .arena import Kind
from .cached import vectors_of
from .kills import searching, tissue
from .mutations import pick
from .verdict import HELD, LOST, REFUSED, Failure, require

_NEW_MOUNTS, _NEW_USER = 0x20000, 0x10000000
_PRIVATE = (1 << 18) | 16384
_TEXTS = [f"gene {i}" for i in range(400)]


def _prepare(folder):
    (folder / "fresh").mkdir()
    adata = tissue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return adata, searching(adata, folder / "fresh")


def _attempt(work, rng, folder, given):
    disk = folder / "disk"
    disk.mkdir()
    pid = os.fork()  # a disk of its own, and limits that cannot be lifted again, end with the process
    if pid == 0:
        status = 3
        try:
            status = work(rng, disk, given)
        except Failure as failure:
            (folder / "words").write_text(f"{failure.outcome} {failure.words}")
            status = 2
        except BaseException as error:
            (folder / "words").write_text(f"wrong {type(error).__name__}: {error}")
            status = 2
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 2:
        raise Failure(*(folder / "words").read_text().split(" ", 1))
    require(code in (0, 1), f"a process with a full disk ended with {code}", "crashed")
    return REFUSED if code else HELD


class _Full:
    """A disk with little room: a small file system where one can be mounted, else a limit on the size of files."""

    def __init__(self, disk, n_bytes):
        self.disk = disk
        self.is_mounted = n_bytes >= 2**14 and _mount(disk, n_bytes)
        if not self.is_mounted:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))

    def fill(self):
        """Take what room there is."""
        if self.is_mounted:
            try:
                with open(self.disk / "filler", "wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
            except OSError:
                pass
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def free(self):
        """Make room for everything."""
        if self.is_mounted:
            (self.disk / "filler").unlink(missing_ok=True)
            ctypes.CDLL(None).mount(b"tmpfs", os.fsencode(self.disk), b"tmpfs", 32, b"size=64m")  # as it is, but larger
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


def _mount(disk, n_bytes):
    """Whether a file system in memory could be mounted, seen by this process alone."""
    libc = ctypes.CDLL(None)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_MOUNTS) and libc.unshare(_NEW_MOUNTS | _NEW_USER):
        return False
    try:
        if os.getuid() != user:
            for name, content in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(content)
    except OSError:
        return False
    if libc.mount(b"none", b"/", None, _PRIVATE, None):
        return False
    return not libc.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", 0, b"size=%d" % n_bytes)


def _caching(rng, disk, given):
    """Store vectors until the disk is full, and on; 1 if some could not be stored."""
    full = _Full(disk, int(2 ** rng.uniform(13, 17)))
    cache, stored = VectorCache("m", disk / "cache"), []
    cache_module._MAX_SHARDS = int(rng.integers(2, 20))
    at = 0
    while at < len(_TEXTS):
        texts = _TEXTS[at : at + int(rng.integers(1, 60))]
        at += len(texts)
        if rng.random() < 0.1:
            full.fill()
        with warnings.catch_warnings(record=True, action="always") as caught:
            cache_module._WARNED.clear()
            cache.store(texts, vectors_of(texts))
        for warning in caught:
            words = str(warning.message)
            require(words.startswith("Text vectors cannot be cached") and words.endswith("."), words)
        stored += [] if caught else texts
        if rng.random() < 0.3:
            _check(cache, stored)
    _check(VectorCache("m", disk / "cache"), stored)
    litter = [path.name for path in cache.path.glob("*.part")] if cache.path.is_dir() else []
    require(not litter, f"unfinished files stay: {litter}")
    full.free()
    fresh = VectorCache("m", disk / "cache")
    fresh.store(_TEXTS, vectors_of(_TEXTS))
    _check(VectorCache("m", disk / "cache"), _TEXTS)
    return int(len(stored) < len(_TEXTS))


def _check(cache, stored):
    vectors, found = cache.lookup(_TEXTS)
    there = [text for text, is_there in zip(_TEXTS, found, strict=True) if is_there]
    require(not there or np.array_equal(vectors, vectors_of(there)), "a wrong vector")
    require(set(stored) <= set(there), "a stored text is gone", LOST)


def _searching(rng, disk, given):
    """Search with a memory that fills up, then with room; 1 if something was said of it."""
    adata, expected = given
    full = _Full(disk, int(pick(rng, (2**10, 2**13, 2**15, 2**17, 2**21))))
    with warnings.catch_warnings(record=True, action="always") as caught:
        _require_same(searching(adata, disk), expected)
    full.free()
    _require_same(searching(adata, disk), expected)
    return int(any("cache" in str(warning.message) for warning in caught))


def _require_same(result, expected):
    for name, value in expected.items():
        require(np.array_equal(result[name], value), f"other {name} with a full disk")


KINDS = [
    Kind("full disk: vectors", partial(_attempt, _caching), seconds=60, rounds=40),
    Kind("full disk: memory=", partial(_attempt, _searching), _prepare, seconds=60, rounds=5),
]
