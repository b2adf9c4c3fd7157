"""Several networks of cells, one after the other."""

import warnings

import numpy as np
import pytest
import torch
from some_cells import LOSS_WEIGHTS, cell_cut, cell_groups, cell_inputs, cell_semantic

from skst.nn.cell_ensemble import CellEnsemble


def _ensemble(n_networks=2, semantic=True, batch_size=None, inputs=None, **shape):
    shape = {"n_hidden": 8, "n_components": 3} | shape
    inputs = [cell_inputs(seed=seed) for seed in range(n_networks)] if inputs is None else inputs
    options = {"max_epochs": 3, "kl_weight": 0.3, "align_weight": 0.4, "power": 3.0, "device": "cpu", "lr": 1e-2}
    options |= {"patience": None, "callbacks": None, "verbose": 0, "say": lambda step: None}
    weights = LOSS_WEIGHTS | {"cut": cell_cut(), "move_structure": False}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
        return CellEnsemble(shape).fit(
            inputs,
            cell_semantic() if semantic else None,
            range(5, 5 + n_networks),
            lambda embedding, seed: cell_groups(embedding),
            batch_size=batch_size,
            weights=weights,
            **options,
        )


def test_views_of_an_ensemble():
    inputs = [cell_inputs(), cell_inputs(seed=1)]
    ensemble = _ensemble(inputs=inputs)
    structure, text = ensemble.views(inputs, cell_semantic())
    assert structure.shape == text.shape == (60, 6) and structure.dtype == text.dtype == np.float32
    for number, (network, values) in enumerate(zip(ensemble.networks, inputs, strict=True)):
        columns = slice(3 * number, 3 * number + 3)
        encoded = network.encode(torch.from_numpy(values)).detach().numpy()
        encoded = encoded - encoded.mean(axis=0)
        np.testing.assert_allclose(structure[:, columns], encoded / np.sqrt(encoded.var(axis=0).sum()), atol=1e-5)
        assert text[:, columns].var(axis=0).sum() == pytest.approx(1, rel=1e-4)
        np.testing.assert_allclose(text[:, columns].mean(axis=0), 0, atol=1e-5)
    # Other cells on the same scale, whoever is seen with them.
    rows = [4, 30]
    others = ensemble.views([part[rows] for part in inputs], cell_semantic()[rows])
    for some, whole in zip(others, (structure, text), strict=True):
        np.testing.assert_allclose(some, whole[rows], atol=1e-6)
    history = ensemble.history
    assert list(history)[:3] == ["network", "stage", "epoch"]
    assert history["network"].tolist() == [0] * 6 + [1] * 6 and history["stage"].tolist() == 2 * [1, 1, 1, 2, 2, 2]


def test_seeds_of_an_ensemble_decide_everything():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    inputs = [cell_inputs(), cell_inputs()]
    views = [_ensemble(inputs=inputs, batch_size=16).views(inputs, cell_semantic()) for _ in range(2)]
    for first, again in zip(*views, strict=True):
        np.testing.assert_array_equal(first, again)
        assert not np.allclose(first[:, :3], first[:, 3:], atol=1e-4)  # of two seeds
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("batch_size", [None, 16])
def test_text_draws_nothing_from_the_structure(batch_size):
    inputs = [cell_inputs()]
    with_text = _ensemble(1, inputs=inputs, batch_size=batch_size).views(inputs, cell_semantic())[0]
    [without] = _ensemble(1, inputs=inputs, batch_size=batch_size, semantic=False).views(inputs, None)
    np.testing.assert_array_equal(with_text, without)


def test_a_view_without_variance():
    inputs = [np.zeros((60, 6), dtype=np.float32)]
    ensemble = _ensemble(1, semantic=False, inputs=inputs)
    [structure] = ensemble.views(inputs, None)
    assert np.isfinite(structure).all() and np.isfinite(ensemble.history["train_loss"]).all()
