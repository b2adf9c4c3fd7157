"""Marker genes, names of clusters, and the flows between ways of naming."""

import re
import sys
from pathlib import Path

import anndata
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from skst.datasets import fetch_baron_mouse
from skst.genes import GeneDescriptions, load_marker_descriptions
from skst.inspection import annotate_by_markers, annotate_by_text, best_mapping, load_cell_types, marker_genes
from skst.inspection._statistics import holm
from skst.plotting import plot_annotation

matplotlib.use("Agg")
GENES = [f"G{i}" for i in range(30)]
LABELS = np.repeat(["a", "b", "c"], [20, 15, 25])


@pytest.fixture(autouse=True)
def close_figures(bare_home):
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def counts():
    """Sixty cells of three clusters; genes 0-4 mark the first, 5-9 the second, 10-14 the third."""
    rate = np.full((60, 30), 1.5)
    for cluster, genes in zip("abc", np.arange(15).reshape(3, 5), strict=True):
        rate[np.ix_(LABELS == cluster, genes)] = 8
    return np.random.default_rng(0).poisson(rate)


def dense(counts):
    sizes = counts.sum(axis=1, keepdims=True)
    return np.log1p(counts / sizes * np.median(sizes))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.csc_matrix])
def test_markers_are_those_of_welch(counts, form):
    found = marker_genes(form(counts), LABELS, gene_names=GENES, n_top=None)
    Y = dense(counts)
    for cluster, table in found.groupby("cluster", observed=True):
        inside = LABELS == cluster
        t = pd.Series(stats.ttest_ind(Y[inside], Y[~inside], equal_var=False).statistic, index=GENES)
        expected = t[t > 0].sort_values(ascending=False)
        assert table["gene"].tolist() == expected.index.tolist()
        np.testing.assert_allclose(table["score"], expected, rtol=1e-4)
        np.testing.assert_array_equal(table["rank"], np.arange(1, len(table) + 1))
        columns = [GENES.index(gene) for gene in table["gene"]]
        np.testing.assert_allclose(table["fraction_in"], (counts[inside] > 0).mean(axis=0)[columns])
        np.testing.assert_allclose(table["fraction_out"], (counts[~inside] > 0).mean(axis=0)[columns])
        change = (Y[inside].mean(axis=0) - Y[~inside].mean(axis=0))[columns] / np.log(2)
        np.testing.assert_allclose(table["log_fold_change"], change, rtol=1e-4, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.floats(0.05, 3))
def test_sparse_markers_of_any_counts_equal_dense_ones(seed, n_clusters, rate):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rate, (25, 12))
    labels = np.concatenate([np.arange(n_clusters), rng.integers(0, n_clusters, 25 - n_clusters)])
    expected = marker_genes(counts, labels, gene_names=GENES[:12])
    found = marker_genes(sparse.csr_array(counts), labels, gene_names=GENES[:12])
    # Ties may be ordered by rounding.
    key = ["cluster", "gene"]
    expected, found = (table.drop(columns="rank").sort_values(key, ignore_index=True) for table in (expected, found))
    expected, found = (table[table["score"] > 1e-5].reset_index(drop=True) for table in (expected, found))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-3, atol=1e-4)


def test_markers_of_logarithms_are_not_normalised_again(counts):
    raw = marker_genes(counts, LABELS, gene_names=GENES)
    logs = marker_genes(dense(counts), LABELS, gene_names=GENES)
    pd.testing.assert_frame_equal(raw, logs, rtol=1e-3)


def test_markers_of_an_anndata(counts):
    adata = anndata.AnnData(np.zeros((60, 30), dtype=np.float32), var=pd.DataFrame(index=GENES))
    adata.layers["counts"] = sparse.csr_matrix(counts)
    adata.obs["cluster"] = pd.Categorical(LABELS)
    found = marker_genes(adata, "cluster", layer="counts", n_top=5)
    pd.testing.assert_frame_equal(found, marker_genes(counts, LABELS, gene_names=GENES, n_top=5))
    assert found.attrs["genes"] == tuple(GENES)
    assert {c: set(t["gene"]) for c, t in found.groupby("cluster", observed=True)} == {
        "a": set(GENES[:5]),
        "b": set(GENES[5:10]),
        "c": set(GENES[10:15]),
    }


