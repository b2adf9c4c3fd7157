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

from skst import SpaLLMFusion, SpatialGraphTransformer

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


def test_no_gene_is_known(small):
    small.var_names = [f"peak{i}" for i in range(small.n_vars)]
    names = "None of the 60 gene names of X, such as 'peak0', 'peak1', 'peak2'.*fetch_gene_descriptions.*gene_names"
    for estimator in (quick_text(), quick_fusion(), quick_semst(text=quick_text()), quick_llmdsc(text=quick_text())):
        with warned(names):
            fitted = estimator.fit(small)
        assert not hasattr(fitted, "labels_") or len(set(fitted.labels_)) == 4
    for make in (quick_fusion, quick_semst, quick_llmdsc):
        with refused(names + '.*on_missing="warn"'):
            make(text=quick_text(on_missing="error")).fit(small)
    with refused("strategy='functional' has nothing to go by"):
        with warned("None of the 60"):
            quick_fusion(strategy="functional").fit(small)
    with warned("None of the 60"):
        without = quick_fusion().fit(small)
    np.testing.assert_array_equal(without.labels_, works(small, strategy="expression").labels_)


def test_few_genes_are_known(small):
    small.var_names = [*small.var_names[:10], *(f"peak{i}" for i in range(50))]
    with warned(r"Only \d+ of 60 genes, with \d+% of the counts"):
        quick_fusion().fit(small)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_gene_names_that_are_repeated(small):
    name = small.var_names[0]
    small.var_names = [name, name, *small.var_names[2:]]
    for estimator in all_estimators():
        with warned(f"1 gene names are duplicated, such as '{name}'.*sum or rename"):
            fitted = estimator.fit(small)
        assert np.isfinite(fitted.transform(small)).all()
    with refused(r"X repeats gene names.*give its columns in the order of fit"):
        fitted.predict(small[:, ::-1])


def test_genes_that_are_lacking_in_predict(small):
    for estimator in all_estimators():
        fitted = estimator.fit(small)
        if isinstance(fitted, (SpatialGraphTransformer, SpaLLMFusion)):
            with warned("X lacks 20 of the 60 genes seen in fit, which are taken as unknown"):
                assert np.isfinite(fitted.transform(small[:, 20:])).all()
            continue
        with refused("X lacks 20 of the 60 genes seen in fit, such as .*; fit on the genes that all slices share"):
            fitted.transform(small[:, 20:])


def test_gene_names_of_another_length(small):
    with refused(r"gene_names has shape \(59,\) but X has 60 columns"):
        quick_fusion(gene_names=small.var_names[1:]).fit(small.X, coordinates=small.obsm["spatial"])


# Counts


@pytest.mark.parametrize(("value", "match"), [(-1, "X holds -1 .*raw counts"), (np.nan, "X holds NaN")])
def test_values_that_are_no_counts(small, value, match):
    fitted = [estimator.fit(small) for estimator in all_estimators()]
    _change(small, 17, 3, value)
    for estimator in fitted:
        # The way out is named to those who have it.
        way_out = match + ".*normalize=False" if value == -1 and "normalize" in estimator.get_params() else match
        with refused(way_out):
            clone(estimator).fit(small)
        with refused(match):
            estimator.transform(small)


def test_counts_that_have_been_logged(small):
    small.X.data = np.log1p(small.X.data)
    for estimator in all_estimators():
        with warned("so it looks log-transformed; pass raw counts"):
            estimator.fit(small)
    works(small, spatial=SpatialGraphTransformer(normalize=False), text=quick_text(normalize=False))
    works(small, quick_llmdsc, normalize=False, text=quick_text(normalize=False))


def test_values_that_were_centred(small):
    small.X = small.X.toarray() - small.X.mean(axis=0).A1
    works(small, quick_llmdsc, normalize=False, align_to=None, losses__cut=0.0)


def test_cells_and_genes_without_counts(small):
    _change(small, [0, 50, 51], slice(None), 0)
    _change(small, slice(None), [3, 7], 0)
    for strategy in ("expression", "functional", "concat", "weighted"):
        assert set(works(small, strategy=strategy).labels_) == set(range(4))
    for parameters in ({}, {"network__zero_inflation": True, "network__start": "random"}, {"network__batch_size": 20}):
        fitted = works(small, quick_semst, **parameters)
        assert set(fitted.labels_) == set(range(4)) and np.isfinite(fitted.denoised_).all()
    for graph in ("knn", "learned"):
        told = works(small, quick_stllm, graph=graph)
        assert "No gene is counted in this spot" in told.describe(50)
    for parameters in (
        {},
        {"inputs": "counts"},
        {"network__batch_size": 64, "clusterer": "mixture"},
        {"align_to": "shared"},
    ):
        fitted = works(small, quick_llmdsc, **parameters)
        assert np.isfinite(fitted.soft_assignment_).all() and np.isfinite(fitted.history_["train_loss"]).all()
        assert len(set(fitted.labels_[[0, 50, 51]])) == 1


def test_no_counts_at_all(small):
    small.X = small.X * 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = quick_fusion(strategy="weighted").fit(small)
        networks = quick_semst().fit(small)
        told = [quick_stllm(graph=graph).fit(small) for graph in ("knn", "learned")]
    assert not fitted.embedding_.any() and len(set(fitted.labels_)) == 1
    assert all(np.isfinite(model.embedding_).all() and (model.domains_["markers"] == "").all() for model in told)
    assert np.isfinite(networks.embedding_).all() and np.isfinite(networks.history_["train_loss"]).all()
    with refused(r"X has no gene that varies .* beyond their depth \(n_samples=200, n_features=60\); pass counts"):
        quick_llmdsc().fit(small)


def test_cells_that_are_all_alike(small):
    small.X = sparse.csr_matrix(np.tile(small.X[0].toarray(), (200, 1)) * (1 + np.arange(200)[:, None] % 3))
    with refused("X has no gene that varies between cells beyond their depth .*pass"):
        quick_llmdsc().fit(small)
    with refused(r"beyond their depth \(n_samples=1, n_features=60\)"):
        quick_llmdsc(n_clusters=1).fit(small[:1])
    nearly = np.tile(small.X[0].toarray(), (200, 1))
    nearly[:3] += np.random.default_rng(0).poisson(50, (3, 60))
    small.X = sparse.csr_matrix(nearly)
    for clusterer in ("mixture", "kmeans"):
        with warned(
            "The partition has collapsed: of 3 clusters 3 hold cells, and one holds .*; ask for fewer clusters"
        ):
            quick_llmdsc(n_clusters=3, clusterer=clusterer).fit(small)


def test_a_gene_alone(small):
    small = small[:, :1].copy()
    small.X = sparse.csr_matrix(np.arange(200)[:, None] % 5, dtype=np.float32)
    assert works(small, quick_llmdsc, n_clusters=2).embedding_.shape == (200, 2)
    small.X = sparse.csr_matrix(1 + np.arange(200)[:, None] % 5, dtype=np.float32)  # all there is, whatever the depth
    with refused(r"beyond their depth \(n_samples=200, n_features=1\)"):
        quick_llmdsc().fit(small)
