"""Prediction of new cells and spots."""

import pickle

import numpy as np
from sklearn.exceptions import NotFittedError

from .cases import ALL, CLUSTERERS, QUICK, READERS, error, warning, works
from .kit import quick_transformer, same

TITLE = "Prediction"
# Those that take genes which are not there as unknown.
LENIENT = (*QUICK, "stllm")


def _answer(kit, X, **given):
    """What the fitted estimator says of X."""
    fitted = kit.fitted()
    return (fitted.predict if hasattr(fitted, "predict") else fitted.transform)(X, **given)


def _of_tissue(kit):
    return _answer(kit, kit.tissue())


def as_of_tissue(kit, answer):
    np.testing.assert_allclose(answer, _of_tissue(kit), atol=1e-5)


def _more(kit):
    """The tissue with a gene that was not fitted, in front."""
    frame = kit.tissue().to_df()
    frame.insert(0, "EXTRA", 7.0)
    more = kit.tissue()[:, [0, *range(60)]].copy()
    more.var_names = frame.columns
    more.X = frame.to_numpy()
    return more


def _filled(kit):
    """The tissue with 40 of its genes, and the others as zeros."""
    adata = kit.tissue()
    values = adata.X.toarray()
    values[:, :20] = 0
    adata.X = values
    return adata


def _unnamed_fit(kit):
    return kit.make(gene_names=kit.tissue().var_names).fit(kit.tissue().X.toarray())


def _nameless(kit):
    adata = kit.tissue()
    adata.var_names = [str(i) for i in range(adata.n_vars)]
    return adata


def _stored(kit):
    return pickle.loads(pickle.dumps(kit.fitted()))


