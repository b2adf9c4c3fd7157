"""Attacks by folders of models: damaged and hostile settings, code, links, other weights."""

import functools
import json
import os
import sys
import warnings

import numpy as np

from skst.text.backends import resolve_backend
from skst.text.model_folder import directory_digest, model_files

from .arena import Kind
from .mutations import changed, damaged, pick
from .verdict import HELD, require

_TEXTS = ["insulin glucose", "glucose"]
_CODE = "open({marker!r}, 'w').close()\nclass Encoder: pass\n"


def _prepare(folder):
    """The files of a model of several modules, and its vectors."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer releases have another name for it
        from sentence_transformers import models

    words = models.WordEmbeddings(models.tokenizer.WhitespaceTokenizer(["insulin", "glucose"]), torch.rand(2, 8))
    layers = [words, models.Pooling(8), models.Dense(8, 6), models.LayerNorm(6), models.Normalize()]
    SentenceTransformer(modules=layers, device="cpu").save(str(folder / "model"))
    files = {
        path.relative_to(folder / "model"): path.read_bytes()
        for path in sorted((folder / "model").rglob("*"))
        if path.is_file() and path.name != "README.md"
    }
    vectors = resolve_backend(folder / "model", device="cpu").encode(_TEXTS)
    return files, vectors, directory_digest(folder / "model")


def _attempt(rng, folder, given):
    files, vectors, digest = given
    marker = folder / "executed"
    model = folder / "model"
    for name, content in files.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(content)
    (model / "own_code.py").write_text(_CODE.format(marker=str(marker)))
    os.chdir(model)  # where Python looks for modules first, as for ``python -c``
    sys.path[:] = ["", *(place for place in sys.path if place)]
    if rng.random() < 0.9:
        for _ in range(int(rng.integers(1, 3))):
            pick(rng, _DEEDS)(rng, model, sorted(files))
    is_same = _has_same_files(model, files)
    try:
        found = directory_digest(model)
        require((found == digest) == is_same, "a digest that does not tell of a change")
        result = resolve_backend(model, device="cpu").encode(_TEXTS)
    finally:
        os.chdir("/")
        sys.modules.pop("own_code", None)
        require(not marker.exists(), "code of the folder was run")
    if is_same:
        require(np.array_equal(result, vectors), "other vectors from the same files")
    return HELD


def _has_same_files(model, files):
    """Whether the files that a model is made of are those that were saved."""
    now = {path.relative_to(model) for path in model.rglob("*") if path.is_file()}
    now = set(model_files([path.as_posix() for path in now]))
    before = set(model_files([path.as_posix() for path in files]))
    return now == before and all((model / name).read_bytes() == files[name] for name in files if name.as_posix() in now)


# What is done to a folder


def _settings(files):
    return [name for name in files if name.suffix == ".json"]


def _change_settings(rng, model, files):
    path = model / pick(rng, _settings(files))
    if not path.is_file() or path.is_symlink():
        return
    try:
        settings = json.loads(path.read_bytes())
    except ValueError:
        return
    for _ in range(int(rng.integers(1, 4))):
        settings = changed(settings, rng)
    path.write_text(json.dumps(settings))


def _add_setting(rng, model, files):
    path = model / pick(rng, [*_settings(files), "config.json", "sentence_bert_config.json", "adapter_config.json"])
    wishes = (
        {"auto_map": {"AutoModel": "own_code.Encoder"}},
        {"trust_remote_code": True},
        {"activation_function": "own_code.Encoder"},
        {"tokenizer_class": "own_code.Encoder"},
        {"attn_implementation": "someone/kernel"},
        {"model_args": {"trust_remote_code": True, "code_revision": "main"}},
        {"tokenizer_name_or_path": "/etc"},
        {"types": {"a": "own_code.Encoder"}},
        {"type": "own_code.Encoder"},
    )
    if path.is_symlink() or path.is_fifo():
        return
    try:
        settings = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError:
        return
    wish = pick(rng, wishes)
    if isinstance(settings, list) and settings and isinstance(settings[0], dict):
        settings[int(rng.integers(len(settings)))] = pick(rng, settings) | wish
    elif isinstance(settings, dict):
        settings |= wish
    path.write_text(json.dumps(settings))


def _damage_file(rng, model, files):
    path = model / pick(rng, files)
    if path.is_file() and not path.is_symlink():
        path.write_bytes(damaged(path.read_bytes(), rng, b'{"type": "own_code.Encoder"}' * 9))


def _remove_file(rng, model, files):
    (model / pick(rng, files)).unlink(missing_ok=True)


def _link(rng, model, files):
    path = model / pick(rng, files)
    path.unlink(missing_ok=True)
    pick(rng, (lambda: path.symlink_to("/etc/passwd"), lambda: os.mkfifo(path), lambda: path.symlink_to(path)))()


def _add_file(rng, model, files):
    folder = pick(rng, (model, *((model / name).parent for name in files)))
    names = ("pytorch_model.bin", "weights.pkl", "modeling.py", "notes.md", "extra.json", "router_config.json")
    name = pick(rng, names)
    path = folder / name
    if name == "pytorch_model.bin":
        _write_pickle(path, model.parent / "executed")
    else:
        path.write_text(pick(rng, ("{}", "[]", "[" * 10**5, '{"types": {"a": "own_code.Encoder"}}', "")))


def _write_pickle(path, marker):
    import torch

    torch.save({"linear.weight": _Touch(str(marker))}, path)


class _Touch:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return functools.partial(open, self.marker, "w"), ()


_DEEDS = (_change_settings, _change_settings, _add_setting, _damage_file, _damage_file, _remove_file, _link, _add_file)

KINDS = [Kind("model folders", _attempt, _prepare, rounds=30)]
