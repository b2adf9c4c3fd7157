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


def _warn_of_no_slices(batch_effect, stacklevel):
    warnings.warn(
        f"batch_effect={batch_effect!r} is given but X names no slices, so nothing is corrected; name a column of "
        "X.obs by batch_key=, or pass batch=.",
        UserWarning,
        stacklevel=stacklevel,
    )


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
            _warn_of_no_slices(self.batch_effect, stacklevel=5)
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


class CorrectsCells:
    """Methods of an estimator of cells with the parameter ``batch_effect``, which sees several sets of axes.

    Axes of all choices of genes are moved together, by domains that are found in the leading ones of the first; Harmony
    runs on the axes of each choice.  As there, each batch is corrected by itself.
    """

    batch_effect: str | None
    _batches: Any = None

    def _check_batch_effect(self):
        """Raise if networks read what is not corrected."""
        if self.batch_effect is not None and self.inputs == "counts":
            raise ValueError(
                f"batch_effect={self.batch_effect!r} corrects axes, but inputs='counts' has networks read counts; set "
                "inputs='axes', or batch_effect=None."
            )

    def _fit_batches(self, axes, batch, n_leading, rng):
        """Learn what sets batches apart, codes from 0 or None; return the axes without it."""
        self._batches, self.batch_shift_ = None, None
        if self.batch_effect is None:
            return axes
        if batch is None:
            _warn_of_no_slices(self.batch_effect, stacklevel=4)
            return axes
        n_leading = min(n_leading, axes[0].shape[1])
        if self.batch_effect == "shift":
            first = make_correction("shift", averaged=False, random_state=rng)
            self._batches = [first.fit(np.hstack(axes), batch, n_columns=n_leading)]
        else:
            self._batches = [
                make_correction(self.batch_effect, averaged=False, random_state=rng).fit(part, batch) for part in axes
            ]
        corrected = self._without_batches(axes, batch)
        moved = sum(np.square(new - old).sum(axis=1) for new, old in zip(corrected, axes, strict=True))
        self.batch_shift_ = np.bincount(batch, moved / (len(axes) * n_leading)) / np.bincount(batch)
        return corrected

    def _without_batches(self, axes: list[NDArray[np.float32]], batch: Any) -> list[NDArray[np.float32]]:
        """Axes of cells, of one batch where none are named, without effects of batch."""
        if self._batches is None:
            return axes
        codes = np.zeros(len(axes[0]), dtype=int) if batch is None else batch
        if self.batch_effect != "shift":
            return [one.correct(part, codes) for one, part in zip(self._batches, axes, strict=True)]
        corrected = self._batches[0].correct(np.hstack(axes), codes)
        ends = np.cumsum([part.shape[1] for part in axes])[:-1]
        return [np.ascontiguousarray(part) for part in np.split(corrected, ends, axis=1)]
