"""SemSTClusterer: domains, training that can be watched and stopped, text that can be left out, and its cost."""

import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skst import GeneTextEncoder, SemSTClusterer
from skst.datasets import fetch_starmap, make_spatial_domains
from skst.model_selection import NoSplit, labels_scorer
from skst.nn import training

FUSIONS = ("fsm", "concat", "add", "cross_attention", None)


def _text(**parameters):
    return GeneTextEncoder().set_params(**({"model": "lexical", "mode": "prompt", "k_g": 8} | parameters))


def _semst(**parameters):
    """Quick to fit: two networks, few epochs, and k-means in place of the mixture."""
    quick = {"text": _text(), "n_clusters": 4, "network__max_epochs": 5, "clusterer": "kmeans"}
    return SemSTClusterer().set_params(**(quick | {"random_state": 0} | parameters))


def _ari(fitted, adata):
    return adjusted_rand_score(adata.obs["label"], fitted.labels_)


def _same_but_for_ties(embedding, expected):
    """Averaged expression is the same; a tie among expression neighbours can move a few spots of the first network.

    The axes of the second one, which starts at random, have arbitrary signs.
    """
    np.testing.assert_allclose(embedding[:, :20], expected[:, :20], atol=1e-4)
    assert np.mean(np.abs(embedding[:, 20:40] - expected[:, 20:40]) > 5e-3) < 0.01


# Domains


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_finds_domains_and_predicts_what_it_fitted(tissue, fusion):
    fitted = _semst(fusion=fusion, network__max_epochs=15).fit(tissue)
    assert _ari(fitted, tissue) > 0.75
    assert fitted.labels_.shape == (400,) and set(fitted.labels_) == set(range(4)) and fitted.n_clusters_ == 4
    assert fitted.embedding_.shape == (400, 60) and fitted.embedding_.dtype == np.float32
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)
    np.testing.assert_allclose(fitted.transform(tissue), fitted.embedding_, atol=1e-4)
    assert (fitted.text_ is None) == (fusion is None) and (fitted.modulation_ is None) == (fusion != "fsm")
    for view in np.split(fitted.embedding_, 3, axis=1):
        assert view.var(axis=0).sum() == pytest.approx(1, rel=1e-3)


def test_the_default_consensus_takes_views_apart(tissue):
    fitted = _semst(clusterer="mixture", fusion=None).fit(tissue)
    assert fitted.clusterer_.n_views == 3 and _ari(fitted, tissue) > 0.75
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)
    assert _semst(clusterer="mixture", fusion=None, network__start="random").fit(tissue).clusterer_.n_views == 2


