"""Drivers of published code that finds domains: how it is called, and what stands in for packages it does not need."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from test_benchmark_runner import tissue  # which also finds the benchmarks, or skips

from benchmarks import processes  # isort: skip
from benchmarks.published import encoders, semst  # isort: skip

STAGATE = {
    "__init__.py": """
        from . import Train_STAGATE
        def Cal_Spatial_Net(adata, k_cutoff, model, verbose):
            adata.uns["net"] = (k_cutoff, model)
        """,
    "Train_STAGATE.py": """
        import seaborn, torch_sparse
        from tqdm import tqdm
        def train_STAGATE(adata, n_epochs, verbose):
            for epoch in tqdm(range(n_epochs)):
                if epoch == 2:
                    break
            adata.obsm["STAGATE"] = adata.X.cumsum(axis=1)[:, : adata.uns["net"][0]]
            print("done")
            return adata
        """,
}


def train_fake(folder):
    return encoders.train(folder, "stagate", tissue(), 5)


def test_published_code_is_imported_from_its_checkout_and_timed(tmp_path, capfd):
    package = tmp_path / "STAGATE_pyG" / "STAGATE_pyG"
    package.mkdir(parents=True)
    for name, text in STAGATE.items():
        (package / name).write_text("\n".join(line[8:] for line in text.splitlines()), "utf-8")
    assert encoders.at_hand(tmp_path, ["stagate"]) == ["stagate"]
    embedding, seconds = processes.call_apart(train_fake, tmp_path)
    X = tissue().X.toarray()
    expected = np.log1p(X / X.sum(axis=1, keepdims=True) * 1e4).cumsum(axis=1)[:, :6]
    np.testing.assert_allclose(embedding, expected, rtol=1e-5)
    assert len(seconds) == 3 and min(seconds) >= 0, "the epoch in which training stops counts"
    assert capfd.readouterr().out == ""


def test_what_is_not_there_is_named(tmp_path, monkeypatch, capsys):
    for name in ("SpaceFlow", "STAGATE_pyG"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(encoders, "PACKAGES", {"spaceflow": "no_such_package"})
    assert encoders.at_hand(tmp_path, ["stagate", "graphst", "spaceflow"]) == ["stagate"]
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["graphst", "spaceflow"]
    assert said[0].endswith("no checkout of JinmiaoChenLab/GraphST")
    assert said[1].endswith("the package no_such_package is not installed")


def test_stand_in_for_louvain_finds_the_groups():
    import anndata

    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 30)
    adata = anndata.AnnData((10 * np.eye(4)[truth] + rng.standard_normal((120, 4))).astype(np.float32))
    encoders._neighbors(adata, n_neighbors=5, use_rep="X")
    pairs = adata.uns["pairs"]
    np.testing.assert_array_equal(np.bincount(pairs[:, 0]), 4)
    encoders._louvain(adata, resolution=0.3, random_state=0, key_added="found")
    assert adjusted_rand_score(truth, adata.obs["found"].astype(int)) > 0.9


def test_published_code_sees_scaled_expression_and_must_be_there(tmp_path):
    adata = tissue()
    X = semst._scaled(adata.X)
    assert X.dtype == np.float32 and X.max() <= 10
    unclipped = (X < 10).all(axis=0)
    np.testing.assert_allclose(X[:, unclipped].std(axis=0, ddof=1), 1, rtol=1e-4)
    deeper = adata.X.multiply(np.arange(1, 121)[:, None]).tocsr()
    np.testing.assert_allclose(semst._scaled(deeper), X, rtol=1e-4)
    with pytest.raises(FileNotFoundError, match="checkout of longjiangk/SemST"):
        semst.published_epochs(tmp_path, adata, None, 2)
