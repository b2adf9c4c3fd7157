"""Parameters within parameters: names that reach into objects and defaults, searches over them, and their checks."""

import importlib
import inspect
import pkgutil
import re

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils._param_validation import generate_invalid_param_val, make_constraint
from skorch import NeuralNet

import skst
from skst import (
    GeneTextEncoder,
    LLMDSCClusterer,
    SemSTClusterer,
    SpaLLMFusion,
    SpatialGraphTransformer,
    STLLMClusterer,
)
from skst.datasets import make_spatial_domains
from skst.genes import GeneDescriptions
from skst.graph import SpatialGraphLearner, SpatialNeighbors
from skst.model_selection import NoSplit, labels_scorer
from skst.settings import CellLosses, CellNetwork, GraphLosses, GraphNetwork, Narration
from skst.text import TextModel

# Settings that each estimator has, by the parameter that holds them.
PARTS = {
    GeneTextEncoder: {"model": TextModel, "descriptions": GeneDescriptions},
    SpatialGraphTransformer: {"graph": SpatialNeighbors},
    SpaLLMFusion: {"spatial": SpatialGraphTransformer, "text": GeneTextEncoder},
    SemSTClusterer: {
        "text": GeneTextEncoder,
        "graph": SpatialNeighbors,
        "network": GraphNetwork,
        "losses": GraphLosses,
    },
    STLLMClusterer: {"text": GeneTextEncoder, "graph": SpatialNeighbors, "narration": Narration},
    LLMDSCClusterer: {"text": GeneTextEncoder, "network": CellNetwork, "losses": CellLosses},
}
PAIRS = [pytest.param(one, name, id=f"{one.__name__}-{name}") for one, parts in PARTS.items() for name in parts]
# What a search may want to reach, two levels down too, with a value that is not the default.
REACHED = {
    GeneTextEncoder: {"model__device": "cpu", "descriptions__detail": "symbol"},
    SpatialGraphTransformer: {"graph__n_neighbors": 9, "graph__kind": "delaunay"},
    SpaLLMFusion: {"text__k_g": 7, "text__model__batch_size": 3, "spatial__graph__n_neighbors": 9},
    SemSTClusterer: {
        "network__lr": 5e-4,
        "losses__text": 1.0,
        "graph__n_neighbors": 9,
        "text__k_g": 7,
        "text__descriptions__species": "human",
    },
    STLLMClusterer: {"narration__k_g": 4, "graph__n_neighbors": 9, "text__model__model": "lexical"},
    LLMDSCClusterer: {"network__lr": 5e-4, "losses__cut": 0.0, "text__omega": 0.8, "text__model__cache": False},
}


@pytest.fixture(scope="module")
def _small():
    return make_spatial_domains(120, n_genes=60, n_domains=3, depth=1000, random_state=0)


@pytest.fixture
def small(_small, bare_home):
    """120 spots in 3 layers, 60 genes."""
    return _small.copy()


def _same(one, other):
    """Whether two estimators mean the same, be it by objects or by short forms."""
    one, other = (estimator.get_params() for estimator in (one, other))
    parts = {name[: name.rindex("__")] for name in one if "__" in name}
    return {*one} == {*other} and all(repr(one[name]) == repr(other[name]) for name in {*one} - parts)


# Names that reach into objects


@pytest.mark.parametrize(("estimator", "name"), PAIRS)
def test_defaults_are_told_as_if_they_were_given(estimator, name):
    implicit, made = estimator(), estimator().part(name)
    assert type(made) is PARTS[estimator][name]
    told = {key: value for key, value in implicit.get_params().items() if key.startswith(f"{name}__")}
    explicit = estimator(**{name: made}).get_params()
    assert told and told == {key: explicit[key] for key in told}
    assert {key for key in explicit if key.startswith(f"{name}__")} == {*told}
    assert implicit.get_params(deep=False).keys() == inspect.signature(estimator).parameters.keys()


@pytest.mark.parametrize("estimator", PARTS, ids=lambda one: one.__name__)
def test_every_name_that_is_told_can_be_set(estimator):
    model = estimator()
    nested = {name: value for name, value in model.get_params().items() if "__" in name}
    for name, value in nested.items():
        changed = estimator().set_params(**{name: value})
        assert _same(changed, model), name
    assert _same(estimator().set_params(**nested), model)


