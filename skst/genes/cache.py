"""Text vectors kept on disk, so that no text is encoded twice."""

import hashlib
import json
import os
import secrets
import time
import warnings
from pathlib import Path

import numpy as np

from skst._home import cache_home
from skst._version import __version__

_MAX_SHARDS = 64
# Larger shards are left alone by a merge: reading one vector reads its shard.
_MERGE_BELOW = 4 * 2**20
_STALE_SECONDS = 3600


class VectorCache:
    """Vectors of texts on disk, addressed by the model and by the SHA-256 of the text.

    Several processes may read and write the same cache at once without locks: every :meth:`store` writes a
    file of its own (a shard), which appears under its final name only when it is complete and is never
    changed.  Shards that cannot be read are removed and their texts count as missing.  When small shards grow
    too many they are merged into a new one.  Nothing is unpickled.

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
    >>> from skst.genes.cache import VectorCache
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
        self.path = directory / hashlib.sha256(key.encode()).hexdigest()[:32]
        self.hits = self.misses = 0
        self._writable = True
        self._unreadable = set()
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
        while True:
            if any(digest not in self._index for digest in digests):
                self._refresh()
            places = [self._index.get(digest) for digest in digests]
            blocks = {}
            for shard in {place[0] for place in places if place is not None}:
                block = self._read(shard, "vectors")
                if block is None:
                    self._forget(shard)
                else:
                    blocks[shard] = block
            # A shard that could not be read is forgotten for good, so this ends.
            if all(place is None or place[0] in blocks for place in places):
                break
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
        for i, (shard, row) in enumerate(place for place in places if place is not None):
            vectors[i] = blocks[shard][row]
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
            Once, if the directory cannot be written; work goes on without storing.
        """
        texts = list(texts)
        vectors = np.ascontiguousarray(vectors, dtype="<f4")
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise ValueError(f"vectors have shape {vectors.shape} for {len(texts)} texts; give one row a text.")
        if texts and self._writable:
            digests = [_digest(text) for text in texts]
            try:
                self._write(digests, vectors)
                small = self._small_shards()
                if len(small) > _MAX_SHARDS:
                    self._merge(small)
            except OSError as error:
                self._writable = False
                warnings.warn(
                    f"Text vectors cannot be cached in {self.path} ({error.strerror or error}), so they will "
                    "be made again next time; set SKST_CACHE_HOME to a writable directory with free space.",
                    UserWarning,
                    stacklevel=2,
                )

    def clear(self):
        """Delete the vectors of this model and set the counters to 0."""
        for path in self.path.glob("*"):
            # An unfinished file may be another process's, unless it is old.
            if path.suffix != ".part" or time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink(missing_ok=True)
        self._forget_all()
        self.hits = self.misses = 0

    def _forget_all(self):
        self._index = {}  # digest -> (shard, row)
        self._members = {}  # shard -> its digests

    def _small_shards(self):
        small = []
        for path in self.path.glob("*.npz"):
            try:
                if path.stat().st_size < _MERGE_BELOW:
                    small.append(path.name)
            except FileNotFoundError:
                pass  # merged by another process
        return small

    def _refresh(self):
        """Read the texts of shards that are not known yet."""
        for path in self.path.glob("*.npz"):
            if path.name not in self._members and path.name not in self._unreadable:
                digests = self._read(path.name, "texts")
                if digests is not None:
                    self._remember(path.name, digests)

    def _remember(self, shard, digests):
        digests = [digest.tobytes() for digest in digests]
        self._members[shard] = digests
        self._index.update((digest, (shard, row)) for row, digest in enumerate(digests))

    def _forget(self, shard):
        for digest in self._members.pop(shard):
            if self._index.get(digest, (None,))[0] == shard:
                del self._index[digest]

    def _read(self, shard, array):
        """One array of a shard, or None where the shard is gone or broken; a broken one is removed."""
        path = self.path / shard
        try:
            with np.load(path, allow_pickle=False) as content:
                # The zip container checks its CRC as an array is read.
                values = content[array]
            if values.ndim != 2 or values.dtype != {"texts": np.uint8, "vectors": np.float32}[array]:
                raise ValueError
            if array == "vectors" and len(values) != len(self._members[shard]):
                raise ValueError
            return values
        except FileNotFoundError:  # merged into another by some process
            return None
        except (OSError, MemoryError):  # not the shard's fault
            self._unreadable.add(shard)
            return None
        except Exception:  # whatever the reader makes of broken bytes
            self._unreadable.add(shard)
            try:
                path.unlink(missing_ok=True)
            except OSError:
                pass  # read-only; it is ignored from here on
            return None

    def _write(self, digests, vectors):
        self.path.mkdir(parents=True, exist_ok=True)
        about = self.path / "about.json"
        if not about.exists():
            content = {
                "model": self.key,
                "content": "vectors of texts, made again when deleted",
                "skst": __version__,
            }
            _write_whole(about, lambda file: file.write(json.dumps(content, indent=1).encode()))
        texts = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), -1)
        shard = f"{secrets.token_hex(12)}.npz"
        _write_whole(self.path / shard, lambda file: np.savez(file, texts=texts, vectors=vectors))
        self._remember(shard, texts)

    def _merge(self, shards):
        """Write shards as one, and only then delete them, so that no reader ever misses a text."""
        self._refresh()
        read = {shard: self._read(shard, "vectors") for shard in shards if shard in self._members}
        read = {shard: block for shard, block in read.items() if block is not None}
        rows = {}
        for shard, block in read.items():
            rows.update(zip(self._members[shard], block, strict=True))
        if len(read) < 2 or len({row.shape for row in rows.values()}) != 1:
            return
        self._write(list(rows), np.stack(list(rows.values())))
        for shard in read:
            self._forget(shard)
            (self.path / shard).unlink(missing_ok=True)


def _digest(text):
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _write_whole(path, write):
    """Write a file that appears under its name only when it is complete."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(partial, "xb") as file:
            write(file)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
