"""Text vectors as a few columns that networks can read."""

from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skst.expression.moments import add_moments, leading_axes, moments_of
from skst.files.aside import RowsAside
from skst.genes.ranking import RankedGenes
from skst.inputs.blocks import row_blocks
from skst.inputs.reading import names_told
from skst.inputs.spots import Spots
from skst.inputs.types import Expression

# Principal components that are kept.
TEXT_COLUMNS = 64


class TextColumns:
    """Leading principal components of text vectors, made ready by the caller, of mean variance 1.

    Parameters
    ----------
    prepare : callable
        From the components of some spots, and whatever else it is given, to what is left of them: averaged over a
        graph, say, or rid of depth.

    Attributes
    ----------
    informative_ : bool
        False if nothing is left that tells spots apart.
    """

    def __init__(self, prepare):
        self.prepare = prepare

    def fit_transform(self, vectors: ArrayLike, random_state: int, *context: Any) -> NDArray[np.float32]:
        """Learn the components and their scale.

        Parameters
        ----------
        vectors : array-like of shape (n_spots, n_semantic)
            Text vectors.
        random_state : int
            Seed of the PCA.
        *context
            Handed to `prepare`.

        Returns
        -------
        ndarray of shape (n_spots, n_columns), float32
            Zeros if it is not informative.
        """
        from sklearn.decomposition import PCA

        vectors = np.asarray(vectors, dtype=np.float32)
        # A few columns at a time, as the deviations of all are a matrix as large as that of the vectors.
        total = sum(
            vectors[:, i : i + TEXT_COLUMNS].var(axis=0).sum() for i in range(0, vectors.shape[1], TEXT_COLUMNS)
        )
        self._pca = PCA(min(TEXT_COLUMNS, *vectors.shape), random_state=int(random_state)).set_output(
            transform="default"
        )
        self._scale = np.float32(0.0), np.float32(1.0)
        self.informative_ = bool(np.ptp(vectors, axis=0).any())
        if not self.informative_:
            return np.zeros((len(vectors), 1), dtype=np.float32)
        return self._learn(self.prepare(self._pca.fit_transform(vectors), *context), total)

    def fit_transform_parts(self, parts: Callable[[], Iterator[np.ndarray]], *context: Any) -> NDArray[np.float32]:
        """The same of vectors that come in parts, twice, and are never held together.

        Parameters
        ----------
        parts : callable
            Makes them, each an ndarray of shape (n_part, n_semantic), float32, of its own.
        *context
            Handed to `prepare`.

        Returns
        -------
        ndarray of shape (n_spots, n_columns), float32
        """
        found = add_moments(moments_of(part) for part in parts())
        axes, _ = leading_axes(found.scatter, min(TEXT_COLUMNS, found.n_rows, len(found.mean)))
        self._pca = _Projection(found.mean.astype(np.float32), axes.astype(np.float32))
        total = np.trace(found.scatter) / found.n_rows
        self._scale = np.float32(0.0), np.float32(1.0)
        return self._learn(self._prepared(parts(), *context), total)

    def transform(self, vectors: ArrayLike, *context: Any) -> NDArray[np.float32]:
        """Columns of other spots; parameters and result as in :meth:`fit_transform`."""
        return self._scaled(self.prepare(self._pca.transform(np.asarray(vectors, dtype=np.float32)), *context))

    def transform_parts(self, parts: Iterable[np.ndarray], *context: Any) -> NDArray[np.float32]:
        """The same of vectors that come in parts."""
        return self._scaled(self._prepared(parts, *context))

    def _prepared(self, parts, *context):
        return self.prepare(np.concatenate([self._pca.transform(part) for part in parts]), *context)

    def _learn(self, values, total):
        # What rounding leaves of equal values is no information.
        self.informative_ = bool(values.var(axis=0).sum() > 1e-10 * total)
        self._scale = values.mean(axis=0), np.float32(np.sqrt(values.var(axis=0).mean()) or 1.0)
        return self._scaled(values)

    def _scaled(self, values):
        centre, scale = self._scale
        return ((values - centre) / scale).astype(np.float32)


class _Projection:
    """Principal components that were found elsewhere."""

    def __init__(self, mean, axes):
        self.mean = mean
        self.axes = axes

    def transform(self, vectors):
        return (vectors - self.mean) @ self.axes


