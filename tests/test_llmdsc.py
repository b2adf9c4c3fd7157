"""LLMDSCClusterer: types of cells, what its embedding holds, and its place in scikit-learn."""

import warnings

import numpy as np
import pytest
import torch
from llmdsc_fits import FEW, lexical, quick_llmdsc
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tissues import ari

from skst import LLMDSCClusterer
from skst.datasets import fetch_baron_mouse
from skst.model_selection import NoSplit, labels_scorer
from skst.partition import ConsensusMixture
from skst.settings import CellNetwork

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


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
    fitted = quick_llmdsc(**parameters).fit(cells)
    assert ari(fitted, cells) > 0.9
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
    fitted = quick_llmdsc(text_weight=0.25).fit(cells)
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
    model = quick_llmdsc(clusterer=FEW, network__batch_size=64, text=lexical(control="gaussian"), losses__n_contrast=20)
    first, again = clone(model).fit(cells), clone(model).fit(cells)
    for name in ("embedding_", "structural_embedding_", "semantic_embedding_", "labels_", "soft_assignment_"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.history_.drop(columns="dur").equals(again.history_.drop(columns="dur"))
    other = clone(model).set_params(random_state=1).fit(cells)
    assert not np.allclose(other.structural_embedding_, first.structural_embedding_, atol=1e-4)


def test_cells_are_embedded_one_by_one(cells):
    fitted = quick_llmdsc(clusterer=FEW).fit(cells)
    rows = np.random.default_rng(0).permutation(300)[:40]
    np.testing.assert_allclose(fitted.transform(cells[rows]), fitted.embedding_[rows], atol=1e-5)
    np.testing.assert_array_equal(fitted.predict(cells[rows]), fitted.labels_[rows])
    for row in rows[:5]:
        assert fitted.predict(cells[[row]]) == fitted.labels_[row]


def test_order_of_genes_and_of_cells(cells, quickly):
    fitted = quickly()
    genes = np.random.default_rng(0).permutation(120)
    np.testing.assert_allclose(fitted.transform(cells[:, genes]), fitted.embedding_, atol=1e-5)
    shuffled = quick_llmdsc().fit(cells[:, genes])
    # Steps of Adam have one length whatever the gradient: rounding grows in training.
    np.testing.assert_allclose(shuffled.embedding_, fitted.embedding_, atol=5e-3)
    assert adjusted_rand_score(shuffled.labels_, fitted.labels_) > 0.97
    shuffled = quick_llmdsc().fit(cells[rows := np.random.default_rng(0).permutation(300)])
    np.testing.assert_allclose(shuffled.embedding_, fitted.embedding_[rows], atol=5e-3)
    assert adjusted_rand_score(shuffled.labels_, fitted.labels_[rows]) > 0.97


def test_containers(cells, quickly):
    expected, layered = quickly(), cells.copy()
    layered.layers["counts"], layered.X = cells.X, sparse.csr_matrix(cells.shape, dtype=np.float32)
    named = quick_llmdsc(gene_names=cells.var_names)
    inputs = [(quick_llmdsc(), cells.to_df()), (quick_llmdsc(layer="counts"), layered)]
    inputs += [(named, X) for X in (cells.X.toarray(), sparse.csc_array(cells.X, dtype=int))]
    for model, X in inputs:
        fitted = clone(model).fit(X)
        np.testing.assert_allclose(fitted.embedding_, expected.embedding_, atol=5e-3)
        assert adjusted_rand_score(fitted.labels_, expected.labels_) > 0.97
        np.testing.assert_array_equal(fitted.predict(X), fitted.labels_)


def test_library_sizes_do_not_decide(cells, quickly):
    labels = quickly().labels_
    factors = np.random.default_rng(0).integers(1, 6, 300)
    assert adjusted_rand_score(quick_llmdsc().fit_predict(_scaled(cells, factors)), labels) > 0.9
    # One unit for all counts changes the choice of genes by the variance of counts, and nothing else.
    first = quick_llmdsc(network__n_networks=1, n_top_genes=120, align_to=None)
    embedded = [clone(first).fit(adata).structural_embedding_ for adata in (cells, _scaled(cells, 3))]
    np.testing.assert_allclose(*embedded, atol=5e-3)


def test_new_cells_get_the_type_that_they_have(cells):
    fitted = quick_llmdsc(clusterer=FEW).fit(cells[:200])
    table = np.zeros((4, 4))
    types = np.unique(cells.obs["label"], return_inverse=True)[1][200:]
    np.add.at(table, (types, fitted.predict(cells[200:])), 1)
    assert table[linear_sum_assignment(-table)].sum() > 95


@pytest.mark.parametrize("inputs", ["axes", "counts"])
def test_the_number_of_types_is_estimated(cells, inputs):
    fitted = quick_llmdsc(n_clusters=None, inputs=inputs).fit(cells)
    curve = fitted.n_clusters_curve_
    assert curve.loc[curve["chosen"], "n_clusters"].tolist() == [fitted.n_clusters_]
    assert 3 <= fitted.n_clusters_ <= 6 and set(fitted.labels_) == set(range(fitted.n_clusters_))
    assert fitted.soft_assignment_.shape == (300, fitted.n_clusters_)
    assert not hasattr(fitted.set_params(n_clusters=4).fit(cells), "n_clusters_curve_")


def test_numbers_of_genes_and_of_networks(cells):
    for n_top_genes in (50, [50], np.array([50])):
        fitted = quick_llmdsc(n_top_genes=n_top_genes, network__n_networks=5).fit(cells)  # one number, two criteria
        assert len(fitted.networks_) == 5 and fitted.embedding_.shape == (300, 5 * 16 + 2 * 16)
        inputs = fitted.embedding_[:, :80]
        assert not np.allclose(inputs[:, :16], inputs[:, 32:48], atol=1e-4)  # of other seeds
        assert ari(fitted, cells) > 0.9
    assert quick_llmdsc(n_top_genes=10**6, network__n_networks=1).fit(cells).embedding_.shape == (300, 32)
    few = quick_llmdsc(n_top_genes=(5, 80)).fit(cells)  # the narrowest choice sets the width of all
    assert few.structural_embedding_.shape == (300, 10) and few.embedding_.shape == (300, 10 + 4 * 5)
    np.testing.assert_array_equal(few.predict(cells), few.labels_)


def test_sizes_and_patience_reach_the_networks(cells):
    sizes = {"n_hidden": 11, "n_components": 5, "n_projection": 7, "n_networks": 1}
    network = CellNetwork(linear=True, patience=1, lr=1e-12, **sizes)
    fitted = quick_llmdsc(align_to="shared", network=network, network__n_networks=1, network__max_epochs=9).fit(cells)
    network = fitted.networks_[0]
    layers = network.encoder[0], network.encoder[-1], network.project_text[-1]
    assert [layer.out_features for layer in layers] == [11, 5, 7]
    assert not any(isinstance(layer, torch.nn.ReLU) for layer in network.encoder)
    assert (fitted.history_.groupby("stage").size() < 9).all()


def test_the_settings_of_the_paper(cells):
    model = LLMDSCClusterer.paper(4, text=lexical(), network__max_epochs=40, network__lr=1e-2, random_state=0)
    published = {"n_networks": 1, "linear": True, "n_projection": 16, "n_components": 16}
    assert published.items() <= model.network.get_params().items()
    published = {"align": 0.3, "cut": 0.15, "mse": 0.3, "kl": 0.32, "temperature": 0.1}
    assert published.items() <= model.losses.get_params().items()
    published = {"text_weight": 0.5, "n_top_genes": 2000, "inputs": "counts", "align_to": "shared"}
    published |= {"clusterer": "kmeans", "n_clusters": 4, "network__max_epochs": 40, "network__lr": 1e-2}
    assert published.items() <= model.get_params().items()
    assert LLMDSCClusterer.paper().network.max_epochs == 200 and LLMDSCClusterer.paper().n_clusters is None
    fitted = model.fit(cells)
    assert fitted.embedding_.shape == (300, 16) and len(fitted.history_) == 80 and ari(fitted, cells) > 0.5
    np.testing.assert_array_equal(fitted.predict(cells), fitted.labels_)
    np.testing.assert_allclose(
        fitted.embedding_, (fitted.structural_embedding_ + fitted.semantic_embedding_) / 2, atol=1e-6
    )


# Few cells, few types


@pytest.mark.filterwarnings("ignore:The partition has collapsed", "ignore:No resolution tried")
@pytest.mark.parametrize("parameters", [{}, {"inputs": "counts"}, {"align_to": "shared"}, {"network__batch_size": 2}])
@pytest.mark.parametrize(("clusterer", "n_clusters"), [("mixture", 2), ("kmeans", 5), ("leiden", 2)])
def test_five_cells_and_three_genes(cells, clusterer, n_clusters, parameters):
    tiny = cells[:5, :3].copy()
    fitted = quick_llmdsc(clusterer=clusterer, n_clusters=n_clusters, **parameters).fit(tiny)
    assert fitted.labels_.shape == (5,) and np.isfinite(fitted.embedding_).all()
    assert set(fitted.labels_) <= set(range(fitted.n_clusters_))
    np.testing.assert_array_equal(fitted.predict(tiny), fitted.labels_)
    np.testing.assert_allclose(fitted.soft_assignment_.sum(axis=1), 1, rtol=1e-6)


def test_one_type(cells):
    for clusterer in ("mixture", "kmeans"):
        fitted = quick_llmdsc(n_clusters=1, clusterer=clusterer).fit(cells)
        assert set(fitted.labels_) == {0}
        np.testing.assert_array_equal(fitted.soft_assignment_, np.ones((300, 1)))


def test_no_collapse_is_reported_where_there_is_none(cells):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
        quick_llmdsc(clusterer="mixture").fit(cells)
        quick_llmdsc(n_clusters=30).fit(cells)


def test_clone_keeps_parameters_alone(cells, epoch_watch):
    model = quick_llmdsc(network__callbacks=[epoch_watch()], text=lexical(k_g=7))
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
    search = GridSearchCV(quick_llmdsc(), grid, cv=NoSplit(), scoring=labels_scorer("ari"), error_score="raise")
    search.fit(cells, truth)
    results = search.cv_results_
    assert results["params"][1] == {"losses__cut": 0.0, "text__omega": 0.8} and len(results["params"]) == 4
    labels = quick_llmdsc(text=lexical(omega=0.8), losses__cut=0.0).fit_predict(cells)
    assert results["mean_test_score"][1] == pytest.approx(adjusted_rand_score(truth[30:], labels[30:]))
    assert search.best_score_ > 0.9


def test_in_a_pipeline(cells, quickly):
    pipeline = make_pipeline(FunctionTransformer(), quick_llmdsc())
    np.testing.assert_array_equal(pipeline.fit_predict(cells), quickly().labels_)
    np.testing.assert_array_equal(pipeline.predict(cells), pipeline[-1].labels_)


def test_real_cells():
    try:
        baron = fetch_baron_mouse(download_if_missing=False)
    except OSError:
        pytest.skip("Baron mouse pancreas is not in the data home")
    some = baron[np.random.default_rng(0).permutation(baron.n_obs)[:600]].copy()
    network = CellNetwork(n_networks=1, max_epochs=20)
    few = ConsensusMixture(n_views=7, n_init=3, n_keep=1)  # a third of the starts of the default
    fitted = LLMDSCClusterer(13, align_to=None, network=network, clusterer=few, random_state=0).fit(some)
    assert ari(fitted, some) > 0.85


@pytest.mark.parametrize("n_top_genes", [(), (2.5,), ["a"], (0, 3)])
def test_numbers_of_genes_are_checked(cells, n_top_genes):
    with pytest.raises(ValueError, match="n_top_genes=.* is not a positive integer"):
        quick_llmdsc(n_top_genes=n_top_genes).fit(cells)
