"""Questions to an OpenAI-compatible endpoint: keys, deadlines, limits and new attempts."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any
from urllib.parse import urlsplit

from skst._constraints import is_integer
from skst.text.answers import BadAnswer, meter_connections, parse_json, read_body, words_without
from skst.text.urls import DEFAULT_URL, fault_of_url, is_loopback

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 60.0
_LONGEST_RETRY_AFTER = 300.0
_LONGEST_TIMEOUT = 1e6  # little less than sockets can count
_BYTES_OF_A_REFUSAL = 2**16
# Brackets of JSON that stand around what is asked for.
BRACKETS_AROUND = 1000

# Jitter is drawn apart from the global stream, so that a seed set by the user gives the same numbers as ever.
_jitter = random.SystemRandom().uniform


class Endpoint:
    """What is asked by ``POST {base_url}/{path}`` of one model.

    Failures that may pass (HTTP 408, 429 and 5xx, timeouts, lost connections) are tried again after exponentially
    growing, jittered waits, or after what the server's Retry-After asks for; others are reported at once.  Redirects
    are never followed.

    The key is read from the environment for each request.  It is not kept in the object, its pickle, its
    representation, an error message or the frames of a traceback, and it is not sent over plain http to another
    machine.

    Attributes
    ----------
    model, base_url, api_key_env, timeout, max_retries
        As of :class:`~skst.text.endpoint.EndpointBackend`.
    path : str
        What is asked, the end of the address.
    expects : str
        What a good answer is, in words.
    """

    path: str
    expects: str
    model: str
    base_url: str | None
    api_key_env: str | None
    timeout: float
    max_retries: int

    @property
    def url(self) -> str:
        """The address that is asked."""
        url = self.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL
        fault = fault_of_url(url)
        if fault:
            url = None
            raise ValueError(fault)
        return url.rstrip("/")

    @contextmanager
    def asking(self) -> Iterator[Callable[[dict[str, Any], int, Callable[[bytearray], Any]], Any]]:
        """A connection, as a function that asks.

        Yields
        ------
        callable
            ``ask(question, most, read)``: the question, a dict of JSON beside the model; how many bytes an answer may
            have; and a function that reads these, or raises a :class:`Fault` or a
            :class:`~skst.text.answers.BadAnswer`.

        Raises
        ------
        ImportError
            If requests is not installed.
        """
        try:
            import requests
        except ImportError:
            name = type(self).__name__
            raise ImportError(f'{name} needs requests; install it with pip install "skst[endpoint]".') from None
        from http.cookiejar import DefaultCookiePolicy

        url = self.url
        with requests.Session() as session:
            # A proxy meant for the outside would see what is sent to this machine itself.
            session.trust_env = not is_loopback(urlsplit(url).hostname)
            # What a server says is not kept, nor sent to it again.
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            meter_connections(session)
            yield lambda question, most, read: self._answer(session, url, question, most, read)

    def _answer(self, session, url, question, most, read):
        # Not by urllib3's Retry: it does not ask again when an answer breaks off, and waits inside of the attempt.
        for attempt in range(self.max_retries + 1):
            answer, words, kind, asked = self._ask(session, url, question, most, read)
            if kind is not None:
                raise kind(words)
            if answer is not None:
                return answer
            if asked > _LONGEST_RETRY_AFTER:
                raise RuntimeError(f"{url} {words} and asks to wait {asked:.0f} s; run again when they have passed.")
            if attempt < self.max_retries:
                time.sleep(max(asked, min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt) * _jitter(0.5, 1.5)))
        raise RuntimeError(
            f"{url} {words} in each of {self.max_retries + 1} attempts; check that `base_url` is right and "
            "the server up, or raise `timeout` or `max_retries`."
        )

    def _ask(self, session, url, question, most, read):
        """The answer or None, words for what went wrong, the error to raise or None if it may pass, seconds to wait."""
        seconds = min(float(self.timeout), _LONGEST_TIMEOUT)
        meter = session.get_adapter(url)
        # Twice as many bytes, for what chunks and headers add.
        meter.until, meter.left = time.monotonic() + seconds, 2 * most
        received, outcomes = threading.Event(), []

        def work():
            try:
                outcomes.append((self._attempt(session, meter, url, question, most, read, received), "", None, 0.0))
            except Fault as fault:
                outcomes.append((None, *fault.args))
            except BadAnswer as found:
                words = (
                    f"{url} answered {found} where {self.expects} was expected; check that `base_url` is an "
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

    def _attempt(self, session, meter, url, question, most, read, received):
        import requests
        import urllib3

        key = self._api_key(url)

        def authorize(request):
            if key is not None:
                request.headers["Authorization"] = f"Bearer {key}"
            return request

        try:
            # Given an `auth`, requests does not look for credentials of its own in .netrc.
            with session.post(
                f"{url}/{self.path}",
                json={"model": self.model, **question},
                headers={"Accept-Encoding": "gzip"},
                auth=authorize,
                timeout=max(0.001, meter.until - time.monotonic()),
                allow_redirects=False,
                stream=True,
            ) as response:
                if not 200 <= response.status_code < 300:
                    raise self._refusal(url, key, response)
                body = read_body(response, most)
        except requests.exceptions.SSLError:
            raise Fault(
                f"{url} has no certificate that can be verified; check `base_url`, or REQUESTS_CA_BUNDLE."
            ) from None
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            raise Fault(self._late(), None) from None
        except (requests.ConnectionError, urllib3.exceptions.HTTPError):
            if meter.left < 0:
                raise BadAnswer(f"with more than {most:,} bytes") from None
            raise Fault("could not be reached", None) from None
        # From here on it is no longer the server that takes the time.
        received.set()
        return read(body)

    def _api_key(self, url):
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            return None
        if not (key.isascii() and key.isprintable()) or " " in key:
            held = f"{self.api_key_env} holds blanks or characters that no key has"
            raise Fault(f"The environment variable {held}; set it again.", ValueError)
        if urlsplit(url).scheme == "http" and not is_loopback(urlsplit(url).hostname):
            raise Fault(
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
            return Fault(f"{url} denies access with HTTP {status}: {variable}; set it to a key for this endpoint.")
        if status == 404:
            return Fault(
                f"{url} knows no model={self.model!r}, or no /{self.path}, with HTTP 404; check `model` and `base_url`."
            )
        if 300 <= status < 400:
            return Fault(
                f"{url} redirects elsewhere with HTTP {status}, which is not followed; set `base_url` to the final one."
            )
        if status in (408, 429) or status >= 500:
            return Fault(f"answered with HTTP {status}", None, _retry_after(response))
        try:
            reason = words_without(key, parse_json(read_body(response, _BYTES_OF_A_REFUSAL), BRACKETS_AROUND))
        except BadAnswer:
            reason = "no reason given"
        return Fault(f"{url} rejects the request with HTTP {status}: {reason}.")


class Fault(Exception):
    """Ends an attempt: with words, with the error to raise or None if it may pass, and with the seconds to wait."""

    def __init__(self, words, kind=RuntimeError, wait=0.0):
        super().__init__(words, kind, wait)


def fault_of_settings(
    model: object, base_url: object, api_key_env: object, timeout: Any, max_retries: object
) -> str | None:
    """What is wrong with settings of an endpoint, in a sentence that shows no secret; None if nothing is.

    Whoever raises it forgets `base_url` and `api_key_env` first: one may hold a password, the other the key itself, and
    both would be found in the frame.
    """
    if not isinstance(model, str) or not model:
        return f"model={model!r} is not a non-empty string; name a model that the endpoint serves."
    if api_key_env is not None and not (isinstance(api_key_env, str) and api_key_env.isidentifier()):
        return "api_key_env is not the name of an environment variable; name the one that holds the key, or pass None."
    if not is_integer(max_retries, 0):
        return f"max_retries={max_retries!r} is not an integer of at least 0."
    if isinstance(timeout, bool) or not isinstance(timeout, Real) or not 0 < float(timeout) < float("inf"):
        return f"timeout={timeout!r} is not a positive number of seconds."
    return None if base_url is None else fault_of_url(base_url)


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
