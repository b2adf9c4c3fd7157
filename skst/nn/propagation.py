"""Graph convolution over a fixed sparse operator, on CPU or CUDA."""

import warnings
from functools import cache

import numpy as np
import torch
from scipy import sparse
from torch import nn

from skst.nn.surroundings import options


class SparseOperator:
    """A sparse matrix that multiplies dense tensors, with a gradient that costs as much as the product.

    The matrix is constant: gradients go to the dense factor only.  They are products with the transpose, which is
    laid out once, when the operator is made; the backward pass of torch's own CSR product lays it out at every call.

    Parameters
    ----------
    matrix : sparse matrix or sparse array of shape (n_rows, n_columns)
        The operator, such as :func:`skst.graph.averaging_operator` of a graph; it need not be symmetric.  float32 and
        float64 are kept, any other dtype becomes float32.

    Attributes
    ----------
    shape : tuple of int
        ``(n_rows, n_columns)``.
    dtype : torch.dtype
        torch.float32 or torch.float64; the dense factor must have the same.
    device : torch.device
        Where the operator is.

    Raises
    ------
    ValueError
        If `matrix` is not sparse.

    Notes
    -----
    Immutable, and on the CPU where it is made; :meth:`to` moves it.

    Examples
    --------
    >>> import torch
    >>> from scipy import sparse
    >>> from skst.nn.propagation import SparseOperator
    >>> mean = SparseOperator(sparse.csr_array([[0.5, 0.5], [0.0, 1.0]]))
    >>> mean @ torch.tensor([[2.0], [4.0]], dtype=torch.float64)
    tensor([[3.],
            [4.]], dtype=torch.float64)
    """

    def __init__(self, matrix):
        if not sparse.issparse(matrix):
            raise ValueError(f"matrix is a {type(matrix).__name__}; pass a sparse one, scipy.sparse.csr_array(matrix).")
        dtype = matrix.dtype if matrix.dtype in (np.float32, np.float64) else np.float32
        matrix = sparse.csr_array(matrix, dtype=dtype, copy=True)  # torch shares memory with what it is given
        matrix.sum_duplicates()
        self._forward = _csr_tensor(matrix)
        self._backward = _csr_tensor(matrix.T.tocsr())

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self._forward.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self._forward.dtype

    @property
    def device(self) -> torch.device:
        return self._forward.device

    @property
    def T(self) -> "SparseOperator":
        """The transpose, which shares its memory."""
        transpose = object.__new__(SparseOperator)
        transpose._forward, transpose._backward = self._backward, self._forward
        return transpose

    def to(self, device: torch.device | str) -> "SparseOperator":
        """The operator on another device.

        Parameters
        ----------
        device : torch.device or str
            Such as ``"cuda"``.

        Returns
        -------
        SparseOperator
            `self` if it is there already.
        """
        if torch.device(device) == self.device:
            return self
        moved = object.__new__(SparseOperator)
        moved._forward, moved._backward = self._forward.to(device), self._backward.to(device)
        return moved

    def __matmul__(self, dense):
        """Product with a dense tensor of shape (n_columns, n_features); differentiable, twice too.

        Raises
        ------
        ValueError
            If the shape, the dtype or the device of `dense` does not fit.
        """
        if dense.ndim != 2 or len(dense) != self.shape[1]:
            raise ValueError(
                f"the dense factor has shape {tuple(dense.shape)} where the operator of shape {self.shape} needs "
                f"({self.shape[1]}, n_features); give one row a column of the operator."
            )
        if (dense.dtype, dense.device) != (self.dtype, self.device):
            raise ValueError(
                f"the dense factor is {dense.dtype} on {dense.device} but the operator {self.dtype} on {self.device}; "
                "convert one with `.to`."
            )
        return _Product.apply(dense, self._forward, self._backward)

    def __repr__(self):
        return f"SparseOperator(shape={self.shape}, dtype={self.dtype}, device={str(self.device)!r})"


