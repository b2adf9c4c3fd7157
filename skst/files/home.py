"""Where data sets, gene descriptions and text vectors are kept."""

import os
import tempfile
from pathlib import Path


def get_data_home(data_home: str | os.PathLike[str] | None = None) -> Path:
    """Directory of downloaded and locally provided data.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The directory; by default the environment variable ``SKST_DATA_HOME``, else the user's cache directory.
        It is not created and may be read-only.

    Returns
    -------
    pathlib.Path

    Examples
    --------
    >>> from skst.datasets import get_data_home
    >>> get_data_home("/data/tissues").name
    'tissues'
    """
    if data_home is None:
        data_home = os.environ.get("SKST_DATA_HOME") or _user_cache()
    return Path(data_home).expanduser()


def cache_home() -> Path:
    """Writable directory for whatever can be made again: ``SKST_CACHE_HOME``, else the user's cache directory."""
    return Path(os.environ.get("SKST_CACHE_HOME") or _user_cache()).expanduser()


def _user_cache() -> Path:
    """The cache directory of the user; of one without a home, as in some containers, a temporary one."""
    import pooch

    try:
        return Path(pooch.os_cache("skst")).expanduser()
    except RuntimeError:
        return Path(tempfile.gettempdir()) / "skst"


def find_file(name: str | os.PathLike[str], data_home: str | os.PathLike[str] | None = None) -> Path | None:
    """Path of `name` in the data home, else where an earlier download left it, else None."""
    for home in (get_data_home(data_home), cache_home()):
        if (home / name).is_file():
            return home / name
    return None


def writable_home(data_home: str | os.PathLike[str] | None = None) -> Path:
    """The data home, made if need be, or the cache directory where it cannot be written."""
    home = get_data_home(data_home)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return home
    except OSError:
        return cache_home()
