"""Text vectors from the words themselves: no model, no download, the same on every machine."""

from collections.abc import Sequence
from functools import lru_cache
from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

# Vectors of keys that begin so are made faster than they are found.
KEY_PREFIX = "skst-lexical-"
# Raised whenever the vector of a text changes, so that vectors cached by an older version are not taken for
# it.
_VERSION = 1
_N_HASHES = 2**18
_NONZEROS = 8


class LexicalBackend:
    """Embed a text by hashing its words and letters.

    Counts of words, word pairs and runs of 3 to 5 letters within words are hashed, their square roots are
    scaled to unit length, and the result is projected to `n_components` by a fixed sparse sign matrix [1]_,
    which keeps cosines to within about ``1 / sqrt(n_components)``.  Texts are alike when they share words or
    parts of words; of meaning it knows nothing.  The vector of a text does not depend on the texts encoded
    with it.

    Parameters
    ----------
    n_components : int, default=384
        Length of a vector.

    Attributes
    ----------
    name : str
        Display name.
    key : str
        Identifies the embedding in a :class:`~skst.text.cache.VectorCache`.

    References
    ----------
    .. [1] D. M. Kane and J. Nelson, "Sparser Johnson-Lindenstrauss transforms", Journal of the ACM 61(1),
           2014.

    Examples
    --------
    >>> from skst.text.lexical import LexicalBackend
    >>> vectors = LexicalBackend().encode(["insulin", "insulin receptor", "myelin basic protein"])
    >>> vectors.shape
    (3, 384)
    >>> bool(vectors[0] @ vectors[1] > vectors[0] @ vectors[2])
    True
    """

    max_tokens = None

    def __init__(self, n_components=384):
        if not isinstance(n_components, Integral) or isinstance(n_components, bool) or n_components < 1:
            raise ValueError(f"n_components={n_components!r} is not a positive integer; 384 is the default.")
        self.n_components = int(n_components)

    def __repr__(self):
        return f"LexicalBackend(n_components={self.n_components})"

    @property
    def name(self) -> str:
        return "lexical"

    @property
    def key(self) -> str:
        return f"{KEY_PREFIX}{_VERSION}:{self.n_components}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts.

        Parameters
        ----------
        texts : list of str of length n_texts

        Returns
        -------
        ndarray of shape (n_texts, n_components), float32
            Rows of unit length; a text without a letter or digit is a row of zeros.
        """
        from sklearn.preprocessing import normalize

        words, letters = _projections(self.n_components)
        of_words, of_letters = _vectorizers()
        vectors = _sqrt_counts(of_words, texts) @ words + _sqrt_counts(of_letters, texts) @ letters
        return normalize(vectors.toarray()).astype(np.float32)


@lru_cache(maxsize=1)
def _vectorizers():
    from sklearn.feature_extraction.text import HashingVectorizer

    # One-letter words stay: "T cell" and "B cell" differ by nothing else.
    words = HashingVectorizer(
        n_features=_N_HASHES,
        ngram_range=(1, 2),
        token_pattern=r"(?u)\b\w+\b",
        stop_words="english",
        alternate_sign=False,
        norm=None,
    )
    letters = HashingVectorizer(
        n_features=_N_HASHES, analyzer="char_wb", ngram_range=(3, 5), alternate_sign=False, norm=None
    )
    return words, letters


def _sqrt_counts(vectorizer, texts):
    from sklearn.preprocessing import normalize

    counts = vectorizer.transform(texts)
    return normalize(counts.sqrt(), copy=False)


@lru_cache(maxsize=2)
def _projections(n_components):
    # RandomState, unlike Generator, promises the same stream in every numpy.
    rng = np.random.RandomState(20240229)
    return tuple(_sign_matrix(rng, n_components) for _ in range(2))


def _sign_matrix(rng, n_components):
    shape = (_N_HASHES, _NONZEROS)
    columns = rng.randint(n_components, size=shape, dtype=np.int32)
    signs = rng.randint(2, size=shape, dtype=np.int32) * 2.0 - 1.0
    starts = np.arange(0, columns.size + 1, _NONZEROS, dtype=np.int32)
    return sparse.csr_array((signs.ravel(), columns.ravel(), starts), shape=(_N_HASHES, n_components))
