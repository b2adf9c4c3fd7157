"""A spatial view and a text view of the same spots, brought to one scale and to common axes, and put together."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skst.expression.scale import centre_and_scale
from skst.inputs.blocks import row_blocks

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
    n_views : int, default=1
        Embeddings of equal width that the first view holds side by side; each is fused on its own, and so are the
        results side by side.

    Attributes
    ----------
    n_fused_ : int
        Embeddings that the result holds: 1 for "functional".
    text_axes_ : tuple of ndarray or None
        Mean of the text view, and the axes that it is brought onto.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.embedding.fusion import ViewFusion
    >>> rng = np.random.default_rng(0)
    >>> structure, meaning = rng.normal(size=(50, 4)), rng.normal(size=(50, 9))
    >>> ViewFusion().fit_fuse(structure, meaning).shape
    (50, 4)
    """

    def __init__(self, strategy="weighted", *, alpha=1.0, beta=0.05, align="procrustes", n_views=1):
        self.strategy = strategy
        self.alpha = alpha
        self.beta = beta
        self.align = align
        self.n_views = n_views

    def fit_fuse(self, structure: ArrayLike, meaning: np.ndarray | None) -> NDArray[np.float32]:
        """Learn centres, scales and the alignment, and fuse.

        Parameters
        ----------
        structure : array-like of shape (n_spots, n_views * n_columns)
            First view.
        meaning : array-like of shape (n_spots, n_semantic) or None
            Second view; without it the result is the first.

        Returns
        -------
        ndarray of shape (n_spots, n_fused), float32
        """
        structure = np.asarray(structure, dtype=np.float32)
        reduced = self.text_axes_ = None
        if meaning is not None and self.strategy != "expression":
            from sklearn.decomposition import PCA

            n_columns = min(structure.shape[1] // self.n_views, *meaning.shape)
            pca = PCA(n_columns, random_state=0).set_output(transform="default").fit(meaning)
            axes = pca.components_.T.astype(np.float32)
            self.text_axes_ = pca.mean_.astype(np.float32), axes
            reduced = self._reduced(meaning)
            axes /= np.float32(np.sqrt(reduced.var(axis=0, dtype=np.float64).sum()) or 1.0)
            reduced = self._reduced(meaning)
        return self._fit_fuse(structure, reduced)

    def fit_fuse_reduced(
        self,
        structure: NDArray[np.float32],
        reduced: NDArray[np.float32] | None,
        text_axes: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
    ) -> NDArray[np.float32]:
        """Learn and fuse where the text view was brought onto its axes beforehand.

        Parameters
        ----------
        structure : ndarray of shape (n_spots, n_views * n_columns)
            First view; the result takes its place where that is as wide.
        reduced : ndarray of shape (n_spots, n_columns) or None
            Scores of the second view, of unit total variance.
        text_axes : tuple of ndarray or None
            Its mean, and the axes that it was brought onto.

        Returns
        -------
        ndarray of shape (n_spots, n_fused), float32
        """
        self.text_axes_ = text_axes
        return self._fit_fuse(structure, reduced, in_place=True)

    def _fit_fuse(self, structure, reduced, in_place=False):
        self.n_fused_ = 1 if self.strategy == "functional" else self.n_views
        parts = np.split(structure, self.n_views, axis=1)
        self._scales = [centre_and_scale(part) for part in parts]
        if reduced is not None and self.strategy == "weighted":
            scaled = ((part - centre) * scale for part, (centre, scale) in zip(parts, self._scales, strict=True))
            self._turns = [self._alignment(reduced, part).astype(np.float32) for part in scaled]
        return self.fuse_reduced(structure, reduced, in_place=in_place)

    def fuse(self, structure: ArrayLike, meaning: np.ndarray | None) -> NDArray[np.float32]:
        """Fuse the views of other spots; parameters and result as in :meth:`fit_fuse`."""
        text = None if self.text_axes_ is None else self._reduced(meaning)
        return self.fuse_reduced(np.asarray(structure, dtype=np.float32), text)

    def fuse_reduced(
        self, structure: NDArray[np.float32], reduced: NDArray[np.float32] | None, *, in_place: bool = False
    ) -> NDArray[np.float32]:
        """Fuse where the text view is on its axes already; parameters and result as in :meth:`fit_fuse_reduced`.

        With `in_place`, `structure` becomes the result where that is as wide, so that a large tissue is held once.
        """
        if reduced is not None and self.strategy == "functional":
            return reduced
        n_columns = structure.shape[1] // self.n_views
        width = n_columns + (reduced.shape[1] if reduced is not None and self.strategy == "concat" else 0)
        fused = structure if in_place and width == n_columns else np.empty((len(structure), width * self.n_views), "f4")
        for rows, block in row_blocks(structure):
            sides = np.split(block, self.n_views, axis=1), np.split(fused[rows], self.n_views, axis=1)
            for i, (part, own) in enumerate(zip(*sides, strict=True)):
                centre, scale = self._scales[i]
                own[:, :n_columns] = np.float32(self.alpha) * ((part - centre) * scale)
                if reduced is not None and self.strategy == "concat":
                    own[:, n_columns:] = np.float32(self.beta) * reduced[rows]
                elif reduced is not None:
                    own += np.float32(self.beta) * (reduced[rows] @ self._turns[i])
        return fused

    def _reduced(self, meaning, n_rows=100_000):
        """Scores of the text view on its own axes; vectors of all spots are not held a second time."""
        mean, axes = self.text_axes_
        parts = [(meaning[i : i + n_rows] - mean) @ axes for i in range(0, len(meaning), n_rows)]
        return np.vstack(parts).astype(np.float32, copy=False)

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
