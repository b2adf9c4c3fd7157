"""LLMDSCClusterer, its text, its losses and rare types: ``python benchmarks/llmdsc.py``."""

import sys
import warnings
from functools import partial

import pandas as pd
from accuracy import in_order
from harness import read, run_all, runs_of_tables, tables_parser
from methods import CELLS, METHODS, DataSet, scaled_genes
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tables import by_method, head, markdown, paired, section, seed_counts

from skst import GeneTextEncoder, LLMDSCClusterer
from skst.metrics import hungarian_match
from skst.partition import GraphCommunities

# Sentences read of each data set; the others' vectors are predicted.
N_READ = 300
OMEGAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def llmdsc(k, seed, normalize=True, *, text=None, model="auto", **parameters):
    """LLMDSCClusterer; `text` holds parameters of the encoder, of which the controls draw anew for each seed."""
    if text is not None:
        text = {"mode": "dual", "k_g": 60, "max_texts": N_READ, "random_state": 0, "model": model, **text}
        if text.get("control"):
            text["random_state"] = seed
        if text["mode"] == "aggregate":
            del text["max_texts"]
        parameters["text"] = GeneTextEncoder(normalize=normalize, **text)
    else:
        parameters["align_to"] = None
    return LLMDSCClusterer(k, random_state=seed, normalize=normalize, **parameters)


def default(k, seed, normalize=True):
    """LLMDSCClusterer as it comes."""
    return LLMDSCClusterer(k, random_state=seed, normalize=normalize)


def paper(k, seed, normalize=True):
    """The published settings, as far as the mended losses allow."""
    text = GeneTextEncoder(mode="dual", k_g=60, max_texts=N_READ, normalize=normalize, random_state=0)
    return LLMDSCClusterer.paper(k, text=text, normalize=normalize, random_state=seed)


def usual(k, seed, normalize=True, *, clusterer):
    """The usual single-cell pipeline with another last step."""
    genes = FunctionTransformer(partial(scaled_genes, normalize=normalize))
    return make_pipeline(genes, PCA(30, random_state=seed), clusterer(k, seed))


def mixture(k, seed):
    return GaussianMixture(k, covariance_type="tied", n_init=10, random_state=seed)


def leiden(k, seed):
    return GraphCommunities(k, random_state=seed)


def mouse(number):
    """One of the two mice of the Baron data."""
    adata = CELLS["Baron mouse"].load()
    return adata[adata.obs["batch"] == f"mouse{number}"].copy()


SETS = {
    **CELLS,
    "Baron mouse 1": DataSet(partial(mouse, 1)),
    "Baron mouse 2": DataSet(partial(mouse, 2)),
}
# Name -> factory(k, seed, normalize), by table.
TABLES = {
    "Cell types": {
        "LLMDSCClusterer": default,
        "no text": llmdsc,
        "PCA + k-means": METHODS["PCA + k-means"],
        "PCA + Leiden": partial(usual, clusterer=leiden),
        "PCA + mixture": partial(usual, clusterer=mixture),
    },
    "Text": {
        "dual": partial(llmdsc, text={}),
        "permuted": partial(llmdsc, text={"control": "permuted"}),
        "Gaussian": partial(llmdsc, text={"control": "gaussian"}),
        "lexical": partial(llmdsc, text={}, model="lexical"),
        "no text": llmdsc,
    },
    "Ablations": {
        "no text": llmdsc,
        "w/o NCut": partial(llmdsc, cut_weight=0.0),
        "w/o MSE": partial(llmdsc, mse_weight=0.0),
        "w/o KL": partial(llmdsc, kl_weight=0.0),
        "MSE alone": partial(llmdsc, cut_weight=0.0, kl_weight=0.0),
    },
    "Alignment": {
        "dual": partial(llmdsc, text={}),
        "half text": partial(llmdsc, text={}, text_weight=0.5),
        "shared, half text": partial(llmdsc, text={}, text_weight=0.5, align_to="shared"),
        "paper": paper,
    },
    "omega": {f"omega {omega}": partial(llmdsc, text={"omega": omega}, text_weight=0.5) for omega in OMEGAS},
}
FACTORIES = {name: factory for table in TABLES.values() for name, factory in table.items()}
SEEDS = {"Cell types": 10, "Text": 5}
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


