"""What holds of every encoder that trains a network."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone

from skst import GeneTextEncoder, SpatialGraphTransformer
from skst.datasets import make_spatial_domains
from skst.graph import averaging_operator, spatial_graph
from skst.graph.encoders.base import GraphBatches
from skst.graph.transformer import ENCODERS, _encoder_class
from skst.metrics import score_partition
from skst.partition import make_clusterer

METHODS = tuple(ENCODERS)


@pytest.fixture(scope="module")
def tissue():
    return make_spatial_domains(n_samples=300, n_genes=40, n_domains=3, random_state=0)


def _make(name, **parameters):
    return _encoder_class(name)(**{"n_inputs": 10, "n_hidden": 16, "max_epochs": 5, **parameters})


def _inputs(n_spots=120, n_inputs=6, n_slices=1):
    rng = np.random.default_rng(0)
    points = rng.random((n_spots, 2))
    batch = np.arange(n_spots) % n_slices
    average = averaging_operator(spatial_graph(points, batch=batch))
    return rng.normal(size=(n_spots, n_inputs)).astype(np.float32), average, points, batch


@pytest.mark.parametrize("name", METHODS)
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


@pytest.mark.parametrize("name", METHODS)
def test_seed_determines_everything(name, tissue):
    first, again, other = (
        SpatialGraphTransformer(_make(name), n_components=4, random_state=seed).fit_transform(tissue)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_global_random_state_is_left_alone(name, tissue):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    SpatialGraphTransformer(_make(name), random_state=0).fit(tissue)
    assert torch.rand(1) == expected


@pytest.mark.parametrize("name", METHODS)
def test_loss_falls_and_terms_add_up_to_it(name, tissue):
    model = SpatialGraphTransformer(_make(name, max_epochs=60), random_state=0).fit(tissue)
    history = model.history_
    assert list(history["part"].unique()) == ["encoder"] and list(history["epoch"]) == list(range(1, len(history) + 1))
    assert history["train_loss"].tail(5).mean() < history["train_loss"].head(5).mean()


@pytest.mark.parametrize("name", METHODS)
def test_tiles_embed_as_the_whole_tissue(name):
    inputs, average, points, batch = _inputs(n_slices=2)
    encoder = _make(name)
    whole = encoder.fit_embed(inputs, average, 4, points=points, batch=batch, random_state=0)
    encoder.set_params(batch_size=15)
    tiled = encoder.embed(inputs, average, points=points, batch=batch)
    np.testing.assert_allclose(tiled, whole, atol=2e-5)


@pytest.mark.parametrize("name", METHODS)
def test_mini_batches_learn(name):
    inputs, average, points, _ = _inputs(n_spots=400)
    encoder = _make(name, batch_size=20, max_epochs=8)
    embedding = encoder.fit_embed(inputs, average, 4, points=points, random_state=0)
    assert embedding.shape == (400, 4) and np.isfinite(embedding).all()
    assert encoder.history_["train_loss"].iloc[-1] < encoder.history_["train_loss"].iloc[0]


@pytest.mark.parametrize("name", METHODS)
def test_slices_do_not_see_each_other(name):
    inputs, average, points, batch = _inputs(n_slices=2)
    encoder = _make(name)
    embedding = encoder.fit_embed(inputs, average, 4, points=points, batch=batch, random_state=0)
    first = batch == 0
    alone = averaging_operator(spatial_graph(points[first]))
    np.testing.assert_allclose(encoder.embed(inputs[first], alone, points=points[first]), embedding[first], atol=2e-5)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (5, 1), (9, 4)])
def test_few_spots_and_few_inputs(name, shape):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=shape).astype(np.float32)
    average = averaging_operator(spatial_graph(rng.random((shape[0], 2))))
    embedding = _make(name).fit_embed(inputs, average, 3, points=rng.random((shape[0], 2)), random_state=0)
    assert embedding.shape == (shape[0], min(3, *shape)) and np.isfinite(embedding).all()


@pytest.mark.parametrize("name", METHODS)
def test_constant_expression_and_no_edges(name):
    alone = sparse.eye_array(20, dtype=np.float32, format="csr")
    constant = np.ones((20, 3), dtype=np.float32)
    assert np.isfinite(_make(name).fit_embed(constant, alone, 2, random_state=0)).all()


@pytest.mark.parametrize("name", METHODS)
def test_genes_themselves_are_read_with_published_settings(name, tissue):
    model = SpatialGraphTransformer.paper(name, random_state=0)
    assert model.method.n_inputs is None
    model.set_params(method__max_epochs=2).fit(tissue)
    assert model.n_components_ == min(model.n_components, 40)
    np.testing.assert_allclose(model.transform(tissue), model.embedding_, atol=5e-5)


@pytest.mark.parametrize("name", METHODS)
def test_interrupted_training_is_used(name, monkeypatch):
    inputs, average, points, _ = _inputs()
    trained = _make(name, max_epochs=1)
    trained.fit_embed(inputs, average, 4, points=points, random_state=0)
    network = type(trained.network_)
    losses, calls = network.losses, []

    def interrupted(self, output, batch):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return losses(self, output, batch)

    monkeypatch.setattr(network, "losses", interrupted)
    encoder = _make(name)
    with pytest.warns(UserWarning, match="interrupted"):
        embedding = encoder.fit_embed(inputs, average, 4, points=points, random_state=0)
    assert encoder.interrupted_ and len(encoder.history_) == 2 and np.isfinite(embedding).all()


@pytest.mark.parametrize("name", METHODS)
def test_text_modulates_what_the_network_made(name, tissue):
    text = GeneTextEncoder(model="lexical", mode="prompt", k_g=5, cache=False)
    plain = SpatialGraphTransformer(_make(name), n_components=4, random_state=0).fit(tissue)
    model = SpatialGraphTransformer(_make(name), semantic=text, n_components=4, random_state=0).fit(tissue)
    assert list(model.history_["part"].unique()) == ["encoder", "modulation"]
    assert model.modulation_.alpha.shape == (300, 4)
    assert np.abs(model.embedding_ - plain.embedding_).max() > 1e-4
    np.testing.assert_allclose(model.transform(tissue), model.embedding_, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_simple_domains_are_found(name, tissue):
    model = SpatialGraphTransformer(name, n_components=8, random_state=0)
    model.method = _encoder_class(name)(max_epochs=100)
    labels = make_clusterer("kmeans", 3, random_state=0).fit_predict(model.fit_transform(tissue))
    assert score_partition(tissue.obs["label"], labels)["ari"] > 0.8


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
    inputs, average, _, _ = _inputs(n_spots=50)
    parts = np.array_split(np.random.default_rng(0).permutation(50), 12)
    batches = GraphBatches(inputs, average, {"number": np.arange(50)}, hops=1, parts=parts, random_state=np.random)
    for found in ([batch for batch, _ in batches], [batch for _, batch in batches.in_order()]):
        numbers = torch.cat([batch.more["number"][: batch.n_core] for batch in found])
        assert sorted(numbers.tolist()) == list(range(50))
    assert batches.n_batches == len(list(batches)) == 2