def test_a_seed_determines_everything(tissue):
    model = _semst(text=_text(control="gaussian"), network__start="random")
    first, again = clone(model).fit(tissue), clone(model).fit(tissue)
    for name in ("embedding_", "labels_", "denoised_"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    np.testing.assert_array_equal(first.modulation_, again.modulation_)
    steps = ["network", "epoch", "train_loss", "zinb", "text"]
    assert first.history_[steps].equals(again.history_[steps])
    other = clone(model).set_params(random_state=1).fit(tissue)
    assert not np.allclose(other.embedding_, first.embedding_, atol=1e-2)


def test_starts(tissue):
    fitted = {start: _semst(network__start=start).fit(tissue) for start in ("averaged", "random", "both")}
    assert fitted["random"].embedding_.shape == (400, 40)
    columns = [fitted[start].embedding_ for start in ("averaged", "both")]
    assert columns[0].shape == columns[1].shape == (400, 60)
    # The first view is averaged expression, and the first network begins there; the second does not.
    np.testing.assert_array_equal(columns[0][:, :40], columns[1][:, :40])
    near, far = (np.abs(part[:, :20] - part[:, 40:]).max() for part in columns)
    assert near < 0.2 < far
    assert not np.array_equal(columns[0][:, :20], columns[0][:, 20:40])


def test_order_of_spots_does_not_matter(tissue):
    fitted = _semst().fit(tissue)
    rows = np.random.default_rng(0).permutation(tissue.n_obs)
    shuffled = _semst().fit(tissue[rows])
    assert adjusted_rand_score(shuffled.labels_, fitted.labels_[rows]) > 0.97
    _same_but_for_ties(shuffled.embedding_, fitted.embedding_[rows])
    np.testing.assert_array_equal(fitted.predict(tissue[rows]), fitted.labels_[rows])


def test_order_of_genes_does_not_matter(tissue):
    genes = np.random.default_rng(0).permutation(tissue.n_vars)
    fitted = _semst().fit(tissue)
    np.testing.assert_array_equal(fitted.predict(tissue[:, genes]), fitted.labels_)
    shuffled = _semst().fit(tissue[:, genes])
    assert adjusted_rand_score(shuffled.labels_, fitted.labels_) > 0.9
    # A random start draws a decoder for the genes as they come; averaged expression does not.
    _same_but_for_ties(shuffled.embedding_, fitted.embedding_)
    names = [
        np.asarray(tissue.var_names)[part.denoised_genes_]
        for part in (fitted, _semst(network__n_top_genes=40).fit(tissue))
    ]
    assert len(names[0]) == 120 and len(names[1]) == 40
    assert (np.diff(fitted.denoised_genes_) > 0).all()


def test_library_sizes_do_not_matter_much(tissue):
    model = _semst(network__max_epochs=20)
    labels = clone(model).fit_predict(tissue)
    factors = np.random.default_rng(0).integers(1, 6, tissue.n_obs)
    tissue.X = sparse.diags_array(factors.astype(np.float32)) @ tissue.X
    assert adjusted_rand_score(clone(model).fit_predict(tissue), labels) > 0.85


def test_containers(tissue):
    expected = _semst().fit(tissue)
    places = {"coordinates": tissue.obsm["spatial"]}
    named = _semst(gene_names=tissue.var_names)
    for model, X in ((named, tissue.X), (named, tissue.X.toarray()), (_semst(), tissue.to_df())):
        fitted = clone(model).fit(X, **places)
        assert adjusted_rand_score(fitted.labels_, expected.labels_) > 0.97
        _same_but_for_ties(fitted.embedding_, expected.embedding_)
        np.testing.assert_array_equal(fitted.predict(X, **places), fitted.labels_)


def test_the_number_of_domains_is_estimated(tissue):
    fitted = _semst(n_clusters=None, fusion=None).fit(tissue)
    curve = fitted.n_clusters_curve_
    assert curve.loc[curve["chosen"], "n_clusters"].tolist() == [fitted.n_clusters_]
    assert set(fitted.labels_) <= set(range(fitted.n_clusters_)) and 2 <= fitted.n_clusters_ <= 8
    assert not hasattr(fitted.set_params(n_clusters=4).fit(tissue), "n_clusters_curve_")


def test_the_settings_of_the_paper(tissue):
    model = SemSTClusterer.paper(4, text=_text(), network__max_epochs=15, random_state=0)
    published = {
        "network__n_networks": 1,
        "network__start": "random",
        "network__n_components": 64,
        "network__zero_inflation": True,
        "network__lr": 5e-4,
        "network__patience": None,
        "graph__kind": "knn",
        "graph__n_neighbors": 15,
        "losses__text": 0.0,
        "losses__balanced": False,
        "clusterer": "kmeans",
        "n_vote_neighbors": 0,
    }
    assert published.items() <= model.get_params().items()
    assert SemSTClusterer.paper().network.max_epochs == 200 and model.network.max_epochs == 15
    assert model.n_expression_neighbors == 15 and model.fusion == "fsm" and model.n_clusters == 4
    fitted = model.fit(tissue)
    assert fitted.embedding_.shape == (400, 64) and len(fitted.history_) == 15
    assert _ari(fitted, tissue) > 0.3
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)


# Training, watched and stopped


def test_history_and_callbacks(tissue, epoch_watch):
    watch = epoch_watch()
    fitted = _semst(network__callbacks=[watch]).fit(tissue)
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
    fitted = _semst(network__lr=1e-9, network__patience=2, network__max_epochs=30).fit(tissue)
    assert fitted.history_.groupby("network").size().tolist() == [3, 3] and not fitted.interrupted_


