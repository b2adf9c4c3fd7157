"""Seconds and memory of LLMDSCClusterer as cells grow: ``python benchmarks/llmdsc_cost.py``."""

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from processes import peak_mib, run_apart
from records import RESULTS, append, current_rows, provenance
from scipy import sparse
from tables import head, section

from skst import LLMDSCClusterer
from skst.metrics import score_partition

SIZES = (5_000, 20_000, 100_000, 1_000_000)
# Beyond this the dense affinities take minutes and tens of GiB.
MOST_DENSE = 20_000
N_GENES, N_TYPES, N_COLUMNS, N_STEPS = 2000, 12, 16, 5
# Mean counts of a cell: about one entry in ten is not zero.
DEPTH = 300.0


def simulate(folder, n_cells):
    """Write counts of cells of some types, csr float32, and the types."""
    rng = np.random.default_rng(0)
    shares = rng.gamma(0.5, size=N_GENES) * np.exp(rng.normal(scale=0.8, size=(N_TYPES, N_GENES)))
    shares /= shares.sum(axis=1, keepdims=True)
    types = rng.choice(N_TYPES, n_cells, p=rng.dirichlet(np.full(N_TYPES, 3.0)))
    depth = DEPTH * rng.lognormal(sigma=0.4, size=n_cells)
    blocks = []
    for start in range(0, n_cells, 10_000):
        rows = slice(start, start + 10_000)
        blocks.append(sparse.csr_array(rng.poisson(depth[rows, None] * shares[types[rows]]).astype(np.float32)))
    sparse.save_npz(folder / "counts.npz", sparse.vstack(blocks, format="csr"), compressed=False)
    np.save(folder / "types.npy", types)


def whole(folder, n_cells):
    """From counts to types, and types of the same cells again."""
    X, types = sparse.load_npz(folder / "counts.npz"), np.load(folder / "types.npy")
    before, start = peak_mib(), time.perf_counter()
    model = LLMDSCClusterer(N_TYPES, align_to=None, device="cpu", random_state=0).fit(X)
    fitted = time.perf_counter()
    model.predict(X)
    predicted = time.perf_counter()
    ari = round(score_partition(types, model.labels_)["ari"], 4)
    row = {"n_cells": n_cells, "peak_mib": round(peak_mib()), "data_mib": round(before), "ari": ari}
    return [
        {"what": "fit", "seconds": round(fitted - start, 1), **row},
        {"what": "predict", "seconds": round(predicted - fitted, 1), **row},
    ]


def cut(folder, n_cells, dense):
    """Steps of the cut loss alone, forwards and backwards, from affinities or from their factors."""
    import torch

    from skst.nn import NormalizedCut

    X = sparse.load_npz(folder / "counts.npz")
    before, start = peak_mib(), time.perf_counter()
    z = torch.randn(n_cells, N_COLUMNS, generator=torch.manual_seed(0), requires_grad=True)
    loss = _dense_cut(X) if dense else NormalizedCut(X)
    ready = time.perf_counter()
    for _ in range(N_STEPS):
        loss(z).backward()
    seconds = (time.perf_counter() - ready) / N_STEPS
    name = "dense cut" if dense else "factored cut"
    row = {"n_cells": n_cells, "peak_mib": round(peak_mib()), "data_mib": round(before), "ari": np.nan}
    return [
        {"what": f"{name}, set-up", "seconds": round(ready - start, 3), **row},
        {"what": f"{name}, step", "seconds": round(seconds, 4), **row},
    ]


def _dense_cut(X, balance=0.21, ortho_weight=0.32):
    """The published form: both cells x cells affinities, normalised."""
    import torch

    C = torch.from_numpy(X.toarray())
    C = C / C.norm(dim=1, keepdim=True).clamp(min=1e-12)
    first = C @ C.T
    second = first @ first.T
    scales = (matrix.sum(dim=1).clamp(min=1e-12).rsqrt() for matrix in (first, second))
    first, second = (a * s[:, None] * s for a, s in zip((first, second), scales, strict=True))
    mixed = balance * first + (1 - balance) * second

    def loss(z):
        z = z / z.norm(dim=0)
        ortho = (z.T @ z - torch.eye(z.shape[1])).square().mean()
        return ortho_weight * ortho - (z.T @ (mixed @ z)).trace() / z.shape[1]

    return loss


