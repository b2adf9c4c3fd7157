"""What is wrong with models, endpoints and files is told in one sentence, and does not last."""

import pickle

import anndata
import numpy as np
import pytest
from bad_inputs.kit import (
    quick_fusion,
    quick_semst,
    quick_stllm,
    quick_text,
)
from faults import all_estimators, refused, warned
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skst import SpatialGraphTransformer
from skst.text import LexicalBackend, TextModel, named_models
from skst.text.endpoint import EndpointBackend

# What follows where spots have become equal, of k-means and of skst.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Number of distinct clusters"),
    pytest.mark.filterwarnings("ignore:The partition has collapsed"),
]


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


def test_a_hub_that_cannot_be_reached(small, hub):
    with refused("model='lab/model' .* cannot be reached"):
        quick_fusion(text=quick_text(model="lab/model")).fit(small)
    with warned("cannot be reached.*skst.offline"):
        fitted = quick_fusion(text=quick_text(model="auto")).fit(small)
    assert fitted.text_.backend_name_ == "lexical"


def test_a_model_that_is_unknown(small, hub):
    from huggingface_hub.errors import RepositoryNotFoundError

    hub.fault = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
    with refused("model='lab/model' is unknown"):
        quick_fusion(text=quick_text(model="lab/model")).fit(small)
    with refused("model=3 is neither", TypeError):
        quick_text(model=3).fit(small)


@pytest.mark.parametrize(
    ("step", "match"),
    [
        ({"wait": 0.5}, "did not answer within 0.1 s in each of 1 attempts"),
        ({"content": b"<html>\n</html>"}, "not JSON"),
        ({"content": {"data": []}}, "0 vectors"),
        ({"status": 500}, "HTTP 500 in each of 1 attempts"),
    ],
)
def test_an_endpoint_that_does_not_answer_well(small, server, step, match):
    # A busy machine is no silent one.
    backend = EndpointBackend("m", server.url, timeout=0.1 if "wait" in step else 10.0, max_retries=0)
    fusion = quick_fusion(text=quick_text(model=backend))
    server.script = [step]
    with refused(match, RuntimeError):
        fusion.fit(small)
    # What is wrong once is not wrong for ever.
    backend.timeout = 10.0
    server.script = []
    assert clone(fusion).fit(small).text_.gene_vectors_.shape == (60, 2)


# Files


class _Kept(LexicalBackend):
    """Hashed words under a key by which their vectors are kept."""

    name = "kept"
    key = "kept"


@pytest.mark.parametrize("left", [0, 40, 0.5])
def test_a_cache_file_that_is_cut_off(small, tmp_path, left):
    fusion = quick_fusion(text=quick_text(model=TextModel(_Kept(), cache=tmp_path / "cache")))
    expected = clone(fusion).fit(small)
    files = [path for path in (tmp_path / "cache").rglob("*") if path.suffix == ".npz"]
    assert files
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[: left if isinstance(left, int) else int(left * len(content))])
    for _ in range(2):
        again = clone(fusion).fit(small)
        np.testing.assert_array_equal(again.text_.gene_vectors_, expected.text_.gene_vectors_)
        np.testing.assert_array_equal(again.labels_, expected.labels_)
    assert again.text_.cache_misses_ == 0  # it was made again


class _Opens:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_of_vectors_that_would_run_code(small, tmp_path):
    path, marker = tmp_path / "genept.pickle", tmp_path / "it ran"
    vectors = {name: [1.0, float(i)] for i, name in enumerate(small.var_names)}
    path.write_bytes(pickle.dumps(vectors | {"SST": _Opens(marker)}))
    with refused("hold '_?io.open', and only .* read; convert"):
        quick_fusion(text=quick_text(vectors=path)).fit(small)
    assert not marker.exists()
    path.write_bytes(pickle.dumps(vectors))
    assert quick_fusion(text=quick_text(vectors=path)).fit(small).text_.gene_vectors_.shape == (60, 2)
    with refused("absent.pickle", FileNotFoundError):
        quick_fusion(text=quick_text(vectors=tmp_path / "absent.pickle")).fit(small)


@pytest.mark.parametrize("backed", [None, "r"])
def test_an_h5ad_without_the_key(small, tmp_path, backed):
    small.write_h5ad(tmp_path / "tissue.h5ad")
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
            with refused(f"{key}='wrong' is {holder}"):
                estimator.fit(adata)
    assert quick_fusion().fit(adata).labels_.shape == (200,)


def test_what_was_not_fitted(small):
    for estimator in all_estimators():
        with pytest.raises(NotFittedError, match=type(estimator).__name__):
            estimator.transform(small)
