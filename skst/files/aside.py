"""Counts that are read a few rows at a time, put aside in a temporary file."""

import copy
import tempfile
import weakref
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


class RowsAside:
    """A matrix in a temporary file, of which any rows can be read; it takes six bytes of disk an entry that is not 0.

    The file is in the folder of :mod:`tempfile`, which ``TMPDIR`` names, and is gone with the object.

    Parameters
    ----------
    n_rows, n_columns : int

    Raises
    ------
    OSError
        If no temporary file can be made.

    Attributes
    ----------
    shape : (int, int)
    nnz : int
        Entries that are not 0.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from skst.files.aside import RowsAside
    >>> rows = RowsAside(3, 2)
    >>> rows.append(sparse.csr_array(np.array([[1.0, 0.0], [0.0, 2.0]], dtype=np.float32)), np.array([2, 0]))
    >>> rows[[0, 2]].toarray()
    array([[0., 2.],
           [1., 0.]], dtype=float32)
    """

    def __init__(self, n_rows, n_columns):
        self.shape = n_rows, n_columns
        self.nnz, self._lowest = 0, 0.0
        self._dense = False
        self._scratch = _Scratch()
        number = np.uint16 if n_columns <= 2**16 else np.int32
        self._entry = np.dtype([("value", np.float32), ("column", number)])
        self._starts = np.zeros(n_rows, dtype=np.int64)  # of the entries of each row, in entries
        self._lengths = np.zeros(n_rows, dtype=np.int32)
        self._order = None

    dtype = np.dtype(np.float32)

    def append(self, part: csr_array, rows: NDArray[np.integer]) -> None:
        """Put rows aside.

        Parameters
        ----------
        part : csr_array of shape (n_part, n_columns), float32
        rows : ndarray of int of shape (n_part,)
            Which rows of the whole they are.

        Raises
        ------
        OSError
            If there is no room.
        """
        if not part.data.all():
            part = part.copy()
            part.eliminate_zeros()
        entries = np.empty(part.nnz, dtype=self._entry)
        entries["value"], entries["column"] = part.data, part.indices
        self._starts[rows] = self.nnz + part.indptr[:-1]
        self._lengths[rows] = np.diff(part.indptr)
        self._scratch.file.seek(self.nnz * self._entry.itemsize)
        left = memoryview(entries.view(np.uint8).data)
        try:
            while left:
                left = left[self._scratch.file.write(left) :]
        except OSError as error:
            raise OSError(
                f"{tempfile.gettempdir()} has no room for the counts of {self.shape[0]} spots that are put aside there "
                f"({error.strerror}); name another folder by the environment variable TMPDIR."
            ) from error
        self.nnz += part.nnz
        self._lowest = min(self._lowest, float(part.data.min(initial=0)))

    def ordered(
        self,
        rows: NDArray[np.integer] | None = None,
        columns: NDArray[np.integer] | None = None,
        *,
        dense: bool = False,
    ) -> Self:
        """The same matrix, with rows and columns in another order; those of a whole that is in the order it came in.

        Parameters
        ----------
        rows, columns : ndarray of int, default=None
            Their numbers; None where they stay.
        dense : bool, default=False
            Whether rows are given as an ndarray.
        """
        view = copy.copy(self)
        view._dense = dense
        if rows is not None:
            view._starts, view._lengths = self._starts[rows], self._lengths[rows]
        if columns is not None:
            view._order = np.argsort(columns).astype(np.int32)
        return view

    def min(self) -> float:
        """The least entry, or 0 if that is less."""
        return self._lowest

    @property
    def size(self) -> int:
        """What a block of rows holds of the whole: entries that are stored, or all where they are dense."""
        return self.shape[0] * self.shape[1] if self._dense else self.nnz

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        """Some rows, an array of their numbers or a slice, as a csr_array or an ndarray."""
        starts, lengths = self._starts[rows], self._lengths[rows]
        ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        entries = np.empty(ends[-1], dtype=self._entry)
        # Rows that follow each other in the file are read at once.
        first = np.flatnonzero(np.append(True, starts[1:] != starts[:-1] + lengths[:-1])[: len(starts)])
        for start, end in zip(first, np.append(first, len(starts))[1:], strict=True):
            self._scratch.file.seek(starts[start] * self._entry.itemsize)
            self._fill(entries[ends[start] : ends[end]])
        columns = entries["column"].astype(np.int32)
        if self._order is not None:
            columns = self._order[columns]
        values = np.ascontiguousarray(entries["value"])
        found = csr_array((values, columns, ends), shape=(len(starts), self.shape[1]))
        if self._dense:
            return found.toarray()
        if self._order is not None:
            found.sort_indices()
        return found

    def _fill(self, entries):
        left = memoryview(entries.view(np.uint8).data)
        while left:
            left = left[self._scratch.file.readinto(left) :]


class _Scratch:
    """A temporary file that is gone with the last look at it."""

    def __init__(self):
        try:
            self.file = tempfile.TemporaryFile(prefix="skst-", buffering=0)
        except OSError as error:
            raise OSError(
                f"Counts of spots are put aside in a temporary file, and none can be made ({error}); name a folder "
                "that can be written to by the environment variable TMPDIR."
            ) from error
        weakref.finalize(self, self.file.close)