@pytest.mark.parametrize("estimator", PARTS, ids=lambda one: one.__name__)
def test_set_params_reaches_into_defaults_and_clones_keep_it(estimator):
    before = estimator().get_params()
    model = estimator()
    assert model.set_params(**REACHED[estimator]) is model
    for copied in (model, clone(model), clone(clone(model))):
        params = copied.get_params()
        changed = {name for name, value in params.items() if name in before and repr(value) != repr(before[name])}
        assert {name: params[name] for name in REACHED[estimator]} == REACHED[estimator]
        # Nothing else has changed, but the objects that are now there.
        assert changed - {*REACHED[estimator]} <= {
            name.rsplit("__", depth)[0] for name in REACHED[estimator] for depth in (1, 2)
        }
    for name in {key.partition("__")[0] for key in REACHED[estimator]}:
        assert getattr(clone(model), name) is not getattr(model, name)
    assert _same(estimator(), estimator().set_params())  # defaults of the next one are as they were


def test_one_by_one_and_all_at_once_are_the_same():
    values = REACHED[SemSTClusterer]
    model = SemSTClusterer()
    for name, value in values.items():
        model.set_params(**{name: value})
    assert _same(model, SemSTClusterer().set_params(**values))


def test_a_name_and_what_lies_within_it_are_set_together():
    model = SemSTClusterer().set_params(graph__radius=50.0, graph="radius")
    assert model.graph.get_params() == {"kind": "radius", "n_neighbors": 6, "radius": 50.0}
    model.set_params(graph="learned", graph__max_epochs=3)
    assert isinstance(model.graph, SpatialGraphLearner) and model.graph.max_epochs == 3
    model.set_params(network__lr=0.1).set_params(network=None, network__patience=5)
    assert model.network.lr == 1e-3 and model.network.patience == 5
    encoder = GeneTextEncoder().set_params(model="lexical", model__device="cpu")
    assert encoder.part("model").get_params() == TextModel("lexical", device="cpu").get_params()
    # What a name stands for decides which names there are.
    assert "graph__radius" in SemSTClusterer(graph="knn").get_params()
    assert not {"graph__radius", "graph__kind"} & SemSTClusterer(graph="learned").get_params().keys()


def test_objects_are_set_within_and_parameters_are_left_as_they_were_given():
    network = GraphNetwork(n_networks=1)
    model = SemSTClusterer(network=network)
    copied = clone(model).set_params(network__lr=0.1)
    assert network.lr == 1e-3 and copied.network.n_networks == 1 and copied.network.lr == 0.1
    assert model.set_params(network__lr=0.2).network is network and network.lr == 0.2
    for made in (SemSTClusterer(), LLMDSCClusterer()):
        made.get_params()
        made.part("network")
        assert made.network is None and made.losses is None
    assert SemSTClusterer().part("network") is not SemSTClusterer().part("network")


