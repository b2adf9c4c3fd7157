"""Seconds and memory of tissue that stays in its files, beside those of the same tissue in memory."""

import contextlib
import time
from functools import partial
from pathlib import Path

import joblib
import numpy as np

from benchmarks.data import N_DOMAINS
from benchmarks.declare import COST, Benchmark, Run
from benchmarks.fits import measured, scores
from benchmarks.methods import fusion, llmdsc, reader, semst
from benchmarks.pages import growth
from skst.datasets import make_spatial_domains

N_GENES = 300
# Cells, genes, files and counts a cell of tissue of other shapes: a panel of thousands of genes, a slice of bins.
SHAPES = {"panel": (1_000_000, 5000, 4, 400.0), "slice": (3_000_000, 2000, 1, 300.0)}
# Genes and files of tissue that networks read.
NETWORKS = {"SemSTClusterer": semst, "LLMDSCClusterer": llmdsc}
NETWORK_GENES, NETWORK_FILES = 1000, 8
# Cells of a file, but for a tissue of fewer than four of these.
CELLS_A_FILE = 50_000
# More cells are not put into memory at once.
MAX_IN_MEMORY = 1_000_000
FIT, PREDICT, IN_MEMORY = STAGES = "fit, in files", "predict, in files", "fit, in memory"
NETWORK_STAGES = [f"{name}, {stage}" for name in NETWORKS for stage in (FIT, IN_MEMORY)]


def write_slices(run):
    """Leave a tissue in the folder of a run, one slice a file."""
    size, n_genes, n_slices, depth = run.settings["shape"]
    shape = {"n_genes": n_genes, "n_slices": n_slices, "depth": depth}
    make_spatial_domains(size, n_domains=N_DOMAINS, **shape, random_state=0, to=_folder(run))


def encode_genes(run):
    """Put the text vectors of its genes into the cache."""
    import anndata

    reader(0).fit(anndata.read_h5ad(_paths(run)[0]))


def cost(stage, run):
    """The row of one stage."""
    paths, model, X = _paths(run), fusion(N_DOMAINS, 0), None
    if stage == IN_MEMORY:
        model, X = model.set_params(batch_key="batch"), _in_memory(paths)
    with contextlib.chdir(run.folder):
        begun = time.process_time()
        if stage == PREDICT:
            found, row = measured(joblib.load(FIT).predict, paths)
            found = np.concatenate(found)
        else:
            found, row = measured(model.fit_predict, paths if X is None else X)
        # On a machine that others use, the processor's seconds tell more than the clock's.
        row["cpu_seconds"] = round(time.process_time() - begun, 2)
        if stage == FIT:
            joblib.dump(model, FIT)
    return {"stage": stage, "n_files": len(paths), **row, **scores(_truth(paths), found, digits=4)}


def cost_of_networks(name, stage, run):
    """The row of a fit that trains networks, whose text is of words."""
    paths, model = _paths(run), NETWORKS[name](N_DOMAINS, 0, text__model="lexical")
    X = paths
    if stage == IN_MEMORY:
        model, X = model.set_params(batch_key="batch"), _in_memory(paths)
    begun = time.process_time()
    found, row = measured(model.fit_predict, X)
    row["cpu_seconds"] = round(time.process_time() - begun, 2)
    return {"stage": f"{name}, {stage}", "n_files": len(paths), **row, **scores(_truth(paths), found, digits=4)}


def runs(options):
    """One a size and shape, of all stages."""
    shapes = [(size, N_GENES, max(4, size // CELLS_A_FILE), 300.0) for size in options.sizes]
    for shape in (*shapes, *(SHAPES[name] for name in options.shapes)):
        stages = [FIT, PREDICT, *([IN_MEMORY] if shape[0] * shape[1] <= MAX_IN_MEMORY * N_GENES else [])]
        steps = (write_slices, encode_genes, *(partial(cost, stage) for stage in stages))
        yield Run({"n_spots": shape[0], "n_genes": shape[1]}, steps, settings={"shape": shape})
    for size in options.networks:
        shape = (size, NETWORK_GENES, NETWORK_FILES, 300.0)
        steps = [partial(cost_of_networks, name, stage) for name in NETWORKS for stage in (FIT, IN_MEMORY)]
        names = {"n_spots": size, "n_genes": NETWORK_GENES}
        yield Run(names, (write_slices, *steps), settings={"shape": shape})


def told(rows, networks):
    """Rows of other shapes than the curve's, of estimators that train networks or of the others."""
    rows = rows[(rows["n_genes"] != N_GENES) & ((rows["n_genes"] == NETWORK_GENES) == networks)]
    columns = ["n_genes", "n_files", "stage", "seconds", "cpu_seconds", "peak_mib", "ari"]
    return rows.set_index("n_spots")[columns].rename_axis("cells")


def _in_memory(paths):
    import anndata

    return anndata.concat([anndata.read_h5ad(path) for path in paths])


def _folder(run):
    return Path(run.folder) / "slices"


def _paths(run):
    return sorted(_folder(run).glob("slice*.h5ad"), key=lambda path: int(path.stem.removeprefix("slice")))


def _truth(paths):
    import h5py
    from anndata.io import read_elem

    found = []
    for path in paths:
        with h5py.File(path) as file:
            found.append(np.asarray(read_elem(file["obs/label"])))
    return np.concatenate(found)


BENCHMARK = Benchmark(
    question="Seconds and memory of tissue in many files?",
    runs=runs,
    draw=partial(growth, where=f"n_genes == {N_GENES}", bold=FIT),
    order={
        "n_genes": None,
        "n_spots": None,
        "stage": dict.fromkeys((*STAGES, *NETWORK_STAGES)),
    },
    options={
        "--sizes": ((100_000, 1_000_000, 10_000_000), f"numbers of cells of {N_GENES} genes"),
        "--shapes": (tuple(SHAPES), "tissue of other shapes, a panel of 5,000 genes or one slice of bins"),
        "--networks": ((40_000,), f"numbers of cells of {NETWORK_GENES} genes that networks are trained on"),
    },
    **COST,
)
