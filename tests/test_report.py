"""The page of what was found: it holds what it should, needs nothing else, and no name becomes code."""

from html.parser import HTMLParser

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from llmdsc_fits import FEW

import skst
from skst.datasets import make_spatial_domains

ATTACK = "<img src=x onerror=alert(1)>\"'&</td></script><script>alert(2)</script>\x00\ud800\u202e"
VOID = {"img", "meta"}


class _Page(HTMLParser):
    """Elements and text of a page; fails if elements are not closed in their order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self._open = [], [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _read(path):
    text = path.read_text("utf-8")
    return text, _Page(text)


def _fitted(adata, **parameters):
    return skst.SpaLLMFusion(strategy="expression", n_clusters=3, clusterer=FEW, random_state=0, **parameters).fit(
        adata
    )


@pytest.fixture
def adata():
    return make_spatial_domains(300, n_domains=3, n_slices=2, random_state=0)


def test_it_tells_what_was_found(adata, tmp_path):
    model = _fitted(adata, batch_key="batch")
    before = adata.copy()
    path = skst.report(
        model, adata, tmp_path / "deep" / "found.html", truth="label", names={0: "rim"}, seconds={"fit": 12.34}
    )
    text, page = _read(path)
    words = " ".join(page.text)
    for number, size in enumerate(np.bincount(model.labels_)):
        assert f"{number} {size} {size / 300:.1%}" in " ".join(words.split())
    assert "rim" in words and "12.3" in words and "The data are simulated" in words
    truth = skst.metrics.score_partition(adata.obs["label"], model.labels_)["ari"]
    assert "Whether it mattered" not in words
    assert "SpaLLMFusion" in page.text and adata.uns["source"] in page.text
    assert f"{truth:.3f}" in words and "n_vote_neighbors" in words
    markers = skst.inspection.marker_genes(adata, model.labels_, n_top=1)
    assert set(markers["gene"]) <= set(words.split())
    assert "slice1, slice2" in words
    assert [*adata.obs] == [*before.obs] and [*adata.obsm] == [*before.obsm] and [*adata.uns] == [*before.uns]
    assert len(text) < 3_000_000


def test_it_needs_nothing_else(adata, tmp_path):
    text, page = _read(skst.report(_fitted(adata), adata, tmp_path / "found.html"))
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.elements}
    for tag, attributes in page.elements:
        assert not {key for key in attributes if key.startswith("on")}
        for value in (attributes.get(key, "") for key in ("src", "href")):
            assert value.startswith("data:image/png") or not value, f"{tag} loads {value[:40]}"
    assert "url(" not in text and "@import" not in text
    (policy,) = [a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script" not in policy


def test_no_name_becomes_code(adata, tmp_path):
    # Strings of pandas 3 refuse half a character themselves.
    gene = ATTACK if pd.__version__ < "3" else ATTACK.replace("\ud800", "")
    adata.var_names = [f"{gene}{number}" for number in range(adata.n_vars)]
    adata.obs["batch"] = adata.obs["batch"].astype(str) + ATTACK.replace("\ud800", "")
    adata.uns["source"] = ATTACK
    model = _fitted(adata, batch_key="batch")
    text, page = _read(
        skst.report(model, adata, tmp_path / "found.html", names={0: ATTACK}, seconds={ATTACK: 1.0}, truth="label")
    )
    assert "\x00" not in text
    assert {tag for tag, _ in page.elements} <= set(
        "html head meta title style body main h1 h2 p ul li figure img figcaption div table thead tbody tr th td span "
        "bdi footer code".split()
    )
    assert sum(tag == "img" for tag, _ in page.elements) == 1
    assert not {key for _, attributes in page.elements for key in attributes if key.startswith("on")}
    # it is shown as it stands
    assert any("<script>alert(2)</script>" in part for part in page.text)


def test_spots_that_were_not_fitted_are_told(adata, tmp_path):
    model = _fitted(adata[adata.obs["batch"] == "slice1"].copy())
    text, _ = _read(skst.report(model, adata[adata.obs["batch"] == "slice2"].copy(), tmp_path / "found.html"))
    assert "their clusters are predicted" in text
    text, _ = _read(skst.report(model, adata[adata.obs["batch"] == "slice1"].copy(), tmp_path / "found.html"))
    assert "their clusters are predicted" not in text


def test_a_cluster_of_one_slice_is_told(adata, tmp_path):
    shifted = adata.copy()
    shifted.X = shifted.X.toarray()
    shifted.X[(adata.obs["batch"] == "slice2").to_numpy(), :60] += 40
    text, _ = _read(skst.report(_fitted(shifted, batch_key="batch"), shifted, tmp_path / "found.html"))
    assert "is of a single slice" in text
    text, _ = _read(skst.report(_fitted(adata, batch_key="batch"), adata, tmp_path / "found.html"))
    assert "is of a single slice" not in text


def test_cells_without_places_are_drawn_and_named(tmp_path):
    cells = make_spatial_domains(200, n_genes=200, n_domains=3, effect=6, depth=1000, random_state=0)
    del cells.obsm["spatial"]
    network = skst.settings.CellNetwork(n_networks=1, max_epochs=3)
    model = skst.LLMDSCClusterer(3, align_to=None, network=network, clusterer=FEW, random_state=0).fit(cells)
    _, page = _read(skst.report(model, cells, tmp_path / "found.html"))
    words = " ".join(page.text)
    assert "two main axes of the embedding" in words and "PAS" not in words
    assert "training" in words


def test_values_that_are_no_counts_leave_out_genes_and_say_so(adata, tmp_path):
    adata.layers["shifted"] = adata.X.toarray() - 1.5
    spatial = skst.SpatialGraphTransformer(normalize=False, layer="shifted")
    model = skst.SpaLLMFusion(spatial, strategy="expression", n_clusters=3, layer="shifted", random_state=0).fit(adata)
    text, _ = _read(skst.report(model, adata, tmp_path / "found.html"))
    assert "Marker genes are left out" in text


def test_wrong_arguments_are_told(adata, tmp_path):
    model = _fitted(adata)
    with pytest.raises(TypeError, match="pass an AnnData"):
        skst.report(model, pd.DataFrame([[1]]), tmp_path / "x.html")
    with pytest.raises(TypeError, match="finds no clusters"):
        skst.report(skst.SpatialGraphTransformer(), adata, tmp_path / "x.html")
    with pytest.raises(ValueError, match="truth"):
        skst.report(model, adata, tmp_path / "x.html", truth="nothing")
    assert not list(tmp_path.iterdir())


def test_a_picture_of_many_spots_stays_small(adata, tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.integers(adata.n_obs, size=100_000)
    obs = pd.DataFrame(index=[f"spot{number}" for number in range(len(rows))])
    places = {"spatial": rng.random((len(rows), 2)) * 1e4}
    many = ad.AnnData(adata.X[rows], obs=obs, var=adata.var, obsm=places)
    model = _fitted(adata)
    model.n_vote_neighbors = 0  # labels without order, the hardest to press
    path = skst.report(model, many, tmp_path / "found.html")
    assert path.stat().st_size < 3_000_000


def test_domains_have_the_names_that_they_were_told_by(tmp_path):
    adata = make_spatial_domains(200, n_domains=3, random_state=0)
    text = skst.GeneTextEncoder(model="lexical")
    model = skst.STLLMClusterer(3, text=text, clusterer=FEW, random_state=0).fit(adata)
    _, page = _read(skst.report(model, adata, tmp_path / "found.html"))
    assert set(model.domains_["name"]) <= set(page.text)
    assert any("Whether it mattered is not to be seen here" in part for part in page.text)
