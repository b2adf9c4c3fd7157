"""Text vectors from an OpenAI-compatible embeddings endpoint."""

import os
import random
import threading
import time
from numbers import Integral, Real
from urllib.parse import urlsplit

import numpy as np

from skst.text.answers import BadAnswer, meter_connections, parse_json, read_body, words_without
from skst.text.urls import DEFAULT_URL, fault_of_url, is_loopback

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 60.0
_LONGEST_RETRY_AFTER = 300.0
_LONGEST_TIMEOUT = 1e6  # little less than sockets can count

# Room for 16,384 numbers of 32 characters a text, and for what stands around them.
_BYTES_PER_TEXT = 16384 * 32
_BYTES_AROUND = 2**20
_BYTES_OF_A_REFUSAL = 2**16
_BRACKETS_PER_TEXT = 100
_BRACKETS_AROUND = 1000

# Jitter is drawn apart from the global stream, so that a seed set by the user gives the same numbers as ever.
_jitter = random.SystemRandom().uniform


class EndpointBackend:
    """Embed texts with ``POST {base_url}/embeddings`` in the manner of OpenAI's interface.

    OpenAI itself and local servers such as Ollama, vLLM or text-embeddings-inference speak it.  Failures that
    may pass (HTTP 408, 429 and 5xx, timeouts, lost connections) are tried again after exponentially growing,
    jittered waits, or after what the server's Retry-After asks for; others are reported at once.  Redirects
    are never followed.

    The key is read from the environment for each request.  It is not kept in the object, its pickle, its
    representation, an error message or the frames of a traceback, and it is not sent over plain http to
    another machine.

    Parameters
    ----------
    model : str
        Name of the model as the server knows it.
    base_url : str, default=None
        Address before ``/embeddings``; by default the environment variable ``OPENAI_BASE_URL``, else
        OpenAI's.
    api_key_env : str or None, default="OPENAI_API_KEY"
        Environment variable that holds the key; None to send no key.
    dimensions : int, default=None
        Vector length to ask for, where the model can shorten its vectors.
    timeout : float, default=30.0
        Seconds that each attempt may take, from looking up the address to the last byte of the answer.
    max_retries : int, default=5
        How often a request that failed for a passing reason is sent again.
    batch_size : int, default=64
        Most texts in one request.

    Attributes
    ----------
    name : str
        Display name.
    key : str
        Identifies address, model and dimensions in a :class:`~skst.text.cache.VectorCache`.

    Raises
    ------
    ValueError
        If a parameter is not of the kind above.

    Notes
    -----
    An answer may have 1 MiB, and 512 KiB more for each text, counted after decompression: room for 16,384 numbers
    of 32 characters.  A longer one is refused without reading the rest.  It has to be strict JSON in UTF-8, at
    most 64 levels deep, with numbers that float32 can hold.  The only compression asked for is gzip.

    Why a server rejects a request is shown in its own words, on one line and without control characters, but
    only if no eight characters of the key stand in them one after the other.

    Examples
    --------
    >>> from skst.text.endpoint import EndpointBackend
    >>> backend = EndpointBackend("nomic-embed-text", "http://localhost:11434/v1", api_key_env=None)
    >>> backend.key
    'http://localhost:11434/v1 nomic-embed-text dimensions=None'
    """

    max_tokens = None

    def __init__(
        self,
        model,
        base_url=None,
        *,
        api_key_env="OPENAI_API_KEY",
        dimensions=None,
        timeout=30.0,
        max_retries=5,
        batch_size=64,
    ):
        if not isinstance(model, str) or not model:
            raise ValueError(f"model={model!r} is not a non-empty string; name a model that the endpoint serves.")
        if api_key_env is not None and not (isinstance(api_key_env, str) and api_key_env.isidentifier()):
            # Not shown, nor left in this frame: whoever passes the key itself here by mistake would find it in the log.
            api_key_env = None
            raise ValueError(
                "api_key_env is not the name of an environment variable; name the one that holds the key, or pass None."
            )
        if dimensions is not None:
            _check_integer("dimensions", dimensions, 1)
        _check_integer("max_retries", max_retries, 0)
        _check_integer("batch_size", batch_size, 1)
        if not isinstance(timeout, Real) or isinstance(timeout, bool) or not 0 < timeout < float("inf"):
            raise ValueError(f"timeout={timeout!r} is not a positive number of seconds.")
        fault = base_url is not None and fault_of_url(base_url)
        if fault:
            base_url = None  # for it may hold a password
            raise ValueError(fault)
        self.model = model
        self.base_url = base_url
        self.api_key_env = api_key_env
        self.dimensions = dimensions
        self.timeout = timeout
        self.max_retries = max_retries
        self.batch_size = batch_size

    def __repr__(self):
        return f"EndpointBackend(model={self.model!r}, base_url={self.base_url!r}, dimensions={self.dimensions})"

    @property
    def name(self) -> str:
        return self.model

    @property
    def key(self) -> str:
        return f"{self._url()} {self.model} dimensions={self.dimensions}"

    def encode(self, texts: list[str]) -> np.ndarray:
        """Embed texts.

        Parameters
        ----------
        texts : list of str of length n_texts

        Returns
        -------
        ndarray of shape (n_texts, d), float32

        Raises
        ------
        ImportError
            If requests is not installed.
        ValueError
            If the address, or the key for it, cannot be used.
        RuntimeError
            If the endpoint cannot be reached, refuses, or answers with anything but one vector a text, in
            time, within the limits of size, and in numbers that float32 can hold.
        """
        try:
            import requests
        except ImportError:
            raise ImportError('EndpointBackend needs requests; install it with pip install "skst[endpoint]".') from None
        from http.cookiejar import DefaultCookiePolicy

        texts = list(texts)
        url = self._url()
        with requests.Session() as session:
            # A proxy meant for the outside would see what is sent to this machine itself.
            session.trust_env = not is_loopback(urlsplit(url).hostname)
            # What a server says is not kept, nor sent to it again.
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            meter_connections(session)
            blocks = [
                self._embed(session, url, texts[start : start + self.batch_size])
                for start in range(0, len(texts), self.batch_size)
            ]
        lengths = {block.shape[1] for block in blocks}
        if len(lengths) > 1:
            raise RuntimeError(f"{url} answered with vectors of {sorted(lengths)} numbers to one model; check `model`.")
        return np.concatenate(blocks) if blocks else np.empty((0, 0), dtype=np.float32)

    def _url(self):
        url = self.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL
        fault = fault_of_url(url)
        if fault:
            url = None
            raise ValueError(fault)
        return url.rstrip("/")

    def _embed(self, session, url, texts):
        # Not by urllib3's Retry: it does not ask again when an answer breaks off, and waits inside of the attempt.
        for attempt in range(self.max_retries + 1):
            vectors, words, kind, asked = self._ask(session, url, texts)
            if kind is not None:
                raise kind(words)
            if vectors is not None:
                return vectors
            if asked > _LONGEST_RETRY_AFTER:
                raise RuntimeError(f"{url} {words} and asks to wait {asked:.0f} s; run again when they have passed.")
            if attempt < self.max_retries:
                time.sleep(max(asked, min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt) * _jitter(0.5, 1.5)))
        raise RuntimeError(
            f"{url} {words} in each of {self.max_retries + 1} attempts; check that `base_url` is right and "
            "the server up, or raise `timeout` or `max_retries`."
        )

    def _ask(self, session, url, texts):
        """Vectors or None, words for what went wrong, the error to raise or None if it may pass, seconds to wait."""
        seconds = min(float(self.timeout), _LONGEST_TIMEOUT)
        meter = session.get_adapter(url)
        # Twice as many bytes, for what chunks and headers add.
        meter.until, meter.left = time.monotonic() + seconds, 2 * _most_bytes(texts)
        received, outcomes = threading.Event(), []

        def work():
            try:
                outcomes.append((self._attempt(session, meter, url, texts, received), "", None, 0.0))
            except _Fault as fault:
                outcomes.append((None, *fault.args))
            except BadAnswer as found:
                words = (
                    f"{url} answered {found} where one vector a text was expected; check that `base_url` is an "
                    "OpenAI-compatible API."
                )
                outcomes.append((None, words, RuntimeError, 0.0))
            except (MemoryError, KeyboardInterrupt, SystemExit) as error:
                outcomes.append((None, "", type(error), 0.0))
            except BaseException as error:
                words = f"{url} cannot be asked ({type(error).__name__}); check `base_url`."
                outcomes.append((None, words, RuntimeError, 0.0))
            received.set()

        # Looking up a name has no deadline, so another thread asks while this one keeps the time.  Only the other's
        # frames hold the key, and they are in no traceback, not even in that of Ctrl-C.
        thread = threading.Thread(target=work, daemon=True)
        try:
            thread.start()
            if received.wait(seconds):
                thread.join()
                return outcomes[0]
        finally:
            meter.until = 0.0
        meter_connections(session)
        return None, self._late(), None, 0.0

    def _late(self):
        return f"did not answer within {self.timeout:g} s"

    def _attempt(self, session, meter, url, texts, received):
        import requests
        import urllib3

        key = self._api_key(url)

        def authorize(request):
            if key is not None:
                request.headers["Authorization"] = f"Bearer {key}"
            return request

        question = {"model": self.model, "input": texts}
        if self.dimensions is not None:
            question["dimensions"] = self.dimensions
        try:
            # Given an `auth`, requests does not look for credentials of its own in .netrc.
            with session.post(
                f"{url}/embeddings",
                json=question,
                headers={"Accept-Encoding": "gzip"},
                auth=authorize,
                timeout=max(0.001, meter.until - time.monotonic()),
                allow_redirects=False,
                stream=True,
            ) as response:
                if not 200 <= response.status_code < 300:
                    raise self._refusal(url, key, response)
                body = read_body(response, _most_bytes(texts))
        except requests.exceptions.SSLError:
            raise _Fault(
                f"{url} has no certificate that can be verified; check `base_url`, or REQUESTS_CA_BUNDLE."
            ) from None
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            raise _Fault(self._late(), None) from None
        except (requests.ConnectionError, urllib3.exceptions.HTTPError):
            if meter.left < 0:
                raise BadAnswer(f"with more than {_most_bytes(texts):,} bytes") from None
            raise _Fault("could not be reached", None) from None
        # From here on it is no longer the server that takes the time.
        received.set()
        return self._read(url, body, len(texts))

    def _api_key(self, url):
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            return None
        if not (key.isascii() and key.isprintable()) or " " in key:
            held = f"{self.api_key_env} holds blanks or characters that no key has"
            raise _Fault(f"The environment variable {held}; set it again.", ValueError)
        if urlsplit(url).scheme == "http" and not is_loopback(urlsplit(url).hostname):
            raise _Fault(
                f"base_url={url!r} would send the key over the network unencrypted; use https, or api_key_env=None.",
                ValueError,
            )
        return key

    def _refusal(self, url, key, response):
        status = response.status_code
        if status in (401, 403):
            # What the server says may well repeat the key, so it is not read.
            held = "holds no key" if key is None else "holds a key that it refuses"
            variable = "api_key_env=None sends no key" if self.api_key_env is None else f"{self.api_key_env} {held}"
            return _Fault(f"{url} denies access with HTTP {status}: {variable}; set it to a key for this endpoint.")
        if status == 404:
            return _Fault(
                f"{url} knows no model={self.model!r}, or no /embeddings, with HTTP 404; check `model` and `base_url`."
            )
        if 300 <= status < 400:
            return _Fault(
                f"{url} redirects elsewhere with HTTP {status}, which is not followed; set `base_url` to the final one."
            )
        if status in (408, 429) or status >= 500:
            return _Fault(f"answered with HTTP {status}", None, _retry_after(response))
        try:
            reason = words_without(key, parse_json(read_body(response, _BYTES_OF_A_REFUSAL), _BRACKETS_AROUND))
        except BadAnswer:
            reason = "no reason given"
        return _Fault(f"{url} rejects the request with HTTP {status}: {reason}.")

    def _read(self, url, body, n_texts):
        answer = parse_json(body, _BRACKETS_AROUND + _BRACKETS_PER_TEXT * n_texts)
        items = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) and "embedding" in item for item in items):
            raise BadAnswer("with JSON that holds no data[i].embedding")
        if len(items) != n_texts:
            raise BadAnswer(f"with {len(items)} vectors to {n_texts} texts")
        # Servers that leave the index out answer in order.
        order = [item.get("index", place) for place, item in enumerate(items)]
        if not all(type(index) is int for index in order) or sorted(order) != list(range(n_texts)):
            raise BadAnswer("with indices that are not 0 to n - 1")
        rows = [item["embedding"] for item in items]
        # The type itself is asked for, as NumPy takes True for 1.
        if not all(isinstance(row, list) and row and set(map(type, row)) <= {int, float} for row in rows):
            raise BadAnswer("with embeddings that are not lists of numbers")
        if len(set(map(len, rows))) > 1:
            raise BadAnswer("with vectors of several lengths")
        with np.errstate(all="ignore"):
            vectors = np.array(rows, dtype=np.float64).astype(np.float32)
        if not np.isfinite(vectors).all():
            raise BadAnswer("with numbers that float32 cannot hold")
        if self.dimensions is not None and vectors.shape[1] != self.dimensions:
            raise _Fault(
                f"{url} answered with vectors of {vectors.shape[1]} numbers to dimensions={self.dimensions}; "
                f"leave `dimensions` out if {self.model} cannot shorten its vectors."
            )
        return vectors[np.argsort(order)]


class _Fault(Exception):
    """Ends an attempt: with words, with the error to raise or None if it may pass, and with the seconds to wait."""

    def __init__(self, words, kind=RuntimeError, wait=0.0):
        super().__init__(words, kind, wait)


def _most_bytes(texts):
    return _BYTES_AROUND + _BYTES_PER_TEXT * len(texts)


def _check_integer(name, value, least):
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} is not an integer of at least {least}.")


def _retry_after(response):
    """Seconds that the server asks to wait, 0 where it asks nothing; months are as good as never."""
    from email.utils import parsedate_to_datetime

    asked = response.headers.get("Retry-After", "")
    try:
        seconds = float(asked)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(asked).timestamp() - time.time()
        except (OverflowError, TypeError, ValueError):
            return 0.0
    return min(max(0.0, seconds), 9_999_999.0)
