"""Threads, no more than work is worth."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    controller = _controller("torch" in sys.modules)
    worth = max(1, n_rows // limits.ROWS_A_THREAD)
    with controller.limit(limits={lib["prefix"]: min(lib["num_threads"], worth) for lib in controller.info()}):
        yield


@cache
def _controller(has_torch: bool) -> Any:
    """Of the libraries that have threads.  Looking for them takes milliseconds; torch, which comes late, brings one."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
