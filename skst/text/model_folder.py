"""Folders of SentenceTransformer models: which files belong to one, and whether loading it would run code of its own.

What a folder says decides what is imported: the types of its modules, of modules within modules, of activations and
tokenizers, and settings that are handed to functions.  Releases of sentence-transformers differ in what they check, and
the older ones check nothing, so what may be said is listed here.
"""

import hashlib
import json
import os
import re
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path, PurePosixPath

from skst._modes import undisturbed
from skst.files.untrusted import told

_MODEL_FILES = (".json", ".txt", ".model", ".jinja", ".safetensors", ".bin")
_OTHER_RUNTIMES = ("onnx", "openvino", "original")

_PLACES = r"sentence_transformers\.(?:models|base\.modules|sentence_transformer\.modules)"
_LAYERS = (
    "Transformer|Pooling|Normalize|Dense|LayerNorm|Dropout|CNN|LSTM|BoW|WordEmbeddings|WordWeights|"
    "WeightedLayerPooling|StaticEmbedding|CLIPModel|Asym|Router"
)
_MODULE = re.compile(rf"{_PLACES}(?:\.\w+)?\.(?:{_LAYERS})")
_TOKENIZER = re.compile(rf"{_PLACES}\.tokenizer(?:\.\w+)?\.(?:Whitespace|Phrase|Transformers)Tokenizer(?:Wrapper)?")
_ACTIVATION = re.compile(r"torch\.nn(?:\.modules\.(?:activation|linear))?\.[A-Z]\w*")
_MAX_DEPTH = 4
_MAX_NAME = 250

# Settings that a sentence_*_config.json hands to functions of transformers: none of them names a place or code.
_ARGUMENTS = {
    "add_pooling_layer",
    "add_prefix_space",
    "add_special_tokens",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "clean_up_tokenization_spaces",
    "do_lower_case",
    "dtype",
    "hidden_dropout_prob",
    "low_cpu_mem_usage",
    "max_length",
    "model_max_length",
    "output_attentions",
    "output_hidden_states",
    "padding",
    "padding_side",
    "torch_dtype",
    "truncation",
    "truncation_side",
    "use_cache",
    "use_fast",
}
_PLACES_ELSEWHERE = ("tokenizer_name_or_path", "processor_name_or_path", "model_name_or_path", "cache_dir", "backend")


def model_files(files):
    """The files that loading with torch takes: no code, and pickled weights only for want of others."""
    safe = {os.path.dirname(file) for file in files if file.endswith(".safetensors")}
    return [
        file
        for file in files
        if file.endswith(_MODEL_FILES)
        and file.partition("/")[0] not in _OTHER_RUNTIMES
        and not (file.endswith(".bin") and os.path.dirname(file) in safe)
    ]


def holds_weights(directory):
    """Whether there is anything to load."""
    return any(path.suffix in (".safetensors", ".bin") for path in directory.rglob("*"))


def directory_digest(directory):
    """SHA-256 of all that loading a model from a folder takes.

    Raises
    ------
    ValueError
        If a part of the folder is a link out of it.
    """
    digest = hashlib.sha256()
    for file in sorted(model_files(_own_files(directory))):
        stat = (directory / file).stat()
        digest.update(f"{file} {_file_digest(directory / file, stat.st_size, stat.st_mtime_ns)}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _file_digest(path, size, mtime_ns):
    """SHA-256 of a file; size and time tell the memory of this function when the file has changed."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_files(directory):
    """Files in a folder and in those below it, none of which may lie elsewhere."""
    root, files = directory.resolve(), []
    # The hub's local cache keeps contents by their hash, and links to them.
    homes = [root, *([root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [])]
    for folder, folders, names in os.walk(directory):
        for path in (Path(folder, name) for name in (*folders, *names)):
            if path.is_symlink() and not any(Path(os.path.realpath(path)).is_relative_to(home) for home in homes):
                raise ValueError(
                    f"model={str(directory)!r} holds {path.name!r}, a link out of the directory; put a copy of what "
                    "it leads to in its place."
                )
            if path.is_file():
                files.append(path.relative_to(directory).as_posix())
            elif path.exists() and not path.is_dir():  # reading a pipe would not end
                raise ValueError(f"model={str(directory)!r} holds {path.name!r}, which is no plain file; remove it.")
    return files


def read_json(path):
    """What a JSON file says, None if it is absent.

    Raises
    ------
    ValueError
        If it is no JSON.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"model: {str(path)!r} is no JSON that can be read ({type(error).__name__}); get the model again."
        ) from error


