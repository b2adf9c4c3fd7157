"""What goes wrong in practice is told in one sentence that names the argument, or just works."""

import pickle
import warnings
from contextlib import contextmanager

import anndata
import numpy as np
import pytest
from bad_inputs.kit import (
    is_one_sentence,
    of_skst,
    quick_fusion,
    quick_llmdsc,
    quick_semst,
    quick_stllm,
    quick_text,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skst import SpatialGraphTransformer
from skst.graph import SpatialNeighbors
from skst.text import LexicalBackend, TextModel, named_models
from skst.text.endpoint import EndpointBackend

# What follows where spots have become equal, of k-means and of skst.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Number of distinct clusters"),
    pytest.mark.filterwarnings("ignore:The partition has collapsed"),
]


@contextmanager
def _refused(match, kind=ValueError):
    with pytest.raises(kind, match=match) as caught, warnings.catch_warnings(action="ignore"):
        yield
    is_one_sentence(str(caught.value))


@contextmanager
def _warned(match):
    """Every warning is one sentence, and one at least matches."""
    with pytest.warns(UserWarning, match=match) as caught:
        yield
    for message in of_skst(caught):
        is_one_sentence(message)


def _works(adata, make=quick_fusion, **parameters):
    """Domains, on the data and again from predict, with nothing to be warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)  # of k-means, where all spots have become equal
        fitted = make(**parameters).fit(adata)
        labels = fitted.predict(adata)
    np.testing.assert_array_equal(labels, fitted.labels_)
    assert np.isfinite(fitted.embedding_).all()
    assert set(labels) <= set(range(4))
    return fitted


def _estimators():
    return [
        quick_text(),
        SpatialGraphTransformer(),
        quick_fusion(),
        quick_semst(),
        quick_stllm(graph="learned"),
        quick_llmdsc(),
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
        with _warned(names):
            fitted = estimator.fit(tissue)
        assert not hasattr(fitted, "labels_") or len(set(fitted.labels_)) == 4
    for make in (quick_fusion, quick_semst, quick_llmdsc):
        with _refused(names + '.*on_missing="warn"'):
            make(text=quick_text(on_missing="error")).fit(tissue)
    with _refused("strategy='functional' has nothing to go by"):
        with _warned("None of the 120"):
            quick_fusion(strategy="functional").fit(tissue)
    with _warned("None of the 120"):
        without = quick_fusion().fit(tissue)
    np.testing.assert_array_equal(without.labels_, _works(tissue, strategy="expression").labels_)


def test_few_genes_are_known(tissue):
    tissue.var_names = [*tissue.var_names[:10], *(f"peak{i}" for i in range(110))]
    with _warned(r"Only \d+ of 120 genes, with \d+% of the counts"):
        quick_fusion().fit(tissue)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_gene_names_that_are_repeated(tissue):
    name = tissue.var_names[0]
    tissue.var_names = [name, name, *tissue.var_names[2:]]
    for estimator in _estimators():
        with _warned(f"1 gene names are duplicated, such as '{name}'.*sum or rename"):
            fitted = estimator.fit(tissue)
        assert np.isfinite(fitted.transform(tissue)).all()
    with _refused(r"X repeats gene names.*give its columns in the order of fit"):
        fitted.predict(tissue[:, ::-1])


def test_genes_that_are_lacking_in_predict(tissue):
    for estimator in _estimators():
        fitted = estimator.fit(tissue)
        with _refused("X lacks 20 of the 120 genes seen in fit, such as .*; fit on the genes that all slices share"):
            fitted.transform(tissue[:, 20:])


def test_gene_names_of_another_length(tissue):
    with _refused(r"gene_names has shape \(119,\) but X has 120 columns"):
        quick_fusion(gene_names=tissue.var_names[1:]).fit(tissue.X, coordinates=tissue.obsm["spatial"])


# Counts


@pytest.mark.parametrize(("value", "match"), [(-1, "X holds -1 .*raw counts"), (np.nan, "X holds NaN")])
def test_values_that_are_no_counts(tissue, value, match):
    fitted = [estimator.fit(tissue) for estimator in _estimators()]
    _change(tissue, 17, 3, value)
    for estimator in fitted:
        # The way out is named to those who have it.
        way_out = match + ".*normalize=False" if value == -1 and "normalize" in estimator.get_params() else match
        with _refused(way_out):
            clone(estimator).fit(tissue)
        with _refused(match):
            estimator.transform(tissue)


def test_counts_that_have_been_logged(tissue):
    tissue.X.data = np.log1p(tissue.X.data)
    for estimator in _estimators():
        with _warned("so it looks log-transformed; pass raw counts"):
            estimator.fit(tissue)
    _works(tissue, spatial=SpatialGraphTransformer(normalize=False), text=quick_text(normalize=False))
    _works(tissue, quick_llmdsc, normalize=False, text=quick_text(normalize=False))


def test_values_that_were_centred(tissue):
    tissue.X = tissue.X.toarray() - tissue.X.mean(axis=0).A1
    _works(tissue, quick_llmdsc, normalize=False, align_to=None, losses__cut=0.0)


def test_cells_and_genes_without_counts(tissue):
    _change(tissue, [0, 50, 51], slice(None), 0)
    _change(tissue, slice(None), [3, 7], 0)
    for strategy in ("expression", "functional", "concat", "weighted"):
        assert set(_works(tissue, strategy=strategy).labels_) == set(range(4))
    for parameters in ({}, {"network__zero_inflation": True, "network__start": "random"}, {"network__batch_size": 20}):
        fitted = _works(tissue, quick_semst, **parameters)
        assert set(fitted.labels_) == set(range(4)) and np.isfinite(fitted.denoised_).all()
    for graph in ("knn", "learned"):
        told = _works(tissue, quick_stllm, graph=graph)
        assert "No gene is counted in this spot" in told.describe(50)
    for parameters in (
        {},
        {"inputs": "counts"},
        {"network__batch_size": 64, "clusterer": "mixture"},
        {"align_to": "shared"},
    ):
        fitted = _works(tissue, quick_llmdsc, **parameters)
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
    with _refused(r"X has no gene that varies .* beyond their depth \(n_samples=400, n_features=120\); pass counts"):
        quick_llmdsc().fit(tissue)


def test_cells_that_are_all_alike(tissue):
    tissue.X = sparse.csr_matrix(np.tile(tissue.X[0].toarray(), (400, 1)) * (1 + np.arange(400)[:, None] % 3))
    with _refused("X has no gene that varies between cells beyond their depth .*pass"):
        quick_llmdsc().fit(tissue)
    with _refused(r"beyond their depth \(n_samples=1, n_features=120\)"):
        quick_llmdsc(n_clusters=1).fit(tissue[:1])
    nearly = np.tile(tissue.X[0].toarray(), (400, 1))
    nearly[:3] += np.random.default_rng(0).poisson(50, (3, 120))
    tissue.X = sparse.csr_matrix(nearly)
    for clusterer in ("mixture", "kmeans"):
        with _warned(
            "The partition has collapsed: of 3 clusters 3 hold cells, and one holds .*; ask for fewer clusters"
        ):
            quick_llmdsc(n_clusters=3, clusterer=clusterer).fit(tissue)


# Places


def test_coordinates_that_are_missing(tissue):
    del tissue.obsm["spatial"]
    for estimator in (SpatialGraphTransformer(), quick_fusion(), quick_semst(), quick_stllm()):
        with _warned(r"X has no coordinates.*obsm\['spatial'\] of an AnnData or pass coordinates="):
            estimator.fit(tissue)
    for estimator in (make(on_missing="error") for make in (SpatialGraphTransformer, quick_semst, quick_stllm)):
        with _refused("X has no coordinates"):
            estimator.fit(tissue)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_coordinates_that_are_not_finite(tissue, value):
    tissue.obsm["spatial"][[5, 9], 1] = value
    for estimator in (SpatialGraphTransformer(), quick_fusion(), quick_semst(), quick_stllm()):
        with _refused("coordinates of 2 spots are NaN or infinite, the first in row 5; drop these spots"):
            estimator.fit(tissue)


def test_coordinates_of_another_length(tissue):
    for estimator in (SpatialGraphTransformer(), quick_fusion(), quick_semst(), quick_stllm()):
        with _refused("coordinates have 399 rows but X has 400; give one row a spot"):
            estimator.fit(tissue, coordinates=tissue.obsm["spatial"][1:])
        with _refused(r"coordinates have shape \(400, 5\)"):
            estimator.fit(tissue, coordinates=np.ones((400, 5)))
        with _refused(r"batch has shape \(3,\) but X has 400 rows"):
            estimator.fit(tissue, batch=["a", "b", "c"])


@pytest.mark.parametrize("graph", ["knn", "radius", "delaunay", "learned"])
def test_spots_at_one_place_and_far_from_all(tissue, graph):
    tissue.obsm["spatial"][:30] = tissue.obsm["spatial"][30]
    tissue.obsm["spatial"][40] = 1e6
    graph = SpatialNeighbors("radius", radius=150.0) if graph == "radius" else graph
    models = [
        quick_fusion(spatial=SpatialGraphTransformer(graph=graph)),
        quick_semst(graph=graph, fusion=None),
        quick_stllm(graph=graph),
    ]
    for model in models:
        with _warned("31 of 400 spots lie at one place, .*; drop these spots, or leave out coordinates"):
            fitted = clone(model).fit(tissue)
        assert set(fitted.labels_) == set(range(4)) and np.isfinite(fitted.embedding_).all()
    tissue.obsm["spatial"][:] = 0
    for model in models:
        with _warned("400 of 400 spots lie at one place"):
            fitted = clone(model).fit(tissue)
        with _warned("400 of 400 spots lie at one place"):
            np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)


def test_a_slice_of_one_spot(tissue):
    slices = np.where(np.arange(400) == 7, "alone", "together")
    tissue.obs["slice"] = slices
    for parameters in (
        {"make": quick_fusion},
        {"make": quick_semst},
        {"make": quick_semst, "network__batch_size": 20},
        {"make": quick_stllm},
    ):
        assert set(_works(tissue, batch_key="slice", **parameters).labels_) == set(range(4))


# Numbers


@pytest.mark.filterwarnings("ignore:n_neighbors=6 joins", "ignore:The partition has collapsed")
def test_more_domains_than_spots(tissue):
    for make in (quick_fusion, quick_semst, quick_stllm, quick_llmdsc):
        with _refused("n_clusters=401 is larger than the 400 spots .*ask for fewer"):
            make(n_clusters=401).fit(tissue)
        assert make(n_clusters=3).fit(tissue[:3]).labels_.shape == (3,)
        assert set(make(n_clusters=1).fit(tissue).labels_) == {0}
        make(n_clusters=None).fit(tissue[:3])


def test_a_gene_alone(tissue):
    tissue = tissue[:, :1].copy()
    tissue.X = sparse.csr_matrix(np.arange(400)[:, None] % 5, dtype=np.float32)
    assert _works(tissue, quick_llmdsc, n_clusters=2).embedding_.shape == (400, 2)
    tissue.X = sparse.csr_matrix(1 + np.arange(400)[:, None] % 5, dtype=np.float32)  # all there is, whatever the depth
    with _refused(r"beyond their depth \(n_samples=400, n_features=1\)"):
        quick_llmdsc().fit(tissue)


def test_more_neighbors_than_spots(tissue):
    for model in (
        quick_fusion(spatial=SpatialGraphTransformer().set_params(graph__n_neighbors=50)),
        quick_semst(graph__n_neighbors=50, n_expression_neighbors=50),
        quick_stllm(graph__n_neighbors=50, narration__n_regions=50),
    ):
        with _warned("n_neighbors=50 joins 9 of 9 spots to half of their slice or more.*lower n_neighbors"):
            assert model.fit(tissue[:9]).labels_.shape == (9,)


def test_a_clusterer_that_is_unknown(tissue):
    for make in (quick_fusion, quick_semst, quick_stllm, quick_llmdsc):
        with _refused("clusterer='mclust' is not one of"):
            make(clusterer="mclust").fit(tissue)


def test_a_radius_that_is_missing(tissue):
    for make in (SpatialGraphTransformer, quick_semst, quick_stllm):
        with _refused("radius=None, but graph='radius' needs a positive distance"):
            make(graph="radius").fit(tissue)


# Models


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The model hub, with `fault` in place of every answer."""
    huggingface_hub = pytest.importorskip("huggingface_hub")

    class Hub:
        fault = ConnectionError("no route")

        def model_info(self, name, timeout):
            raise self.fault

    stub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: stub)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(named_models, "find_spec", lambda name: None)
    named_models._find_on_hub.cache_clear()
    named_models._hub_fault.cache_clear()
    yield stub
    named_models._find_on_hub.cache_clear()
    named_models._hub_fault.cache_clear()


