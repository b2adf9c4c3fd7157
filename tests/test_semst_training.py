"""Training of SemSTClusterer, watched and stopped, the counts that it denoises, mini-batches and their cost."""

import tracemalloc

import numpy as np
import pytest
from semst_fits import lexical, quick_semst
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from tissues import ari

from skst.datasets import make_spatial_domains
from skst.nn import training

# Training, watched and stopped


def test_history_and_callbacks(tissue, epoch_watch):
    watch = epoch_watch()
    fitted = quick_semst(network__callbacks=[watch]).fit(tissue)
    history = fitted.history_
    assert list(history) == ["network", "epoch", "train_loss", "zinb", "correlation", "spatial", "text", "dur"]
    assert history["network"].tolist() == [0] * 5 + [1] * 5 and history["epoch"].tolist() == 2 * [1, 2, 3, 4, 5]
    terms = history["zinb"] + 0.1 * (history["correlation"] + history["spatial"]) + 0.3 * history["text"]
    np.testing.assert_allclose(history["train_loss"], terms, rtol=1e-5)
    assert watch.epochs_ == history["train_loss"].tolist()[5:]  # it starts anew with each network
    assert watch.batches_ == 5 * [400] and not fitted.interrupted_
    losses = history.groupby("network")["train_loss"]
    assert (losses.last() < losses.first()).all()


def test_patience_ends_training(tissue):
    fitted = quick_semst(network__lr=1e-9, network__patience=2, network__max_epochs=30).fit(tissue)
    assert fitted.history_.groupby("network").size().tolist() == [3, 3] and not fitted.interrupted_


def test_a_callback_may_stop_each_network(tissue, epoch_watch):
    fitted = quick_semst(network__callbacks=[epoch_watch(most=2)]).fit(tissue)
    assert fitted.history_.groupby("network").size().tolist() == [2, 2]
    assert not fitted.interrupted_ and len(fitted.networks_) == 2


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize(("step", "rows"), [(1, []), (4, [3]), (6, [5]), (8, [5, 2])])
def test_ctrl_c_keeps_what_was_learnt(tissue, monkeypatch, step, rows):
    steps = []
    likelihood = training.zinb_loss

    def interrupt(*args):
        steps.append(0)
        if len(steps) == step:
            raise KeyboardInterrupt
        return likelihood(*args)

    monkeypatch.setattr(training, "zinb_loss", interrupt)
    n_trained = 1 if step < 6 else 2
    with pytest.warns(UserWarning, match=f"Training was interrupted in network {n_trained} of 2"):
        fitted = quick_semst().fit(tissue)
    assert fitted.interrupted_ and len(fitted.networks_) == n_trained
    assert fitted.history_.groupby("network").size().tolist() == rows
    assert fitted.embedding_.shape == (400, 20 * (n_trained + 1)) and ari(fitted, tissue) > 0.7
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)
    assert fitted.denoised_.shape == (400, 120) and fitted.modulation_.alpha.shape == (400, 40 * n_trained)


def test_progress(tissue, capsys):
    quick_semst().fit(tissue)
    assert capsys.readouterr() == ("", "")
    quick_semst(verbose=1, n_clusters=None).fit(tissue)
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if line.startswith("[SemSTClusterer]")]
    assert len(lines) == 6 and "network 2 of 2" in lines[3]
    assert "%" in out + err


# Counts


def test_denoised_counts_are_nearer_to_the_truth(tissue):
    fitted = quick_semst(network__max_epochs=40).fit(tissue)
    domains = np.unique(tissue.obs["label"], return_inverse=True)[1]
    X = tissue.X.toarray()
    sizes = X.sum(axis=1, keepdims=True)
    truth = np.median(sizes) * tissue.uns["truth"]["profiles"][domains, 0]
    raw, denoised = np.median(sizes) * X / sizes, fitted.denoised_
    assert denoised.shape == (400, 120) and denoised.dtype == np.float32 and (denoised > 0).all()
    assert denoised.sum(axis=1).mean() == pytest.approx(np.median(sizes), rel=0.1)
    assert np.square(denoised - truth).mean() < np.square(raw - truth).mean() / 5
    marked = np.flatnonzero(tissue.var["programme"] != "")
    correlation = [[np.corrcoef(counts[:, g], truth[:, g])[0, 1] for g in marked] for counts in (raw, denoised)]
    assert np.median(correlation[0]) < 0.5 and np.median(correlation[1]) > 0.7
    few = quick_semst(network__n_top_genes=40).fit(tissue)
    assert few.denoised_.shape == (400, 40)
    np.testing.assert_allclose(few.denoised_.mean(axis=0), raw[:, few.denoised_genes_].mean(axis=0), rtol=0.3)


def test_denoised_counts_come_from_the_networks_and_not_from_averaged_expression(tissue):
    fitted = quick_semst(network__n_networks=1, network__max_epochs=40, fusion=None).fit(tissue)
    logs = np.log(fitted.denoised_.astype(float))
    left = []
    for view in np.split(fitted.embedding_.astype(float), 2, axis=1):
        design = np.column_stack([view, np.ones(400)])
        left.append(np.abs(logs - design @ np.linalg.lstsq(design, logs, rcond=None)[0]).max())
    assert left[1] < 1e-3 < 0.05 < left[0]


# Mini-batches


def test_mini_batches_agree_with_the_full_batch(tissue, epoch_watch, semst):
    watch = epoch_watch()
    tiled = quick_semst(network__batch_size=16, network__callbacks=[watch]).fit(tissue)
    assert len(watch.batches_) == 5 * 4 and sum(watch.batches_) == 5 * 400 and max(watch.batches_) < 130
    assert adjusted_rand_score(semst.labels_, tiled.labels_) > 0.8 and ari(tiled, tissue) > 0.75
    np.testing.assert_array_equal(tiled.predict(tissue), tiled.labels_)
    again = quick_semst(network__batch_size=16).fit(tissue)
    np.testing.assert_array_equal(again.embedding_, tiled.embedding_)
    coarse = quick_semst(network__batch_size=64).fit(tissue)
    assert adjusted_rand_score(semst.labels_, coarse.labels_) > 0.8
    assert not np.array_equal(coarse.embedding_, tiled.embedding_)


def test_passes_depend_on_the_number_of_batches(tissue):
    quick = {"network__max_epochs": "auto", "network__patience": None, "network__n_networks": 1, "fusion": None}
    quick |= {"network__n_components": 4, "network__n_hidden": 8}
    assert len(quick_semst(**quick).fit(tissue).history_) == 80
    assert (
        len(quick_semst(network__batch_size=4, **quick).fit(tissue).history_) == 13
    )  # 100 tiles, 13 batches, 160 steps


@pytest.mark.parametrize("batch_size", ["auto", 64])
def test_nothing_of_size_n_by_n_is_allocated(bare_home, batch_size, largest_tensor):
    n = 2000
    adata = make_spatial_domains(n, n_genes=60, n_domains=3, random_state=0)
    model = quick_semst(
        n_clusters=3, text=lexical(mode="aggregate"), network__max_epochs=2, network__batch_size=batch_size
    )
    clone(model).fit(adata[:100].copy())  # imports, and what is made once
    with largest_tensor() as largest:
        tracemalloc.start()
        fitted = model.fit(adata)
        fitted.predict(adata)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert ari(fitted, adata) > 0.6
    assert n * 60 <= largest.numel < n * n / 4
    assert peak < n * n * 4
