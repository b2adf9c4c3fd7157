"""Seconds and memory of LLMDSCClusterer as cells grow."""

import time
from functools import partial
from pathlib import Path

import numpy as np
from scipy import sparse

from benchmarks.declare import COST, Benchmark, Run, sizes_option
from benchmarks.fits import timed
from benchmarks.methods import llmdsc
from benchmarks.pages import by_stage, growth, section
from benchmarks.processes import peak_mib
from skst.metrics import score_partition

SIZES = (5_000, 20_000, 100_000, 1_000_000)
# Beyond this the dense affinities take minutes and tens of GiB.
MOST_DENSE = 20_000
N_GENES, N_TYPES, N_COLUMNS, N_STEPS = 2000, 12, 16, 5
# Mean counts of a cell: about one entry in ten is not zero.
DEPTH = 300.0
COLUMNS = ("what", "seconds", "n_cells", "peak_mib", "data_mib", "ari")


def simulate(run):
    """Write counts of cells of some types, csr float32, and the types."""
    rng = np.random.default_rng(0)
    shares = rng.gamma(0.5, size=N_GENES) * np.exp(rng.normal(scale=0.8, size=(N_TYPES, N_GENES)))
    shares /= shares.sum(axis=1, keepdims=True)
    types = rng.choice(N_TYPES, run.size, p=rng.dirichlet(np.full(N_TYPES, 3.0)))
    depth = DEPTH * rng.lognormal(sigma=0.4, size=run.size)
    blocks = []
    for start in range(0, run.size, 10_000):
        rows = slice(start, start + 10_000)
        blocks.append(sparse.csr_array(rng.poisson(depth[rows, None] * shares[types[rows]]).astype(np.float32)))
    sparse.save_npz(Path(run.folder) / "counts.npz", sparse.vstack(blocks, format="csr"), compressed=False)
    np.save(Path(run.folder) / "types.npy", types)


def whole(run):
    """From counts to types, and types of the same cells again."""
    X, types = sparse.load_npz(Path(run.folder) / "counts.npz"), np.load(Path(run.folder) / "types.npy")
    before = peak_mib()
    model = llmdsc(N_TYPES, 0, device="cpu")
    _, fitted = timed(model.fit, X)
    _, predicted = timed(model.predict, X)
    ari = round(score_partition(types, model.labels_)["ari"], 4)
    row = {"peak_mib": round(peak_mib()), "data_mib": round(before), "ari": ari}
    return [
        {"what": "fit", "seconds": round(fitted, 1), **row},
        {"what": "predict", "seconds": round(predicted, 1), **row},
    ]


def cut(run, dense):
    """Steps of the cut loss alone, forwards and backwards, from affinities or from their factors."""
    import torch

    from skst.nn import NormalizedCut

    X = sparse.load_npz(Path(run.folder) / "counts.npz")
    before, start = peak_mib(), time.perf_counter()
    z = torch.randn(run.size, N_COLUMNS, generator=torch.manual_seed(0), requires_grad=True)
    loss = dense_cut(X) if dense else NormalizedCut(X)
    ready = time.perf_counter()
    for _ in range(N_STEPS):
        loss(z).backward()
    seconds = (time.perf_counter() - ready) / N_STEPS
    name = "dense cut" if dense else "factored cut"
    row = {"peak_mib": round(peak_mib()), "data_mib": round(before)}
    return [
        {"what": f"{name}, set-up", "seconds": round(ready - start, 3), **row},
        {"what": f"{name}, step", "seconds": round(seconds, 4), **row},
    ]


def dense_cut(X, balance=0.21, ortho_weight=0.32):
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


def runs(options):
    """One a size, of all stages."""
    steps = (simulate, whole, partial(cut, dense=False), partial(cut, dense=True))
    return [
        Run({"n_cells": size}, steps if size <= MOST_DENSE else steps[:-1], size=size, columns=COLUMNS)
        for size in options.sizes
    ]


def report(rows, options):
    """The tables, as Markdown."""
    seconds, memory = (by_stage(rows, value, index="n_cells", columns="what") for value in ("seconds", "peak_mib"))
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
    """All but the set-up of the losses; the memory of predict is that of the process of fit."""
    rows = rows[~rows["what"].str.endswith("set-up")]
    growth(rows.assign(peak_mib=rows["peak_mib"].where(rows["what"] != "predict")), path, size="n_cells", stage="what")


BENCHMARK = Benchmark(
    title="Cost of LLMDSCClusterer",
    question="Seconds and memory as cells grow, and of the dense cut beside?",
    takes="about an hour",
    runs=runs,
    report=report,
    draw=draw,
    order={"n_cells": None},
    options={"--sizes": sizes_option(SIZES, "numbers of cells")},
    **COST,
)
