"""Vectors that a model returns, checked, and texts handed to it a few at a time."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skst._progress import progress_bar
from skst.text.cache import VectorCache
from skst.text.reading import PLAIN

# A call of the model is to take about this long: efficient, and yet little is lost by Ctrl-C.
_CHUNK_SECONDS = 4.0


_MAX_BATCHES = 32


def encode_texts(
    texts: Sequence[str], backend: Any, cache: VectorCache | None = None, *, batch_size: int = 64, verbose: int = 0
) -> NDArray[np.float32]:
    """Encode texts, each distinct one once and cached ones not at all.

    The longest texts come first, so that lack of memory shows at once.  They go to the backend in chunks of
    some batches; each chunk is stored in the cache as it comes, so a run that was interrupted goes on where
    it was.  A SentenceTransformer cuts off what exceeds its context, ``backend.max_tokens``.

    Parameters
    ----------
    texts : sequence of str of length n_texts
    backend : object
        As returned by :func:`resolve_backend`.
    cache : VectorCache, default=None
        Where vectors are looked up and stored.
    batch_size : int, default=64
        Texts in the first chunk; later ones are larger where the backend is fast.
    verbose : int, default=0
        Above 0, a progress bar on stderr counts the texts that are not cached.

    Returns
    -------
    ndarray of shape (n_texts, d), float32
        Of shape (0, 0) without texts.

    Raises
    ------
    TypeError
        If a text is not a str.
    ValueError
        If the backend returns anything but one finite vector a text, all of one length.

    Examples
    --------
    >>> from skst.text.backends import resolve_backend
    >>> from skst.text.vectors import encode_texts
    >>> vectors = encode_texts(["insulin", "glucagon", "insulin"], resolve_backend("lexical"))
    >>> vectors.shape, bool((vectors[0] == vectors[2]).all())
    ((3, 384), True)
    """
    texts = list(texts)
    odd = next((text for text in texts if not isinstance(text, str)), None)
    if odd is not None:
        raise TypeError(f"texts hold {odd!r}, a {type(odd).__name__}; give every text as a str.")
    if not texts:
        return np.empty((0, 0), dtype=np.float32)
    unique = sorted(dict.fromkeys(texts), key=len, reverse=True)
    found, known = np.zeros(len(unique), dtype=bool), None
    if cache is not None:
        known, found = cache.lookup(unique)
    missing = [text for text, is_found in zip(unique, found, strict=True) if not is_found]
    blocks = list(_encode_chunks(missing, backend, cache, batch_size, verbose))
    if found.any():
        blocks.append(known)
    lengths = {block.shape[1] for block in blocks}
    if len(lengths) > 1:
        raise ValueError(
            f"model: {_name(backend)} has given vectors of {sorted(lengths)} numbers, some of them cached "
            "ones; change its `key`, or clear the cache."
        )
    encoded = np.concatenate(blocks)
    # Rows of `encoded`: the missing texts in their order, then those found in theirs.
    order = np.argsort(np.concatenate([np.flatnonzero(~found), np.flatnonzero(found)]))
    place = {text: row for text, row in zip(unique, order, strict=True)}
    return encoded[[place[text] for text in texts]]


def _encode_chunks(texts, backend, cache, batch_size, verbose):
    n_batches, start = 1, 0
    with progress_bar(len(texts), _name(backend), "texts", shown=verbose and texts) as advance:
        while start < len(texts):
            chunk = texts[start : start + n_batches * batch_size]
            began = time.perf_counter()
            vectors = _as_vectors(backend.encode(chunk), chunk, _name(backend))
            if cache is not None:
                cache.store(chunk, vectors)
            yield vectors
            start += len(chunk)
            advance(len(chunk))
            if time.perf_counter() - began < _CHUNK_SECONDS / 2:
                n_batches = min(2 * n_batches, _MAX_BATCHES)


def _name(backend):
    return getattr(backend, "name", type(backend).__name__)


def _as_vectors(output, texts, name):
    """What a backend returned as a checked float32 array."""
    if hasattr(output, "detach"):  # a torch tensor, perhaps on another device or in bfloat16
        output = output.detach().float().cpu().numpy()
    try:
        with np.errstate(over="ignore"):
            vectors = np.asarray(output, dtype=np.float32)
    except (TypeError, ValueError):
        vectors = None
    if vectors is None or vectors.ndim != 2 or len(vectors) != len(texts) or vectors.shape[1] == 0:
        found = "no numeric array" if vectors is None else f"an array of shape {vectors.shape}"
        raise ValueError(
            f"model: {name}.encode returned {found} for {len(texts)} texts; it must return one of shape (n_texts, d)."
        )
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"model: {name}.encode returned NaN or infinite numbers for {(~finite).sum()} of {len(texts)} "
            f"texts, such as {texts[np.argmin(finite)][:60]!r}; use another model, device or precision."
        )
    return vectors


def check_loaded(reading, name):
    """Raise ValueError if a model that is there already is to be loaded, or put its texts, in a way of its own."""
    for parameter, default in (("dtype", "auto"), ("system", None)):
        if getattr(reading, parameter) != default:
            raise ValueError(
                f"{parameter}={getattr(reading, parameter)!r} is for models that are loaded by name, and {name} is "
                f"there already; set it up before, and leave {parameter}={default!r}."
            )


class _ObjectBackend:
    """Any object with ``encode``."""

    def __init__(self, model, reading=PLAIN):
        self.model = model
        self.name = str(getattr(model, "name", type(model).__name__))
        self.max_tokens = getattr(model, "max_tokens", None)
        self.reading = reading
        check_loaded(reading, self.name)

    @property
    def key(self):
        key = getattr(self.model, "key", None) or getattr(self.model, "cache_key", None)
        return f"{key}{self.reading.suffix}" if isinstance(key, str) else None

    def encode(self, texts):
        texts = self.reading.written(texts, name=self.name)
        return self.reading.kept(_as_vectors(self.model.encode(texts), texts, self.name), self.name)
