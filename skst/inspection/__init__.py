"""What a fitted model owes to its text: tests against controls, and a look at modulation factors."""

from skst.inspection.modulation import ModulationGenes, modulation_genes, modulation_report
from skst.inspection.semantic import SemanticTest, semantic_permutation_test

__all__ = [
    "ModulationGenes",
    "SemanticTest",
    "modulation_genes",
    "modulation_report",
    "semantic_permutation_test",
]
