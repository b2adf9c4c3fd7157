"""What SemSTClusterer costs, beside SemST's published code and as tissue grows: ``python benchmarks/semst_cost.py``."""

import argparse
import os
import pickle
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from processes import limit, out_of_memory, peak_mib, run_apart
from published_semst import at_least_two, commit_of, published_epochs, random_text
from records import RESULTS, append, current_rows, provenance
from scale import N_DOMAINS, N_GENES, SIZES, Ready, draw
from tables import head, section

from skst import GeneTextEncoder, SemSTClusterer
from skst.datasets import make_spatial_domains
from skst.metrics import score_partition

PEER_SIZES = (1000, 5000, 20_000)
# A run beside the published code ends here.
LIMIT_SECONDS, LIMIT_GIB = 600, 16
TOO_LONG, TOO_LARGE = f"over {LIMIT_SECONDS // 60} minutes", f"over {LIMIT_GIB} GiB"
# Names of the stages that train one network for some epochs, and of those that do it all.
PUBLISHED, PAPER, DEFAULT = "published code", "skst, settings of the paper", "skst"
FIT, PREDICT = "SemSTClusterer.fit", "SemSTClusterer.predict"


class Job(NamedTuple):
    """One stage on one tissue.

    Attributes
    ----------
    stage : str
        Its name.
    folder : pathlib.Path
        Where the tissue is, and where stages leave what later ones need.
    settings : argparse.Namespace
        Of the command.
    """

    stage: str
    folder: Path
    settings: argparse.Namespace


def simulate(job):
    """Write the tissue, random text vectors, and the true labels apart."""
    adata = make_spatial_domains(int(job.folder.name), n_genes=N_GENES, n_domains=N_DOMAINS, random_state=0)
    del adata.uns["truth"]
    adata.obs.pop("label").to_pickle(job.folder / "truth.pkl")
    adata.write_h5ad(job.folder / "tissue.h5ad")
    np.save(job.folder / "text.npy", random_text(adata.n_obs))


def published(job):
    """Epochs of the published network."""
    text = np.load(job.folder / "text.npy")
    return _epochs(job, lambda adata: published_epochs(job.settings.published, adata, text, job.settings.epochs))


def ours(make, job):
    """Epochs of one network of `make`, with all of ``fit`` around them."""
    text = Ready(job.folder / "text.npy")
    model = make(
        N_DOMAINS, text=text, n_networks=1, max_epochs=job.settings.epochs, patience=None, device="cpu", random_state=0
    )
    return _epochs(job, lambda adata: model.fit(adata).history_["dur"])


def encode(job):
    """Have the texts encoded into the cache, where the whole fit finds their vectors."""
    _text(job).fit_transform(_read(job))


def fit(job):
    """From counts to domains with default settings; leaves the fitted model behind."""
    model = SemSTClusterer(N_DOMAINS, text=_text(job), random_state=0)
    row = _timed(job, lambda adata: model.fit(adata).labels_)
    with (job.folder / "model.pkl").open("wb") as file:
        pickle.dump(model, file)
    return row


def predict(job):
    """Domains of the same tissue, by the fitted model, in a process that has not fitted it."""
    with (job.folder / "model.pkl").open("rb") as file:
        model = pickle.load(file)  # written by `fit`
    return _timed(job, model.predict)


EPOCHS = {PUBLISHED: published, PAPER: partial(ours, SemSTClusterer.paper), DEFAULT: partial(ours, SemSTClusterer)}
# In this order: the second reads what the first leaves.
WHOLE = {FIT: fit, PREDICT: predict}


def _text(job):
    """The default of SemSTClusterer, with a seed of its own."""
    return GeneTextEncoder(model=job.settings.model, mode="prompt", max_texts=1000, random_state=0)


def _read(job):
    import anndata

    return anndata.read_h5ad(job.folder / "tissue.h5ad")


def _epochs(job, train):
    """Median seconds of an epoch, within the limits of time and memory; the first epoch is left out."""
    limit(LIMIT_SECONDS, LIMIT_GIB)
    adata = _read(job)
    before = peak_mib()
    try:
        seconds = float(np.median(train(adata)[1:]))
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return _row(job, before, outcome=TOO_LARGE)
    return _row(job, before, seconds)


def _timed(job, function):
    adata = _read(job)
    before = peak_mib()
    start = time.perf_counter()
    labels = function(adata)
    seconds = time.perf_counter() - start
    truth = pd.read_pickle(job.folder / "truth.pkl")  # written by `simulate`
    return _row(job, before, seconds, score_partition(truth, labels)["ari"])


def _row(job, before=np.nan, seconds=np.nan, ari=np.nan, outcome="done"):
    return {
        "n_spots": int(job.folder.name),
        "stage": job.stage,
        "seconds": round(seconds, 4),
        "peak_mib": round(peak_mib()) if outcome == "done" else np.nan,
        "data_mib": before if np.isnan(before) else round(before),
        "ari": round(ari, 4),
        "outcome": outcome,
        "published": commit_of(job.settings.published) if job.stage == PUBLISHED else "",
    }


