"""Rows that belong together are matched by name, wherever two tables name them."""

import functools

import anndata
import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.cluster import KMeans

from skst import GeneTextEncoder, SemSTClusterer, SpaLLMFusion, SpatialGraphTransformer, STLLMClusterer, metrics
from skst.graph import SpatialGraphLearner, spatial_graph
from skst.inputs.rows import match_rows
from skst.inspection import best_mapping, marker_genes, modulation_genes, modulation_report
from skst.model_selection import labels_scorer, predict_scorer
from skst.partition import agreement_medoid, majority_vote
from skst.plotting import plot_annotation, plot_domain_comparison, plot_domains, plot_modulation
from skst.settings import GraphNetwork, Narration

matplotlib.use("agg")

NAMES = pd.Index(list("cabde"))
FRAME = pd.DataFrame({"Plp1": [3, 1, 2, 4, 5]}, index=NAMES)


def _shuffled(values, seed=0):
    return values.sample(frac=1, random_state=seed)


@settings(max_examples=60, deadline=None)
@given(order=st.permutations(range(5)), more=st.integers(0, 3), kind=st.sampled_from(["frame", "adata", "series"]))
def test_any_order_and_more_rows_than_needed(order, more, kind):
    X = {"frame": FRAME, "series": FRAME["Plp1"], "adata": anndata.AnnData(FRAME)}[kind]
    table = FRAME["Plp1"].reindex([*NAMES, *(f"z{i}" for i in range(more))], fill_value=0)
    table = table.iloc[[*order, *range(5, 5 + more)]]
    (matched,) = match_rows(X, batch=table)
    assert matched.tolist() == [3, 1, 2, 4, 5]


@pytest.mark.parametrize("as_names", [lambda i: i.astype("string[pyarrow]"), pd.CategoricalIndex, pd.Index])
def test_names_of_any_dtype(as_names):
    table = _shuffled(FRAME["Plp1"])
    table.index = as_names(table.index)
    assert match_rows(FRAME, y=table)[0].tolist() == [3, 1, 2, 4, 5]


def test_what_has_no_names_is_in_order():
    for values in ([5, 4, 3, 2, 1], np.arange(5), pd.Series(range(5)), None):
        assert match_rows(FRAME, y=values)[0] is values
    numbered = pd.Series(range(5), index=[3, 9, 12, 40, 41])  # rows that filtering has left
    assert match_rows(FRAME, y=numbered)[0] is numbered
    assert match_rows(np.zeros((5, 1)), y=_shuffled(FRAME))[0].index[0] == _shuffled(FRAME).index[0]


@pytest.mark.filterwarnings("ignore:Transforming to str index")
def test_numbers_are_names_where_both_sides_have_them():
    X = pd.DataFrame({"Plp1": range(5)})
    assert match_rows(X, y=_shuffled(X["Plp1"]))[0].tolist() == list(range(5))
    assert match_rows(anndata.AnnData(np.zeros((5, 1))), y=_shuffled(X["Plp1"]))[0].tolist() == list(range(5))
    part = X.iloc[[4, 1, 3]]
    assert match_rows(part, y=_shuffled(part["Plp1"]))[0].tolist() == [4, 1, 3]
    for mixed, names in ((_shuffled(X), "index"), (anndata.AnnData(X)[[3, 0, 1, 2, 4]].copy(), "obs_names")):
        with pytest.raises(ValueError, match=rf"y numbers its rows from 0.*y.loc\[X.{names}.astype\(int\)\]"):
            match_rows(mixed, y=X["Plp1"])
        by_number = X["Plp1"].loc[getattr(mixed, names).astype(int)]
        assert match_rows(mixed, y=by_number)[0].tolist() == by_number.tolist()


def test_names_that_cannot_be_matched():
    other = FRAME["Plp1"].rename(index={"d": "x"})
    with pytest.raises(ValueError, match=r"^y names no row for 1 of the 5 rows of X, such as 'd' .*y.to_numpy\(\)"):
        match_rows(FRAME, y=other)
    with pytest.raises(ValueError, match="y names no row for 5 of the 5 rows of X, such as 'c' .*are like 'spot0'"):
        match_rows(FRAME, y=pd.Series(range(5), index=[f"spot{i}" for i in range(5)]))
    twice = _shuffled(FRAME["Plp1"].rename(index={"d": "a"}))
    with pytest.raises(ValueError, match="in different orders, and y repeats 1 names, such as 'a'"):
        match_rows(FRAME, y=twice)
    with pytest.raises(ValueError, match="and X repeats 1 names"):
        match_rows(FRAME.rename(index={"d": "a"}), y=_shuffled(FRAME["Plp1"]))
    same = FRAME.rename(index={"d": "a"})
    assert match_rows(same, y=same["Plp1"])[0] is not None  # repeated, yet in one order
    with pytest.raises(ValueError, match="coordinates and batch name their rows differently, and X has no names"):
        match_rows(np.zeros((5, 1)), coordinates=FRAME, batch=_shuffled(FRAME["Plp1"]))


# Wherever rows are given


