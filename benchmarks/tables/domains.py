"""How many domains are found, and are fewer of them as good as a fit of that number?"""

from time import process_time

import numpy as np
from scipy.sparse import csr_array

from benchmarks.data import DATA, SPATIAL, read
from benchmarks.declare import Benchmark, Run
from benchmarks.fits import scores
from benchmarks.methods import fusion
from skst.expression.gene_views import GeneViews
from skst.llmdsc import N_AXES, LLMDSCClusterer
from skst.partition import estimate_n_clusters
from skst.partition.estimate import CRITERIA
from skst.settings import CellNetwork

# What is fitted beside the known number, to be joined to it.
MORE = {"k + 3 joined to k": lambda k: k + 3, "2 k joined to k": lambda k: 2 * k}
FRESH = "k fitted"


def seen(adata, run):
    """What the estimate of the estimator sees: the first view of tissue, the first axes of cells."""
    seed, normalize = run.names["seed"], run.data.normalize
    if run.names["data"] in SPATIAL:
        model = fusion(1, seed, strategy="expression").fit(adata)
        return model.embedding_[:, : model.embedding_.shape[1] // model.spatial_.n_views_]
    cells, genes = csr_array(adata.X, dtype=np.float32), LLMDSCClusterer().n_top_genes
    views = GeneViews(1, genes, N_AXES, CellNetwork().n_components, normalize=normalize)
    return views.fit(cells, np.random.RandomState(seed)).axes(cells)[0]


def number(run):
    """What each criterion finds."""
    adata, truth = read(run.data)
    embedding, k = seen(adata, run), int(truth.nunique())
    rows = []
    for criterion in CRITERIA:
        start = process_time()
        found, _ = estimate_n_clusters(embedding, criterion=criterion, random_state=run.names["seed"])
        seconds = round(process_time() - start, 2)
        rows.append({"method": criterion, "k": k, "found": found, "off": abs(found - k), "seconds": seconds})
    return rows


def nested(run):
    """A fit of the known number, and fits of more whose domains are joined."""
    if run.names["data"] not in SPATIAL:
        return None
    adata, truth = read(run.data)
    k, seed = int(truth.nunique()), run.names["seed"]
    fresh = fusion(k, seed, strategy="expression").fit_predict(adata)
    rows = [{"method": FRESH, "k": k, **scores(truth, fresh)}]
    for method, more in MORE.items():
        found = fusion(more(k), seed, strategy="expression").fit(adata).domains_at(k)
        rows.append({"method": method, "k": k, **scores(truth, found)})
    return rows


def runs(options):
    """One a data set and seed."""
    return [
        Run({"data": data, "seed": seed}, (number, nested), DATA[data])
        for seed in range(options.seeds)
        for data in options.data
    ]


def estimates(rows):
    """Known number and mean found by each criterion, one row a data set; the last has mean distances from known."""
    rows = rows[rows["method"].isin(CRITERIA)]
    parts = rows.groupby(["data", "method"], sort=False)
    table = parts["found"].agg(lambda found: ", ".join(map(str, sorted(found.astype(int))))).unstack()[[*CRITERIA]]
    table.insert(0, "k", rows.groupby("data", sort=False)["k"].first())
    table.loc["mean distance from k"] = [
        "",
        *(f"{off:.2f}" for off in rows.groupby("method")["off"].mean()[[*CRITERIA]]),
    ]
    return table.reindex([*rows["data"].unique(), "mean distance from k"])


def constants(rows):
    """Mean distance of a number that is always the same, for those near the best."""
    known = rows.groupby("data")["k"].first()
    return ", ".join(f"{k}: {(known - k).abs().mean():.2f}" for k in range(5, 11))


BENCHMARK = Benchmark(
    question="How many domains are found, and are fewer of them as good as a fit of that number?",
    axes={"data": DATA},
    runs=runs,
    order={"data": DATA, "method": (*CRITERIA, FRESH, *MORE), "seed": None},
    seeds=3,
)
