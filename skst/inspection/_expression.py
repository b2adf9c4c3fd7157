"""Expression with named genes, read as the estimators read it."""

from numpy.typing import ArrayLike

from skst.inputs.spots import Spots, Where, read_spots
from skst.inputs.types import Expression


def read_named_genes(X: Expression, gene_names: ArrayLike | None, layer: str | None) -> Spots:
    """Read `X` where the names of its genes must be known.

    Parameters
    ----------
    X : AnnData, DataFrame, ndarray, sparse matrix or sparse array of shape (n_spots, n_genes)
    gene_names : array-like of str of shape (n_genes,) or None
        Names of the columns of an `X` that carries none.
    layer : str or None
        Layer of an AnnData to read; its ``X`` if None.

    Returns
    -------
    Spots

    Raises
    ------
    ValueError
        If genes have no names, or as :func:`skst.inputs.spots.read_spots` says.
    """
    spots, _ = read_spots(X, Where(layer=layer, gene_names=gene_names))
    if spots.genes is None:
        raise ValueError("X has no gene names; pass an AnnData, a DataFrame with genes as columns, or gene_names=.")
    return spots
