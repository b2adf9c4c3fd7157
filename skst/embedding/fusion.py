"""A spatial view and a text view of the same spots, brought to one scale and to common axes, and put together."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA

from skst.expression.scale import centre_and_scale

STRATEGIES = ("expression", "functional", "concat", "weighted")
ALIGNMENTS = ("procrustes", "regression", "none")


class ViewFusion:
    r"""Put two views of spots together (SpaLLM, Sec. 2.4).

    With both views centred and of unit total variance, and R an alignment of the second with the first,

    .. math:: H = \alpha H_{ST} + \beta\, \mathrm{PCA}(H_{LLM}) R

    Parameters
    ----------
    strategy : {"weighted", "concat", "expression", "functional"}, default="weighted"
        The sum above, both side by side without R, the first view alone, or the second.
    alpha, beta : float, default=1.0, 0.05
        Weights of the first and of the second view.
    align : {"procrustes", "regression", "none"}, default="procrustes"
        R: a rotation, a ridge regression, or nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.embedding.fusion import ViewFusion
    >>> rng = np.random.default_rng(0)
    >>> structure, meaning = rng.normal(size=(50, 4)), rng.normal(size=(50, 9))
    >>> ViewFusion().fit_fuse(structure, meaning).shape
    (50, 4)
    """

    def __init__(self, strategy="weighted", *, alpha=1.0, beta=0.05, align="procrustes"):
        self.strategy = strategy
        self.alpha = alpha
        self.beta = beta
        self.align = align

    def fit_fuse(self, structure: ArrayLike, meaning: np.ndarray | None) -> NDArray[np.float32]:
        """Learn centres, scales and the alignment, and fuse.

        Parameters
        ----------
        structure : array-like of shape (n_spots, n_columns)
            First view.
        meaning : array-like of shape (n_spots, n_semantic) or None
            Second view; without it the result is the first.

        Returns
        -------
        ndarray of shape (n_spots, n_fused), float32
        """
        structure = np.asarray(structure, dtype=np.float32)
        self._structure = centre_and_scale(structure)
        self._text_axes = None
        if meaning is not None:
            n_columns = min(structure.shape[1], *meaning.shape)
            pca = PCA(n_columns, random_state=0).set_output(transform="default").fit(meaning)
            reduced = pca.transform(meaning)
            axes = pca.components_.T.astype(np.float32)
            axes /= np.float32(np.sqrt(reduced.var(axis=0, dtype=np.float64).sum()) or 1.0)
            if self.strategy == "weighted":
                target = (structure - self._structure[0]) * self._structure[1]
                axes = axes @ self._alignment((meaning - pca.mean_.astype(np.float32)) @ axes, target)
            self._text_axes = pca.mean_.astype(np.float32), axes.astype(np.float32)
        return self.fuse(structure, meaning)

    def fuse(self, structure: ArrayLike, meaning: np.ndarray | None) -> NDArray[np.float32]:
        """Fuse the views of other spots; parameters and result as in :meth:`fit_fuse`."""
        centre, scale = self._structure
        structure = (np.asarray(structure, dtype=np.float32) - centre) * scale
        if self._text_axes is None:
            return (self.alpha * structure).astype(np.float32)
        mean, axes = self._text_axes
        meaning = (meaning - mean) @ axes
        if self.strategy == "functional":
            return meaning.astype(np.float32)
        if self.strategy == "concat":
            return np.hstack([self.alpha * structure, self.beta * meaning]).astype(np.float32)
        return (self.alpha * structure + self.beta * meaning).astype(np.float32)

    def _alignment(self, reduced, target):
        if self.align == "none":
            return np.eye(reduced.shape[1], target.shape[1])
        cross = (reduced.T @ target).astype(np.float64)
        if self.align == "procrustes":
            left, _, right = np.linalg.svd(cross, full_matrices=False)
            return left @ right
        gram = (reduced.T @ reduced).astype(np.float64)
        ridge = 1e-3 * np.trace(gram) / len(gram)
        return np.linalg.solve(gram + ridge * np.eye(len(gram)), cross)
