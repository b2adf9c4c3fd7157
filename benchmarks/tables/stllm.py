"""STLLMClusterer, its graph, its levels, its words."""

from benchmarks.compared import Compared
from benchmarks.data import SMALL, SPATIAL
from benchmarks.methods import STLLM

# Each permutation of genes makes the model read all texts again: controls on the smaller tissues only.
COMPARED = Compared(tables=STLLM, data=SPATIAL, seeds={"Domains": 5}, only={"Words": SMALL, "Text alone": SMALL})
BENCHMARK = COMPARED.declare(
    question="How good is STLLMClusterer; which graph, levels and words matter; is the text alone enough?",
)
