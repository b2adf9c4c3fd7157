"""What else a session does with torch has no effect on fits, and fits have none on it."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from skorch.callbacks import Callback

from skst import LLMDSCClusterer, SemSTClusterer, SpatialGraphTransformer
from skst._modes import undisturbed
from skst.datasets import make_spatial_domains
from skst.embedding.encoders import STAGATE, GraphST, SpaceFlow, StCluster
from skst.embedding.encoders.attention import neighbor_sum
from skst.embedding.encoders.graphst import GraphSTNetwork
from skst.embedding.encoders.spaceflow import SpaceFlowNetwork
from skst.embedding.encoders.stagate import STAGATENetwork
from skst.embedding.encoders.stcluster import StClusterNetwork
from skst.nn import FUSIONS, GraphBranch, NormalizedCut, SparseOperator, make_fusion, sinkhorn_target
from skst.nn.autoencoder import SpotAutoencoder
from skst.nn.cells import CellAutoencoder
from skst.nn.surroundings import linear_layer


@contextmanager
def _default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def _default_device(device):
    torch.set_default_device(device)
    try:
        yield
        assert torch.empty(0).device.type == device
    finally:
        torch.set_default_device(None)


@contextmanager
def _strict():
    torch.use_deterministic_algorithms(True)
    torch.autograd.set_detect_anomaly(True)
    try:
        yield
        assert torch.are_deterministic_algorithms_enabled() and torch.is_anomaly_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.autograd.set_detect_anomaly(False)


@contextmanager
def _all_at_once():
    with _default_dtype(torch.bfloat16), torch.device("meta"), torch.inference_mode(), torch.autocast("cpu"):
        yield


SURROUNDINGS = {
    "float64": lambda: _default_dtype(torch.float64),
    "float16": lambda: _default_dtype(torch.float16),
    "meta by default": lambda: _default_device("meta"),
    "meta": lambda: torch.device("meta"),
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "strict": _strict,
    "all at once": _all_at_once,
}


def _modes():
    """Whatever a fit could change of torch, in this thread or for all."""
    return (
        torch.empty(0).device.type,
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_anomaly_enabled(),
        torch.get_rng_state().tolist(),
    )


# The context


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_modes_are_put_aside_and_come_back(name, gradients):
    with SURROUNDINGS[name]():
        before = _modes()
        with undisturbed(gradients=gradients):
            made = torch.ones(2, 2, dtype=torch.float32)
            assert made.device.type == "cpu" and not made.is_inference() and torch.is_grad_enabled() == gradients
            assert (made @ made).dtype == torch.float32
        assert _modes() == before
        with pytest.raises(KeyError), undisturbed(gradients=gradients):
            raise KeyError
        assert _modes() == before


def test_as_a_decorator_it_acts_on_each_call_and_on_no_other_thread():
    seen = []

    @undisturbed(gradients=False)
    def call(depth):
        seen.append(torch.is_grad_enabled())
        if depth:
            thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
            thread.start()
            thread.join()
            call(depth - 1)

    call(1)
    assert seen == [False, True, False] and torch.is_grad_enabled()


# Networks


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 2**63 - 1))
def test_linear_layers_start_as_those_of_torch_do(n_in, n_out, bias, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        expected = torch.nn.Linear(n_in, n_out, bias=bias).state_dict()
        before = torch.get_rng_state()
        layer = linear_layer(n_in, n_out, bias=bias, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(torch.get_rng_state(), before)
    assert list(layer.state_dict()) == list(expected)
    assert all(torch.equal(values, expected[name]) for name, values in layer.state_dict().items())


NETWORKS = {
    **{f"fusion {name}": lambda name=name, **made: make_fusion(name, 6, 4, 3, **made) for name in FUSIONS},
    "branch": lambda **made: GraphBranch(4, 3, 2, **made),
    "spots": lambda **made: SpotAutoencoder(5, 4, 3, 6, 7, zero_inflation=True, **made),
    "cells": lambda **made: CellAutoencoder(6, 5, 3, n_semantic=4, **made),
    "cells in a shared space": lambda **made: CellAutoencoder(6, 5, 3, n_semantic=4, n_projection=2, **made),
    "stagate": lambda **made: STAGATENetwork(5, 4, 3, pruned_weight=0.5, **made),
    "graphst": lambda **made: GraphSTNetwork(5, 4, 1.0, 1.0, **made),
    "spaceflow": lambda **made: SpaceFlowNetwork(5, 4, 1.0, 1.0, **made),
    "stcluster": lambda **made: StClusterNetwork(5, 4, 3, weights={}, **made),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_generator_draws_what_a_seed_of_torch_would(name):
    with torch.random.fork_rng():
        torch.manual_seed(8)
        expected = NETWORKS[name]().state_dict()
    before = torch.get_rng_state()
    with _default_dtype(torch.float64):
        found = NETWORKS[name](generator=torch.Generator().manual_seed(8)).state_dict()
    assert torch.equal(torch.get_rng_state(), before) and list(found) == list(expected)
    assert all(torch.equal(values, expected[part]) for part, values in found.items())
    assert all(values.dtype == torch.float32 for values in found.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_without_a_generator_networks_follow_torch_as_any_module_does(name):
    with _default_dtype(torch.float64):
        assert {values.dtype for values in NETWORKS[name]().state_dict().values()} == {torch.float64}


@pytest.mark.parametrize("name", ["float64", "float16", "meta", "meta by default", "inference", "no gradients"])
def test_constants_of_losses_do_not_depend_on_surroundings(name):
    rng = np.random.default_rng(0)
    counts, shares = rng.poisson(1, (20, 5)).astype(np.float32), rng.dirichlet(np.ones(3), 20).astype(np.float32)
    values = torch.from_numpy(rng.normal(size=(20, 4)).astype(np.float32)).requires_grad_()

    edges = torch.from_numpy(np.stack([np.roll(np.arange(20), 1), np.arange(20)]))

    def results(made_in):
        with made_in():
            cut, operator = NormalizedCut(counts, deflate=True), SparseOperator(sparse.csr_array(counts.T))
            made = [sinkhorn_target(shares, sizes=[1, 2, 3]), sinkhorn_target(shares, power=30.0)]
            made.append(cut.estimate(values[:9].detach(), range(9)))
            made.append(neighbor_sum(values, values[:, 0], edges))
        values.grad = None
        made += [cut(values), cut.estimate(values[:9], range(9)), operator @ values]
        sum(part.sum() for part in made[-3:]).backward()
        return [*(part.detach().numpy() for part in made), values.grad.numpy()]

    for found, expected in zip(results(SURROUNDINGS[name]), results(nullcontext), strict=True):
        np.testing.assert_array_equal(found, expected)


# Estimators


class _Reseeds(Callback):
    """Seeds torch anew before each step, as another thread might."""

    def on_batch_begin(self, net, **kwargs):
        torch.manual_seed(len(net.history))
        torch.rand(3)


class _Text(TransformerMixin, BaseEstimator):
    """Vectors of spots in no time."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        directions = np.random.default_rng(0).normal(size=(X.n_vars, 6))
        return np.asarray(X.X @ directions, dtype=np.float32)