def refuse_code(name, directory):
    """Raise unless a model can be loaded from its folder by modules that are known, with nothing from elsewhere.

    Parameters
    ----------
    name : str
        What an error calls the model.
    directory : Path
        The folder.

    Raises
    ------
    ValueError
        If a module, or a part of one, is of a type that is not known; if a setting leads out of the folder or
        asks for code; if weights are pickled and this torch would run what they say; and if what describes the
        model is malformed.
    """
    _own_files(directory)
    folder = _Folder(name, directory)
    folder.check_settings(directory)
    path = directory / "modules.json"
    if not path.exists():
        return  # a plain Hugging Face model
    modules = read_json(path)
    if not isinstance(modules, list) or not modules:
        raise folder.malformed("modules.json")
    for module in modules:
        if not isinstance(module, dict):
            raise folder.malformed("modules.json")
        folder.check_module(module.get("type"), module.get("path"))


def load(name, directory, device, dtype="auto"):
    """The SentenceTransformer in a folder, which is checked first; see :func:`refuse_code`.

    Parameters
    ----------
    name : str
        What an error calls the model.
    directory : Path
        The folder.
    device : str
        Torch device; "auto" is CUDA where available, else the CPU.
    dtype : str, default="auto"
        Precision of the weights, by torch's name for it; "auto" leaves it to the library.

    Returns
    -------
    SentenceTransformer

    Raises
    ------
    ValueError
        If the folder is refused, or holds no model that can be loaded to the device.
    """
    refuse_code(name, directory)
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    # Loading takes a moment and would draw a bar of its own into that of the texts.
    drew_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # A path that could be a name is looked for on the hub too, so it is given in full.
        with undisturbed(gradients=False):
            model = SentenceTransformer(
                str(directory.absolute()),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs=_precision(dtype),
            )
        if not (directory / "modules.json").exists():
            # A plain model that can chat: some releases put each text into a chat of their own, others do not.
            getattr(model[0], "modality_config", {}).pop("message", None)
        first, *others = model
        if dtype in ("bfloat16", "float16") and not any(list(layer.parameters()) for layer in others):
            # The mean over many tokens, and a length of 1, are lost in half precision.
            first.register_forward_hook(_as_float32)
        return model
    except Exception as error:  # every architecture has errors of its own
        raise ValueError(
            f"model={name!r} cannot be loaded from {directory} on device={device!r} ({type(error).__name__}: "
            f"{told(error)}); check the device, or delete the directory's content and get the model again."
        ) from error
    finally:
        if drew_bars:
            logging.enable_progress_bar()


def _as_float32(layer, given, features):
    """States of the last layer as what follows is to have them; a hook of torch."""
    return features | {"token_embeddings": features["token_embeddings"].float()}


def _precision(dtype):
    """Of ``from_pretrained``, by the name that this release of transformers has for it."""
    import torch
    import transformers

    if dtype == "auto":
        return None
    is_new = tuple(map(int, transformers.__version__.split(".")[:2])) >= (4, 56)
    return {"dtype" if is_new else "torch_dtype": getattr(torch, dtype)}


