"""STLLMClusterer, its graph, its levels, its words."""

from benchmarks.compared import Compared
from benchmarks.data import SMALL, SPATIAL
from benchmarks.declare import Benchmark
from benchmarks.methods import STLLM

TEXTS = {
    "Domains": "One setting for all.  `no text` is STLLMClusterer with `levels=()`; `expression` is SpaLLMFusion "
    "without text, on the smooth encoder.",
    "Graph": "Six nearest spots against six learnt ones on the mean, without text, and with the spots' texts composed "
    "of the vectors of their genes beside the texts of regions.",
    "Levels": "Levels left out, and texts of spots composed instead of read.",
    "Words": "What is told.  `permuted`: each gene under the name of another, and what that one does.  `nonsense`: "
    "words without meaning for all genes, nothing of what they do.  `Gaussian`: a random vector for each text.",
    "Text alone": "The same without expression in the embedding (`alpha=0`).  Regions are found by expression still, "
    "and vectors of texts are averaged over the graph: a random vector for each distinct text tells places apart.",
}
# Each permutation of genes makes the model read all texts again: controls on the smaller tissues only.
COMPARED = Compared(
    tables=STLLM,
    texts=TEXTS,
    data=SPATIAL,
    seeds={"Domains": 5},
    only={"Words": SMALL, "Text alone": SMALL},
)
BENCHMARK = Benchmark(
    title="STLLMClusterer",
    question="How good is STLLMClusterer; which graph, levels and words matter; is the text alone enough?",
    takes="one to two hours, most of it reading; `--table` takes parts of it",
    runs=COMPARED.runs,
    report=lambda rows, options: COMPARED.report(rows),
    order=COMPARED.order,
    tables=STLLM,
    data=SPATIAL,
    seeds=COMPARED.seeds,
)