def main(argv=None):
    """Time what has not been timed yet, write ``semst_cost.csv``, ``.md`` and ``.png``; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", type=Path, help="checkout of github.com/longjiangk/SemST; left out if not given")
    parser.add_argument("--peer-sizes", type=int, nargs="*", default=PEER_SIZES, help="cells beside the published code")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="cells of whole fits (10^4 to 10^6)")
    parser.add_argument("--epochs", type=at_least_two, default=6, help="epochs beside the published code (default: 6)")
    parser.add_argument("--model", default="auto", help="language model of whole fits (default: the encoder's)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    settings = parser.parse_args(argv)
    # One run at a time has all cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    settings.output.mkdir(parents=True, exist_ok=True)
    path = settings.output / "semst_cost.csv"
    if settings.fresh:
        path.unlink(missing_ok=True)
    stamp = provenance()
    compared = {name: function for name, function in EPOCHS.items() if name != PUBLISHED or settings.published}
    failed = False
    for sizes, stages in ((settings.peer_sizes, compared), (settings.sizes, WHOLE)):
        for size in sizes:
            rows = current_rows(path, stamp)
            made = set() if rows.empty else set(rows.loc[rows["n_spots"] == size, "stage"])
            missing = {name: function for name, function in stages.items() if name not in made}
            if PREDICT in missing:
                missing = dict(stages)  # it needs the model of the fit, which is gone
            if missing:
                failed |= not measure(size, missing, path, stamp, settings)
    rows = current_rows(path, stamp)
    if not rows.empty:
        rows = rows.drop_duplicates(["n_spots", "stage"], keep="last")
        path.with_suffix(".md").write_text(
            head("Cost of SemSTClusterer", rows, "semst_cost.py", argv) + report(rows), encoding="utf-8"
        )
        if (whole := rows[rows["stage"].isin(WHOLE)]).size:
            draw(whole, path.with_suffix(".png"))
    return int(failed)


def measure(size, stages, path, stamp, settings):
    """Append one row a stage, each run in a process of its own; False if one failed other than by its cost."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder) / str(size)
        folder.mkdir()
        before = {"simulation": simulate, "texts": encode} if FIT in stages else {"simulation": simulate}
        for stage, function in (before | stages).items():
            job = Job(stage, folder, settings)
            _, row = next(run_apart(function, [job]))
            if isinstance(row, Exception):
                row = _ended(job, row)
            if isinstance(row, Exception):
                print(f"{size} cells, {stage} FAILED: {row}", flush=True)
                return False
            if row:
                append(path, {**row, **stamp})
                shown = f"{row['seconds']} s, {row['peak_mib']} MiB" if row["outcome"] == "done" else row["outcome"]
                print(f"{size} cells, {stage}: {shown}", flush=True)
    return True


def _ended(job, error):
    """The row of a process that was ended for its cost, else the error itself."""
    if job.stage in EPOCHS:
        for number, outcome in ((signal.SIGALRM, TOO_LONG), (signal.SIGKILL, "killed for its memory")):
            if str(error).endswith(f"exit code -{number.value}"):
                return _row(job, outcome=outcome)
    return error


def report(rows):
    """The tables of a table of stages, as Markdown."""
    text = ""
    epochs = rows[rows["stage"].isin(EPOCHS)]
    if len(epochs):
        commits = [name for name in epochs["published"].dropna().unique() if name]
        which = f"  The published code is commit {commits[0]} of github.com/longjiangk/SemST." if commits else ""
        text += section(
            "One epoch beside the published code",
            "Seconds of one pass over all cells while one network is trained: median over epochs, the first left out.  "
            f"Simulated tissue of {N_GENES} genes, all of them decoded; the same random text vectors of 384 columns "
            "for all; no GPU.  The published epoch is a step of the optimiser and one more pass without gradient, as "
            "in its training loop, less the k-means that it runs at each epoch.  `settings of the paper` has the sizes "
            "of layers and graphs and the zero inflation of the published code; `skst` is the default network.  A run "
            f"is ended after {LIMIT_SECONDS // 60} minutes or when it asks for more than {LIMIT_GIB} GiB.{which}",
            _wide(epochs, "seconds", EPOCHS),
        ) + section(
            "Peak memory beside the published code",
            "Largest resident size in MiB of the process of that run, with libraries, data and graphs, and with the "
            "partition for skst.",
            _wide(epochs, "peak_mib", EPOCHS),
        )
    whole = rows[rows["stage"].isin(WHOLE)]
    if len(whole):
        seconds, memory = (_wide(whole, value, WHOLE) for value in ("seconds", "peak_mib"))
        fits = whole[whole["stage"] == FIT].set_index("n_spots")
        memory.insert(0, "data alone", fits["data_mib"].astype(int))
        text += section(
            "Whole fit",
            f"Seconds from counts to {N_DOMAINS} domains with default settings: all networks, all epochs, partition.  "
            "The vectors of the 1,000 texts that are read had been made before.  `ARI` is that of the domains, which "
            "are easy here.",
            seconds.assign(ARI=fits["ari"]),
        ) + section(
            "Peak memory of a whole fit",
            "Largest resident size in MiB of a process that does this alone, libraries and data included; `data "
            "alone` is the size before `fit` begins.",
            memory,
        )
    return text


def _wide(rows, value, stages):
    """One row a size and one column a stage; what became of a run that was ended in place of its number."""
    digits = 0 if value == "peak_mib" else 3
    shown = [
        f"{number:.{digits}f}" if outcome == "done" else outcome
        for number, outcome in zip(rows[value], rows["outcome"], strict=True)
    ]
    table = rows.assign(shown=shown).pivot(index="n_spots", columns="stage", values="shown").rename_axis("cells")
    return table[[stage for stage in stages if stage in table]].rename_axis(columns=None)


if __name__ == "__main__":
    sys.exit(main())
