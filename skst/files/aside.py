"""Counts that are read a few rows at a time, put aside in a temporary file."""

import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


class RowsAside:
    """A sparse matrix in a temporary file, of which any rows can be read; it takes six bytes of disk an entry.

    The file is in the folder of :mod:`tempfile`, which ``TMPDIR`` names, and is gone with the object.

    Parameters
    ----------
    n_rows, n_columns : int

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
        self._file = tempfile.TemporaryFile(prefix="skst-", buffering=0)  # lives as long as the object
        number = np.uint16 if n_columns <= 2**16 else np.int32
        self._entry = np.dtype([("value", np.float32), ("column", number)])
        self._starts = np.zeros(n_rows, dtype=np.int64)  # of the entries of each row, in entries
        self._lengths = np.zeros(n_rows, dtype=np.int32)
        self._order = None
        self._end = 0

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
        entries = np.empty(part.nnz, dtype=self._entry)
        entries["value"], entries["column"] = part.data, part.indices
        self._starts[rows] = self._end + part.indptr[:-1]
        self._lengths[rows] = np.diff(part.indptr)
        self._file.seek(self._end * self._entry.itemsize)
        left = memoryview(entries.view(np.uint8))
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise OSError(
                f"{tempfile.gettempdir()} has no room for the counts of {self.shape[0]} spots that are put aside there "
                f"({error.strerror}); name another folder by the environment variable TMPDIR."
            ) from error
        self._end += part.nnz

    def order_columns(self, order: NDArray[np.integer]) -> None:
        """Have the columns in another order from now on: those whose numbers are given."""
        self._order = np.argsort(order)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows: Any) -> csr_array:
        """Some rows, in the order asked for."""
        rows = np.asarray(rows)
        starts, lengths = self._starts[rows], self._lengths[rows]
        ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        entries = np.empty(ends[-1], dtype=self._entry)
        # Rows that follow each other in the file are read at once.
        first = np.flatnonzero(np.append(True, starts[1:] != starts[:-1] + lengths[:-1])[: len(rows)])
        for start, end in zip(first, np.append(first[1:], len(rows)), strict=True):
            self._file.seek(starts[start] * self._entry.itemsize)
            self._fill(entries[ends[start] : ends[end]])
        columns = entries["column"].astype(np.int32)
        if self._order is not None:
            columns = self._order[columns].astype(np.int32)
        values = np.ascontiguousarray(entries["value"])
        return csr_array((values, columns, ends), shape=(len(rows), self.shape[1]))

    def _fill(self, entries):
        left = memoryview(entries.view(np.uint8))
        while left:
            left = left[self._file.readinto(left) :]