def test_a_hub_that_cannot_be_reached(tissue, hub):
    with _refused("model='lab/model' .* cannot be reached"):
        quick_fusion(text=quick_text(model="lab/model")).fit(tissue)
    with _warned("cannot be reached.*skst.offline"):
        fitted = quick_fusion(text=quick_text(model="auto")).fit(tissue)
    assert fitted.text_.backend_name_ == "lexical"


def test_a_model_that_is_unknown(tissue, hub):
    from huggingface_hub.errors import RepositoryNotFoundError

    hub.fault = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
    with _refused("model='lab/model' is unknown"):
        quick_fusion(text=quick_text(model="lab/model")).fit(tissue)
    with _refused("model=3 is neither", TypeError):
        quick_text(model=3).fit(tissue)


@pytest.mark.parametrize(
    ("step", "match"),
    [
        ({"wait": 0.5}, "did not answer within 0.1 s in each of 1 attempts"),
        ({"content": b"<html>\n</html>"}, "not JSON"),
        ({"content": {"data": []}}, "0 vectors"),
        ({"status": 500}, "HTTP 500 in each of 1 attempts"),
    ],
)
def test_an_endpoint_that_does_not_answer_well(tissue, server, step, match):
    backend = EndpointBackend("m", server.url, timeout=0.1, max_retries=0)
    fusion = quick_fusion(text=quick_text(model=backend))
    server.script = [step]
    with _refused(match, RuntimeError):
        fusion.fit(tissue)
    # What is wrong once is not wrong for ever.
    backend.timeout = 10.0
    server.script = []
    assert clone(fusion).fit(tissue).text_.gene_vectors_.shape == (120, 2)


