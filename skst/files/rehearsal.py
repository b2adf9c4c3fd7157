"""Reading an HDF5 file in a process that may die of it, before this one reads it.

libhdf5 takes most of what a file says of itself at its word.  A damaged byte among texts or attributes can end it by a
segmentation fault, keep it in a circle or make it ask for any amount of memory, and no Python code catches that.
This file is also the program of that process.
"""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py

_BEGUN, _DONE = "begun", "done"
_SECONDS = 3  # for one read, of which the largest takes a tenth of a second
_LEAST, _BYTES_A_SECOND = 60, 100_000  # for all of them, on a slow machine
_MEMORY = 2**28
_NUMBERS = 2**23  # bytes of a dataset of numbers that are read whole
_TEXTS = 100_000  # read at a time
_SURVIVED: set[tuple[str | int, ...]] = set()  # a file is often read again, by fit and by predict


def survives(path: str | os.PathLike[str], n_bytes: int) -> bool:
    """Whether a process comes back from reading all attributes and texts of a file, and what numbers are few.

    It takes a fifth of a second and as long again as reading the texts, once for each state of a file.  Errors of any
    kind are no harm: whoever reads the file meets them.  Nor is it any if no such process can be started.

    Parameters
    ----------
    path : path-like
        An HDF5 file.
    n_bytes : int
        How much memory its content may take.

    Returns
    -------
    bool
        False if the process was ended by a signal, or by its limits of time and memory.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        return True
    path, stat = os.path.abspath(path), os.stat(path)
    # Nobody can set the last of the times, so another content is always seen.
    state = path, n_bytes, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    if state in _SURVIVED:
        return True
    seconds = _LEAST + stat.st_size // _BYTES_A_SECOND
    told = _words_of(map(str, (sys.executable, "-P", __file__, path, n_bytes, seconds)), 2 * seconds)
    if _DONE in told:
        _SURVIVED.add(state)
    return _BEGUN not in told or _DONE in told


def _words_of(command: Iterable[str], seconds: float) -> str:
    path = os.pathsep.join(filter(None, sys.path))
    alone = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    quiet: Any = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        words = subprocess.run([*command], stdout=subprocess.PIPE, timeout=seconds, env=alone, **quiet).stdout
    except subprocess.TimeoutExpired as error:
        words = error.stdout or b""
    except OSError:
        return ""
    return words.decode(errors="replace")


def _rehearse(path: str, n_bytes: int, seconds: int) -> None:
    """Read a file as far as :func:`survives` says, and print how far it came."""
    import h5py

    _limit(seconds, n_bytes)
    print(_BEGUN, flush=True)
    _allow()
    try:
        with h5py.File(path, "r") as file:
            _read_group(file, n_bytes, set())
    except MemoryError:
        return
    except Exception:  # the library has many kinds of errors, and none of them ends a process
        pass
    print(_DONE, flush=True)


def _limit(seconds: int, n_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: only the clock limits it
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    try:
        with open("/proc/self/statm") as pages:
            used = int(pages.read().split()[0]) * resource.getpagesize()
    except OSError:  # other systems do not tell, and macOS sets no such limit
        return
    resource.setrlimit(resource.RLIMIT_AS, (used + n_bytes + _MEMORY,) * 2)


def _allow() -> None:
    """Give one read its time; a loop in the library ends with it, and a long file that goes on does not."""
    try:
        import resource
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    until = math.ceil(time.process_time()) + _SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (until if most < 0 else min(until, most), most))


def _read_group(group: "h5py.Group", n_bytes: int, seen: set[int]) -> None:
    import h5py

    waiting = [group]
    while waiting:
        group = waiting.pop()
        _try(dict, group.attrs)
        for key in group:
            _allow()
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                continue
            try:
                item = group[key]
                address = h5py.h5o.get_info(item.id).addr
            except MemoryError:
                raise
            except Exception:
                continue
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                _try(dict, item.attrs)
                _try(_read_dataset, item, n_bytes)


def _try(read: Callable[..., object], *what: object) -> None:
    try:
        read(*what)
    except MemoryError:
        raise
    except Exception:
        pass


def _read_dataset(dataset: "h5py.Dataset", n_bytes: int) -> None:
    if dataset.external is not None or dataset.is_virtual or dataset.shape is None:
        return
    n_entries = math.prod(dataset.shape)
    if not dataset.dtype.hasobject:
        if dataset.id.get_storage_size() and n_entries * dataset.dtype.itemsize <= _NUMBERS:
            dataset[()]
        return
    n_columns = math.prod(dataset.shape[1:])
    if n_columns > _TEXTS or n_entries * dataset.dtype.itemsize > n_bytes:
        return  # declares more than will be read
    if not dataset.shape:
        dataset[()]
        return
    step = _TEXTS // max(1, n_columns)
    for start in range(0, dataset.shape[0], step):
        _allow()
        dataset[start : start + step]


if __name__ == "__main__":
    _rehearse(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
