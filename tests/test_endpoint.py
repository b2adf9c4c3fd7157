"""EndpointBackend, against a server of the test's own."""

import copy
import pickle
import sys
import traceback
from contextlib import contextmanager

import numpy as np
import pytest

from skst.genes import endpoint
from skst.genes.backends import encode_texts, resolve_backend
from skst.genes.cache import VectorCache
from skst.genes.endpoint import EndpointBackend

SECRET = "sk-a-very-secret-key-0123456789"


@pytest.fixture
def server(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    return server


def _vectors(texts):
    """What the server gives."""
    return [[float(len(text)), float(ord(text[0]))] for text in texts]


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
    np.testing.assert_array_equal(vectors, _vectors(texts))
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
    server.script = [{"status": 429, "headers": {"Retry-After": value}} for value in ("7", date, "soon", "nan")]
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
    np.testing.assert_array_equal(vectors, _vectors(texts))
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
