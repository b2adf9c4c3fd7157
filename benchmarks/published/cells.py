"""Training by the published code of scCDCG and scLLM-DSC, from checkouts of

- https://github.com/XPgogogo/scCDCG
- https://github.com/XPgogogo/scLLM-DSC

Their training loops stand in no function, so their scripts
``train_scCDCG.py`` and ``main_AE.py`` are run as they are, but that one seed takes the place of their list of seeds.
What they would read from disk is handed over in memory, and what they write is dropped; scores are those that they log.

"""

import contextlib
import io
import re
import runpy
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from benchmarks.data import read
from benchmarks.methods import N_SENTENCES, reader
from benchmarks.published import stand_in

REPOSITORIES = {"scCDCG": "XPgogogo/scCDCG", "scLLM-DSC": "XPgogogo/scLLM-DSC"}
# What trains in them.
SCRIPTS = {"scCDCG": "train_scCDCG.py", "scLLM-DSC": "main_AE.py"}
# What scCDCG calls the data sets that it has settings for; the first is its default.
NAMES = {"Baron mouse 1": "Maayan_Mouse_Pancreas_cell_1", "Baron mouse 2": "Maayan_Mouse_Pancreas_cell_2"}
SCORES = ("ari", "nmi", "acc")
# Most expressed genes of a cell whose vectors are summed.
N_SUMMED = 2048
_SEEDS = re.compile(r"(?<=for seed in )\[[\d, ]+\]")
_LOGGED = re.compile(r"(Pre-Train )?ACC: ([\d.]+), NMI: ([\d.]+), ARI: (-?[\d.]+)")


def script_of(checkout, method):
    """The script of a checkout that trains a method."""
    script, repository = checkout / SCRIPTS[method], REPOSITORIES[method]
    if not script.is_file():
        given = f"--{method.lower()}={str(checkout)!r}"
        raise FileNotFoundError(f"{given} has no {script.name}; give a checkout of {repository}.")
    return script


def text_of(data):
    """The two vectors of each cell that scLLM-DSC reads: sums over genes, and those of sentences."""
    adata, _ = read(data)
    vectors = reader(0, mode="aggregate", normalize=data.normalize).fit(adata).gene_vectors_
    sentences = reader(0, mode="sentence", k_g=60, max_texts=N_SENTENCES, normalize=data.normalize)
    return sum_of_genes(adata.X, vectors), sentences.fit_transform(adata)


def sum_of_genes(X, vectors, n_genes=N_SUMMED):
    """Vectors of the most expressed genes of each cell, times their counts, summed as in the code of scLLM-DSC.

    `X` is sparse and not negative; fractions are cut off.
    """
    X = X.tocsr(copy=True)
    X.data = np.trunc(X.data).astype(np.float32)
    for start, end in zip(X.indptr[:-1], X.indptr[1:], strict=True):
        if end - start > n_genes:
            counts = X.data[start:end]
            counts[np.argpartition(counts, -n_genes)[:-n_genes]] = 0
    return np.asarray(X @ vectors)


def train(script, x, y, seed, arguments, text=None):
    """Run a published training script in this process, on the CPU, with one seed in place of its list of seeds.

    `x` is expression, dense float32, and `y` labels from 0, by which the script scores every epoch; `arguments` are
    those of its command line, "dataname" among them; `text` holds the two vectors of each cell for scLLM-DSC.

    Returns the history, one row an epoch: "trained", False while it pre-trains, and "acc", "nmi" and "ari", to four
    digits.  Then times: "setup_seconds" until the seed is set, which are graphs and imports; "seconds" from there on,
    with the k-means of every epoch; "processor_seconds", the same by the clock of this process.

    Replaces modules and changes others: call it in a process of its own.
    """
    import torch

    source, found = _SEEDS.subn(f"[{seed}]", script.read_text("utf-8"))
    if found != 1:
        raise ValueError(f"{script.name} has {found} lists of seeds to replace, not one; take another commit.")
    said = []
    _stand_in(x, y, lambda told: said.append((str(told), time.perf_counter(), time.process_time())))
    torch.cuda.set_device = lambda device: None
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self: self
    sys.path.insert(0, str(script.parent))
    sys.argv = [script.name, *(part for name, value in arguments.items() for part in (f"--{name}", value))]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), contextlib.chdir(folder):
        if text is not None:
            output = Path("output", arguments["dataname"])
            output.mkdir(parents=True)
            for name, vectors in zip(("weighted_cell_embeddings", "cell_top_genes_embeddings"), text, strict=True):
                np.savez(output / f"{name}.npz", embeddings=vectors)
        Path(script.name).write_text(source, "utf-8")
        start = time.perf_counter()
        runpy.run_path(script.name, run_name="__main__")
    # Both clocks when the seed was told, and when the summary was.
    begin, end = (next(clocks for told, *clocks in said if told.startswith(word)) for word in ("Seed", "MAX"))
    times = {"setup_seconds": begin[0] - start, "seconds": end[0] - begin[0], "processor_seconds": end[1] - begin[1]}
    return history_of([told for told, *_ in said]), times


class _File(dict, contextlib.AbstractContextManager):
    """In place of an HDF5 file: holds arrays, and drops those that are written."""

    def __exit__(self, *_):
        pass

    def create_dataset(self, *_, **__):
        pass


def _stand_in(x, y, log):
    """Replace the packages that the scripts import for files, logs, plots, or a small part of their work."""
    from torch.nn.functional import normalize

    for name in ("matplotlib", "scanpy", "torchmetrics", "umap", "jgraph"):
        stand_in(name)
    stand_in("h5py", File=lambda path, mode: _File(X=x, Y=y))
    stand_in("loguru", logger=SimpleNamespace(add=lambda *_, **__: None, info=log))
    stand_in("matplotlib.pyplot", rcParams={})
    stand_in("pylab", mpl=SimpleNamespace(rcParams={}))
    stand_in("torchmetrics.functional", pairwise_cosine_similarity=lambda x, y: normalize(x) @ normalize(y).T)
    stand_in("dotenv", load_dotenv=lambda: None)
    stand_in("openai", OpenAI=None)


def history_of(texts):
    """Scores of all epochs, from what a script has logged; the summary that it logs last is left out."""
    found = [_LOGGED.search(text) for text in texts if text.startswith("Epoch")]
    rows = [(match[1] is None, *map(float, match.groups()[1:])) for match in found if match]
    return pd.DataFrame(rows, columns=["trained", "acc", "nmi", "ari"])


def scores_of(history):
    """Scores of the epoch that the published code reports, and of the last.

    "labels_epoch" is the first epoch of training of largest accuracy, from 1; its scores are "labels_ari" and so on,
    and those of the last epoch "last_ari" and so on.
    """
    trained = history[history["trained"]].reset_index(drop=True)
    best = int(trained["acc"].argmax())
    epochs = {"labels": trained.iloc[best], "last": trained.iloc[-1]}
    found = {f"{when}_{name}": float(epoch[name]) for when, epoch in epochs.items() for name in SCORES}
    return {"labels_epoch": best + 1, **found}
