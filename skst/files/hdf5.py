"""HDF5 files from outside, opened once nothing in them leads out of the file or takes more memory than it should."""

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from skst.files.heaps import has_broken_heap
from skst.files.rehearsal import survives
from skst.files.untrusted import RefusedError, check_anndata, refused, told, unfolded_limit

if TYPE_CHECKING:
    import h5py
    from anndata import AnnData

_TIMES = 200  # dense counts with one stored entry in a hundred come close
_MAX_OBJECTS = 100_000
_MAX_DEPTH = 32
_ANY_FILE_PIECES = 10_000
_TEXT_BYTES = 64  # of a Python object for a text, besides its letters


def open_h5(path: str | os.PathLike[str], name: str | None = None) -> "h5py.File":
    """Open an HDF5 file that holds all of its data itself.

    HDF5 can link to other files, and can show any file of the user's as the content of a dataset.  A small file
    can declare datasets of any size.  The whole tree is looked through before anything is read.

    Parameters
    ----------
    path : path-like
        The file.
    name : str, default=None
        What an error calls it; by default its path.

    Returns
    -------
    h5py.File
        Open for reading.

    Raises
    ------
    OSError
        If it is no HDF5 file.
    ValueError
        If data lie in another file, do not fit into memory that a file of its size may ask for, or are of no
        plain type, or if groups contain each other.
    """
    import h5py

    name = name or repr(str(path))
    limit = unfolded_limit(path, _TIMES)
    if not h5py.is_hdf5(path):
        h5py.File(path, "r")  # says why
    if has_broken_heap(path):
        raise refused(name, "its texts do not follow each other", "get it again")
    if not survives(path, limit):
        raise refused(name, "the HDF5 library does not come back from reading it", "get it again")
    file = h5py.File(path, "r")
    try:
        _Tree(file, name, os.path.getsize(path), limit).check()
    except BaseException as error:
        file.close()
        if isinstance(error, RefusedError) or not isinstance(error, Exception):
            raise
        # The library tells a broken file by many kinds of errors.
        raise refused(name, f"it is broken ({type(error).__name__}: {told(error)})", "get it again") from error
    return file


def read_h5ad(path: str | os.PathLike[str], name: str | None = None) -> "AnnData":
    """The AnnData of an .h5ad that holds all of its data itself, its sparse matrices checked.

    Parameters
    ----------
    path : path-like
        The file.
    name : str, default=None
        What an error calls it; by default its path.

    Returns
    -------
    AnnData

    Raises
    ------
    Exception
        Of many kinds, as anndata raises them, if it is no such file; a ValueError as of :func:`open_h5` and
        :func:`~skst.files.untrusted.check_sparse`.
    """
    import anndata

    open_h5(path, name).close()
    adata = anndata.read_h5ad(path)
    check_anndata(adata, name or repr(str(path)))
    return adata


