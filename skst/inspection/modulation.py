"""What modulation factors do: which dimensions they act on, and with which genes they go."""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse, stats
from sklearn.utils.sparsefuncs import mean_variance_axis

from skst.expression.counts import library_sizes, median_depth, scale_depth, square_root
from skst.files.untrusted import told
from skst.inputs.counting import check_counts
from skst.inputs.rows import match_rows
from skst.inputs.types import Expression
from skst.inspection._expression import read_named_genes


class ModulationGenes(NamedTuple):
    """Genes and gene sets that go with modulation factors, see :func:`modulation_genes`.

    Attributes
    ----------
    genes : DataFrame
        "dimension", "direction" ("positive" or "negative"), "rank" (from 1), "gene" and "r".
    gene_sets : DataFrame or None
        "dimension", "gene_set", "n_genes" (members in the data), "mean_r", "mean_r_rest", "z" and "p" (Mann-Whitney,
        two-sided) and "q" (Benjamini-Hochberg over all rows); None if no sets were given.
    """

    genes: pd.DataFrame
    gene_sets: pd.DataFrame | None


def modulation_report(
    alpha: ArrayLike, beta: ArrayLike, *, features: ArrayLike | None = None, tol: float = 0.01
) -> pd.DataFrame:
    r"""Say how much each dimension is modulated, and warn if hardly any is.

    Feature-wise modulation (SemST) turns the feature z of a spot into :math:`(1 + \alpha) z + \beta`.  What is the
    same for all spots is a plain layer that the next weights can undo; only what varies from spot to spot carries
    text.  If alpha and beta have next to no variance, the modulation has collapsed.

    Parameters
    ----------
    alpha, beta : array-like of shape (n_spots, d), float
        Scale and shift of each dimension in each spot: ``modulation_.alpha`` and ``modulation_.beta`` of a
        :class:`~skst.SemSTClusterer`, or those of any other model.
    features : array-like of shape (n_spots, d), float, default=None
        Features before modulation, which set the unit in which shifts count; by default features with a root
        mean square of 1.
    tol : float, default=0.01
        Relative modulation below which a dimension counts as collapsed: a change of a feature by less than 1 % of its
        own size is far below the differences between domains, and below what starts of k-means differ by.

    Returns
    -------
    DataFrame of d rows
        Columns "alpha_mean", "alpha_sd", "beta_mean", "beta_sd" (over spots), "relative" (spot-to-spot change of
        the feature by its modulation, over the size of the modulated feature), "share" (of the variance that
        modulation adds to all dimensions; NaN where it adds none at all) and "collapsed".

    Raises
    ------
    ValueError
        If the arrays differ in shape, are not two-dimensional, or hold NaN.

    Warns
    -----
    UserWarning
        If more than half of the dimensions have collapsed.

    Notes
    -----
    With s the root mean square of a feature, the change has the variance
    :math:`\mathrm{var}(\alpha) s^2 + \mathrm{var}(\beta)`, as for features that are independent of their
    modulation; the size is :math:`s \sqrt{\mathrm{mean}((1 + \alpha)^2)}`.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.inspection import modulation_report
    >>> alpha = np.random.default_rng(0).normal(size=(50, 3)) * [0.5, 0.2, 1e-5]
    >>> report = modulation_report(alpha, np.zeros((50, 3)))
    >>> report["collapsed"].tolist()
    [False, False, True]
    """
    beta, features = match_rows(alpha, origin="alpha", beta=beta, features=features)
    alpha, beta = _factor(alpha, "alpha"), _factor(beta, "beta")
    scale = np.ones(alpha.shape[1])
    if features is not None:
        features = _factor(features, "features")
        scale = np.sqrt(np.square(features).mean(axis=0))
    shapes = {a.shape for a in (alpha, beta, features) if a is not None}
    if len(shapes) > 1:
        raise ValueError(f"alpha, beta and features have the shapes {sorted(shapes)}; pass arrays of one shape.")
    change = alpha.var(axis=0) * scale**2 + beta.var(axis=0)
    size = scale * np.sqrt(np.square(1 + alpha).mean(axis=0))
    # A feature that modulation has silenced for all spots is not modulated, unless shifts give it a value.
    relative = np.divide(np.sqrt(change), size, out=np.where(change > 0, np.inf, 0.0), where=size > 0)
    report = pd.DataFrame(
        {
            "alpha_mean": alpha.mean(axis=0),
            "alpha_sd": alpha.std(axis=0),
            "beta_mean": beta.mean(axis=0),
            "beta_sd": beta.std(axis=0),
            "relative": relative,
            "share": change / change.sum() if change.any() else np.nan,
            "collapsed": relative < tol,
        }
    ).rename_axis("dimension")
    n_collapsed = int(report["collapsed"].sum())
    if 2 * n_collapsed > len(report):
        warnings.warn(
            f"Modulation has collapsed in {n_collapsed} of {len(report)} dimensions, where it is nearly alike in all "
            "spots and the text has no say; check that the text vectors of spots differ, train longer, or raise the "
            "learning rate.",
            UserWarning,
            stacklevel=2,
        )
    return report


