"""Plots."""

import numpy as np
import pandas as pd

from skst.plotting import (
    plot_annotation,
    plot_domain_comparison,
    plot_domains,
    plot_k_curve,
    plot_modulation,
    plot_text_scores,
)

from .cases import error, works
from .kit import same

TITLE = "Plots"
_PALETTE = dict(zip(["domain1", "domain2", "domain3", "domain4"], ["red", "green", "blue", "grey"], strict=True))
_SCORES = pd.DataFrame({"text": ["real"], "replicate": [0], "score": ["ari"], "value": [0.5]})
_CURVE = pd.DataFrame({"n_clusters": [2, 3], "criterion": [0.4, 0.9], "chosen": [False, True]})


def _domains(labels="label", source=None, **options):
    return lambda kit: plot_domains((source or type(kit).tissue)(kit), labels, legend=False, **options)


def _comparison(predictions, truth="label"):
    return lambda kit: plot_domain_comparison(kit.tissue(), truth=truth, predictions=predictions)


def _modulation(make, **options):
    return lambda kit: plot_modulation(kit.tissue(), make(kit), **options)


def _annotation(annotations, labels=(0, 0, 1)):
    return lambda kit: plot_annotation(list(labels), annotations)


def _some_unplaced(kit):
    return kit.places().where(kit.places().index.isin(kit.places().index[5:])[:, None].repeat(2, axis=1))


