"""How estimators meet what is wrong with the input: refusals and warnings of one sentence, or work as usual."""

import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from bad_inputs.kit import (
    is_one_sentence,
    of_skst,
    quick_fusion,
    quick_llmdsc,
    quick_semst,
    quick_stllm,
    quick_text,
)
from sklearn.exceptions import ConvergenceWarning

from skst import SpatialGraphTransformer


@contextmanager
def refused(match, kind=ValueError):
    with pytest.raises(kind, match=match) as caught, warnings.catch_warnings(action="ignore"):
        yield
    is_one_sentence(str(caught.value))


@contextmanager
def warned(match):
    """Every warning is one sentence, and one at least matches."""
    with pytest.warns(UserWarning, match=match) as caught:
        yield
    for message in of_skst(caught):
        is_one_sentence(message)


def works(adata, make=quick_fusion, **parameters):
    """Domains, on the data and again from predict, with nothing to be warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)  # of k-means, where all spots have become equal
        fitted = make(**parameters).fit(adata)
        labels = fitted.predict(adata)
    np.testing.assert_array_equal(labels, fitted.labels_)
    assert np.isfinite(fitted.embedding_).all()
    assert set(labels) <= set(range(4))
    return fitted


def all_estimators():
    return [
        quick_text(),
        SpatialGraphTransformer(),
        quick_fusion(),
        quick_semst(),
        quick_stllm(graph="learned"),
        quick_llmdsc(),
    ]