def modulation_genes(
    factor: ArrayLike,
    X: Expression,
    *,
    gene_names: ArrayLike | None = None,
    layer: str | None = None,
    gene_sets: Mapping[str, Sequence[str]] | None = None,
    n_top: int = 10,
) -> ModulationGenes:
    """Find the genes and gene sets whose expression goes with each dimension of a modulation factor.

    Parameters
    ----------
    factor : array-like of shape (n_spots, d), float
        Factor of each spot, such as ``modulation_.alpha`` of a :class:`~skst.SemSTClusterer`.
    X : AnnData, DataFrame, ndarray or sparse of shape (n_spots, n_genes)
        Raw counts.  A sparse matrix is never made dense.
    gene_names : array-like of str of shape (n_genes,), default=None
        Names of the columns of an `X` that carries none.
    layer : str, default=None
        Layer of an AnnData that holds the counts; by default its ``X``.
    gene_sets : dict of str to list of str, default=None
        Members of each set, by its name.  Symbols are compared without regard to case, and members that are not in
        `X` are left out.
    n_top : int, default=10
        Genes listed in each direction of each dimension.

    Returns
    -------
    ModulationGenes
        The tables ``genes`` and ``gene_sets``.

    Raises
    ------
    ValueError
        If lengths differ, values are not finite or negative, genes have no names, or no set has a gene in the data.

    Warns
    -----
    UserWarning
        If `X` looks log-transformed.

    Notes
    -----
    "r" is Pearson's correlation, over spots, of the factor with the square root of depth-scaled counts.  It comes
    without a p-value on purpose: neighbouring spots are alike, so that any two smooth maps correlate and a p-value that
    takes spots as independent is far too small.  Genes that are the same in all spots have no r and are left out.

    A set is compared with all other genes by the Mann-Whitney test of their r, normal approximation; "z" is
    positive where its members go up with the factor.  The test takes genes as independent; members of a set
    are co-expressed, so read p and q as a ranking of sets.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.inspection import modulation_genes
    >>> counts = np.random.default_rng(0).poisson(5, (80, 4))
    >>> found = modulation_genes(np.sqrt(counts[:, [2]]), counts, gene_names=["Mbp", "Gad1", "Plp1", "Gad2"], n_top=1)
    >>> found.genes[["direction", "gene"]].iloc[0].tolist()
    ['positive', 'Plp1']
    """
    spots = read_named_genes(X, gene_names, layer)
    (factor,) = match_rows(X, factor=factor)
    factor = _factor(factor, "factor")
    check_counts(spots, X)
    if len(factor) != spots.X.shape[0]:
        raise ValueError(f"factor has {len(factor)} rows but X has {spots.X.shape[0]}; give one row a spot.")
    r = _correlations(factor, spots.X)
    varies = np.isfinite(r).any(axis=1)
    r, genes = r[varies], spots.genes[varies]  # type: ignore[index]
    sets = None if gene_sets is None else _compare_sets(r, genes, gene_sets)
    return ModulationGenes(_top_genes(r, genes, n_top), sets)