def test_cells_without_label_and_clusters_of_one_cell(counts):
    labels = LABELS.astype(object)
    labels[:5], labels[-1] = None, "lonely"
    known = np.array([label is not None for label in labels])
    found = marker_genes(counts, labels, gene_names=GENES)
    assert set(found["cluster"].cat.categories) == {"a", "b", "c", "lonely"}
    assert np.isfinite(found["score"]).all() and (found["cluster"] == "lonely").any()
    # The unlabelled take part in the median depth alone: logarithms of the others give the same.
    other = marker_genes(dense(counts)[known], labels[known], gene_names=GENES)
    pd.testing.assert_frame_equal(found, other, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(60)}, "labels name 1 cluster"),
        ({"labels": LABELS[:9]}, "labels has 9 entries"),
        ({"gene_names": None}, "X has no gene names"),
        ({"n_top": 0}, "n_top=0"),
        ({"X": -np.ones((60, 30))}, "X holds -1"),
    ],
)
def test_markers_refuse(counts, change, message):
    given = {"X": counts, "labels": LABELS, "gene_names": GENES} | change
    with pytest.raises(ValueError, match=message):
        marker_genes(given.pop("X"), given.pop("labels"), **given)


def listed(**genes):
    return pd.DataFrame([(cluster, gene) for cluster, of in genes.items() for gene in of], columns=["cluster", "gene"])


TABLE = pd.DataFrame(
    [("alpha", f"A{i}") for i in range(8)]
    + [("beta", f"B{i}") for i in range(6)]
    + [("all", f"H{i}") for i in range(90)],
    columns=["cell_type", "gene"],
)
BACKGROUND = [*TABLE["gene"].str.lower(), *(f"x{i}" for i in range(200))]


def test_overlap_is_tested_against_chance():
    markers = listed(p=["a1", "a2", "a3", "h1", "x1"], q=["x1", "x2", "x3", "b1", "h2"], r=["h1", "h2", "h3", "x1"])
    found = annotate_by_markers(markers, TABLE, background=BACKGROUND)
    N, sizes, n = len(BACKGROUND), {"alpha": 8, "beta": 6, "all": 90}, {"p": 5, "q": 5, "r": 4}
    shared = {"p": (3, 0, 1), "q": (0, 1, 1), "r": (0, 0, 3)}
    p = {c: [stats.hypergeom.sf(k - 1, N, K, n[c]) for k, K in zip(shared[c], sizes.values(), strict=True)] for c in n}
    corrected = holm([p[c][i] for c in n for i in range(3)])
    best = {"p": 0, "q": 1, "r": 2}
    for row, (cluster, i) in enumerate(best.items()):
        assert found.loc[cluster, "score"] == pytest.approx(-np.log10(p[cluster][i]))
        assert found.loc[cluster, "p_value"] == pytest.approx(corrected[3 * row + i])
    assert found["cell_type"].tolist() == ["alpha", None, None]
    assert found.loc["p", ["n_overlap", "n_known", "runner_up", "genes"]].tolist() == [3, 8, "all", "A1, A2, A3"]
    forced = annotate_by_markers(markers, TABLE, background=BACKGROUND, alpha=1, min_overlap=1)
    assert forced["cell_type"].tolist() == ["alpha", "beta", "all"]
    assert annotate_by_markers(markers, TABLE, background=BACKGROUND, min_overlap=4).loc["p", "cell_type"] is None


def test_long_lists_of_known_markers_do_not_win_by_their_length():
    markers = listed(p=["a1", "a2", "a3", *(f"h{i}" for i in range(5))])
    assert annotate_by_markers(markers, TABLE, background=BACKGROUND).loc["p", ["cell_type", "runner_up"]].tolist() == [
        "alpha",
        "all",
    ]


