"""Rows in another order: tables beside X that name their spots."""

import numpy as np
import pandas as pd

from skst.graph import spatial_graph
from skst.inspection import best_mapping, marker_genes, modulation_genes
from skst.metrics import chaos_score, score_partition
from skst.model_selection import labels_scorer
from skst.partition import majority_vote
from skst.plotting import plot_domains

from .cases import QUICK, SPATIAL, error, works
from .kit import as_fitted, as_slices, same, shuffled

TITLE = "Rows in another order"


def _numbered(kit):
    """The tissue as a DataFrame whose rows are numbered and shuffled, and places numbered from 0."""
    counts = kit.tissue().to_df().reset_index(drop=True)
    return shuffled(counts), kit.places().reset_index(drop=True)


def _in_two_parts(table):
    return table.set_axis(pd.MultiIndex.from_product([["slice"], table.index]))


def _shuffled_numbers(kit):
    return shuffled(kit.places().reset_index(drop=True))


def _renamed(kit):
    places = shuffled(kit.places())
    return places.set_axis(places.index + "-1")


def _repeated(kit):
    adata = kit.without_places()
    adata.obs_names = ["spot0", "spot0", *adata.obs_names[2:]]
    return adata


def _follows(kit, labels):
    """Labels in the order of rows that were shuffled are those of the rows."""
    counts, _ = _numbered(kit)
    np.testing.assert_array_equal(labels, kit.fitted().labels_[counts.index])


def _picked(kit, genes):
    np.testing.assert_array_equal(genes, kit.tissue().var_names)