CASES = [
    error(
        "``labels=`` is no column of ``obs``",
        r"labels='domain' names no column of obs \(\['batch', .*\]\); pass one, or the labels",
        "lists the columns.",
        "Name one of them, or pass the labels.",
        _domains("domain"),
        _domains("label"),
    ),
    error(
        "``labels=`` has another length than there are spots",
        "labels has 2 entries but there are 200 spots; give one a spot",
        "shows both.",
        "Give one a spot.",
        _domains([0, 1]),
        _domains([0, 1] * 100),
    ),
    error(
        "``labels=`` is an embedding",
        r"labels has shape \(200, 3\) where one label a spot is expected; pass one column of labels",
        "shows the shape.",
        "Pass ``labels_``.",
        _domains(np.ones((200, 3))),
        _domains(np.ones((200, 3))[:, 0]),
    ),
    works(
        "No spot has a label, or some have none",
        "these are drawn in light grey.",
        "Nothing.",
        _domains([None] * 200),
        lambda kit, ax: same(kit, ([spots.get_label() for spots in ax.collections], ["unlabelled"])),
    ),
    error(
        "The AnnData that is drawn has no coordinates",
        r"spatial_key='spatial' is not in obsm, which holds \[\]; name one of these, or pass positions",
        "lists the keys that are there.",
        "Name the key by ``spatial_key``, or pass positions.",
        lambda kit: plot_domains(kit.without_places(), "label"),
        lambda kit: plot_domains(kit.places(), kit.tissue().obs["label"]),
    ),
    error(
        "Coordinates that are drawn are NaN",
        "coordinates of 5 spots are NaN or infinite; drop these spots or locate them",
        "says how many.",
        "Drop these spots.",
        lambda kit: plot_domains(_some_unplaced(kit), kit.tissue().obs["label"]),
        lambda kit: plot_domains(_some_unplaced(kit).dropna(), kit.tissue().obs["label"]),
    ),
    error(
        "A path is passed to be drawn",
        "coordinates are of type str; pass positions",
        "asks for positions.",
        "Read the file first.",
        lambda kit: plot_domains("tissue.h5ad", ["a"]),
        lambda kit: plot_domains(kit.tissue(), "label"),
    ),
    error(
        "``palette=`` lacks a label",
        r"palette has no colour for the labels \['domain4'\]; add them",
        "lists the labels.",
        "Add their colours.",
        _domains(palette={name: colour for name, colour in _PALETTE.items() if name != "domain4"}),
        _domains(palette=_PALETTE),
    ),
    error(
        "``palette=`` is empty, or holds what is no colour",
        "palette holds 'reddish', which is no colour; give colours that matplotlib knows",
        "shows it.",
        "Give colours that matplotlib knows.",
        _domains(palette=["reddish"]),
        _domains(palette=["red"]),
    ),
    error(
        "``predictions=`` is a list or an array, not a dict",
        "predictions is of type list where a dict is expected; give at least one labelling by the name of its method",
        "asks for names of methods.",
        '``{"my method": labels}``.',
        _comparison(["label"]),
        _comparison({"same": "label"}),
    ),
    error(
        "``predictions=`` is empty",
        "predictions is empty; give at least one labelling by the name of its method",
        "asks for one.",
        "Give at least one.",
        _comparison({}),
        _comparison({"same": "label"}),
    ),
    error(
        "``factor=`` has another number of rows than there are spots",
        r"factor has shape \(3, 2\) but there are 200 spots; give one row a spot",
        "shows both.",
        "Give one row a spot.",
        _modulation(lambda kit: np.ones((3, 2))),
        _modulation(lambda kit: kit.places().to_numpy()),
    ),
    error(
        "``factor=`` is the pair ``modulation_``, not one of its two parts",
        r"factor has shape \(2, 200, \d+\) but there are 200 spots; give one row a spot",
        "shows the shape.",
        "``modulation_.alpha``.",
        _modulation(lambda kit: kit.fitted().modulation_),
        _modulation(lambda kit: kit.fitted().modulation_.alpha),
        of=("semst",),
    ),
    error(
        "``factor=`` is NaN in places",
        "factor is NaN or infinite in places; draw the factors of a fit that converged",
        "does not draw it.",
        "Take the factors of a fit that converged.",
        _modulation(lambda kit: np.full((200, 2), np.nan)),
        _modulation(lambda kit: kit.places().to_numpy()),
    ),
    error(
        "``factor=`` is text",
        "factor holds something else than numbers .*; give one row of numbers a spot",
        "shows what could not be read.",
        "Pass the factors.",
        _modulation(lambda kit: "alpha"),
        _modulation(lambda kit: kit.places().to_numpy()),
    ),
    error(
        "``curve`` of :func:`~skst.plotting.plot_k_curve` is no such table",
        "curve is of type .* where a DataFrame is expected; pass a table with n_clusters, criterion and chosen",
        "says which columns it needs.",
        "``plot_k_curve(model.n_clusters_curve_)``.",
        lambda kit: plot_k_curve(kit.fitted()),
        lambda kit: plot_k_curve(_CURVE),
    ),
    error(
        "The result of a test is passed to :func:`~skst.plotting.plot_text_scores`, not its ``scores``",
        "scores is of type object where a DataFrame is expected; pass the scores of a semantic_permutation_test",
        "asks for its table.",
        "``plot_text_scores(result.scores)``.",
        lambda kit: plot_text_scores(object()),
        lambda kit: plot_text_scores(_SCORES),
    ),
    error(
        "``annotations=`` of :func:`~skst.plotting.plot_annotation` is no dict, or empty",
        "annotations is of type list where a dict is expected; give at least one way of naming",
        "asks for names of the ways.",
        '``{"markers": names}``.',
        _annotation([{0: "a", 1: "b"}]),
        _annotation({"markers": {0: "a", 1: "b"}}),
    ),
    error(
        "A way of naming clusters lacks one of them",
        r"annotations\['markers'\] has no name for the clusters \[1\]; give None where there is none",
        "lists the clusters.",
        "Give ``None`` where there is no name.",
        _annotation({"markers": {0: "a"}}),
        _annotation({"markers": {0: "a", 1: None}}),
    ),
    error(
        'A table of names has no column "cell_type"',
        r"annotations\['markers'\] lacks the columns \['cell_type'\]; name the column of names so",
        "says which one it needs.",
        "Rename the column of names.",
        _annotation({"markers": pd.DataFrame({"name": ["a", "b"]})}),
        _annotation({"markers": pd.DataFrame({"cell_type": ["a", "b"]})}),
    ),
]
