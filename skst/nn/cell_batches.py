"""Cells handed out whole or in random batches."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse


class CellBatch(NamedTuple):
    """Some cells.

    Attributes
    ----------
    inputs : Tensor of shape (n_cells, n_inputs)
    semantic : Tensor of shape (n_cells, n_semantic) or None
        Text vectors.
    rows : ndarray of int of shape (n_cells,) or None
        Which cells of all; None if it is all of them.
    target : Tensor of shape (n_cells, n_clusters) or None
        Target of the soft assignment.
    """

    inputs: torch.Tensor
    semantic: torch.Tensor | None
    rows: np.ndarray | None
    target: torch.Tensor | None

    @property
    def n_core(self) -> int:
        return len(self.inputs)

    def to(self, device: torch.device | str) -> "CellBatch":
        """The batch on another device."""
        semantic, target = (None if part is None else part.to(device) for part in (self.semantic, self.target))
        return CellBatch(self.inputs.to(device), semantic, self.rows, target)


class CellBatches:
    """All that the networks see of the cells, handed out whole or in random batches.

    Parameters
    ----------
    inputs : ndarray or csr_array of shape (n_cells, n_inputs), float32
        What is encoded and reconstructed.
    semantic : ndarray of shape (n_cells, n_semantic), float32, or None
        Text vectors.
    batch_size : int or None, default=None
        Cells in a batch; None for all at once.
    random_state : RandomState, default=None
        Draws the batches.

    Attributes
    ----------
    target : Tensor of shape (n_cells, n_clusters) or None
        Target of the soft assignment, once there is one.
    """

    def __init__(self, inputs, semantic, *, batch_size=None, random_state=None):
        self.inputs, self.semantic = inputs, semantic
        self.batch_size = None if batch_size is None or batch_size >= inputs.shape[0] else batch_size
        self.random_state = random_state
        self.target = None

    def __len__(self):
        return self.inputs.shape[0]

    @property
    def n_batches(self) -> int:
        """Steps of an epoch."""
        # Two cells at least in each: the cut looks at pairs.
        return 1 if self.batch_size is None else min(-(-len(self) // self.batch_size), len(self) // 2)

    def __iter__(self):
        """Batches of one epoch, each with the None that stands for its labels."""
        if self.n_batches == 1:
            yield self.batch(None), None
            return
        order = self.random_state.permutation(len(self))
        for rows in np.array_split(order, self.n_batches):  # of one size, give or take a cell
            yield self.batch(np.sort(rows)), None

    def batch(self, rows: NDArray[np.integer] | None) -> CellBatch:
        """The :class:`CellBatch` of some cells; of all if `rows` is None."""
        where = slice(None) if rows is None else rows
        inputs = self.inputs[where]
        inputs = inputs.toarray() if sparse.issparse(inputs) else inputs
        semantic = None if self.semantic is None else torch.from_numpy(self.semantic[where])
        target = None if self.target is None else self.target[where]
        return CellBatch(torch.from_numpy(np.ascontiguousarray(inputs)), semantic, rows, target)

    def in_order(self, size: int = 16_384) -> Iterator[CellBatch]:
        """Batches of all cells as they come."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))))
