"""Scores, seconds and memory of every method on every data set."""

from benchmarks.data import DATA
from benchmarks.declare import Benchmark
from benchmarks.methods import METHODS

BENCHMARK = Benchmark(
    question="How good is each method on each data set, and does the text help?",
    axes={"data": DATA, "method": METHODS},
    seeds=10,
)
