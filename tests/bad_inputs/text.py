"""Text: descriptions, models and vectors."""

import pickle

import numpy as np
import pandas as pd

from skst.genes import load_marker_descriptions
from skst.text import LexicalBackend

from .cases import error, warning
from .kit import quick_text, same

TITLE = "Text, models and vectors"
TEXT = {"of": ("text",)}


class Model:
    """A model that gives what `make` makes of a list of texts."""

    def __init__(self, make):
        self.make = make

    def encode(self, texts):
        return self.make(texts)


def _vectors(kit, n=60, length=8):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=length) for name in kit.tissue().var_names[:n]}


def _with_vectors(kit, vectors, **parameters):
    return kit.make(vectors=vectors, **parameters).fit(kit.tissue())


def _model(kit, make):
    return kit.make(model=Model(make)).fit(kit.tissue())


def _right_model(kit):
    return _model(kit, LexicalBackend().encode)


def _encoded(kit, fitted):
    same(kit, (fitted.coverage_, 1.0))
    assert np.ptp(fitted.transform(kit.tissue()), axis=0).any()


def _after_loading(kit, model):
    """Vectors of a fitted encoder that was stored, and loaded where its model is another one."""
    fitted = pickle.loads(pickle.dumps(kit.fit(kit.tissue(), mode="prompt", model="lexical")))
    return fitted.set_params(model=model).transform(kit.tissue())


