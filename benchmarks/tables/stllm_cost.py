"""What reading a tissue costs, and what is read only once."""

import time

from benchmarks.data import N_DOMAINS, SPATIAL, DataSet, read, tissue
from benchmarks.declare import COST, Benchmark, Run
from benchmarks.fits import measured, scores
from benchmarks.methods import reader, stllm

K_G = (10, 3)
# Seconds and GiB after which a run is ended.
LIMITS = 3600, 16


def count(run):
    """How many texts of a data set are distinct, by level, without reading any."""
    adata, truth = read(run.data)
    return _levels(stllm(truth.nunique(), 0, control="gaussian", narration__k_g=run.names["k_g"]).fit(adata))


def fits(run):
    """A fit of a simulated tissue that reads all its texts, and one that finds them in the cache."""
    adata, truth = read(DataSet(lambda: tissue(run.settings["size"])))
    # At the speed of the machine: in the precision that is the default on it.
    text, rows = reader(0, model="auto", model__cache=run.folder), []
    for number in ("first", "second"):
        model = stllm(N_DOMAINS, 0, narration__k_g=run.names["k_g"], text=text)
        start = time.process_time()
        _, row = measured(model.fit, adata)
        # Of all threads: what counts where other work has the cores, too.
        row |= {"processor": round(time.process_time() - start, 2)}
        del row["data_mib"]
        found = [*_levels(model, "seconds"), {"level": "fit", **row, **scores(truth, model.labels_, digits=4)}]
        rows += [{"what": f"{run.settings['size']} {number}", **row} for row in found]
    return rows


def _levels(model, *more):
    """Rows of what was told on each level."""
    report = model.text_report_[["texts", "distinct", "read", *more]].round(2).rename_axis("level")
    return report.reset_index().to_dict("records")


def runs(options):
    """Counts of texts of all data, and fits of simulated tissue."""
    return [Run({"what": name, "k_g": k_g}, (count,), SPATIAL[name]) for name in options.data for k_g in K_G] + [
        Run({"what": f"{size} second", "k_g": K_G[0]}, (fits,), settings={"size": size}, limits=LIMITS)
        for size in options.sizes
    ]


BENCHMARK = Benchmark(
    question="What does reading a tissue cost, and what is read only once?",
    runs=runs,
    axes={"data": SPATIAL},
    order={},
    options={"--sizes": ((1000, 5000, 20_000), "spots of simulated tissue")},
    **COST,
)
