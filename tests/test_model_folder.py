"""Folders of models: no word in one is enough to run code, or to read what lies elsewhere."""

import json
import os
import shutil
import sys

import pytest

from skst.text.backends import resolve_backend
from skst.text.model_folder import directory_digest, load, model_files, refuse_code

MODELS = "sentence_transformers.models"


def test_only_what_torch_needs_is_downloaded():
    files = [
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "2_Dense/pytorch_model.bin",
        "vocab.txt",
    ]
    files += [
        "tf_model.h5",
        "onnx/model.onnx",
        "onnx/config.json",
        "modeling.py",
        "README.md",
        "1_Pooling/config.json",
    ]
    kept = [
        "config.json",
        "model.safetensors",
        "2_Dense/pytorch_model.bin",
        "vocab.txt",
        "1_Pooling/config.json",
    ]
    assert model_files(files) == kept


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder from somewhere with code in it, and the working directory, as for ``python -c``."""
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "own_code.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    monkeypatch.chdir(directory)
    monkeypatch.syspath_prepend("")
    yield directory
    sys.modules.pop("own_code", None)
    assert not (tmp_path / "executed").exists()


def _write(directory, file, content):
    path = directory / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def _modules(*modules):
    return [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (kind, path) in enumerate(modules)]


def _refused(directory, match):
    for call in (lambda: refuse_code("it", directory), lambda: resolve_backend(directory, device="cpu").encode(["a"])):
        with pytest.raises(ValueError, match=match) as error:
            call()
        message = str(error.value)
        assert message.startswith("model") and message.endswith(".") and ". " not in message and "\n" not in message


@pytest.mark.parametrize(
    "kind",
    [
        "own_code.Encoder",
        "sentence_transformers.util.import_from_string",
        "sentence_transformers.models..own_code.Encoder",
        "sentence_transformers.models.own_code",
        "sentence_transformers.models.Transformer\n",
        "sentence_transformers_own.models.Transformer",
        "sentence_transformers.SentenceTransformer",
    ],
)
def test_module_types_that_are_not_known(folder, kind):
    _write(folder, "modules.json", _modules((kind, "")))
    _refused(folder, "needs code of its own")
    for file in ("config.json", "router_config.json"):
        _write(folder, "modules.json", _modules((f"{MODELS}.Asym", "0_A")))
        _write(folder, "0_A/config.json", {"types": {}})
        _write(folder, f"0_A/{file}", {"types": {"0_B": f"{MODELS}.Router"}})
        _write(folder, f"0_A/0_B/{file}", {"types": {"0_C": kind}})
        _refused(folder, "needs code of its own")


@pytest.mark.parametrize(
    ("file", "content", "match"),
    [
        ("2_Dense/config.json", {"activation_function": "own_code.Encoder"}, "activation_function='own_code.Encoder'"),
        ("2_Dense/config.json", {"activation_function": "torch.hub.load"}, "activation_function='torch.hub.load'"),
        ("2_Dense/config.json", {"activation_function": ["own_code"]}, "activation_function="),
        ("2_Dense/config.json", "[1]", "malformed in config.json"),
        ("3_Words/wordembedding_config.json", {"tokenizer_class": "own_code.Encoder"}, "tokenizer_class='own_code"),
        ("sentence_bert_config.json", {"model_args": {"weights_only": False}}, "weights_only in model_args"),
        ("sentence_bert_config.json", {"model_kwargs": {"trust_remote_code": True}}, "trust_remote_code in model_kw"),
        ("sentence_roberta_config.json", {"config_args": {"subfolder": "../x"}}, "subfolder in config_args"),
        (
            "sentence_bert_config.json",
            {"tokenizer_args": {"vocab_file": "/etc/passwd"}},
            "vocab_file in tokenizer_args",
        ),
        ("sentence_bert_config.json", {"tokenizer_name_or_path": "/etc"}, "tokenizer_name_or_path='/etc'"),
        ("sentence_bert_config.json", {"model_args": "x"}, "malformed in sentence_bert_config.json"),
        ("sentence_bert_config.json", "[]", "malformed in sentence_bert_config.json"),
        ("config.json", {"model_type": "own", "auto_map": {"AutoModel": "own_code.Encoder"}}, "auto_map"),
        ("config.json", {"text": {"auto_map": {"AutoModel": "own_code.Encoder"}}}, "auto_map"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["own_code.Encoder", None]}}, "auto_map"),
        ("config.json", {"model_type": "bert", "trust_remote_code": True}, "trust_remote_code"),
        (
            "config.json",
            {"model_type": "bert", "attn_implementation": "lab/kernel"},
            "attn_implementation='lab/kernel'",
        ),
        (
            "config.json",
            {"sub": [{"_attn_implementation_internal": {"": "lab/kernel"}}]},
            "attn_implementation_internal",
        ),
        ("config.json", "[" * 100_000, "no JSON"),
        ("adapter_config.json", {"base_model_name_or_path": "elsewhere", "megatron_core": "own_code"}, "an adapter"),
        ("Adapter_Config.JSON", {}, "an adapter"),  # some file systems find it whatever its case
        ("2_Dense/vocab.pkl", "", "vocab.pkl"),
    ],
)
def test_settings_that_lead_elsewhere(folder, file, content, match):
    kinds = ("Transformer", ""), ("Dense", "2_Dense"), ("WordEmbeddings", "3_Words")
    _write(folder, "modules.json", _modules(*((f"{MODELS}.{kind}", path) for kind, path in kinds)))
    _write(folder, file, content)
    _refused(folder, match)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('["own_code.Encoder"]', "malformed in modules.json"),
        ('{"type": "own_code.Encoder"}', "malformed in modules.json"),
        ("null", "malformed in modules.json"),
        ("3", "malformed in modules.json"),
        ("[]", "malformed in modules.json"),
        ("[{", "no JSON"),
        ("", "no JSON"),
        ("[" * 100_000 + "]" * 100_000, "no JSON"),
        ("9" * 10_000, "no JSON"),
        ('[{"type": null, "path": ""}]', "malformed"),
        ('[{"type": ["own_code.Encoder"], "path": ""}]', "malformed"),
        (f'[{{"type": "{MODELS}.Pooling"}}]', "malformed"),
        (f'[{{"type": "{MODELS}.Pooling", "path": 1}}]', "malformed"),
        *(
            (json.dumps(_modules((f"{MODELS}.Pooling", path))), "not in its directory")
            for path in ("/etc", "..", "1_P/../../x", "..\\x", "C:\\x", "a\0b", "x" * 300)
        ),
    ],
)
def test_modules_that_are_malformed_or_leave_the_directory(folder, content, match):
    (folder / "modules.json").write_text(content)
    _refused(folder, match)


def test_modules_within_themselves_end(folder):
    _write(folder, "modules.json", _modules((f"{MODELS}.Asym", "0_A")))
    _write(folder, "0_A/config.json", {"types": {".": f"{MODELS}.Asym"}})
    _refused(folder, "not in its directory")
    _write(folder, "0_A/config.json", {"types": {"../../x": f"{MODELS}.Pooling"}})
    _refused(folder, "not in its directory")
    _write(folder, "0_A/config.json", {"types": ["own_code.Encoder"]})
    _refused(folder, "malformed in config.json")


def test_pickled_weights_are_for_torch_that_does_not_run_them(folder, monkeypatch):
    torch = pytest.importorskip("torch")
    _write(folder, "modules.json", _modules((f"{MODELS}.Dense", "0_D")))
    _write(folder, "0_D/pytorch_model.bin", "")
    refuse_code("it", folder)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    _refused(folder, "pickled weights")
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    monkeypatch.setattr(torch, "__version__", type(torch.__version__)("2.5.1"))
    _refused(folder, "pickled weights")
    _write(folder, "0_D/model.safetensors", "")  # which is what is read then
    refuse_code("it", folder)


def test_links_stay_in_the_directory(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder / "vocab.txt").write_text("a")
    (folder / "1_Pooling").mkdir()
    (folder / "again").symlink_to("1_Pooling")
    (folder / "circle").symlink_to(".")
    (folder / "loop").symlink_to("loop")
    refuse_code("it", folder)
    alias = tmp_path / "alias"
    alias.symlink_to(folder)
    assert directory_digest(alias) == directory_digest(folder)
    for target in ("/etc/passwd", "../elsewhere", str(tmp_path / "elsewhere"), "../absent"):
        (folder / "0_A").symlink_to(target)
        _refused(folder, "'0_A', a link out of the directory")
        (folder / "0_A").unlink()
    os.mkfifo(folder / "config.json")
    _refused(folder, "no plain file")


def test_links_of_the_local_cache_of_the_hub_are_followed(tmp_path):
    snapshot, blobs = tmp_path / "models--lab--tiny" / "snapshots" / "123", tmp_path / "models--lab--tiny" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "abc").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    refuse_code("lab/tiny", snapshot)
    (snapshot / "vocab.txt").symlink_to("../../../models--lab--tiny/refs")
    with pytest.raises(ValueError, match="a link out of the directory"):
        refuse_code("lab/tiny", snapshot)


def _layers(library):
    """One module of every type that needs no download."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    words = library.WordEmbeddings(library.tokenizer.WhitespaceTokenizer(["insulin", "glucose"]), torch.ones(2, 8))
    return [
        words,
        library.CNN(8, 8, [1]),
        library.LSTM(8, 4, bidirectional=True),
        library.WordWeights(["insulin", "glucose"], {"insulin": 2.0}),
        library.Pooling(8),
        library.Dense(8, 6),
        library.Dense(6, 4, activation_function=torch.nn.Identity()),
        library.LayerNorm(4),
        library.Dropout(0.1),
        library.Normalize(),
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_models_that_the_library_saves_are_loaded(tmp_path):
    library = pytest.importorskip("sentence_transformers")
    models = pytest.importorskip("sentence_transformers.models")
    saved = library.SentenceTransformer(modules=_layers(models), device="cpu")
    for directory, prepare in ((tmp_path / "new", lambda path: None), (tmp_path / "old", _as_older_releases_write)):
        saved.save(str(directory))
        prepare(directory)
        loaded = load("it", directory, "cpu")
        assert (loaded.encode(["insulin glucose"]) == saved.encode(["insulin glucose"])).all()
        shutil.rmtree(directory)


def _as_older_releases_write(directory):
    path = directory / "modules.json"
    modules = json.loads(path.read_text())
    for module in modules:
        module["type"] = f"{MODELS}.{module['type'].rpartition('.')[2]}"
    path.write_text(json.dumps(modules))


def test_native_models_that_also_carry_code_are_loaded(folder):
    pytest.importorskip("transformers")
    _write(folder, "config.json", {"model_type": "bert", "auto_map": {"AutoModel": "own_code.Encoder"}})
    _write(folder, "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "auto_map": {"AutoTokenizer": ["x"]}})
    arguments = {"model_args": {"torch_dtype": "float32", "attn_implementation": "sdpa"}, "max_seq_length": 8}
    _write(folder, "sentence_bert_config.json", {**arguments, "tokenizer_name_or_path": None})
    _write(folder, "data_config.json", [{"name": "a list, as some models have it"}])
    refuse_code("it", folder)