def _factor(values, name):
    try:
        factor = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} holds something else than numbers ({told(error)}); give one row of numbers a spot."
        ) from error
    if factor.ndim != 2 or not factor.size:
        raise ValueError(f"{name} has shape {factor.shape}; give one row a spot and one column a dimension.")
    if not np.isfinite(factor).all():
        raise ValueError(f"{name} is NaN or infinite in places; take the factors of a fit that converged.")
    return factor


def _correlations(factor, X):
    """Pearson's r of every gene (row) with every dimension (column); NaN where either is constant."""
    sizes = library_sizes(X)
    Y = square_root(scale_depth(X, median_depth(sizes), sizes))
    if sparse.issparse(Y):
        variance = mean_variance_axis(Y, axis=0)[1].astype(np.float64)
    else:
        variance = Y.var(axis=0, dtype=np.float64)
    # Columns that are constant up to rounding would otherwise correlate with anything.
    spread = np.where(factor.std(axis=0) > 1e-7 * np.abs(factor).max(axis=0), factor.std(axis=0), np.nan)
    # With a centred factor the means of the genes drop out of the product, and Y stays sparse.
    covariance = (Y.T @ (factor - factor.mean(axis=0))) / len(factor)
    sd = np.sqrt(np.where(variance > 1e-9, variance, np.nan))
    return np.clip(covariance / sd[:, None] / spread, -1, 1)


def _top_genes(r, genes, n_top):
    rows = []
    for dimension, column in enumerate(r.T):
        for direction, sign in (("positive", 1), ("negative", -1)):
            order = np.argsort(-sign * column, kind="stable")[:n_top]
            best = [gene for gene in order if sign * column[gene] > 0]
            rows += [(dimension, direction, i, genes[gene], column[gene]) for i, gene in enumerate(best, start=1)]
    return pd.DataFrame(rows, columns=["dimension", "direction", "rank", "gene", "r"])


def _compare_sets(r, genes, gene_sets):
    if not isinstance(gene_sets, dict):
        raise ValueError(
            f"gene_sets is of type {type(gene_sets).__name__}; give a dict of genes by the name of their set."
        )
    symbols = pd.Series(genes).astype(str).str.casefold()
    members = {name: symbols.isin([str(s).casefold() for s in listed]).to_numpy() for name, listed in gene_sets.items()}
    if not any(mask.any() for mask in members.values()):
        raise ValueError(f"gene_sets: none of {len(members)} sets has a gene that varies in X; use its gene names.")
    columns = np.flatnonzero(np.isfinite(r).all(axis=0))
    rows = []
    for name, mask in members.items():
        n, rest = int(mask.sum()), int((~mask).sum())
        if not n or not rest:
            continue
        p = stats.mannwhitneyu(r[mask][:, columns], r[~mask][:, columns], method="asymptotic", axis=0)
        z = stats.norm.isf(p.pvalue / 2) * np.sign(p.statistic - n * rest / 2)
        inside, outside = r[mask].mean(axis=0), r[~mask].mean(axis=0)
        rows += [(d, name, n, inside[d], outside[d], z[i], p.pvalue[i]) for i, d in enumerate(columns)]
    table = pd.DataFrame(rows, columns=["dimension", "gene_set", "n_genes", "mean_r", "mean_r_rest", "z", "p"])
    table["q"] = stats.false_discovery_control(table["p"]) if len(table) else []
    return table.sort_values(["dimension", "p"], kind="stable", ignore_index=True)