CASES = [
    error(
        "``model=`` is no name and no object with ``encode``",
        r"model=3 is neither the name of a model nor an object with encode\(list of str\)",
        "says what it may be.",
        'Pass a name, such as ``"all-MiniLM-L6-v2"``, or an instance.',
        lambda kit: kit.make(model=3).fit(kit.tissue()),
        lambda kit: kit.make(model=LexicalBackend()).fit(kit.tissue()),
        _encoded,
        kind=TypeError,
        **TEXT,
    ),
    error(
        "``model=`` is a class, not an instance",
        "model=<class .*LexicalBackend'> is neither the name of a model nor an object",
        "says what it may be.",
        "Make an instance of it.",
        lambda kit: kit.make(model=LexicalBackend).fit(kit.tissue()),
        lambda kit: kit.make(model=LexicalBackend()).fit(kit.tissue()),
        _encoded,
        kind=TypeError,
        **TEXT,
    ),
    error(
        "A model of your own returns no vector for each text",
        r"model: Model.encode returned an array of shape \(1, 3\) for 60 texts; it must return one of shape",
        "shows the shape.",
        "Return an array of shape (n_texts, d).",
        lambda kit: _model(kit, lambda texts: np.ones((1, 3))),
        _right_model,
        _encoded,
        **TEXT,
    ),
    error(
        "A model of your own returns NaN",
        "model: Model.encode returned NaN or infinite numbers for 60 of 60 texts",
        "shows a text.",
        "Use another model, device or precision.",
        lambda kit: _model(kit, lambda texts: np.full((len(texts), 3), np.nan)),
        _right_model,
        _encoded,
        **TEXT,
    ),
    error(
        "A model of your own returns no numbers",
        "model: Model.encode returned no numeric array for 60 texts",
        "says what is expected.",
        "Return an array of numbers.",
        lambda kit: _model(kit, lambda texts: texts),
        _right_model,
        _encoded,
        **TEXT,
    ),
    warning(
        "A model gives the same vector for all texts",
        "model='.*' makes the same vector for all 60 genes, so that text tells nothing; use another model",
        "goes on, though text cannot tell genes apart.",
        "Use another model.",
        lambda kit: _model(kit, lambda texts: np.ones((len(texts), 3))),
        _right_model,
        _encoded,
        **TEXT,
    ),
    error(
        "A fitted encoder is used with another model than it was fitted with",
        "model: .* is not the one that was fitted, lexical .*; load that model, or fit again",
        "names both, as vectors of two models share no axes.",
        "Load that model, or fit again.",
        lambda kit: _after_loading(kit, Model(lambda texts: np.ones((len(texts), 384)))),
        lambda kit: _after_loading(kit, "lexical"),
        **TEXT,
    ),
    error(
        "``descriptions=`` has no column of symbols",
        r"descriptions has the columns \['gene'\] but none called 'symbol'; name that of the gene symbols so",
        "lists its columns.",
        'Rename the column of symbols to "symbol".',
        lambda kit: kit.make(descriptions=_table(kit).rename(columns={"symbol": "gene"})[["gene"]]).fit(kit.tissue()),
        lambda kit: kit.make(descriptions=_table(kit)).fit(kit.tissue()),
        _encoded,
        **TEXT,
    ),
    warning(
        "``descriptions=`` describes other genes",
        "None of the 60 gene names of X, such as 'ANLN', .* is in the table that was given",
        "goes on without text.",
        "Give a table that has the genes.",
        lambda kit: kit.make(descriptions=pd.DataFrame({"symbol": ["Q1"], "summary": ["What?"]})).fit(kit.tissue()),
        lambda kit: kit.make(descriptions=_table(kit)).fit(kit.tissue()),
        _encoded,
        **TEXT,
    ),
    warning(
        "``vectors=`` has vectors of other genes",
        "None of the 60 gene names of X, such as 'ANLN', .* is in the table that was given",
        "goes on without text.",
        "Give vectors of these genes; symbols, aliases and Ensembl ids are matched.",
        lambda kit: _with_vectors(kit, {"Q1": [1.0, 2.0]}),
        lambda kit: _with_vectors(kit, _vectors(kit)),
        _encoded,
        **TEXT,
    ),
    warning(
        "``vectors=`` has few of the genes",
        r"Only 5 of 60 genes, with \d+% of the counts in X, are in the table that was given",
        "says how many, and of how many counts.",
        "Give a table that has them.",
        lambda kit: _with_vectors(kit, _vectors(kit, 5)),
        lambda kit: _with_vectors(kit, _vectors(kit)),
        _encoded,
        **TEXT,
    ),
    warning(
        "``vectors=`` are all the same",
        "vectors hold the same vector for all 60 genes",
        "goes on, though text cannot tell genes apart.",
        "Give other vectors.",
        lambda kit: _with_vectors(kit, dict.fromkeys(_vectors(kit), [1.0, 2.0])),
        lambda kit: _with_vectors(kit, _vectors(kit)),
        _encoded,
        **TEXT,
    ),
    error(
        "``vectors=`` is an array, which names no genes",
        "Gene vectors are a ndarray; pass a path, a dict of gene to vector, or a DataFrame",
        "asks for something with names.",
        "``pandas.DataFrame(vectors, index=genes)``.",
        lambda kit: _with_vectors(kit, np.stack(list(_vectors(kit).values()))),
        lambda kit: _with_vectors(kit, pd.DataFrame(np.stack(list(_vectors(kit).values())), index=list(_vectors(kit)))),
        _encoded,
        kind=TypeError,
        **TEXT,
    ),
    error(
        "``vectors=`` is empty",
        "Gene vectors in the dict are empty; give at least one gene",
        "asks for one gene at least.",
        "Give vectors.",
        lambda kit: _with_vectors(kit, {}),
        lambda kit: _with_vectors(kit, _vectors(kit)),
        _encoded,
        **TEXT,
    ),
    error(
        "``vectors=`` holds NaN",
        "Gene vectors in the dict hold NaN or infinite numbers for 1 genes, such as 'ANLN'; drop these genes",
        "names a gene.",
        "Drop these genes.",
        lambda kit: _with_vectors(kit, _vectors(kit) | {"ANLN": [np.nan] * 8}),
        lambda kit: _with_vectors(kit, {k: v for k, v in _vectors(kit).items() if k != "ANLN"}),
        **TEXT,
    ),
    error(
        "``vectors=`` have different lengths",
        "Gene vectors in the dict have 8 numbers for 'ANLN' but 7 for 'extra'; give all genes vectors of one length",
        "names two genes.",
        "Take the vectors of one model.",
        lambda kit: _with_vectors(kit, _vectors(kit) | {"extra": [0.0] * 7}),
        lambda kit: _with_vectors(kit, _vectors(kit) | {"extra": [0.0] * 8}),
        _encoded,
        **TEXT,
    ),
    warning(
        "``vectors=`` repeats a gene",
        "Gene vectors in the DataFrame repeat 1 names, such as 'ANLN'; the last vector of each is used",
        "the last one is used.",
        "Drop the others.",
        lambda kit: _with_vectors(kit, _doubled(kit)),
        lambda kit: _with_vectors(kit, _doubled(kit)[1:]),
        _encoded,
        **TEXT,
    ),
    error(
        "``vectors=`` with a mode that reads sentences",
        "vectors are given but mode='prompt' uses no gene vectors; use mode='aggregate'",
        "does not ignore them.",
        '``mode="aggregate"`` or ``"dual"``, or no ``vectors``.',
        lambda kit: _with_vectors(kit, _vectors(kit), mode="prompt"),
        lambda kit: _with_vectors(kit, _vectors(kit), mode="aggregate"),
        _encoded,
        **TEXT,
    ),
    error(
        '``vectors=`` with ``control="unrelated"``',
        "vectors are given but control='unrelated' replaces texts, of which there are none; use control='permuted'",
        "has no texts to replace.",
        '``control="permuted"`` or ``"gaussian"``.',
        lambda kit: _with_vectors(kit, _vectors(kit), control="unrelated"),
        lambda kit: _with_vectors(kit, _vectors(kit), control="permuted"),
        _encoded,
        **TEXT,
    ),
    error(
        '``vectors=`` of one model, and sentences read by another, in ``mode="dual"``',
        "vectors have length 8 but model='lexical' makes vectors of length 384.*; use the model that made them",
        "shows both lengths.",
        "Use the model that made the vectors.",
        lambda kit: _with_vectors(kit, _vectors(kit), mode="dual"),
        lambda kit: _with_vectors(kit, _vectors(kit, length=384), mode="dual"),
        _encoded,
        **TEXT,
    ),
    error(
        "Text alone is asked for, and there is none",
        "strategy='functional' has nothing to go by, as the text embedding is the same for all spots",
        "does not partition noise.",
        "Give names of genes, or take another ``strategy``.",
        lambda kit: kit.fit(
            kit.tissue(), text=quick_text(model=Model(lambda t: np.ones((len(t), 3)))), strategy="functional"
        ),
        lambda kit: kit.fit(kit.tissue(), strategy="functional"),
        besides="the same vector for all 60 genes",
    ),
]


def _table(kit):
    return load_marker_descriptions("human")


def _doubled(kit):
    table = pd.DataFrame(_vectors(kit)).T
    return pd.concat([table[:1], table])
