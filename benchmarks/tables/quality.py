"""Accuracy as counts are lost, at SpaLLM's quality levels."""

from benchmarks.data import LEVELS, THINNED
from benchmarks.declare import Benchmark
from benchmarks.methods import QUALITY

BENCHMARK = Benchmark(
    question="What is left when counts are lost?",
    axes={"data": THINNED, "quality": LEVELS, "method": QUALITY},
    seeds=10,
)