def test_table_is_kept_to_species_tissue_and_sign():
    table = TABLE.assign(species="human", tissue="Pancreas|gut", sign="+")
    table.loc[table["cell_type"] == "beta", ["species", "tissue"]] = "mouse", "any"
    markers = listed(p=["a1", "a2", "a3"], q=["b1", "b2", "b3"])

    def names(table, **parameters):
        return annotate_by_markers(markers, table, background=BACKGROUND, **parameters)["cell_type"].tolist()

    assert names(table) == names(table, tissue="GUT") == ["alpha", "beta"]
    assert names(table, species="human") == ["alpha", None]
    assert names(table.replace({"tissue": {"Pancreas|gut": "skin"}}).assign(x=1), tissue=["skin"]) == ["alpha", "beta"]
    lacks = table.assign(sign=np.where(table["cell_type"] == "alpha", "-", "+"))
    assert names(lacks) == [None, "beta"]
    with pytest.raises(
        ValueError, match=r"tissue=\['lung'\] is not in the table, which has \['Pancreas', 'any', 'gut'\]"
    ):
        names(table, tissue="lung")
    with pytest.raises(ValueError, match=r"table lacks the columns \['species'\]"):
        names(TABLE, species="human")


def test_specific_genes_come_before_those_that_all_cells_express():
    markers = listed(p=[*(f"h{i}" for i in range(12)), "a1", "a2", "a3"])
    markers["score"], markers["fraction_in"] = np.linspace(20, 10, 15), 0.9
    markers["fraction_out"] = [0.88] * 12 + [0.05] * 3
    found = annotate_by_markers(markers, TABLE, n_top=3, background=BACKGROUND)
    assert found.loc["p", ["cell_type", "genes"]].tolist() == ["alpha", "A1, A2, A3"]
    plain = markers[["cluster", "gene"]]
    assert annotate_by_markers(plain, TABLE, n_top=3, background=BACKGROUND, alpha=1).loc["p", "cell_type"] == "all"


def test_a_cluster_without_markers_stays_in_the_table():
    markers = listed(p=["a1", "a2", "a3"])
    markers["cluster"] = pd.Categorical(markers["cluster"], ["empty", "p"])
    found = annotate_by_markers(markers, TABLE, background=BACKGROUND)
    assert found.index.tolist() == ["empty", "p"] and found["cell_type"].tolist() == [None, "alpha"]
    texts = annotate_by_text(listed(p=["INS"], q=["unknown"]), model="lexical")
    assert texts.loc["q", "cell_type"] is None and np.isnan(texts.loc["q", "score"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_top": 0}, "n_top=0"),
        ({"min_overlap": 1.5}, "min_overlap=1.5"),
        ({"markers": pd.DataFrame({"gene": ["A1"]})}, r"markers lacks the columns \['cluster'\]"),
        ({"background": ["z"]}, "no gene that was measured"),
    ],
)
def test_overlap_refuses(change, message):
    given = {"markers": listed(p=["a1"]), "table": TABLE} | change
    with pytest.raises(ValueError, match=message):
        annotate_by_markers(**given)


class Axes:
    """A language model to which a text is one of three topics."""

    def __init__(self):
        self.seen = []

    def encode(self, texts):
        self.seen += texts
        return np.array([[0.2 + (word in text.lower()) for word in ("myelin", "insulin", "")] for text in texts])


DESCRIBED = pd.DataFrame({"symbol": ["A1", "A2", "B1", "B2", "INS"], "summary": ["myelin"] * 2 + ["insulin"] * 3})
TYPES = {"glia": "wraps axons in myelin", "islet": "makes insulin"}


