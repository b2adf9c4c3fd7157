"""Effects of batch in an embedding: which are looked for, and their correction slice by slice."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skst.embedding.shifts import SliceShifts

CORRECTIONS = ("shift", "harmony")
# Three rings of a hexagonal lattice: averages over two hops that share most of what they see, and tissue that goes on.
N_ALIKE = 37


def make_correction(batch_effect: str, *, averaged: bool, random_state: np.random.RandomState) -> Any:
    """What corrects an embedding.

    Parameters
    ----------
    batch_effect : {"shift", "harmony"}
    averaged : bool
        Whether spots share their surroundings.
    random_state : RandomState
        Draws the seeds of Harmony; not touched otherwise.

    Returns
    -------
    SliceShifts or SliceHarmony
        Not fitted.
    """
    if batch_effect == "shift":
        return SliceShifts(N_ALIKE if averaged else 1)
    from skst.embedding.harmony import SliceHarmony

    return SliceHarmony(random_state)


class CorrectsBatches:
    """Methods of a transformer with the parameter ``batch_effect``.

    What is learnt in ``fit`` corrects each slice by itself, those of ``fit`` too, so that no names of slices are kept
    and a slice comes out the same whether it is new or not.
    """

    _batches: Any = None

    def _fit_batches(self, embedding, slices, rng):
        """Learn what sets slices apart, codes from 0 or None; return the embedding without it."""
        self._batches, self.batch_shift_ = None, None
        if self.batch_effect is None:
            return embedding
        if slices is None:
            warnings.warn(
                f"batch_effect={self.batch_effect!r} is given but X names no slices, so nothing is corrected; name a "
                "column of X.obs by batch_key=, or pass batch=.",
                UserWarning,
                stacklevel=4,
            )
            return embedding
        averaged = len(self.hop_weights_) > 1 and self.spatial_weight > 0
        correction = make_correction(self.batch_effect, averaged=averaged, random_state=rng)
        self._batches = correction.fit(embedding, slices, self.n_views_)
        corrected = self._without_batches(embedding, slices)
        moved = np.square(corrected - embedding).sum(axis=1, dtype=np.float64) / self.n_views_
        self.batch_shift_ = np.bincount(slices, moved) / np.bincount(slices)
        return corrected

    def _without_batches(self, embedding: NDArray[np.float32], slices: Any) -> NDArray[np.float32]:
        """The embedding of spots, of one slice where none are named, without effects of batch."""
        if self._batches is None:
            return embedding
        return self._batches.correct(embedding, np.zeros(len(embedding), dtype=int) if slices is None else slices)