def main(argv=None):
    """Time what has not been timed yet, write ``llmdsc_cost.csv``, ``.md`` and ``.png``; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of cells (default: 5,000 to 10^6)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    arguments = parser.parse_args(argv)
    # One run at a time has all cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "llmdsc_cost.csv"
    if arguments.fresh:
        path.unlink(missing_ok=True)
    stamp, failed = provenance(), False
    for size in arguments.sizes:
        rows = current_rows(path, stamp)
        if rows.empty or not (rows["n_cells"] == size).any():
            failed |= not measure(size, path, stamp)
    rows = current_rows(path, stamp)
    if not rows.empty:
        rows = rows.sort_values("n_cells", kind="stable")
        text = head("Cost of LLMDSCClusterer", rows, "llmdsc_cost.py", argv) + report(rows)
        path.with_suffix(".md").write_text(text, encoding="utf-8")
        draw(rows, path.with_suffix(".png"))
    return int(failed)


def measure(size, path, stamp):
    """Append the rows of one size, each stage in a process of its own; False if one failed."""
    stages = [whole, partial(cut, dense=False)]
    if size <= MOST_DENSE:
        stages.append(partial(cut, dense=True))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for function in (simulate, *stages):
            _, found = next(run_apart(partial(function, Path(folder)), [size]))
            if isinstance(found, Exception):
                print(f"{size} cells, {function} FAILED: {found}", flush=True)
                return False
            rows += found or []
    for row in rows:
        print(f"{size} cells, {row['what']}: {row['seconds']} s, {row['peak_mib']} MiB", flush=True)
        append(path, {**row, **stamp})
    return True


def report(rows):
    """The tables, as Markdown."""
    seconds, memory = (
        rows.pivot(values=value, index="n_cells", columns="what")[rows["what"].unique()].rename_axis("cells")
        for value in ("seconds", "peak_mib")
    )
    memory = memory[[name for name in memory if name == "fit" or name.endswith("step")]]
    memory.insert(0, "data alone", rows.groupby("n_cells")["data_mib"].max())
    ari = rows[rows["what"] == "fit"].set_index("n_cells")["ari"]
    return section(
        "Seconds",
        f"Simulated cells of {N_TYPES} types x {N_GENES} genes, one entry in ten not zero, default settings without "
        "text.  `cut` is the loss of the normalised cut alone: making it, and one step forwards and backwards with "
        f"{N_COLUMNS} columns, from cells x cells affinities as published and from their factors.  `ARI` is that of "
        "the fit, on types that are easy.",
        seconds.assign(ARI=ari),
    ) + section(
        "Peak memory",
        "Largest resident size in MiB of a process that does this alone, libraries and data included; `data alone` is "
        f"the size before it begins.  Dense affinities, of the size of cells x cells, end at {MOST_DENSE:,}.",
        memory,
    )


def draw(rows, path):
    """Seconds and peak memory against the number of cells, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True)
    shown = ("fit", "predict", "factored cut, step", "dense cut, step")
    for ax, (column, name) in zip(panels, {"seconds": "seconds", "peak_mib": "peak MiB"}.items(), strict=True):
        for number, what in enumerate(shown):
            part = rows[rows["what"] == what]
            if column == "seconds" or what != "predict":  # the same process as fit
                style = {"color": f"C{number}", "linewidth": 2 if what == "fit" else 1.2}
                ax.loglog(part["n_cells"], part[column], marker="o", label=what, **style)
        ax.set_xlabel("cells")
        ax.set_ylabel(name)
        low, high = np.log10([rows[column].min(), rows[column].max()])
        ax.set_ylim(10 ** np.floor(low), 10 ** np.ceil(high))
        ax.grid(which="major", alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
