"""How an encoder learns which genes have text, and what it needs to know of X."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skst.expression.survey import ColumnSums
from skst.files.aside import RowsAside
from skst.genes.coverage import NO_NAMES
from skst.genes.ranking import RankedGenes
from skst.genes.templates import cell_text
from skst.inputs.blocks import column_sums, row_blocks
from skst.inputs.counting import check_counts
from skst.inputs.reading import missing
from skst.inputs.types import Matrix, RandomState
from skst.text.controls import unrelated_names
from skst.text.gene_sums import GeneSums, PathMixture, gene_sums, moments, weights_of_genes
from skst.text.gene_vectors import choose_genes, look_up, vectors_of_genes
from skst.text.spot_texts import SpotTexts
from skst.text.text_vectors import TextVectors

# Spots whose vectors are held at a time.
_VECTORS = 16_384


class LearnsText:
    """Methods of :class:`~skst.GeneTextEncoder` between reading X and its vectors."""

    # What the encoder has, of what public methods here ask for.
    check: Callable[[], Any]
    random_state: RandomState
    mode: str
    weighting: str
    normalize: bool

    def _vectors_of_texts(self, fitted=None):
        return TextVectors(self.part("model"), verbose=self.verbose, fitted=fitted)

    def _learn(self, X):
        self.check()
        spots = self._read_spots(X, reset=True)
        if self.normalize:
            check_counts(spots, X, unless=type(self).__name__)
        expression = spots.X
        genes, encode = self._look_up(spots.genes, np.asarray(abs(expression).sum(axis=0, dtype=np.float64)).ravel())
        if not self.has_text_:
            return expression, None, None, None
        rng = check_random_state(self.random_state)
        mean, variance = moments(weights_of_genes(expression, self.weighting, self.normalize))
        self._learn_genes(spots.genes, genes, mean, variance, encode, rng)
        ranked = written = None
        if self.mode != "aggregate":
            ranked = self._spot_texts.rank(expression)
            written = self._learn_texts(ranked, encode, rng, expression)
        self._count_lookups(encode)
        return expression, encode, ranked, written

    def _look_up(self, names, counts):
        """Genes and what encodes texts; sets whether there is text at all, and says what is lacking."""
        genes, lack = None, NO_NAMES
        self.has_text_, self._fitted_mode = names is not None, self.mode
        if self.has_text_:
            described = self.part("descriptions")
            detail = described.detail if self.mode in ("aggregate", "dual") else "symbol"
            genes = look_up(names, counts, described, detail, self.vectors)
            self.species_, self.gene_report_, self.coverage_ = genes.species, genes.report, genes.coverage
            self.has_text_, lack = bool(genes.known.any()), genes.lack
        if not self.has_text_:
            goes_on = "GeneTextEncoder goes on without text and returns zeros"
            missing(lack[0], goes_on, lack[1], strict=self.on_missing == "error")
            self.coverage_, self.backend_name_, self._n_features_out = 0.0, None, 1
            self.cache_hits_ = self.cache_misses_ = 0
            return genes, None
        if lack is not None:
            warnings.warn(f"{lack[0]}; {lack[1]}.", UserWarning, stacklevel=5)
        encode = self._model = None
        if self.vectors is None or self.mode == "dual":
            encode = self._vectors_of_texts()
            self._model = encode.identity
        self.backend_name_ = "vectors" if encode is None else encode.backend.name
        return genes, encode

    def learn_sums(
        self, names: NDArray[np.object_] | None, counts: np.ndarray, mean: np.ndarray, variance: np.ndarray
    ) -> None:
        """Fit mode "aggregate" to a tissue of which the sums are known.

        Parameters
        ----------
        names : ndarray of str of shape (n_genes,) or None
            Names of its genes.
        counts, mean, variance : ndarray of shape (n_genes,)
            Of each gene: total of the counts, and mean and variance of what
            :func:`~skst.text.gene_sums.weights_of_genes` gives.
        """
        self.check()
        genes, encode = self._look_up(names, counts)
        if self.has_text_:
            self._learn_genes(names, genes, mean, variance, encode, check_random_state(self.random_state))
            self._count_lookups(encode)

    def learn_texts(
        self,
        names: NDArray[np.object_] | None,
        counts: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        rank: Callable[[Callable[[Matrix], RankedGenes]], RankedGenes],
        X: RowsAside | None = None,
    ) -> RankedGenes | None:
        """Fit a mode that names genes to a tissue that is read in parts.

        Parameters
        ----------
        names, counts, mean, variance
            As of :meth:`learn_sums`.
        rank : callable
            Ranks the genes of all spots by a function that ranks those of some, from their counts.
        X : RowsAside of shape (n_spots, n_genes), default=None
            Counts; needed for mode "dual".

        Returns
        -------
        RankedGenes or None
            None if there is no text.
        """
        self.check()
        genes, encode = self._look_up(names, counts)
        if not self.has_text_:
            return None
        rng = check_random_state(self.random_state)
        self._learn_genes(names, genes, mean, variance, encode, rng)
        ranked = rank(self.rank)
        self._learn_texts(ranked, encode, rng, X)
        self._count_lookups(encode)
        return ranked

    def learn_aside(self, names: NDArray[np.object_] | None, X: RowsAside) -> RankedGenes | None:
        """Fit any mode to counts that are read a block of rows at a time.

        Parameters
        ----------
        names : ndarray of str of shape (n_genes,) or None
            Names of the genes.
        X : RowsAside of shape (n_spots, n_genes)

        Returns
        -------
        RankedGenes or None
            What texts name; None if there is no text, or none of spots.
        """
        blocks = (weights_of_genes(block, self.weighting, self.normalize) for _, block in row_blocks(X))
        sums = ColumnSums.add([ColumnSums.of(block) for block in blocks])
        told = names, column_sums(X), sums.mean, sums.variance
        if self.mode == "aggregate":
            self.learn_sums(*told)
            return None
        return self.learn_texts(*told, lambda rank: RankedGenes.join([rank(part) for _, part in row_blocks(X)]), X)

    def rank(self, X: Matrix) -> RankedGenes:
        """The genes that texts name of spots with counts X, once it is fitted and there is text."""
        ranked = self._spot_texts.rank(X)
        return ranked._replace(columns=ranked.columns.astype(np.int32))

    def vectors_of(
        self,
        ranked: RankedGenes | None,
        X: RowsAside | None = None,
        order: NDArray[np.integer] | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Vectors of spots, of some at a time.

        Parameters
        ----------
        ranked : RankedGenes or None
            Which genes texts name of them; None in mode "aggregate".
        X : RowsAside of shape (n_spots, n_genes), default=None
            Their counts; needed for the modes "aggregate" and "dual".
        order : ndarray of int of shape (n_spots,), default=None
            In which order the spots are wanted.
        """
        encode = None
        if ranked is not None and self._spot_texts.needs_model:
            encode = self._vectors_of_texts(self._model)
        n_spots = len(X) if ranked is None else len(ranked.starts) - 1  # type: ignore[arg-type]
        for rows in _some_at_a_time(n_spots):
            rows = rows if order is None else order[rows]
            counts, named = None if X is None else X[rows], None if ranked is None else ranked.take(rows)
            yield self._embed(counts, encode, named)

    def gene_sums(self) -> GeneSums:
        """What makes vectors of cells in mode "aggregate", once it is fitted and there is text."""
        mean = self.gene_mean_ if self.weighting == "contrast" else None
        vectors, known = self.gene_vectors_, self._with_vector
        return gene_sums(vectors, known, mean, weighting=self.weighting, normalize=self.normalize)

    def _learn_genes(self, names, genes, mean, variance, encode, rng):
        self.gene_mean_ = mean.astype(np.float32)
        wanted, order = choose_genes(genes.known, variance, self.n_top_genes, self.control, rng)
        if self.mode != "aggregate":
            # In the unrelated control a spot names the same genes in the same order, by other words.
            symbols = genes.symbols
            words = unrelated_names(symbols) if self.control == "unrelated" else symbols[order]
            mode = "prompt" if self.mode == "prompt" else "sentence"
            self._spot_texts = SpotTexts(symbols[order], words, k=self.k_g, mode=mode)
        if self.mode in ("aggregate", "dual"):
            self.gene_vectors_ = vectors_of_genes(genes, names, wanted, encode, self.control, rng)[order]
            self._with_vector = wanted
            self._n_features_out = self.gene_vectors_.shape[1]

    def _learn_texts(self, ranked, encode, rng, X=None):
        """What texts are about; in "dual" also the text vectors of `X`, and centre and size of both paths."""
        self.n_genes_named_ = np.diff(ranked.starts).astype(np.int32)
        noise_seed = rng.randint(2**31 - 1)
        if self.mode != "dual":
            self._n_features_out = encode([cell_text([], self.mode)]).shape[1]
        if self.control == "gaussian":
            self._spot_texts.noise = noise_seed, self._n_features_out
        elif self.max_texts is not None:
            self._spot_texts.learn_to_predict(ranked, encode, self.max_texts, rng)
        self.text_r2_ = None if self._spot_texts.regression is None else self._spot_texts.regression.r2_
        if self.mode != "dual":
            return None
        if isinstance(X, RowsAside):
            self._paths = PathMixture.of_parts(lambda: self._both_paths(ranked, X, encode), model=encode.backend.name)
            return None
        written = self._spot_texts.vectors(ranked, encode)
        self._paths = PathMixture(self._aggregated(X), written, model=encode.backend.name)
        return written

    def _both_paths(self, ranked, X, encode):
        """Sums of gene vectors and vectors of texts, of some spots at a time."""
        for rows in _some_at_a_time(X.shape[0]):
            yield self._aggregated(X[rows]), self._spot_texts.vectors(ranked.take(rows), encode)

    def _embed(self, X, encode, ranked=None, written=None):
        if not self.has_text_:
            return np.zeros((X.shape[0], 1), dtype=np.float32)
        if self.mode == "aggregate":
            return self._aggregated(X)
        if written is None:
            written = self._spot_texts.vectors(self._spot_texts.rank(X) if ranked is None else ranked, encode)
        if self.mode != "dual":
            return written
        return self._paths.mix(self._aggregated(X), written, self.omega)

    def _aggregated(self, X):
        return self.gene_sums()(X)

    def _count_lookups(self, encode):
        cache = None if encode is None else encode.cache
        self.cache_hits_, self.cache_misses_ = (0, 0) if cache is None else (cache.hits, cache.misses)


def _some_at_a_time(n_spots):
    return (np.arange(start, min(start + _VECTORS, n_spots)) for start in range(0, n_spots, _VECTORS))