def _semst(**parameters):
    settings = {
        "text": _Text(),
        "network__n_hidden": 8,
        "network__n_components": 4,
        "network__max_epochs": 2,
        "network__start": "random",
    }
    settings |= {"clusterer": "kmeans", "n_vote_neighbors": 0, "network__n_networks": 1}  # in no time
    return SemSTClusterer(3).set_params(network__device="cpu", random_state=3, **(settings | parameters))


def _cells(**parameters):
    settings = {
        "text": _Text(),
        "network__n_hidden": 8,
        "network__n_components": 3,
        "network__max_epochs": 2,
        "losses__n_contrast": 20,
    }
    settings |= {"clusterer": "kmeans", "network__n_networks": 1}
    return LLMDSCClusterer(3).set_params(network__device="cpu", random_state=3, **(settings | parameters))


def _graph(encoder, **parameters):
    encoder = encoder(n_hidden=8, max_epochs=2, device="cpu", **parameters)
    return SpatialGraphTransformer(encoder, n_components=3, random_state=3)


# Half of those with text or a graph in mini-batches.
ESTIMATORS = {
    "semst": lambda **more: _semst(fusion="cross_attention", network__zero_inflation=True, **more),
    "semst in tiles": lambda **more: _semst(
        network__batch_size=5, network__n_networks=2, network__start="both", **more
    ),
    "cells": _cells,
    "cells without text": lambda **more: _cells(align_to=None, **more),
    "cells in a shared space": lambda **more: _cells(network__batch_size=30, align_to="shared", **more),
    "stagate": lambda **more: _graph(STAGATE, pruned_weight=0.5, **more),
    "graphst": lambda **more: _graph(GraphST, batch_size=5, **more),
    "spaceflow": lambda **more: _graph(SpaceFlow, **more),
    "stcluster": lambda **more: _graph(StCluster, batch_size=5, **more),
}


@pytest.fixture(scope="module")
def tissues():
    return [make_spatial_domains(n, n_genes=30, n_domains=3, random_state=n) for n in (60, 40)]


@pytest.fixture(scope="module")
def alone(tissues):
    """What each estimator finds where nothing else goes on."""
    return {name: _results(make(), *tissues) for name, make in ESTIMATORS.items()}


def _results(estimator, tissue, new):
    found = [estimator.fit(tissue).embedding_, estimator.transform(new)]
    if hasattr(estimator, "predict"):
        found += [estimator.labels_, estimator.predict(new)]
    return found + [estimator.history_.drop(columns=["dur", "part"], errors="ignore").to_numpy(dtype=float)]


def _assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name not in ("semst", "cells")])
@pytest.mark.parametrize("surrounding", SURROUNDINGS)
def test_surroundings_have_no_effect_and_are_left_as_they_were(surrounding, name, tissues, alone):
    with SURROUNDINGS[surrounding]():
        before = _modes()
        found = _results(ESTIMATORS[name](), *tissues)
        assert _modes() == before
    _assert_same(found, alone[name])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_random_numbers_of_torch_are_not_read(name, tissues, alone):
    with torch.random.fork_rng():
        estimator = ESTIMATORS[name]()
        callbacks = next(key for key in estimator.get_params() if key.endswith("__callbacks"))
        _assert_same(_results(estimator.set_params(**{callbacks: [_Reseeds()]}), *tissues), alone[name])


@pytest.mark.parametrize("name", ["semst", "cells", "graphst"])
def test_what_was_fitted_in_a_mode_serves_outside(name, tissues, alone):
    with SURROUNDINGS["all at once"]():
        fitted = pickle.loads(pickle.dumps(ESTIMATORS[name]().fit(tissues[0])))
    np.testing.assert_array_equal(fitted.transform(tissues[1]), alone[name][1])


def test_threads_find_what_one_alone_finds(tissues, alone):
    names = 2 * ["semst", "cells in a shared space", "spaceflow", "stcluster"]
    done = threading.Event()

    def disturb():
        while not done.is_set():
            torch.manual_seed(0)
            torch.rand(5)

    with torch.random.fork_rng():
        other = threading.Thread(target=disturb)
        other.start()
        try:
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(lambda name: _results(ESTIMATORS[name](), *tissues), names))
        finally:
            done.set()
            other.join()
    for name, one in zip(names, found, strict=True):
        _assert_same(one, alone[name])
