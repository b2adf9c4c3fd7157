"""Vectors of texts that were not read, from the genes that they name."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skst.genes.ranking import RankedGenes

_ALPHAS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
# Texts that are described at a time.
_TEXTS = 65_536


class TextRegression:
    """Predict the vector of a spot's text by ridge regression on the genes that the text names.

    A text is described by four sparse numbers a gene: 1 if it is named; ``1 / (1 + r / 10)`` and ``1 / (1 + r)``
    at rank r (from 0), because models heed the beginning of a list; and 1 if it comes last, because models heed
    the end.  The penalty is the one of smallest error when each text in turn is left out.

    Attributes
    ----------
    r2_ : float
        Share of the variance of the vectors, about their mean, that is predicted for texts left out one by one.
    alpha_ : float
        The penalty.

    Notes
    -----
    Fitting takes the eigenvectors of a matrix of size n_texts, or four times the number of named genes if that is
    smaller.  Genes that no text of `fit` names have no part in a prediction.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.genes.ranking import rank_genes
    >>> from skst.text.regression import TextRegression
    >>> rng = np.random.default_rng(0)
    >>> symbols = np.array(["MBP", "PLP1", "GAD1", "SST"], dtype=object)
    >>> ranked = rank_genes(rng.poisson(1, size=(200, 4)), symbols, 30)
    >>> named = np.array([np.isin(range(4), ranked.columns[a:b]) for a, b in zip(ranked.starts, ranked.starts[1:])])
    >>> regression = TextRegression().fit(ranked, named @ rng.normal(size=(4, 8)))
    >>> regression.predict(ranked).shape, round(regression.r2_, 2)
    ((200, 8), 1.0)
    """

    def fit(self, ranked: RankedGenes, vectors: np.ndarray) -> Self:
        """Learn from texts whose vectors are known.

        Parameters
        ----------
        ranked : RankedGenes
            Genes that the texts name, of n_texts texts.
        vectors : ndarray of shape (n_texts, d)
            Vectors of the texts.

        Returns
        -------
        self
        """
        from sklearn.linear_model import RidgeCV

        self._genes = np.unique(ranked.columns)
        vectors = vectors.astype(np.float64)
        ridge = RidgeCV(alphas=_ALPHAS).fit(self._describe(ranked), vectors)
        self.alpha_ = float(ridge.alpha_)
        variance = vectors.var(axis=0).mean()
        # best_score_ is less the mean squared error; vectors that are all equal are predicted without one.
        self.r2_ = float(1 + ridge.best_score_ / variance) if variance > 0 else 1.0
        self._weights = ridge.coef_.T.astype(np.float32)
        self._intercept = ridge.intercept_.astype(np.float32)
        return self

    def predict(self, ranked: RankedGenes) -> NDArray[np.float32]:
        """Vectors of texts.

        Parameters
        ----------
        ranked : RankedGenes
            Genes that the texts name, as columns of the matrix of `fit`.

        Returns
        -------
        ndarray of shape (n_texts, d), float32
        """
        n_texts = len(ranked.starts) - 1
        predicted = np.empty((n_texts, len(self._intercept)), dtype=np.float32)
        for start in range(0, n_texts, _TEXTS):
            rows = np.arange(start, min(start + _TEXTS, n_texts))
            described = self._describe(ranked if len(rows) == n_texts else ranked.take(rows)).astype(np.float32)
            predicted[rows] = np.asarray(described @ self._weights) + self._intercept
        return predicted

    def _describe(self, ranked):
        numbers = np.diff(ranked.starts)
        rows = np.repeat(np.arange(len(numbers)), numbers)
        ranks = np.arange(len(rows)) - ranked.starts[rows]
        places = np.searchsorted(self._genes, ranked.columns)
        known = np.isin(ranked.columns, self._genes)
        weights = (np.ones(len(rows)), 1 / (1 + ranks / 10), 1 / (1 + ranks), (ranks == numbers[rows] - 1) * 1.0)
        shape = len(numbers), len(self._genes)
        blocks = [sparse.csr_array((w[known], (rows[known], places[known])), shape=shape) for w in weights]
        return sparse.hstack(blocks, format="csr")
