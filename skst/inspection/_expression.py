"""Expression with named genes, read as the estimators read it."""

from sklearn.base import BaseEstimator

from skst.inputs.contract import read_spots


class _Reader(BaseEstimator):
    """What reading X asks of an estimator."""

    def __init__(self, gene_names, layer):
        self.gene_names = gene_names
        self.layer = layer


def read_named_genes(X, gene_names, layer):
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
        If genes have no names, or as :func:`skst.inputs.contract.read_spots` says.
    """
    spots = read_spots(_Reader(gene_names, layer), X, reset=True)
    if spots.genes is None:
        raise ValueError("X has no gene names; pass an AnnData, a DataFrame with genes as columns, or gene_names=.")
    return spots
