"""Words without meaning in place of gene symbols: what is left of a text when its biology is taken away."""

import hashlib
from collections.abc import Callable
from itertools import count

import numpy as np
from numpy.typing import NDArray

CONSONANTS_V1 = "bdfgklmnprstvz"
VOWELS_V1 = "aeiou"


def pseudoword(symbol: str, attempt: int = 0) -> str:
    """A pronounceable word that means nothing and stands for a gene.

    Parameters
    ----------
    symbol : str
        Symbol of the gene.
    attempt : int, default=0
        Number of the word, of the endlessly many that a symbol has.

    Returns
    -------
    str
        Seven letters, consonants and vowels by turns and the first a capital, chosen by the SHA-256 of `symbol` among
        4.8 million.

    Examples
    --------
    >>> from skst.genes.pseudowords import pseudoword
    >>> pseudoword("SST"), pseudoword("VIP")
    ('Tasofug', 'Sezodaz')
    """
    draw = int.from_bytes(hashlib.sha256(f"{symbol}#{attempt}".encode()).digest()[:8], "big")
    letters = []
    for i in range(7):
        draw, letter = divmod(draw, len(VOWELS_V1 if i % 2 else CONSONANTS_V1))
        letters.append((VOWELS_V1 if i % 2 else CONSONANTS_V1)[letter])
    return "".join(letters).capitalize()


def pseudowords(symbols: NDArray[np.object_]) -> NDArray[np.object_]:
    """A word without meaning for each gene symbol.

    Parameters
    ----------
    symbols : ndarray of str of shape (n_genes,), dtype object
        Symbols; "" stays "".

    Returns
    -------
    ndarray of str of shape (n_genes,), dtype object
        Equal for equal symbols, distinct for distinct ones, in whatever order they come.  A word is the same in every
        data set, unless a symbol that comes before in the alphabet has it already.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.genes.pseudowords import pseudowords
    >>> pseudowords(np.array(["VIP", "", "SST", "VIP"], dtype=object)).tolist()
    ['Sezodaz', '', 'Tasofug', 'Sezodaz']
    """
    return distinct_names(symbols, pseudoword)


def distinct_names(symbols: NDArray[np.object_], name: Callable[[str, int], str]) -> NDArray[np.object_]:
    """A name for each gene symbol, no two alike.

    Parameters
    ----------
    symbols : ndarray of str of shape (n_genes,), dtype object
        Symbols; "" stays "".
    name : callable
        Of a symbol and the number of an attempt, from 0; of two symbols with one name, the later in the alphabet gets
        that of its next attempt.

    Returns
    -------
    ndarray of str of shape (n_genes,), dtype object
    """
    symbol_of = {}
    for symbol in sorted(set(symbols) - {""}):
        free = next(found for attempt in count() if (found := name(symbol, attempt)) not in symbol_of)
        symbol_of[free] = symbol
    named = {symbol: found for found, symbol in symbol_of.items()} | {"": ""}
    return np.array([named[symbol] for symbol in symbols], dtype=object)