CASES = [
    works(
        "``coordinates=`` is a table of positions in another order than X",
        "rows are matched by the names of spots.",
        "Nothing; keep the names of spots as the index of the table.",
        lambda kit: kit.fit(kit.without_places(), coordinates=shuffled(kit.places())),
        as_fitted,
        of=QUICK,
    ),
    works(
        "X is a DataFrame, and ``coordinates=`` a DataFrame in another order",
        "rows are matched by the two indexes.",
        "Nothing.",
        lambda kit: kit.fit(kit.tissue().to_df(), coordinates=shuffled(kit.places())),
        as_fitted,
        of=QUICK,
    ),
    works(
        "``coordinates=`` lists more spots than X, as a positions file does",
        "the rows of X are picked out by name.",
        "Nothing.",
        lambda kit: kit.fit(
            kit.without_places(),
            coordinates=shuffled(pd.concat([kit.places(), kit.places().add_prefix("empty", axis=0) + 1000])),
        ),
        as_fitted,
        of=QUICK,
    ),
    works(
        "``batch=`` is a Series in another order than X",
        "slices are matched by the names of spots.",
        "Nothing.",
        lambda kit: kit.fit(kit.tissue(), batch=shuffled(kit.tissue().obs["batch"])),
        as_slices,
        of=QUICK,
    ),
    works(
        "``predict`` is given ``coordinates=`` in another order",
        "rows are matched by the names of spots, as in ``fit``.",
        "Nothing.",
        lambda kit: (
            kit.fitted().predict(kit.without_places(), coordinates=shuffled(kit.places())),
            kit.fitted().labels_,
        ),
        same,
        of=("fusion", "semst"),
    ),
    error(
        "``coordinates=`` has no row for some spots of X",
        "coordinates names no row for 20 of the 200 rows of X, such as 'spot",
        "says how many spots have no row, and names one.",
        "Drop these spots from X, or add their positions.",
        lambda kit: kit.fit(kit.without_places(), coordinates=shuffled(kit.places())[:180]),
        lambda kit: kit.fit(kit.without_places(), coordinates=shuffled(kit.places())),
        as_fitted,
        of=SPATIAL,
    ),
    error(
        "``coordinates=`` calls spots otherwise (``AAAC-1`` for ``AAAC``)",
        r"coordinates names no row for 200 of the 200 rows of X, .* \(its own names are like 'spot.*-1'\)",
        "shows a name of either side.",
        "Rename the index of the table, or pass ``coordinates.to_numpy()`` if it is in the order of X.",
        lambda kit: kit.fit(kit.without_places(), coordinates=_renamed(kit)),
        lambda kit: kit.fit(kit.without_places(), coordinates=_renamed(kit).rename(lambda name: name[:-2])),
        as_fitted,
    ),
    error(
        "``coordinates=`` repeats names of spots",
        "coordinates repeats 1 names, such as 'spot1'; make names unique",
        "says how many names are repeated, as it is open which row is meant.",
        "Drop the rows that are repeated.",
        lambda kit: kit.fit(kit.without_places(), coordinates=shuffled(pd.concat([kit.places(), kit.places()[1:2]]))),
        lambda kit: kit.fit(kit.without_places(), coordinates=shuffled(kit.places())),
        as_fitted,
    ),
    error(
        "X repeats names of spots, as slices do that were put together, and ``coordinates=`` has another order",
        "X repeats 1 names, such as 'spot0'",
        "says how many names are repeated.",
        "``adata.obs_names_make_unique()``, and the same names in the table.",
        lambda kit: kit.fit(_repeated(kit), coordinates=shuffled(kit.places())),
        lambda kit: kit.fit(_repeated(kit), coordinates=kit.places().to_numpy()),
        as_fitted,
    ),
    works(
        "X repeats names of spots, and a table beside it has the same names in the same order",
        "rows are taken as they come.",
        "Nothing.",
        lambda kit: kit.fit(_repeated(kit), coordinates=kit.places().set_axis(_repeated(kit).obs_names)),
        as_fitted,
    ),
    error(
        "Rows of X are numbered and in another order, and those of ``coordinates=`` are numbered from 0",
        r"coordinates numbers its rows from 0, and X has the same numbers in another order.*\.to_numpy\(\)",
        "cannot tell whether the numbers are names or were filled in.",
        "``coordinates.loc[X.index.astype(int)]`` to go by number, or ``coordinates.to_numpy()`` to go by place.",
        lambda kit: kit.fit(_numbered(kit)[0], coordinates=_numbered(kit)[1]),
        lambda kit: kit.fit(_numbered(kit)[0], coordinates=_numbered(kit)[1].loc[_numbered(kit)[0].index.astype(int)]),
    ),
    error(
        "X has names of spots, and a table beside it has row numbers that were shuffled",
        r"coordinates has row numbers that have been shuffled, and X has names; pass coordinates.sort_index\(\)",
        "cannot tell whether the table was shuffled by mistake.",
        "``coordinates.sort_index()``, or ``coordinates.to_numpy()`` to go by place.",
        lambda kit: kit.fit(kit.without_places(), coordinates=_shuffled_numbers(kit)),
        lambda kit: kit.fit(kit.without_places(), coordinates=_shuffled_numbers(kit).sort_index()),
        as_fitted,
        of=QUICK,
    ),
    works(
        "Spots have names of two parts (a MultiIndex), in X and in the table",
        "rows are matched by both.",
        "Nothing.",
        lambda kit: kit.fit(_in_two_parts(kit.tissue().to_df()), coordinates=shuffled(_in_two_parts(kit.places()))),
        as_fitted,
        of=QUICK,
    ),
    works(
        "X has names of spots, and a table beside it has row numbers, as a file read without index",
        "rows are taken as they come.",
        "See that the table is in the order of X, or give it the names of spots as index.",
        lambda kit: kit.fit(kit.without_places(), coordinates=kit.places().reset_index(drop=True)),
        as_fitted,
    ),
    works(
        "X is an array, and ``coordinates=`` a table with names",
        "rows are taken as they come, since an array has no names.",
        "See that the table is in the order of X, or pass a DataFrame.",
        lambda kit: kit.fit(kit.tissue().X.toarray(), coordinates=kit.places(), gene_names=kit.tissue().var_names),
        as_fitted,
    ),
    error(
        "X is an array, and ``coordinates=`` and ``batch=`` have names in different orders",
        "coordinates and batch name their rows differently, and X has no names",
        "cannot tell which of the two is in the order of X.",
        "Pass X with names, or both as arrays in its order.",
        lambda kit: kit.fit(kit.tissue().X, coordinates=kit.places(), batch=shuffled(kit.tissue().obs["batch"])),
        lambda kit: kit.fit(kit.tissue().to_df(), coordinates=kit.places(), batch=shuffled(kit.tissue().obs["batch"])),
        as_slices,
    ),
    works(
        "Names of spots are numbers in X and text in the table",
        "names are compared as text.",
        "Nothing.",
        lambda kit: kit.fit(
            kit.tissue().to_df().set_axis(range(1001, 1201)),
            coordinates=shuffled(kit.places().set_axis([str(i) for i in range(1001, 1201)])),
        ),
        as_fitted,
    ),
    works(
        "``gene_names=`` is a column of ``var`` in another order than the genes of X",
        "names are matched by the index of the column.",
        "Nothing.",
        lambda kit: (
            kit.make(gene_names=shuffled(kit.tissue().var_names.to_series())).fit(kit.tissue()).gene_report_["gene"]
        ),
        _picked,
        of=("text",),
    ),
    works(
        "``y`` of a score is a Series in another order than the partition",
        "spots are matched by name where both are pandas objects.",
        "Nothing.",
        lambda kit: score_partition(kit.tissue().obs["label"], shuffled(kit.tissue().obs["label"])),
        lambda kit, scores: same(kit, (scores["ari"], 1.0)),
    ),
    works(
        "``y`` of a search or :func:`~skst.model_selection.labels_scorer` is a Series in another order than X",
        "labels are matched to X by name.",
        "Nothing.",
        lambda kit: [
            labels_scorer()(kit.fitted(), kit.tissue(), y)
            for y in (kit.tissue().obs["label"], shuffled(kit.tissue().obs["label"]))
        ],
        same,
    ),
    works(
        "``labels`` of :func:`~skst.inspection.marker_genes` is a Series in another order than X",
        "labels are matched to X by name.",
        "Nothing.",
        lambda kit: [marker_genes(kit.tissue(), labels) for labels in ("label", shuffled(kit.tissue().obs["label"]))],
        same,
    ),
    works(
        "``reference`` of :func:`~skst.inspection.best_mapping` is in another order than ``labels``",
        "the two are matched by name.",
        "Nothing.",
        lambda kit: best_mapping(kit.tissue().obs["label"], shuffled(kit.tissue().obs["label"]))["share"],
        lambda kit, share: same(kit, (share, np.ones(4))),
    ),
    works(
        "``factor`` of :func:`~skst.inspection.modulation_genes` is a DataFrame in another order than X",
        "its rows are matched to X by name.",
        "Nothing.",
        lambda kit: [modulation_genes(factor, kit.tissue()).genes for factor in (kit.places(), shuffled(kit.places()))],
        same,
    ),
    works(
        "``reference`` of :func:`~skst.plotting.plot_domains` is a Series in another order than the AnnData",
        "colours go by the names of spots.",
        "Nothing.",
        lambda kit: [
            [
                spots.get_facecolor().tolist()
                for spots in plot_domains(
                    kit.tissue(), kit.tissue().obs["label"].astype(str), reference=reference, legend=False
                ).collections
            ]
            for reference in ("label", shuffled(kit.tissue().obs["label"]))
        ],
        same,
    ),
    works(
        "``coordinates`` of :func:`~skst.metrics.chaos_score` are in another order than ``labels``",
        "the two are matched by name.",
        "Nothing.",
        lambda kit: [
            chaos_score(kit.tissue().obs["label"], places) for places in (kit.places(), shuffled(kit.places()))
        ],
        same,
    ),
    works(
        "``batch`` of :func:`~skst.graph.spatial_graph` is in another order than ``coordinates``",
        "the two are matched by name.",
        "Nothing.",
        lambda kit: [
            spatial_graph(kit.places(), batch=batch).toarray()
            for batch in (kit.tissue().obs["batch"], shuffled(kit.tissue().obs["batch"]))
        ],
        same,
    ),
    works(
        "``coordinates`` of :func:`~skst.partition.majority_vote` are in another order than ``labels``",
        "the two are matched by name.",
        "Nothing.",
        lambda kit: [
            majority_vote(pd.Series(kit.fitted().labels_, kit.places().index), places)
            for places in (kit.places(), shuffled(kit.places()))
        ],
        same,
    ),
]
