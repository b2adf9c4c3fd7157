"""What genes are called, what is written about them, and its vectors."""

from skst.genes.descriptions import fetch_gene_descriptions, load_marker_descriptions
from skst.genes.encoder import GeneTextEncoder
from skst.genes.endpoint import EndpointBackend
from skst.genes.identity import match_genes
from skst.genes.lexical import LexicalBackend
from skst.genes.table import read_gene_vectors

__all__ = [
    "EndpointBackend",
    "GeneTextEncoder",
    "LexicalBackend",
    "fetch_gene_descriptions",
    "load_marker_descriptions",
    "match_genes",
    "read_gene_vectors",
]