def test_names_in_words_follow_the_meaning_of_genes():
    model, markers = Axes(), listed(x=["B1", "B2"], y=["A1", "A2"])
    options = {"model": model, "descriptions": GeneDescriptions(DESCRIBED, species="human")}
    found = annotate_by_text(markers, TYPES, **options)
    assert found["cell_type"].tolist() == ["islet", "glia"] and found["runner_up"].tolist() == ["glia", "islet"]
    assert (found["margin"] > 0.5).all() and found.loc["x", "genes"] == "B1, B2"
    assert {"glia: wraps axons in myelin", "islet: makes insulin"} <= set(model.seen)
    bare = annotate_by_text(markers, dict.fromkeys(TYPES, ""), **options)
    assert "glia" in model.seen and (bare["margin"].abs() < 1e-6).all()


def test_weights_of_specificity_decide_between_genes():
    markers = listed(x=["A1", "B1"])
    markers["score"], markers["fraction_in"] = [5.0, 5.0], [0.9, 0.9]
    options = {"model": Axes(), "descriptions": GeneDescriptions(DESCRIBED, species="human")}
    for outside, name in (([0.1, 0.8], "glia"), ([0.8, 0.1], "islet")):
        assert annotate_by_text(markers.assign(fraction_out=outside), TYPES, **options).loc["x", "cell_type"] == name


def test_texts_of_other_genes_give_other_names():
    markers = pd.concat([listed(**{name: genes.split("|")[:6]}) for name, genes in _described_types()])
    options = {"model": "lexical", "descriptions": GeneDescriptions(species="human")}
    real = annotate_by_text(markers, **options)["cell_type"]
    permuted = annotate_by_text(markers, control="permuted", random_state=0, **options)["cell_type"]
    right, by_chance = (real == real.index).mean(), (permuted == permuted.index).mean()
    assert right > 0.25 > 0.1 > by_chance
    again = annotate_by_text(markers, control="permuted", random_state=0, **options)["cell_type"]
    pd.testing.assert_series_equal(permuted, again)


def _described_types():
    """Types whose markers the small table of the package describes."""
    known = set(load_marker_descriptions()["symbol"])
    types = load_cell_types().set_index("cell_type")["markers"]
    genes = {name: [gene for gene in of.split("|") if gene in known] for name, of in types.items()}
    return [(name, "|".join(of)) for name, of in genes.items() if len(of) >= 6]


def test_cell_types_of_the_package_are_as_promised():
    types = load_cell_types(kind=None)
    assert types["cell_type"].is_unique and (types.drop(columns="parent") != "").all(axis=None)
    words = types["description"].str.split().map(len)
    numbers = types["markers"].str.split("|").map(len)
    assert words.between(15, 40).all() and numbers.between(8, 15).all()
    symbols = set(types["markers"].str.split("|").explode()) | set(load_marker_descriptions()["symbol"])
    named = types["description"].map(lambda said: symbols.intersection(re.findall(r"[\w-]+", said)))
    assert not named.map(bool).any()
    assert all(len(of) == len(set(of)) for of in types["markers"].str.split("|"))
    assert types.equals(types.sort_values("cell_type", key=lambda s: s.str.casefold()))
    blood = load_cell_types("blood")
    assert {"B cell", "endothelial cell"} <= set(blood["cell_type"]) and "astrocyte" not in set(blood["cell_type"])


def test_best_mapping_names_one_to_one():
    labels = [0] * 4 + [1] * 3 + [2] * 2 + [None]
    found = best_mapping(labels, ["x", "x", "x", "y", "y", "y", None, "x", "x", "x"])
    assert found["cell_type"].tolist() == ["x", "y", None]
    assert found["n_cells"].tolist() == [4, 3, 2] and found["share"].tolist() == [0.75, 1.0, 0.0]
    with pytest.raises(ValueError, match="reference has 2 entries"):
        best_mapping([0, 1, 1], ["x", "y"])


def widths(ax):
    """Share of the cells in each band, by its label."""
    found = {}
    for band in ax.collections:
        y = band.get_paths()[0].vertices[:, 1]
        x = band.get_paths()[0].vertices[:, 0]
        found[band.get_label()] = np.ptp(y[np.isclose(x, x.min())])
    total = sum(v for k, v in found.items())
    return {name: width / total for name, width in found.items()}


