"""SemSTClusterer, its fusions, its text and its number of genes: ``python benchmarks/semst.py``."""

import sys
import warnings
from functools import partial

from accuracy import in_order
from harness import Run, read, run_all, runs_of_tables, tables_parser
from methods import METHODS, SPATIAL, fusion
from records import current_rows, provenance
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from tables import by_method, comparisons, head, section

from skst import GeneTextEncoder, SemSTClusterer, SpatialGraphTransformer

# Prompts read of each tissue in the ablations; the others' vectors are predicted.
N_READ = 500
K_G = (5, 10, 20, 30, 50, "entropy", "mass")
# Each number of genes makes new prompts, and reading them takes longer than all else: small tissues only.
K_G_DATA = ("osmFISH", "STARmap", "HER2ST H1")


def semst(k, seed, normalize=True, **parameters):
    """SemSTClusterer with its defaults but for what is named."""
    return SemSTClusterer(k, random_state=seed, **parameters)


def ablated(k, seed, normalize=True, *, text=None, **parameters):
    """`text` holds parameters of the encoder, which reads fewer prompts.

    The control draws anew for each seed; which prompts are read stays the same otherwise, to save the reading.
    """
    text = {"mode": "prompt", "max_texts": N_READ, "random_state": 0, **(text or {})}
    if text.get("control") in ("permuted", "gaussian"):
        text["random_state"] = seed
    if text["mode"] == "aggregate":
        del text["max_texts"]
    return SemSTClusterer(k, random_state=seed, text=GeneTextEncoder(**text), **parameters)


def plugged(k, seed, normalize=True, *, text=None):
    """The smooth encoder with FSM plugged in, and the partition of SpaLLMFusion without text."""
    semantic = None
    if text is not None:
        semantic = GeneTextEncoder(mode="prompt", max_texts=N_READ, random_state=seed, **text)
    return fusion(k, seed, strategy="expression", spatial=SpatialGraphTransformer(semantic=semantic))


def smooth_mixture(k, seed, normalize=True):
    """The plain floor: one tied Gaussian mixture, the likeliest of ten starts, on averaged expression."""
    mixture = GaussianMixture(k, covariance_type="tied", n_init=10, random_state=seed)
    return make_pipeline(SpatialGraphTransformer(random_state=seed), mixture)


# Name -> factory(k, seed, normalize), by table.
TABLES = {
    "Domains": {
        "SemSTClusterer": semst,
        "expression": METHODS["expression"],
        "smooth + mixture": smooth_mixture,
        "smooth + k-means": METHODS["smooth + k-means"],
    },
    "Fusion": {
        "FSM": ablated,
        "concat": partial(ablated, fusion="concat"),
        "add": partial(ablated, fusion="add"),
        "cross-attention": partial(ablated, fusion="cross_attention"),
        "none": partial(ablated, fusion=None),
        "FSM, no price": partial(ablated, text_weight=0.0),
    },
    "Text": {
        "FSM": ablated,
        "permuted": partial(ablated, text={"control": "permuted"}),
        "unrelated": partial(ablated, text={"control": "unrelated"}),
        "Gaussian": partial(ablated, text={"control": "gaussian"}),
        "summaries": partial(ablated, text={"mode": "aggregate"}),
        "none": partial(ablated, fusion=None),
    },
    "Start": {
        "FSM": ablated,
        "averaged": partial(ablated, start="averaged"),
        "random": partial(ablated, start="random"),
        "zero-inflated": partial(ablated, zero_inflation=True),
    },
    "k_g": {f"k_g {k_g}": partial(ablated, text={"k_g": k_g}) for k_g in K_G},
    "Plugged in": {
        "smooth": plugged,
        "smooth + FSM": partial(plugged, text={}),
        "smooth + FSM, permuted": partial(plugged, text={"control": "permuted"}),
        "smooth + FSM, Gaussian": partial(plugged, text={"control": "gaussian"}),
    },
}
FACTORIES = {name: factory for table in TABLES.values() for name, factory in table.items()}
SEEDS = {"Domains": 10}
TEXTS = {
    "Domains": "One setting for all.  `expression` is averaged expression and the same consensus of mixtures without "
    "a network: the floor to beat.  `smooth + mixture` is its plain form, one tied mixture.  SpaLLMFusion and others "
    "are in accuracy.md.",
    "Fusion": "How text enters (SemST, Table 2).  500 prompts read.  `no price` is FSM with "
    "`text_weight=0`, as published.",
    "Text": "What text enters (SemST, Table 2).  `permuted`: each gene under the name of another.  `unrelated`: under "
    "names of everyday things.  `Gaussian`: noise for each prompt.  `summaries`: sum of the vectors of gene summaries.",
    "Start": "Where networks start, and zero inflation.",
    "k_g": "Genes named in a prompt (SemST, Figure 4), and the two adaptive rules.",
    "Plugged in": "FSM on top of the smooth encoder (SemST, Table 3).",
}


