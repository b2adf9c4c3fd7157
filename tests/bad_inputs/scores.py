"""Scores, searches and known labels."""

import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV

from skst.metrics import agreement_matrix, chaos_score, hungarian_match, pas_score, score_partition, spatial_silhouette
from skst.model_selection import NoSplit, labels_scorer, predict_scorer

from .cases import error, works
from .kit import same

TITLE = "Scores and searches"


def _truth(kit):
    return kit.tissue().obs["label"]


def _found(kit):
    return kit.fitted().labels_


def _score(y_true=None, y_pred=None, **options):
    """Scores with other labels than the right ones."""
    return lambda kit: score_partition((y_true or _truth)(kit), (y_pred or _found)(kit), **options)


def _as_should_be(kit, scores):
    same(kit, (scores["ari"], _score()(kit)["ari"]))


def _search(kit, cv, y=None, scoring=None):
    search = GridSearchCV(kit.make(), {"alpha": [1.0]}, cv=cv, scoring=scoring or labels_scorer(), error_score="raise")
    return search.fit(kit.tissue(), _truth(kit) if y is None else y)


def _placed(labels=None, places=None, score=chaos_score, **options):
    return lambda kit: score(
        _truth(kit).to_numpy() if labels is None else labels,
        kit.places().to_numpy() if places is None else places(kit),
        **options,
    )


