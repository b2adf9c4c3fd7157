"""Which model reads texts, and how."""

import numbers
import os
from typing import Any

from skst._constraints import Interval
from skst._parameters import Settings


class TextModel(Settings):
    """A language model that makes vectors of texts.

    Parameters
    ----------
    model : str, path-like or object, default="auto"
        "auto" (all-MiniLM-L6-v2), any Sentence Transformers or Hugging Face name or local path, "lexical" (hashed
        words; no model, no download), or an object whose ``encode`` takes a list of str and returns an array of shape
        (n, d).  In a grid search give a name: an object is copied by each clone.
    device : str, default="auto"
        Where the model runs, such as "cpu" or "cuda"; "auto" takes a GPU if there is one.
    batch_size : int, default=64
        Texts that the model reads at once.
    cache : bool, str or path-like, default=True
        Keep vectors on disk, in the given directory or the user's cache, so that no text is encoded twice.  Those of
        "lexical", which are made faster than they are found, are not kept.

    Examples
    --------
    >>> from skst import GeneTextEncoder
    >>> from skst.text import TextModel
    >>> GeneTextEncoder(model=TextModel("all-MiniLM-L6-v2", device="cpu")).get_params()["model__device"]
    'cpu'
    """

    _parameter_constraints = {
        "model": "no_validation",
        "device": [str],
        "batch_size": [Interval(numbers.Integral, 1, None, closed="left")],
        "cache": ["boolean", str, os.PathLike, None],
    }

    def __init__(self, model="auto", *, device="auto", batch_size=64, cache=True):
        self.model = model
        self.device = device
        self.batch_size = batch_size
        self.cache = cache


def as_text_model(model: Any) -> TextModel:
    """The :class:`TextModel` that a name, a path or an object with ``encode`` stands for."""
    return model if isinstance(model, TextModel) else TextModel(model)
