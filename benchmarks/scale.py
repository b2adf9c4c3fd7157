"""Seconds and memory of each stage as tissue grows: ``python benchmarks/scale.py``."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from processes import peak_mib, run_apart
from records import RESULTS, append, current_rows, provenance
from sklearn.base import BaseEstimator, TransformerMixin
from tables import head, section

from skst import GeneTextEncoder, SpaLLMFusion, SpatialGraphTransformer
from skst.datasets import make_spatial_domains
from skst.metrics import score_partition

SIZES = (10_000, 100_000, 1_000_000)
N_GENES, N_DOMAINS = 200, 7


class Ready(TransformerMixin, BaseEstimator):
    """Gives back an embedding made before, so that what follows can be timed alone."""

    def __init__(self, path):
        self.path = path

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.load(self.path)


def simulate(folder):
    """Write the tissue, and have its texts encoded."""
    adata = make_spatial_domains(int(folder.name), n_genes=N_GENES, n_domains=N_DOMAINS, random_state=0)
    del adata.uns["truth"]
    adata.write_h5ad(folder / "tissue.h5ad")
    GeneTextEncoder().fit(adata[:1000])


def text(folder):
    return _timed(folder, "text", lambda adata: GeneTextEncoder().fit_transform(adata))


def smooth(folder):
    return _timed(
        folder,
        "smooth",
        lambda adata: SpatialGraphTransformer("smooth", random_state=0).fit_transform(adata),
    )


def fuse(folder):
    """Alignment, sum, partition and vote, with both embeddings at hand."""
    views = {view: Ready(folder / f"{'smooth' if view == 'spatial' else view}.npy") for view in ("spatial", "text")}
    model = SpaLLMFusion(**views, n_clusters=N_DOMAINS, random_state=0)
    return _timed(folder, "fusion and partition", model.fit_predict)


def whole(folder):
    """Everything from counts to domains; more than the stages, as text is averaged over the graph too."""
    return _timed(folder, "SpaLLMFusion.fit", SpaLLMFusion(n_clusters=N_DOMAINS, random_state=0).fit_predict)


# In this order: the third reads what the first two leave.
STAGES = (text, smooth, fuse, whole)


def _timed(folder, stage, function):
    import anndata

    adata = anndata.read_h5ad(folder / "tissue.h5ad")
    truth = adata.obs.pop("label")
    before = peak_mib()
    start = time.perf_counter()
    result = function(adata)
    seconds, peak = time.perf_counter() - start, peak_mib()
    np.save(folder / f"{stage}.npy", result)
    return {
        "n_spots": adata.n_obs,
        "stage": stage,
        "seconds": round(seconds, 2),
        "peak_mib": round(peak),
        "data_mib": round(before),
        "ari": round(score_partition(truth, result)["ari"], 4) if result.ndim == 1 else np.nan,
    }


def main(argv=None):
    """Time what has not been timed yet, write ``scale.csv``, ``.md`` and ``.png``; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of cells (default: 10^4 to 10^6)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    arguments = parser.parse_args(argv)
    # One run at a time has all cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "scale.csv"
    if arguments.fresh:
        path.unlink(missing_ok=True)
    stamp = provenance()
    failed = False
    for size in arguments.sizes:
        rows = current_rows(path, stamp)
        if rows.empty or not (rows["n_spots"] == size).any():
            failed |= not measure(size, path, stamp)
    rows = current_rows(path, stamp)
    if not rows.empty:
        text = head("Scale", rows, "scale.py", argv) + report(rows)
        path.with_suffix(".md").write_text(text, encoding="utf-8")
        draw(rows, path.with_suffix(".png"))
    return int(failed)


def measure(size, path, stamp):
    """Append one row a stage, each timed in a process of its own; False if one failed."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder) / str(size)
        folder.mkdir()
        rows = []
        for function in (simulate, *STAGES):
            _, row = next(run_apart(function, [folder]))
            if isinstance(row, Exception):
                print(f"{size} cells, {function.__name__} FAILED: {row}", flush=True)
                return False
            if row:
                rows.append({**row, **stamp})
                print(f"{size} cells, {row['stage']}: {row['seconds']} s, {row['peak_mib']} MiB", flush=True)
    for row in rows:
        append(path, row)
    return True


def report(rows):
    """The tables of a table of stages, as Markdown."""
    seconds, memory = (
        rows.pivot(values=value, index="n_spots", columns="stage")[rows["stage"].unique()].rename_axis("cells")
        for value in ("seconds", "peak_mib")
    )
    memory.insert(0, "data alone", rows.groupby("n_spots")["data_mib"].max())
    # The stages that find domains, and their score on the simulated ones.
    found = rows[rows["stage"] == "SpaLLMFusion.fit"].set_index("n_spots")["ari"]
    return section(
        "Seconds",
        f"Wall time on simulated tissue of {N_GENES} genes and {N_DOMAINS} domains, text vectors at hand.  "
        "`SpaLLMFusion.fit` is the whole; it also averages the text view over the graph, which no stage before it "
        "does.  `ARI` is that of its domains, which are easy here.",
        seconds.assign(ARI=found),
    ) + section(
        "Peak memory",
        "Largest resident size in MiB of a process that does this stage alone, libraries and data included; "
        "`data alone` is the size before it begins.",
        memory,
    )


def draw(rows, path):
    """Seconds and peak memory against the number of cells, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True)
    for ax, (column, name) in zip(panels, {"seconds": "seconds", "peak_mib": "peak MiB"}.items(), strict=True):
        for stage, part in rows.sort_values("n_spots").groupby("stage", sort=False):
            whole = stage == "SpaLLMFusion.fit"
            ax.loglog(
                part["n_spots"],
                part[column],
                marker="o",
                color="black" if whole else None,
                linewidth=2 if whole else 1.2,
                label=stage,
            )
        ax.set_xlabel("cells")
        ax.set_ylabel(name)
        # Whole decades: within less than one, matplotlib crowds the axis with labels.
        low, high = np.log10([rows[column].min(), rows[column].max()])
        ax.set_ylim(10 ** np.floor(low), 10 ** np.ceil(high))
        ax.grid(which="major", alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
