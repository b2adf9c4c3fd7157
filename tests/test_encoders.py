"""What holds of every encoder that trains a network."""

import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from tissues import random_tissue

from skst import GeneTextEncoder, SpatialGraphTransformer, limits
from skst.datasets import make_spatial_domains
from skst.embedding.encoders import base
from skst.embedding.encoders.base import GraphBatches
from skst.embedding.methods import ENCODERS, encoder_class
from skst.graph import averaging_operator, spatial_graph
from skst.metrics import score_partition
from skst.partition import make_clusterer

METHODS = tuple(ENCODERS)
# "pruned" is STAGATE with the types of spots, which attention then follows.
VARIANTS = (*METHODS, "pruned")
# As documented with each encoder.
PUBLISHED = {
    "stagate": {"n_hidden": 512, "max_epochs": 1000, "lr": 1e-3, "weight_decay": 1e-4, "patience": None},
    "graphst": {"n_hidden": 64, "max_epochs": 600, "lr": 1e-3, "weight_decay": 0.0, "patience": None},
    "spaceflow": {"n_hidden": 50, "max_epochs": 1000, "lr": 1e-3, "weight_decay": 0.0, "patience": 50},
    "stcluster": {"n_hidden": 512, "max_epochs": 1000, "lr": 1e-3, "weight_decay": 1e-4, "patience": None},
}
PUBLISHED_SPATIAL = {
    "stagate": {"n_components": 30, "graph__kind": "knn", "graph__n_neighbors": 6},
    "graphst": {"n_components": 20, "graph__kind": "knn", "graph__n_neighbors": 3},
    "spaceflow": {"n_components": 50, "graph": "delaunay"},
    "stcluster": {"n_components": 30, "graph__kind": "knn", "graph__n_neighbors": 6},
}


@pytest.fixture(scope="module")
def tissue():
    return make_spatial_domains(n_samples=300, n_genes=40, n_domains=3, random_state=0)


@pytest.fixture(scope="module")
def noisy():
    """Expression of 300 spots in three domains that noise hides, their graph, places and domains."""
    _, average, points, _ = random_tissue(300, n_neighbors=6)
    domain = (3 * points[:, 0]).astype(int)
    expression = np.random.default_rng(1).normal(size=(300, 10)).astype(np.float32)
    expression[:, :3] += 1.7 * np.eye(3, dtype=np.float32)[domain]
    return expression, average, points, domain


def _make(name, **parameters):
    if name == "pruned":
        name, parameters = "stagate", {"pruned_weight": 0.5, **parameters}
    return encoder_class(name)(**{"n_inputs": 10, "n_hidden": 16, "max_epochs": 5, **parameters})


@pytest.mark.parametrize("name", VARIANTS)
def test_new_spots_are_embedded_as_those_of_fit(name, tissue):
    model = SpatialGraphTransformer(_make(name), n_components=4, random_state=0).fit(tissue)
    assert model.embedding_.shape == (300, 4) and model.embedding_.dtype == np.float32
    np.testing.assert_allclose(model.transform(tissue), model.embedding_, atol=2e-5)
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_allclose(model.transform(tissue[order]), model.embedding_[order], atol=2e-5)


