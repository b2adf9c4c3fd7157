"""Attacks by an endpoint on this machine: damaged, hostile, slow and endless answers."""

import gzip
import http.server
import json
import os
import threading
import time
import traceback
import zlib
from contextlib import suppress

import numpy as np

from skst.text import asking
from skst.text.endpoint import EndpointBackend

from .arena import Kind
from .mutations import changed, damaged, pick
from .verdict import HELD, Failure, require

_SECRET = "sk-a-secret-of-this-test-0123456789"
_TEXTS = ["insulin", "glucagon", "myelin"]
_TIMEOUT = 0.5


def _prepare(folder):
    import requests  # noqa: F401  loaded before the fork


class _Server:
    """Answers each request with the same bytes, some of them late, and hears of no more than one at a time."""

    def __init__(self, status, headers, body, pieces=1, wait=0.0):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                with suppress(OSError):
                    self.rfile.read(int(self.headers["Content-Length"]))
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    size = max(1, -(-len(body) // pieces))
                    for start in range(0, len(body), size):
                        self.wfile.write(body[start : start + size])
                        self.wfile.flush()
                        time.sleep(wait)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.block_on_close = False
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


def _answer(rng):
    rows = np.random.default_rng(int(rng.integers(100))).normal(size=(3, 4)).round(4).tolist()
    items = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
    return {"object": "list", "model": "m", "data": items[::-1], "usage": {"total_tokens": 3}}


def _attempt(rng, folder, given):
    answer = _answer(rng)
    for _ in range(int(rng.integers(3))):
        answer = changed(answer, rng)
    body, headers, status = json.dumps(answer).encode(), {}, 200
    way = rng.random()
    if way < 0.25:
        body = damaged(body, rng, json.dumps(_answer(rng)).encode())
    elif way < 0.3:
        body = pick(rng, _HOSTILE)()
    elif way < 0.45:
        status = int(pick(rng, (400, 401, 403, 404, 408, 413, 422, 429, 500, 503, 301, 204, 299, 100, 999)))
        body = pick(rng, (body, json.dumps({"error": {"message": f"bad key {_SECRET}. Try\n another."}}).encode()))
    sent = body
    if rng.random() < 0.2:
        coding, pack = pick(rng, (("gzip", gzip.compress), ("deflate", zlib.compress), ("br", bytes), ("gzip", bytes)))
        headers["Content-Encoding"], sent = coding, pack(body)
        if rng.random() < 0.3:
            sent = damaged(sent, rng)
    length = len(sent) if rng.random() < 0.9 else pick(rng, (0, 1, len(sent) // 2, len(sent) + 9, 10**15, -1, "x"))
    headers["Content-Length"] = str(length)
    slow = rng.random() < 0.015
    if rng.random() < 0.1:
        headers |= pick(rng, _HEADERS)
    return _asked(_Server(status, headers, sent, *((40, 0.1) if slow else (1, 0.0))), body)


_HEADERS = (
    {"Transfer-Encoding": "chunked"},
    {"Location": "http://127.0.0.1:1/", "Retry-After": "10000000"},
    {"Set-Cookie": "a=" + "b" * 4000},
    {"Connection": "close"},
    {"X-Long": "y" * 70_000},
    {"Content-Type": "text/html; charset=utf-16"},
    {f"X-{i}": "y" for i in range(200)},
)
_HOSTILE = (
    lambda: b"[" * 10**5,
    lambda: b'{"data":' * 10**5,
    lambda: b'{"data": [' + b"{}," * 10**6 + b"{}]}",
    lambda: b'{"data": [{"index": 0, "embedding": [' + b"0," * 2_000_000 + b"0]}]}",
    lambda: b"9" * 10**6,
    lambda: b" " * 2**23,
    lambda: b'"' + b"\\" * 10**6,
    lambda: b"\xff\xfe" + b"{}" * 9,
)


def _asked(server, body):
    asking._FIRST_WAIT = 0.001
    os.environ["OPENAI_API_KEY"] = _SECRET
    began = time.monotonic()
    try:
        vectors = EndpointBackend("m", server.url, timeout=_TIMEOUT, max_retries=1).encode(_TEXTS)
    except Exception as error:
        _require_no_key(error)
        raise
    finally:
        took = time.monotonic() - began
        server.close()
        require(took < 2 * _TIMEOUT + 2, f"{took:.1f} s for two attempts of {_TIMEOUT} s", "crashed")
    try:
        said = {item.get("index", i): item["embedding"] for i, item in enumerate(json.loads(body.decode())["data"])}
        expected = np.array([said[i] for i in range(3)], dtype=np.float64).astype(np.float32)
    except Exception as error:
        raise Failure("wrong", f"vectors of an answer that holds none ({type(error).__name__})") from None
    require(len(said) == 3 and np.isfinite(expected).all(), "vectors that the answer does not hold")
    require(np.array_equal(vectors, expected), "other vectors than the answer holds")
    return HELD


def _require_no_key(error):
    """The key is nowhere in what an error shows, nor in any frame but those of this file."""
    seen = traceback.format_exception(error)
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename != __file__:
                seen += [repr(getattr(value, "__dict__", value)) for value in frame.f_locals.values()]
        error = error.__cause__ or error.__context__
    require(not any(_SECRET in text for text in seen), "the key is in an error")


KINDS = [Kind("answers", _attempt, _prepare, rounds=60)]
