"""LLMDSCClusterer: types of cells, each loss by its switch, text that follows, what it warns of, and its cost."""

import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skst import GeneTextEncoder, LLMDSCClusterer, limits
from skst.datasets import fetch_baron_mouse, make_spatial_domains
from skst.model_selection import NoSplit, labels_scorer
from skst.nn import cells as networks
from skst.settings import CellLosses, CellNetwork

_FITTED = {}
LOSSES = {"mse": "mse", "cut": "cut", "align": "alignment", "kl": "kl"}

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


def _text(**parameters):
    return GeneTextEncoder().set_params(**({"model": "lexical", "mode": "dual", "k_g": 8} | parameters))


def _llmdsc(**parameters):
    """Quick to fit: two networks, few epochs, and k-means in place of the mixture."""
    quick = {
        "text": _text(),
        "n_clusters": 4,
        "network__n_networks": 2,
        "n_top_genes": (40, 80),
        "network__max_epochs": 3,
    }
    return LLMDSCClusterer().set_params(**(quick | {"clusterer": "kmeans", "random_state": 0} | parameters))


@pytest.fixture(scope="session")
def _cells():
    # Expression alone tells the types: no zeros but those of counting.
    plain = {"depth": 1500, "dispersion": 0.1, "zero_inflation": 0.0, "effect": 3}
    adata = make_spatial_domains(300, n_genes=120, n_domains=4, random_state=0, **plain)
    del adata.obsm["spatial"]
    return adata


@pytest.fixture
def cells(_cells, bare_home):
    """300 cells of 4 types that are easy to tell, 120 genes, no coordinates."""
    return _cells.copy()


@pytest.fixture
def quickly(cells):
    """Fits the quick estimator to the cells, once for all tests, which leave it as it is."""

    def fit(batch_size="auto"):
        if batch_size not in _FITTED:
            _FITTED[batch_size] = _llmdsc(network__batch_size=batch_size).fit(cells)
        return _FITTED[batch_size]

    return fit


def _ari(fitted, adata):
    return adjusted_rand_score(adata.obs["label"], fitted.labels_)


def _scaled(adata, factors):
    adata = adata.copy()
    adata.X = sparse.csr_matrix(sparse.diags_array(np.broadcast_to(factors, adata.n_obs).astype(np.float32)) @ adata.X)
    return adata


# Types


