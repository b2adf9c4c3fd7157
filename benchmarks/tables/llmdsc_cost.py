"""Seconds and memory of LLMDSCClusterer as cells grow."""

from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse

from benchmarks.data import read_tissue, write_tissue
from benchmarks.declare import COST, Benchmark, Run
from benchmarks.fits import measured, stage, timed
from benchmarks.methods import llmdsc
from benchmarks.pages import growth

# Beyond this the dense affinities take minutes and tens of GiB.
MOST_DENSE = 20_000
N_GENES, N_TYPES, N_COLUMNS, N_STEPS = 2000, 12, 16, 5
# Mean counts of a cell: about one entry in ten is not zero.
DEPTH = 300.0


def simulate(size):
    """Counts of cells of some types, csr float32, and the types as labels."""
    import anndata

    rng = np.random.default_rng(0)
    shares = rng.gamma(0.5, size=N_GENES) * np.exp(rng.normal(scale=0.8, size=(N_TYPES, N_GENES)))
    shares /= shares.sum(axis=1, keepdims=True)
    types = rng.choice(N_TYPES, size, p=rng.dirichlet(np.full(N_TYPES, 3.0)))
    depth = DEPTH * rng.lognormal(sigma=0.4, size=size)
    parts = (slice(start, start + 10_000) for start in range(0, size, 10_000))
    counts = (rng.poisson(depth[rows, None] * shares[types[rows]]).astype(np.float32) for rows in parts)
    labels = pd.DataFrame({"label": types}, index=[str(i) for i in range(size)])
    return anndata.AnnData(sparse.vstack([*map(sparse.csr_array, counts)], format="csr"), obs=labels)


def cut(dense, run):
    """Steps of the cut loss alone, forwards and backwards, from affinities or from their factors."""
    import torch

    from skst.nn import NormalizedCut

    X = read_tissue(run)[0].X
    if dense and X.shape[0] > MOST_DENSE:
        return None
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
    models = {"fit": llmdsc(N_TYPES, 0, network__device="cpu"), "predict": "fit"}
    stages = [partial(stage, {"what": name}, model, digits=1) for name, model in models.items()]
    steps = (partial(write_tissue, simulate=simulate), *stages, partial(cut, False), partial(cut, True))
    return [Run({"n_cells": size}, steps, settings={"size": size}) for size in options.sizes]


BENCHMARK = Benchmark(
    question="Seconds and memory as cells grow, and of the dense cut beside?",
    runs=runs,
    draw=partial(growth, where="not what.str.endswith('set-up')", size="n_cells", stage="what"),
    order={"n_cells": None},
    options={"--sizes": ((5_000, 20_000, 100_000, 1_000_000), "numbers of cells")},
    **COST,
)
