"""What GeneTextEncoder is given: names, descriptions, vectors and parameters, good and bad."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from text_encoders import MODES, WEIGHTINGS, lexical_encoder

from skst.text import GeneTextEncoder


def test_report_and_coverage(bare_home):
    X = np.array([[3, 1, 0, 6], [2, 2, 1, 3]])
    genes = ["SST", "Gad1", "NoSuchGene", "ENSG00000000001"]
    with pytest.warns(
        UserWarning, match=r"Only 2 of 4 genes, with 44% of the counts.*fetch_gene_descriptions\('human'\)"
    ):
        encoder = lexical_encoder(genes, descriptions__species="human").fit(X)
    report = encoder.gene_report_
    assert report.columns.tolist() == ["gene", "symbol", "matched", "has_summary", "source", "text"]
    assert report["matched"].tolist() == ["symbol", "case", "unmatched", "unmatched"]
    assert report["symbol"].tolist() == ["SST", "GAD1", "", ""]
    assert report["has_summary"].tolist() == [True, True, False, False]
    assert encoder.coverage_ == pytest.approx(8 / 18)
    assert (encoder.gene_vectors_[2:] == 0).all() and (encoder.gene_vectors_[:2] != 0).any(axis=1).all()
    symbols = lexical_encoder(genes, descriptions__species="human", descriptions__detail="symbol").fit(X).gene_report_
    assert symbols["text"].tolist() == ["SST", "GAD1", "NoSuchGene", ""]


def test_no_match_is_no_text(bare_home):
    for names, parameters in ((["x1", "x2"], {}), (["ENSG00000000001", "ENSG00000000002"], {"mode": "prompt"})):
        with pytest.warns(UserWarning, match="None of the 2 gene names of X, such as .*fetch_gene_desc") as caught:
            encoder = lexical_encoder(names, **parameters).fit(np.ones((3, 2)))
        assert len(caught) == 1 and "gene_names" in str(caught[0].message)
        assert not encoder.has_text_ and encoder.coverage_ == 0 and encoder.backend_name_ is None
        np.testing.assert_array_equal(encoder.transform(np.ones((3, 2))), np.zeros((3, 1)))
        assert (encoder.gene_report_["matched"] == "unmatched").all()
        with pytest.raises(ValueError, match='None of the 2 gene names.*on_missing="warn"'):
            lexical_encoder(names, on_missing="error", **parameters).fit(np.ones((3, 2)))


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
        lexical_encoder(genes, **parameters).fit(X)


def test_negative_counts(counts):
    X, genes = counts
    with pytest.raises(ValueError, match="Negative values"):
        lexical_encoder(genes).fit(X - 1)
    H = lexical_encoder(genes, normalize=None).fit_transform(X - 1)
    np.testing.assert_allclose(H, lexical_encoder(genes, normalize=False).fit_transform(X), atol=1e-3)


def test_precomputed_vectors(counts):
    X, genes = counts
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(19, 5)), index=[gene.upper() for gene in genes[1:]])
    encoder = lexical_encoder(genes, model="no-such-model", vectors=table, weighting="abundance").fit(X)
    assert encoder.backend_name_ == "vectors" and encoder.has_text_
    np.testing.assert_allclose(encoder.gene_vectors_[1:], table.to_numpy(), rtol=1e-6)
    assert (encoder.gene_vectors_[0] == 0).all() and encoder.transform(X).shape == (60, 5)
    assert encoder.coverage_ == pytest.approx(X[:, 1:].sum() / X.sum())
    with pytest.raises(ValueError, match="vectors have length 5 but model='lexical' makes vectors of length 384"):
        lexical_encoder(genes, vectors=table, mode="dual").fit(X)


def test_own_descriptions(counts, tmp_path):
    X, genes = counts
    table = pd.DataFrame({"symbol": genes[:15], "summary": [f"about {gene}" for gene in genes[:15]]})
    table.to_csv(tmp_path / "own.tsv.gz", sep="\t", index=False)
    encoder = lexical_encoder(genes, descriptions=tmp_path / "own.tsv.gz").fit(X)
    assert encoder.gene_report_["text"].tolist() == [f"{gene}: about {gene}" for gene in genes[:15]] + [""] * 5
    same = lexical_encoder(genes, descriptions=table).fit(X)
    np.testing.assert_array_equal(same.gene_vectors_, encoder.gene_vectors_)


def test_one_gene_and_one_cell(bare_home):
    for weighting in WEIGHTINGS:
        H = lexical_encoder(["SST"], weighting=weighting, normalize=False).fit_transform(np.array([[1.0], [3.0]]))
        assert np.isfinite(H).all() and not np.allclose(H[0], H[1])
    for mode in MODES:
        assert np.isfinite(lexical_encoder(["SST", "VIP"], mode=mode).fit_transform([[2, 1]])).all()
        assert np.isfinite(lexical_encoder(["SST", "VIP"], mode=mode).fit_transform(np.zeros((3, 2)))).all()


def test_entries_stored_in_parts(counts):
    X, genes = counts
    whole = sparse.csr_matrix(2 * X)
    parts = sparse.csr_matrix(
        (np.repeat(whole.data / 2, 2), np.repeat(whole.indices, 2), 2 * whole.indptr), shape=whole.shape
    )
    np.testing.assert_allclose(
        lexical_encoder(genes).fit_transform(parts), lexical_encoder(genes).fit_transform(whole), atol=1e-4
    )
    assert parts.nnz == 2 * whole.nnz


def test_anndata_genes_in_another_order(counts):
    anndata = pytest.importorskip("anndata")
    X, genes = counts
    adata = anndata.AnnData(sparse.csr_matrix(X), var=pd.DataFrame(index=genes), layers={"reversed": X[:, ::-1]})
    encoder = GeneTextEncoder(model="lexical")
    H = encoder.fit_transform(adata)
    np.testing.assert_allclose(H, lexical_encoder(genes).fit_transform(X), atol=1e-4)
    np.testing.assert_allclose(encoder.transform(adata[:9, ::-1]), H[:9], atol=1e-4)
    layered = GeneTextEncoder(model="lexical", layer="reversed").fit_transform(adata)
    np.testing.assert_allclose(layered, lexical_encoder(genes).fit_transform(X[:, ::-1]), atol=1e-4)
