"""What each part of the default partition is worth."""

from benchmarks.data import LEVELS, SPATIAL
from benchmarks.declare import Benchmark
from benchmarks.methods import CONSENSUS

BENCHMARK = Benchmark(
    question="What is each part of the consensus worth, as counts are lost?",
    axes={"data": SPATIAL, "quality": LEVELS, "method": CONSENSUS},
    seeds=3,
)