def test_a_callback_may_stop_each_network(tissue, epoch_watch):
    fitted = _semst(network__callbacks=[epoch_watch(most=2)]).fit(tissue)
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
        fitted = _semst().fit(tissue)
    assert fitted.interrupted_ and len(fitted.networks_) == n_trained
    assert fitted.history_.groupby("network").size().tolist() == rows
    assert fitted.embedding_.shape == (400, 20 * (n_trained + 1)) and _ari(fitted, tissue) > 0.7
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)
    assert fitted.denoised_.shape == (400, 120) and fitted.modulation_.alpha.shape == (400, 40 * n_trained)


def test_progress(tissue, capsys):
    _semst().fit(tissue)
    assert capsys.readouterr() == ("", "")
    _semst(verbose=1, n_clusters=None).fit(tissue)
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if line.startswith("[SemSTClusterer]")]
    assert len(lines) == 6 and "network 2 of 2" in lines[3]
    assert "%" in out + err


# Text


def test_text_is_read_and_can_be_left_out(tissue):
    without = _semst(fusion=None, text=None).fit(tissue)  # needs no model
    assert without.text_ is None and without.modulation_ is None
    trained = {"network__max_epochs": 20, "network__start": "averaged", "network__n_networks": 1}
    own = _semst(**trained).fit(tissue)
    permuted = _semst(text=_text(control="permuted"), **trained).fit(tissue)
    np.testing.assert_array_equal(own.embedding_[:, :20], permuted.embedding_[:, :20])
    assert not np.allclose(own.embedding_, permuted.embedding_, atol=1e-3)
    assert not np.allclose(own.embedding_, _semst(fusion=None, **trained).fit(tissue).embedding_, atol=1e-3)


@pytest.mark.parametrize("control", ["permuted", "unrelated", "gaussian"])
def test_controls_of_text(tissue, control):
    fitted = _semst(text=_text(control=control)).fit(tissue)
    assert fitted.text_.control == control and fitted.modulation_.alpha.any() and _ari(fitted, tissue) > 0.7
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)


def test_what_text_adds_has_its_price(tissue):
    spread = []
    for weight in (0.0, 0.1, 100.0):
        fitted = _semst(losses__text=weight, network__max_epochs=30, network__n_networks=1).fit(tissue)
        alpha, beta = fitted.modulation_
        assert alpha.shape == beta.shape == (400, 40) and alpha.dtype == np.float32
        spread.append(np.sqrt(np.mean(np.square(fitted.modulation_))))
    assert spread[0] > spread[1] > 2 * spread[2] > 0


def test_modulation_tells_spots_apart(tissue):
    alpha, beta = _semst(network__max_epochs=40).fit(tissue).modulation_
    assert alpha.std(axis=0).max() > 1e-3 and beta.std(axis=0).max() > 1e-3
    assert np.isfinite(alpha).all() and np.isfinite(beta).all()


def test_seeds_of_the_text(tissue):
    seeded = [_semst(text=_text(control="permuted"), random_state=seed).fit(tissue).text_ for seed in (0, 0, 1)]
    assert seeded[0].random_state == seeded[1].random_state != seeded[2].random_state
    own = _semst(text=_text(random_state=5)).fit(tissue)
    assert own.text_.random_state == 5 and own.text is not own.text_ and not hasattr(own.text, "n_features_in_")


def test_without_gene_names_there_is_no_text(tissue):
    places = {"coordinates": tissue.obsm["spatial"]}
    with pytest.warns(UserWarning, match="X has no gene names"):
        fitted = _semst().fit(tissue.X, **places)
    assert fitted.text_ is None and fitted.modulation_ is None
    expected = _semst(fusion=None).fit(tissue.X, **places)
    np.testing.assert_array_equal(fitted.labels_, expected.labels_)
    np.testing.assert_array_equal(fitted.predict(tissue.X, **places), fitted.labels_)
    with pytest.raises(ValueError, match="X has no gene names"):
        _semst(text=_text(on_missing="error")).fit(tissue.X, **places)


# Counts


def test_denoised_counts_are_nearer_to_the_truth(tissue):
    fitted = _semst(network__max_epochs=40).fit(tissue)
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
    few = _semst(network__n_top_genes=40).fit(tissue)
    assert few.denoised_.shape == (400, 40)
    np.testing.assert_allclose(few.denoised_.mean(axis=0), raw[:, few.denoised_genes_].mean(axis=0), rtol=0.3)


