"""What genes are called, and what is written about them."""

from skst.genes.described import GeneDescriptions
from skst.genes.descriptions import fetch_gene_descriptions, load_marker_descriptions
from skst.genes.identity import match_genes
from skst.genes.table import read_gene_vectors

__all__ = [
    "GeneDescriptions",
    "fetch_gene_descriptions",
    "load_marker_descriptions",
    "match_genes",
    "read_gene_vectors",
]
