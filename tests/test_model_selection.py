"""The one-fold splitter and the scorers, inside scikit-learn's own searches."""

import pickle

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClusterMixin, clone
from sklearn.cluster import DBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from skst.inputs.reading import ReadsSpots
from skst.model_selection import NoSplit, labels_scorer, predict_scorer


class PlaceClusterer(ReadsSpots, ClusterMixin, BaseEstimator):
    """k-means on expression beside position, which an AnnData alone can bring through a search."""

    def __init__(self, n_clusters=3, spatial_key="spatial"):
        self.n_clusters = n_clusters
        self.spatial_key = spatial_key

    def fit(self, X, y=None):
        self.kmeans_ = KMeans(self.n_clusters, random_state=0).fit(self._features(X, reset=True))
        self.labels_ = self.kmeans_.labels_
        return self

    def predict(self, X):
        check_is_fitted(self)
        return self.kmeans_.predict(self._features(X, reset=False))

    def _features(self, X, reset):
        spots = self._read_spots(X, reset=reset)
        return np.hstack([spots.X.toarray() if hasattr(spots.X, "toarray") else spots.X, spots.coordinates])


class TrainingLabels(ClusterMixin, BaseEstimator):
    """Remembers the labels it was fitted with and predicts others: tells which of the two was scored."""

    def fit(self, X, y=None):
        self.labels_ = np.asarray(y)
        return self

    def predict(self, X):
        return np.arange(len(X)) % 2


@pytest.fixture
def slices():
    """Three slices of 40 spots, 3 domains; every ninth spot unlabelled."""
    rng = np.random.default_rng(0)
    domain = np.tile(np.repeat([0, 1, 2], [10, 10, 20]), 3)
    counts = rng.poisson(np.eye(3)[domain] * 20 + 1).astype(np.float32)
    adata = anndata.AnnData(counts, var=pd.DataFrame(index=["CUX2", "RORB", "PCP4"]))
    adata.obsm["spatial"] = np.column_stack([domain, rng.uniform(size=120)])
    adata.obs["batch"] = np.repeat(["s1", "s2", "s3"], 40)
    label = np.array(["L2", "L4", "L5"], dtype=object)[domain]
    label[::9] = None
    adata.obs["label"] = pd.Categorical(label)
    return adata


@pytest.mark.parametrize("make", [lambda a: a, lambda a: a.X, lambda a: a.to_df(), lambda a: list(a.X)])
def test_no_split_takes_every_row_twice(slices, make):
    X = make(slices)
    folds = list(NoSplit().split(X, groups=slices.obs["batch"]))
    assert len(folds) == NoSplit().get_n_splits(X) == 1
    for rows in folds[0]:
        assert rows.tolist() == list(range(120))


@pytest.mark.parametrize(
    "make_y",
    [
        lambda label: label,
        lambda label: label.array,
        lambda label: label.astype(object).to_numpy(),
        lambda label: label.astype(str),
        lambda label: label.astype("string"),
        lambda label: label.cat.codes.replace(-1, np.nan).to_numpy(),
        lambda label: label.astype(object).tolist(),
    ],
    ids=["categorical series", "categorical", "object", "str series", "nullable", "float", "list"],
)
def test_search_over_an_anndata_with_unlabelled_spots(slices, make_y):
    search = GridSearchCV(
        PlaceClusterer(),
        {"n_clusters": [2, 3, 5]},
        cv=NoSplit(),
        scoring=labels_scorer("ari"),
        n_jobs=2,
        error_score="raise",
    )
    search.fit(slices, make_y(slices.obs["label"]))
    assert search.best_params_ == {"n_clusters": 3}
    assert search.best_score_ == pytest.approx(1)
    # the labels of the refitted best estimator are those that were scored
    labels = search.best_estimator_.labels_
    known = slices.obs["label"].notna().to_numpy()
    assert adjusted_rand_score(slices.obs["label"][known], labels[known]) == pytest.approx(search.best_score_)


def test_slices_held_out_whole(slices):
    results = cross_validate(
        PlaceClusterer(3),
        slices,
        slices.obs["label"],
        groups=slices.obs["batch"],
        cv=GroupKFold(3),
        scoring={"ari": predict_scorer("ari"), "macro_f1": predict_scorer("macro_f1")},
        return_train_score=True,
        error_score="raise",
    )
    assert results["test_ari"] == pytest.approx(np.ones(3))
    assert results["test_macro_f1"] == pytest.approx(np.ones(3))