class _Tree:
    """All objects of an open HDF5 file, looked at without following what leads elsewhere."""

    def __init__(self, file: "h5py.File", name: str, size: int, limit: int) -> None:
        self.file = file
        self.name = name
        self.size = size
        self.limit = self.left = limit
        self.addresses = {_address(file)}
        self.links: list[str] = []
        self.references: list[tuple[str, Any]] = []

    def check(self) -> None:
        waiting, groups, n_names = [(self.file, 0)], [], 0
        while waiting:
            group, depth = waiting.pop()
            self._note_references(group, group.name)
            groups.append(group)
            for key in group:
                where = f"{group.name.rstrip('/')}/{key}"
                n_names += 1
                if n_names > _MAX_OBJECTS or depth == _MAX_DEPTH:
                    raise self._refused(where, "lies too deep or among too many others")
                if (item := self._own(group, key, where)) is not None:
                    waiting.append((item, depth + 1))
        # Nothing leads out of the file any more, so what leads elsewhere within it can be followed.
        for where in self.links:
            if where not in self.file or _is_group(item := self.file[where]):
                raise self._refused(where, "is a link to a group or to nothing")
            self._check_size(item, where)
        for group in groups:
            self._check_declared_shape(group)
        for where, reference in self.references:
            if reference and _address(self.file[reference]) not in self.addresses:
                raise self._refused(where, "refers to data that no name leads to")

    def _own(self, group: "h5py.Group", key: str, where: str) -> "h5py.Group | None":
        """Check one name of a group; the group that it leads to, if it does."""
        import h5py

        link = group.get(key, getlink=True)
        if isinstance(link, h5py.SoftLink):
            self.links.append(where)
            return None
        if not isinstance(link, h5py.HardLink):
            raise self._refused(where, "is a link to another file")
        item = group[key]
        is_new = _address(item) not in self.addresses
        self.addresses.add(_address(item))
        if _is_group(item):
            # Who follows names would not come out of a circle, and would take every way through a lattice.
            if not is_new:
                raise self._refused(where, "is a group under a second name")
            return item
        if isinstance(item, h5py.Dataset):
            if item.external is not None or item.is_virtual:
                raise self._refused(where, "has its data in another place")
            self._check_size(item, where)
            self._note_references(item, where)
        return None

    def _check_declared_shape(self, group: "h5py.Group") -> None:
        """Check that a sparse matrix has as many rows as its shape says, as scipy takes memory for each of these."""
        kind = group.attrs.get("encoding-type", group.attrs.get("h5sparse_format"))
        kind = kind.decode() if isinstance(kind, bytes) else kind
        shape = group.attrs.get("shape", group.attrs.get("h5sparse_shape"))
        if not isinstance(kind, str) or kind[:3] not in ("csr", "csc") or np.size(shape) != 2:
            return  # no such matrix, or none that can be read
        n_major = int(np.ravel(shape)[int(kind[:3] == "csc")])
        if np.shape(group.get("indptr")) != (n_major + 1,):
            raise self._refused(group.name, f"declares {n_major} rows or columns, and its indptr others")

    def _check_size(self, dataset: "h5py.Dataset", where: str) -> None:
        """Count what reading a dataset takes; one with two names may be read twice."""
        try:
            n_texts = _texts_an_entry(dataset.dtype)
        except TypeError as error:
            raise self._refused(where, f"is of no plain type ({told(error)})") from None
        if dataset.shape is None:
            return
        n_entries = math.prod(dataset.shape)
        self._check_storage(dataset, where)
        self._spend(n_entries * (dataset.dtype.itemsize + _TEXT_BYTES * n_texts), where)
        # Texts lie elsewhere in the file, and many entries can be one long text: only reading tells.
        if n_texts and n_entries * n_texts * self.size > self.left:
            n_rows = max(1, self.left // (self.size * n_texts * math.prod(dataset.shape[1:])))
            for start in range(0, dataset.shape[0], n_rows):
                self._spend(_text_bytes(dataset[start : start + n_rows]), where)

    def _check_storage(self, dataset: "h5py.Dataset", where: str) -> None:
        """Check that what is not compressed is stored whole: the library leaves the rest as memory was before."""
        size = dataset.id.get_type().get_size()
        if dataset.chunks is None:
            pieces, n_bytes = [dataset.id.get_storage_size()], math.prod(dataset.shape) * size
        else:
            # Those that are not stored take no space, and the library still goes through them one by one.
            n_pieces = math.prod(-(-n // m) for n, m in zip(dataset.shape, dataset.chunks, strict=True))
            if n_pieces > _ANY_FILE_PIECES + self.size:
                raise self._refused(where, f"declares {n_pieces} pieces in a file of {self.size} bytes")
            if dataset.id.get_create_plist().get_nfilters():
                return
            pieces = [dataset.id.get_chunk_info(i).size for i in range(dataset.id.get_num_chunks())]
            n_bytes = math.prod(dataset.chunks) * size
        short = [piece for piece in pieces if 0 < piece < n_bytes]
        if short:
            raise self._refused(where, f"declares {n_bytes} bytes and stores {short[0]}")

    def _spend(self, n_bytes: int, where: str) -> None:
        self.left -= n_bytes
        if self.left < 0:
            raise self._refused(where, f"brings its data to more than {self.limit} bytes in a file of {self.size}")

    def _note_references(self, item: "h5py.Group | h5py.Dataset", where: str) -> None:
        import h5py

        for key in item.attrs:
            if item.attrs.get_id(key).get_type().get_class() == h5py.h5t.REFERENCE:
                self.references += [(where, reference) for reference in np.ravel(item.attrs[key])]

    def _refused(self, where: str, fault: str) -> RefusedError:
        return refused(self.name, f"{where[:80]!r} {fault}", "get a file that holds plain data of its own")


def _address(item: "h5py.Group | h5py.Dataset") -> int:
    import h5py

    return h5py.h5o.get_info(item.id).addr


def _is_group(item: object) -> bool:
    import h5py

    return isinstance(item, h5py.Group)


def _texts_an_entry(dtype: np.dtype) -> int:
    """How many texts of any length an entry holds; a TypeError where it can hold another object."""
    import h5py

    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return math.prod(shape) * _texts_an_entry(base)
    if dtype.names is not None:
        return sum(_texts_an_entry(dtype[key]) for key in dtype.names)
    if dtype.kind != "O":
        return 0
    if h5py.check_string_dtype(dtype) is None:
        raise TypeError("objects or references")
    return 1


def _text_bytes(values: np.ndarray) -> int:
    if values.dtype.names is not None:
        return sum(_text_bytes(values[key]) for key in values.dtype.names)
    return sum(map(len, values.ravel())) if values.dtype.kind == "O" else 0