@pytest.mark.parametrize("name", METHODS)
def test_representation_is_centred_and_on_its_principal_axes(name, tissue):
    embedding = SpatialGraphTransformer(_make(name), n_components=4, random_state=0).fit_transform(tissue)
    covariance = np.cov(embedding.T, bias=True)
    np.testing.assert_allclose(embedding.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-4)
    assert np.trace(covariance) == pytest.approx(1, abs=1e-3)
    assert np.all(np.diff(np.diag(covariance)) <= 1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_seed_determines_everything(name, tissue):
    first, again, other = (
        SpatialGraphTransformer(_make(name), n_components=4, random_state=seed).fit_transform(tissue)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("name", VARIANTS)
def test_global_random_state_is_left_alone(name, tissue):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    SpatialGraphTransformer(_make(name), random_state=0).fit(tissue)
    assert torch.rand(1) == expected


@pytest.mark.parametrize("name", METHODS)
def test_loss_falls(name, tissue):
    model = SpatialGraphTransformer(_make(name, max_epochs=60), random_state=0).fit(tissue)
    history = model.history_
    assert list(history["part"].unique()) == ["encoder"] and list(history["epoch"]) == list(range(1, len(history) + 1))
    assert history["train_loss"].tail(5).mean() < history["train_loss"].head(5).mean()


@pytest.mark.parametrize("name", METHODS)
def test_terms_add_up_to_the_loss(name):
    inputs, average, points, _ = random_tissue()
    known = sorted(parameter for parameter in _make(name).get_params() if parameter.endswith("_weight"))
    weights = {parameter: 0.3 + 0.2 * i for i, parameter in enumerate(known)}
    encoder = _make(name, **weights)
    encoder.fit_embed(inputs, average, 4, points=points, random_state=0)
    total = sum(weights.get(f"{term}_weight", 1.0) * encoder.history_[term] for term in encoder.network_.terms)
    np.testing.assert_allclose(encoder.history_["train_loss"], total, rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_parameters_of_training_reach_it(name, epoch_watch):
    inputs, average, points, _ = random_tissue()
    watch = epoch_watch(most=3)

    def fitted(**parameters):
        encoder = _make(name, **parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the watch interrupts
            encoder.fit_embed(inputs, average, 4, points=points, random_state=0)
        return encoder

    norms = [sum(p.square().sum() for p in fitted(weight_decay=d, lr=0.01).network_.parameters()) for d in (0.0, 10.0)]
    assert norms[1] < norms[0]
    assert len(fitted(patience=1, lr=1e-9, max_epochs=40).history_) < 40
    assert len(fitted(callbacks=[watch]).history_) == len(watch.epochs_) == 3
    with pytest.raises(ValueError, match="nowhere"):
        fitted(device="nowhere")


def test_beyond_so_many_spots_there_are_tiles_and_as_many_steps(monkeypatch, epoch_watch):
    monkeypatch.setattr(base, "STEPS", 12)
    for constant, value in {"MAX_FULL_BATCH": 119, "TILE_SIZE": 5}.items():
        monkeypatch.setattr(limits, constant, value)
    inputs, average, points, _ = random_tissue(120)
    watch = epoch_watch()
    encoder = _make("graphst", max_epochs="auto", callbacks=[watch])
    encoder.fit_embed(inputs, average, 4, points=points, random_state=0)
    n_batches = len(watch.batches_) // len(encoder.history_)
    assert n_batches > 1 and len(encoder.history_) == max(base.MIN_EPOCHS, 12 // n_batches)
    encoder.fit_embed(inputs[:119], average[:119, :119], 4, points=points[:119], random_state=0)
    assert len(encoder.history_) == 12


@pytest.mark.parametrize("name", VARIANTS)
def test_tiles_embed_as_the_whole_tissue(name, monkeypatch):
    monkeypatch.setattr(base, "TILES_A_CHUNK", 3)
    inputs, average, points, batch = random_tissue(200, n_slices=2)
    encoder = _make(name)
    whole = encoder.fit_embed(inputs, average, 4, points=points, batch=batch, random_state=0)
    encoder.set_params(batch_size=15)
    for places in (points, None):
        tiled = encoder.embed(inputs, average, points=places, batch=batch)
        np.testing.assert_allclose(tiled, whole, atol=2e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_mini_batches_learn(name, noisy, epoch_watch):
    expression, average, points, _ = noisy
    watch = epoch_watch()
    encoder = _make(name, batch_size=10, max_epochs=15, lr=1e-2, callbacks=[watch])
    embedding = encoder.fit_embed(expression, average, 4, points=points, random_state=0)
    assert embedding.shape == (300, 4) and np.isfinite(embedding).all()
    assert len(watch.batches_) > 2 * 15 and sum(watch.batches_) == 300 * 15
    losses = encoder.history_["train_loss"]
    assert losses.iloc[-1] < 0.9 * losses.iloc[0]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_slice_is_embedded_as_if_it_were_alone(name):
    inputs, average, points, batch = random_tissue(120, n_slices=2)
    encoder = _make(name, batch_size=20)
    embedding = encoder.fit_embed(inputs, average, 4, points=points, batch=batch, random_state=0)
    first = batch == 0
    alone = averaging_operator(spatial_graph(points[first], n_neighbors=4))
    np.testing.assert_allclose(encoder.embed(inputs[first], alone, points=points[first]), embedding[first], atol=2e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 3), (5, 1), (9, 4), (30, 4)])
def test_few_spots_few_inputs_no_edges_and_no_expression(name, shape):
    inputs, average, points, _ = random_tissue(*shape)
    alone = sparse.eye_array(shape[0], dtype=np.float32, format="csr")
    for graph, places in ((average, points), (alone, None)):
        for values in (inputs, np.ones_like(inputs)):
            encoder = _make(name, max_epochs=2)
            embedding = encoder.fit_embed(values, graph, 20, points=places, random_state=0)
            assert embedding.shape == (shape[0], min(20, *shape)) and embedding.dtype == np.float32
            assert np.isfinite(embedding).all() and np.isfinite(encoder.embed(inputs, graph)).all()
            assert np.isfinite(encoder.history_.to_numpy(dtype=float)).all()


@pytest.mark.parametrize("name", METHODS)
def test_genes_themselves_are_read_with_published_settings(name, tissue):
    model = SpatialGraphTransformer.paper(name, random_state=0)
    method, spatial = model.method.get_params(), model.get_params()
    assert PUBLISHED[name].items() <= method.items() and PUBLISHED_SPATIAL[name].items() <= spatial.items()
    assert model.method.n_inputs is None and clone(model.method).get_params() == method
    model.set_params(method__max_epochs=2).fit(tissue)
    assert model.n_components_ == min(model.n_components, 40)
    shapes = {tuple(parameter.shape) for parameter in model.encoder_.network_.parameters()}
    assert (PUBLISHED[name]["n_hidden"], 40) in shapes
    np.testing.assert_allclose(model.transform(tissue), model.embedding_, atol=5e-5)


@pytest.mark.parametrize("name", METHODS)
def test_interrupted_training_is_used(name, monkeypatch):
    inputs, average, points, _ = random_tissue()
    trained = _make(name, max_epochs=1)
    trained.fit_embed(inputs, average, 4, points=points, random_state=0)
    network = type(trained.network_)
    losses, calls = network.losses, []

    def interrupted(self, *args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return losses(self, *args)

    monkeypatch.setattr(network, "losses", interrupted)
    encoder = _make(name)
    with pytest.warns(UserWarning, match="interrupted"):
        embedding = encoder.fit_embed(inputs, average, 4, points=points, random_state=0)
    assert encoder.interrupted_ and len(encoder.history_) == 2 and np.isfinite(embedding).all()


@pytest.mark.parametrize("name", METHODS)
def test_text_modulates_what_the_network_made(name, tissue):
    text = GeneTextEncoder(model="lexical", mode="prompt", k_g=5)
    plain = SpatialGraphTransformer(_make(name), n_components=4, random_state=0).fit(tissue)
    model = SpatialGraphTransformer(_make(name), semantic=text, n_components=4, random_state=0).fit(tissue)
    assert list(model.history_["part"].unique()) == ["encoder", "modulation"]
    assert model.modulation_.alpha.shape == (300, 4)
    assert np.abs(model.embedding_ - plain.embedding_).max() > 1e-4
    np.testing.assert_allclose(model.transform(tissue), model.embedding_, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_simple_domains_are_found(name, tissue):
    model = SpatialGraphTransformer(encoder_class(name)(max_epochs=50), n_components=8, random_state=0)
    labels = make_clusterer("kmeans", 3, random_state=0).fit_predict(model.fit_transform(tissue))
    assert score_partition(tissue.obs["label"], labels)["ari"] > 0.8


@pytest.mark.parametrize("name", VARIANTS)
def test_domains_emerge_from_noise(name, noisy):
    expression, average, points, domain = noisy
    encoder = _make(name, n_hidden=64, max_epochs=50)
    embedding = encoder.fit_embed(expression, average, 4, points=points, random_state=0)

    def agreement(values):
        labels = make_clusterer("kmeans", 3, random_state=0).fit_predict(values)
        return score_partition(domain, labels)["ari"]

    assert agreement(embedding) > agreement(expression) + 0.15


def test_encoder_is_cloned_and_searched(tissue):
    encoder = _make("graphst")
    model = SpatialGraphTransformer(encoder, random_state=0)
    assert clone(model).set_params(method__n_hidden=3).method.n_hidden == 3
    model.fit(tissue)
    assert not hasattr(encoder, "network_") and model.encoder_ is not encoder


def test_methods_without_published_settings():
    with pytest.raises(ValueError, match="'smooth' has no published settings"):
        SpatialGraphTransformer.paper("smooth")


def test_no_network_without_being_asked(tissue):
    assert SpatialGraphTransformer().fit(tissue).encoder_ is None


def test_batches_hand_out_every_spot_once():
    inputs, average, _, _ = random_tissue(50)
    parts = np.array_split(np.random.default_rng(0).permutation(50), 12)
    batches = GraphBatches(inputs, average, {"number": np.arange(50)}, hops=1, parts=parts, random_state=np.random)
    for found in ([batch for batch, _ in batches], [batch for _, batch in batches.in_order()]):
        numbers = torch.cat([batch.more["number"][: batch.n_core] for batch in found])
        assert sorted(numbers.tolist()) == list(range(50))
    assert batches.n_batches == len(list(batches)) == 2
