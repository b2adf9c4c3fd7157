"""Normalised cut of a graph of cells that is never built, whole or from a mini-batch."""

from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.preprocessing import normalize

from skst._modes import undisturbed
from skst.expression.axes import CellExpression
from skst.files.aside import RowsAside
from skst.inputs.blocks import row_blocks
from skst.nn.losses import unit_length
from skst.nn.propagation import SparseOperator

# Genes by which cells are alike.
N_CUT_GENES = 1000
# Entries of the dense blocks of rows that the gene-by-gene product is summed over.
_BLOCK = 2**22


class NormalizedCut:
    r"""Normalised cut of the first- and second-order affinities of cells (scCDCG, scLLM-DSC).

    With the rows of C, cells x genes, at unit length, the affinities are :math:`A_1 = C C^\top` and
    :math:`A_2 = A_1 A_1^\top`, with degrees :math:`D_t = \mathrm{diag}(A_t 1)` and normalised affinities
    :math:`L_t = D_t^{-1/2} A_t D_t^{-1/2}`.  An embedding Z of d columns, each brought to unit length, has the loss

    .. math:: -\frac{1}{d} \left[ b\, \mathrm{tr}(Z^\top L_1 Z) + (1 - b)\, \mathrm{tr}(Z^\top L_2 Z) \right]
        + \frac{w}{d^2} \|Z^\top Z - I\|_F^2 .

    The traces are :math:`\|C^\top D_1^{-1/2} Z\|_F^2` and :math:`\|C C^\top D_2^{-1/2} Z\|_F^2`, so that no matrix of
    cells x cells is made: time and memory grow with the non-zeros of C and with the size of Z.

    Parameters
    ----------
    C : ndarray, sparse matrix or sparse array of shape (n_cells, n_genes), or a RowsAside
        Non-negative and finite, rows of any length.  float32 and float64 are kept, any other dtype becomes float32.
    balance : float, default=0.21
        Weight b of the first-order affinities, from 0 to 1.
    ortho_weight : float, default=0.32
        Weight w of the departure of the columns of Z from orthogonality.
    deflate : bool, default=False
        Leave the trivial optimum out, see Notes.
    copy : bool, default=True
        False brings the rows of a C that is CSR and of floats to unit length in place, which saves its memory.

    Attributes
    ----------
    n_cells : int
        Rows of C.
    dtype : torch.dtype
        Of C.
    device : torch.device
        Where the tensors are.
    leading : Tensor of shape (2, n_cells), float64
        The trivial optimum for each of the two affinities, of unit length.

    Raises
    ------
    ValueError
        If C is not a matrix, is empty or has negative, infinite or missing entries, or `balance` or `ortho_weight` is
        out of its range.

    Notes
    -----
    Immutable, and on the CPU where it is made; :meth:`to` moves it.  Products with C are in its dtype, all sums over
    cells in float64.

    Every affinity of two cells is positive or zero, so that :math:`D_t^{1/2} 1`, where all cells agree, is an
    eigenvector of :math:`L_t` with the largest eigenvalue, 1.  It is the first direction that the loss pays for and
    says nothing about clusters.  With ``deflate=True`` each trace is that of Z projected off this direction,
    :math:`\mathrm{tr}(Z^\top L_t Z) - \|Z^\top v_t\|^2` with :math:`v_t` the row t of `leading`.  Columns have unit
    length before the projection, so that what lies along this direction is worth nothing.

    A cell without expression has degree 0 and weight 0 in the traces; it takes part in the orthogonality alone.  A
    column of Z that is all zeros has gradient 0.

    References
    ----------
    .. [1] P. Xu et al., "scCDCG: efficient deep structural clustering for single-cell RNA-seq via deep cut-informed
       graph embedding", DASFAA 2024.

    Examples
    --------
    >>> import torch
    >>> from skst.nn import NormalizedCut
    >>> cut = NormalizedCut([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 4.0]], deflate=True)
    >>> agrees = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    >>> crosses, trivial = agrees[[0, 2, 1, 3]], torch.ones(4, 1)
    >>> [round(abs(cut(z).item()), 4) for z in (agrees, crosses, trivial)]
    [1.0, 0.0, 0.0]
    """

    @undisturbed()
    def __init__(self, C, *, balance=0.21, ortho_weight=0.32, deflate=False, copy=True):
        if not 0 <= balance <= 1:
            raise ValueError(f"balance={balance!r}; pass a weight from 0 to 1.")
        if not ortho_weight >= 0:
            raise ValueError(f"ortho_weight={ortho_weight!r}; pass a weight of at least 0.")
        self.balance, self.ortho_weight, self.deflate = balance, ortho_weight, deflate
        self._rows = _unit_rows(C, copy)
        self.device = torch.device("cpu")
        first = self._affinities(np.ones(self.n_cells))
        degrees = np.stack([first, self._affinities(first)])
        total = degrees.sum(axis=1, keepdims=True)
        self.leading = torch.from_numpy(np.sqrt(degrees / np.where(total > 0, total, 1)))
        self._weights = torch.from_numpy(np.sqrt(np.divide(1, degrees, out=np.zeros_like(degrees), where=degrees > 0)))
        self._operator = self._second_order = None  # of all cells, and of batches: made where they are needed

    @property
    def n_cells(self) -> int:
        return self._rows.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self._rows.dtype == np.float64 else torch.float32

    def to(self, device: torch.device | str) -> "NormalizedCut":
        """The loss on another device.

        Parameters
        ----------
        device : torch.device or str
            Such as ``"cuda"``.

        Returns
        -------
        NormalizedCut
            `self` if it is there already.
        """
        if torch.device(device) == self.device:
            return self
        moved = object.__new__(NormalizedCut)
        moved.__dict__.update(self.__dict__)
        for name in ("leading", "_weights"):
            setattr(moved, name, getattr(self, name).to(device))
        moved.device = moved.leading.device
        if self._operator is not None:
            moved._operator = self._operator.to(device)
        if self._second_order is not None:
            moved._second_order = tuple(tensor.to(device) for tensor in self._second_order)
        return moved

    def __call__(self, z):
        """Loss of the embedding of all cells.

        Parameters
        ----------
        z : Tensor of shape (n_cells, n_features), float32 or float64
            Columns of any length.

        Returns
        -------
        Tensor
            Scalar of the dtype of `z`.

        Raises
        ------
        ValueError
            If `z` does not have one row a cell.
        """
        self._check(z, self.n_cells)
        if self._operator is None:
            rows = self._rows[:] if isinstance(self._rows, RowsAside) else self._rows
            self._operator = SparseOperator(rows).to(self.device)
        unit = unit_length(z.double(), 0)
        genes = self._operator.T @ self._weighted(unit, self._weights)
        first, second = genes.split(z.shape[1], dim=1)
        second = self._operator @ second.contiguous()
        traces = torch.stack([first.double().square().sum(), second.double().square().sum()])
        if self.deflate:
            traces = traces - (self.leading @ unit).square().sum(dim=1)
        ortho = (unit.T @ unit - torch.eye(z.shape[1], dtype=unit.dtype, device=unit.device)).square().mean()
        return self._loss(traces / z.shape[1], ortho).to(z.dtype)

    def estimate(self, z: torch.Tensor, rows: Any, norms: torch.Tensor | None = None) -> torch.Tensor:
        r"""Loss of all cells, estimated from the embedding of some.

        Traces and squared inner products are sums over pairs of cells.  Of n cells out of N, pairs of different cells
        are scaled by :math:`N (N - 1) / (n (n - 1))` and pairs of a cell with itself by :math:`N / n`.

        Parameters
        ----------
        z : Tensor of shape (n_rows, n_features), float32 or float64
            Embedding of the cells `rows`.
        rows : array-like or Tensor of int of shape (n_rows,)
            Different cells, drawn uniformly: the row of C for each row of `z`.
        norms : Tensor of shape (n_features,), default=None
            Lengths of the columns of the embedding of all cells, taken as constants.  By default they are estimated
            too, from the columns of `z`.

        Returns
        -------
        Tensor
            Scalar of the dtype of `z`.

        Raises
        ------
        ValueError
            If `z` and `rows` differ in length or hold a single cell of several.

        Notes
        -----
        With `norms` the estimate has no bias, neither in value nor in gradient.  Without, the columns of a batch are
        divided by an estimate of their length, and the quotient has a bias of order :math:`1/n - 1/N`.  It is the
        right choice in training all the same: with constant lengths the traces grow with the embedding.  Where all
        cells are drawn, the estimate is the loss itself.

        The first call makes :math:`C^\top C`, genes x genes, for the second-order affinities, and a batch takes
        the memory of its rows of C in dense form.
        """
        n, total = len(rows), self.n_cells
        if n < min(2, total):
            raise ValueError(f"rows holds {n} of {total} cells; draw at least 2, which make a pair.")
        self._check(z, n)
        if self._second_order is None:
            self._second_order = self._make_second_order()
        rows = torch.as_tensor(rows, device=self.device)
        single, pair = total / n, total * (total - 1) / max(n * (n - 1), 1)
        unit = z.double()
        if norms is None:
            unit = unit_length(unit, 0) * single**-0.5
        else:
            unit = unit * torch.where(norms > 0, 1 / norms.double(), 0).detach()
        weights, leading = self._weights[:, rows], self.leading[:, rows]

        block = self._dense(rows.cpu().numpy())
        first, second = (block.T @ self._weighted(unit, weights)).split(z.shape[1], dim=1)
        gram, loops = self._second_order
        traces = torch.stack([first.double().square().sum(), (second * (gram @ second)).double().sum()])
        loops = loops[:, rows]
        if self.deflate:
            traces = traces - (leading @ unit).square().sum(dim=1)
            loops = loops - leading.square()
        traces = pair * traces + (single - pair) * (loops @ unit.square().sum(dim=1))

        products, squares = unit.T @ unit, unit.square()
        square = pair * products.square() + (single - pair) * (squares.T @ squares)
        linear = single * products.diagonal()
        if norms is None:  # columns of this length by construction: nothing to estimate
            square = square.diagonal_scatter(linear.square())
        ortho = square.sum() - 2 * linear.sum() + len(linear)
        return self._loss(traces / len(linear), ortho / len(linear) ** 2).to(z.dtype)

    def __repr__(self):
        return (
            f"NormalizedCut(n_cells={self.n_cells}, n_genes={self._rows.shape[1]}, balance={self.balance}, "
            f"ortho_weight={self.ortho_weight}, deflate={self.deflate})"
        )

    def _affinities(self, values):
        """First-order affinities of all cells times a vector, in float64; C is made float64 a block at a time."""
        parts = list(row_blocks(self._rows))
        genes = sum(block.T @ values[rows] for rows, block in parts)
        return np.concatenate([block @ genes for _, block in parts])

    def _weighted(self, unit, weights):
        """Both weightings of the embedding side by side, for one pass over C."""
        return (unit[:, None, :] * weights.T[:, :, None]).reshape(len(unit), -1).to(self.dtype)

    def _loss(self, traces, ortho):
        return self.ortho_weight * ortho - self.balance * traces[0] - (1 - self.balance) * traces[1]

    def _dense(self, rows):
        return torch.from_numpy(self._rows[rows].toarray()).to(self.device)

    @undisturbed(gradients=False)
    def _make_second_order(self):
        """C'C, and what each cell's pair with itself weighs in the two traces before the embedding."""
        n_genes = self._rows.shape[1]
        step = max(1, _BLOCK // n_genes)
        blocks = [np.arange(start, min(start + step, self.n_cells)) for start in range(0, self.n_cells, step)]
        gram = torch.zeros(n_genes, n_genes, dtype=torch.float64, device=self.device)
        for rows in blocks:
            block = self._dense(rows)
            gram += block.T @ block  # float64: there may be many blocks
        gram = gram.to(self.dtype)
        loops = self._weights.square()  # first order: an affinity of 1, or a weight of 0
        own = torch.empty(self.n_cells, dtype=self.dtype, device=self.device)  # small parts would keep blocks apart
        for rows in blocks:
            block = self._dense(rows)
            own[rows[0] : rows[-1] + 1] = (block * (block @ gram)).sum(dim=1)
        loops[1] *= own
        return gram, loops

    def _check(self, z, n_rows):
        if z.ndim != 2 or len(z) != n_rows or z.shape[1] == 0:
            raise ValueError(
                f"z has shape {tuple(z.shape)} where ({n_rows}, n_features) is needed; give one row a cell."
            )


def cut_of_cells(expression: CellExpression, cells: Any, losses: Any) -> NormalizedCut | None:
    """The cut of the graph of cells that their stabilised expression weighs, or None where it has no weight.

    Parameters
    ----------
    expression : CellExpression
        Fitted.
    cells : ndarray, csr_array or RowsAside of shape (n_cells, n_genes)
        Counts.
    losses : CellLosses

    Returns
    -------
    NormalizedCut or None

    Raises
    ------
    ValueError
        If expression is negative.
    """
    if losses.cut == 0:
        return None
    values = expression.values(cells, expression.genes("residual", N_CUT_GENES))
    if values.min() < 0:
        raise ValueError(f"X holds {values.min():.3g}, and the cut takes nothing below 0; set losses__cut=0.")
    settings = {"balance": losses.cut_balance, "ortho_weight": losses.ortho}
    # What is made of counts is no array of somebody else's.
    return NormalizedCut(values, **settings, deflate=True, copy=not expression.normalize)


def _unit_rows(C, copy):
    """`C` as a CSR array, of its own where it is a copy, with rows of unit length; all-zero rows stay."""
    if isinstance(C, RowsAside):
        units = RowsAside(*C.shape)
        for rows, block in row_blocks(C):
            units.append(_unit_rows(block, copy=False), np.arange(rows.start, rows.stop))
        return units
    if not sparse.issparse(C):
        C = np.asarray(C)
    if C.ndim != 2 or 0 in C.shape:
        raise ValueError(f"C has shape {C.shape}; give a matrix (n_cells, n_genes) that is not empty.")
    C = sparse.csr_array(C, dtype=C.dtype if C.dtype in (np.float32, np.float64) else np.float32, copy=copy)
    C.sum_duplicates()
    if not (np.isfinite(C.data).all() and (C.data >= 0).all()):
        raise ValueError("C holds negative or non-finite entries; pass non-negative expression, such as counts.")
    return normalize(C, copy=False)
