"""Which texts a model reads at once."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skst.text.tokens import count_tokens


def token_lengths(model: Any, texts: Sequence[str]) -> NDArray[np.int64]:
    """Tokens of each text, as many as the model reads of it.

    Parameters
    ----------
    model : SentenceTransformer
    texts : sequence of str of length n_texts

    Returns
    -------
    ndarray of shape (n_texts,), int64
        Estimated where the tokenizer is none of transformers.
    """
    from transformers import PreTrainedTokenizerBase

    tokenizer, limit = getattr(model, "tokenizer", None), model.max_seq_length
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return np.array([count_tokens(text) for text in texts], dtype=np.int64)
    cut = {"truncation": True, "max_length": limit} if limit else {}
    ids = tokenizer(list(texts), return_attention_mask=False, return_token_type_ids=False, verbose=False, **cut)
    return np.array([len(text) for text in ids["input_ids"]], dtype=np.int64)


def batches_by_tokens(
    lengths: NDArray[np.integer], n_texts: int, n_tokens: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """Texts of like length together, for all are padded to the longest of a batch, and the longest first.

    Parameters
    ----------
    lengths : ndarray of shape (n,)
        Tokens of each text.
    n_texts : int
        Most texts of a batch.
    n_tokens : int or None, default=None
        Most tokens of a batch, padding included, unless a single text has more; None for no such limit.

    Yields
    ------
    ndarray of int64
        Indices of texts.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.text.batches import batches_by_tokens
    >>> [batch.tolist() for batch in batches_by_tokens(np.array([3, 9, 3, 4, 20]), n_texts=64, n_tokens=10)]
    [[4], [1], [3, 0], [2]]
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        size = n_texts if n_tokens is None else min(n_texts, max(1, n_tokens // longest))
        yield order[start : start + size]
        start += size