def test_denoised_counts_come_from_the_networks_and_not_from_averaged_expression(tissue):
    fitted = _semst(network__n_networks=1, network__max_epochs=40, fusion=None).fit(tissue)
    logs = np.log(fitted.denoised_.astype(float))
    left = []
    for view in np.split(fitted.embedding_.astype(float), 2, axis=1):
        design = np.column_stack([view, np.ones(400)])
        left.append(np.abs(logs - design @ np.linalg.lstsq(design, logs, rcond=None)[0]).max())
    assert left[1] < 1e-3 < 0.05 < left[0]


# Places


def test_without_coordinates_expression_is_used_alone(bare_home):
    deep = make_spatial_domains(300, n_genes=120, n_domains=3, depth=1000, random_state=0)
    frame = deep.to_df()
    with pytest.warns(UserWarning, match="X has no coordinates"):
        fitted = _semst(n_clusters=3, clusterer="mixture").fit(frame)
    assert _ari(fitted, deep) > 0.6
    assert "spatial" not in fitted.history_ and "correlation" in fitted.history_
    with pytest.warns(UserWarning, match="X has no coordinates"):
        np.testing.assert_array_equal(fitted.predict(frame), fitted.labels_)
    with pytest.raises(ValueError, match="X has no coordinates"):
        _semst(on_missing="error").fit(frame)


@pytest.mark.parametrize("batch_size", ["auto", 8])
def test_edges_do_not_cross_slices(slices, batch_size):
    model = _semst(
        n_clusters=3, batch_key="batch", network__batch_size=batch_size, network__max_epochs=3, text=_text(k_g=5)
    )
    apart = clone(model).fit(slices)
    slices.obsm["spatial"] = slices.obsm["spatial"].copy()
    for name in slices.obs["batch"].unique():  # the slices lie on each other
        rows = (slices.obs["batch"] == name).to_numpy()
        slices.obsm["spatial"][rows] -= slices.obsm["spatial"][rows].min(axis=0)
    together = clone(model).fit(slices)
    _same_but_for_ties(together.embedding_, apart.embedding_)
    assert adjusted_rand_score(together.labels_, apart.labels_) > 0.97
    np.testing.assert_array_equal(together.predict(slices), together.labels_)
    blurred = clone(model).set_params(batch_key=None).fit(slices)
    assert not np.allclose(blurred.embedding_, apart.embedding_, atol=0.1)


def test_domains_carry_over_to_an_unseen_slice(slices):
    seen = (slices.obs["batch"] != "slice3").to_numpy()
    fitted = _semst(n_clusters=3, batch_key="batch").fit(slices[seen])
    unseen = slices[~seen].copy()
    predicted = fitted.predict(unseen)
    assert adjusted_rand_score(unseen.obs["label"], predicted) > 0.7
    assert fitted.transform(unseen).shape == (150, 60)
    np.testing.assert_array_equal(fitted.predict(unseen[:, ::-1]), predicted)
    places = {"coordinates": unseen.obsm["spatial"], "batch": ["new"] * 150}
    np.testing.assert_array_equal(fitted.predict(unseen, **places), predicted)


# Mini-batches


def test_mini_batches_agree_with_the_full_batch(tissue, epoch_watch):
    watch = epoch_watch()
    full = _semst().fit(tissue)
    tiled = _semst(network__batch_size=16, network__callbacks=[watch]).fit(tissue)
    assert len(watch.batches_) == 5 * 4 and sum(watch.batches_) == 5 * 400 and max(watch.batches_) < 130
    assert adjusted_rand_score(full.labels_, tiled.labels_) > 0.8 and _ari(tiled, tissue) > 0.75
    np.testing.assert_array_equal(tiled.predict(tissue), tiled.labels_)
    again = _semst(network__batch_size=16).fit(tissue)
    np.testing.assert_array_equal(again.embedding_, tiled.embedding_)
    coarse = _semst(network__batch_size=64).fit(tissue)
    assert adjusted_rand_score(full.labels_, coarse.labels_) > 0.8
    assert not np.array_equal(coarse.embedding_, tiled.embedding_)


def test_passes_depend_on_the_number_of_batches(tissue):
    quick = {"network__max_epochs": "auto", "network__patience": None, "network__n_networks": 1, "fusion": None}
    quick |= {"network__n_components": 4, "network__n_hidden": 8}
    assert len(_semst(**quick).fit(tissue).history_) == 80
    assert len(_semst(network__batch_size=4, **quick).fit(tissue).history_) == 13  # 100 tiles, 13 batches, 160 steps


