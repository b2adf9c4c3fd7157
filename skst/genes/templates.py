"""What is written about a gene and about a cell.

Every template is a versioned constant.  A change of wording changes the vectors, so it gets a new name
instead of a new value, and vectors cached for the old wording stay valid.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from skst.genes.ranking import RankedGenes, rank_genes
from skst.inputs.types import Matrix

GENE_NAME_V1 = "{symbol}: {name}."
"""Symbol and full name of a gene."""

GENE_SUMMARY_V1 = "{symbol}: {name}. {summary}"
"""Symbol, full name and summary of a gene, as one paragraph."""

GENE_CARD_V1 = (
    ("Gene", "symbol"),
    ("Full name", "name"),
    ("NCBI gene id", "entrez_id"),
    ("Ensembl id", "ensembl_id"),
    ("Type", "locus_type"),
    ("Organism", "species"),
    ("Also known as", "aliases"),
    ("Formerly", "previous_symbols"),
    ("Summary", "summary"),
)
"""Fields of the card of a gene, one line each in this order; empty ones are left out."""

CELL_PROMPT_V1 = (
    "You describe tissue from gene expression. State in a few words what this spot does, keeping to the "
    "functions that tell one spatial domain from another.\n"
    "Genes with the highest expression, highest first: {genes}."
)
"""What a language model is asked about a spot, given its genes in descending order."""

CELL_SENTENCE_V1 = "{genes}"
"""The genes of a cell in descending order, with spaces between them and nothing else."""

CELL_EMPTY_V1 = "No gene is expressed."
"""A cell or spot without a single count."""

_ORGANISMS = {"human": "Homo sapiens", "mouse": "Mus musculus"}


def gene_text(row: Mapping[str, str], kind: str = "summary") -> str:
    """What is said of one gene.

    Parameters
    ----------
    row : mapping of str to str
        Fields of the gene, as in a row of :func:`skst.genes.fetch_gene_descriptions`.  Only "symbol" has to
        be there; what is missing or empty is left out of the text.
    kind : {"symbol", "name", "summary", "card"}, default="summary"
        The symbol alone, with the full name (:data:`GENE_NAME_V1`), with name and summary
        (:data:`GENE_SUMMARY_V1`), or every field on a line of its own (:data:`GENE_CARD_V1`), the serialised
        annotation of scLLM-DSC.

    Returns
    -------
    str

    Examples
    --------
    >>> from skst.genes.templates import gene_text
    >>> gene = {"symbol": "SST", "name": "somatostatin", "species": "human"}
    >>> gene_text(gene)
    'SST: somatostatin.'
    >>> print(gene_text(gene, "card"))
    Gene: SST
    Full name: somatostatin
    Organism: Homo sapiens
    """
    symbol, name, summary = (row.get(field, "") for field in ("symbol", "name", "summary"))
    if kind == "card":
        fields = dict(row)
        fields["species"] = _ORGANISMS.get(fields.get("species", ""), fields.get("species", ""))
        return "\n".join(
            f"{label}: {fields[field].replace('|', ', ')}" for label, field in GENE_CARD_V1 if fields.get(field)
        )
    if kind == "summary" and summary:
        if not name:
            return f"{symbol}: {summary}"
        return GENE_SUMMARY_V1.format(symbol=symbol, name=name, summary=summary)
    if kind in ("name", "summary") and name:
        return GENE_NAME_V1.format(symbol=symbol, name=name)
    return symbol


def cell_text(symbols: Sequence[str], mode: str = "prompt") -> str:
    """What is written of one cell or spot.

    Parameters
    ----------
    symbols : sequence of str
        Its expressed genes, highest first.
    mode : {"prompt", "sentence"}, default="prompt"
        The prompt of SemST (:data:`CELL_PROMPT_V1`) or the ranking of Cell2Sentence
        (:data:`CELL_SENTENCE_V1`).

    Returns
    -------
    str
        :data:`CELL_EMPTY_V1` if `symbols` is empty.

    Examples
    --------
    >>> from skst.genes.templates import cell_text
    >>> cell_text(["MBP", "PLP1"], "sentence")
    'MBP PLP1'
    >>> cell_text(["MBP", "PLP1"]).splitlines()[-1]
    'Genes with the highest expression, highest first: MBP, PLP1.'
    """
    if len(symbols) == 0:
        return CELL_EMPTY_V1
    if mode == "sentence":
        return CELL_SENTENCE_V1.format(genes=" ".join(symbols))
    return CELL_PROMPT_V1.format(genes=", ".join(symbols))


def cell_texts(X: Matrix, symbols: NDArray[np.object_], k: int | str = 30, mode: str = "prompt") -> list[str]:
    """Write about every cell or spot, naming its most expressed genes.

    Parameters
    ----------
    X : ndarray, sparse matrix or sparse array of shape (n_spots, n_genes)
        Expression; only positive values count.
    symbols : ndarray of str of shape (n_genes,), dtype object
        Symbols of the columns; a gene with symbol "" is never named.
    k : int or {"entropy", "mass"}, default=30
        Most genes to name; see :func:`skst.genes.ranking.rank_genes`, which says how ties are ranked too.
    mode : {"prompt", "sentence"}, default="prompt"
        See :func:`cell_text`.

    Returns
    -------
    list of str of length n_spots

    Examples
    --------
    >>> import numpy as np
    >>> from skst.genes.templates import cell_texts
    >>> symbols = np.array(["PLP1", "MBP", "GAD1"], dtype=object)
    >>> cell_texts(np.array([[2, 2, 0], [0, 1, 5]]), symbols, mode="sentence")
    ['MBP PLP1', 'GAD1 MBP']
    """
    return ranked_texts(rank_genes(X, symbols, k), symbols, mode)


def ranked_texts(ranked: RankedGenes, names: NDArray[np.object_], mode: str = "prompt") -> list[str]:
    """Write about every cell or spot whose genes are ranked already.

    Parameters
    ----------
    ranked : RankedGenes
        As from :func:`skst.genes.ranking.rank_genes`.
    names : ndarray of str of shape (n_genes,), dtype object
        What to call the genes.
    mode : {"prompt", "sentence"}, default="prompt"
        See :func:`cell_text`.

    Returns
    -------
    list of str of length n_spots

    Examples
    --------
    >>> import numpy as np
    >>> from skst.genes.ranking import RankedGenes
    >>> from skst.genes.templates import ranked_texts
    >>> ranked = RankedGenes(np.array([0, 2]), np.array([1, 0]))
    >>> ranked_texts(ranked, np.array(["PLP1", "MBP"], dtype=object), "sentence")
    ['MBP PLP1']
    """
    spans = zip(ranked.starts[:-1], ranked.starts[1:], strict=True)
    return [cell_text(names[ranked.columns[start:end]], mode) for start, end in spans]