@pytest.fixture
def tables(slices):
    """A tissue whose coordinates, slices, labels and names of cells are tables, in order and in another order."""
    tables = slices.obs[["batch", "label"]].copy()
    tables["x"], tables["y"] = slices.obsm["spatial"].T
    return slices, tables, _shuffled(tables, 1)


def _text(**parameters):
    return GeneTextEncoder().set_params(model="lexical", **parameters)


@pytest.mark.parametrize(
    "estimator",
    [
        SpatialGraphTransformer(random_state=0),
        SpaLLMFusion(text=_text(), n_clusters=3, clusterer="kmeans", random_state=0),
        SemSTClusterer(
            3,
            text=_text(mode="prompt", k_g=5),
            network=GraphNetwork(max_epochs=2),
            clusterer="kmeans",
            random_state=0,
        ),
        STLLMClusterer(3, text=_text(), narration=Narration(n_regions=5), clusterer="kmeans", random_state=0),
        SpatialGraphLearner(max_epochs=3, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("kind", ["frame", "adata"])
def test_estimators(tables, estimator, kind):
    adata, ordered, mixed = tables
    X = adata.to_df() if kind == "frame" else anndata.AnnData(adata.X, obs=adata.obs, var=adata.var)

    def fitted(table):
        places = table[["x", "y"]], table["batch"]
        if isinstance(estimator, SpatialGraphLearner):
            return clone(estimator).fit(X, places[0], batch=places[1])
        return clone(estimator).fit(X, coordinates=places[0], batch=places[1])

    expected, found = fitted(ordered), fitted(mixed)
    if isinstance(estimator, SpatialGraphLearner):
        assert (expected.graph_ != found.graph_).nnz == 0
        return
    if hasattr(expected, "graph_"):
        assert (expected.graph_.graph_ != found.graph_.graph_).nnz == 0
    np.testing.assert_array_equal(found.embedding_, expected.embedding_)
    again = {"coordinates": mixed[["x", "y"]], "batch": _shuffled(mixed["batch"], 2)}
    np.testing.assert_array_equal(found.transform(X, **again), expected.transform(X, **again))
    if hasattr(expected, "labels_"):
        np.testing.assert_array_equal(found.predict(X, **again), expected.labels_)
        y = pd.Series(expected.labels_, index=X.index if kind == "frame" else X.obs_names)
        assert labels_scorer()(found, X, _shuffled(y)) == 1.0


def test_predictions_that_are_scored(tables):
    adata, ordered, mixed = tables
    frame = adata.to_df()
    model = KMeans(3, n_init=3, random_state=0).fit(frame)
    for scorer in (labels_scorer("acc"), predict_scorer("acc")):
        assert scorer(model, frame, mixed["label"]) == scorer(model, frame, ordered["label"].to_numpy()) > 0.4
    with pytest.raises(ValueError, match="y names no row for 50 of the 450 rows of X"):
        predict_scorer("acc")(model, frame, ordered["label"].iloc[50:])


def _score(name):
    return lambda labels, table: getattr(metrics, name)(table["label"], labels)


def _in_space(name):
    def call(labels, table):
        return getattr(metrics, name)(labels, table[["x", "y"]], batch=table["batch"])

    return call


CALLS = {
    **{name: _score(name) for name in ("score_partition", "clustering_accuracy", "macro_f1", "weighted_f1")},
    **{name: _in_space(name) for name in ("chaos_score", "pas_score")},
    "spatial_silhouette": lambda labels, t: metrics.spatial_silhouette(labels, t[["x", "y"]], random_state=0),
    "hungarian_match": lambda labels, table: metrics.hungarian_match(table["label"], labels).tolist(),
    "agreement_matrix": lambda labels, table: metrics.agreement_matrix([labels, table["label"]]).tolist(),
    "agreement_medoid": lambda labels, table: agreement_medoid([labels, table["label"], labels])[1].tolist(),
    "majority_vote": lambda labels, table: majority_vote(labels, table[["x", "y"]], batch=table["batch"]).tolist(),
    "best_mapping": lambda labels, table: best_mapping(labels, table["label"]).to_dict(),
}


@pytest.mark.parametrize("name", CALLS)
def test_scores_and_functions_of_labels(tables, name):
    adata, ordered, mixed = tables
    rng = np.random.default_rng(0)
    codes = np.where(rng.uniform(size=450) < 0.7, pd.factorize(adata.obs["label"])[0], rng.integers(0, 3, 450))
    labels = pd.Series(codes, index=adata.obs_names, name="found")
    found, expected = CALLS[name](labels, mixed), CALLS[name](labels, ordered)
    # Sums over the same terms in another order differ by rounding.
    assert found == (pytest.approx(expected, rel=1e-12) if name == "score_partition" else expected)
    assert CALLS[name](labels, mixed.set_axis(ordered.index)) != expected  # it matters
    renamed = mixed.rename(index=lambda spot: f"{spot}-1")
    with pytest.raises(ValueError, match="names? no row for 450 of the 450 rows"):
        CALLS[name](labels, renamed)


def test_graphs(tables):
    places, batch = tables[1][["x", "y"]], tables[1]["batch"]
    expected = spatial_graph(places, batch=batch)
    assert (spatial_graph(places, batch=tables[2]["batch"]) != expected).nnz == 0
    averaged = (
        SpatialGraphTransformer(batch_key="batch")
        .fit(tables[0])
        .average(places, coordinates=tables[2][["x", "y"]], batch=tables[2]["batch"])
    )
    assert averaged.shape == (450, 2)


def test_inspection(tables):
    adata, ordered, mixed = tables
    for X in (adata, adata.to_df()):
        found, expected = (marker_genes(X, table["label"]) for table in (mixed, ordered))
        pd.testing.assert_frame_equal(found, expected)
        found, expected = (modulation_genes(table[["x", "y"]], X).genes for table in (mixed, ordered))
        pd.testing.assert_frame_equal(found, expected)
    found, expected = (modulation_report(ordered[["x"]], table[["y"]]) for table in (mixed, ordered))
    pd.testing.assert_frame_equal(found, expected)


def _points(ax):
    return {c.get_label(): c.get_offsets().data.tolist() for c in ax.collections}


def test_plots(tables):
    adata, ordered, mixed = tables
    for source in (adata, ordered[["x", "y"]]):
        draw = functools.partial(plot_domains, source, reference=ordered["label"])
        assert _points(draw(mixed["label"])) == _points(draw(ordered["label"]))
        figures = [
            plot_domain_comparison(source, truth=ordered["label"], predictions={"same": table["label"]})
            for table in (mixed, ordered)
        ]
        assert figures[0].axes[1].get_title() == figures[1].axes[1].get_title() == "same\nARI 1.00"
        found, expected = (plot_modulation(source, table[["x"]]) for table in (mixed, ordered))
        np.testing.assert_array_equal(*(f.axes[0].collections[0].get_array() for f in (found, expected)))
    coordinates = ordered[["x", "y"]].to_numpy()
    figure = plot_domain_comparison(coordinates, truth=ordered["label"], predictions={"same": mixed["label"]})
    assert figure.axes[1].get_title() == "same\nARI 1.00"
    found, expected = (plot_annotation(ordered["label"], {"slice": table["batch"]}) for table in (mixed, ordered))
    assert [c.get_label() for c in found.collections] == [c.get_label() for c in expected.collections]


# Labels in whatever form they come


@pytest.mark.parametrize(
    "form",
    [
        lambda y: y.to_frame(),
        lambda y: y.to_numpy()[:, None],
        lambda y: y.astype("category"),
        lambda y: y.astype("string[pyarrow]"),
        lambda y: y.tolist(),
        lambda y: anndata.AnnData(np.zeros((len(y), 1)), obs=y.to_frame()).obs,
    ],
)
def test_a_column_is_a_column(tables, form):
    labels = tables[1]["label"].astype(str)
    expected = metrics.score_partition(labels, labels)
    assert metrics.score_partition(form(labels), labels) == metrics.score_partition(labels, form(labels)) == expected


def test_what_is_no_column(tables):
    labels = tables[1]["label"]
    for wrong in (pd.get_dummies(labels), tables[1], np.zeros((450, 3))):
        with pytest.raises(ValueError, match=r"y_pred has shape \(450, \d\) where one label a spot is expected"):
            metrics.score_partition(labels, wrong)


def test_masked_values_are_missing():
    masked = np.ma.array([0, 0, 1, 1], mask=[0, 0, 0, 1])
    assert metrics.score_partition(masked, [0, 0, 1, 0])["acc"] == 1.0
    with pytest.raises(ValueError, match="batch is missing for 1 spots"):
        spatial_graph(np.eye(4, 2), batch=masked)
    encoder = _text(gene_names=np.ma.array(["Mbp", "Gad1"], mask=[1, 0])).fit([[1, 2], [3, 4]])
    assert encoder.gene_report_["gene"].tolist() == ["", "Gad1"]


def test_tables_of_other_packages():
    dask = pytest.importorskip("dask.dataframe")
    table = dask.from_pandas(_shuffled(FRAME), npartitions=1, sort=False)
    assert match_rows(FRAME, y=table)[0]["Plp1"].tolist() == [3, 1, 2, 4, 5]


def test_lists_are_no_labels():
    with pytest.raises(ValueError, match="batch holds no names .*give one slice name a spot"):
        spatial_graph(np.eye(3, 2), batch=pd.Series([[1], [2], [3]]))


def test_votes_of_names():
    labels = pd.Series(["b", "b", "a", "b", "a"], index=NAMES)
    places = pd.DataFrame({"x": [0, 0, 0, 0, 9], "y": [0, 1, 2, 3, 9]}, index=NAMES)
    assert majority_vote(labels, _shuffled(places), n_neighbors=2).tolist() == ["b", "b", "b", "b", "a"]
    with pytest.raises(ValueError, match="labels are missing for 1 spots"):
        majority_vote(["a", None, "b"], np.eye(3, 2))
