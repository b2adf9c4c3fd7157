"""What scikit-learn asks of an estimator, asked of every public one; its checks for third parties and the others."""

import inspect
import pickle
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone, is_clusterer
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skst import (
    GeneTextEncoder,
    LLMDSCClusterer,
    SemSTClusterer,
    SpaLLMFusion,
    SpatialGraphTransformer,
    STLLMClusterer,
    settings,
)
from skst.embedding.encoders import STAGATE, GraphST, SpaceFlow, StCluster
from skst.graph import SpatialGraphLearner
from skst.partition import ConsensusMixture, GraphCommunities
from skst.settings import GraphNetwork

# In fit, fit_transform, predict and transform alike.
METADATA = ("coordinates", "batch")


def _text(**parameters):
    return GeneTextEncoder().set_params(model="lexical", **parameters)


def _semst(**parameters):
    quick = {"n_clusters": 3, "network__max_epochs": 2, "clusterer": KMeans(n_init=1)}
    return SemSTClusterer().set_params(**({"text": _text(mode="prompt")} | quick | parameters))


def _llmdsc(**parameters):
    quick = {
        "n_clusters": 3,
        "network__n_networks": 1,
        "n_top_genes": 40,
        "network__max_epochs": 1,
        "clusterer": KMeans(n_init=1),
    }
    return LLMDSCClusterer().set_params(**({"text": _text(mode="dual")} | quick | parameters))


def _stllm(**parameters):
    quick = {"n_clusters": 3, "narration__n_regions": 5, "graph": "knn", "clusterer": KMeans(n_init=1)}
    return STLLMClusterer().set_params(**({"text": _text()} | quick | parameters))


def _encoded(encoder, **parameters):
    return SpatialGraphTransformer(encoder(n_hidden=8, max_epochs=2, **parameters), random_state=0)


ESTIMATORS = [
    _text(),
    _text(normalize=False),
    SpatialGraphTransformer(),
    SpatialGraphTransformer(normalize=False),
    _encoded(STAGATE),
    _encoded(GraphST, batch_size=16),
    _encoded(SpaceFlow),
    _encoded(StCluster),
    SpaLLMFusion(text=_text(), n_clusters=3),
    SpaLLMFusion(SpatialGraphTransformer(normalize=False), _text(normalize=False), n_clusters=3, clusterer="kmeans"),
    _semst(),
    _semst(fusion=None, network__start="random", network__batch_size=16, network__n_networks=1),
    _stllm(),
    _stllm(graph=SpatialGraphLearner(max_epochs=5), narration__levels=("region",), clusterer="mixture"),
    _llmdsc(n_top_genes=(40, 80)),
    _llmdsc(align_to=None, inputs="counts", network__batch_size=16, network__max_epochs=2),
    _llmdsc(text=_text(normalize=False), align_to="shared", normalize=False, losses__cut=0.0),
    ConsensusMixture(3, n_init=2, n_keep=1),
    GraphCommunities(3),
]
TRANSFORMERS = [
    _text(),
    _llmdsc(random_state=0),
    SpatialGraphTransformer(),
    _encoded(STAGATE),
    SpaLLMFusion(text=_text(), n_clusters=3, clusterer="kmeans", random_state=0),
    _semst(random_state=0),
    _stllm(random_state=0),
]
# Columns of scikit-learn's frames are no genes, but any name can be a text.
NAMED = [
    *(_text(descriptions__detail="symbol", mode=mode) for mode in ("aggregate", "sentence", "prompt", "dual")),
    SpatialGraphTransformer(),
    SpaLLMFusion(text=_text(descriptions__detail="symbol"), n_clusters=3, clusterer="kmeans", random_state=0),
    _semst(random_state=0),
    _stllm(random_state=0),
    _stllm(text=_text(descriptions__detail="symbol"), narration__spot_text="compose", random_state=0),
    _llmdsc(text=_text(descriptions__detail="symbol", mode="dual"), random_state=0),
]
SPATIAL = TRANSFORMERS[2:]


def _name(estimator):
    return type(estimator).__name__


def _expected_failures(estimator):
    """The one table of checks that cannot pass, by check, with the reason."""
    failures = {}
    if is_clusterer(estimator) and get_tags(estimator).input_tags.positive_only:
        failures["check_clustering"] = "it standardises its blobs, and the estimator is tagged positive_only"
    if isinstance(estimator, SemSTClusterer):
        failures["check_methods_subset_invariance"] = "the expression graph of new spots joins those given together"
        failures["check_methods_sample_order_invariance"] = "it sets one component, where all cosines are 1 or -1: ties"
    return failures


