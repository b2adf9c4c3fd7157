"""From texts to their vectors, as an encoder is told to make them."""

from skst.genes.backends import encode_texts, resolve_backend
from skst.genes.cache import VectorCache


class TextVectors:
    """Makes vectors of texts with the model and the cache of an encoder.

    It lives only as long as a call, so that no model is pickled with a fitted encoder.

    Parameters
    ----------
    encoder : GeneTextEncoder
        Fitted or not; its parameters `model`, `device`, `batch_size`, `cache` and `verbose` are read.

    Attributes
    ----------
    backend : object
        As returned by :func:`skst.genes.backends.resolve_backend`.
    cache : VectorCache or None
        Where vectors are kept; None if `encoder` is told not to, or the model has no key to keep them under.

    Raises
    ------
    TypeError, ValueError
        If `model`, `device` or `batch_size` is not accepted by :func:`skst.genes.backends.resolve_backend`.

    Examples
    --------
    >>> from skst.genes import GeneTextEncoder
    >>> from skst.genes.text_vectors import TextVectors
    >>> encode = TextVectors(GeneTextEncoder(model="lexical", cache=False))
    >>> encode(["Secretes insulin.", "Makes myelin."]).shape
    (2, 384)
    """

    def __init__(self, encoder):
        self.options = {"batch_size": encoder.batch_size, "verbose": encoder.verbose}
        self.backend = resolve_backend(encoder.model, device=encoder.device, batch_size=encoder.batch_size)
        self.cache = None
        if encoder.cache and self.backend.key is not None:
            directory = None if encoder.cache is True else encoder.cache
            self.cache = VectorCache(self.backend.key, directory)

    @property
    def max_tokens(self):
        """Number of tokens beyond which the model cuts a text off; None if there is no such number."""
        return self.backend.max_tokens

    def __call__(self, texts):
        """Vectors of texts, each distinct one encoded once and cached ones not at all.

        Parameters
        ----------
        texts : sequence of str of length n_texts

        Returns
        -------
        ndarray of shape (n_texts, d), float32
            Of shape (0, 0) without texts.
        """
        return encode_texts(texts, self.backend, self.cache, **self.options)