def test_held_out_folds_are_refused_by_labels_scorer(slices):
    with pytest.raises(ValueError, match="80 fitted spots but 40 are scored"):
        cross_validate(
            PlaceClusterer(3),
            slices,
            slices.obs["label"],
            cv=GroupKFold(3),
            groups=slices.obs["batch"],
            scoring=labels_scorer(),
            error_score="raise",
        )


def test_each_scorer_reads_what_its_name_says():
    X, y = np.zeros((8, 1)), np.repeat([0, 1], 4)
    fitted = TrainingLabels().fit(X, y)
    assert labels_scorer("acc")(fitted, X, y) == 1
    assert predict_scorer("acc")(fitted, X, y) == 0.5


def test_pipelines_are_asked_for_their_last_step():
    X = np.repeat([[0.0, 0.0], [0.0, 900.0], [3.0, 0.0]], 10, axis=0)
    y = np.repeat(["a", "b", "c"], 10)
    pipeline = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), KMeans(3, random_state=0)))
    results = cross_validate(pipeline, X, y, cv=NoSplit(), scoring=labels_scorer("nmi"), error_score="raise")
    assert results["test_score"] == pytest.approx([1.0])


def test_clusterers_without_predict_can_be_searched():
    X = np.concatenate([np.linspace(0, 1, 20), np.linspace(3, 4, 20)])[:, None]
    y = np.repeat([0.0, 1.0], 20)
    y[5] = np.nan
    search = GridSearchCV(DBSCAN(), {"eps": [0.001, 0.5, 5]}, cv=NoSplit(), scoring=labels_scorer(), refit=False)
    assert search.fit(X, y).cv_results_["mean_test_score"].argmax() == 1


def _share_of_first_label(y_true, y_pred):
    assert not pd.isna(y_true).any()
    return np.mean(y_true == y_true[0])


@pytest.mark.parametrize("make", [labels_scorer, predict_scorer])
@pytest.mark.parametrize("metric", ["ari", "nmi", "acc", "macro_f1", "weighted_f1", _share_of_first_label])
def test_scorers_survive_pickling_and_cloning(make, metric):
    X, y = [[0.0], [0.1], [5.0], [5.1]], ["a", None, "b", "a"]
    scorer = make(metric, ignore=("b",))
    again = pickle.loads(pickle.dumps(scorer))
    assert again == scorer
    fitted = KMeans(2, random_state=0).fit(X)
    assert again(fitted, X, y) == scorer(fitted, X, y)
    clone(GridSearchCV(KMeans(), {}, scoring=scorer, cv=NoSplit()))


def test_custom_metric_sees_labelled_spots_only():
    fitted = KMeans(2, random_state=0).fit([[0.0], [0.1], [5.0], [5.1]])
    score = labels_scorer(_share_of_first_label)(fitted, None, ["a", None, "b", "NA"])
    assert score == 0.5


def test_errors_say_what_to_do():
    X, y = np.eye(4), ["a", "a", "b", "b"]
    with pytest.raises(ValueError, match="metric='rand' is unknown; choose one of .*'ari'"):
        labels_scorer("rand")
    with pytest.raises(ValueError, match="y is None"):
        labels_scorer()(KMeans(2).fit(X), X)
    with pytest.raises(AttributeError, match="GaussianMixture has no labels_ to score; .*predict_scorer"):
        labels_scorer()(GaussianMixture(2).fit(X), X, y)
    with pytest.raises(AttributeError, match="KMeans has no labels_"):
        labels_scorer()(KMeans(), X, y)
    with pytest.raises(ValueError, match="labels none of its 4 spots"):
        labels_scorer()(KMeans(2).fit(X), X, [None] * 4)


def test_a_failing_scorer_gives_nan_with_its_message():
    X, y = np.random.default_rng(0).normal(size=(9, 2)), np.arange(9) % 3
    with pytest.warns(UserWarning, match="6 fitted spots but 3 are scored"):
        results = cross_validate(KMeans(2), X, y, cv=3, scoring=labels_scorer())
    assert np.isnan(results["test_score"]).all()
