"""Training of LLMDSCClusterer: each loss by its switch, interrupts, mini-batches and their cost."""

import tracemalloc

import numpy as np
import pytest
from llmdsc_fits import FEW, lexical, quick_llmdsc
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from tissues import ari

from skst import limits
from skst.datasets import make_spatial_domains
from skst.nn import cells as networks
from skst.settings import CellLosses

LOSSES = {"mse": "mse", "cut": "cut", "align": "alignment", "kl": "kl"}


pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


# Losses


@pytest.mark.parametrize("weight", LOSSES)
@pytest.mark.parametrize("batch_size", ["auto", 64])
def test_each_loss_can_be_left_out(cells, quickly, weight, batch_size):
    whole = quickly(batch_size)
    fitted = quick_llmdsc(network__batch_size=batch_size, **{f"losses__{weight}": 0.0}).fit(cells)
    assert set(whole.history_) - set(fitted.history_) == {LOSSES[weight]}
    assert set(fitted.history_) <= set(whole.history_) and ari(fitted, cells) > 0.9
    np.testing.assert_array_equal(fitted.predict(cells), fitted.labels_)
    if weight != "align":
        assert not np.array_equal(fitted.structural_embedding_, whole.structural_embedding_)


def test_history(cells, epoch_watch):
    watch = epoch_watch()
    fitted = quick_llmdsc(network__callbacks=[watch], losses__kl=0.2, losses__cut=0.5).fit(cells)
    history = fitted.history_
    columns = {"network", "stage", "epoch", "train_loss", "mse", "cut", "alignment", "kl", "dur"}
    assert set(history) == columns and list(history)[:4] == ["network", "stage", "epoch", "train_loss"]
    assert history["network"].tolist() == [0] * 6 + [1] * 6 and history["stage"].tolist() == 2 * [1, 1, 1, 2, 2, 2]
    assert history["epoch"].tolist() == 4 * [1, 2, 3]
    first = history["stage"] == 1
    assert history.loc[first, ["alignment", "kl"]].isna().all(axis=None) and history[~first].notna().all(axis=None)
    terms = history[["alignment", "kl"]].fillna(0)
    total = history["mse"] + 0.5 * history["cut"] + 0.3 * terms["alignment"] + 0.2 * terms["kl"]
    np.testing.assert_allclose(history["train_loss"], total, rtol=1e-5)
    assert watch.epochs_ == history["train_loss"].tolist()[9:]  # it starts anew with each network and stage
    assert watch.batches_ == [300] * 3 and not fitted.interrupted_


def test_the_losses_have_their_parameters(cells, quickly):
    expected, text = quickly().structural_embedding_, quickly().semantic_embedding_
    for name, value in {"cut_balance": 1.0, "ortho": 9.0, "target_power": 1.0}.items():
        changed = quick_llmdsc(losses=CellLosses(**{name: value})).fit(cells)
        assert not np.array_equal(changed.structural_embedding_, expected), name
    assert not np.array_equal(quick_llmdsc(network__lr=3e-3).fit(cells).structural_embedding_, expected)
    for name, value in {"temperature": 0.5, "hinge": 0.5, "n_contrast": 20}.items():
        fitted = quick_llmdsc(losses=CellLosses(**{name: value})).fit(cells)
        assert not np.array_equal(fitted.semantic_embedding_, text), name
        np.testing.assert_array_equal(fitted.structural_embedding_, expected)
    np.testing.assert_array_equal(quick_llmdsc(losses__n_contrast=None).fit(cells).semantic_embedding_, text)