def recall(names=("LLMDSCClusterer", "PCA + k-means", "PCA + Leiden", "PCA + mixture"), seeds=3):
    """Share of each type's cells that are in the cluster matched to it."""
    rows = []
    for data in ("Baron mouse", "PBMC3k"):
        for name in names:
            for seed in range(seeds):
                adata, truth = read(SETS[data])
                truth = truth.astype(str)
                found = TABLES["Cell types"][name](truth.nunique(), seed, True).fit_predict(adata)
                matched = pd.Series(hungarian_match(truth, found), index=truth.index)
                for label, part in matched.groupby(truth):
                    share = (part == label).mean()
                    rows.append({"data": data, "method": name, "seed": seed, "type": label, "n": len(part), "r": share})
    return pd.DataFrame(rows)


def main(argv=None):
    """Run what has not been run yet, write ``llmdsc.csv`` and ``llmdsc.md``; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = tables_parser(__doc__, TABLES, SETS, "10, 5 or 3, by table")
    parser.add_argument("--recall", action="store_true", help="make the table of rare types anew")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore", UserWarning)
    wanted = runs_of_tables(arguments, TABLES, SETS, seeds=SEEDS)
    path = arguments.output / "llmdsc.csv"
    rows, failed = run_all(wanted, path, jobs=arguments.jobs, fresh=arguments.fresh)
    rare = path.with_name("llmdsc_recall.csv")
    if arguments.recall:
        recall().to_csv(rare, index=False)
    if not rows.empty:
        text = head("LLMDSCClusterer", rows, "llmdsc.py", argv) + report(in_order(rows, SETS, FACTORIES))
        if rare.exists():
            text += rare_types(pd.read_csv(rare))
        path.with_suffix(".md").write_text(text, encoding="utf-8")
    return 1 if failed else 0


def report(rows):
    """The tables of a table of runs, as Markdown."""
    sections = [
        "\nEvery method is told k, the number of labels; the labels themselves only score.  Mean ± standard deviation "
        "over seeds of the adjusted Rand index; differences are between runs of one seed.  The tables are filled from "
        "all runs that this code has made, whichever command made them (the command above is the last), and that of "
        "rare types by the last `--recall`.\n"
    ]
    for table, methods in TABLES.items():
        part = rows[rows["method"].isin(methods) & (rows["seed"] < SEEDS.get(table, 3))]
        if part["method"].nunique() < 2:
            continue
        part = part.sort_values("method", kind="stable", key=lambda names: names.map(list(methods).index))
        part = part.sort_values("data", kind="stable", key=lambda names: names.map(list(SETS).index))
        first, *others = methods
        frames = [by_method(part, "ari")]
        if table != "omega":
            frames.append(paired(part, others, method=first))
        if table == "Cell types":
            frames += [by_method(part, name) for name in ("nmi", "acc", "macro_f1")]
            frames.append(by_method(part, "seconds", digits=1))
        text = f"{TEXTS[table]}  {seed_counts(part)}"
        if table == "Cell types":
            text += (
                "  Then differences, normalised mutual information, accuracy, macro F1, and seconds with text vectors "
                "at hand.  The mean counts the Baron mice twice; without their separate rows it is over four sets: "
                + ", ".join(f"{name} {mean:.3f}" for name, mean in _mean_of_four(part).items())
                + "."
            )
        sections.append(section(table, text, *(frame for frame in frames if not frame.empty)))
    return "".join(sections)


def _mean_of_four(rows):
    """Mean ARI over the sets that hold different cells."""
    rows = rows[rows["data"].isin(CELLS)]
    return rows.groupby(["method", "data"], sort=False)["ari"].mean().groupby("method", sort=False).mean()


def rare_types(rows):
    """Recall of each type, the rarest first."""
    frames = []
    for data, part in rows.groupby("data", sort=False):
        wide = part.groupby(["type", "n", "method"], sort=False)["r"].mean().unstack()[part["method"].unique()]
        wide = wide.reset_index("n").sort_values("n").round(2)
        frames.append(f"{data}:\n\n" + markdown(wide.rename(columns={"n": "cells"}).rename_axis("type")))
    text = (
        "Share of the cells of each type that are in the cluster matched to it, mean over "
        f"{rows['seed'].nunique()} seeds: accuracy hides the types of few cells."
    )
    return "\n" + "\n\n".join(["## Rare types", text, *frames]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
