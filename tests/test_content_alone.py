"""Labels depend on what X holds: not on its container or dtype, nor on the order of spots and genes."""

import functools
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from skst import (
    GeneTextEncoder,
    LLMDSCClusterer,
    SemSTClusterer,
    SpaLLMFusion,
    SpatialGraphTransformer,
    STLLMClusterer,
)
from skst.datasets import make_spatial_domains
from skst.embedding.encoders import GraphST
from skst.genes import load_marker_descriptions
from skst.partition import ConsensusMixture


def _text(**parameters):
    return GeneTextEncoder().set_params(model="lexical", descriptions=load_marker_descriptions("mouse"), **parameters)


def _few_starts(n_views):
    """The default mixture, a tenth of its starts and depths."""
    return ConsensusMixture(n_views=n_views, n_leading=(8, 15), n_init=2, n_keep=2)


ESTIMATORS = {
    "SpaLLMFusion": SpaLLMFusion(
        text=_text(), n_clusters=3, clusterer=_few_starts(3), batch_key="batch", random_state=0
    ),
    "SpaLLMFusion of an encoder": SpaLLMFusion(
        SpatialGraphTransformer(GraphST(n_hidden=16, max_epochs=5)),
        n_clusters=3,
        clusterer=_few_starts(1),
        strategy="expression",
        batch_key="batch",
        random_state=0,
    ),
    "SemSTClusterer": SemSTClusterer(
        3, text=_text(mode="prompt", k_g=5), clusterer="kmeans", batch_key="batch", random_state=0
    ).set_params(network__max_epochs=2),
    "STLLMClusterer": STLLMClusterer(
        3, text=_text(), clusterer=_few_starts(3), batch_key="batch", random_state=0
    ).set_params(narration__n_regions=5),
    "LLMDSCClusterer": LLMDSCClusterer(
        3, text=_text(mode="dual", k_g=5), n_top_genes=30, clusterer="kmeans", random_state=0
    ).set_params(network__n_networks=1, network__max_epochs=2),
}
N_SPOTS = 272
NAMES = ("plain", "missing", "repeated")
CONTAINERS = ("anndata", "view", "backed", "frame", "array", "csr", "csc", "csr_array")
# The dtypes of ones and zeros have even places: to a graph network, the second below, spots are then so alike that
# rounding, which depends on the order of rows, moves a few of them.
DTYPES = ("float32", "float64", "bool", "int64", "boolean", "uint16", "Int64", "int64[pyarrow]")


@functools.cache
def _content(names, present):
    """Two slices of 136 spots in three bands, of 8, 5 and 4 columns, and 20 genes for each; 0 and 1 if `present`."""
    rng = np.random.default_rng(0)
    column, row, batch = np.meshgrid(np.arange(17), np.arange(8), ["a", "b"], indexing="ij")
    band = np.repeat([0, 1, 2], [8, 5, 4])[column.ravel()]
    within = band[:, None] == np.repeat([0, 1, 2], 20)
    counts = rng.uniform(size=within.shape) < np.where(within, 0.9, 0.05)
    if not present:
        counts = counts * rng.poisson(12, counts.shape)
    obs = pd.DataFrame({"batch": batch.ravel()}, index=[f"spot{i}" for i in range(N_SPOTS)])
    adata = anndata.AnnData(sparse.csr_matrix(counts, dtype=np.float32), obs=obs)
    adata.obsm["spatial"] = np.column_stack([column.ravel(), row.ravel()]) + rng.normal(0, 0.1, (N_SPOTS, 2))
    adata.uns["band"] = band
    genes = load_marker_descriptions("mouse")["symbol"].to_numpy(dtype=object)[:60].copy()
    if names == "missing":
        genes[[3, 11, 30]] = [np.nan, None, "nan"]
    elif names == "repeated":
        genes[[7, 8, 21]] = genes[6]
    adata.uns["genes"] = genes
    return adata


def _quietly(call, *arguments, **keywords):
    with warnings.catch_warnings():
        for expected in (
            ".*gene names are duplicated",
            "Variable names are not unique",
            "X has feature names",
            "Only ",
        ):
            warnings.filterwarnings("ignore", expected)
        return call(*arguments, **keywords)


@functools.cache
def _expected(kind, names, present):
    adata = _content(names, present)
    X, places = _contained(adata, "csr", "float32", np.arange(N_SPOTS), np.arange(60), None)
    fitted = _quietly(_named(kind, adata.uns["genes"]).fit, X, **_only(kind, places))
    assert adjusted_rand_score(adata.uns["band"], fitted.labels_) > 0.5
    return fitted


def _named(kind, genes):
    return clone(ESTIMATORS[kind]).set_params(gene_names=genes)


def _only(kind, places):
    return {} if kind == "LLMDSCClusterer" else places