CASES = [
    error(
        "There are more labels of one kind than of the other",
        "y_true has 199 labels but y_pred has 200; give one a spot in both",
        "shows both numbers.",
        "Give one a spot in both.",
        _score(lambda kit: _truth(kit).to_list()[1:]),
        _score(lambda kit: _truth(kit).to_list()),
        _as_should_be,
    ),
    error(
        "Labels name spots otherwise than the partition does",
        r"y_pred names no row for 200 of the 200 rows of y_true, such as 'spot0' \(its own names are like 'c0'\)",
        "shows a name of either side.",
        "Name spots alike, or pass ``to_numpy()``.",
        _score(y_pred=lambda kit: pd.Series(_found(kit), [f"c{i}" for i in range(200)])),
        _score(y_pred=lambda kit: pd.Series(_found(kit), [f"c{i}" for i in range(200)]).to_numpy()),
        _as_should_be,
    ),
    works(
        "Labels are a table of one column, or an array of one",
        "the column is read.",
        "Nothing.",
        lambda kit: [
            _score(lambda kit: _truth(kit).to_frame())(kit)["ari"],
            _score(y_pred=lambda kit: _found(kit)[:, None])(kit)["ari"],
        ],
        lambda kit, scores: same(kit, (scores, [_score()(kit)["ari"]] * 2)),
    ),
    error(
        "Labels are a table of several columns, or an embedding",
        r"y_pred has shape \(200, 60\) where one label a spot is expected; pass one column of labels",
        "shows the shape.",
        "Pass ``labels_``.",
        _score(y_pred=lambda kit: kit.fitted().embedding_),
        _score(y_pred=lambda kit: kit.fitted().labels_),
        _as_should_be,
    ),
    error(
        "An AnnData is passed as labels",
        r"y_true is an AnnData; pass one column of labels, such as adata.obs\['label'\]",
        "asks for a column of it.",
        '``adata.obs["label"]``.',
        _score(lambda kit: kit.tissue()),
        _score(lambda kit: kit.tissue().obs["label"]),
        _as_should_be,
    ),
    error(
        "The name of a column, ``None`` or the estimator is passed as labels",
        r"y_true has shape \(\) where one label a spot is expected; pass one column of labels",
        "asks for the labels.",
        "Pass a column of labels.",
        _score(lambda kit: "label"),
        _score(lambda kit: kit.tissue().obs["label"]),
        _as_should_be,
    ),
    error(
        "No spot is labelled",
        "y_true labels none of its 200 spots; pass known labels, or check `ignore`",
        "says so, instead of a score of nothing.",
        "Pass known labels; see what ``ignore`` takes for unlabelled.",
        _score(lambda kit: ["NA"] * 200),
        _score(lambda kit: ["NA"] * 200, ignore=()),
    ),
    works(
        'Some spots are unlabelled (NaN, ``None``, "NA", "nan")',
        "they do not count.",
        "Nothing.",
        _score(lambda kit: np.where(np.arange(200) < 50, np.repeat(["NA", "nan", None, "None"], 50), _truth(kit))),
        lambda kit, scores: same(kit, (scores["ari"], score_partition(_truth(kit)[50:], _found(kit)[50:])["ari"])),
    ),
    works(
        "Labels are categories, some of which are not used, or of mixed types",
        "names only have to differ.",
        "Nothing.",
        _score(lambda kit: _truth(kit).astype("category").cat.add_categories("gone")),
        _as_should_be,
    ),
    error(
        "A labelled spot has no cluster",
        "y_pred is missing for 3 labelled spots; give each a cluster",
        "says how many.",
        "Give each a cluster.",
        _score(y_pred=lambda kit: np.where(np.arange(200) < 3, np.nan, _found(kit))),
        _score(y_pred=lambda kit: np.where(np.arange(200) < 3, -1, _found(kit))),
    ),
    error(
        "The names of a score are unknown",
        r"metric='rand' is unknown; choose one of \['ari', 'nmi', 'acc', 'macro_f1', 'weighted_f1'\]",
        "lists the names.",
        "Take one of them, a scorer of scikit-learn, or a function.",
        lambda kit: labels_scorer("rand"),
        lambda kit: labels_scorer("ari"),
    ),
    error(
        "A scorer is given no labels",
        "y is None; pass the known labels as y, with None or NaN for unlabelled spots",
        "asks for them.",
        "Pass ``y``.",
        lambda kit: labels_scorer()(kit.fitted(), kit.tissue()),
        lambda kit: labels_scorer()(kit.fitted(), kit.tissue(), _truth(kit)),
    ),
    error(
        ":func:`~skst.model_selection.labels_scorer` with a ``cv`` that splits",
        r"SpaLLMFusion has labels_ of 150 fitted spots but 50 are scored; use cv=NoSplit\(\)",
        "shows both numbers: the labels of fitted spots are no labels of others.",
        "``cv=NoSplit()``, or ``predict_scorer()`` for spots that were held out.",
        lambda kit: _search(kit, 4),
        lambda kit: _search(kit, NoSplit()),
    ),
    error(
        "An estimator without ``labels_`` is scored by them",
        "GeneTextEncoder has no labels_ to score; fit it, or use predict_scorer",
        "says so.",
        "Score a clusterer.",
        lambda kit: labels_scorer()(kit.fitted(), kit.tissue(), _truth(kit)),
        lambda kit: predict_scorer()(_clusterer(kit), kit.tissue(), _truth(kit)),
        of=("text",),
        kind=AttributeError,
    ),
    error(
        "``coordinates`` of a score are text or an AnnData",
        "coordinates hold something else than numbers .*; pass the two or three columns of positions",
        "shows what could not be read.",
        "Pass positions.",
        _placed(places=lambda kit: kit.places().astype(str).to_numpy() + np.array(" um", dtype=object)),
        _placed(),
    ),
    error(
        "``coordinates`` of a score have another number of rows than labels",
        r"coordinates have shape \(10, 2\) but 200 labels came; give one row a spot",
        "shows both.",
        "Give one row a spot.",
        _placed(places=lambda kit: kit.places().to_numpy()[:10]),
        _placed(),
    ),
    error(
        "``coordinates`` of labelled spots are NaN",
        "coordinates of labelled spots are NaN or infinite; drop these spots or locate them",
        "does not score by what is missing.",
        "Drop these spots, or leave them without a label.",
        _placed(places=lambda kit: np.where(np.arange(200)[:, None] < 5, np.nan, kit.places()), score=pas_score),
        _placed(["NA"] * 5 + ["a"] * 195, lambda kit: _some_missing(kit), pas_score),
    ),
    error(
        "No spot has a domain",
        "labels name a domain for none of 200 spots; pass the domain of each spot",
        "says so.",
        "Pass the domains.",
        _placed([None] * 200),
        _placed(),
    ),
    error(
        "``n_neighbors=0`` of :func:`~skst.metrics.pas_score`",
        "n_neighbors=0 must be at least 1",
        "shows the range.",
        "Give 1 or more.",
        _placed(score=pas_score, n_neighbors=0),
        _placed(score=pas_score, n_neighbors=10),
    ),
    works(
        "There is one domain alone",
        "the silhouette is NaN, as there is nothing to compare.",
        "Nothing.",
        _placed(["a"] * 200, score=spatial_silhouette),
        lambda kit, score: np.isnan(score) or same(kit, (score, np.nan)),
    ),
    error(
        "Partitions that are compared are of different lengths",
        r"labelings have lengths \[1, 2\]; pass partitions of the same spots",
        "shows the lengths.",
        "Pass partitions of the same spots.",
        lambda kit: agreement_matrix([[0, 1], [0]]),
        lambda kit: agreement_matrix([[0, 1], [0, 1]]),
    ),
    error(
        "No partition is given to be compared",
        "labelings is empty; pass at least one partition",
        "asks for one.",
        "Pass partitions.",
        lambda kit: agreement_matrix([]),
        lambda kit: agreement_matrix([[0, 1]]),
    ),
    works(
        "There are more clusters than known labels",
        "clusters that are left over are called ``None``.",
        "Nothing.",
        lambda kit: hungarian_match(["a", "a", "b", "b"], [0, 0, 1, 2]).tolist(),
        lambda kit, names: same(kit, (names.count(None), 1)),
    ),
]


def _some_missing(kit):
    return np.where(np.arange(200)[:, None] < 5, np.nan, kit.places())


def _clusterer(kit):
    return kit.others("fusion").fitted()
