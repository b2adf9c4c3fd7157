"""SemSTClusterer, its fusions, its text and its number of genes, and what looking at labels would have given."""

from benchmarks.compared import Compared
from benchmarks.data import SMALL, SPATIAL, read
from benchmarks.declare import Run
from benchmarks.methods import SEMST, semst_paper
from benchmarks.pages import in_order
from benchmarks.records import current_rows

ORACLE = "semst_oracle"
COMPARED = Compared(tables=SEMST, data=SPATIAL, seeds={"Domains": 10}, only={"k_g": SMALL})


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


def watched(options):
    """What looking at the labels would have given, in place of methods."""
    rows = in_order(current_rows(options.output / f"{ORACLE}.csv"), {"data": SPATIAL, "seed": None})
    if rows.empty:
        return rows
    return rows.melt(["data", "seed"], ["oracle epoch", "last epoch"], var_name="method", value_name="ari")


BENCHMARK = COMPARED.declare(
    title="SemSTClusterer",
    question="How good is SemSTClusterer, and which parts of it matter?",
    takes="two to three hours; `--table` takes parts of it",
    made_otherwise=("Oracle",),
    runs=runs,
)
