"""Bars of progress that a killed process cannot hold up for others."""

import os
import threading
from contextlib import contextmanager
from functools import lru_cache


@contextmanager
def progress_bar(total, name, unit, *, shown=True):
    """Show on stderr how much of something is done.

    Parameters
    ----------
    total : int
    name : str
        Stands before the bar.
    unit : str
        What is counted, in the plural.
    shown : bool, default=True
        Without it nothing is drawn, and no bar is made.

    Yields
    ------
    advance : callable
        To be called with the number that was done since the last call, by default 1.

    Notes
    -----
    The lock of tqdm is shared with forked children, and one that is killed while it holds the lock hangs every later
    bar.  Bars from here have a lock of this process alone.  Children that are forked from now on get locks of their
    own, for tqdm itself too unless it was given a lock: SentenceTransformer makes a bar of tqdm whenever it encodes,
    shown or not.

    Examples
    --------
    >>> from skst._progress import progress_bar
    >>> with progress_bar(2, "lexical", "texts", shown=False) as advance:
    ...     for _ in range(2):
    ...         advance()
    """
    bar_class = _bar_class()
    if not shown:
        yield lambda n=1: None
        return
    with bar_class(total=total, desc=name, unit=f" {unit}") as bar:
        yield bar.update


@lru_cache(maxsize=1)
def _bar_class():
    from tqdm import tqdm
    from tqdm.std import TqdmDefaultWriteLock

    class Bar(tqdm):
        pass

    def take_own_locks():
        # Also because a thread that holds a lock does not live on in the child.
        Bar.set_lock(threading.RLock())
        if isinstance(getattr(tqdm, "_lock", None), TqdmDefaultWriteLock | None):
            tqdm.set_lock(threading.RLock())

    Bar.set_lock(threading.RLock())
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=take_own_locks)
    return Bar
