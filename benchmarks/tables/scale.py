"""Seconds and memory of each stage as tissue grows."""

from functools import partial

from benchmarks.data import N_DOMAINS, write_tissue
from benchmarks.declare import COST, Benchmark, Run
from benchmarks.fits import encode_tissue, left, stage
from benchmarks.methods import fusion, graph_encoder, reader
from benchmarks.pages import growth

WHOLE = "SpaLLMFusion.fit"
# In this order: the third, which is alignment, sum, partition and vote, reads what the first two leave.  The whole is
# more than the stages, as text is averaged over the graph too.
STAGES = {
    "text": reader(0),
    "smooth": graph_encoder("smooth")[0],
    "fusion and partition": fusion(N_DOMAINS, 0).set_params(spatial=left("smooth"), text=left("text")),
    WHOLE: fusion(N_DOMAINS, 0),
}


def runs(options):
    """One a size, of all stages."""
    stages = (partial(stage, {"stage": name}, model) for name, model in STAGES.items())
    steps = (write_tissue, partial(encode_tissue, reader(0)), *stages)
    return [Run({"n_spots": size}, steps, settings={"size": size}) for size in options.sizes]


BENCHMARK = Benchmark(
    question="Seconds and memory of each stage, up to 10^6 cells?",
    runs=runs,
    draw=partial(growth, bold=WHOLE),
    order={"n_spots": None, "stage": STAGES},
    options={"--sizes": ((10_000, 100_000, 1_000_000), "numbers of cells")},
    **COST,
)