class TextOfSpots:
    """Columns of the text of spots, for networks that read spots in an order of their own.

    Parameters
    ----------
    encoder : transformer
        Makes the text vectors; fitted here.
    prepare : callable
        As of :class:`TextColumns`.
    """

    def __init__(self, encoder, prepare):
        self.encoder = encoder
        self._columns = TextColumns(prepare)

    def fit_transform(
        self, X: Expression, seed: int, *context: Any, order: NDArray[np.integer] | slice = slice(None)
    ) -> NDArray[np.float32] | None:
        """Fit encoder and columns.

        Parameters
        ----------
        X : AnnData, DataFrame, ndarray, sparse, or Spots with a RowsAside
        seed : int
        *context
            Handed to `prepare`.
        order : ndarray of int, default=slice(None)
            In which order the spots are wanted.

        Returns
        -------
        ndarray of shape (n_spots, n_columns), float32, or None
            None if nothing tells spots apart: there are no gene names, of which the encoder has warned, or `prepare`
            makes all of them alike.
        """
        if isinstance(X, Spots):
            with names_told():
                ranked = self.encoder.learn_aside(X.genes, X.X)
            return self.fit_transform_ranked(ranked, *context, X=X.X, order=order)  # type: ignore[arg-type]
        with names_told():
            vectors = np.asarray(self.encoder.fit_transform(X))[order]
        columns = self._columns.fit_transform(vectors, seed, *context)
        return columns if self._columns.informative_ else None

    def transform(
        self, X: Expression, *context: Any, order: NDArray[np.integer] | slice = slice(None)
    ) -> NDArray[np.float32] | None:
        """Columns of other spots; parameters as in :meth:`fit_transform`."""
        if isinstance(X, Spots):
            ranked = None
            if self.encoder.mode != "aggregate":
                ranked = RankedGenes.join([self.encoder.rank(block) for _, block in row_blocks(X.X)])
            return self.transform_ranked(ranked, *context, X=X.X, order=order)  # type: ignore[arg-type]
        with names_told():
            vectors = np.asarray(self.encoder.transform(X))[order]
        return self._columns.transform(vectors, *context)

    def fit_transform_ranked(
        self,
        ranked: RankedGenes | None,
        *context: Any,
        X: RowsAside | None = None,
        order: NDArray[np.integer] | None = None,
    ) -> NDArray[np.float32] | None:
        """Fit the columns to spots that were read in parts; the encoder is fitted.

        Parameters
        ----------
        ranked : RankedGenes or None
            Which genes texts name of them, if they name any.
        *context
            Handed to `prepare`.
        X : RowsAside of shape (n_spots, n_genes), default=None
            Their counts, if the encoder looks at them once more.
        order : ndarray of int, default=None
            In which order the spots are wanted.

        Returns
        -------
        ndarray of shape (n_spots, n_columns), float32, or None
            None if nothing tells spots apart.
        """
        if not self.encoder.has_text_:
            return None
        columns = self._columns.fit_transform_parts(lambda: self.encoder.vectors_of(ranked, X, order), *context)
        return columns if self._columns.informative_ else None

    def transform_ranked(
        self,
        ranked: RankedGenes | None,
        *context: Any,
        X: RowsAside | None = None,
        order: NDArray[np.integer] | None = None,
    ) -> NDArray[np.float32]:
        """Columns of other spots; parameters as in :meth:`fit_transform_ranked`."""
        return self._columns.transform_parts(self.encoder.vectors_of(ranked, X, order), *context)


def text_reads_whole(text: Any, modes: Container[str] = ("aggregate", "sentence", "prompt", "dual")) -> str | None:
    """What keeps an encoder from spots that are read in parts; None if nothing does.

    Parameters
    ----------
    text : transformer
    modes : sequence of str
        Those that can be read so.
    """
    given = {name for name, value in text.get_params(deep=False).items() if value is not None}
    if elsewhere := {"layer", "gene_names"} & given:
        return f"{min(elsewhere)}= of {type(text).__name__}"
    # Texts that are all read by a model are read once, and their vectors are kept.
    able = hasattr(text, "learn_aside") and text.mode in modes
    return None if able and (text.mode == "aggregate" or text.max_texts is not None) else f"text={text!r}"
