"""EndpointBackend, against a server of the test's own."""

import copy
import gzip
import pickle
import signal
import sys
import threading
import time
import traceback
import zlib
from contextlib import contextmanager

import numpy as np
import pytest

from skst.text import asking, endpoint
from skst.text.answers import parse_json
from skst.text.backends import resolve_backend
from skst.text.cache import VectorCache
from skst.text.endpoint import EndpointBackend
from skst.text.vectors import encode_texts

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
    _assert_no_key(caught.value)


def _assert_no_key(error):
    """The key is neither in an error nor in any frame of its traceback, nor in those of errors behind it."""
    assert SECRET not in "".join(traceback.format_exception(error))
    while error is not None:
        assert SECRET not in repr(vars(error)) and getattr(error, "request", None) is None
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename != __file__:
                for value in frame.f_locals.values():
                    assert SECRET not in repr(getattr(value, "__dict__", value))
        assert error.__cause__ is None
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
    monkeypatch.setattr(asking.time, "sleep", slept.append)
    dates = "Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 1999 23:59:59 +99999999999999"
    server.script = [{"status": 429, "headers": {"Retry-After": value}} for value in ("7", *dates, "soon", "nan")]
    EndpointBackend("m", server.url).encode(["a"])
    waits = [seconds for seconds in slept if seconds]
    assert waits[0] == 7 and max(waits[1:]) < 1
    server.script = [{"status": 429, "headers": {"Retry-After": "86400"}}]
    with _one_sentence("HTTP 429 and asks to wait 86400 s"):
        EndpointBackend("m", server.url).encode(["a"])
    server.script = [{"status": 429, "headers": {"Retry-After": "1e300"}}]
    with _one_sentence("HTTP 429 and asks to wait 9999999 s"):
        EndpointBackend("m", server.url).encode(["a"])


def test_endpoint_backs_off_exponentially_with_jitter(server, monkeypatch):
    slept = []
    monkeypatch.setattr(asking, "_FIRST_WAIT", 1.0)
    monkeypatch.setattr(asking.time, "sleep", lambda seconds: slept.append(seconds) if seconds else None)
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
    assert EndpointBackend("m", server.url, timeout=1e12).encode(["a"]).shape == (1, 2)


def test_the_deadline_is_for_looking_up_names_too(server, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **kwargs: time.sleep(2))
    began = time.monotonic()
    with _one_sentence("did not answer within 0.1 s"):
        EndpointBackend("m", "https://example.invalid", timeout=0.1, max_retries=0).encode(["a"])
    assert time.monotonic() - began < 2


def test_what_takes_time_after_the_answer_is_not_the_servers(server, monkeypatch):
    def slow(body, most_brackets):
        time.sleep(1.1)
        return parse_json(body, most_brackets)

    monkeypatch.setattr(endpoint, "parse_json", slow)
    assert EndpointBackend("m", server.url, timeout=1, max_retries=0).encode(["a"]).shape == (1, 2)


def test_large_and_compressed_answers_are_read(server):
    row = [f"-0.{10**27 + i}" for i in range(16384)]
    body = f'{{"data": [{{"embedding": [{", ".join(row)}]}}]}}'.encode()
    assert len(body) > 500_000
    ways = {
        "identity": body,
        "gzip": gzip.compress(body[:999]) + gzip.compress(body[999:]),
        "deflate": zlib.compress(body),
    }
    for coding, content in ways.items():
        server.script = [{"content": content, "headers": {"Content-Encoding": coding}}]
        vectors = EndpointBackend("m", server.url).encode(["a"])
        np.testing.assert_array_equal(vectors, np.array([row], dtype=np.float32))


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
        ({"status": 422, "content": b"[" * 50_000}, "HTTP 422: no reason"),
        ({"status": 422, "content": {"detail": [{"msg": "one", "at": [1]}]}}, "HTTP 422: detail: msg: one, at: 1[.]"),
        ({"status": 400, "content": {"error": f"bad {SECRET[:-6]}..."}}, "HTTP 400: a reason that repeats the key"),
        ({"status": 400, "content": {"error": "\x1b[2J\x9b\u202eoh\u2028no"}}, r"HTTP 400: \[2Joh no\."),
        (
            {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
            "redirects elsewhere with HTTP 302",
        ),
        ({"content": b"<html>\n</html>"}, "not JSON"),
        ({"content": [1]}, "holds no data"),
        ({"content": {"echo": f"Bearer {SECRET}"}}, "holds no data"),
        ({"content": b"[" * 200_000}, "too many levels or parts"),
        ({"content": b'{"data": ' * 65 + b"1" + b"}" * 65}, "too many levels or parts"),
        ({"content": b"[" + b"[]," * 2000 + b"1]"}, "too many levels or parts"),
        ({"content": b'{"data": [], "usage": Infinity}'}, "Infinity, which is no number"),
        ({"content": "{}".encode("utf-16")}, "not JSON"),
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
        *(
            ({"content": f'{{"data": [{{"embedding": [{x}]}}, {{"embedding": [1]}}]}}'.encode()}, match)
            for x, match in [
                ("1e300", "float32 cannot hold"),
                ("1e999", "float32 cannot hold"),
                ("-3.4028236e38", "float32 cannot hold"),
                ("9" * 40, "float32 cannot hold"),
                ("9" * 5000, "float32 cannot hold"),
                ("true", "not lists of numbers"),
                ('"1"', "not lists of numbers"),
                ("[1]", "not lists of numbers"),
            ]
        ),
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


def test_unusual_answers_that_are_right(server):
    body = (
        b'\xef\xbb\xbf{"data": 0, "data": [{"embedding": 0, "embedding": [1e-300, 12345678901234567890]}], "\\"[[": []}'
    )
    server.script = [{"content": body}]
    np.testing.assert_array_equal(
        EndpointBackend("m", server.url).encode(["a"]), np.float32([[0, 12345678901234567890]])
    )


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (SystemExit(), SystemExit),
        (MemoryError(), MemoryError),
        (OSError(SECRET), RuntimeError),
        (UnicodeError(SECRET), RuntimeError),
        (RecursionError(), RuntimeError),
    ],
)
@pytest.mark.parametrize("place", ["requests.adapters.HTTPAdapter.send", "skst.text.endpoint.parse_json"])
def test_no_traceback_leads_to_the_key(server, monkeypatch, error, raised, place):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(place, fail)
    with _one_sentence(None, raised):
        EndpointBackend("m", server.url).encode(["a"])


@pytest.fixture
def heeds_ctrl_c():
    """Ctrl-C interrupts, as it does not where the process of tests was started in the background of a script."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_kill"):
        pytest.skip("only the main thread gets signals")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_waiting_leads_to_no_key(server, heeds_ctrl_c):
    server.script = [{"wait": 3}]
    began = time.monotonic()
    threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    with _one_sentence(None, KeyboardInterrupt):
        EndpointBackend("m", server.url).encode(["a"])
    assert time.monotonic() - began < 3


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


def test_cookies_are_not_kept(server):
    server.script = [{"headers": {"Set-Cookie": "a=b"}}]
    EndpointBackend("m", server.url, batch_size=1).encode(["a", "b"])
    assert not any("Cookie" in request["headers"] for request in server.requests)


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
