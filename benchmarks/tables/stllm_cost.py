"""What reading a tissue costs, and what is read only once."""

import pandas as pd

from benchmarks.data import N_DOMAINS, SPATIAL, DataSet, read, tissue
from benchmarks.declare import COST, Benchmark, Run
from benchmarks.fits import measured, scores
from benchmarks.methods import reader, stllm
from benchmarks.pages import wide

K_G = (10, 3)
# Seconds and GiB after which a run is ended.
LIMITS = 3600, 16
# What "what" says of simulated tissue: its spots, and which fit it was.
SIMULATED = r"(?P<spots>\d+) (?P<time>first|second)"


def count(run):
    """How many texts of a data set are distinct, by level, without reading any."""
    adata, truth = read(run.data)
    return _levels(stllm(truth.nunique(), 0, control="gaussian", narration__k_g=run.names["k_g"]).fit(adata))


def fits(run):
    """A fit of a simulated tissue that reads all its texts, and one that finds them in the cache."""
    adata, truth = read(DataSet(lambda: tissue(run.settings["size"])))
    rows = []
    for time in ("first", "second"):
        model = stllm(N_DOMAINS, 0, narration__k_g=run.names["k_g"]).set_params(text=reader(0, model__cache=run.folder))
        _, row = measured(model.fit, adata)
        del row["data_mib"]
        found = [*_levels(model, "seconds"), {"level": "fit", **row, **scores(truth, model.labels_, digits=4)}]
        rows += [{"what": f"{run.settings['size']} {time}", **row} for row in found]
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


def repeated(rows):
    """Share of the texts that are not read, by level."""
    rows = rows[~rows["what"].str.fullmatch(SIMULATED) & (rows["level"] != "region")]
    if rows.empty:
        return rows
    saved = (1 - rows["distinct"] / rows["texts"]).map("{:.1%}".format)
    rows = rows.assign(saved=saved, column=rows["level"] + ", k_g=" + rows["k_g"].astype(str))
    table = wide(rows, "saved", "what", "column", "first").sort_index(axis=1, ascending=False).rename_axis("data")
    table.insert(0, "spots", rows.groupby("what")["texts"].max().astype(int))
    return table


def reading(rows):
    """Seconds of the two fits, and what was read in the first."""
    part = rows.join(rows["what"].str.extract(SIMULATED)).dropna(subset="spots").astype({"spots": int})
    if part.empty:
        return part
    first, second = (part[part["time"] == time].pivot(index="spots", columns="level") for time in ("first", "second"))
    read, seconds = first["read"].sum(axis=1).astype(int), first["seconds"].drop(columns="fit").sum(axis=1).round(1)
    return pd.DataFrame(
        {
            "texts read": read,
            "reading, s": seconds,
            "ms a text": (1000 * seconds / read).round(1),
            "whole fit, s": first["seconds"]["fit"],
            "second fit, s": second["seconds"]["fit"],
            "peak MiB": first["peak_mib"]["fit"].astype(int),
            "ARI": first["ari"]["fit"],
        }
    )


BENCHMARK = Benchmark(
    title="Reading a tissue",
    question="What does reading a tissue cost, and what is read only once?",
    takes="about half an hour",
    runs=runs,
    axes={"data": SPATIAL},
    order={},
    options={"--sizes": ((1000, 5000, 20_000), "spots of simulated tissue")},
    **COST,
)
