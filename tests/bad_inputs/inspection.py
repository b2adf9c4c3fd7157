"""Inspection: markers, names of clusters, modulation, and the test of the text."""

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans

from skst.inspection import (
    annotate,
    annotate_by_markers,
    annotate_by_text,
    best_mapping,
    load_cell_types,
    marker_genes,
    modulation_genes,
    modulation_report,
    semantic_permutation_test,
)

from .cases import error, warning
from .kit import quick_text, quick_transformer

TITLE = "Inspection"
_TYPES = {"beta cell": "Secretes insulin.", "oligodendrocyte": "Makes myelin."}


def _markers(kit):
    return marker_genes(kit.tissue(), "label")


def _marked(labels="label", change=None, **options):
    return lambda kit: marker_genes((change or type(kit).tissue)(kit), labels, **options)


def _by_markers(change=lambda markers: markers, **options):
    return lambda kit: annotate_by_markers(change(_markers(kit)), **options)


def _named(change=lambda markers: markers, **options):
    return lambda kit: annotate(change(_markers(kit)), **options)


def _kinds(**parents):
    """Types, each with one marker of the tissue and its parent."""
    return pd.DataFrame({"cell_type": [*parents], "parent": [*parents.values()], "markers": "ANLN|MBP"})


def _by_text(types, change=lambda markers: markers, **options):
    return lambda kit: annotate_by_text(change(_markers(kit)), types, model="lexical", **options)


def _report(alpha, beta):
    return lambda kit: modulation_report(alpha, beta)


def _behind(make, **options):
    return lambda kit: modulation_genes(make(kit), kit.tissue(), **options)


def _test(estimator=None, y=None, **options):
    """The smallest test of the text."""
    small = {"n_permutations": 1, "n_gaussian": 0, "n_seeds": 1, "metrics": "coherence", "random_state": 0}
    return lambda kit: semantic_permutation_test(
        kit.make() if estimator is None else estimator(kit), kit.tissue(), y, **(small | options)
    )


def _places(kit):
    return kit.places().to_numpy()


_SPREAD = np.random.default_rng(0).normal(size=(50, 3))

