"""The heaps in which HDF5 files keep texts, walked through before the library does it.

libhdf5 goes from object to object by the sizes that a heap itself declares, and for ever where one of them is zero
(seen in versions up to 1.14).  One damaged byte is enough, so every heap is looked at first.
"""

import mmap
import os
from collections.abc import Iterator

_SIGNATURE = b"GCOL\x01\0\0\0"
_SUPERBLOCK = b"\x89HDF\r\n\x1a\n"
_HEADER = 16
# A multiple of every size of a page.
_WINDOW = 2**24


def has_broken_heap(path: str | os.PathLike[str]) -> bool:
    """Whether the objects of a global heap do not follow each other to the end of their heap.

    Parameters
    ----------
    path : path-like
        An HDF5 file whose sizes have eight bytes, as nearly all have; of others nothing is said.

    Returns
    -------
    bool
    """
    if os.path.getsize(path) < 2 * _HEADER:
        return False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if _bytes_of_a_size(content) != 8:
            return False
        return any(_is_broken(content, start) for start in _heaps_of(content))


def _heaps_of(content: mmap.mmap) -> Iterator[int]:
    """Where heaps begin; pages that were looked at are let go, so that a file larger than memory does not fill it."""
    for begin in range(0, len(content), _WINDOW):
        end = begin + _WINDOW + len(_SIGNATURE) - 1
        start = content.find(_SIGNATURE, begin, end)
        while start >= 0:
            yield start
            start = content.find(_SIGNATURE, start + 1, end)
        if hasattr(mmap, "MADV_DONTNEED"):
            content.madvise(mmap.MADV_DONTNEED, begin, min(_WINDOW, len(content) - begin))


def _bytes_of_a_size(content: mmap.mmap) -> int | None:
    if content[:8] != _SUPERBLOCK:
        return None
    return content[14] if content[8] < 2 else content[10]


def _is_broken(content: mmap.mmap, start: int) -> bool:
    def number(place: int, length: int = 8) -> int:
        return int.from_bytes(content[place : place + length], "little")

    end = start + number(start + 8)
    if end > len(content):
        return True
    place = start + _HEADER
    while place + _HEADER <= end:
        index, size = number(place, 2), number(place + 8)
        if index == 0:  # what is free, up to the end
            return place + size != end
        place += _HEADER + -(-size // 8) * 8
    return place > end
