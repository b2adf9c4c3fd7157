"""What reading a tissue costs, and what is read only once."""

import pandas as pd

from benchmarks.data import N_DOMAINS, N_GENES, SPATIAL, read, tissue
from benchmarks.declare import COST, Benchmark, Run, sizes_option
from benchmarks.fits import timed
from benchmarks.methods import reader, stllm
from benchmarks.pages import section
from benchmarks.processes import peak_mib
from skst.metrics import score_partition

SIZES = (1000, 5000, 20_000)
K_G = (10, 3)
# Seconds and GiB after which a run is ended.
LIMITS = 3600, 16
COLUMNS = ("what", "k_g", "level", "texts", "distinct", "read", "seconds", "peak_mib", "ari")


def count(run):
    """How many texts of a data set are distinct, by level, without reading any."""
    adata, truth = read(run.data)
    model = stllm(truth.nunique(), 0, control="gaussian", k_g=run.names["k_g"]).fit(adata)
    return [{"level": level, **row} for level, row in _counts(model).items()]


def fits(run):
    """A fit of a simulated tissue that reads all its texts, and one that finds them in the cache."""
    adata, truth = tissue(run.size)
    rows = []
    for time in ("first", "second"):
        model = stllm(N_DOMAINS, 0, k_g=run.names["k_g"]).set_params(text=reader(0, cache=run.folder))
        _, seconds = timed(model.fit, adata)
        what = {"what": f"{run.size} {time}"}
        for level, row in _counts(model).items():
            rows.append({**what, "level": level, **row, "seconds": round(model.text_report_.loc[level, "seconds"], 2)})
        score = round(score_partition(truth, model.labels_)["ari"], 4)
        whole = {"seconds": round(seconds, 2), "peak_mib": round(peak_mib()), "ari": score}
        rows.append({**what, "level": "fit", **whole})
    return rows


def _counts(model):
    return model.text_report_[["texts", "distinct", "read"]].to_dict("index")


def runs(options):
    """Counts of texts of all data, and fits of simulated tissue."""
    return [
        Run({"what": name, "k_g": k_g}, (count,), SPATIAL[name], columns=COLUMNS)
        for name in options.data
        for k_g in K_G
    ] + [
        Run({"what": f"{size} second", "k_g": K_G[0]}, (fits,), size=size, limits=LIMITS, columns=COLUMNS)
        for size in options.sizes
    ]


def report(rows, options):
    """The tables of all that was measured, as Markdown."""
    sections = []
    simulated = rows["what"].str.fullmatch(r"\d+ (first|second)")
    counted = rows[~simulated & (rows["level"] != "region")]
    if len(counted):
        saved = (1 - counted["distinct"] / counted["texts"]).map("{:.1%}".format)
        wide = counted.assign(saved=saved, column=counted["level"] + ", k_g=" + counted["k_g"].astype(str)).pivot(
            index="what", columns="column", values="saved"
        )
        wide = wide.reindex(index=counted["what"].unique(), columns=sorted(wide.columns, reverse=True))
        wide.insert(0, "spots", counted.groupby("what")["texts"].max().astype(int))
        sections.append(
            section(
                "Texts that repeat",
                "Share of the texts that another spot has word for word, and that are read once.  A region has one "
                "text however many spots it has.",
                wide.rename_axis("data"),
            )
        )
    if simulated.any():
        part = rows[simulated].copy()
        part[["spots", "time"]] = part["what"].str.split(expand=True)
        first, second = (
            part[part["time"] == time].pivot(index="spots", columns="level") for time in ("first", "second")
        )
        table = pd.DataFrame(
            {
                "texts read": first["read"].sum(axis=1).astype(int),
                "reading, s": first["seconds"].drop(columns="fit").sum(axis=1).round(1),
                "whole fit, s": first["seconds"]["fit"],
                "second fit, s": second["seconds"]["fit"],
                "peak MiB": first["peak_mib"]["fit"].astype(int),
                "ARI": first["ari"]["fit"],
            }
        )
        table.insert(2, "ms a text", (1000 * table["reading, s"] / table["texts read"]).round(1))
        table = table.loc[sorted(table.index, key=int)]
        sections.append(
            section(
                "Seconds of a fit",
                f"Simulated tissue of {N_GENES} genes, all-MiniLM-L6-v2 on the CPU, one run at a time; up to 10,000 "
                "spots the texts of spots, neighbourhoods and regions are read, beyond that spots are composed of the "
                "vectors of their genes.  Then a second fit, which finds all vectors in the cache.",
                table.rename_axis("spots"),
            )
        )
    return "".join(sections)


BENCHMARK = Benchmark(
    title="Reading a tissue",
    question="What does reading a tissue cost, and what is read only once?",
    takes="about half an hour",
    runs=runs,
    report=report,
    data=SPATIAL,
    options={"--sizes": sizes_option(SIZES, "spots of simulated tissue")},
    **COST,
)