def _contained(adata, container, dtype, rows, columns, folder):
    """Some spots and genes in a container, and the keywords that places need there."""
    part = adata[rows][:, columns].copy()
    values, genes = part.X.toarray(), adata.uns["genes"][columns]
    places = {"coordinates": part.obsm["spatial"], "batch": part.obs["batch"].to_numpy()}
    plain = np.dtype(dtype.lower().partition("[")[0].replace("boolean", "bool"))
    if container == "frame":
        columns = [gene if isinstance(gene, str) or gene is None else np.nan for gene in genes]
        frame = pd.DataFrame(values.astype(plain), index=part.obs_names).astype(dtype).set_axis(columns, axis=1)
        # Tables about the spots come in an order of their own.
        tables = part.obs.assign(x=part.obsm["spatial"][:, 0], y=part.obsm["spatial"][:, 1])
        tables = tables.sample(frac=1, random_state=0)
        return frame, {"coordinates": tables[["x", "y"]], "batch": tables["batch"]}
    matrix = sparse.csr_matrix(values.astype(plain))
    if container in ("array", "csr", "csc", "csr_array"):
        make = {"array": lambda m: m.toarray(), "csc": sparse.csc_matrix, "csr_array": sparse.csr_array}
        return make.get(container, sparse.csr_matrix)(matrix), places
    copies = 2 if container == "view" else 1
    index = [f"{name}-{i}" for i in range(copies) for name in part.obs_names]
    made = anndata.AnnData(
        sparse.vstack([matrix] * copies, format="csr"),
        obs=pd.concat([part.obs] * copies).set_axis(index),
        var=pd.DataFrame(index=np.where(pd.isna(genes), "nan", genes)),
        obsm={"spatial": np.tile(part.obsm["spatial"], (copies, 1))},
    )
    if container == "view":
        made = made[: part.n_obs]
    elif container == "backed":
        path = folder / "tissue.h5ad"
        made.write_h5ad(path)
        made = anndata.read_h5ad(path, backed="r")
    return made, {}


def _cases():
    """Four ways to hold X for each estimator, whose turn is such that two estimators see all containers and dtypes."""
    for turn, kind in enumerate(ESTIMATORS):
        for number in range(turn % 2, len(CONTAINERS), 2):
            yield kind, CONTAINERS[number], DTYPES[(number + 2 * turn) % len(DTYPES)], NAMES[(number // 2 + turn) % 3]


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize(("kind", "container", "dtype", "names"), list(_cases()))
def test_the_same_content_has_the_same_labels(tmp_path, kind, container, dtype, names):
    present = dtype.startswith("bool")
    adata, rng = _content(names, present), np.random.default_rng(len(container + dtype + names))
    rows, columns = rng.permutation(N_SPOTS), rng.permutation(60)
    X, places = _contained(adata, container, dtype, rows, columns, tmp_path)
    in_x = container in ("frame", "anndata", "view", "backed")
    estimator = _named(kind, None if in_x else adata.uns["genes"][columns])
    fitted = _quietly(estimator.fit, X, **_only(kind, places))
    expected = _expected(kind, names, present)
    assert adjusted_rand_score(expected.labels_[rows], fitted.labels_) == 1
    np.testing.assert_array_equal(np.bincount(fitted.labels_), np.bincount(expected.labels_))
    np.testing.assert_array_equal(_quietly(fitted.predict, X, **_only(kind, places)), fitted.labels_)
    if container == "backed":
        X.file.close()


def test_cases_hold_everything_twice():
    cases = list(_cases())
    for place, values in enumerate((CONTAINERS, DTYPES, NAMES), start=1):
        counts = [sum(case[place] == value for case in cases) for value in values]
        assert min(counts) >= 2, dict(zip(values, counts, strict=True))


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_domains_are_numbered_by_size(kind):
    fitted = _expected(kind, "plain", False)
    sizes = np.bincount(fitted.labels_)
    assert (np.diff(sizes) <= 0).all()
    if hasattr(fitted, "soft_assignment_"):
        np.testing.assert_array_equal(fitted.soft_assignment_.argmax(axis=1), fitted.labels_)


def test_cell_types_of_weak_signal_do_not_depend_on_the_order_of_genes():
    adata = make_spatial_domains(160, n_genes=40, n_domains=3, effect=1.5, depth=200, random_state=1)
    model = LLMDSCClusterer(3, align_to=None, clusterer=_few_starts(1), random_state=0)
    model.set_params(network__n_networks=2, network__max_epochs=20)
    order = np.random.default_rng(0).permutation(40)
    fitted, permuted = (clone(model).fit(X) for X in (adata, adata[:, order].copy()))
    np.testing.assert_array_equal(permuted.embedding_, fitted.embedding_)
    np.testing.assert_array_equal(permuted.labels_, fitted.labels_)
    np.testing.assert_array_equal(fitted.predict(adata[:, order].copy()), fitted.labels_)
    np.testing.assert_array_equal(clone(model).fit(adata.to_df()).labels_, fitted.labels_)
