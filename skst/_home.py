"""Where data sets, gene descriptions and text vectors are kept."""

import os
from pathlib import Path

import pooch


def get_data_home(data_home=None):
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
        data_home = os.environ.get("SKST_DATA_HOME") or pooch.os_cache("skst")
    return Path(data_home).expanduser()


def cache_home():
    """Writable directory for whatever can be made again: ``SKST_CACHE_HOME``, else the user's cache directory."""
    return Path(os.environ.get("SKST_CACHE_HOME") or pooch.os_cache("skst")).expanduser()
