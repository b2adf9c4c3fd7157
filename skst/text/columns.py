"""Text vectors as a few columns that networks can read."""

import numpy as np
from sklearn.decomposition import PCA

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

    def fit_transform(self, vectors, random_state, *context):
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
        vectors = np.asarray(vectors, dtype=np.float32)
        total = vectors.var(axis=0).sum()
        self._pca = PCA(min(TEXT_COLUMNS, *vectors.shape), random_state=int(random_state)).set_output(
            transform="default"
        )
        self._scale = np.float32(0.0), np.float32(1.0)
        self.informative_ = bool(np.ptp(vectors, axis=0).any())
        if not self.informative_:
            return np.zeros((len(vectors), 1), dtype=np.float32)
        values = self.prepare(self._pca.fit_transform(vectors), *context)
        # What rounding leaves of equal values is no information.
        self.informative_ = bool(values.var(axis=0).sum() > 1e-10 * total)
        self._scale = values.mean(axis=0), np.float32(np.sqrt(values.var(axis=0).mean()) or 1.0)
        return self._scaled(values)

    def transform(self, vectors, *context):
        """Columns of other spots; parameters and result as in :meth:`fit_transform`."""
        return self._scaled(self.prepare(self._pca.transform(np.asarray(vectors, dtype=np.float32)), *context))

    def _scaled(self, values):
        centre, scale = self._scale
        return ((values - centre) / scale).astype(np.float32)
