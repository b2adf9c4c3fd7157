"""Threads, no more than work is worth."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

from skst import limits


@contextmanager
def threads_worth(n_rows: int) -> Iterator[None]:
    """Let the libraries that compute have no more threads than so many rows are worth.

    Threads of OpenMP wait for each other by spinning, so that beside other busy processes two of them can take ten
    times as long as one.  On few rows they gain nothing where nobody else is busy either.

    Parameters
    ----------
    n_rows : int
        Spots or cells that are worked on at once.

    Examples
    --------
    >>> from threadpoolctl import threadpool_info
    >>> from skst._threads import threads_worth
    >>> with threads_worth(500):
    ...     {library["num_threads"] for library in threadpool_info()} <= {1}
    True
    """
    with _at_most(max(1, n_rows // limits.ROWS_A_THREAD)):
        yield


def one_thread_each() -> AbstractContextManager[None]:
    """Leave threads to the caller, who works on several things at once: the libraries have one each."""
    return _at_most(1)


@contextmanager
def _at_most(n_threads):
    controller = _controller("torch" in sys.modules)
    with controller.limit(limits={lib["prefix"]: min(lib["num_threads"], n_threads) for lib in controller.info()}):
        yield


@cache
def _controller(has_torch: bool) -> Any:
    """Of the libraries that have threads.  Looking for them takes milliseconds; torch, which comes late, brings one."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
