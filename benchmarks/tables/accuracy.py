"""Scores, seconds and memory of every method on every data set."""

from benchmarks.data import DATA
from benchmarks.declare import Benchmark
from benchmarks.methods import METHODS

BENCHMARK = Benchmark(
    title="Accuracy",
    question="How good is each method on each data set, and does the text help?",
    takes="25 to 45 minutes",
    axes={"data": DATA, "method": METHODS},
    seeds=10,
)
