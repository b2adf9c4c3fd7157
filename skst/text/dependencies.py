"""What the vectors of an encoder depend on beside its parameters and X: files, tables and models that may change."""

import hashlib
import os
import warnings
from pathlib import Path

from skst._version import __version__
from skst.files.home import find_file
from skst.genes.descriptions import table_of
from skst.text.text_vectors import TextVectors

SPECIES = ("human", "mouse")


def outside_content(encoder):
    """Content of all that is outside of a :class:`~skst.GeneTextEncoder`, for keys of what it made.

    A path stands for another content once its file is rewritten, and "auto" for another model once that is installed.

    Parameters
    ----------
    encoder : GeneTextEncoder

    Returns
    -------
    tuple of str
        The version of skst, what makes vectors, and digests of the files of vectors and descriptions.
    """
    files = [path for path in (encoder.vectors, encoder.descriptions) if isinstance(path, (str, os.PathLike))]
    if encoder.descriptions is None:
        files += [path for species in SPECIES if (path := find_file(table_of(species))) is not None]
    made_by = "vectors"
    if encoder.vectors is None or encoder.mode == "dual":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fit will say it
            made_by = repr(TextVectors(encoder).identity)
    return (__version__, made_by, *map(_digest, files))


def _digest(path):
    """SHA-256 of a file, "absent" if there is none."""
    try:
        with Path(path).expanduser().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "absent"