@pytest.fixture(autouse=True)
def _few_starts(monkeypatch):
    """A quarter of the starts of the mixture that estimators have by default: nobody asks here how good it is."""
    monkeypatch.setitem(ConsensusMixture.__init__.__kwdefaults__, "n_init", 2)
    monkeypatch.setitem(ConsensusMixture.__init__.__kwdefaults__, "n_keep", 1)


# An estimator has many checks, and writing it out for the name of each takes longer than most of them.
CHECKS = parametrize_with_checks(ESTIMATORS, expected_failed_checks=_expected_failures)


@pytest.mark.filterwarnings(
    "ignore:X has no gene names",
    "ignore:X has no coordinates",
    "ignore:X holds fractions",
    "ignore:No resolution tried",
)
@pytest.mark.parametrize(*CHECKS.args, ids=cache(CHECKS.kwargs["ids"]))
def test_sklearn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", NAMED, ids=_name)
@pytest.mark.parametrize(
    "check",
    [
        "check_dataframe_column_names_consistency",
        "check_n_features_in_after_fitting",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_global_output_transform_pandas",
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
        "check_get_feature_names_out_error",
    ],
)
def test_sklearn_for_its_own(estimator, check, bare_home):
    with warnings.catch_warnings():
        # The checks pass fractions without places, and frames after arrays.
        for expected in ("X has no", "X holds fractions", "Only", "X has feature names", "X does not have"):
            warnings.filterwarnings("ignore", expected, UserWarning)
        getattr(estimator_checks, check)(type(estimator).__name__, clone(estimator))


@pytest.mark.parametrize("estimator", [*TRANSFORMERS[1:], *ESTIMATORS[-2:]], ids=_name)
def test_sklearn_param_validation(estimator):
    estimator_checks.check_param_validation(type(estimator).__name__, estimator)


@pytest.mark.parametrize("estimator", TRANSFORMERS, ids=_name)
def test_dataframe_in_dataframe_out(estimator, small):
    frame = small.to_df()
    places = {"coordinates": small.obsm["spatial"]} if estimator in SPATIAL else {}
    fitted = clone(estimator).set_output(transform="pandas")
    out = fitted.fit_transform(frame, **places)
    assert isinstance(out, pd.DataFrame) and out.index.equals(frame.index)
    assert out.columns.tolist() == fitted.get_feature_names_out().tolist()
    assert out.columns[0] == f"{type(estimator).__name__.lower()}0"
    pd.testing.assert_frame_equal(fitted.transform(frame, **places), out, atol=1e-4)
    np.testing.assert_allclose(out, clone(estimator).fit_transform(small), atol=5e-3 * out.to_numpy().std())


@pytest.mark.parametrize("estimator", TRANSFORMERS, ids=_name)
def test_a_global_output_setting_changes_the_container_alone(estimator, small):
    plain = clone(estimator).fit(small)
    with sklearn.config_context(transform_output="pandas"):
        fitted = clone(estimator).fit(small)
        out = fitted.transform(small)
    assert isinstance(out, pd.DataFrame)
    expected = plain.transform(small)
    np.testing.assert_allclose(out, expected, atol=1e-4 * np.abs(expected).max())
    if hasattr(plain, "labels_"):
        np.testing.assert_array_equal(fitted.labels_, plain.labels_)


@pytest.mark.parametrize("estimator", TRANSFORMERS, ids=_name)
def test_a_fitted_pickle_holds_no_data_and_no_model(estimator, tissue):
    fitted = clone(estimator).fit(tissue)
    dumped = pickle.dumps(fitted)
    for name, value in pickle.loads(dumped).__dict__.items():
        assert getattr(value, "shape", None) != tissue.shape, name
    # What grows with the spots are embeddings and labels, never the counts.
    more = clone(estimator).set_params(**_only_embedded(estimator))
    small, large = (len(pickle.dumps(clone(more).fit(tissue[:n]))) for n in (200, 400))
    columns = {GeneTextEncoder: 0, LLMDSCClusterer: 9}.get(type(estimator), 6)
    assert large - small < 200 * (4 * 2 * columns + 8) + 4_000 < 200 * tissue.n_vars * 4
    again = pickle.loads(dumped)
    np.testing.assert_array_equal(again.transform(tissue), fitted.transform(tissue))


