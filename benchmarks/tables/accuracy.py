"""Scores, seconds and memory of every method on every data set."""

import pandas as pd

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


def sizes(rows):
    """Of the data."""
    data = rows.groupby("data", sort=False)
    return data[["n_spots", "n_genes", "k"]].first().assign(seeds=data["seed"].nunique())


def encoding(path):
    """What making text vectors took; empty if none had to be made."""
    if not path.exists():
        return pd.DataFrame()
    rows = pd.read_csv(path).drop_duplicates("data", keep="last").set_index("data")
    return rows[["genes", "with_text", "coverage", "encoded", "seconds", "text_model"]]