def test_bands_are_as_wide_as_their_cells():
    labels = [0] * 6 + [1] * 3 + [2]
    known = ["x"] * 4 + ["y"] * 5 + [None]
    ax = plot_annotation(labels, {"known": known})
    assert widths(ax) == pytest.approx({"0 > x": 0.4, "0 > y": 0.2, "1 > y": 0.3, "2 > unassigned": 0.1})
    titles = {text.get_text() for text in ax.texts}
    assert {"known", "cluster", " x ", " y ", "unassigned".center(12)} <= titles


def test_clusters_stand_between_two_ways_and_names_share_colours():
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    table = pd.DataFrame({"cell_type": ["x", "y", None]}, index=[0, 1, 2])
    ax = plot_annotation(labels, {"left": {0: "x", 1: "y", 2: "z"}, "right": table})
    bands = {band.get_label(): band for band in ax.collections}
    assert set(bands) == {"x > 0", "y > 1", "z > 2", "0 > x", "1 > y", "2 > unassigned"}
    colour = {name: tuple(band.get_facecolor()[0]) for name, band in bands.items()}
    assert colour["x > 0"] == colour["0 > x"] != colour["y > 1"] == colour["1 > y"]
    places = {text.get_text(): text.get_position()[0] for text in ax.texts}
    assert places["left"] < places["cluster"] < places["right"]
    # Nothing has to cross here: bands keep their order from left to right.
    tops = [bands[name].get_paths()[0].vertices[:, 1].min() for name in ("x > 0", "y > 1", "z > 2")]
    assert np.all(np.diff(tops) > 0) or np.all(np.diff(tops) < 0)


def test_names_do_not_overlap():
    labels = np.r_[np.zeros(500, dtype=int), np.arange(14)]
    ax = plot_annotation(labels, {"way": {i: f"type {i}" for i in range(14)}})
    ax.figure.canvas.draw()
    boxes = sorted(text.get_window_extent().y0 for text in ax.texts if text.get_text().startswith(" type"))
    assert len(boxes) == 14 and np.diff(boxes).min() > 8


@pytest.mark.parametrize(
    ("labels", "annotations", "message"),
    [
        ([0, 1], {}, "annotations is empty"),
        ([0, 1], {"m": {0: "x"}}, r"annotations\['m'\] has no name for the clusters \[1\]"),
        ([0, 1], {"m": ["x"]}, r"annotations\['m'\] has 1 entries"),
        ([None, None], {"m": ["x", "y"]}, "labels hold no cluster"),
    ],
)
def test_plot_refuses(labels, annotations, message):
    with pytest.raises(ValueError, match=message):
        plot_annotation(labels, annotations)


def test_benchmark_takes_names_of_the_package_for_every_label():
    root = Path(__file__).parents[1]
    if not (root / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of this installation")
    sys.path.insert(0, str(root))
    from benchmarks.tables import annotation

    names = load_cell_types()["cell_type"]
    for data, patterns in annotation.RIGHT.items():
        for label in patterns:
            right = [name for name in names if annotation.is_right(data, label, name)]
            assert 1 <= len(right) <= len(names) / 5, (data, label, right)
    assert not annotation.is_right("PBMC3k", "CD14+ Mono", "non-classical monocyte")
    assert not annotation.is_right("Baron mouse", "beta", None)


def test_pancreas_is_named_by_markers(monkeypatch):
    monkeypatch.undo()
    try:
        adata = fetch_baron_mouse(download_if_missing=False)
    except OSError:
        pytest.skip("the data home has no Baron mouse")
    found = annotate_by_markers(marker_genes(adata, "label"), tissue="pancreas")["cell_type"]
    islet = [f"pancreatic {name} cell" for name in ("alpha", "beta", "delta", "gamma")]
    assert found[["alpha", "beta", "delta", "gamma"]].tolist() == islet
    assert found["endothelial"] == "endothelial cell" and found["macrophage"] == "macrophage"
    assert found.isna().sum() <= 5