@pytest.mark.parametrize("batch_size", ["auto", 64])
def test_nothing_of_size_n_by_n_is_allocated(bare_home, batch_size, largest_tensor):
    n = 3000
    adata = make_spatial_domains(n, n_genes=60, n_domains=3, random_state=0)
    model = _semst(n_clusters=3, text=_text(mode="aggregate"), network__max_epochs=2, network__batch_size=batch_size)
    clone(model).fit(adata[:100].copy())  # imports, and what is made once
    with largest_tensor() as largest:
        tracemalloc.start()
        fitted = model.fit(adata)
        fitted.predict(adata)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert _ari(fitted, adata) > 0.6
    assert n * 60 <= largest.numel < n * n / 4
    assert peak < n * n * 4


# Part of scikit-learn


def test_pickle(tissue):
    fitted = _semst().fit(tissue)
    dumped = pickle.dumps(fitted)
    again = pickle.loads(dumped)
    np.testing.assert_array_equal(again.predict(tissue), fitted.labels_)
    np.testing.assert_array_equal(again.denoised_, fitted.denoised_)
    # Twice the spots with the same networks: more embedding, modulation and labels, but no counts and no graphs.
    n_columns = fitted.embedding_.shape[1] + 2 * fitted.modulation_.alpha.shape[1]
    half = _semst().fit(tissue[:200])
    assert len(dumped) - len(pickle.dumps(half)) < 200 * (4 * n_columns + 8) + 4_000


def test_clone_keeps_parameters_alone(tissue, epoch_watch):
    watch = epoch_watch()
    model = _semst(network__callbacks=[watch], text=_text(k_g=7))
    fitted = clone(model).fit(tissue)
    assert not hasattr(clone(fitted), "labels_") and clone(fitted).text.k_g == 7
    parameters = model.get_params()
    model.fit(tissue)
    assert model.get_params().keys() == parameters.keys()
    assert all(model.get_params()[name] is value for name, value in parameters.items())
    np.testing.assert_array_equal(clone(fitted).fit_predict(tissue), fitted.labels_)


def test_grid_search(tissue):
    grid = {"losses__text": [0.1, 1.0], "text__k_g": [5, 20]}
    truth = tissue.obs["label"].to_numpy(dtype=object)
    truth[:30] = None
    search = GridSearchCV(_semst(), grid, cv=NoSplit(), scoring=labels_scorer("ari"), error_score="raise")
    search.fit(tissue, truth)
    results = search.cv_results_
    assert results["params"][2] == {"losses__text": 1.0, "text__k_g": 5}
    labels = _semst(text=_text(k_g=5), losses__text=1.0).fit_predict(tissue)
    assert results["mean_test_score"][2] == pytest.approx(adjusted_rand_score(truth[30:], labels[30:]))
    assert len(results["params"]) == 4 and search.best_score_ > 0.7


def test_in_a_pipeline(tissue):
    pipeline = make_pipeline(FunctionTransformer(), _semst())
    np.testing.assert_array_equal(pipeline.fit_predict(tissue), _semst().fit_predict(tissue))
    np.testing.assert_array_equal(pipeline.predict(tissue), pipeline[-1].labels_)


def test_set_output(tissue):
    fitted = _semst().set_output(transform="pandas").fit(tissue)
    out = fitted.transform(tissue)
    assert out.columns.tolist() == [f"semstclusterer{i}" for i in range(60)]
    np.testing.assert_allclose(out, fitted.embedding_, atol=1e-4)


def test_the_state_of_torch_is_left_as_it_was(tissue):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = _semst(fusion=None).fit(tissue)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    np.testing.assert_array_equal(_semst(fusion=None).fit(tissue).embedding_, first.embedding_)


# Real tissue


@pytest.fixture
def starmap():
    try:
        return fetch_starmap(download_if_missing=False)
    except OSError:
        pytest.skip("STARmap is not in the data home")


def test_real_tissue(starmap):
    fitted = SemSTClusterer(7, fusion=None, random_state=0).fit(starmap)
    assert _ari(fitted, starmap) > 0.7