class Scorer:
    """Follows the score of k-means on the first network's representation; for the oracle's column alone."""

    def __init__(self, truth, k, seed, every=10):
        self.truth, self.k, self.seed, self.every, self.scores = truth, k, seed, every, []

    def __call__(self, net, dataset_train=None, **_):
        from sklearn.cluster import KMeans

        from skst.metrics import score_partition
        from skst.nn.ensemble import embed_all

        if len(net.history) % self.every:
            return
        found = KMeans(self.k, n_init=3, random_state=self.seed).fit_predict(embed_all(net.module_, dataset_train))
        self.scores.append(score_partition(self.truth, found)["ari"])


def execute_oracle(run):
    """A run of the paper's settings that also looks at the labels after every tenth epoch."""
    from skorch.callbacks import Callback

    adata, truth = read(run.data)
    k, seed = int(truth.nunique()), run.names["seed"]
    scorer = Scorer(truth, k, seed)
    watch = type("Watch", (Callback,), {"on_epoch_end": lambda self, net, **data: scorer(net, **data)})()
    text = GeneTextEncoder(mode="prompt", max_texts=N_READ, random_state=0)
    model = SemSTClusterer.paper(k, text=text, random_state=seed, callbacks=[("watch", watch)])
    model.fit(adata)
    return {**run.names, "oracle epoch": round(max(scorer.scores), 5), "last epoch": round(scorer.scores[-1], 5)}


def main(argv=None):
    """Run what has not been run yet, write ``semst.csv`` and ``semst.md``; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = tables_parser(__doc__, [*TABLES, "Oracle"], SPATIAL, "10 for Domains, 3 for the others")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore", UserWarning)
    wanted = runs_of_tables(arguments, TABLES, SPATIAL, seeds=SEEDS, only={"k_g": K_G_DATA})
    path = arguments.output / "semst.csv"
    failed, text = [], ""
    if wanted:
        _, failed = run_all(wanted, path, jobs=arguments.jobs, fresh=arguments.fresh)
    # The report shows all that the current code has made, whichever tables were asked for.
    rows = current_rows(path, provenance())
    if not rows.empty:
        text = head("SemSTClusterer", rows, "semst.py", argv) + report(in_order(rows, SPATIAL, FACTORIES))
    watched = path.with_name("semst_oracle.csv")
    if "Oracle" in arguments.table:
        runs = [
            Run({"data": data, "method": "paper", "seed": seed}, SPATIAL[data], None)
            for seed in range(arguments.seeds or 3)
            for data in arguments.data
        ]
        failed += run_all(runs, watched, jobs=arguments.jobs, fresh=arguments.fresh, execute=execute_oracle)[1]
    rows = current_rows(watched, provenance())
    if not rows.empty:
        text += oracle(in_order(rows, SPATIAL, {"paper": None}))
    if text:
        path.with_suffix(".md").write_text(text, encoding="utf-8")
    return 1 if failed else 0


def report(rows):
    """The tables of a table of runs, as Markdown."""
    return comparisons(rows, TABLES, TEXTS, main="Domains", data=SPATIAL)


def oracle(rows):
    """What looking at the labels would have given."""
    wide = rows.melt(["data", "seed"], ["oracle epoch", "last epoch"], var_name="method", value_name="ari")
    return section(
        "Oracle",
        "`SemSTClusterer.paper()`: one network, k-means.  `oracle epoch` is the best of every tenth epoch *by the true "
        "labels*, the number that the published code reports; no method without labels can know it.  `last epoch` is "
        f"what is found without them.  Seeds: {rows['seed'].nunique()}.",
        by_method(wide, "ari"),
    )


if __name__ == "__main__":
    sys.exit(main())
