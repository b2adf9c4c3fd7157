"""Seconds and memory of LLMDSCClusterer as cells grow."""

from functools import partial
from pathlib import Path

import numpy as np
from scipy import sparse

from benchmarks.declare import COST, Benchmark, Run, sizes_option
from benchmarks.fits import measured, scores, timed
from benchmarks.methods import llmdsc
from benchmarks.pages import growth

SIZES = (5_000, 20_000, 100_000, 1_000_000)
# Beyond this the dense affinities take minutes and tens of GiB.
MOST_DENSE = 20_000
N_GENES, N_TYPES, N_COLUMNS, N_STEPS = 2000, 12, 16, 5
# Mean counts of a cell: about one entry in ten is not zero.
DEPTH = 300.0


def simulate(run):
    """Write counts of cells of some types, csr float32, and the types."""
    rng, size = np.random.default_rng(0), run.settings["size"]
    shares = rng.gamma(0.5, size=N_GENES) * np.exp(rng.normal(scale=0.8, size=(N_TYPES, N_GENES)))
    shares /= shares.sum(axis=1, keepdims=True)
    types = rng.choice(N_TYPES, size, p=rng.dirichlet(np.full(N_TYPES, 3.0)))
    depth = DEPTH * rng.lognormal(sigma=0.4, size=size)
    blocks = []
    for start in range(0, size, 10_000):
        rows = slice(start, start + 10_000)
        blocks.append(sparse.csr_array(rng.poisson(depth[rows, None] * shares[types[rows]]).astype(np.float32)))
    sparse.save_npz(Path(run.folder) / "counts.npz", sparse.vstack(blocks, format="csr"), compressed=False)
    np.save(Path(run.folder) / "types.npy", types)


def whole(run):
    """From counts to types, and types of the same cells again."""
    X, types = sparse.load_npz(Path(run.folder) / "counts.npz"), np.load(Path(run.folder) / "types.npy")
    model, fitted = measured(llmdsc(N_TYPES, 0, network__device="cpu").fit, X, digits=1)
    _, predicted = timed(model.predict, X)
    fitted |= scores(types, model.labels_, digits=4)
    return [{"what": "fit", **fitted}, {"what": "predict", **fitted, "seconds": round(predicted, 1)}]


def cut(run, dense):
    """Steps of the cut loss alone, forwards and backwards, from affinities or from their factors."""
    import torch

    from skst.nn import NormalizedCut

    X = sparse.load_npz(Path(run.folder) / "counts.npz")
    z = torch.randn(X.shape[0], N_COLUMNS, generator=torch.manual_seed(0), requires_grad=True)

    def train():
        loss, ready = timed(dense_cut if dense else NormalizedCut, X)
        return ready, sum(timed(lambda: loss(z).backward())[1] for _ in range(N_STEPS)) / N_STEPS

    (ready, step), row = measured(train)
    name = "dense cut" if dense else "factored cut"
    seconds = {"set-up": round(ready, 3), "step": round(step, 4)}
    return [{"what": f"{name}, {what}", **row, "seconds": number, "ari": np.nan} for what, number in seconds.items()]


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
        Run({"n_cells": size}, steps if size <= MOST_DENSE else steps[:-1], settings={"size": size})
        for size in options.sizes
    ]


def draw(rows, path):
    """All but the set-up of the losses; the memory of predict is that of the process of fit."""
    rows = rows[~rows["what"].str.endswith("set-up")]
    growth(rows.assign(peak_mib=rows["peak_mib"].where(rows["what"] != "predict")), path, size="n_cells", stage="what")


BENCHMARK = Benchmark(
    title="Cost of LLMDSCClusterer",
    question="Seconds and memory as cells grow, and of the dense cut beside?",
    takes="about an hour",
    runs=runs,
    draw=draw,
    order={"n_cells": None},
    options={"--sizes": sizes_option(SIZES, "numbers of cells")},
    **COST,
)
