"""Which genes tell a cluster of cells from the others."""

from numbers import Integral

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse

from skst.expression.counts import library_sizes, median_depth, scale_depth
from skst.inputs.counting import looks_logarithmic
from skst.inputs.labels import Labels, label_column, sort_labels
from skst.inputs.types import Expression
from skst.inspection._expression import read_named_genes


def marker_genes(
    X: Expression,
    labels: Labels,
    *,
    n_top: int | None = 100,
    gene_names: ArrayLike | None = None,
    layer: str | None = None,
) -> pd.DataFrame:
    r"""Find the genes most specific to each cluster.

    Genes are ranked by Welch's t statistic of their log-normalised expression, cluster against all other cells.

    Parameters
    ----------
    X : AnnData, DataFrame, ndarray, sparse matrix or sparse array of shape (n_cells, n_genes)
        Raw counts, which are scaled to the median library size and turned into :math:`\log(1 + x)`; or values that
        are already logarithms (fractions, and nothing above 16), which are used as they are.  A sparse matrix is never
        made dense.
    labels : array-like of shape (n_cells,) or str
        Cluster of each cell, or the name of an ``obs`` column of the AnnData.  Cells without a label take no part.
    n_top : int or None, default=100
        Genes listed for each cluster at most; None lists all.
    gene_names : array-like of str of shape (n_genes,), default=None
        Names of the columns of an `X` that carries none.
    layer : str, default=None
        Layer of an AnnData to read; by default its ``X``.

    Returns
    -------
    DataFrame
        "cluster" (categorical: a cluster without a gene of its own stays known), "rank" (from 1), "gene", "score" (t),
        "log_fold_change" (difference of the means, in powers of 2), "fraction_in" and "fraction_out" (of the cells in
        and outside the cluster that express the gene).  Only genes of positive score are listed.  ``attrs["genes"]``
        holds the names of all genes, from which :func:`annotate_by_markers` tells what overlap is due to chance.

    Raises
    ------
    ValueError
        If genes have no names, values are negative or not finite, lengths differ, or there is but one cluster.

    Notes
    -----
    With mean m, variance s² and number n of the cells in and outside of a cluster,

    .. math:: t = (m_{in} - m_{out}) / \sqrt{s^2_{in} / n_{in} + s^2_{out} / n_{out}}.

    It takes one pass over the entries of `X` for their sums and sums of squares by cluster.  A group of one cell has
    no variance and borrows that of the other cells.  There is no p-value on purpose: the clusters were found in the
    same expression, so a test of their difference is circular.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.inspection import marker_genes
    >>> counts = np.array([[9, 1, 3], [8, 2, 3], [1, 9, 2], [1, 8, 2]])
    >>> marker_genes(counts, ["a", "a", "b", "b"], gene_names=["Ins1", "Gcg", "Actb"], n_top=1)[["cluster", "gene"]]
      cluster  gene
    0       a  Ins1
    1       b   Gcg
    """
    if n_top is not None and (not isinstance(n_top, Integral) or n_top < 1):  # type: ignore[unreachable]
        raise ValueError(f"n_top={n_top!r} is not a positive integer; give one, or None for all genes.")
    spots = read_named_genes(X, gene_names, layer)
    labels = label_column(X, labels, "labels", spots.X.shape[0])
    known = labels.notna().to_numpy()
    clusters = sort_labels(labels[known].unique())
    if len(clusters) < 2:
        raise ValueError(f"labels name {len(clusters)} cluster(s); at least 2 are needed to compare them.")
    codes = pd.Index(clusters, dtype=object).get_indexer(labels[known])
    statistics = _compare(_log_normalized(spots.X)[known], codes, len(clusters))
    tables = []
    for number, cluster in enumerate(clusters):
        score = statistics["score"][number]
        order = np.argsort(-score, kind="stable")[:n_top]
        order = order[score[order] > 0]
        columns = {name: values[number, order] for name, values in statistics.items()}
        place = {
            "cluster": pd.Categorical([cluster] * len(order), clusters),
            "rank": np.arange(1, len(order) + 1),
            "gene": spots.genes[order],  # type: ignore[index]
        }
        tables.append(pd.DataFrame({**place, **columns}))
    markers = pd.concat(tables, ignore_index=True)
    # A tuple, because pandas compares attributes with == when it combines tables.
    markers.attrs["genes"] = tuple(map(str, spots.genes))  # type: ignore[arg-type]
    return markers


def _log_normalized(X):
    values = X.data if sparse.issparse(X) else X
    if values.size and values.min() < 0:
        raise ValueError(f"X holds {values.min():.3g} where counts or logarithms are expected; pass raw counts.")
    if looks_logarithmic(values):
        return X
    sizes = library_sizes(X)
    scaled = scale_depth(X, median_depth(sizes), sizes)
    return scaled.log1p() if sparse.issparse(scaled) else np.log1p(scaled)


def _compare(Y, codes, n_clusters):
    """Statistics of every cluster (row) and gene (column), against all other cells."""
    members = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(n_clusters, len(codes)))
    squares = Y.power(2, dtype=np.float64) if sparse.issparse(Y) else np.square(Y, dtype=np.float64)
    sums, squares, present = (_dense(members @ values) for values in (Y, squares, Y > 0))
    n_in = np.bincount(codes, minlength=n_clusters).astype(np.float64)[:, None]
    n_out = n_in.sum() - n_in

    def outside(values):
        return values.sum(axis=0) - values

    mean_in, mean_out = sums / n_in, outside(sums) / n_out
    var_in, var_out = _variance(squares, mean_in, n_in), _variance(outside(squares), mean_out, n_out)
    error = np.where(n_in > 1, var_in, var_out) / n_in + np.where(n_out > 1, var_out, var_in) / n_out
    difference = mean_in - mean_out
    # Constant in both groups: no evidence where the means are equal, all there can be where they are not.
    sure = np.where(np.abs(difference) > 1e-6, np.copysign(np.inf, difference), 0.0)
    score = np.divide(difference, np.sqrt(error), out=sure, where=error > 1e-12)
    return {
        "score": score,
        "log_fold_change": difference / np.log(2),
        "fraction_in": present / n_in,
        "fraction_out": outside(present) / n_out,
    }


def _dense(product):
    return product.toarray() if sparse.issparse(product) else np.asarray(product)


def _variance(squares, mean, n):
    # Rounding can leave a small negative number where a gene is constant.
    return np.maximum(squares - n * np.square(mean), 0) / np.maximum(n - 1, 1)
