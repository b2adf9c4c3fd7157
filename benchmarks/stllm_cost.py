"""What reading a tissue costs, and what is read only once: ``python benchmarks/stllm_cost.py``."""

import argparse
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pandas as pd
from harness import read
from methods import SPATIAL
from processes import limit, peak_mib, run_apart
from records import RESULTS, append, current_rows, provenance
from tables import head, section

from skst import GeneTextEncoder, STLLMClusterer
from skst.datasets import make_spatial_domains
from skst.metrics import score_partition

SIZES = (1000, 5000, 20_000)
N_GENES, N_DOMAINS = 200, 7
K_G = (10, 3)
# Seconds and GiB after which a run is ended.
LIMITS = 3600, 16
COLUMNS = ["what", "k_g", "level", "texts", "distinct", "read", "seconds", "peak_mib", "ari"]


def texts_of(task):
    """How many texts of a data set are distinct, by level, without reading any."""
    name, k_g = task
    adata, truth = read(SPATIAL[name])
    model = STLLMClusterer(truth.nunique(), text=GeneTextEncoder(control="gaussian"), k_g=k_g, random_state=0)
    report = model.fit(adata).text_report_
    return [{"what": name, "k_g": k_g, "level": level, **row} for level, row in _counts(report).items()]


def fits_of(task):
    """A fit of a simulated tissue that reads all its texts, and one that finds them in the cache."""
    size, k_g = task
    limit(*LIMITS)
    adata = make_spatial_domains(size, n_genes=N_GENES, n_domains=N_DOMAINS, random_state=0)
    truth = adata.obs.pop("label")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for what in ("first", "second"):
            text = GeneTextEncoder(cache=folder)
            start = time.perf_counter()
            model = STLLMClusterer(N_DOMAINS, text=text, k_g=k_g, random_state=0).fit(adata)
            seconds = time.perf_counter() - start
            names = {"what": f"{size} {what}", "k_g": k_g}
            rows += [
                {**names, "level": level, **row, "seconds": round(model.text_report_.loc[level, "seconds"], 2)}
                for level, row in _counts(model.text_report_).items()
            ]
            score = round(score_partition(truth, model.labels_)["ari"], 4)
            whole = {"seconds": round(seconds, 2), "peak_mib": round(peak_mib()), "ari": score}
            rows.append({**names, "level": "fit", **whole})
    return rows


def _counts(report):
    return report[["texts", "distinct", "read"]].to_dict("index")


def main(argv=None):
    """Measure what has not been measured yet, write ``stllm_cost.csv`` and ``.md``; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", choices=list(SPATIAL), default=list(SPATIAL), metavar="NAME")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="spots of simulated tissue")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    arguments = parser.parse_args(argv)
    # One run at a time has all cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    warnings.simplefilter("ignore", UserWarning)
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "stllm_cost.csv"
    if arguments.fresh:
        path.unlink(missing_ok=True)
    stamp = provenance()
    rows = current_rows(path, stamp)
    done = set() if rows.empty else set(rows[["what", "k_g"]].itertuples(index=False, name=None))
    counted = [(name, k_g) for name in arguments.data for k_g in K_G if (name, k_g) not in done]
    fitted = [(size, k_g) for size in arguments.sizes for k_g in K_G[:1] if (f"{size} second", k_g) not in done]
    failed = False
    for function, tasks in ((texts_of, counted), (fits_of, fitted)):
        for task, found in run_apart(function, tasks):
            if isinstance(found, Exception):
                failed = True
                print(f"{task} FAILED: {found}", flush=True)
                continue
            for row in found:
                append(path, {**dict.fromkeys(COLUMNS), **row, **stamp})
            print(f"{task}: done", flush=True)
    rows = current_rows(path, stamp)
    if not rows.empty:
        text = head("Reading a tissue", rows, "stllm_cost.py", argv) + report(rows)
        path.with_suffix(".md").write_text(text, encoding="utf-8")
    return int(failed)


def report(rows):
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


if __name__ == "__main__":
    sys.exit(main())
