"""What is written about spots, and its vectors: read by a model, predicted, or random."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skst.genes.ranking import RankedGenes, rank_genes
from skst.genes.templates import CELL_EMPTY_V1, ranked_texts
from skst.inputs.types import Matrix
from skst.text.controls import gaussian_of_texts
from skst.text.regression import TextRegression
from skst.text.tokens import count_tokens

_LOW_R2 = 0.5


class SpotTexts:
    """Write about spots and have it turned into vectors.

    Parameters
    ----------
    symbols : ndarray of str of shape (n_genes,), dtype object
        Symbols of the genes, by which equal counts are ranked; a gene with symbol "" is not named.
    names : ndarray of str of shape (n_genes,), dtype object
        What the texts call the genes.
    k : int or {"entropy", "mass"}
        Most genes to name; see :func:`skst.genes.ranking.rank_genes`.
    mode : {"prompt", "sentence"}
        See :func:`skst.genes.templates.cell_text`.

    Attributes
    ----------
    regression : TextRegression or None
        What predicts the vectors, after `learn_to_predict` had to.
    noise : (int, int) or None
        Seed and length of random vectors; to be set for vectors that do not depend on what is written.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.text import LexicalBackend
    >>> from skst.text.spot_texts import SpotTexts
    >>> symbols = np.array(["PLP1", "MBP"], dtype=object)
    >>> writer = SpotTexts(symbols, symbols, k=30, mode="sentence")
    >>> writer.vectors(writer.rank(np.array([[2, 1], [0, 4]])), LexicalBackend().encode).shape
    (2, 384)
    """

    def __init__(self, symbols, names, *, k, mode):
        self.symbols = symbols
        self.names = names
        self.k = k
        self.mode = mode
        self.regression = self.noise = self._empty = None

    @property
    def needs_model(self) -> bool:
        """False if `vectors` makes no use of `encode`."""
        return self.regression is None and self.noise is None

    def rank(self, X: Matrix) -> RankedGenes:
        """The genes that are named of each spot, as a :class:`~skst.genes.ranking.RankedGenes`."""
        return rank_genes(X, self.symbols, self.k)

    def learn_to_predict(
        self, ranked: RankedGenes, encode: Callable[[list[str]], np.ndarray], max_texts: int, rng: np.random.RandomState
    ) -> None:
        """Encode a sample of texts and learn to predict the vectors of all, if distinct ones are too many.

        Parameters
        ----------
        ranked : RankedGenes
            Genes of the spots.
        encode : callable
            From a list of str to an ndarray of shape (n, d).
        max_texts : int
            Size of the sample, and the most distinct texts for which nothing is learnt; the text of a spot without
            counts is not among them and always encoded.
        rng : RandomState
            Source of the sample.

        Warns
        -----
        UserWarning
            If less than half of the variance of the vectors is predicted.
        """
        # A spot without counts has a text like no other, from which there is nothing to learn.  Sorted, so that the
        # sample does not depend on the order of the spots.
        spots = {text: i for i, text in enumerate(ranked_texts(ranked, self.names, self.mode))}
        distinct = sorted(spots.keys() - {CELL_EMPTY_V1})
        if len(distinct) <= max_texts:
            return
        sample = [distinct[i] for i in rng.choice(len(distinct), max_texts, replace=False)]
        vectors = self._encoded([*sample, CELL_EMPTY_V1], encode)
        self._empty = vectors[-1].copy()
        self.regression = TextRegression().fit(ranked.take([spots[text] for text in sample]), vectors[:-1])
        r2 = self.regression.r2_
        if r2 < _LOW_R2:
            warnings.warn(
                f"Text vectors are predicted with text_r2_={r2:.2f}, so most of what tells texts apart is lost; "
                f"raise max_texts={max_texts}, or set it to None to encode all {len(distinct)} texts.",
                UserWarning,
                stacklevel=5,
            )

    def vectors(self, ranked: RankedGenes, encode: Callable[[list[str]], np.ndarray]) -> NDArray[np.float32]:
        """Vectors of the texts of spots.

        Parameters
        ----------
        ranked : RankedGenes
            Genes of the spots, as from `rank`.
        encode : callable
            From a list of str to an ndarray of shape (n, d).

        Returns
        -------
        ndarray of shape (n_spots, d), float32
        """
        if self.regression is not None:
            predicted = self.regression.predict(ranked)
            predicted[np.diff(ranked.starts) == 0] = self._empty
            return predicted
        texts = ranked_texts(ranked, self.names, self.mode)
        return self._encoded(texts, encode) if self.noise is None else gaussian_of_texts(texts, *self.noise)

    def _encoded(self, texts, encode):
        """Vectors of texts; a sentence that is too long for the model is read in pieces, its vector their mean."""
        limit = getattr(encode, "max_tokens", None)
        if self.mode != "sentence" or limit is None:
            return encode(texts)
        pieces = [split_sentence(text, limit) for text in texts]
        whole = [piece for parts in pieces for piece in parts]
        if len(whole) == len(texts):
            return encode(texts)
        genes = np.array([piece.count(" ") + 1 for piece in whole], dtype=np.float32)
        starts = np.cumsum([0, *map(len, pieces)])
        mean = sparse.csr_array((genes, np.arange(len(whole)), starts), shape=(len(texts), len(whole)))
        return (mean @ encode(whole)) / mean.sum(axis=1)[:, None]


def split_sentence(sentence: str, max_tokens: int) -> list[str]:
    """Cut a sentence of gene symbols into pieces that a model reads to their end.

    Parameters
    ----------
    sentence : str
        Symbols with spaces between them.
    max_tokens : int
        Longest text that the model reads, the marks of its beginning and end included.

    Returns
    -------
    list of str
        The sentence itself if it is short enough, by :func:`skst.text.tokens.count_tokens`.

    Examples
    --------
    >>> from skst.text.spot_texts import split_sentence
    >>> split_sentence("PLP1 MBP MOBP GAD1", 9)
    ['PLP1 MBP', 'MOBP GAD1']
    """
    room = max(1, max_tokens - 2)
    if count_tokens(sentence) <= room:
        return [sentence]
    pieces: list[list[str]] = []
    used = room
    for symbol in sentence.split(" "):
        n_tokens = count_tokens(symbol)
        if used + n_tokens > room:
            pieces.append([])
            used = 0
        pieces[-1].append(symbol)
        used += n_tokens
    return [" ".join(piece) for piece in pieces]