@pytest.mark.parametrize(
    ("estimator", "name", "told"),
    [
        (SemSTClusterer(), "network__n_epochs", "'n_epochs' for estimator GraphNetwork("),
        (SemSTClusterer(), "losses__kl", "'kl' for estimator GraphLosses("),
        (SemSTClusterer(graph="learned"), "graph__radius", "'radius' for estimator SpatialGraphLearner("),
        (SemSTClusterer(), "text__cache", "'cache' for estimator GeneTextEncoder("),
        (SemSTClusterer(), "text__model__temperature", "'temperature' for estimator TextModel("),
        (SemSTClusterer(), "lr", "'lr' for estimator SemSTClusterer("),
        (SemSTClusterer(), "nets__lr", "'nets' for estimator SemSTClusterer("),
        (STLLMClusterer(), "narration__genes", "'genes' for estimator Narration("),
        (LLMDSCClusterer(), "losses__spatial", "'spatial' for estimator CellLosses("),
        (SpaLLMFusion(), "spatial__graph__n", "'n' for estimator SpatialNeighbors("),
        (GeneTextEncoder(), "descriptions__text", "'text' for estimator GeneDescriptions("),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_names_that_lead_nowhere_are_refused(estimator, name, told):
    with pytest.raises(ValueError, match=re.escape(f"Invalid parameter {told}")) as refusal:
        clone(estimator).set_params(**{name: 1})
    assert "Valid parameters are: [" in str(refusal.value)


def test_repr_tells_what_differs_from_defaults():
    assert repr(SemSTClusterer()) == "SemSTClusterer()"
    model = SemSTClusterer(7).set_params(network__lr=5e-4, graph__n_neighbors=10)
    told = " ".join(repr(model).split())
    assert told == (
        "SemSTClusterer(graph=SpatialNeighbors(n_neighbors=10), n_clusters=7, network=GraphNetwork(lr=0.0005))"
    )
    assert _same(eval(repr(model)), model)
    told = GeneTextEncoder().set_params(model="lexical", model__device="cpu", descriptions__species="human")
    assert _same(eval(repr(told)), told)
    assert "GraphNetwork(lr=0.0005)" in model._repr_html_()


def test_fit_leaves_short_forms_as_they_are(small):
    model = SemSTClusterer(3, fusion=None, clusterer="kmeans", random_state=0)
    model.set_params(network__max_epochs=1)
    before = model.get_params()
    model.fit(small)
    assert model.losses is None and model.graph == "knn"
    assert all(model.get_params()[name] is value for name, value in before.items())


# Searches


def _quick(**parameters):
    return {"n_clusters": 3, "clusterer": "kmeans", "random_state": 0} | parameters


LEXICAL = {"text__model": ["lexical"]}
SEARCHES = {
    SemSTClusterer: (
        {"network__max_epochs": [2], "network__lr": [1e-3, 1e-2], **LEXICAL},
        {"losses__text": [0.3, 5.0], "text__k_g": [5, 10], "graph__n_neighbors": [6, 9]},
    ),
    SpaLLMFusion: (
        {"text__mode": ["sentence"], **LEXICAL},
        {"text__k_g": [5, 10], "spatial__graph__n_neighbors": [6, 9], "spatial__n_components": [5, 10]},
    ),
    LLMDSCClusterer: (
        {"network__max_epochs": [2], "network__n_networks": [1], "network__lr": [1e-3, 1e-2], **LEXICAL},
        {"losses__align": [0.3, 3.0], "text__k_g": [5, 10]},
    ),
    STLLMClusterer: (
        {"narration__n_regions": [5], **LEXICAL},
        {"narration__k_g": [3, 6], "graph__n_neighbors": [6, 9]},
    ),
}


def _by_hand(estimator, given):
    """The estimator that a candidate of a search stands for, made of objects."""
    made = {}
    for name in {key.partition("__")[0] for key in given}:
        own = {key.partition("__")[2]: value for key, value in given.items() if key.startswith(f"{name}__")}
        if "graph__n_neighbors" in own:
            own["graph"] = SpatialNeighbors(n_neighbors=own.pop("graph__n_neighbors"))
        base = estimator().part(name).get_params(deep=False)
        made[name] = PARTS[estimator][name](**base | own)
    return estimator(**_quick(**made))


def _spread(fitted, X, y):
    return float(np.abs(fitted.embedding_).sum(dtype=np.float64))


@pytest.mark.parametrize("estimator", SEARCHES, ids=lambda one: one.__name__)
def test_grid_search_over_nested_names(estimator, small):
    fixed, searched = SEARCHES[estimator]
    scoring = {"spread": _spread, "ari": labels_scorer("ari")}
    model = estimator(**_quick())  # nothing but short forms
    for name, values in searched.items():
        grid = {key: options[:1] for key, options in (fixed | searched).items()} | {name: values}
        search = GridSearchCV(model, grid, cv=NoSplit(), scoring=scoring, refit="ari", error_score="raise")
        search.fit(small, small.obs["label"])
        results = search.cv_results_
        assert len(results["params"]) == 2 and results["mean_test_spread"][0] != results["mean_test_spread"][1], name
        for params, score in zip(results["params"], results["mean_test_spread"], strict=True):
            assert score == _spread(_by_hand(estimator, params).fit(small), None, None), params
        assert search.best_params_.items() <= search.best_estimator_.get_params().items()
        assert _same(model, estimator(**_quick()))


def test_grid_search_over_several_nested_names(small):
    fixed, _ = SEARCHES[SemSTClusterer]
    grid = fixed | {"graph__n_neighbors": [6, 9], "losses__text": [0.3, 5.0]}
    search = GridSearchCV(SemSTClusterer(**_quick()), grid, cv=NoSplit(), scoring=_spread, error_score="raise")
    results = search.fit(small, small.obs["label"]).cv_results_
    assert len({*results["mean_test_score"]}) == len(results["params"]) == 8
    assert results["param_network__lr"].tolist().count(1e-2) == 4
    assert search.best_score_ == _spread(search.best_estimator_, None, None) == max(results["mean_test_score"])


# Checks


def _own():
    """All estimators and settings of the package, but for the networks that they train."""
    for module in pkgutil.walk_packages(skst.__path__, "skst."):
        importlib.import_module(module.name)
    found, left = set(), [BaseEstimator]
    while left:
        for one in left.pop().__subclasses__():
            left.append(one)
            if one.__module__.partition(".")[0] == "skst" and not issubclass(one, NeuralNet):
                found.add(one)
    return found


def test_no_estimator_has_too_many_parameters():
    found = _own()
    assert {*PARTS, GraphNetwork, TextModel, SpatialGraphLearner} <= found and len(found) >= 20
    n_parameters = {one.__name__: len(inspect.signature(one).parameters) for one in found}
    assert {name: n for name, n in n_parameters.items() if n > 16} == {}


def test_every_parameter_has_a_constraint():
    for one in _own():
        if one.__init__ is not object.__init__:
            assert {*one._parameter_constraints} == {*inspect.signature(one).parameters}, one.__name__


OWNERS = {
    "network of SemSTClusterer": (SemSTClusterer, "network"),
    "losses of SemSTClusterer": (SemSTClusterer, "losses"),
    "graph of SemSTClusterer": (SemSTClusterer, "graph"),
    "graph of STLLMClusterer": (STLLMClusterer, "graph"),
    "graph of SpatialGraphTransformer": (SpatialGraphTransformer, "graph"),
    "narration of STLLMClusterer": (STLLMClusterer, "narration"),
    "network of LLMDSCClusterer": (LLMDSCClusterer, "network"),
    "losses of LLMDSCClusterer": (LLMDSCClusterer, "losses"),
    "model of GeneTextEncoder": (GeneTextEncoder, "model"),
    "descriptions of GeneTextEncoder": (GeneTextEncoder, "descriptions"),
}


def _bad_values(constraints):
    yield type("Nothing", (), {})()
    for constraint in constraints:
        try:
            yield generate_invalid_param_val(make_constraint(constraint))
        except NotImplementedError:
            pass


@pytest.mark.parametrize("which", OWNERS)
def test_bad_values_within_are_refused_by_fit_of_the_owner(which, small):
    owner, name = OWNERS[which]
    settings = PARTS[owner][name]
    for parameter, constraints in settings._parameter_constraints.items():
        if parameter == "model":
            continue  # checked where it is looked for
        for value in _bad_values(constraints):
            given = owner(**{name: settings(**{parameter: value})})
            for model in (given, owner().set_params(**{f"{name}__{parameter}": value})):
                with pytest.raises(ValueError, match=f"The '{parameter}' parameter of {settings.__name__} must be"):
                    model.fit(small)


@pytest.mark.parametrize(
    ("estimator", "name", "value", "match"),
    [
        (SemSTClusterer, "text__model__batch_size", 0, "The 'batch_size' parameter of TextModel must be"),
        (STLLMClusterer, "text__model__device", 1, "The 'device' parameter of TextModel must be"),
        (LLMDSCClusterer, "text__descriptions__detail", "long", "The 'detail' parameter of GeneDescriptions must be"),
        (SpaLLMFusion, "text__k_g", 0, "The 'k_g' parameter of GeneTextEncoder must be"),
        (SpaLLMFusion, "spatial__graph__n_neighbors", 0, "The 'n_neighbors' parameter of SpatialNeighbors must be"),
        (SemSTClusterer, "network", CellNetwork(), "The 'network' parameter of SemSTClusterer must be an instance of"),
        (SemSTClusterer, "losses", {"text": 1}, "The 'losses' parameter of SemSTClusterer must be an instance of"),
        (SemSTClusterer, "graph", "nearest", r"graph='nearest' is none of \('knn', 'radius'"),
        (SemSTClusterer, "graph", 6, "The 'graph' parameter of SemSTClusterer must be"),
        (SemSTClusterer, "graph", SpatialNeighbors("radius"), "radius=None"),
        (LLMDSCClusterer, "losses", GraphLosses(), "The 'losses' parameter of LLMDSCClusterer must be an instance of"),
        (STLLMClusterer, "narration", 10, "The 'narration' parameter of STLLMClusterer must be an instance of"),
        (STLLMClusterer, "narration__levels", ["organ"], "levels hold 'organ', which is not one of"),
    ],
)
def test_bad_parts_are_refused(estimator, name, value, match, small):
    model = estimator(**_quick())
    if "text" in name and name != "text__model__device":
        model.set_params(text__model="lexical")
    with pytest.raises(ValueError, match=match):
        model.set_params(**{name: value}).fit(small)


@pytest.mark.parametrize("value", ["nearest", 6, object()])
def test_what_stands_for_no_object_is_told_and_kept_until_fit(value, small):
    model = SemSTClusterer(graph=value)
    assert model.get_params()["graph"] is value
    with pytest.raises(ValueError, match="graph='nearest' is none of|The 'graph' parameter of SemSTClusterer must be"):
        model.fit(small)