@contextmanager
def saying_why(name):
    """Say in one sentence why a model makes no vectors; whether its parts fit each other shows only then."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(
            f"model={name!r} cannot make vectors of texts ({type(error).__name__}: {told(error)}); get the model "
            "again, or lower `batch_size` where memory is short."
        ) from error


class _Folder:
    """The folder of one model."""

    def __init__(self, name, directory):
        self.name = name
        self.directory = directory

    def check_module(self, kind, place, depth=0):
        if not isinstance(kind, str) or not isinstance(place, str):
            raise self.malformed("a description of modules")
        if not _MODULE.fullmatch(kind):
            raise self.needs_code(kind)
        parts = PurePosixPath(place.replace("\\", "/"))
        leads_away = parts.is_absolute() or ".." in parts.parts or ":" in place or "\0" in place
        if leads_away or depth > _MAX_DEPTH or any(len(part) > _MAX_NAME for part in parts.parts):
            raise ValueError(
                f"model={self.name!r} has a module in {told(place)!r}, which is not in its directory; get the model "
                "again."
            )
        folder = self.directory / place
        self.check_settings(folder)
        layer = kind.rpartition(".")[2]
        if layer == "Dense":
            self.check_type(folder / "config.json", "activation_function", _ACTIVATION)
        elif layer == "WordEmbeddings":
            self.check_type(folder / "wordembedding_config.json", "tokenizer_class", _TOKENIZER)
        elif layer in ("Asym", "Router"):
            for file in ("router_config.json", "config.json"):
                nested = self.settings(folder / file).get("types", {})
                if not isinstance(nested, dict):
                    raise self.malformed(file)
                for part, kind_of_part in nested.items():
                    self.check_module(kind_of_part, f"{place}/{part}" if place else part, depth + 1)

    def check_type(self, path, key, known):
        kind = self.settings(path).get(key)
        if kind is not None and not (isinstance(kind, str) and known.fullmatch(kind)):
            raise self.needs_code(f"{key}={kind!r}")

    def settings(self, path):
        settings = read_json(path)
        if not isinstance(settings, dict | None):
            raise self.malformed(path.name)
        return settings or {}

    def check_settings(self, folder):
        """Check the settings and weights that lie in one folder."""
        # Some file systems find a name whatever its case.
        names = {entry.name.lower(): entry for entry in folder.iterdir()} if folder.is_dir() else {}
        if "adapter_config.json" in names:
            raise self.needs_code("an adapter of another model")
        if pickled := [name for name in names if name.endswith((".pkl", ".pickle"))]:
            raise self.needs_code(pickled[0])
        if any(name.endswith(".bin") for name in model_files(names)) and not _weights_are_safe():
            raise ValueError(
                f"model={self.name!r} has pickled weights, which torch runs before 2.6, or where "
                "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set; update torch, or convert them to model.safetensors."
            )
        for name, path in names.items():
            if fnmatch(name, "sentence_*_config.json"):
                self.check_arguments(self.settings(path))
            if fnmatch(name, "*config.json"):
                self.check_wishes(read_json(path))

    def check_wishes(self, settings):
        """Look for what asks for code, however deep."""
        waiting = [settings] if isinstance(settings, dict | list) else []
        while waiting:
            part = waiting.pop()
            for key, value in part.items() if isinstance(part, dict) else enumerate(part):
                if isinstance(value, dict | list):
                    waiting.append(value)
                if key == "trust_remote_code" and value:
                    raise self.needs_code("trust_remote_code")
                if key == "auto_map" and value and not _is_native(part):
                    raise self.needs_code("auto_map")
                # With a slash it names code on the hub.
                if isinstance(key, str) and "_implementation" in key and "/" in json.dumps(value):
                    raise self.needs_code(f"{key}={value!r}")

    def check_arguments(self, settings):
        for key, value in settings.items():
            if key in _PLACES_ELSEWHERE and value not in (None, "torch"):
                raise self.needs_code(f"{key}={value!r}")
            if not key.endswith(("_args", "_kwargs")) or key == "processing_kwargs":
                continue
            if not isinstance(value, dict):
                raise self.malformed("sentence_bert_config.json")
            for argument, choice in value.items():
                if argument not in _ARGUMENTS or isinstance(choice, dict | list):
                    raise self.needs_code(f"{argument} in {key}")

    def malformed(self, what):
        return ValueError(f"model={self.name!r} is malformed in {what}; get the model again.")

    def needs_code(self, what):
        return ValueError(
            f"model={self.name!r} needs code of its own or of another place ({told(what)}), which is not run; load it "
            "yourself and pass the SentenceTransformer."
        )


def _weights_are_safe():
    import torch

    return torch.__version__ >= (2, 6) and not os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")


def _is_native(settings):
    """Whether transformers has a class of its own for what a folder also has code for, and takes that."""
    import transformers

    if str(settings.get("model_type")) in transformers.CONFIG_MAPPING:
        return True
    kinds = ("tokenizer_class", "processor_class", "image_processor_type", "feature_extractor_type")
    known = {name for name in dir(transformers) if name[:1].isupper()}
    return any(str(settings.get(kind)).removesuffix("Fast") in known for kind in kinds)