class GraphBranch(nn.Module):
    r"""Two graph convolutions, one branch of SemST's dual-graph encoder.

    .. math:: H^{(1)} = \mathrm{ReLU}(A X W_1 + b_1), \qquad H^{(2)} = A H^{(1)} W_2 + b_2

    Parameters
    ----------
    n_in, n_hidden, n_out : int
        Columns of the input, of the hidden layer and of the output.
    dropout : float, default=0.0
        Share of the hidden values that is dropped in training.
    activation : bool, default=True
        ReLU after the first layer; without it the branch is linear in `x`.
    generator : torch.Generator, default=None
        Draws the first weights, which are float32 and on its device then; by default torch's own generator and
        defaults.

    Raises
    ------
    ValueError
        If `dropout` is outside of [0, 1].

    Notes
    -----
    Weights start as in Kipf and Welling (2017): Glorot uniform, biases 0.

    Examples
    --------
    >>> import torch
    >>> from scipy import sparse
    >>> from skst.nn.propagation import GraphBranch, SparseOperator
    >>> operator = SparseOperator(sparse.eye_array(4, dtype="float32"))
    >>> GraphBranch(3, 8, 2)(torch.ones(4, 3), operator).shape
    torch.Size([4, 2])
    """

    def __init__(self, n_in, n_hidden, n_out, dropout=0.0, activation=True, *, generator=None):
        super().__init__()
        self.first = _GraphConvolution(n_in, n_hidden, generator)
        self.activation = nn.ReLU() if activation else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.second = _GraphConvolution(n_hidden, n_out, generator)

    def forward(self, x: torch.Tensor, operator: SparseOperator, *, averaged: bool = False) -> torch.Tensor:
        """Embed spots.

        Parameters
        ----------
        x : Tensor of shape (n_spots, n_in)
            Features of spots.
        operator : SparseOperator of shape (n_spots, n_spots)
            Such as the mean over a spot and its neighbours.
        averaged : bool, default=False
            `x` is :math:`A X` already.  Where X stays the same from epoch to epoch, the product can be made once, and a
            mini-batch then needs a halo of one hop instead of two.

        Returns
        -------
        Tensor of shape (n_spots, n_out)
        """
        hidden = self.dropout(self.activation(self.first(x, None if averaged else operator)))
        return self.second(hidden, operator)


class _GraphConvolution(nn.Module):
    """A X W + b, with A applied to the narrower of X and X W; X W + b without an operator."""

    def __init__(self, n_in, n_out, generator):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in, **options(generator)))
        self.bias = nn.Parameter(torch.zeros(n_out, **options(generator)))
        nn.init.xavier_uniform_(self.weight, generator=generator)

    def forward(self, x, operator):
        n_out, n_in = self.weight.shape
        if operator is not None and n_in >= n_out:
            return operator @ nn.functional.linear(x, self.weight) + self.bias
        return nn.functional.linear(x if operator is None else operator @ x, self.weight, self.bias)


class _Product(torch.autograd.Function):
    """`matrix` @ `dense` with the gradient `transpose` @ gradient."""

    @staticmethod
    def forward(ctx, dense, matrix, transpose):
        ctx.factors = matrix, transpose
        return matrix @ dense

    @staticmethod
    def backward(ctx, gradient):
        matrix, transpose = ctx.factors
        return _Product.apply(gradient, transpose, matrix), None, None


@cache
def hear_of_beta():
    """Have torch say that its layout of sparse rows is in beta, which it does once a process, to nobody.

    The product with a dense matrix is all that is used of it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        torch.sparse_csr_tensor([0, 1], [0], [1.0], size=(1, 1), device="cpu", check_invariants=False)


def _csr_tensor(matrix):
    hear_of_beta()
    return torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr),
        torch.from_numpy(matrix.indices),
        torch.from_numpy(matrix.data),
        size=matrix.shape,
        device="cpu",
        check_invariants=False,  # scipy has checked them; leaving it out makes torch warn
    )