# Files


class _Kept(LexicalBackend):
    """Hashed words under a key by which their vectors are kept."""

    name = "kept"
    key = "kept"


@pytest.mark.parametrize("left", [0, 40, 0.5])
def test_a_cache_file_that_is_cut_off(tissue, tmp_path, left):
    fusion = quick_fusion(text=quick_text(model=TextModel(_Kept(), cache=tmp_path / "cache")))
    expected = clone(fusion).fit(tissue)
    files = [path for path in (tmp_path / "cache").rglob("*") if path.suffix == ".npz"]
    assert files
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[: left if isinstance(left, int) else int(left * len(content))])
    for _ in range(2):
        again = clone(fusion).fit(tissue)
        np.testing.assert_array_equal(again.text_.gene_vectors_, expected.text_.gene_vectors_)
        np.testing.assert_array_equal(again.labels_, expected.labels_)
    assert again.text_.cache_misses_ == 0  # it was made again


class _Opens:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_of_vectors_that_would_run_code(tissue, tmp_path):
    path, marker = tmp_path / "genept.pickle", tmp_path / "it ran"
    vectors = {name: [1.0, float(i)] for i, name in enumerate(tissue.var_names)}
    path.write_bytes(pickle.dumps(vectors | {"SST": _Opens(marker)}))
    with _refused("hold '_?io.open', and only .* read; convert"):
        quick_fusion(text=quick_text(vectors=path)).fit(tissue)
    assert not marker.exists()
    path.write_bytes(pickle.dumps(vectors))
    assert quick_fusion(text=quick_text(vectors=path)).fit(tissue).text_.gene_vectors_.shape == (120, 2)
    with _refused("absent.pickle", FileNotFoundError):
        quick_fusion(text=quick_text(vectors=tmp_path / "absent.pickle")).fit(tissue)


@pytest.mark.parametrize("backed", [None, "r"])
def test_an_h5ad_without_the_key(tissue, tmp_path, backed):
    tissue.write_h5ad(tmp_path / "tissue.h5ad")
    adata = anndata.read_h5ad(tmp_path / "tissue.h5ad", backed=backed)
    places = {
        "spatial_key": r"not in X.obsm, which holds \['spatial'\]",
        "layer": "not among the layers of X",
        "batch_key": "not a column of X.obs, which has",
    }
    for key, holder in places.items():
        for estimator in (
            make(**{key: "wrong"}) for make in (SpatialGraphTransformer, quick_fusion, quick_semst, quick_stllm)
        ):
            with _refused(f"{key}='wrong' is {holder}"):
                estimator.fit(adata)
    assert quick_fusion().fit(adata).labels_.shape == (400,)


def test_what_was_not_fitted(tissue):
    for estimator in _estimators():
        with pytest.raises(NotFittedError, match=type(estimator).__name__):
            estimator.transform(tissue)
