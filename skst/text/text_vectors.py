"""From texts to their vectors, as an encoder is told to make them."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skst.text.cache import VectorCache
from skst.text.lexical import KEY_PREFIX
from skst.text.models import as_text_model
from skst.text.named_models import MINILM
from skst.text.reading import FAST
from skst.text.vectors import encode_texts


class ModelIdentity(NamedTuple):
    """Which model made the vectors that something was fitted to.

    Attributes
    ----------
    name : str
        What the model is called.
    key : str or None
        Model and weights, where they can be told.
    """

    name: str
    key: str | None


class TextVectors:
    """Makes vectors of texts with a model and its cache.

    It lives only as long as a call, so that no model is pickled with a fitted encoder.

    Parameters
    ----------
    model : TextModel, or anything that stands for one
        See :func:`skst.text.models.as_text_model`.
    verbose : int, default=0
        Above 0, a progress bar counts texts.
    fitted : ModelIdentity, default=None
        The model to be found again, where vectors have to share the axes of earlier ones.

    Attributes
    ----------
    backend : object
        As returned by :func:`skst.text.backends.resolve_backend`.
    cache : VectorCache or None
        Where vectors are kept; None if that is not wanted or no gain, or the model has no key to keep them under.

    Raises
    ------
    TypeError, ValueError
        If `model`, `device` or `batch_size` is not accepted by :func:`skst.text.backends.resolve_backend`, or the
        model is not the one that was fitted.

    Examples
    --------
    >>> from skst.text.text_vectors import TextVectors
    >>> encode = TextVectors("lexical")
    >>> encode(["Secretes insulin.", "Makes myelin."]).shape
    (2, 384)
    """

    def __init__(self, model, *, verbose=0, fitted=None):
        settings = as_text_model(model).check()
        self.options = {"batch_size": settings.batch_size, "verbose": verbose}
        # "auto" is asked once: vectors of what it finds later share no axes with those of what it found then.
        name = fitted.name if fitted is not None and _is_auto(settings.model) else settings.model
        self.backend = settings.backend(name)
        if fitted is not None:
            self._check_same(fitted)
        self.cache = None
        if settings.cache and self.identity.key is not None and not self.identity.key.startswith(KEY_PREFIX):
            directory = None if settings.cache is True else settings.cache
            self.cache = VectorCache(self.identity.key, directory)

    @cached_property
    def identity(self) -> ModelIdentity:
        """The :class:`ModelIdentity` of the backend."""
        return ModelIdentity(self.backend.name, self.backend.key)

    @property
    def max_tokens(self) -> int | None:
        """Number of tokens beyond which the model cuts a text off; None if there is no such number."""
        return self.backend.max_tokens

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
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

    def _check_same(self, fitted):
        found = self.identity
        same = found.name == fitted.name and (
            # The published weights may come from the package or from the hub, under different keys.
            found.name == MINILM or _whatever_processor(found.key) == _whatever_processor(fitted.key)
        )
        if not same:
            raise ValueError(
                f"model: {found.name} ({found.key}) is not the one that was fitted, {fitted.name} ({fitted.key}), and "
                "vectors of two models share no axes; load that model, or fit again."
            )


def _whatever_processor(key):
    return None if key is None else key.removesuffix(FAST)


def _is_auto(model):
    return isinstance(model, str) and model == "auto"
