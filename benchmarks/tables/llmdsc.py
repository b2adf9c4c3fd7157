"""LLMDSCClusterer, its text, its losses and rare types."""

import pandas as pd

from benchmarks.compared import Compared
from benchmarks.data import CELLS, MICE, read
from benchmarks.declare import Benchmark, Run
from benchmarks.methods import LLMDSC
from benchmarks.pages import in_order, markdown
from benchmarks.records import current_rows
from skst.metrics import hungarian_match

RECALL = "llmdsc_recall"
TEXTS = {
    "Cell types": "One setting for all.  `no text` is the same with `align_to=None`.  The others are the usual "
    "pipeline: logarithms of normalised counts, 2,000 genes, z-scores, 30 principal components, then k-means, "
    "Leiden communities searched to k, or the likeliest of ten tied mixtures.",
    "Text": "Text and its controls, 300 sentences read.  `dual`: the two paths of the default.  `permuted`: each gene "
    "under the name of another.  `Gaussian`: noise.  `lexical`: hashed words, no model.",
    "Ablations": "Losses left out (scLLM-DSC, Figure 5), without text.",
    "Alignment": "How text is aligned.  `half text` has the published share of text in Z; `shared` is the published "
    "alignment, which moves both views; `paper` has all published settings that equations allow.",
    "omega": "Share of the abundance-weighted path in the text (scLLM-DSC, Figure 6), with half of Z text, so that it "
    "can be seen.",
}


def mean_of_four(rows):
    """Mean ARI over the sets that hold different cells, in words."""
    rows = rows[rows["data"].isin(CELLS)]
    means = rows.groupby(["method", "data"], sort=False)["ari"].mean().groupby("method", sort=False).mean()
    return (
        "  The mean counts the Baron mice twice; without their separate rows it is over four sets: "
        + ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())
        + "."
    )


COMPARED = Compared(
    tables=LLMDSC,
    texts=TEXTS,
    data=MICE,
    seeds={"Cell types": 10, "Text": 5},
    scores=("nmi", "acc", "macro_f1"),
    unpaired=("omega",),
    filled="whichever command made them (the command above is the last), and that of rare types by the last "
    "`--recall`.",
    note=mean_of_four,
)


def recall(run):
    """Share of each type's cells that are in the cluster matched to it."""
    adata, truth = read(run.data)
    truth = truth.astype(str)
    found = run.factory(truth.nunique(), run.names["seed"], run.data.normalize).fit_predict(adata)
    matched = pd.Series(hungarian_match(truth, found), index=truth.index)
    return [{"type": label, "n": len(part), "r": (part == label).mean()} for label, part in matched.groupby(truth)]


def runs(options):
    """Those of the tables asked for."""
    found = COMPARED.runs(options)
    if options.recall:
        found += [
            Run({"data": data, "method": name, "seed": seed}, (recall,), MICE[data], factory, file=RECALL, kept=False)
            for data in ("Baron mouse", "PBMC3k")
            for name, factory in LLMDSC["Cell types"].items()
            if name != "no text"
            for seed in range(options.seeds or 3)
        ]
    return found


def report(rows, options):
    """The tables of a table of runs, as Markdown."""
    rare = current_rows(options.output / f"{RECALL}.csv")
    return COMPARED.report(rows) + (rare_types(rare) if len(rare) else "")


def rare_types(rows):
    """Recall of each type, the rarest first."""
    frames = []
    rows = in_order(rows, {"data": MICE, "method": LLMDSC["Cell types"]})
    for data, part in rows.groupby("data", sort=False):
        wide = part.groupby(["type", "n", "method"], sort=False)["r"].mean().unstack()[part["method"].unique()]
        wide = wide.reset_index("n").sort_values("n").round(2)
        frames.append(f"{data}:\n\n" + markdown(wide.rename(columns={"n": "cells"}).rename_axis("type")))
    text = (
        "Share of the cells of each type that are in the cluster matched to it, mean over "
        f"{rows['seed'].nunique()} seeds: accuracy hides the types of few cells."
    )
    return "\n" + "\n\n".join(["## Rare types", text, *frames]) + "\n"


BENCHMARK = Benchmark(
    title="LLMDSCClusterer",
    question="How good is LLMDSCClusterer, which losses and texts matter, and what becomes of rare types?",
    takes="about two hours; `--table` takes parts of it",
    runs=runs,
    report=report,
    order=COMPARED.order,
    tables=LLMDSC,
    data=MICE,
    seeds=COMPARED.seeds,
    options={"--recall": {"action": "store_true", "help": "make the table of rare types anew"}},
)