CASES = [
    error(
        "The estimator was not fitted",
        "This .* instance is not fitted yet",
        "says so, in the words of scikit-learn.",
        "Call ``fit`` first.",
        lambda kit: kit.make().transform(kit.tissue()),
        _of_tissue,
        of=ALL,
        kind=NotFittedError,
        ours=False,
    ),
    warning(
        "The new slice lacks some of the genes",
        r"X lacks 20 of the 60 genes seen in fit, which are taken as unknown, and with them \d+.\d % of .*",
        "expects of them what the other genes tell, and says how much of the axes is lost; see :doc:`panels`.",
        "Nothing, if that is little; or fit on the genes that all slices share.",
        lambda kit: _answer(kit, kit.tissue()[:, 20:]),
        _of_tissue,
        as_of_tissue,
        of=LENIENT,
    ),
    error(
        "The new slice lacks nearly all genes",
        r"X lacks 57 of the 60 genes seen in fit, and with them \d\d.\d % of the variance .*",
        "says how much of the axes is lost, and what may be.",
        "Fit on the genes that all slices share.",
        lambda kit: _answer(kit, kit.tissue()[:, 57:]),
        _of_tissue,
        as_of_tissue,
        of=LENIENT,
    ),
    error(
        "The new slice lacks genes, and the estimator needs all",
        "X lacks 20 of the 60 genes seen in fit, such as 'ANLN' .its own are like 'ACTC1'.; fit on the genes that all",
        "says how many, and names one.",
        "Fit on the genes that all slices share, or add the absent ones as zeros.",
        lambda kit: _answer(kit, kit.tissue()[:, 20:]),
        lambda kit: _answer(kit, _filled(kit)),
        of=tuple(name for name in ALL if name not in LENIENT),
    ),
    works(
        "The new slice has its genes in another order",
        "they are matched by name.",
        "Nothing.",
        lambda kit: _answer(kit, kit.tissue()[:, ::-1]),
        as_of_tissue,
        of=READERS,
    ),
    works(
        "The new slice has more genes",
        "those that were fitted are picked out.",
        "Nothing.",
        lambda kit: _answer(kit, _more(kit)),
        as_of_tissue,
        of=READERS,
    ),
    error(
        "A DataFrame has its genes in another order",
        "The feature names should match those that were passed during fit",
        "refuses it in the words of scikit-learn, whose rule this is for DataFrames.",
        "``X[model.feature_names_in_]``, or pass an AnnData.",
        lambda kit: _answer(kit, kit.tissue().to_df().iloc[:, ::-1]),
        lambda kit: _answer(kit, kit.tissue().to_df().iloc[:, ::-1][kit.fitted().feature_names_in_]),
        as_of_tissue,
        of=("text", "llmdsc"),
        ours=False,
    ),
    error(
        "An array has another number of columns than in ``fit``",
        "X has 40 features, but .* is expecting 60 features as input",
        "shows both numbers.",
        "Pass the genes of ``fit``.",
        lambda kit: _unnamed_fit(kit).transform(kit.tissue().X.toarray()[:, 20:]),
        lambda kit: _unnamed_fit(kit).transform(kit.tissue().X.toarray()),
        of=("text",),
    ),
    error(
        "``fit`` had an array and ``gene_names=``, and a table in another order is predicted",
        "gene_names holds 60 names that X has too, but 60 of them for other columns",
        "shows a name that is at another column.",
        "Put the columns into the order of ``gene_names``.",
        lambda kit: _unnamed_fit(kit).transform(kit.tissue()[:, ::-1]),
        lambda kit: _unnamed_fit(kit).transform(kit.tissue()),
        of=("text",),
    ),
    warning(
        "``fit`` knew the names of genes, and an AnnData without names is predicted",
        "X has no gene names, unlike that of fit, so its columns are taken to be in the same order; pass X with",
        "takes columns as they come.",
        "Name the genes: ``adata.var_names = names``.",
        lambda kit: _answer(kit, _nameless(kit)),
        lambda kit: _answer(kit, kit.tissue()),
        as_of_tissue,
        of=ALL,
    ),
    works(
        "``fit`` had a DataFrame, and an AnnData is predicted",
        "genes are matched by name.",
        "Nothing.",
        lambda kit: kit.make().fit(kit.tissue().to_df()).transform(kit.tissue()[:, ::-1]),
        lambda kit, answer: np.testing.assert_allclose(answer, kit.fitted().transform(kit.tissue()), atol=1e-5),
        of=("text",),
    ),
    works(
        "A single spot is predicted",
        "it is assigned by its own expression, as it has no neighbours.",
        "Nothing; whole slices are better.",
        lambda kit: _answer(kit, kit.tissue()[:1]),
        lambda kit, answer: same(kit, (len(answer), 1)),
        of=ALL,
    ),
    warning(
        "The new slice is log-transformed, the old one was not",
        "X holds fractions and nothing above 6.4, so it looks log-transformed; pass raw counts",
        "goes on, and takes logarithms for counts.",
        "Pass raw counts.",
        lambda kit: _answer(kit, _logged(kit)),
        _of_tissue,
        as_of_tissue,
        of=("text", "transformer"),
    ),
    error(
        "The new slice has no layer of the name that was fitted",
        r"layer='counts' is not among the layers of X, which are \[\]; name one of them, or leave layer out",
        "lists the layers.",
        "Put the counts of the new slice into that layer.",
        lambda kit: kit.fit(_layered(kit), layer="counts").transform(kit.tissue()),
        lambda kit: kit.fit(_layered(kit), layer="counts").transform(_layered(kit)),
        of=("text", "transformer"),
    ),
    works(
        "A fitted estimator is stored by pickle and loaded",
        "it predicts as before.",
        "Nothing.",
        lambda kit: _stored(kit).predict(kit.tissue()),
        as_of_tissue,
        of=CLUSTERERS,
    ),
    error(
        "``describe`` of a pickled :class:`~skst.STLLMClusterer`",
        "narrator_ holds data of fit and is left out of a pickle; fit again to describe spots",
        "says why it cannot.",
        "Fit again, or describe before storing.",
        lambda kit: _stored(kit).describe(0),
        lambda kit: kit.fitted().describe(0),
        of=("stllm",),
        kind=NotFittedError,
    ),
    error(
        "``describe`` of a spot that there is not",
        "i=200 is none of the 200 spots of fit; give an index from 0",
        "says how many there are.",
        "Give an index from 0.",
        lambda kit: kit.fitted().describe(200),
        lambda kit: kit.fitted().describe(199),
        of=("stllm",),
        kind=IndexError,
    ),
    error(
        "A learnt graph is used for averaging without counts",
        "counts=None, but the graph is learnt and joins spots by their counts; pass those, too",
        "says why it needs them.",
        "``average(values, coordinates=..., counts=counts)``.",
        lambda kit: _learnt(kit).average(np.ones((200, 1)), coordinates=kit.places()),
        lambda kit: _learnt(kit).average(np.ones((200, 1)), coordinates=kit.places(), counts=kit.tissue().X),
        of=("transformer",),
    ),
]


def _logged(kit):
    adata = kit.tissue()
    adata.X = adata.X.log1p()
    return adata


def _layered(kit):
    adata = kit.tissue()
    adata.layers["counts"] = adata.X
    return adata


def _learnt(kit):
    return quick_transformer(graph="learned").fit(kit.tissue())
