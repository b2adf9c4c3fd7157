"""What is wrong with genes and counts is told in one sentence that names the argument, or just works."""

import warnings

import numpy as np
import pytest
from bad_inputs.kit import (
    quick_fusion,
    quick_llmdsc,
    quick_semst,
    quick_stllm,
    quick_text,
)
from faults import all_estimators, refused, warned, works
from scipy import sparse
from sklearn.base import clone

from skst import SpatialGraphTransformer

# What follows where spots have become equal, of k-means and of skst.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Number of distinct clusters"),
    pytest.mark.filterwarnings("ignore:The partition has collapsed"),
]


def _change(adata, row, column, value):
    X = adata.X.toarray()
    X[row, column] = value
    adata.X = sparse.csr_matrix(X)
    return adata


# Genes


def test_no_gene_is_known(tissue):
    tissue.var_names = [f"peak{i}" for i in range(tissue.n_vars)]
    names = "None of the 120 gene names of X, such as 'peak0', 'peak1', 'peak2'.*fetch_gene_descriptions.*gene_names"
    for estimator in (quick_text(), quick_fusion(), quick_semst(text=quick_text()), quick_llmdsc(text=quick_text())):
        with warned(names):
            fitted = estimator.fit(tissue)
        assert not hasattr(fitted, "labels_") or len(set(fitted.labels_)) == 4
    for make in (quick_fusion, quick_semst, quick_llmdsc):
        with refused(names + '.*on_missing="warn"'):
            make(text=quick_text(on_missing="error")).fit(tissue)
    with refused("strategy='functional' has nothing to go by"):
        with warned("None of the 120"):
            quick_fusion(strategy="functional").fit(tissue)
    with warned("None of the 120"):
        without = quick_fusion().fit(tissue)
    np.testing.assert_array_equal(without.labels_, works(tissue, strategy="expression").labels_)


def test_few_genes_are_known(tissue):
    tissue.var_names = [*tissue.var_names[:10], *(f"peak{i}" for i in range(110))]
    with warned(r"Only \d+ of 120 genes, with \d+% of the counts"):
        quick_fusion().fit(tissue)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_gene_names_that_are_repeated(tissue):
    name = tissue.var_names[0]
    tissue.var_names = [name, name, *tissue.var_names[2:]]
    for estimator in all_estimators():
        with warned(f"1 gene names are duplicated, such as '{name}'.*sum or rename"):
            fitted = estimator.fit(tissue)
        assert np.isfinite(fitted.transform(tissue)).all()
    with refused(r"X repeats gene names.*give its columns in the order of fit"):
        fitted.predict(tissue[:, ::-1])


def test_genes_that_are_lacking_in_predict(tissue):
    for estimator in all_estimators():
        fitted = estimator.fit(tissue)
        with refused("X lacks 20 of the 120 genes seen in fit, such as .*; fit on the genes that all slices share"):
            fitted.transform(tissue[:, 20:])


def test_gene_names_of_another_length(tissue):
    with refused(r"gene_names has shape \(119,\) but X has 120 columns"):
        quick_fusion(gene_names=tissue.var_names[1:]).fit(tissue.X, coordinates=tissue.obsm["spatial"])


# Counts


@pytest.mark.parametrize(("value", "match"), [(-1, "X holds -1 .*raw counts"), (np.nan, "X holds NaN")])
def test_values_that_are_no_counts(tissue, value, match):
    fitted = [estimator.fit(tissue) for estimator in all_estimators()]
    _change(tissue, 17, 3, value)
    for estimator in fitted:
        # The way out is named to those who have it.
        way_out = match + ".*normalize=False" if value == -1 and "normalize" in estimator.get_params() else match
        with refused(way_out):
            clone(estimator).fit(tissue)
        with refused(match):
            estimator.transform(tissue)


