"""Text vectors kept on disk, so that no text is encoded twice."""

import hashlib
import json
import os
import secrets
import threading
import time
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from skst._version import __version__
from skst.files.home import cache_home
from skst.files.whole import write_whole

_MAX_SHARDS = 64
# Larger shards are left alone by a merge: reading one vector reads its shard.
_MERGE_BELOW = 4 * 2**20
_STALE_SECONDS = 3600

_WARNED: set = set()
# One for all caches and not in them, so that they can be pickled and that a fork can wait for it: a thread that
# held it would not live on in the child.
_LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


class VectorCache:
    """Vectors of texts on disk, addressed by the model and by the SHA-256 of the text.

    Several processes and threads may read and write the same cache at once: every :meth:`store` writes a file
    of its own (a shard), which appears under its final name only when it is complete and is never changed.
    When small shards grow too many they are merged into a new one, and what killed processes have left
    unfinished is deleted after an hour.  Nothing is unpickled.

    A shard says for which key it was made, and a digest binds texts, vectors and key.  One that another model
    or an older version has made is left where it is and not believed.  Broken ones are removed.  The texts of
    either count as missing.

    A shard is written through to the disk before it gets its name, and so is the name, where the platform can,
    before :meth:`store` returns and before a merge deletes what it has merged.  So after a power cut a text
    has the vector that was stored, or none.

    A directory that is full, gone or not to be written costs a warning and no vectors but those that were to be
    stored meanwhile: each :meth:`store` tries again.

    Shards are files, and not tables of one database, so that damage costs what it hits, and so that no file has to be
    locked, which file systems of clusters do not always do.

    Parameters
    ----------
    key : str
        Identifies the model, its weights and whatever else the vector of a text depends on.
    directory : str or path-like, default=None
        Where the caches of all models lie; by default ``vectors`` in the directory that ``SKST_CACHE_HOME``
        names, else in the user's cache directory.

    Attributes
    ----------
    path : pathlib.Path
        Directory of this model's shards; its ``about.json`` holds `key`.
    hits, misses : int
        Number of texts that :meth:`lookup` found and did not find.

    Raises
    ------
    ValueError
        If `key` is not a non-empty string.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skst.text.cache import VectorCache
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     VectorCache("my-model", directory).store(["insulin"], np.ones((1, 4)))
    ...     cache = VectorCache("my-model", directory)
    ...     vectors, found = cache.lookup(["insulin", "glucagon"])
    >>> vectors.shape, found.tolist(), cache.hits, cache.misses
    ((1, 4), [True, False], 1, 1)
    """

    def __init__(self, key, directory=None):
        if not isinstance(key, str) or not key:
            raise ValueError(f"key={key!r} is not a non-empty string; give a text that identifies the model.")
        self.key = key
        directory = cache_home() / "vectors" if directory is None else Path(directory).expanduser()
        self._key_digest = hashlib.sha256(key.encode()).digest()
        self.path = directory / self._key_digest.hex()[:32]
        self.hits = self.misses = 0
        self._forget_all()

    def lookup(self, texts):
        """Look up the vectors of texts.

        Parameters
        ----------
        texts : sequence of str of length n_texts

        Returns
        -------
        vectors : ndarray of shape (n_found, d), float32
            Vectors of the texts that were found, in the order of `texts`; of shape (0, 0) if none was.
        found : ndarray of bool of shape (n_texts,)

        Raises
        ------
        ValueError
            If the cache holds vectors of several lengths, which means that `key` stands for several models.
        """
        digests = [_digest(text) for text in texts]
        with _LOCK:
            places, blocks = self._find(digests)
            found = np.array([place is not None for place in places], dtype=bool)
            self.hits += int(found.sum())
            self.misses += int((~found).sum())
        lengths = {block.shape[1] for block in blocks.values()}
        if len(lengths) > 1:
            raise ValueError(
                f"key={self.key!r} has cached vectors of {sorted(lengths)} numbers, so it stands for several "
                f"models; give each a key of its own, or delete {self.path}."
            )
        if not lengths:
            return np.empty((0, 0), dtype=np.float32), found
        vectors = np.empty((found.sum(), lengths.pop()), dtype=np.float32)
        wanted = {shard: ([], []) for shard in blocks}
        for i, (shard, row) in enumerate(place for place in places if place is not None):
            wanted[shard][0].append(i)
            wanted[shard][1].append(row)
        for shard, (targets, rows) in wanted.items():
            vectors[targets] = blocks[shard][rows]
        return vectors, found

    def store(self, texts, vectors):
        """Keep the vectors of texts.

        Parameters
        ----------
        texts : sequence of str of length n_texts
        vectors : array-like of shape (n_texts, d)
            Kept as float32.

        Raises
        ------
        ValueError
            If `vectors` has another shape.

        Warns
        -----
        UserWarning
            If the directory cannot be written, once in a process; work goes on, and the next call tries again.
        """
        texts = list(texts)
        vectors = np.ascontiguousarray(vectors, dtype="<f4")
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise ValueError(f"vectors have shape {vectors.shape} for {len(texts)} texts; give one row a text.")
        if not texts:
            return
        digests = [_digest(text) for text in texts]
        fault = None
        with _LOCK:
            try:
                self._write(digests, vectors)
                self._merge_if_many(self._sweep())
            except OSError as error:
                fault = error
                self._sweep()  # leftovers may be what fills the disk
        if fault is not None and self.path not in _WARNED:
            _WARNED.add(self.path)
            in_place = isinstance(fault, FileExistsError)
            reason = "a file or a broken link is in its place" if in_place else fault.strerror or fault
            warnings.warn(
                f"Text vectors cannot be cached in {self.path} ({reason}), so some will be made again next time; set "
                "SKST_CACHE_HOME, or `cache` if you gave a directory, to a writable directory with free space.",
                UserWarning,
                stacklevel=2,
            )

    def clear(self):
        """Delete the vectors of this model and set the counters to 0.

        Warns
        -----
        UserWarning
            If some cannot be deleted.
        """
        fault = None
        with _LOCK:
            for entry in self._entries():
                try:
                    # An unfinished file may be another process's, unless it is old.
                    if not entry.name.endswith(".part") or _is_stale(entry):
                        os.unlink(entry.path)
                except FileNotFoundError:
                    pass  # another process was faster
                except OSError as error:
                    fault = error
            self._forget_all()
            self.hits = self.misses = 0
        if fault is not None:
            warnings.warn(
                f"Text vectors in {self.path} cannot be deleted ({fault.strerror or fault}), so they stay in use; "
                "delete that directory yourself.",
                UserWarning,
                stacklevel=2,
            )

    def _forget_all(self):
        self._index = {}  # digest -> (shard, row)
        self._members = {}  # shard -> its digests and its mark
        self._foreign = set()  # shards that were made for another key, or do not say for which
        self._unmerged = 0  # small shards that the last merge could not do away with

    def _entries(self):
        """The files of the directory, none where it is gone or may not be read."""
        files = []
        with suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(OSError):  # one that cannot be looked at hides no other
                    if entry.is_file():
                        files.append(entry)
        return files

    def _sweep(self):
        """Delete what killed processes have left, and name the small shards."""
        small = []
        for entry in self._entries():
            with suppress(OSError):  # merged or swept by another process
                if entry.name.endswith(".part") and _is_stale(entry):
                    os.unlink(entry.path)
                elif entry.name.endswith(".npz") and entry.stat().st_size < _MERGE_BELOW:
                    small.append(entry.name)
        return [shard for shard in small if shard not in self._foreign]

    def _find(self, digests):
        """Shard and row of each text, or None, and the vectors of the shards."""
        blocks, given_up = {}, set()
        while True:
            if any(digest not in self._index for digest in digests):
                self._refresh(given_up)
            places = [self._index.get(digest) for digest in digests]
            for shard in {place[0] for place in places if place is not None} - set(blocks):
                blocks[shard] = self._read(shard, "vectors")[0]
            lost = {shard for shard, block in blocks.items() if block is None}
            if not lost:
                return places, blocks
            # None of them is tried again in this call, so this ends.
            given_up |= lost
            blocks = {shard: block for shard, block in blocks.items() if block is not None}
            self._forget(lost)

    def _refresh(self, given_up):
        """Read the texts of shards that are not known yet; those that cannot be read are added to `given_up`."""
        while True:
            # Listed again after reading, for what has gone meanwhile is in a merged one.
            names = {entry.name for entry in self._entries() if entry.name.endswith(".npz")}
            new = names - self._members.keys() - self._foreign - given_up
            if not new:
                return
            for shard in new:
                texts, mark = self._read(shard, "texts")
                if texts is None:
                    given_up.add(shard)
                else:
                    texts = texts.tobytes()
                    self._remember(shard, [texts[i : i + 32] for i in range(0, len(texts), 32)], mark)

    def _remember(self, shard, digests, mark):
        self._members[shard] = digests, mark
        self._index.update((digest, (shard, row)) for row, digest in enumerate(digests))

    def _forget(self, shards):
        for shard in shards:
            self._members.pop(shard, None)
        # Made anew, as another shard may hold a text of a forgotten one too.
        self._index = {}
        for shard, (digests, mark) in self._members.items():
            self._remember(shard, digests, mark)

    def _read(self, shard, array):
        """Texts of an unknown shard or vectors of a known one, and its mark.

        None twice where it is gone, cannot be read now, was made for another key, or is broken and so removed.
        """
        path = self.path / shard
        digests, known_mark = self._members.get(shard, (None, None))
        try:
            if not path.is_file():  # a pipe that has taken its name would be waited for
                return None, None
            # Opened here, as numpy leaves open what turns out to be no archive.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                mark = content.zip.comment
                if mark[:32] != self._key_digest:
                    self._foreign.add(shard)
                    return None, None
                if known_mark not in (None, mark):  # another one has taken its name
                    return None, None
                # The zip container checks its CRC as an array is read to its end.
                values = content[array]
                whole = values.ndim == 2 and values.dtype == {"texts": np.uint8, "vectors": np.float32}[array]
                if array == "vectors":
                    whole = whole and len(values) == len(digests) and mark == self._mark(content.zip, values.shape)
            if not whole:
                raise ValueError
            return values, mark
        except (zipfile.BadZipFile, ValueError, KeyError, EOFError):
            with suppress(OSError):  # read-only
                path.unlink(missing_ok=True)
            return None, None
        except Exception:  # merged by another process, or whatever says nothing about the bytes, such as lack of memory
            return None, None

    def _mark(self, archive, shape):
        """The digest of the key, and one that binds the texts and the vectors of a shard to it by their CRCs."""
        checks = [archive.getinfo(f"{array}.npy").CRC for array in ("texts", "vectors")]
        return self._key_digest + hashlib.sha256(self._key_digest + repr((checks, shape)).encode()).digest()

    def _write(self, digests, vectors):
        self.path.mkdir(parents=True, exist_ok=True)
        about = self.path / "about.json"
        if not about.exists():
            content = {
                "model": self.key,
                "content": "vectors of texts, made again when deleted",
                "skst": __version__,
            }
            write_whole(about, lambda file: file.write(json.dumps(content, indent=1).encode()))
        texts = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), -1)

        def write(file):
            np.savez(file, texts=texts, vectors=vectors)
            with zipfile.ZipFile(file, "a") as archive:
                archive.comment = self._mark(archive, vectors.shape)
            return archive.comment

        shard = f"{secrets.token_hex(12)}.npz"
        self._remember(shard, digests, write_whole(self.path / shard, write))

    def _merge_if_many(self, small):
        if len(small) > _MAX_SHARDS + self._unmerged:
            # Not tried again at each store where it fails.
            self._unmerged = len(small)
            self._unmerged -= self._merge(small)

    def _merge(self, shards):
        """Write shards as one, and only then delete them, so that no reader ever misses a text.

        Returns how many are gone.
        """
        self._refresh(set())
        read = {shard: self._read(shard, "vectors")[0] for shard in shards if shard in self._members}
        read = {shard: block for shard, block in read.items() if block is not None}
        rows = {}
        for shard, block in read.items():
            rows.update(zip(self._members[shard][0], block, strict=True))
        if len(read) < 2 or len({row.shape for row in rows.values()}) != 1:
            return 0
        self._write(list(rows), np.stack(list(rows.values())))
        n_gone = 0
        for shard in read:
            del self._members[shard]  # the index has its texts in the new one
            with suppress(OSError):  # another user's, or open on Windows
                (self.path / shard).unlink(missing_ok=True)
                n_gone += 1
        return n_gone


def _digest(text):
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _is_stale(entry):
    return time.time() - entry.stat().st_mtime > _STALE_SECONDS