CASES = [
    error(
        "There is one cluster alone, or no cell has a label",
        r"labels name 1 cluster\(s\); at least 2 are needed to compare them",
        "says how many there are.",
        "Give labels of two clusters or more.",
        _marked(["a"] * 200),
        _marked(["a", "b"] * 100),
    ),
    error(
        "``labels`` of :func:`~skst.inspection.marker_genes` is no column of ``obs``",
        r"labels='domain' names no column of obs",
        "lists the columns.",
        "Name one of them, or pass the labels.",
        _marked("domain"),
        _marked("label"),
    ),
    error(
        "Markers are asked of an X without names of genes",
        "X has no gene names; pass an AnnData, a DataFrame with genes as columns, or gene_names=",
        "cannot name genes.",
        "Pass ``gene_names=``.",
        lambda kit: marker_genes(kit.tissue().X, kit.tissue().obs["label"]),
        lambda kit: marker_genes(kit.tissue().X, kit.tissue().obs["label"], gene_names=kit.tissue().var_names),
    ),
    error(
        "Markers are asked of centred values",
        "X holds -1 where counts or logarithms are expected; pass raw counts",
        "shows the lowest value.",
        "Pass counts, or logarithms that were not centred.",
        _marked(change=lambda kit: kit.change(3, 4, -1)),
        _marked(change=lambda kit: kit.change(3, 4, 0)),
    ),
    error(
        "``n_top=0``",
        "n_top=0 is not a positive integer; give one, or None for all genes",
        "shows what it may be.",
        "Give 1 or more.",
        _marked(n_top=0),
        _marked(n_top=1),
    ),
    error(
        "A table of markers lacks columns",
        r"markers lacks the columns \['gene'\]; it has \['cluster', .*\]: rename them",
        "lists those that it has.",
        'Rename them to "cluster" and "gene".',
        _by_markers(lambda markers: markers.rename(columns={"gene": "symbol"})),
        _by_markers(),
    ),
    error(
        "Markers are a dict or a list, not a table",
        r"markers is of type dict; pass a DataFrame with the columns \['cluster', 'gene'\]",
        "says which columns it needs.",
        "Pass what :func:`~skst.inspection.marker_genes` gives.",
        _by_text(_TYPES, lambda markers: {"a": ["INS"]}),
        _by_text(_TYPES),
    ),
    error(
        "``table=`` of known markers is a dict",
        r"table is of type dict; pass a DataFrame with the columns \['cell_type', 'gene'\]",
        "says which columns it needs.",
        "Make a table with one gene of one type a row.",
        _by_markers(table={"beta cell": ["ANLN"]}),
        _by_markers(table=pd.DataFrame({"cell_type": ["beta cell"], "gene": ["ANLN"]})),
    ),
    error(
        "``tissue=`` is unknown",
        r"tissue=\['moon'\] is not in the table, which has \['adipose', .*\]; take one of them",
        "lists the tissues.",
        "Take one of them.",
        lambda kit: load_cell_types("moon"),
        lambda kit: load_cell_types("brain"),
    ),
    error(
        "``species=`` of :func:`~skst.inspection.annotate_by_markers` is not in the table",
        r"species=\['rat'\] is not in the table, which has \['human', 'mouse'\]; take one of them",
        "lists what is there.",
        "Take one of them; case does not matter.",
        _by_markers(species="rat"),
        _by_markers(species="mouse"),
    ),
    error(
        "No known marker was measured",
        "table has no gene that was measured; give markers and background by symbols, as in table",
        "does not name by nothing.",
        "Name genes as the table does.",
        _by_markers(table=pd.DataFrame({"cell_type": ["x"], "gene": ["NOSUCH"]})),
        _by_markers(table=pd.DataFrame({"cell_type": ["x"], "gene": ["ANLN"]})),
    ),
    error(
        "``min_confidence=`` of :func:`~skst.inspection.annotate` is a percentage",
        "min_confidence=80 is not within 0 and 1; give a probability",
        "shows what it may be.",
        "Give a probability, such as 0.8.",
        _named(min_confidence=80),
        _named(min_confidence=0.8),
    ),
    error(
        "``kind=`` is neither of cells nor of domains",
        "kind='layer' is neither 'cell' nor 'domain'; give one, or None for both",
        "says which kinds there are.",
        "Name one of them.",
        _named(kind="layer"),
        _named(kind="domain"),
    ),
    error(
        "Types of a table are among their own parents",
        "table has 'astrocyte' among its own parents; give each type a broader one, or none",
        "cannot tell the broader name.",
        "Leave the parent of the broadest empty.",
        _named(table=_kinds(glia="astrocyte", astrocyte="glia")),
        _named(table=_kinds(glia="", astrocyte="glia")),
    ),
    error(
        "A table has a type in two rows",
        "table has 'glia' twice; give each type one row, or one row for each of its genes",
        "cannot tell which markers count.",
        "Join the rows.",
        _named(table=pd.concat([_kinds(glia=""), _kinds(glia="")])),
        _named(table=_kinds(glia="")),
    ),
    error(
        "``cell_types=`` lacks descriptions, or is empty",
        r"cell_types lacks the columns \['description'\]; it has \['cell_type'\]: rename them",
        "says which columns it needs.",
        "Give a sentence for each type.",
        _by_text(pd.DataFrame({"cell_type": ["beta cell"]})),
        _by_text(pd.DataFrame({"cell_type": ["beta cell"], "description": ["Secretes insulin."]})),
    ),
    error(
        "``cell_types=`` is a list of names",
        r"cell_types is of type list; pass a DataFrame with the columns \['cell_type', 'description'\]",
        "says which columns it needs.",
        "Pass a dict from name to description.",
        _by_text(["beta cell", "oligodendrocyte"]),
        _by_text(_TYPES),
    ),
    error(
        "No cell has both a cluster and a known label",
        "y_true labels none of its 2 spots; pass known labels",
        "says so.",
        "Pass known labels.",
        lambda kit: best_mapping([0, 1], [None, None]),
        lambda kit: best_mapping([0, 1], [None, "a"]),
    ),
    error(
        "``alpha`` and ``beta`` of a report have different shapes",
        r"alpha, beta and features have the shapes \[\(50, 2\), \(50, 3\)\]; pass arrays of one shape",
        "shows them.",
        "Pass both factors of one fit.",
        _report(_SPREAD, _SPREAD[:, :2]),
        _report(_SPREAD, _SPREAD),
    ),
    error(
        "Factors of a report are NaN",
        "alpha is NaN or infinite in places; take the factors of a fit that converged",
        "says which one.",
        "Take the factors of a fit that converged.",
        _report(_SPREAD * np.nan, _SPREAD),
        _report(_SPREAD, _SPREAD),
    ),
    error(
        "Factors of a report have one dimension, or are no numbers",
        r"alpha has shape \(50,\); give one row a spot and one column a dimension",
        "shows the shape.",
        "``alpha[:, None]``.",
        _report(_SPREAD[:, 0], _SPREAD),
        _report(_SPREAD[:, [0]], _SPREAD[:, [0]]),
    ),
    warning(
        "Modulation is the same for all spots",
        "Modulation has collapsed in 3 of 3 dimensions.*; check that the text vectors of spots differ, train longer",
        "says in how many dimensions.",
        "See that text differs between spots, train longer, or raise the learning rate.",
        _report(np.ones((50, 3)), np.ones((50, 3))),
        _report(_SPREAD, _SPREAD),
    ),
    error(
        "``factor`` has another number of rows than X",
        "factor has 3 rows but X has 200; give one row a spot",
        "shows both.",
        "Give one row a spot.",
        _behind(lambda kit: np.eye(3)),
        _behind(_places),
    ),
    error(
        "No gene of ``gene_sets=`` is in the data",
        "gene_sets: none of 1 sets has a gene that varies in X; use its gene names",
        "says of how many sets.",
        "Use the names of genes in X.",
        _behind(_places, gene_sets={"mine": ["NOSUCH"]}),
        _behind(_places, gene_sets={"mine": ["ANLN", "CNP"]}),
    ),
    error(
        "``gene_sets=`` is a list",
        "gene_sets is of type list; give a dict of genes by the name of their set",
        "asks for names of sets.",
        '``{"my set": genes}``.',
        _behind(_places, gene_sets=["ANLN", "CNP"]),
        _behind(_places, gene_sets={"mine": ["ANLN", "CNP"]}),
    ),
    error(
        "The text of an estimator without text is tested",
        "estimator=KMeans has no parameter 'text'; pass one such as SpaLLMFusion",
        "says what it looks for.",
        "Pass an estimator of skst.",
        _test(lambda kit: KMeans()),
        _test(),
    ),
    error(
        "The text of a transformer is tested",
        "estimator=SpatialGraphTransformer is no clusterer; pass one that has labels_ after fit",
        "says what it looks for.",
        "Pass a clusterer.",
        _test(lambda kit: quick_transformer()),
        _test(),
    ),
    error(
        "The estimator that is tested has a control already",
        "text has control='permuted', but the test sets the controls; set it to None",
        "says that the test sets them.",
        "``control=None``.",
        _test(lambda kit: kit.make(text=quick_text(control="permuted"))),
        _test(lambda kit: kit.make(text=quick_text(control=None))),
    ),
    error(
        "The test has no replicates",
        "n_permutations=0 and n_gaussian=0 leave nothing to compare; ask for replicates of one",
        "says so before anything is fitted.",
        "Ask for replicates of one control.",
        _test(n_permutations=0),
        _test(n_permutations=1),
    ),
    error(
        "The test is to score by labels, and has none",
        "metrics holds 'ari', which needs known labels y; pass them or leave it out",
        "says what the score needs.",
        'Pass ``y``, or leave "ari" out.',
        _test(metrics="ari"),
        _test(metrics="coherence"),
    ),
    error(
        "The test is to score the stability over one seed",
        "metrics holds 'stability', which needs n_seeds of at least 2; pass them or leave it out",
        "says what the score needs.",
        "``n_seeds=2``.",
        _test(metrics="stability"),
        _test(metrics="stability", n_seeds=2),
    ),
    error(
        "A score of the test is unknown",
        r"metrics=\['nmi'\] must be some of \('stability', 'coherence', 'ari'\)",
        "lists the scores.",
        "Take some of them.",
        _test(metrics="nmi"),
        _test(metrics="coherence"),
    ),
    error(
        "``y`` of the test has another length than X",
        "y_true has 2 labels but y_pred has 200; give one a spot in both",
        "shows both, before anything is fitted.",
        "Give one label a spot.",
        _test(y=[0, 1], metrics="ari"),
        _test(y=[0, 1] * 100, metrics="ari"),
    ),
]
