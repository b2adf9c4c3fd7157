"""Counts that are put aside in a temporary file."""

import errno
import tempfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skst.files.aside import RowsAside
from skst.inputs.blocks import column_sums, row_sums


@pytest.fixture
def matrix():
    return sparse.csr_array(np.random.default_rng(0).poisson(0.4, (60, 7)).astype(np.float32))


@pytest.fixture
def aside(matrix):
    """The matrix in three parts, of which the second holds the last rows."""
    found = RowsAside(*matrix.shape)
    for rows in (np.arange(0, 20), np.arange(59, 39, -1), np.arange(20, 40)):
        found.append(matrix[rows], rows)
    return found


@pytest.mark.parametrize("rows", [[3], [5, 4, 58, 0, 5], np.arange(10, 50), slice(18, 45), slice(None), []])
def test_rows_are_those_that_were_put_aside(rows, matrix, aside):
    rows = np.array(rows, dtype=int) if isinstance(rows, list) else rows
    found = aside[rows]
    assert_array_equal(found.toarray(), matrix[rows].toarray())
    assert found.dtype == np.float32


def test_rows_that_follow_each_other_are_read_at_once(aside, monkeypatch):
    read = []
    fill = RowsAside._fill
    monkeypatch.setattr(RowsAside, "_fill", lambda self, entries: (read.append(len(entries)), fill(self, entries)))
    aside[np.arange(20)]
    assert len(read) == 1
    aside[np.array([3, 4, 9])]
    assert len(read) == 3


@pytest.mark.parametrize("dense", [False, True])
def test_another_order_is_another_look_at_the_same(dense, matrix, aside):
    rows, columns = np.random.default_rng(1).permutation(60), np.random.default_rng(2).permutation(7)
    view = aside.ordered(rows, columns, dense=dense)
    found = view[np.arange(5, 30)]
    assert sparse.issparse(found) != dense
    expected = matrix[rows][:, columns]
    assert_array_equal(found if dense else found.toarray(), expected[5:30].toarray())
    assert dense or found.has_sorted_indices
    assert_array_equal(aside[:].toarray(), matrix.toarray())
    assert_array_equal(row_sums(view), row_sums(expected))
    assert_array_equal(column_sums(view, 2), column_sums(expected, 2))


def test_what_is_stored_though_it_is_zero_is_no_entry(matrix):
    stored = matrix.copy()
    stored.data[::2] = 0
    aside = RowsAside(*stored.shape)
    aside.append(stored, np.arange(60))
    assert aside.nnz == np.count_nonzero(stored.data) and stored.nnz == matrix.nnz
    assert_array_equal(aside[:].toarray(), stored.toarray())
    assert aside.min() == 0


def test_there_may_be_many_columns():
    wide = sparse.csr_array(([1.0, -2.0], ([0, 1], [0, 99_999])), shape=(2, 100_000), dtype=np.float32)
    aside = RowsAside(*wide.shape)
    aside.append(wide, np.array([1, 0]))
    assert_array_equal(aside[:].indices, [99_999, 0])
    assert aside.min() == -2


def test_a_folder_that_takes_no_file_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(OSError, match=r"none can be made \(.*gone.*\); name a folder .* TMPDIR\.$"):
        RowsAside(3, 2)


def test_a_full_disk_says_which_folder_it_is(matrix, aside, monkeypatch):
    class Full:
        seek = staticmethod(lambda place: None)

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(aside._scratch, "file", Full())
    with pytest.raises(OSError, match=rf"{tempfile.gettempdir()} has no room for the counts of 60 .*TMPDIR\.$"):
        aside.append(matrix, np.arange(60))
