"""Text that modulates a finished embedding: the head by itself, and in SpatialGraphTransformer."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils import estimator_checks

from skst import GeneTextEncoder, SpaLLMFusion, SpatialGraphTransformer, limits
from skst.embedding import semantic
from skst.embedding.semantic import SemanticHead
from skst.graph import averaging_operator, spatial_graph
from skst.model_selection import NoSplit, labels_scorer


def _prompts(**parameters):
    return GeneTextEncoder(model="lexical", mode="prompt", **{"k_g": 10} | parameters)


class Told(TransformerMixin, BaseEstimator):
    """Text that says outright how many counts of some genes a spot has."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        counts = np.asarray(X.X.todense() if sparse.issparse(X.X) else X.X)
        return np.log1p(counts[:, :30])


@pytest.fixture
def _few_epochs(monkeypatch):
    """Train what the transformer makes for a tenth of its epochs, where it is not asked how well it learns."""
    monkeypatch.setitem(SemanticHead.__init__.__kwdefaults__, "max_epochs", 8)


def _plain(tissue, **parameters):
    return SpatialGraphTransformer(n_components=16, random_state=0, **parameters).fit_transform(tissue)


def _modulated(encoder=None, **parameters):
    encoder = _prompts() if encoder is None else encoder
    return SpatialGraphTransformer(semantic=encoder, n_components=16, random_state=0, **parameters)


def _parts(tissue, seed=0):
    """What a head is given: an embedding at an odd scale, text with columns of unlike scale, counts, and the graph."""
    rng = np.random.default_rng(seed)
    embedding = 7 * _plain(tissue) + 3
    text = rng.normal(size=(tissue.n_obs, 9)) * np.arange(1, 10)
    average = averaging_operator(spatial_graph(tissue.obsm["spatial"]))
    return embedding, text, tissue.X, average


def test_an_untrained_head_gives_back_the_embedding(tissue):
    embedding, *rest = _parts(tissue)
    head = SemanticHead(max_epochs=0).fit(embedding, *rest)
    centred = embedding - embedding.mean(axis=0)
    np.testing.assert_allclose(head.embedding_, centred / np.sqrt(centred.var(axis=0).sum()), atol=1e-5)
    assert not head.modulation_.alpha.any() and not head.modulation_.beta.any()
    assert head.history_.empty


def test_training_lowers_the_loss_and_keeps_shape_and_scale(tissue):
    embedding, *rest = _parts(tissue)
    head = SemanticHead(max_epochs=30, lr=5e-3).fit(embedding, *rest)
    loss = head.history_["train_loss"]
    assert len(loss) == 30 and loss.iloc[-1] < loss.iloc[0] - 1e-3
    assert head.embedding_.shape == embedding.shape and head.embedding_.dtype == np.float32
    np.testing.assert_allclose(head.embedding_.var(axis=0).sum(), 1, rtol=1e-4)
    assert head.modulation_.alpha.shape == head.modulation_.beta.shape == embedding.shape
    assert head.modulation_.beta.std(axis=0).max() > 1e-3
    assert {"epoch", "train_loss", "zinb", "spatial", "text", "dur"} == set(head.history_)


def test_the_formula_of_the_modulation(tissue):
    embedding, text, counts, average = _parts(tissue)
    head = SemanticHead(max_epochs=20, lr=5e-3).fit(embedding, text, counts, average)
    alpha, beta = (factor.astype(np.float64) for factor in head.modulation_)
    H = embedding - embedding.mean(axis=0)
    H = H / np.sqrt(H.var(axis=0).mean())
    W = head._ensemble.networks[0].fuse.project.weight.detach().numpy().T
    Z = ((1 + alpha) * H + beta) @ W
    Z -= Z.mean(axis=0)
    np.testing.assert_allclose(head.embedding_, Z / np.sqrt(Z.var(axis=0).sum()), atol=1e-4)


def test_scales_of_embedding_and_text_do_not_matter(tissue):
    embedding, text, counts, average = _parts(tissue)
    first = SemanticHead(max_epochs=10).fit(embedding, text, counts, average)
    second = SemanticHead(max_epochs=10).fit(embedding / 50 - 1, 40 * text + 5, sparse.csr_array(counts), average)
    np.testing.assert_allclose(first.embedding_, second.embedding_, atol=2e-3)


def test_the_decoder_begins_near_the_counts(tissue):
    """On smooth data the start is better than the mean of each gene, and genes of no variance are not chosen."""
    embedding, text, counts, average = _parts(tissue)
    dense = np.asarray(counts.todense() if sparse.issparse(counts) else counts)
    dense[:, :5] = 1.0
    few = SemanticHead(n_genes=40, max_epochs=1).fit(embedding, text, dense, average)
    assert len(few.genes_) == 40 and few.genes_.min() >= 5 and (np.diff(few.genes_) > 0).all()
    informed = SemanticHead(max_epochs=1).fit(embedding, text, counts, average).history_["zinb"].iloc[0]
    shuffled = np.random.default_rng(0).permutation(embedding)
    uninformed = SemanticHead(max_epochs=1).fit(shuffled, text, counts, average).history_["zinb"].iloc[0]
    assert informed < uninformed


