"""Answers of a server that may be slow, endless or hostile, read with limits."""

import http.client
import io
import json
import re
import time
import unicodedata
import zlib
from functools import partial
from typing import Any

_DEEPEST = 64
_BLIND = 8
_MOST_SHOWN = 200


class BadAnswer(Exception):
    """What was found where an answer was expected, in words that go on from "answered"."""


def meter_connections(session):
    """Give a session new connections, of which nothing is read once a meter has run down.

    The timeouts of requests are for each read from the socket.  By themselves they end neither headers nor lengths of
    chunks that come a byte at a time, and nothing limits how long those are.

    Parameters
    ----------
    session : requests.Session
        Its adapter for http and https gets the attributes `until`, a time of :func:`time.monotonic`, and `left`, a
        number of bytes.  Both are to be set before a request; what is read past one fails as a connection that times
        out or breaks, with `left` below 0 in the second case.
    """
    from requests.adapters import HTTPAdapter

    class Meter(HTTPAdapter):
        until, left = 0.0, 0

        def get_connection_with_tls_context(self, *args, **kwargs):
            return self._metered(super().get_connection_with_tls_context(*args, **kwargs))

        def get_connection(self, *args, **kwargs):  # before requests 2.32
            return self._metered(super().get_connection(*args, **kwargs))

        def _metered(self, pool):
            if not isinstance(pool.ConnectionCls, partial):
                pool.ConnectionCls = partial(_connect, pool.ConnectionCls, self)
            return pool

    session.close()
    meter = Meter()
    session.mount("http://", meter)
    session.mount("https://", meter)


def _connect(kind, meter, *args, **kwargs):
    connection = kind(*args, **kwargs)
    connection.response_class = partial(_MeteredResponse, meter=meter)
    return connection


class _MeteredResponse(http.client.HTTPResponse):
    def __init__(self, *args, meter, **kwargs):
        super().__init__(*args, **kwargs)
        self.fp = io.BufferedReader(_MeteredSocket(self.fp.detach(), meter))


class _MeteredSocket(io.RawIOBase):
    def __init__(self, raw, meter):
        self._raw, self._meter = raw, meter

    def readable(self):
        return True

    def readinto(self, buffer):
        if time.monotonic() > self._meter.until:
            raise TimeoutError
        count = self._raw.readinto(buffer)
        self._meter.left -= count
        if self._meter.left < 0:
            raise OSError
        return count

    def close(self):
        self._raw.close()
        super().close()


def read_body(response: Any, most: int) -> bytearray:
    """Read a body no further than its limit, whatever length it claims.

    Parameters
    ----------
    response : requests.Response
        Of a request with ``stream=True``.
    most : int
        How many bytes it may have once it is decompressed.

    Returns
    -------
    bytearray
        Decompressed.

    Raises
    ------
    BadAnswer
        If it is longer, or compressed in a way that cannot be undone with a limit: by anything but gzip or deflate.
    """
    coding = response.headers.get("Content-Encoding", "").strip().lower() or "identity"
    if coding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise BadAnswer("in a compression that was not asked for")
    body, unpack = bytearray(), _unpacker()
    try:
        for piece in response.raw.stream(2**16, decode_content=False):
            if coding == "identity":
                body += piece
                piece = b""
            while piece and len(body) <= most:
                body += unpack.decompress(piece, most + 1 - len(body))
                piece = unpack.unconsumed_tail
                if unpack.eof:  # another part may follow
                    piece, unpack = unpack.unused_data, _unpacker()
            if len(body) > most:
                raise BadAnswer(f"with more than {most:,} bytes")
    except zlib.error:
        raise BadAnswer("with something that cannot be decompressed") from None
    return body


def _unpacker():
    return zlib.decompressobj(zlib.MAX_WBITS | 32)  # with a header of gzip or zlib


def parse_json(body: bytes | bytearray, most_brackets: int) -> Any:
    """Parse strict JSON whose parts are limited, since small ones take far more memory than bytes.

    Parameters
    ----------
    body : bytes-like
        In UTF-8.
    most_brackets : int
        How many brackets and braces may stand outside of strings.

    Returns
    -------
    object
        Integers of 20 digits and more are floats.

    Raises
    ------
    BadAnswer
        If it is not JSON, as for NaN and Infinity, which only Python takes for it, or nested too deeply.
    """
    try:
        text = body.decode("utf-8-sig")
        # Counted first, for the parser recurses into them; not by a pattern of escapes, which takes memory for each.
        unescaped = text.replace(r"\\", "").replace(r"\"", "")
        depth = 0
        for count, bracket in enumerate(re.finditer(r"[][{}]", re.sub(r'"[^"]*"?', "", unescaped))):
            depth += 1 if bracket[0] in "[{" else -1
            if depth > _DEEPEST or count >= most_brackets:
                raise BadAnswer("with JSON of too many levels or parts")
        return json.loads(text, parse_constant=_refuse, parse_int=_integer)
    except ValueError:
        raise BadAnswer("with something that is not JSON") from None


def _refuse(constant):
    raise BadAnswer(f"with {constant}, which is no number in JSON,")


def _integer(digits):
    # Python refuses thousands of digits, and lets everybody change how many.
    return int(digits) if len(digits) < 20 else float(digits)


def words_without(key: str | None, answer: object) -> str:
    """Find what a server says is wrong, fit to be shown to people.

    Parameters
    ----------
    key : str or None
        What must not be shown.
    answer : object
        Parsed JSON.

    Returns
    -------
    str
        On one line, without control characters, at most 200 long; or why there is nothing to show: the server says
        nothing, or eight characters of the key, or all of a shorter one, are in what it says one after the other, but
        for blanks, case and what is not ASCII.
    """
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    words = " ".join(_flat(error.get("message", error) if isinstance(error, dict) else error).split())
    words = "".join(sign for sign in words if unicodedata.category(sign)[0] != "C").rstrip(".")
    if key is not None:
        words = words.replace(key, "***")
        seen, secret = _bare(words), _bare(key)
        if any(secret[start : start + _BLIND] in seen for start in range(max(1, len(secret) - _BLIND + 1))):
            return "a reason that repeats the key and is not shown"
    # It becomes the end of a sentence.
    return words[:_MOST_SHOWN].replace(". ", ", ").rstrip(". ") or "no reason given"


def _flat(part):
    """All that a piece of JSON says, unescaped, as a key in it may be broken up by signs that would be escaped."""
    if isinstance(part, dict):
        return ", ".join(f"{name}: {_flat(value)}" for name, value in part.items())
    if isinstance(part, list):
        return ", ".join(map(_flat, part))
    return str(part)


def _bare(words):
    return "".join(sign for sign in unicodedata.normalize("NFKC", words).casefold() if "!" <= sign <= "~")
