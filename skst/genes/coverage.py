"""How much of the counts is of genes with text, and what to tell a user about it."""

import warnings

import numpy as np
from numpy.typing import NDArray

from skst.inputs.gene_names import is_missing
from skst.inputs.rows import shown

# What is lacking where genes have no names, and what would help.
NO_NAMES = (
    "X has no gene names",
    "pass an AnnData or a DataFrame with gene names as columns (bare numbers are none), or gene_names=",
)


def coverage_of_text(counts: np.ndarray, with_text: NDArray[np.bool_]) -> float:
    """Share of the counts that are of genes with text.

    Parameters
    ----------
    counts : ndarray of shape (n_genes,)
        Total of each gene.
    with_text : ndarray of bool of shape (n_genes,)
        Genes that have a text or a vector.

    Returns
    -------
    float
        The share of genes, if nothing was counted.
    """
    return float(counts[with_text].sum() / counts.sum() if counts.any() else with_text.mean())


def fault_of_coverage(
    coverage: float, names: NDArray[np.object_], with_text: NDArray[np.bool_], species: str, table: str
) -> tuple[str, str] | None:
    """What to tell a user of whose genes few or none have text, and what would help.

    Parameters
    ----------
    coverage : float
        See :func:`coverage_of_text`.
    names : ndarray of str of shape (n_genes,)
        Gene names of the data.
    with_text : ndarray of bool of shape (n_genes,)
        Genes that have a text or a vector.
    species : {"human", "mouse"}
        Species of the data.
    table : {"own", "fetched", "markers"}
        Where texts are from: the user, :func:`fetch_gene_descriptions`, or the package.

    Returns
    -------
    (str, str) or None
        What is lacking and what would help; None if half of the counts or more are of genes with text.
    """
    if coverage >= 0.5 and with_text.any():
        return None
    known = {
        "own": "the table that was given",
        "fetched": f"the table of {species} genes",
        "markers": f"the {species} marker table that comes with skst",
    }[table]
    fix = {
        "own": "give a table that has them",
        "fetched": f"see that they are symbols or Ensembl ids of {species} genes, set species=, or pass gene_names= or "
        "a fuller table as descriptions=",
        "markers": f"call skst.genes.fetch_gene_descriptions({species!r}) once to have all its genes described, pass "
        "symbols as gene_names= if these are of another kind, or a table of another organism as descriptions=",
    }[table]
    absent = [name for name in names[~with_text] if not is_missing(name)]
    such = f", such as {', '.join(map(shown, absent[:3]))}," if absent else ""
    if not with_text.any():
        return f"None of the {len(names)} gene names of X{such} is in {known}", fix
    share = f"{with_text.sum()} of {len(names)} genes, with {coverage:.0%} of the counts in X"
    return f"Only {share}, are in {known}, and others{such} are not", fix


def warn_of_equal_vectors(vectors: np.ndarray, origin: str) -> None:
    """Warn if all genes have one and the same vector.

    Parameters
    ----------
    vectors : ndarray of shape (n_genes, d)
    origin : str
        Whence they come, with a verb.
    """
    if len(vectors) > 1 and not np.ptp(vectors, axis=0).any():
        warnings.warn(
            f"{origin} the same vector for all {len(vectors)} genes, so that text tells nothing; use another model or "
            "other vectors.",
            UserWarning,
            stacklevel=6,
        )
