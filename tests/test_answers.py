"""Answers read with limits: of servers that never end, of JSON that is none, and of words with a key in them."""

import gzip
import json
import socketserver
import threading
import time
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skst.text import asking
from skst.text.answers import BadAnswer, parse_json, words_without
from skst.text.endpoint import EndpointBackend

SECRET = "sk-a-very-secret-key-0123456789"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def endless(monkeypatch):
    """Starts servers that answer with `head`, and then with `piece` for ever; they count what they have sent."""
    pytest.importorskip("requests")
    monkeypatch.setattr(asking, "_FIRST_WAIT", 0.001)
    servers = []

    def start(head, piece, pause=0.0):
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                self.connection.recv(2**16)
                with suppress(OSError):  # the client has had enough
                    self.wfile.write(head)
                    while True:
                        self.wfile.write(piece)
                        self.server.sent += len(piece)
                        time.sleep(pause)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads, server.sent = True, 0
        server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.socket.close()


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (OK[:9], b"0"),
        (OK, b"X"),
        (OK, b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"Content-Length: 1000\r\n\r\n", b" "),
        (b"HTTP/1.1 400 No\r\nContent-Length: 1000\r\n\r\n", b" "),
        (CHUNKED, b"1\r\n \r\n"),
        (CHUNKED + b"1;", b"x"),
        (CHUNKED + b"0\r\n", b"X: y\r\n"),
        (OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"")),
    ],
    ids=["status", "header", "headers", "body", "refusal", "chunks", "length of a chunk", "trailers", "empty parts"],
)
def test_one_deadline_is_for_all_of_an_answer(endless, head, piece):
    server = endless(head, piece, pause=0.02)
    before, began = threading.active_count(), time.monotonic()
    with pytest.raises(RuntimeError, match="did not answer within 0.2 s in each of 2 attempts"):
        EndpointBackend("m", server.url, api_key_env=None, timeout=0.2, max_retries=1).encode(["a"])
    assert time.monotonic() - began < 3
    # Nobody is left reading: neither the client nor, as it has hung up, the server.
    while threading.active_count() > before:
        assert time.monotonic() - began < 5
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("head", "piece", "match"),
    [
        (OK + b"\r\n", b" " * 2**16, "more than 1,572,864 bytes"),
        (OK + b"Content-Length: 300000000\r\n\r\n", b" " * 2**16, "more than 1,572,864 bytes"),
        (CHUNKED, b"10000\r\n" + b" " * 2**16 + b"\r\n", "more than 1,572,864 bytes"),
        (CHUNKED + b"1;", b"x" * 2**16, "more than 1,572,864 bytes|could not be reached"),
        (OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b" " * 10**7), "more than 1,572,864 bytes"),
        (OK + b"Content-Encoding: deflate\r\n\r\n", zlib.compress(b" " * 10**7), "more than 1,572,864 bytes"),
        (OK + b"Content-Encoding: gzip, gzip\r\n\r\n", b" ", "in a compression that was not asked for"),
        (OK + b"Content-Encoding: gzip\r\n\r\n", b" " * 2**16, "cannot be decompressed"),
        (b"HTTP/1.1 400 No\r\n\r\n", b" " * 2**16, "HTTP 400: no reason given"),
        (b"HTTP/1.1 500 No\r\n\r\n", b" " * 2**16, "HTTP 500 in each"),
    ],
    ids=["no length", "length", "chunks", "length of a chunk", "gzip", "deflate", "twice", "not gzip", "400", "500"],
)
def test_an_endless_answer_is_not_read_to_its_end(endless, head, piece, match):
    server = endless(head, piece)
    tracemalloc.start()
    try:
        with pytest.raises(RuntimeError, match=match):
            EndpointBackend("m", server.url, api_key_env=None, max_retries=0).encode(["a"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**23
    assert server.sent < 2**25


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.sampled_from('[]{}"\\/\n a\ud800é')),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(st.sampled_from('[{"\\')), parts),
    max_leaves=20,
)  # fmt: skip


@given(_JSON, st.booleans())
@settings(deadline=None)
def test_json_is_read_as_it_is_written(value, ascii):
    text = json.dumps(value, ensure_ascii=ascii)
    if ascii or "\ud800" not in text:
        assert parse_json(text.encode(), 500) == value


@given(st.text(st.sampled_from('[]{}"\\,:1 '), max_size=40), st.integers(0, 200))
def test_what_is_no_json_is_refused(text, depth):
    try:
        assert parse_json(("[" * depth + text).encode(), 500) == json.loads("[" * depth + text)
    except BadAnswer:
        if depth < 20:
            with pytest.raises(ValueError):
                json.loads("[" * depth + text)


@given(st.data(), st.text(max_size=20), st.text(max_size=20))
def test_no_part_of_the_key_is_shown(data, before, after):
    start = data.draw(st.integers(0, len(SECRET) - 8))
    signs = st.text(st.sampled_from(" \n\t\x00\x1b\x85\x9b\u200b\u202e\u2028\u3000"), max_size=2)
    part = "".join(
        sign + data.draw(signs) for sign in data.draw(st.sampled_from([SECRET, SECRET.upper()]))[start : start + 8]
    )
    for answer in (before + part + after, {"error": {"message": part}}, {"detail": [before, {after: part}]}):
        assert words_without(SECRET, answer) == "a reason that repeats the key and is not shown"
    shown = words_without(SECRET, before + SECRET[:7] + after)
    assert shown.isprintable() or not set(shown) & set("\n\r\t\x00\x1b\x7f\x85\x9b\u200b\u202e\u2028")
    assert words_without("ollama", "no such Ollama") != "no such Ollama"
    assert words_without(None, "no \N{GREEK SMALL LETTER MU}g") == "no \N{GREEK SMALL LETTER MU}g"
