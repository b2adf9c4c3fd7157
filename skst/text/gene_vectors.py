"""Which genes have a text or a vector, and which vector each is given."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skst.genes.coverage import coverage_of_text, fault_of_coverage, warn_of_equal_vectors
from skst.genes.described import GeneDescriptions
from skst.genes.descriptions import describe_genes, find_descriptions
from skst.genes.identity import detect_species, match_vectors
from skst.genes.table import read_gene_vectors
from skst.text.controls import gaussian_like, permuted_order, unrelated_text


class KnownGenes(NamedTuple):
    """What is known of the genes of X.

    Attributes
    ----------
    species : {"human", "mouse"}
    report : DataFrame
        What became of each gene.
    symbols : ndarray of str of shape (n_genes,)
    known : ndarray of bool of shape (n_genes,)
        Genes with a text, or a vector where these are given.
    vectors : ndarray of shape (n_genes, d) or None
        Those that are given.
    coverage : float
        Share of the counts that are of known genes.
    lack : tuple of str or None
        What is lacking and what to do about it, if it is much.
    """

    species: str
    report: pd.DataFrame
    symbols: np.ndarray
    known: np.ndarray
    vectors: np.ndarray | None
    coverage: float
    lack: tuple[str, str] | None


def look_up(
    names: NDArray[np.object_], counts: np.ndarray, described: GeneDescriptions, detail: str, vectors: Any = None
) -> KnownGenes:
    """Look genes up in the table of descriptions, and in that of vectors.

    Parameters
    ----------
    names : ndarray of str of shape (n_genes,)
    counts : ndarray of shape (n_genes,)
        Total of each gene, by which it weighs in the coverage.
    described : GeneDescriptions
    detail : {"symbol", "name", "summary", "card"}
        What is to be said of a gene.
    vectors : object, default=None
        Precomputed vectors as :func:`skst.genes.read_gene_vectors` reads them.

    Returns
    -------
    KnownGenes
    """
    species = detect_species(names) if described.species == "auto" else described.species
    table, origin = find_descriptions(species, described.table)
    report, symbols = describe_genes(names, table, species, detail)
    if vectors is None:
        known = (report["text"] != "").to_numpy()
    else:
        theirs, vectors = read_gene_vectors(vectors)
        rows = match_vectors(report, theirs, table, species)
        known, vectors, origin = rows >= 0, vectors[rows], "own"
        report = report.assign(text="", source=np.where(known, "vectors", ""))
    coverage = coverage_of_text(counts, known)
    lack = fault_of_coverage(coverage, names, known, species, origin)
    return KnownGenes(species, report, symbols, known, vectors, coverage, lack)


def choose_genes(
    known: NDArray[np.bool_],
    variance: np.ndarray,
    n_top_genes: int | None,
    control: str | None,
    rng: np.random.RandomState,
) -> tuple[NDArray[np.bool_], NDArray[np.integer]]:
    """Which genes get a vector, and whose.

    Parameters
    ----------
    known : ndarray of bool of shape (n_genes,)
    variance : ndarray of shape (n_genes,)
    n_top_genes : int or None
        So many of largest variance; None for all.
    control : {None, "permuted", "unrelated", "gaussian"}
    rng : RandomState

    Returns
    -------
    wanted : ndarray of bool of shape (n_genes,)
    order : ndarray of int of shape (n_genes,)
        Gene whose text each gene is given: its own, unless they are permuted.
    """
    wanted = known.copy()
    if n_top_genes is not None:
        ranked = np.flatnonzero(known)[np.argsort(-variance[known], kind="stable")]
        wanted[ranked[n_top_genes:]] = False
    if control == "permuted":
        return wanted, permuted_order([wanted, known & ~wanted], rng)
    return wanted, np.arange(len(known))


def vectors_of_genes(
    genes: KnownGenes,
    names: NDArray[np.object_],
    wanted: NDArray[np.bool_],
    encode: Any,
    control: str | None,
    rng: np.random.RandomState,
) -> NDArray[np.float32]:
    """Vectors of the genes that are wanted, and zeros.

    Parameters
    ----------
    genes : KnownGenes
    names : ndarray of str of shape (n_genes,)
    wanted : ndarray of bool of shape (n_genes,)
    encode : TextVectors or None
        Reads texts where no vectors are given.
    control : {None, "permuted", "unrelated", "gaussian"}
    rng : RandomState

    Returns
    -------
    ndarray of shape (n_genes, d), float32
    """
    if genes.vectors is not None:
        encoded = genes.vectors[wanted]
    elif control == "unrelated":
        known_as = np.where(genes.symbols == "", names, genes.symbols)
        encoded = encode([unrelated_text(symbol) for symbol in known_as[wanted]])
    else:
        encoded = encode(genes.report.loc[wanted, "text"].tolist())
    makes = f"model={encode.backend.name!r} makes" if genes.vectors is None else "vectors hold"
    warn_of_equal_vectors(encoded, makes)
    placed = np.zeros((len(names), encoded.shape[1]), dtype=np.float32)
    placed[wanted] = gaussian_like(encoded, rng) if control == "gaussian" else encoded
    return placed
