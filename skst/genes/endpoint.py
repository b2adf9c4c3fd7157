"""Text vectors from an OpenAI-compatible embeddings endpoint."""

import email.utils
import os
import random
import time
from ipaddress import ip_address
from numbers import Integral, Real
from urllib.parse import urlsplit

import numpy as np

_DEFAULT_URL = "https://api.openai.com/v1"
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 60.0
_LONGEST_RETRY_AFTER = 300.0

# Jitter is drawn apart from the global stream, so that a seed set by the user gives the same numbers as ever.
_jitter = random.SystemRandom().uniform


class EndpointBackend:
    """Embed texts with ``POST {base_url}/embeddings`` in the manner of OpenAI's interface.

    OpenAI itself and local servers such as Ollama, vLLM or text-embeddings-inference speak it.  Failures that
    may pass (HTTP 408, 429 and 5xx, timeouts, lost connections) are tried again after exponentially growing,
    jittered waits, or after what the server's Retry-After asks for; others are reported at once.  Redirects
    are never followed.

    The key is read from the environment for each request.  It is not kept in the object, its pickle, its
    representation or an error message, and it is not sent over plain http to another machine.

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
        Seconds to wait for a connection, and then for the answer.
    max_retries : int, default=5
        How often a request that failed for a passing reason is sent again.
    batch_size : int, default=64
        Most texts in one request.

    Attributes
    ----------
    name : str
        Display name.
    key : str
        Identifies address, model and dimensions in a :class:`~skst.genes.cache.VectorCache`.

    Raises
    ------
    ValueError
        If a parameter is not of the kind above.

    Examples
    --------
    >>> from skst.genes.endpoint import EndpointBackend
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
            # Not shown: whoever passes the key itself here by mistake would find it in the log.
            raise ValueError(
                "api_key_env is not the name of an environment variable; name the one that holds the key, or pass None."
            )
        if dimensions is not None:
            _check_integer("dimensions", dimensions, 1)
        _check_integer("max_retries", max_retries, 0)
        _check_integer("batch_size", batch_size, 1)
        if not isinstance(timeout, Real) or isinstance(timeout, bool) or not 0 < timeout < float("inf"):
            raise ValueError(f"timeout={timeout!r} is not a positive number of seconds.")
        if base_url is not None:
            _check_url(base_url)
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
    def name(self):
        return self.model

    @property
    def key(self):
        return f"{self._url()} {self.model} dimensions={self.dimensions}"

    def encode(self, texts):
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
            If the endpoint cannot be reached, refuses, or answers with anything but one vector a text.
        """
        try:
            import requests
        except ImportError:
            raise ImportError('EndpointBackend needs requests; install it with pip install "skst[endpoint]".') from None

        texts = list(texts)
        url = self._url()
        with requests.Session() as session:
            # A proxy meant for the outside would see what is sent to this machine itself.
            session.trust_env = not _is_loopback(urlsplit(url).hostname)
            blocks = [
                self._embed(session, url, texts[start : start + self.batch_size])
                for start in range(0, len(texts), self.batch_size)
            ]
        lengths = {block.shape[1] for block in blocks}
        if len(lengths) > 1:
            raise RuntimeError(f"{url} answered with vectors of {sorted(lengths)} numbers to one model; check `model`.")
        return np.concatenate(blocks) if blocks else np.empty((0, 0), dtype=np.float32)

    def _url(self):
        return _check_url(self.base_url or os.environ.get("OPENAI_BASE_URL") or _DEFAULT_URL).rstrip("/")

    def _embed(self, session, url, texts):
        body = {"model": self.model, "input": texts}
        if self.dimensions is not None:
            body["dimensions"] = self.dimensions
        for attempt in range(self.max_retries + 1):
            response, fault, passing = self._post(session, url, body)
            if not passing:
                raise RuntimeError(f"{url} {fault}.")
            wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt) * _jitter(0.5, 1.5)
            if response is not None:
                if 200 <= response.status_code < 300:
                    return self._read(url, response, len(texts))
                self._fail_if_final(url, response)
                fault = f"answered with HTTP {response.status_code}"
                asked = _retry_after(response)
                if asked > _LONGEST_RETRY_AFTER:
                    raise RuntimeError(
                        f"{url} {fault} and asks to wait {asked:.0f} s; run again when they have passed."
                    )
                wait = max(wait, asked)
            if attempt < self.max_retries:
                time.sleep(wait)
        raise RuntimeError(
            f"{url} {fault} in each of {self.max_retries + 1} attempts; check that `base_url` is right and "
            "the server up, or raise `timeout` or `max_retries`."
        )

    def _post(self, session, url, body):
        """The response or None, what went wrong without one, and whether another attempt may help."""
        import requests

        key = self._api_key(url)

        def authorize(request):
            if key is not None:
                request.headers["Authorization"] = f"Bearer {key}"
            return request

        # Faults are returned and not raised: the exceptions caught here, and this frame, hold the key.
        try:
            # Given an `auth`, requests does not look for credentials of its own in .netrc.
            response = session.post(
                f"{url}/embeddings", json=body, auth=authorize, timeout=self.timeout, allow_redirects=False
            )
        except requests.exceptions.SSLError:
            return (
                None,
                "has no certificate that can be verified; check `base_url`, or REQUESTS_CA_BUNDLE",
                False,
            )
        except requests.Timeout:
            return None, f"did not answer within {self.timeout:g} s", True
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return None, "could not be reached", True
        except requests.RequestException as error:
            return None, f"cannot be asked ({type(error).__name__}); check `base_url`", False
        return response, None, True

    def _api_key(self, url):
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            return None
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ValueError(
                f"The environment variable {self.api_key_env} holds blanks or characters that no key has; set it again."
            )
        if urlsplit(url).scheme == "http" and not _is_loopback(urlsplit(url).hostname):
            raise ValueError(
                f"base_url={url!r} would send the key over the network unencrypted; use https, or api_key_env=None."
            )
        return key

    def _fail_if_final(self, url, response):
        status = response.status_code
        if status in (401, 403):
            # What the server says may repeat the key, so it is not shown.
            key = "holds no key" if self._api_key(url) is None else "holds a key that it refuses"
            variable = "api_key_env=None sends no key" if self.api_key_env is None else f"{self.api_key_env} {key}"
            raise RuntimeError(
                f"{url} denies access with HTTP {status}: {variable}; set it to a key for this endpoint."
            )
        if status == 404:
            raise RuntimeError(
                f"{url} knows no model={self.model!r}, or no /embeddings, with HTTP 404; check `model` and `base_url`."
            )
        if 300 <= status < 400:
            raise RuntimeError(
                f"{url} redirects elsewhere with HTTP {status}, which is not followed; set `base_url` to the final one."
            )
        if status != 408 and status != 429 and status < 500:
            raise RuntimeError(f"{url} rejects the request with HTTP {status}: {self._reason(url, response)}.")

    def _reason(self, url, response):
        """What the server says is wrong, on one line and without the key."""
        try:
            answer = response.json()
        except ValueError:
            return "no reason given"
        error = answer.get("error", answer) if isinstance(answer, dict) else answer
        reason = error.get("message", error) if isinstance(error, dict) else error
        reason = " ".join(str(reason).split()).rstrip(".")
        key = self._api_key(url)
        if key is not None:
            reason = reason.replace(key, "***")
        return reason[:200]

    def _read(self, url, response, n_texts):
        try:
            answer = response.json()
        except ValueError:
            raise _wrong(url, "with something that is not JSON") from None
        items = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) and "embedding" in item for item in items):
            raise _wrong(url, "with JSON that holds no data[i].embedding")
        if len(items) != n_texts:
            raise _wrong(url, f"with {len(items)} vectors to {n_texts} texts")
        # Servers that leave the index out answer in order.
        order = [item.get("index", place) for place, item in enumerate(items)]
        if not all(type(index) is int for index in order) or sorted(order) != list(range(n_texts)):
            raise _wrong(url, "with indices that are not 0 to n - 1")
        try:
            vectors = np.array([item["embedding"] for item in items])
        except ValueError:
            raise _wrong(url, "with vectors of several lengths") from None
        if vectors.ndim != 2 or vectors.shape[1] == 0 or vectors.dtype.kind not in "iuf":
            raise _wrong(url, "with embeddings that are not lists of numbers")
        if not np.isfinite(vectors).all():
            raise _wrong(url, "with NaN or infinite numbers")
        if self.dimensions is not None and vectors.shape[1] != self.dimensions:
            raise RuntimeError(
                f"{url} answered with vectors of {vectors.shape[1]} numbers to dimensions={self.dimensions}; "
                f"leave `dimensions` out if {self.model} cannot shorten its vectors."
            )
        return vectors[np.argsort(order)].astype(np.float32)


def _wrong(url, found):
    return RuntimeError(
        f"{url} answered {found} where one vector a text was expected; check that `base_url` is an "
        "OpenAI-compatible API."
    )


def _check_integer(name, value, least):
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} is not an integer of at least {least}.")


def _check_url(url):
    if isinstance(url, str) and any(sign in url for sign in "@?#"):
        # Not shown, for it may hold a password.
        raise ValueError(
            "base_url holds a user name, a query or a fragment; leave scheme, host and path, and name the "
            "key's variable in api_key_env."
        )
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except (AttributeError, TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(f"base_url={url!r} is not an http or https address such as {_DEFAULT_URL!r}.")
    return url


def _is_loopback(host):
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _retry_after(response):
    """Seconds that the server asks to wait, 0 where it asks nothing."""
    asked = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