def test_rows_are_modulated_one_by_one(tissue, monkeypatch):
    embedding, text, counts, average = _parts(tissue)
    head = SemanticHead(max_epochs=10).fit(embedding, text, counts, average)
    np.testing.assert_allclose(head.transform(embedding, text), head.embedding_, atol=1e-6)
    some = np.array([7, 300, 2])
    np.testing.assert_allclose(head.transform(embedding[some], text[some]), head.embedding_[some], atol=1e-6)
    monkeypatch.setattr(semantic, "CHUNK", 90)
    np.testing.assert_allclose(head.transform(embedding, text), head.embedding_, atol=1e-6)


def test_tiles_learn_what_the_whole_learns(tissue, monkeypatch):
    parts = _parts(tissue)
    whole = SemanticHead(max_epochs=20, lr=1e-4).fit(*parts)
    monkeypatch.setattr(limits, "MAX_FULL_BATCH", 100)
    monkeypatch.setattr(limits, "TILE_SIZE", 20)
    tiled = SemanticHead(max_epochs=20, lr=1e-4).fit(*parts, points=tissue.obsm["spatial"])
    assert tiled.history_["zinb"].iloc[-1] < whole.history_["zinb"].iloc[0]
    np.testing.assert_allclose(tiled.transform(*parts[:2]), tiled.embedding_, atol=1e-6)
    # Several steps an epoch, so not the same network; but the same embedding up to a little training.
    assert not np.array_equal(tiled.embedding_, whole.embedding_)
    np.testing.assert_allclose(tiled.embedding_, whole.embedding_, atol=0.1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text[:-1], "give one text vector a spot"),
        (lambda text: text[:, 0], "give one text vector a spot"),
        (lambda text: np.ones_like(text), "vectors that differ"),
        (lambda text: np.where(text > 1, np.nan, text), "NaN or infinite"),
    ],
)
def test_unusable_text_is_named(tissue, spoil, message):
    embedding, text, counts, average = _parts(tissue)
    with pytest.raises(ValueError, match=message):
        SemanticHead(max_epochs=1).fit(embedding, spoil(text), counts, average)


def test_text_changes_the_embedding_of_the_transformer(tissue):
    plain = _plain(tissue)
    fitted = _modulated(Told()).fit(tissue)
    assert fitted.embedding_.shape == plain.shape
    np.testing.assert_allclose(fitted.embedding_.var(axis=0).sum(), 1, rtol=1e-4)
    assert np.abs(fitted.embedding_ - plain).mean() > 0.02 * np.abs(plain).mean()
    assert fitted.modulation_.beta.std(axis=0).max() > 1e-3
    assert fitted.history_["train_loss"].iloc[-1] < fitted.history_["train_loss"].iloc[0]
    plain_again = fitted.set_params(semantic=None).fit(tissue)
    np.testing.assert_array_equal(plain_again.embedding_, plain)
    assert plain_again.modulation_ is plain_again.history_ is plain_again.semantic_ is None


def test_the_transformer_gives_its_head_text_averaged_as_expression_is(tissue):
    fitted = _modulated(Told()).fit(tissue)
    text = fitted.average(Told().fit_transform(tissue), coordinates=tissue.obsm["spatial"])
    average = averaging_operator(spatial_graph(tissue.obsm["spatial"]))
    head = SemanticHead(random_state=fitted._head.random_state).fit(_plain(tissue), text, tissue.X, average)
    np.testing.assert_allclose(head.embedding_, fitted.embedding_, atol=1e-4)


@pytest.mark.usefixtures("_few_epochs")
def test_transform_of_the_same_and_of_other_spots(slices):
    first, other = slices[slices.obs["batch"] != "slice2"], slices[slices.obs["batch"] == "slice2"]
    assert 0 < other.n_obs < first.n_obs
    fitted = _modulated(batch_key="batch").fit(first)
    np.testing.assert_allclose(fitted.transform(first), fitted.embedding_, atol=1e-5)
    reordered = other.copy()[:, ::-1]
    np.testing.assert_allclose(fitted.transform(reordered), fitted.transform(other), atol=1e-5)
    assert fitted.transform(other).shape == (other.n_obs, 16)


@pytest.mark.usefixtures("_few_epochs")
def test_seeds(tissue):
    first = _modulated().fit(tissue)
    again = clone(first).fit(tissue)
    np.testing.assert_array_equal(first.embedding_, again.embedding_)
    np.testing.assert_array_equal(first.modulation_.alpha, again.modulation_.alpha)
    other = clone(first).set_params(random_state=1).fit(tissue)
    assert not np.array_equal(first.modulation_.alpha, other.modulation_.alpha)
    # The seed reaches the control of the encoder.
    controls = [_modulated(_prompts(control="permuted")).set_params(random_state=s).fit(tissue) for s in (0, 0, 1)]
    codes = [c.semantic_.random_state for c in controls]
    assert codes[0] == codes[1] != codes[2]


