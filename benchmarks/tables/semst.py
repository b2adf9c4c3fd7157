"""SemSTClusterer, its fusions, its text and its number of genes, and what looking at labels would have given."""

from sklearn.cluster import KMeans

from benchmarks.compared import Compared
from benchmarks.data import SMALL, SPATIAL, read
from benchmarks.declare import Run
from benchmarks.fits import scores
from benchmarks.methods import SEMST, semst_paper

ORACLE = "semst_oracle"
# Epochs after which an oracle looks at the labels.
EVERY = 10
COMPARED = Compared(tables=SEMST, data=SPATIAL, seeds={"Domains": 10}, only={"k_g": SMALL})


def watch(run):
    """A run of the paper's settings that also looks at the labels after every tenth epoch."""
    from skorch.callbacks import Callback

    from skst.nn.ensemble import embed_all

    adata, truth = read(run.data)
    k, seed = int(truth.nunique()), run.names["seed"]
    found = []

    class Watch(Callback):
        """Follows the score of k-means on the first network's representation."""

        def on_epoch_end(self, net, dataset_train=None, **_):
            if len(net.history) % EVERY == 0:
                embedding = embed_all(net.module_, dataset_train)
                labels = KMeans(k, n_init=3, random_state=seed).fit_predict(embedding)
                found.append(scores(truth, labels)["ari"])

    semst_paper(k, seed, [("watch", Watch())]).fit(adata)
    return {"oracle epoch": max(found), "last epoch": found[-1]}


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


BENCHMARK = COMPARED.declare(
    question="How good is SemSTClusterer, and which parts of it matter?",
    made_otherwise=("Oracle",),
    runs=runs,
)
