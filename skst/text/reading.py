"""What a model is asked to read, and what is kept of its answer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TEXT = "{text}"
# Ends the key of vectors in bfloat16 that was nobody's wish: other processors make nearly the same in float32.
FAST = " in bfloat16"


class Reading(NamedTuple):
    """How texts are put to a model.

    Attributes
    ----------
    prompt : str or None
        Stands before each text, or has ``{text}`` where it belongs.
    system : str or None
        What the model of a chat is told before each text.
    dtype : str
        Precision of the weights; "auto" leaves it to the libraries.
    n_dims : int or None
        Leading numbers of a vector that are kept, brought to unit length.
    """

    prompt: str | None = None
    system: str | None = None
    dtype: str = "auto"
    n_dims: int | None = None

    @property
    def suffix(self) -> str:
        """What tells vectors that are made so from others of the model; empty by default."""
        told = [f"{name}={value!r}" for name, value in self._asdict().items() if value not in (None, "auto")]
        return f" read with {', '.join(told)}" if told else ""

    def written(self, texts: Sequence[str], tokenizer: Any = None, name: str = "it") -> list[str]:
        """What the model reads of each text.

        Parameters
        ----------
        texts : sequence of str
        tokenizer : object, default=None
            Has ``apply_chat_template``; needed where there is a `system`.
        name : str, default="it"
            What an error calls the model.

        Returns
        -------
        list of str

        Raises
        ------
        ValueError
            If there is a `system`, and the tokenizer knows of no chat.
        """
        if self.prompt is not None:
            texts = [
                self.prompt.replace(TEXT, text) if TEXT in self.prompt else f"{self.prompt}{text}" for text in texts
            ]
        if self.system is None:
            return list(texts)
        if getattr(tokenizer, "chat_template", None) is None:
            raise ValueError(
                f"system is given, but model={name!r} has no chat template to put it in; pass prompt= instead."
            )
        chats = [[{"role": "system", "content": self.system}, {"role": "user", "content": text}] for text in texts]
        return [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]

    def kept(self, vectors: NDArray[np.float32], name: str = "it") -> NDArray[np.float32]:
        """The numbers of each vector that are kept.

        Parameters
        ----------
        vectors : ndarray of shape (n_texts, d), float32
        name : str, default="it"
            What an error calls the model.

        Returns
        -------
        ndarray of shape (n_texts, n_dims), float32

        Raises
        ------
        ValueError
            If the vectors have fewer.
        """
        if self.n_dims is None:
            return vectors
        if self.n_dims > vectors.shape[1]:
            raise ValueError(
                f"n_dims={self.n_dims}, but model={name!r} makes vectors of {vectors.shape[1]} numbers; ask for fewer."
            )
        part = vectors[:, : self.n_dims]
        return part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), np.finfo(np.float32).tiny)


# As the model makes them.
PLAIN = Reading()
