"""Text vectors from an OpenAI-compatible embeddings endpoint."""

import numpy as np

from skst._constraints import check_integer
from skst.text.answers import BadAnswer, parse_json
from skst.text.asking import BRACKETS_AROUND, Endpoint, Fault, fault_of_settings

# Room for 16,384 numbers of 32 characters a text, and for what stands around them.
_BYTES_PER_TEXT = 16384 * 32
_BYTES_AROUND = 2**20
_BRACKETS_PER_TEXT = 100


class EndpointBackend(Endpoint):
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
    path = "embeddings"
    expects = "one vector a text"

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
        fault = fault_of_settings(model, base_url, api_key_env, timeout, max_retries)
        if fault:
            base_url = api_key_env = None
            raise ValueError(fault)
        if dimensions is not None:
            check_integer("dimensions", dimensions, 1)
        check_integer("batch_size", batch_size, 1)
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
        return f"{self.url} {self.model} dimensions={self.dimensions}"

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
        texts = list(texts)
        with self.asking() as ask:
            blocks = [
                self._embed(ask, texts[start : start + self.batch_size])
                for start in range(0, len(texts), self.batch_size)
            ]
        lengths = {block.shape[1] for block in blocks}
        if len(lengths) > 1:
            raise RuntimeError(
                f"{self.url} answered with vectors of {sorted(lengths)} numbers to one model; check `model`."
            )
        return np.concatenate(blocks) if blocks else np.empty((0, 0), dtype=np.float32)

    def _embed(self, ask, texts):
        question = {"input": texts} if self.dimensions is None else {"input": texts, "dimensions": self.dimensions}
        most = _BYTES_AROUND + _BYTES_PER_TEXT * len(texts)
        return ask(question, most, lambda body: self._read(body, len(texts)))

    def _read(self, body, n_texts):
        answer = parse_json(body, BRACKETS_AROUND + _BRACKETS_PER_TEXT * n_texts)
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
            raise Fault(
                f"{self.url} answered with vectors of {vectors.shape[1]} numbers to dimensions={self.dimensions}; "
                f"leave `dimensions` out if {self.model} cannot shorten its vectors."
            )
        return vectors[np.argsort(order)]
