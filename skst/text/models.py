"""Which model reads texts, and how."""

import numbers
import os
from typing import Any, Self

from skst._constraints import Interval, StrOptions
from skst._parameters import Settings
from skst.text.backends import resolve_backend
from skst.text.reading import Reading

# What SemST tells the model, in other words.
_SEMST_SYSTEM = (
    "You know the biology of genes and tissues. The user lists the genes that one place of a tissue expresses most; "
    "grasp what they do together, so far as it tells which domain of the tissue this is."
)
# Name -> parameters.
PUBLISHED: dict[str, dict] = {
    "Qwen3-4B": {"model": "Qwen/Qwen3-4B", "system": _SEMST_SYSTEM, "dtype": "bfloat16"},
    "Qwen3-Embedding-0.6B": {"model": "Qwen/Qwen3-Embedding-0.6B"},
    "bge-m3": {"model": "BAAI/bge-m3"},
    "granite-embedding-small-english-r2": {"model": "ibm-granite/granite-embedding-small-english-r2"},
    "all-MiniLM-L6-v2": {"model": "all-MiniLM-L6-v2"},
}


class TextModel(Settings):
    """A language model that makes vectors of texts.

    Parameters
    ----------
    model : str, path-like or object, default="auto"
        "auto" (all-MiniLM-L6-v2), any Sentence Transformers or Hugging Face name or local path, "lexical" (hashed
        words; no model, no download), or an object whose ``encode`` takes a list of str and returns an array of shape
        (n, d).  In a grid search give a name: an object is copied by each clone.
    device : str or list of str, default="auto"
        Where the model runs, such as "cpu" or "cuda"; "auto" takes a GPU if there is one.  Several, such as
        ``["cuda:0", "cuda:1"]``, have a copy of a model given by name each, in processes of their own.
    batch_size : int, default=64
        Most texts that the model reads at once; on a CPU fewer, if they hold more than 2,048 tokens.
    prompt : str, default=None
        Stands before each text, such as ``"query: "`` for the models called e5; or holds ``{text}`` where it belongs.
    system : str, default=None
        What the model of a chat is told before each text, which it then reads as a message of the user, within its own
        template.
    dtype : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Precision of the weights of a model given by name.  "auto" is bfloat16 on a CPU that has instructions for its
        matrices (AMX), which reads about three times as many texts a second, and leaves it to the library that loads
        them elsewhere; with "float32" vectors are the same everywhere.
    n_dims : int, default=None
        Keep so many leading numbers of each vector, brought to unit length, of a model that was trained for that
        (Matryoshka); None keeps all.
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
        "device": [str, list, tuple],
        "batch_size": [Interval(numbers.Integral, 1, None, closed="left")],
        "prompt": [str, None],
        "system": [str, None],
        "dtype": [StrOptions({"auto", "float32", "bfloat16", "float16"})],
        "n_dims": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "cache": ["boolean", str, os.PathLike, None],
    }

    def __init__(
        self,
        model="auto",
        *,
        device="auto",
        batch_size=64,
        prompt=None,
        system=None,
        dtype="auto",
        n_dims=None,
        cache=True,
    ):
        self.model = model
        self.device = device
        self.batch_size = batch_size
        self.prompt = prompt
        self.system = system
        self.dtype = dtype
        self.n_dims = n_dims
        self.cache = cache

    @classmethod
    def paper(cls, name: str, **parameters: Any) -> Self:
        """A model that one of the papers uses, read as it does.

        Parameters
        ----------
        name : str
            - "Qwen3-4B", of SemST: a model of chats, told by a system line to think of what genes do, in bfloat16, the
              mean over the last layer.  About 8 GB of weights; the line is in words of our own.
            - "Qwen3-Embedding-0.6B", "bge-m3", "granite-embedding-small-english-r2", "all-MiniLM-L6-v2", of the
              comparison in scLLM-DSC (Table 4), as their makers pool them.  Its sixth,
              Jasper-Token-Compression-600M, runs code of its own and is refused; load it and pass the object.
        **parameters
            Others, which win over those of the paper.

        Returns
        -------
        TextModel

        Raises
        ------
        ValueError
            If no paper uses such a model.

        Examples
        --------
        >>> from skst.text import TextModel
        >>> TextModel.paper("Qwen3-4B", batch_size=8).dtype
        'bfloat16'
        """
        if name not in PUBLISHED:
            raise ValueError(
                f"name={name!r} is no model of the papers that is loaded by name; choose one of {tuple(PUBLISHED)}, or "
                "EndpointBackend for those of OpenAI."
            )
        return cls(**PUBLISHED[name] | parameters)

    @property
    def reading(self) -> Reading:
        """How texts are put to the model."""
        return Reading(self.prompt, self.system, self.dtype, self.n_dims)

    def backend(self, name: Any = None) -> Any:
        """What makes the vectors; see :func:`skst.text.backends.resolve_backend`.

        Parameters
        ----------
        name : str or object, default=None
            In place of `model`.
        """
        return resolve_backend(
            self.model if name is None else name, device=self.device, batch_size=self.batch_size, reading=self.reading
        )


def as_text_model(model: Any) -> TextModel:
    """The :class:`TextModel` that a name, a path or an object with ``encode`` stands for."""
    return model if isinstance(model, TextModel) else TextModel(model)
