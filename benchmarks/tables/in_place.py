"""From types of cells to domains of tissue, by the share of the surroundings."""

from benchmarks.data import SPATIAL
from benchmarks.declare import Benchmark
from benchmarks.fits import scores
from benchmarks.methods import IN_PLACE

CELLS = {name: SPATIAL[name] for name in ("osmFISH", "STARmap")}


def two_questions(run):
    """How well types are found, and how well domains."""
    adata, row = run.data.load(), {}
    for column, called in (("cell_type", "types"), ("label", "domains")):
        truth = adata.obs[column]
        model = run.settings["factory"](truth.nunique(), run.names["seed"])
        row[called] = scores(truth, model.fit_predict(adata))["ari"]
    return row


BENCHMARK = Benchmark(
    question="Types of cells or domains: what does the share of the surroundings do?",
    axes={"data": CELLS, "method": IN_PLACE},
    steps=(two_questions,),
    seeds=3,
)