@pytest.mark.usefixtures("_few_epochs")
def test_pickle_without_the_data(tissue):
    fitted = _modulated().fit(tissue)
    dumped = pickle.dumps(fitted)
    again = pickle.loads(dumped)
    np.testing.assert_array_equal(again.transform(tissue), fitted.transform(tissue))
    np.testing.assert_array_equal(again.modulation_.beta, fitted.modulation_.beta)
    half = pickle.dumps(clone(fitted).fit(tissue[:200]))
    # An embedding and two factors of 16 columns, and a number of genes named a spot.
    assert len(dumped) - len(half) < 200 * (3 * 16 * 4 + 8) + 4_000 < 200 * tissue.n_vars * 4


@pytest.mark.usefixtures("_few_epochs")
def test_gene_names_are_handed_down(tissue):
    places = {"coordinates": tissue.obsm["spatial"]}
    expected = _modulated().fit(tissue)
    bare = _modulated(gene_names=tissue.var_names).fit(tissue.X, **places)
    np.testing.assert_array_equal(bare.embedding_, expected.embedding_)
    own = _modulated(_prompts(gene_names=tissue.var_names)).fit(tissue.X, **places)
    np.testing.assert_array_equal(own.embedding_, expected.embedding_)
    np.testing.assert_array_equal(bare.transform(tissue.X, **places), expected.transform(tissue))
    layered = tissue.copy()
    layered.layers["counts"], layered.X = tissue.X, tissue.X * 0
    np.testing.assert_array_equal(_modulated(layer="counts").fit(layered).embedding_, expected.embedding_)


def test_without_gene_names_the_embedding_stays_as_it_is(tissue):
    places = {"coordinates": tissue.obsm["spatial"]}
    plain = _plain(tissue)
    with pytest.warns(UserWarning, match="no gene names"):
        fitted = _modulated().fit(tissue.X, **places)
    np.testing.assert_array_equal(fitted.embedding_, plain)
    np.testing.assert_allclose(fitted.transform(tissue.X, **places), plain, atol=1e-5)
    assert fitted.modulation_ is None
    with pytest.raises(ValueError, match="no gene names"):
        _modulated(_prompts(on_missing="error")).fit(tissue.X, **places)


def test_normalised_input_is_refused(tissue):
    with pytest.raises(ValueError, match="semantic is given with normalize=False"):
        _modulated(normalize=False).fit(tissue)


def test_without_coordinates_each_spot_stands_alone(tissue):
    del tissue.obsm["spatial"]
    with pytest.warns(UserWarning, match="no coordinates"):
        fitted = _modulated().fit(tissue)
    assert "spatial" not in fitted.history_
    assert fitted.modulation_.alpha.shape == (400, 16)


@pytest.mark.usefixtures("_few_epochs")
@pytest.mark.parametrize(
    "check",
    ["check_set_output_transform_pandas", "check_transformer_get_feature_names_out", "check_dict_unchanged"],
)
def test_sklearn_checks_with_text(check, bare_home):
    estimator = SpatialGraphTransformer(semantic=_prompts(), n_components=2, random_state=0)
    with warnings.catch_warnings():
        for expected in ("X has no", "X holds fractions", "Only", "X has feature names", "X does not have"):
            warnings.filterwarnings("ignore", expected, UserWarning)
        getattr(estimator_checks, check)("SpatialGraphTransformer", estimator)


@pytest.mark.usefixtures("_few_epochs")
def test_grid_search_over_the_genes_named(tissue):
    model = SpaLLMFusion(_modulated(), strategy="expression", n_clusters=4, clusterer="kmeans", random_state=0)
    grid = {"spatial__semantic__k_g": [2, 30]}
    search = GridSearchCV(model, grid, cv=NoSplit(), scoring=labels_scorer("ari"))
    search.fit(tissue, tissue.obs["label"])
    assert search.cv_results_["mean_test_score"].min() > 0.3
    best = search.best_estimator_.spatial_.semantic_
    assert best.k_g == search.best_params_["spatial__semantic__k_g"]
    few, many = (clone(model).set_params(spatial__semantic__k_g=k).fit(tissue) for k in grid["spatial__semantic__k_g"])
    assert not np.array_equal(few.embedding_, many.embedding_)


@pytest.mark.usefixtures("_few_epochs")
def test_in_spallm_fusion(tissue):
    places = {"coordinates": tissue.obsm["spatial"]}
    text = GeneTextEncoder(model="lexical")
    model = SpaLLMFusion(
        SpatialGraphTransformer(semantic=_prompts(), n_components=16), text, n_clusters=4, random_state=0
    )
    fitted = model.fit(tissue)
    assert fitted.spatial_.modulation_ is not None
    np.testing.assert_array_equal(fitted.predict(tissue), fitted.labels_)
    bare = clone(model).set_params(gene_names=tissue.var_names).fit(tissue.X, **places)
    np.testing.assert_array_equal(bare.spatial_.modulation_.alpha, fitted.spatial_.modulation_.alpha)
    np.testing.assert_array_equal(bare.labels_, fitted.labels_)
