"""What is lost where vectors of texts are predicted from the genes that they name, by how many texts were read."""

import numpy as np

from benchmarks.data import SPATIAL, read
from benchmarks.declare import Benchmark
from benchmarks.methods import reader
from benchmarks.pages import wide

TISSUES = {name: SPATIAL[name] for name in ("osmFISH", "STARmap", "DLPFC 151673", "DLPFC 151507")}
NUMBERS = (100, 200, 500, 1000)
# Spots that are kept back, unless that is more than a third.
N_TESTED = 300


def lost(run):
    """How near the predicted vectors of prompts are to those that are read, of spots that were kept back."""
    adata, _ = read(run.data)
    order = np.random.RandomState(run.names["seed"]).permutation(adata.n_obs)
    n_tested = min(N_TESTED, adata.n_obs // 3)
    tested, fitted = adata[order[:n_tested]].copy(), adata[order[n_tested:]].copy()
    told = reader(0, mode="prompt").fit(fitted).transform(tested)
    centred, rows = told - told.mean(axis=0), []
    # The texts of a smaller number are among those of a larger.
    for number in NUMBERS:
        encoder = reader(0, mode="prompt", max_texts=number).fit(fitted)
        if encoder.text_r2_ is None:  # there are no more
            continue
        found = encoder.transform(tested)
        error, found = found - told, found - told.mean(axis=0)
        cosines = (centred * found).sum(axis=1) / np.linalg.norm(centred, axis=1) / np.linalg.norm(found, axis=1)
        r2 = 1 - np.square(error).sum() / np.square(centred).sum()
        rows.append({"texts": number, "told": encoder.text_r2_, "r2": r2, "cosine": cosines.mean()})
    return rows


def by_number(rows, value):
    """One row a tissue, one column a number of texts."""
    return wide(rows, value, "data", "texts").map("{:.3f}".format, na_action="ignore")


BENCHMARK = Benchmark(
    question="What is lost where vectors of texts are predicted and not read?",
    axes={"data": TISSUES},
    steps=(lost,),
    seeds=1,
)
