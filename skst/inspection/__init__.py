"""What a fitted model owes to its text, what modulation does, and what clusters of cells are."""

from skst.inspection.annotation import annotate_by_markers, annotate_by_text, best_mapping, load_cell_types
from skst.inspection.by_chat import annotate_by_chat
from skst.inspection.composition import composition_test, domain_composition
from skst.inspection.markers import marker_genes
from skst.inspection.modulation import ModulationGenes, modulation_genes, modulation_report
from skst.inspection.naming import annotate
from skst.inspection.semantic import SemanticTest, semantic_permutation_test

__all__ = [
    "ModulationGenes",
    "SemanticTest",
    "annotate",
    "annotate_by_chat",
    "annotate_by_markers",
    "annotate_by_text",
    "best_mapping",
    "composition_test",
    "domain_composition",
    "load_cell_types",
    "marker_genes",
    "modulation_genes",
    "modulation_report",
    "semantic_permutation_test",
]
