"""What the vectors of an encoder depend on beside its parameters and X: files, tables and models that may change."""

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

from skst._version import __version__
from skst.files.home import find_file
from skst.genes.descriptions import table_of
from skst.text.models import TextModel
from skst.text.text_vectors import TextVectors

SPECIES = ("human", "mouse")


def outside_content(vectors: Any, table: Any, model: TextModel | None) -> tuple[str, ...]:
    """Content of all that a :class:`~skst.GeneTextEncoder` reads from outside, for keys of what it made.

    A path stands for another content once its file is rewritten, and "auto" for another model once that is installed.

    Parameters
    ----------
    vectors : object
        Precomputed vectors, or their file.
    table : object
        Descriptions, their file, or None for those that are found.
    model : TextModel or None
        What makes vectors, if anything does.

    Returns
    -------
    tuple of str
        The version of skst, what makes vectors, and digests of the files of vectors and descriptions.
    """
    files = [path for path in (vectors, table) if isinstance(path, (str, os.PathLike))]
    if table is None:
        files += [path for species in SPECIES if (path := find_file(table_of(species))) is not None]
    made_by = "vectors"
    if model is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fit will say it
            made_by = repr(TextVectors(model).identity)
    return (__version__, made_by, *map(_digest, files))


def _digest(path):
    """SHA-256 of a file, "absent" if there is none."""
    try:
        with Path(path).expanduser().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "absent"