@pytest.mark.parametrize(
    "parameters",
    [
        {"clusterer": "kmeans"},
        {"clusterer": "mixture"},
        {"clusterer": "leiden"},
        {"clusterer": GaussianMixture(reg_covar=1e-3)},
        {"align_to": "shared"},
        {"network__linear": True},
        {"align_to": None},
    ],
)
def test_types_are_found_and_predicted_as_fitted(cells, parameters):
    fitted = _llmdsc(**parameters).fit(cells)
    assert _ari(fitted, cells) > 0.9
    assert fitted.n_clusters_ == 4 and set(fitted.labels_) == set(range(4)) and fitted.labels_.dtype.kind == "i"
    assert fitted.embedding_.dtype == fitted.structural_embedding_.dtype == np.float32
    np.testing.assert_array_equal(fitted.predict(cells), fitted.labels_)
    np.testing.assert_allclose(fitted.transform(cells), fitted.embedding_, atol=1e-5)
    shares = fitted.soft_assignment_
    assert shares.shape == (300, 4) and (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    # Share and label can part at the border of two types only.
    assert np.mean(shares.argmax(axis=1) == fitted.labels_) > 0.97


def test_what_the_embedding_holds(cells):
    fitted = _llmdsc(text_weight=0.25).fit(cells)
    structure, text, Z = fitted.structural_embedding_, fitted.semantic_embedding_, fitted.embedding_
    assert structure.shape == text.shape == (300, 32) and len(fitted.networks_) == 2
    np.testing.assert_allclose(Z[:, :32], 0.75 * structure + 0.25 * text, atol=1e-6)
    for view in (*np.split(structure, 2, axis=1), *np.split(text, 2, axis=1), *np.split(Z[:, 32:], 4, axis=1)):
        assert view.var(axis=0).sum() == pytest.approx(1, rel=1e-3)
        np.testing.assert_allclose(view.mean(axis=0), 0, atol=1e-3)
    # Two numbers of genes by two criteria: the axes that networks begin at, none of which are the same.
    assert Z.shape == (300, 32 + 4 * 16)
    axes = np.split(Z[:, 32:], 4, axis=1)
    assert all(not np.allclose(a, b, atol=1e-2) for i, a in enumerate(axes) for b in axes[:i])
    # The structural embedding has begun at the first, and has not gone far in a few steps.
    assert 0 < np.abs(structure[:, :16] - axes[0]).max() < 0.1


def test_a_seed_determines_everything(cells):
    model = _llmdsc(clusterer="mixture", network__batch_size=64, text=_text(control="gaussian"), losses__n_contrast=20)
    first, again = clone(model).fit(cells), clone(model).fit(cells)
    for name in ("embedding_", "structural_embedding_", "semantic_embedding_", "labels_", "soft_assignment_"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.history_.drop(columns="dur").equals(again.history_.drop(columns="dur"))
    other = clone(model).set_params(random_state=1).fit(cells)
    assert not np.allclose(other.structural_embedding_, first.structural_embedding_, atol=1e-4)


def test_cells_are_embedded_one_by_one(cells):
    fitted = _llmdsc(clusterer="mixture").fit(cells)
    rows = np.random.default_rng(0).permutation(300)[:40]
    np.testing.assert_allclose(fitted.transform(cells[rows]), fitted.embedding_[rows], atol=1e-5)
    np.testing.assert_array_equal(fitted.predict(cells[rows]), fitted.labels_[rows])
    for row in rows[:5]:
        assert fitted.predict(cells[[row]]) == fitted.labels_[row]


def test_order_of_genes_and_of_cells(cells, quickly):
    fitted = quickly()
    genes = np.random.default_rng(0).permutation(120)
    np.testing.assert_allclose(fitted.transform(cells[:, genes]), fitted.embedding_, atol=1e-5)
    shuffled = _llmdsc().fit(cells[:, genes])
    # Steps of Adam have one length whatever the gradient: rounding grows in training.
    np.testing.assert_allclose(shuffled.embedding_, fitted.embedding_, atol=5e-3)
    assert adjusted_rand_score(shuffled.labels_, fitted.labels_) > 0.97
    shuffled = _llmdsc().fit(cells[rows := np.random.default_rng(0).permutation(300)])
    np.testing.assert_allclose(shuffled.embedding_, fitted.embedding_[rows], atol=5e-3)
    assert adjusted_rand_score(shuffled.labels_, fitted.labels_[rows]) > 0.97


def test_containers(cells, quickly):
    expected, layered = quickly(), cells.copy()
    layered.layers["counts"], layered.X = cells.X, sparse.csr_matrix(cells.shape, dtype=np.float32)
    named = _llmdsc(gene_names=cells.var_names)
    inputs = [(_llmdsc(), cells.to_df()), (_llmdsc(layer="counts"), layered)]
    inputs += [(named, X) for X in (cells.X.toarray(), sparse.csc_array(cells.X, dtype=int))]
    for model, X in inputs:
        fitted = clone(model).fit(X)
        np.testing.assert_allclose(fitted.embedding_, expected.embedding_, atol=5e-3)
        assert adjusted_rand_score(fitted.labels_, expected.labels_) > 0.97
        np.testing.assert_array_equal(fitted.predict(X), fitted.labels_)


def test_library_sizes_do_not_decide(cells, quickly):
    labels = quickly().labels_
    factors = np.random.default_rng(0).integers(1, 6, 300)
    assert adjusted_rand_score(_llmdsc().fit_predict(_scaled(cells, factors)), labels) > 0.9
    # One unit for all counts changes the choice of genes by the variance of counts, and nothing else.
    first = _llmdsc(network__n_networks=1, n_top_genes=120, align_to=None)
    embedded = [clone(first).fit(adata).structural_embedding_ for adata in (cells, _scaled(cells, 3))]
    np.testing.assert_allclose(*embedded, atol=5e-3)


def test_new_cells_get_the_type_that_they_have(cells):
    fitted = _llmdsc(clusterer="mixture").fit(cells[:200])
    table = np.zeros((4, 4))
    types = np.unique(cells.obs["label"], return_inverse=True)[1][200:]
    np.add.at(table, (types, fitted.predict(cells[200:])), 1)
    assert table[linear_sum_assignment(-table)].sum() > 95


@pytest.mark.parametrize("inputs", ["axes", "counts"])
def test_the_number_of_types_is_estimated(cells, inputs):
    fitted = _llmdsc(n_clusters=None, inputs=inputs).fit(cells)
    curve = fitted.n_clusters_curve_
    assert curve.loc[curve["chosen"], "n_clusters"].tolist() == [fitted.n_clusters_]
    assert 3 <= fitted.n_clusters_ <= 6 and set(fitted.labels_) == set(range(fitted.n_clusters_))
    assert fitted.soft_assignment_.shape == (300, fitted.n_clusters_)
    assert not hasattr(fitted.set_params(n_clusters=4).fit(cells), "n_clusters_curve_")


def test_numbers_of_genes_and_of_networks(cells):
    for n_top_genes in (50, [50], np.array([50])):
        fitted = _llmdsc(n_top_genes=n_top_genes, network__n_networks=5).fit(cells)  # one number, two criteria
        assert len(fitted.networks_) == 5 and fitted.embedding_.shape == (300, 5 * 16 + 2 * 16)
        inputs = fitted.embedding_[:, :80]
        assert not np.allclose(inputs[:, :16], inputs[:, 32:48], atol=1e-4)  # of other seeds
        assert _ari(fitted, cells) > 0.9
    assert _llmdsc(n_top_genes=10**6, network__n_networks=1).fit(cells).embedding_.shape == (300, 32)
    few = _llmdsc(n_top_genes=(5, 80)).fit(cells)  # the narrowest choice sets the width of all
    assert few.structural_embedding_.shape == (300, 10) and few.embedding_.shape == (300, 10 + 4 * 5)
    np.testing.assert_array_equal(few.predict(cells), few.labels_)


def test_sizes_and_patience_reach_the_networks(cells):
    sizes = {"n_hidden": 11, "n_components": 5, "n_projection": 7, "n_networks": 1}
    network = CellNetwork(linear=True, patience=1, lr=1e-12, **sizes)
    fitted = _llmdsc(align_to="shared", network=network, network__n_networks=1, network__max_epochs=9).fit(cells)
    network = fitted.networks_[0]
    layers = network.encoder[0], network.encoder[-1], network.project_text[-1]
    assert [layer.out_features for layer in layers] == [11, 5, 7]
    assert not any(isinstance(layer, torch.nn.ReLU) for layer in network.encoder)
    assert (fitted.history_.groupby("stage").size() < 9).all()


def test_the_settings_of_the_paper(cells):
    model = LLMDSCClusterer.paper(4, text=_text(), network__max_epochs=40, network__lr=1e-2, random_state=0)
    published = {"n_networks": 1, "linear": True, "n_projection": 16, "n_components": 16}
    assert published.items() <= model.network.get_params().items()
    published = {"align": 0.3, "cut": 0.15, "mse": 0.3, "kl": 0.32, "temperature": 0.1}
    assert published.items() <= model.losses.get_params().items()
    published = {"text_weight": 0.5, "n_top_genes": 2000, "inputs": "counts", "align_to": "shared"}
    published |= {"clusterer": "kmeans", "n_clusters": 4, "network__max_epochs": 40, "network__lr": 1e-2}
    assert published.items() <= model.get_params().items()
    assert LLMDSCClusterer.paper().network.max_epochs == 200 and LLMDSCClusterer.paper().n_clusters is None
    fitted = model.fit(cells)
    assert fitted.embedding_.shape == (300, 16) and len(fitted.history_) == 80 and _ari(fitted, cells) > 0.5
    np.testing.assert_array_equal(fitted.predict(cells), fitted.labels_)
    np.testing.assert_allclose(
        fitted.embedding_, (fitted.structural_embedding_ + fitted.semantic_embedding_) / 2, atol=1e-6
    )


# Losses


@pytest.mark.parametrize("weight", LOSSES)
@pytest.mark.parametrize("batch_size", ["auto", 64])
def test_each_loss_can_be_left_out(cells, quickly, weight, batch_size):
    whole = quickly(batch_size)
    fitted = _llmdsc(network__batch_size=batch_size, **{f"losses__{weight}": 0.0}).fit(cells)
    assert set(whole.history_) - set(fitted.history_) == {LOSSES[weight]}
    assert set(fitted.history_) <= set(whole.history_) and _ari(fitted, cells) > 0.9
    np.testing.assert_array_equal(fitted.predict(cells), fitted.labels_)
    if weight != "align":
        assert not np.array_equal(fitted.structural_embedding_, whole.structural_embedding_)


def test_history(cells, epoch_watch):
    watch = epoch_watch()
    fitted = _llmdsc(network__callbacks=[watch], losses__kl=0.2, losses__cut=0.5).fit(cells)
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
        changed = _llmdsc(losses=CellLosses(**{name: value})).fit(cells)
        assert not np.array_equal(changed.structural_embedding_, expected), name
    assert not np.array_equal(_llmdsc(network__lr=3e-3).fit(cells).structural_embedding_, expected)
    for name, value in {"temperature": 0.5, "hinge": 0.5, "n_contrast": 20}.items():
        fitted = _llmdsc(losses=CellLosses(**{name: value})).fit(cells)
        assert not np.array_equal(fitted.semantic_embedding_, text), name
        np.testing.assert_array_equal(fitted.structural_embedding_, expected)
    np.testing.assert_array_equal(_llmdsc(losses__n_contrast=None).fit(cells).semantic_embedding_, text)


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
        fitted = _llmdsc(clusterer="mixture").fit(cells)
    assert fitted.interrupted_ and len(fitted.networks_) == n_trained
    sizes = fitted.history_.groupby(["network", "stage"]).size()
    assert [(*index, size) for index, size in sizes.items()] == rows
    assert fitted.structural_embedding_.shape == (300, 16 * n_trained) and _ari(fitted, cells) > 0.9
    np.testing.assert_array_equal(fitted.predict(cells), fitted.labels_)
    assert fitted.soft_assignment_.shape == (300, 4)


def test_progress(cells, capsys):
    _llmdsc().fit(cells)
    assert capsys.readouterr() == ("", "")
    _llmdsc(verbose=1, n_clusters=None).fit(cells)
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if line.startswith("[LLMDSCClusterer]")]
    assert len(lines) == 6 and "300 cells x 120 genes" in lines[0] and "network 2 of 2, on" in lines[4]
    assert "%" in out + err


# Text


@pytest.mark.parametrize("batch_size", ["auto", 64])
def test_text_follows_the_structure_and_does_not_move_it(cells, batch_size):
    # The same seeds are drawn for all: networks are equal to the last digit.
    model = _llmdsc(network__batch_size=batch_size, losses__n_contrast=50)
    aligned = clone(model).fit(cells)
    other_text = {"text": _text(control="permuted"), "losses__align": 5.0}
    for change in ({"losses__align": 0.0}, {"align_to": None}, other_text):
        other = clone(model).set_params(**change).fit(cells)
        np.testing.assert_array_equal(other.structural_embedding_, aligned.structural_embedding_)
        if other.text_ is not None:
            assert not np.array_equal(other.semantic_embedding_, aligned.semantic_embedding_)


def test_shared_layers_are_moved_by_text(cells):
    model = _llmdsc(align_to="shared", network__n_networks=1)
    fitted = [clone(model).set_params(losses__align=weight).fit(cells) for weight in (0.1, 1.0)]
    assert not torch.equal(*(one.networks_[0].encoder[0].weight for one in fitted))


def test_the_share_of_text(cells):
    fitted = {weight: _llmdsc(text_weight=weight).fit(cells) for weight in (0.0, 1.0)}
    for weight, name in ((0.0, "structural_embedding_"), (1.0, "semantic_embedding_")):
        np.testing.assert_array_equal(fitted[weight].embedding_[:, :32], getattr(fitted[weight], name))
    without = _llmdsc(align_to=None).fit(cells)
    assert without.text_ is None and without.semantic_embedding_ is None
    np.testing.assert_array_equal(without.embedding_, fitted[0.0].embedding_)
    np.testing.assert_array_equal(without.labels_, fitted[0.0].labels_)
    assert "alignment" not in without.history_


def test_text_comes_near_the_structure(cells):
    fitted = _llmdsc(network__max_epochs=30, network__n_networks=1).fit(cells)
    structure, text = fitted.structural_embedding_, fitted.semantic_embedding_
    cosine = (structure * text).sum(axis=1) / np.linalg.norm(structure, axis=1) / np.linalg.norm(text, axis=1)
    others = np.roll(text, 151, axis=0)
    by_chance = (structure * others).sum(axis=1) / np.linalg.norm(structure, axis=1) / np.linalg.norm(others, axis=1)
    assert np.median(cosine) > 0.7 > 0.4 > np.median(by_chance)


def test_without_gene_names_there_is_no_text(cells):
    with pytest.warns(UserWarning, match="X has no gene names"):
        fitted = _llmdsc().fit(cells.X)
    assert fitted.text_ is None and fitted.semantic_embedding_ is None
    expected = _llmdsc(align_to=None).fit(cells.X)
    np.testing.assert_array_equal(fitted.labels_, expected.labels_)
    np.testing.assert_array_equal(fitted.predict(cells.X), fitted.labels_)
    with pytest.raises(ValueError, match="X has no gene names"):
        _llmdsc(text=_text(on_missing="error")).fit(cells.X)


# Few cells, few types


@pytest.mark.filterwarnings("ignore:The partition has collapsed", "ignore:No resolution tried")
@pytest.mark.parametrize("parameters", [{}, {"inputs": "counts"}, {"align_to": "shared"}, {"network__batch_size": 2}])
@pytest.mark.parametrize(("clusterer", "n_clusters"), [("mixture", 2), ("kmeans", 5), ("leiden", 2)])
def test_five_cells_and_three_genes(cells, clusterer, n_clusters, parameters):
    tiny = cells[:5, :3].copy()
    fitted = _llmdsc(clusterer=clusterer, n_clusters=n_clusters, **parameters).fit(tiny)
    assert fitted.labels_.shape == (5,) and np.isfinite(fitted.embedding_).all()
    assert set(fitted.labels_) <= set(range(fitted.n_clusters_))
    np.testing.assert_array_equal(fitted.predict(tiny), fitted.labels_)
    np.testing.assert_allclose(fitted.soft_assignment_.sum(axis=1), 1, rtol=1e-6)


def test_one_type(cells):
    for clusterer in ("mixture", "kmeans"):
        fitted = _llmdsc(n_clusters=1, clusterer=clusterer).fit(cells)
        assert set(fitted.labels_) == {0}
        np.testing.assert_array_equal(fitted.soft_assignment_, np.ones((300, 1)))


def test_no_collapse_is_reported_where_there_is_none(cells):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
        _llmdsc(clusterer="mixture").fit(cells)
        _llmdsc(n_clusters=30).fit(cells)


# Mini-batches


def test_mini_batches_agree_with_the_full_batch(cells, quickly, epoch_watch):
    watch = epoch_watch()
    full = quickly()
    parts = _llmdsc(network__batch_size=64, network__callbacks=[watch]).fit(cells)
    assert watch.batches_ == [60] * 15
    assert _ari(parts, cells) > 0.9 and adjusted_rand_score(full.labels_, parts.labels_) > 0.9
    np.testing.assert_array_equal(parts.predict(cells), parts.labels_)
    cuts = [fitted.history_.query("stage == 1").groupby("network")["cut"].last() for fitted in (full, parts)]
    np.testing.assert_allclose(*cuts, atol=0.01)
    whole = _llmdsc(network__batch_size=300).fit(cells)
    np.testing.assert_array_equal(whole.embedding_, full.embedding_)


def test_passes_depend_on_the_number_of_batches(cells, monkeypatch, epoch_watch):
    quick = {"align_to": None, "losses__kl": 0.0, "network__max_epochs": "auto", "network__n_networks": 1}
    quick |= {"network__n_hidden": 4, "network__n_components": 4}
    assert len(_llmdsc(**quick).fit(cells).history_) == limits.CELL_STEPS
    monkeypatch.setattr(limits, "CELL_STEPS", 95)
    assert len(_llmdsc(network__batch_size=30, **quick).fit(cells).history_) == 10
    assert len(_llmdsc(network__batch_size=5, **quick).fit(cells).history_) == 3
    monkeypatch.setattr(limits, "MAX_FULL_BATCH", 299)
    monkeypatch.setattr(limits, "CELLS_A_BATCH", 60)
    watch = epoch_watch()
    assert len(_llmdsc(network__callbacks=[watch], **quick).fit(cells).history_) == 19 and set(watch.batches_) == {60}


@pytest.mark.parametrize("batch_size", ["auto", 256])
def test_nothing_of_size_n_by_n_is_allocated(bare_home, batch_size, largest_tensor):
    n = 3000
    adata = make_spatial_domains(n, n_genes=60, n_domains=3, random_state=0)
    quick = {"text": _text(mode="aggregate"), "losses__n_contrast": 200, "network__n_hidden": 32}
    quick |= {"network__max_epochs": 1, "network__n_networks": 1, "network__batch_size": batch_size}
    model = _llmdsc(n_clusters=3, **quick)
    clone(model).fit(adata[:100].copy())  # imports, and what is made once
    with largest_tensor() as largest:
        tracemalloc.start()
        fitted = model.fit(adata)
        fitted.predict(adata)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert n * 32 <= largest.numel < n * n / 4
    assert peak < n * n * 4


def test_clone_keeps_parameters_alone(cells, epoch_watch):
    model = _llmdsc(network__callbacks=[epoch_watch()], text=_text(k_g=7))
    parameters = model.get_params()
    model.fit(cells)
    assert model.get_params().keys() == parameters.keys()
    assert all(model.get_params()[name] is value for name, value in parameters.items())
    copied = clone(model)
    assert not hasattr(copied, "labels_") and copied.text.k_g == 7
    np.testing.assert_array_equal(copied.fit_predict(cells), model.labels_)


def test_grid_search(cells):
    grid = {"text__omega": [0.2, 0.8], "losses__cut": [0.0, 1.0]}
    truth = cells.obs["label"].to_numpy(dtype=object)
    truth[:30] = None
    search = GridSearchCV(_llmdsc(), grid, cv=NoSplit(), scoring=labels_scorer("ari"), error_score="raise")
    search.fit(cells, truth)
    results = search.cv_results_
    assert results["params"][1] == {"losses__cut": 0.0, "text__omega": 0.8} and len(results["params"]) == 4
    labels = _llmdsc(text=_text(omega=0.8), losses__cut=0.0).fit_predict(cells)
    assert results["mean_test_score"][1] == pytest.approx(adjusted_rand_score(truth[30:], labels[30:]))
    assert search.best_score_ > 0.9


def test_in_a_pipeline(cells, quickly):
    pipeline = make_pipeline(FunctionTransformer(), _llmdsc())
    np.testing.assert_array_equal(pipeline.fit_predict(cells), quickly().labels_)
    np.testing.assert_array_equal(pipeline.predict(cells), pipeline[-1].labels_)


def test_real_cells():
    try:
        baron = fetch_baron_mouse(download_if_missing=False)
    except OSError:
        pytest.skip("Baron mouse pancreas is not in the data home")
    some = baron[np.random.default_rng(0).permutation(baron.n_obs)[:600]].copy()
    network = CellNetwork(n_networks=1, max_epochs=20)
    fitted = LLMDSCClusterer(13, align_to=None, network=network, random_state=0).fit(some)
    assert _ari(fitted, some) > 0.85


@pytest.mark.parametrize("n_top_genes", [(), (2.5,), ["a"], (0, 3)])
def test_numbers_of_genes_are_checked(cells, n_top_genes):
    with pytest.raises(ValueError, match="n_top_genes=.* is not a positive integer"):
        _llmdsc(n_top_genes=n_top_genes).fit(cells)
