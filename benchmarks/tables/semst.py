"""SemSTClusterer, its fusions, its text and its number of genes, and what looking at labels would have given."""

from benchmarks.compared import Compared
from benchmarks.data import SMALL, SPATIAL, read
from benchmarks.declare import Benchmark, Run
from benchmarks.methods import SEMST, semst_paper
from benchmarks.pages import by_method, in_order, section
from benchmarks.records import current_rows

ORACLE = "semst_oracle"
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
COMPARED = Compared(tables=SEMST, texts=TEXTS, data=SPATIAL, seeds={"Domains": 10}, only={"k_g": SMALL})


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


def watch(run):
    """A run of the paper's settings that also looks at the labels after every tenth epoch."""
    from skorch.callbacks import Callback

    adata, truth = read(run.data)
    k, seed = int(truth.nunique()), run.names["seed"]
    scorer = Scorer(truth, k, seed)
    callback = type("Watch", (Callback,), {"on_epoch_end": lambda self, net, **data: scorer(net, **data)})()
    semst_paper(k, seed, [("watch", callback)]).fit(adata)
    return {"oracle epoch": round(max(scorer.scores), 5), "last epoch": round(scorer.scores[-1], 5)}


def runs(options):
    """Those of the tables asked for."""
    found = COMPARED.runs(options)
    if "Oracle" in options.table:
        found += [
            Run({"data": data, "method": "paper", "seed": seed}, (watch,), SPATIAL[data], reads=True, file=ORACLE)
            for seed in range(options.seeds or 3)
            for data in options.data
        ]
    return found


def report(rows, options):
    """All that the current code has made, whichever tables were asked for, as Markdown."""
    text = COMPARED.report(rows) if len(rows) else ""
    watched = current_rows(options.output / f"{ORACLE}.csv")
    return text + (oracle(in_order(watched, {"data": SPATIAL, "seed": None})) if len(watched) else "")


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


BENCHMARK = Benchmark(
    title="SemSTClusterer",
    question="How good is SemSTClusterer, and which parts of it matter?",
    takes="two to three hours; `--table` takes parts of it",
    runs=runs,
    report=report,
    order=COMPARED.order,
    tables=(*SEMST, "Oracle"),
    data=SPATIAL,
    seeds=COMPARED.seeds,
)