# Training, watched and stopped


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize(
    ("step", "rows"), [(1, []), (3, [(0, 1, 2)]), (5, [(0, 1, 3), (0, 2, 1)]), (8, [(0, 1, 3), (0, 2, 3), (1, 1, 1)])]
)
def test_ctrl_c_keeps_what_was_learnt(cells, monkeypatch, step, rows):
    steps, whole = [], networks.F.mse_loss

    def interrupt(*args):
        steps.append(0)
        if len(steps) == step:
            raise KeyboardInterrupt
        return whole(*args)

    monkeypatch.setattr(networks.F, "mse_loss", interrupt)
    n_trained = 1 if step < 7 else 2
    with pytest.warns(UserWarning, match=f"Training was interrupted in network {n_trained} of 2; types are those"):
        fitted = quick_llmdsc(clusterer=FEW).fit(cells)
    assert fitted.interrupted_ and len(fitted.networks_) == n_trained
    sizes = fitted.history_.groupby(["network", "stage"]).size()
    assert [(*index, size) for index, size in sizes.items()] == rows
    assert fitted.structural_embedding_.shape == (300, 16 * n_trained) and ari(fitted, cells) > 0.9
    np.testing.assert_array_equal(fitted.predict(cells), fitted.labels_)
    assert fitted.soft_assignment_.shape == (300, 4)


def test_progress(cells, capsys):
    quick_llmdsc().fit(cells)
    assert capsys.readouterr() == ("", "")
    quick_llmdsc(verbose=1, n_clusters=None).fit(cells)
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if line.startswith("[LLMDSCClusterer]")]
    assert len(lines) == 6 and "300 cells x 120 genes" in lines[0] and "network 2 of 2, on" in lines[4]
    assert "%" in out + err


# Mini-batches


def test_mini_batches_agree_with_the_full_batch(cells, quickly, epoch_watch):
    watch = epoch_watch()
    full = quickly()
    parts = quick_llmdsc(network__batch_size=64, network__callbacks=[watch]).fit(cells)
    assert watch.batches_ == [60] * 15
    assert ari(parts, cells) > 0.9 and adjusted_rand_score(full.labels_, parts.labels_) > 0.9
    np.testing.assert_array_equal(parts.predict(cells), parts.labels_)
    cuts = [fitted.history_.query("stage == 1").groupby("network")["cut"].last() for fitted in (full, parts)]
    np.testing.assert_allclose(*cuts, atol=0.01)
    whole = quick_llmdsc(network__batch_size=300).fit(cells)
    np.testing.assert_array_equal(whole.embedding_, full.embedding_)


def test_passes_depend_on_the_number_of_batches(cells, monkeypatch, epoch_watch):
    quick = {"align_to": None, "losses__kl": 0.0, "network__max_epochs": "auto", "network__n_networks": 1}
    quick |= {"network__n_hidden": 4, "network__n_components": 4}
    assert len(quick_llmdsc(**quick).fit(cells).history_) == limits.CELL_STEPS
    monkeypatch.setattr(limits, "CELL_STEPS", 95)
    assert len(quick_llmdsc(network__batch_size=30, **quick).fit(cells).history_) == 10
    assert len(quick_llmdsc(network__batch_size=5, **quick).fit(cells).history_) == 3
    monkeypatch.setattr(limits, "MAX_FULL_BATCH", 299)
    monkeypatch.setattr(limits, "CELLS_A_BATCH", 60)
    watch = epoch_watch()
    assert len(quick_llmdsc(network__callbacks=[watch], **quick).fit(cells).history_) == 19 and set(watch.batches_) == {
        60
    }


@pytest.mark.parametrize("batch_size", ["auto", 256])
def test_nothing_of_size_n_by_n_is_allocated(bare_home, batch_size, largest_tensor):
    n = 2000
    adata = make_spatial_domains(n, n_genes=60, n_domains=3, random_state=0)
    quick = {"text": lexical(mode="aggregate"), "losses__n_contrast": 200, "network__n_hidden": 32}
    quick |= {"network__max_epochs": 1, "network__n_networks": 1, "network__batch_size": batch_size}
    model = quick_llmdsc(n_clusters=3, **quick)
    clone(model).fit(adata[:100].copy())  # imports, and what is made once
    with largest_tensor() as largest:
        tracemalloc.start()
        fitted = model.fit(adata)
        fitted.predict(adata)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert n * 32 <= largest.numel < n * n / 4
    assert peak < n * n * 4
