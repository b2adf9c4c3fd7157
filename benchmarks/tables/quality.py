"""Accuracy as counts are lost, at SpaLLM's quality levels."""

from benchmarks.data import LEVELS, THINNED
from benchmarks.declare import Benchmark
from benchmarks.methods import QUALITY

BENCHMARK = Benchmark(
    title="Accuracy at lower quality",
    question="What is left when counts are lost?",
    takes="35 to 60 minutes",
    axes={"data": THINNED, "quality": LEVELS, "method": QUALITY},
    seeds=10,
)
