"""Scores of mixing against the published definition written out, and what they must not depend on."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

from skst import SpatialGraphTransformer
from skst.datasets import make_spatial_domains
from skst.metrics import clisi_score, graph_connectivity, ilisi_score, neighborhoods, score_mixing
from skst.model_selection import NoSplit, embedding_scorer


def _lisi(points, codes, n_neighbors):
    """Harmony's compute_lisi, a spot at a time: all distances, a root finder, no shortcuts."""
    lisi = []
    for i, point in enumerate(points):
        lengths = np.linalg.norm(points - point, axis=1)
        near = [j for j in np.argsort(lengths, kind="stable") if j != i][: n_neighbors - 1]

        def weights(log_rate, lengths=lengths[near]):
            p = np.exp(-np.exp(log_rate) * (lengths - lengths.min()))
            return p / p.sum()

        def excess(log_rate, weights=weights):
            p = weights(log_rate)
            return -(p[p > 0] * np.log(p[p > 0])).sum() - np.log(n_neighbors // 3)

        p = weights(brentq(excess, -15, 15))
        lisi.append(1 / sum(p[codes[near] == code].sum() ** 2 for code in np.unique(codes)))
    return np.array(lisi)


def _made(seed, n=220, shift=0.7, scale=1.0):
    rng = np.random.default_rng(seed)
    batch, labels = rng.choice(3, n, p=[0.6, 0.3, 0.1]), rng.choice(4, n)
    centres, shifts = rng.normal(size=(4, 6)) * 1.5, rng.normal(size=(3, 6)) * shift
    return (rng.normal(size=(n, 6)) + centres[labels] + shifts[batch]) * scale, batch, labels


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_scores_are_those_published(seed, scale):
    points, batch, labels = _made(seed, scale=scale)
    mixed, apart = np.median(_lisi(points, batch, 30)), np.median(_lisi(points, labels, 30))
    assert ilisi_score(points, batch, n_neighbors=30) == pytest.approx((mixed - 1) / 2, abs=1e-6)
    assert clisi_score(points, labels, n_neighbors=30) == pytest.approx((4 - apart) / 3, abs=1e-6)


def test_within_domains_neighbours_are_of_the_same_domain():
    points, batch, labels = _made(3)
    within = np.concatenate([_lisi(points[labels == c], batch[labels == c], 21) for c in range(4)])
    found = ilisi_score(points, batch, labels=labels, n_neighbors=21)
    assert found == pytest.approx((np.median(within) - 1) / 2, abs=1e-6)
    assert found != pytest.approx(ilisi_score(points, batch, n_neighbors=21), abs=1e-4)


def test_numbers_of_scib_metrics():
    """What scib-metrics 0.5.10 says of these points."""
    points, batch, labels = _made(0, n=400)
    scores = {
        "ilisi": ilisi_score(points, batch),
        "clisi": clisi_score(points, labels),
        "graph": graph_connectivity(points, labels),
    }
    assert scores == pytest.approx({"ilisi": 0.238746, "clisi": 0.968121, "graph": 0.993132}, abs=5e-6)


def test_connectivity_is_the_share_of_the_largest_strong_part():
    line = np.concatenate([np.arange(10.0), 100 + np.arange(5.0), 1000 + np.arange(15.0)])[:, None]
    labels = np.repeat(["a", "b"], 15)
    assert graph_connectivity(line, labels, n_neighbors=3) == pytest.approx((10 / 15 + 1) / 2)
    # the last spot points to its neighbours, and none points back to it
    lonely = np.array([0.0, 0.1, 0.2, 5.0])[:, None]
    assert graph_connectivity(lonely, ["a"] * 4, n_neighbors=2) == pytest.approx(1 / 2)
    assert graph_connectivity(lonely, ["a", "b", "c", "d"], n_neighbors=2) == 1


def test_chance_is_reached_by_shuffled_slices_and_depends_on_their_shares():
    points = np.random.default_rng(0).normal(size=(3000, 4))
    labels = np.repeat([0, 1, 2], 1000)
    for shares in ([0.5, 0.5], [0.9, 0.1]):
        batch = np.random.default_rng(1).choice(2, 3000, p=shares)
        scores = score_mixing(points, batch, labels)
        assert scores["ilisi"] == pytest.approx(scores["ilisi_chance"], abs=0.03)
        assert scores["clisi"] == pytest.approx(scores["clisi_chance"], abs=0.03)
    assert scores["ilisi_chance"] < 0.35
    # slices whose domains differ are mixed as well as they can be, which only the chance within domains tells
    own = np.where(labels == 0, 0, np.random.default_rng(2).choice(2, 3000))
    scores = score_mixing(points + 50 * labels[:, None], own, labels)
    assert scores["ilisi"] == pytest.approx(scores["ilisi_chance"], abs=0.03)


def test_scores_at_once_are_the_single_ones():
    points, batch, labels = _made(1)
    scores = score_mixing(points, batch, labels)
    assert scores["ilisi"] == ilisi_score(points, batch, labels=labels)
    assert scores["clisi"] == clisi_score(points, labels)
    assert scores["graph_connectivity"] == graph_connectivity(points, labels)
    assert score_mixing(points, batch) == {
        "ilisi": ilisi_score(points, batch),
        "ilisi_chance": score_mixing(points, batch)["ilisi_chance"],
    }


def test_names_order_unit_and_unlabelled_spots_do_not_matter():
    points, batch, labels = _made(2)
    order = np.random.default_rng(0).permutation(len(points))
    names = np.array(["z", "y", "x"])[batch]
    expected = score_mixing(points, batch, labels)
    moved = score_mixing(points[order] * 40 + 7, names[order], labels[order].astype(str))
    for name in ("ilisi", "clisi", "graph_connectivity"):
        assert moved[name] == pytest.approx(expected[name], abs=1e-6)
    more = np.vstack([points, points[:5]])
    unlabelled = [*labels, None, np.nan, "NA", None, None]
    assert score_mixing(more, [*batch, 0, 0, 0, 0, 0], unlabelled) == expected


def test_pandas_objects_are_matched_by_the_names_of_spots():
    points, batch, labels = _made(2)
    names = [f"s{i}" for i in range(len(points))]
    frame, series = pd.DataFrame(points, names), pd.Series(batch, names)
    mixed = series.sample(frac=1, random_state=0)
    assert ilisi_score(frame, mixed) == ilisi_score(points, batch) != ilisi_score(points, mixed.to_numpy())


def test_duplicates_and_small_domains():
    points = np.zeros((40, 2))
    batch = np.tile(["a", "b"], 20)
    assert 0.9 < ilisi_score(points, batch, n_neighbors=40) <= 1
    # domains of so few spots that they cannot mix have no say
    labels = np.array(["big"] * 29 + ["five"] * 5 + ["four"] * 4 + ["one"] * 2)
    assert ilisi_score(points, batch, labels=labels) == ilisi_score(points[:29], batch[:29])
    assert graph_connectivity(points, labels) > 0


def test_drawn_spots_score_about_as_all_do():
    points, batch, labels = _made(4, n=3000)
    points[:, 3:] *= 3
    for score, codes in ((ilisi_score, batch), (clisi_score, labels), (graph_connectivity, labels)):
        full = score(points, codes, sample_size=None)
        drawn = score(points, codes, sample_size=1000, random_state=0)
        assert drawn == score(points, codes, sample_size=1000, random_state=0)
        assert drawn != full and drawn == pytest.approx(full, abs=0.05)


def test_chunks_do_not_matter(monkeypatch):
    points, batch, labels = _made(4)
    whole = score_mixing(points, batch, labels)
    monkeypatch.setattr(neighborhoods, "CHUNK", 7)
    assert score_mixing(points, batch, labels) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], ["a", "b"]), "Expected 2D array"),
        (([[1.0], [np.nan]], ["a", "b"]), "embedding contains NaN"),
        (([[1.0], [2.0]], ["a"]), "batch has 1 entries but embedding has 2 rows"),
        (([[1.0], [2.0]], ["a", None]), "batch is missing for 1 spots"),
        (([[1.0], [2.0]], ["a", "a"]), "batch has one value for all scored spots"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ilisi_score(*arguments)


def test_an_anndata_is_no_embedding(slides):
    for score in (ilisi_score, clisi_score, graph_connectivity, score_mixing):
        with pytest.raises(TypeError, match=r"embedding is an AnnData; pass the array itself, such as adata.obsm"):
            score(slides, slides.obs["label"])
        for slices in ([slides, slides], [slides.X[:9], slides.X[9:]]):
            with pytest.raises(TypeError, match=r"embedding is a list of .*, one a slice; put the arrays together"):
                score(slices, slides.obs["label"])


def test_bad_labels_are_named():
    points, batch = np.eye(3), ["a", "b", "b"]
    with pytest.raises(ValueError, match="labels name a domain for none of 3 spots"):
        clisi_score(points, [None, "NA", np.nan])
    with pytest.raises(ValueError, match="labels has one value"):
        clisi_score(points, ["L1"] * 3)
    with pytest.raises(ValueError, match="no scored spot has 5 others of its label"):
        ilisi_score(points, batch, labels=["L1", "L2", "L3"])
    with pytest.raises(ValueError, match="n_neighbors=1 is not an integer of at least 2"):
        graph_connectivity(points, batch, n_neighbors=1)


def test_neighbours_are_enough_to_be_mixed():
    points, batch = np.random.default_rng(0).normal(size=(200, 2)), np.tile([0, 1], 100)
    mixed = ilisi_score(points, batch, n_neighbors=6)
    assert mixed == pytest.approx(np.median(_lisi(points, batch, 6)) - 1, abs=1e-6) and mixed > 0.05
    for score in (ilisi_score, clisi_score):
        with pytest.raises(ValueError, match="n_neighbors=5 is not an integer of at least 6"):
            score(points, batch, n_neighbors=5)


class Shifted(BaseEstimator):
    """Keeps what it was fitted to, slices apart by `shift`."""

    def __init__(self, shift=0.0):
        self.shift = shift

    def fit(self, X, y=None):
        self.embedding_ = X.X + self.shift * X.obs["slide"].cat.codes.to_numpy()[:, None]
        return self


@pytest.fixture
def slides():
    points, batch, labels = _made(5, n=300, shift=0.0)
    obs = pd.DataFrame({"slide": pd.Categorical(batch.astype(str)), "label": labels.astype(str)})
    obs.index = obs.index.astype(str)
    return anndata.AnnData(points, obs=obs)


def test_a_search_finds_what_mixes(slides):
    scoring = {name: embedding_scorer(name, batch_key="slide") for name in ("ilisi", "clisi", "graph_connectivity")}
    search = GridSearchCV(
        Shifted(), {"shift": [9.0, 0.0]}, cv=NoSplit(), scoring=scoring, refit="ilisi", error_score="raise", n_jobs=2
    ).fit(slides, slides.obs["label"])
    assert search.best_params_ == {"shift": 0.0}
    expected = score_mixing(slides.X, slides.obs["slide"], slides.obs["label"])
    for name in scoring:
        assert search.cv_results_[f"mean_test_{name}"][1] == expected[name]
    alone = embedding_scorer("ilisi", batch_key="slide")
    assert alone(Shifted().fit(slides), slides) == ilisi_score(slides.X, slides.obs["slide"])


def test_scorers_read_estimators_and_pipelines():
    adata = make_spatial_domains(300, n_slices=2, random_state=0)
    embed = SpatialGraphTransformer(n_components=5, batch_key="batch")
    embedding = embed.fit_transform(adata)
    expected = clisi_score(embedding, adata.obs["label"].to_numpy())
    score, y = embedding_scorer("clisi"), adata.obs["label"]
    assert score(embed, adata, y) == expected
    pipeline = make_pipeline(embed, KMeans(2, n_init=1, random_state=0)).fit(adata)
    assert score(pipeline, adata, y) == pytest.approx(expected, abs=1e-6)
    nested = make_pipeline(embed, make_pipeline(PCA(5), KMeans(2, n_init=1, random_state=0))).fit(adata)
    assert score(nested, adata, y) == pytest.approx(expected, abs=1e-4)


def test_scorers_say_what_is_wrong(slides):
    fitted = Shifted().fit(slides)
    with pytest.raises(ValueError, match="metric='lisi' is unknown; choose one of .*'ilisi'"):
        embedding_scorer("lisi")
    with pytest.raises(ValueError, match="batch_key='batch' names no column of X.obs .*'slide'"):
        embedding_scorer()(fitted, slides)
    with pytest.raises(ValueError, match="X.obs .is of type ndarray"):
        embedding_scorer()(fitted, slides.X)
    with pytest.raises(ValueError, match="y is None"):
        embedding_scorer("clisi")(fitted, slides)
    with pytest.raises(AttributeError, match="GaussianMixture has neither an embedding_ nor a transform"):
        embedding_scorer(batch_key="slide")(GaussianMixture(2).fit(slides.X), slides)
    with pytest.warns(UserWarning, match="200 fitted spots but 100 are scored"):
        results = cross_validate(Shifted(), slides, slides.obs["label"], cv=3, scoring=embedding_scorer("clisi"))
    assert np.isnan(results["test_score"]).all()


@pytest.mark.parametrize("n_spots", [60, 600])
def test_an_embedding_that_has_collapsed_is_mixed_and_not_apart(n_spots):
    """Of spots at one place the order of rows, here that of slices and labels, tells nothing."""
    halves = np.repeat(["a", "b"], n_spots // 2)
    collapsed = np.zeros((n_spots, 3))
    assert ilisi_score(collapsed, halves) > 0.9
    assert clisi_score(collapsed, halves) < 0.1


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda points: graph_connectivity(points, None), "labels is None; pass one a spot"),
        (lambda points: clisi_score(points, None), "labels is None"),
        (lambda points: ilisi_score(points, None), "batch is None"),
        (lambda points: ilisi_score(points, [0, 1] * 10, n_neighbors=5.5), "n_neighbors=5.5 is not an integer"),
        (lambda points: graph_connectivity(points, [0, 1] * 10, sample_size=0), "sample_size=0 is not an integer"),
        (lambda points: ilisi_score(points, [0, 1] * 10, sample_size="5"), "sample_size='5' is not an integer"),
    ],
)
def test_what_is_missing_is_told(call, match):
    with pytest.raises(ValueError, match=match):
        call(np.zeros((20, 2)))