def _only_embedded(estimator):
    """Few columns, so that the size of an embedding is small beside that of the counts."""
    if isinstance(estimator, SpaLLMFusion):
        return {"spatial": SpatialGraphTransformer(n_components=6), "strategy": "weighted"}
    if isinstance(estimator, SemSTClusterer):  # two columns, and eight factors of modulation
        return {"network": GraphNetwork(n_components=2, n_networks=1, start="random", max_epochs=3)}
    if isinstance(estimator, LLMDSCClusterer):  # two columns, of four choices of genes too, and three shares
        return {"network__n_components": 2, "network__n_networks": 1}
    if isinstance(estimator, STLLMClusterer):  # and no edges of a learnt graph
        return {"n_components": 2, "graph": "knn"}
    return {"n_components": 6} if isinstance(estimator, SpatialGraphTransformer) else {}


@pytest.mark.parametrize("estimator", ESTIMATORS + TRANSFORMERS, ids=_name)
def test_clones_and_parameters(estimator):
    parameters = inspect.signature(type(estimator)).parameters
    for name, value in estimator.get_params(deep=False).items():
        copied = clone(estimator).get_params(deep=False)[name]
        assert repr(copied) == repr(value)
        assert parameters[name].kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    assert eval(repr(estimator), vars(settings) | globals()).get_params().keys() == estimator.get_params().keys()


def _methods(estimator):
    names = ("fit", "fit_transform", "fit_predict", "transform", "predict")
    return [getattr(estimator, name) for name in names if hasattr(estimator, name)]


@pytest.mark.parametrize("estimator", SPATIAL, ids=_name)
def test_metadata_is_asked_for_alike(estimator):
    for method in _methods(estimator):
        given = inspect.signature(method).parameters
        for name in METADATA:
            assert given[name].kind is inspect.Parameter.KEYWORD_ONLY and given[name].default is None
    with sklearn.config_context(enable_metadata_routing=True):
        asked = clone(estimator)
        for method in ("fit", "transform", "predict"):
            if hasattr(asked, method):
                getattr(asked, f"set_{method}_request")(coordinates=True, batch=True)
        requests = asked.get_metadata_routing()
        for method in ("fit", "fit_transform", "transform"):
            assert getattr(requests, method).requests == dict.fromkeys(METADATA, True)


def _requesting(estimator):
    estimator = clone(estimator).set_fit_request(coordinates=True, batch=True)
    estimator.set_transform_request(coordinates=True, batch=True)
    return estimator.set_predict_request(coordinates=True, batch=True) if is_clusterer(estimator) else estimator


def test_routing_through_a_pipeline(slices):
    X, places = slices.X, {"coordinates": slices.obsm["spatial"], "batch": slices.obs["batch"]}
    kmeans = KMeans(3, n_init=5, random_state=0)
    direct = SpatialGraphTransformer(batch_key="batch").fit_transform(slices)
    expected = clone(kmeans).fit_predict(direct)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(_requesting(SpatialGraphTransformer()), kmeans).fit(X, **places)
        np.testing.assert_allclose(pipeline[0].embedding_, direct, atol=1e-5)
        assert adjusted_rand_score(pipeline.predict(X, **places), expected) > 0.99
        with pytest.raises(TypeError, match="batches"):
            pipeline.fit(X, batches=places["batch"])
    pipeline = make_pipeline(SpatialGraphTransformer(), kmeans)
    pipeline.fit(X, **{f"spatialgraphtransformer__{name}": value for name, value in places.items()})
    assert adjusted_rand_score(pipeline[-1].labels_, expected) > 0.99


@pytest.mark.parametrize("estimator", SPATIAL[2:], ids=_name)
def test_routing_to_the_last_step(estimator, slices):
    X, name = slices.X, type(estimator).__name__.lower()
    places = {"coordinates": slices.obsm["spatial"], "batch": slices.obs["batch"]}
    estimator = clone(estimator).set_params(gene_names=slices.var_names)
    expected = clone(estimator).fit(X, **places)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline("passthrough", _requesting(estimator)).fit(X, **places)
        np.testing.assert_array_equal(pipeline[-1].labels_, expected.labels_)
        np.testing.assert_array_equal(pipeline.predict(X, **places), expected.labels_)
    pipeline = make_pipeline("passthrough", clone(estimator))
    pipeline.fit(X, **{f"{name}__{key}": value for key, value in places.items()})
    np.testing.assert_array_equal(pipeline[-1].labels_, expected.labels_)
    np.testing.assert_array_equal(pipeline.predict(X, **places), expected.labels_)
