"""Does gene text pay where it acts on genes, on expression before it is reduced?"""

from functools import partial
from itertools import product

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from sklearn.decomposition import PCA
from sklearn.neighbors import kneighbors_graph
from sklearn.preprocessing import normalize
from sklearn.utils import check_random_state

from benchmarks.data import SPATIAL
from benchmarks.declare import Benchmark
from benchmarks.fits import scores, thinned
from benchmarks.methods import reader
from skst.expression.smooth import DENSE_GENES, AveragedPCA, propagate
from skst.graph import averaging_operator, spatial_graph
from skst.partition import ConsensusMixture, majority_vote
from skst.text.controls import gaussian_like, permuted_order

# Forms and their strengths were chosen on the first four, which have few genes; the others confirm.
CHOSEN_ON = ("osmFISH", "STARmap", "DLPFC 151507", "DLPFC 151510")
DATA = {name: SPATIAL[name] for name in sorted(SPATIAL, key=lambda name: name not in CHOSEN_ON)}
QUALITIES = ("Q0", "Q2", "Q3", "Q4")
N_COMPONENTS = 20


def prepare(adata, random_state):
    """Expression as the floor has it before it is reduced, and which columns of `adata` its genes are.

    It is stabilised, of the genes that vary most, averaged over neighbours and centred.
    """
    operator = averaging_operator(spatial_graph(adata.obsm["spatial"]))
    X = sparse.csr_array(adata.X)
    floor = AveragedPCA(N_COMPONENTS)
    floor.fit_scores(X, operator, random_state)
    averaged = propagate(operator, floor.expression(X, operator), floor.hop_weights_)
    return averaged - averaged.mean(axis=0), floor.kept_


def sources(averaged, vectors, known, random_state):
    """Unit vectors of the genes from text, from what controls for it, and from measured co-expression.

    Products are cosines; of co-expression, Pearson correlations.  Genes that are not `known` to have a text take no
    part, whatever the source: they have zeros.
    """
    centred = np.zeros_like(vectors)
    centred[known] = vectors[known] - vectors[known].mean(axis=0)
    found = {
        "text": centred,
        "permuted": centred[permuted_order([known], random_state)],
        "Gaussian": gaussian_like(centred, random_state) * known[:, None],
        "co-expression": averaged.T * known[:, None],
    }
    return {name: normalize(values).astype(np.float32) for name, values in found.items()}


def neighbors(units, n_neighbors):
    """Adjacency of each gene (row) and the genes nearest to it by cosine, zeros and ones; zero rows have none."""
    known = sparse.eye_array(len(units), dtype=np.float32, format="csr")[units.any(axis=1)]
    return known.T @ kneighbors_graph(known @ units, n_neighbors) @ known


def mix(averaged, units, *, n_neighbors, strength):
    """Stabilised expression of each gene mixed with the mean of that of its neighbours, 1 to `strength`."""
    mean = normalize(neighbors(units, n_neighbors), "l1")
    return averaged @ normalize(sparse.eye_array(len(units)) + strength * mean, "l1").T


def smooth_axes(averaged, units, *, n_neighbors, strength):
    """Expression times (I + strength L)^-1, L the normalised Laplacian of the graph of neighbours.

    The covariance of the result is that of expression, filtered from both sides: its axes are smooth on the graph.
    """
    graph = neighbors(units, n_neighbors)
    laplacian = csgraph.laplacian(graph.maximum(graph.T), normed=True).toarray()
    return np.linalg.solve(np.eye(len(units), dtype=np.float32) + strength * laplacian, averaged.T).T


FORMS = {
    "mix": partial(mix, n_neighbors=10, strength=0.5),
    "filter": partial(smooth_axes, n_neighbors=10, strength=1.0),
}
SOURCES = ("text", "permuted", "Gaussian", "co-expression")


def execute(run):
    """Rows of the floor, and of each form with each source; all forms share what comes before them."""
    adata, truth = thinned(run)
    # Texts of the genes that whole data have: few counts lose none.
    encoder = reader(0, normalize=run.data.normalize).fit(run.data.load())
    seed = run.names["seed"]
    rng = check_random_state(seed)
    averaged, kept = prepare(adata, rng)
    vectors = encoder.gene_vectors_[kept]
    units = sources(averaged, vectors, vectors.any(axis=1), rng)
    rows = []
    for form, source in [("floor", "-"), *product(FORMS, SOURCES)]:
        values = FORMS[form](averaged, units[source]) if form in FORMS else averaged
        found = partition(values, truth.nunique(), adata.obsm["spatial"], seed)
        rows.append({"form": form, "source": source, **scores(truth, found, ("ari", "nmi"))})
    return rows


def partition(values, k, coordinates, seed):
    """Domains of centred expression: principal components, mixtures, and the vote of neighbours."""
    solver = "randomized" if values.shape[1] > DENSE_GENES else "covariance_eigh"
    n_components = min(N_COMPONENTS, values.shape[1])
    Z = PCA(n_components, svd_solver=solver, random_state=seed).fit_transform(values)
    # A third of the starts of the default: all sources alike, and many are compared.
    labels = ConsensusMixture(k, n_init=3, n_keep=1, random_state=seed).fit(Z).labels_
    return majority_vote(labels, coordinates)


BENCHMARK = Benchmark(
    question="Does text help when it acts on genes and counts are few?",
    axes={"data": DATA, "quality": QUALITIES},
    steps=(execute,),
    seeds=5,
    jobs=1,
)
