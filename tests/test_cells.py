"""The autoencoder of cells, its batches, its loss and its two stages, against brute force."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import sparse
from skorch.callbacks import Callback
from some_cells import LOSS_WEIGHTS, cell_cut, cell_groups, cell_inputs, cell_semantic

from skst.nn import cell_ensemble, cells, info_nce, sinkhorn_target, soft_assignment
from skst.nn.cell_batches import CellBatch, CellBatches
from skst.nn.cell_ensemble import encode_all, fit_network
from skst.nn.cells import CellAutoencoder, CellNet


def _network(seed=0, rough=True, **options):
    """A network of which no weight is zero, unless it is to be left as it is made."""
    torch.manual_seed(seed)
    network = CellAutoencoder(6, 8, 3, **options)
    if rough:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_(std=0.4)
    return network


def _fit(network, batches, **options):
    weights = LOSS_WEIGHTS | {"cut": cell_cut(len(batches)), "move_structure": True} | options.pop("weights", {})
    options = {
        "max_epochs": 4,
        "kl_weight": 0.3,
        "align_weight": 0.4,
        "power": 3.0,
        "device": "cpu",
        "lr": 1e-2,
        "patience": None,
        "callbacks": None,
        "verbose": 0,
    } | options
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
        return fit_network(network, batches, options.pop("initial", cell_groups), weights=weights, **options)


# Batches


def test_batches_hand_out_every_cell_once_and_rows_together():
    values, semantic = sparse.csr_array(cell_inputs(50)), cell_semantic(50)
    batches = CellBatches(values, semantic, batch_size=12, random_state=np.random.RandomState(0))
    batches.target = torch.rand(50, 2)
    assert len(batches) == 50 and batches.n_batches == 5
    epochs = []
    for _ in range(2):
        parts = [batch for batch, label in batches]
        assert [batch.n_core for batch in parts] == [10] * 5
        for batch in parts:
            np.testing.assert_array_equal(batch.inputs, values[batch.rows].toarray())
            np.testing.assert_array_equal(batch.semantic, semantic[batch.rows])
            assert torch.equal(batch.target, batches.target[batch.rows])
        epochs.append(np.concatenate([batch.rows for batch in parts]))
        np.testing.assert_array_equal(np.sort(epochs[-1]), np.arange(50))
    assert not np.array_equal(*epochs)


@pytest.mark.parametrize("batch_size", [None, 50, 400])
def test_all_cells_at_once(batch_size):
    batches = CellBatches(cell_inputs(50), None, batch_size=batch_size)
    [(batch, label)] = batches
    assert batch.rows is None and batch.semantic is None and batch.target is None and label is None
    np.testing.assert_array_equal(batch.inputs, cell_inputs(50))
    assert batch.to("cpu").n_core == 50


def test_cells_in_order():
    values = cell_inputs(50)
    parts = list(CellBatches(values, cell_semantic(50), batch_size=7).in_order(size=20))
    assert [part.n_core for part in parts] == [20, 20, 10]
    np.testing.assert_array_equal(torch.cat([part.inputs for part in parts]), values)


# The network


def _all(n=60, semantic=True):
    return CellBatch(
        torch.from_numpy(cell_inputs(n)), torch.from_numpy(cell_semantic(n)) if semantic else None, None, None
    )


@pytest.mark.parametrize("linear", [False, True])
def test_training_begins_at_the_axes(linear):
    network, batch = _network(rough=False, linear=linear, n_semantic=4), _all()
    views = network(batch)
    assert torch.equal(views.embedding, batch.inputs[:, :3]) and torch.equal(views.structure, views.embedding)
    assert torch.equal(views.reconstruction[:, :3], batch.inputs[:, :3]) and not views.reconstruction[:, 3:].any()
    # What is silent at first learns: its last layer has a gradient.
    loss = F.mse_loss(views.reconstruction, batch.inputs) + views.embedding.pow(3).sum()
    loss.backward()
    for layer in (network.encoder[-1], network.decoder[-1]):
        assert not layer.weight.any() and layer.weight.grad.any()
    random = _network(rough=False, from_axes=False)(_all(semantic=False))
    assert not torch.allclose(random.embedding, batch.inputs[:, :3], atol=0.1)
    assert random.structure is None and random.text is None


@pytest.mark.parametrize("n_projection", [None, 5])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("from_axes", [False, True])
def test_views_equal_their_formula(n_projection, linear, from_axes):
    network = _network(n_projection=n_projection, linear=linear, from_axes=from_axes, n_semantic=4)
    batch, state = _all(), network.state_dict()
    middle = (lambda x: x) if linear else torch.relu

    def perceptron(name, x, middle=torch.relu):
        hidden = middle(x @ state[f"{name}.0.weight"].T + state[f"{name}.0.bias"])
        return hidden @ state[f"{name}.2.weight"].T + state[f"{name}.2.bias"]

    code = perceptron("encoder", batch.inputs, middle)
    code = code + batch.inputs[:, :3] if from_axes else code
    back = perceptron("decoder", code, middle)
    back = back + code @ state["put_back.weight"].T + state["put_back.bias"] if from_axes else back
    text = perceptron("project_text", batch.semantic)
    if n_projection is None:
        structure, text = code, text + batch.semantic @ state["predict.weight"].T + state["predict.bias"]
    else:
        structure = F.normalize(perceptron("project_structure", code), dim=1)
        text = F.normalize(text, dim=1)
    for found, expected in zip(network(batch), (code, back, structure, text), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_text_begins_as_a_ridge_regression():
    network, batch = _network(rough=False, n_semantic=4), _all()
    embedding = batch.inputs[:, :3] + 7
    network.start_text(embedding, batch.semantic, ridge=0.1)
    S, Z = batch.semantic.double().numpy(), (embedding - embedding.mean(dim=0)).double().numpy()
    coefficients = np.linalg.solve(S.T @ S + 6 * np.eye(4), S.T @ Z)
    _, text = network.align(embedding, batch.semantic)
    np.testing.assert_allclose(text.detach(), S @ coefficients + embedding.mean(dim=0).numpy(), atol=1e-4)
    shared = _network(n_semantic=4, n_projection=5)
    before = {name: value.clone() for name, value in shared.state_dict().items()}
    shared.start_text(embedding, batch.semantic)
    _network().start_text(embedding, None)
    assert all(torch.equal(value, before[name]) for name, value in shared.state_dict().items())


@pytest.mark.parametrize("kl_weight", [0.0, 0.3])
def test_text_that_is_not_aligned_still_predicts_the_structure(kl_weight):
    network, batches = _network(rough=False, n_semantic=4), CellBatches(cell_inputs(), cell_semantic())
    _fit(network, batches, align_weight=0.0, kl_weight=kl_weight)
    structure, text = (view - view.mean(axis=0) for view in cell_ensemble.view_all(network, batches))
    assert np.square(text - structure).sum() < 0.5 * np.square(structure).sum()


# The loss


def _net(network, **options):
    weights = LOSS_WEIGHTS | {"cut": cell_cut(), "move_structure": True, "align_weight": 0.4, "kl_weight": 0.3}
    return CellNet(network, lr=0.1, **(weights | options)).initialize()


@pytest.mark.parametrize("n_projection", [None, 5])
def test_losses_equal_their_formulas(n_projection):
    network = _network(n_semantic=4, n_projection=n_projection)
    network.start_clusters(np.random.default_rng(0).normal(size=(3, 3)))
    target = torch.softmax(torch.rand(60, 3), dim=1)
    batch = _all()._replace(target=target)
    net = _net(network)
    views = network(batch)
    losses = net.losses(views, batch)
    z = views.embedding - views.embedding.mean(dim=0)
    q = soft_assignment(views.embedding, network.centers)
    unit = [F.normalize(view, dim=1) for view in (views.structure, views.text)]
    hinge = sum((1 - (view.var(dim=0, correction=0) + 1e-4).sqrt()).relu().mean() for view in unit)
    expected = {
        "mse": (0.5, (views.reconstruction - batch.inputs).square().mean()),
        "cut": (0.7, cell_cut()(z)),
        "alignment": (0.4, info_nce(views.text, views.structure, 0.5) + 0.2 * hinge),
        "kl": (0.3, (target * (target / q).log()).sum(dim=1).mean()),
    }
    assert list(losses) == list(expected) == list(CellNet.terms)
    for name, (weight, value) in expected.items():
        assert losses[name][0] == weight
        torch.testing.assert_close(losses[name][1], value, atol=1e-5, rtol=1e-5)
    for name in ("mse", "cut", "align", "kl"):
        left_out = _net(network, **{f"{name}_weight": 0.0}).losses(views, batch)
        assert set(expected) - set(left_out) == {"alignment" if name == "align" else name}


def test_the_cut_does_not_see_where_the_embedding_lies():
    network, batch = _network(), _all(semantic=False)
    net, views = _net(network), network(batch)
    moved = views._replace(embedding=views.embedding + 100)
    torch.testing.assert_close(
        net.losses(moved, batch)["cut"][1], net.losses(views, batch)["cut"][1], atol=1e-4, rtol=0
    )


def test_the_cut_of_a_batch_estimates_that_of_all_cells():
    network = _network()
    net, whole = _net(network), _all(semantic=False)
    rows = np.arange(0, 60, 2)
    batch = CellBatch(whole.inputs[rows], None, rows, None)
    views = network(batch)
    z = views.embedding - views.embedding.mean(dim=0)
    torch.testing.assert_close(net.losses(views, batch)["cut"][1], cell_cut().estimate(z, rows))
    everything = whole._replace(rows=np.arange(60))
    exact, estimated = (net.losses(network(part), part)["cut"][1] for part in (whole, everything))
    torch.testing.assert_close(exact, estimated, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("n_projection", [None, 5])
@pytest.mark.parametrize("move_structure", [False, True])
def test_what_the_alignment_moves(move_structure, n_projection):
    network, batch = _network(n_semantic=4, n_projection=n_projection), _all()
    net = _net(network, move_structure=move_structure)
    weight, alignment = net.losses(network(batch), batch)["alignment"]
    (weight * alignment).backward()
    moved = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert {"project_text.0.weight", "project_text.2.weight"} <= moved
    assert ("encoder.0.weight" in moved) == move_structure


def test_a_contrast_with_some_cells(monkeypatch):
    network, batch = _network(n_semantic=4), _all()
    views = network(batch)
    some = _net(network, n_contrast=10, hinge_weight=0.0)
    torch.manual_seed(3)
    found = some.losses(views, batch)["alignment"][1]
    torch.manual_seed(3)
    drawn = torch.randperm(60)[:10]
    torch.testing.assert_close(found, info_nce(views.text[drawn], views.structure[drawn], 0.5))
    assert not torch.equal(some.losses(views, batch)["alignment"][1], found)
    # All cells, in blocks where they are many: the same value.
    whole = _net(network, hinge_weight=0.0).losses(views, batch)["alignment"][1]
    monkeypatch.setattr(cells, "_CHUNK", 7)
    torch.testing.assert_close(_net(network, hinge_weight=0.0).losses(views, batch)["alignment"][1], whole)
    torch.testing.assert_close(
        _net(network, n_contrast=60, hinge_weight=0.0).losses(views, batch)["alignment"][1], whole
    )


# Two stages


class _Watch(Callback):
    """Notes the target at the end of each epoch; stops training when told."""

    def __init__(self, batches, stop=None):
        self.batches, self.stop = batches, stop
        self.targets, self.epochs = [], 0

    def on_epoch_end(self, net, **kwargs):
        self.targets.append(self.batches.target)
        self.epochs += 1
        if self.epochs == self.stop:
            raise KeyboardInterrupt


def test_two_stages():
    batches = CellBatches(cell_inputs(), cell_semantic())
    network, watch = _network(rough=False, n_semantic=4), _Watch(batches)
    seen = []

    def initial(embedding):
        seen.append((embedding.copy(), encode_all(network, batches), watch.epochs))
        return cell_groups(embedding)

    history, interrupted = _fit(network, batches, initial=initial, callbacks=[watch])
    assert not interrupted and history["stage"].tolist() == [1] * 4 + [2] * 4
    assert history["epoch"].tolist() == 2 * [1, 2, 3, 4]
    first, second = history[history["stage"] == 1], history[history["stage"] == 2]
    assert first["kl"].isna().all() and first["alignment"].isna().all() and second.notna().all(axis=None)
    np.testing.assert_allclose(first["train_loss"], 0.5 * first["mse"] + 0.7 * first["cut"], rtol=1e-5)
    total = 0.5 * second["mse"] + 0.7 * second["cut"] + 0.4 * second["alignment"] + 0.3 * second["kl"]
    np.testing.assert_allclose(second["train_loss"], total, rtol=1e-5)
    [(embedding, encoded, epochs)] = seen
    assert epochs == 4 and watch.targets[:4] == [None] * 4
    np.testing.assert_array_equal(embedding, encoded)
    assert network.centers.shape == (3, 3) and batches.target is None
    assert not network.training and {parameter.device.type for parameter in network.parameters()} == {"cpu"}


def test_the_target_is_set_first_and_anew():
    batches = CellBatches(cell_inputs(), None)
    watch = _Watch(batches)
    _fit(_network(rough=False), batches, max_epochs=21, callbacks=[watch])
    targets = watch.targets[21:]
    kept = [a is b for a, b in zip(targets, targets[1:], strict=False)]
    assert [i + 1 for i, same in enumerate(kept) if not same] == [10, 20]
    for target in targets:
        np.testing.assert_allclose(target.sum(dim=1), 1, atol=1e-4)
        np.testing.assert_allclose(target.sum(dim=0), 20, atol=0.1)


def test_the_first_target_is_that_of_the_first_stage():
    batches = CellBatches(cell_inputs(), None)
    network, watch = _network(rough=False), _Watch(batches, stop=5)
    found = {}

    def initial(embedding):
        labels = np.repeat([0, 4, 7], [30, 20, 10])  # numbers without clusters are skipped
        means = np.stack([embedding[labels == label].mean(axis=0) for label in (0, 4, 7)])
        z, centers = (torch.from_numpy(part.astype(np.float32)) for part in (embedding, means))
        found["target"] = sinkhorn_target(soft_assignment(z, centers), [30, 20, 10], 3.0)
        return labels

    _fit(network, batches, initial=initial, callbacks=[watch])
    torch.testing.assert_close(watch.targets[-1], found["target"], atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(watch.targets[-1].sum(dim=0), [30, 20, 10], atol=0.1)


def test_with_many_batches_the_target_is_set_each_epoch():
    batches = CellBatches(cell_inputs(), None, batch_size=5, random_state=np.random.RandomState(0))
    watch = _Watch(batches)
    history, _ = _fit(_network(rough=False), batches, max_epochs=3, callbacks=[watch])
    first, second, third = watch.targets[3:]
    assert first is not second and second is not third and len(history) == 6


@pytest.mark.parametrize(
    ("options", "stages", "terms"),
    [
        ({"kl_weight": 0.0}, {1, 2}, {"mse", "cut", "alignment"}),
        ({"align_weight": 0.0}, {1, 2}, {"mse", "cut", "kl"}),
        ({"align_weight": 0.0, "kl_weight": 0.0}, {1}, {"mse", "cut"}),
        ({"weights": {"mse_weight": 0.0}}, {1, 2}, {"cut", "alignment", "kl"}),
        ({"weights": {"cut_weight": 0.0, "cut": None}}, {1, 2}, {"mse", "alignment", "kl"}),
    ],
)
def test_a_loss_without_weight_is_left_out(options, stages, terms):
    network = _network(rough=False, n_semantic=4)
    history, _ = _fit(network, CellBatches(cell_inputs(), cell_semantic()), **options)
    assert set(history["stage"]) == stages
    assert set(history) & {"mse", "cut", "alignment", "kl"} == terms
    assert (network.centers is None) == (options.get("kl_weight") == 0)


def test_without_text_there_is_no_alignment():
    batches = CellBatches(cell_inputs(), None)
    history, _ = _fit(_network(rough=False), batches, kl_weight=0.0)
    assert set(history["stage"]) == {1} and "alignment" not in history


@pytest.mark.parametrize("batch_size", [None, 16])
def test_training_lowers_the_losses(batch_size):
    batches = CellBatches(cell_inputs(), cell_semantic(), batch_size=batch_size, random_state=np.random.RandomState(0))
    network = _network(rough=False, n_semantic=4)
    history, _ = _fit(network, batches, max_epochs=30, weights={"cut_weight": 0.0, "cut": None})
    for stage, terms in ((1, ["mse"]), (2, ["alignment", "kl"])):
        part = history[history["stage"] == stage]
        for term in ["train_loss", *terms]:
            assert part[term].iloc[-3:].mean() < part[term].iloc[0], (stage, term)


@pytest.mark.parametrize(("stop", "stages"), [(2, [1, 1]), (6, [1, 1, 1, 1, 2, 2])])
def test_ctrl_c_in_either_stage(monkeypatch, stop, stages):
    steps, whole = [], cells.F.mse_loss

    def interrupt(*args):
        steps.append(0)
        if len(steps) > stop:
            raise KeyboardInterrupt
        return whole(*args)

    monkeypatch.setattr(cells.F, "mse_loss", interrupt)
    batches = CellBatches(cell_inputs(), cell_semantic())
    network = _network(rough=False, n_semantic=4)
    history, interrupted = _fit(network, batches)
    assert interrupted and history["stage"].tolist() == stages
    assert batches.target is None and not network.training
    assert np.isfinite(encode_all(network, batches)).all()
