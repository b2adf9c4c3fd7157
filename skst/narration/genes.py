"""What the genes of a tissue are called in its texts, and what they are said to do."""

import numpy as np
from numpy.typing import NDArray

from skst.genes.coverage import NO_NAMES, coverage_of_text, fault_of_coverage
from skst.genes.described import GeneDescriptions
from skst.genes.descriptions import describe_genes, find_descriptions
from skst.genes.identity import detect_species
from skst.inputs.spots import Spots


def genes_in_words(
    spots: Spots, described: GeneDescriptions
) -> tuple[NDArray[np.object_], NDArray[np.object_] | None, tuple[str, str] | None]:
    """Symbols of genes and their functions in words.

    Parameters
    ----------
    spots : Spots
        Names of genes, and counts to weigh what is not known by.
    described : GeneDescriptions
        Where to look them up.

    Returns
    -------
    symbols : ndarray of str of shape (n_genes,)
        "" for a gene without one.
    functions : ndarray of str of shape (n_genes,) or None
        "" for a gene of which nothing is known; None if no gene has a symbol.
    lack : tuple of str or None
        What is lacking and what to do about it, if it is much.
    """
    symbols = np.full(spots.X.shape[1], "", dtype=object)
    if spots.genes is None:
        return symbols, None, NO_NAMES
    names = spots.genes
    species = detect_species(names) if described.species == "auto" else described.species
    table, origin = find_descriptions(species, described.table)
    report, symbols = describe_genes(names, table, species, "name")
    counts, named = np.asarray(spots.X.sum(axis=0, dtype=np.float64)).ravel(), symbols != ""
    lack = fault_of_coverage(coverage_of_text(counts, named), names, named, species, origin)
    if not named.any():
        return symbols, None, lack
    functions = [text.partition(": ")[2].rstrip(".") for text in report["text"]]
    return symbols, np.array(functions, dtype=object), lack