def test_counts_that_have_been_logged(tissue):
    tissue.X.data = np.log1p(tissue.X.data)
    for estimator in all_estimators():
        with warned("so it looks log-transformed; pass raw counts"):
            estimator.fit(tissue)
    works(tissue, spatial=SpatialGraphTransformer(normalize=False), text=quick_text(normalize=False))
    works(tissue, quick_llmdsc, normalize=False, text=quick_text(normalize=False))


def test_values_that_were_centred(tissue):
    tissue.X = tissue.X.toarray() - tissue.X.mean(axis=0).A1
    works(tissue, quick_llmdsc, normalize=False, align_to=None, losses__cut=0.0)


def test_cells_and_genes_without_counts(tissue):
    _change(tissue, [0, 50, 51], slice(None), 0)
    _change(tissue, slice(None), [3, 7], 0)
    for strategy in ("expression", "functional", "concat", "weighted"):
        assert set(works(tissue, strategy=strategy).labels_) == set(range(4))
    for parameters in ({}, {"network__zero_inflation": True, "network__start": "random"}, {"network__batch_size": 20}):
        fitted = works(tissue, quick_semst, **parameters)
        assert set(fitted.labels_) == set(range(4)) and np.isfinite(fitted.denoised_).all()
    for graph in ("knn", "learned"):
        told = works(tissue, quick_stllm, graph=graph)
        assert "No gene is counted in this spot" in told.describe(50)
    for parameters in (
        {},
        {"inputs": "counts"},
        {"network__batch_size": 64, "clusterer": "mixture"},
        {"align_to": "shared"},
    ):
        fitted = works(tissue, quick_llmdsc, **parameters)
        assert np.isfinite(fitted.soft_assignment_).all() and np.isfinite(fitted.history_["train_loss"]).all()
        assert len(set(fitted.labels_[[0, 50, 51]])) == 1


def test_no_counts_at_all(tissue):
    tissue.X = tissue.X * 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = quick_fusion(strategy="weighted").fit(tissue)
        networks = quick_semst().fit(tissue)
        told = [quick_stllm(graph=graph).fit(tissue) for graph in ("knn", "learned")]
    assert not fitted.embedding_.any() and len(set(fitted.labels_)) == 1
    assert all(np.isfinite(model.embedding_).all() and (model.domains_["markers"] == "").all() for model in told)
    assert np.isfinite(networks.embedding_).all() and np.isfinite(networks.history_["train_loss"]).all()
    with refused(r"X has no gene that varies .* beyond their depth \(n_samples=400, n_features=120\); pass counts"):
        quick_llmdsc().fit(tissue)


def test_cells_that_are_all_alike(tissue):
    tissue.X = sparse.csr_matrix(np.tile(tissue.X[0].toarray(), (400, 1)) * (1 + np.arange(400)[:, None] % 3))
    with refused("X has no gene that varies between cells beyond their depth .*pass"):
        quick_llmdsc().fit(tissue)
    with refused(r"beyond their depth \(n_samples=1, n_features=120\)"):
        quick_llmdsc(n_clusters=1).fit(tissue[:1])
    nearly = np.tile(tissue.X[0].toarray(), (400, 1))
    nearly[:3] += np.random.default_rng(0).poisson(50, (3, 120))
    tissue.X = sparse.csr_matrix(nearly)
    for clusterer in ("mixture", "kmeans"):
        with warned(
            "The partition has collapsed: of 3 clusters 3 hold cells, and one holds .*; ask for fewer clusters"
        ):
            quick_llmdsc(n_clusters=3, clusterer=clusterer).fit(tissue)


def test_a_gene_alone(tissue):
    tissue = tissue[:, :1].copy()
    tissue.X = sparse.csr_matrix(np.arange(400)[:, None] % 5, dtype=np.float32)
    assert works(tissue, quick_llmdsc, n_clusters=2).embedding_.shape == (400, 2)
    tissue.X = sparse.csr_matrix(1 + np.arange(400)[:, None] % 5, dtype=np.float32)  # all there is, whatever the depth
    with refused(r"beyond their depth \(n_samples=400, n_features=1\)"):
        quick_llmdsc().fit(tissue)
