"""What an estimator found, put into an AnnData where scanpy and squidpy look for it."""

import functools
import itertools
import platform
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skst._version import __version__
from skst.expression.counts import telling_sums
from skst.expression.survey import mark_of
from skst.inputs.rows import is_anndata
from skst.inputs.spots import Spots
from skst.inputs.tables import tables_of
from skst.palette import PALETTE
from skst.partition.numbers import renumber

# Of these the versions are told, where they are loaded.
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "anndata", "torch", "sentence-transformers")


def data_hash(spots: Spots, *beside: Any) -> str:
    """What tells the data of a fit from others: counts, places, slices and neighbours of all spots, in their order.

    Parameters
    ----------
    spots : Spots
    *beside : object
        What else is read.

    Returns
    -------
    str
        Hexadecimal.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.inputs.spots import Spots
    >>> from skst.results import data_hash
    >>> X = np.array([[1, 0], [2, 5]], dtype=np.float32)
    >>> data_hash(Spots(X, None, None, None)) == data_hash(Spots(X[::-1], None, None, None))
    False
    """
    return joblib.hash((telling_sums(spots.X), spots.coordinates, spots.batch, spots.graph, beside))


def check_writable(adata: Any, key_added: str) -> None:
    """Raise unless results can be written into `adata` under this key.

    Parameters
    ----------
    adata : AnnData
    key_added : str

    Raises
    ------
    TypeError
        If it is no AnnData.
    ValueError
        If the key is empty, holds a slash, which files of HDF5 and zarr read as a folder, or is taken by what no
        estimator wrote.
    """
    if not is_anndata(adata):
        raise TypeError(
            f"adata is of type {type(adata).__name__}, which results cannot be written to; pass an AnnData."
        )
    if not isinstance(key_added, str) or not key_added or "/" in key_added:
        raise ValueError(f"key_added={key_added!r} cannot name a column of a file; give a text without slashes.")
    record = adata.uns.get(key_added)
    if isinstance(record, Mapping) and {"estimator", "data_hash"} <= set(record):
        return
    for part, key in (("obs", key_added), ("uns", key_added), ("obsm", f"X_{key_added}")):
        if key in getattr(adata, part):
            raise ValueError(
                f"key_added={key_added!r} is taken: adata.{part}[{key!r}] is of somebody else; give another key, or "
                "delete it."
            )


def write_results(
    adata: Any,
    key_added: str,
    labels: NDArray[np.integer],
    n_clusters: int,
    embedding: NDArray[np.floating],
    posterior: NDArray[np.floating] | None,
    record: Mapping[str, Any],
) -> None:
    """Write labels, embedding, posterior and a record of how they were found.

    Parameters
    ----------
    adata : AnnData
        Changed: ``obs[key]`` gets the labels as categories "0", "1", ..., ``uns[f"{key}_colors"]`` their colours,
        ``obsm[f"X_{key}"]`` the embedding, ``obsm[f"{key}_posterior"]`` the posterior and ``uns[key]`` the record.
    key_added : str
    labels : ndarray of int of shape (n_spots,)
        From 0; negative for none.
    n_clusters : int
        Categories, whether or not a spot has them, so that slices share their colours.
    embedding : ndarray of shape (n_spots, n_columns)
    posterior : ndarray of shape (n_spots, n_clusters) or None
    record : dict
        Texts, numbers, and dicts and lists of these.
    """
    names = [str(number) for number in range(max(n_clusters, int(labels.max(initial=-1)) + 1))]
    codes = np.where(labels < 0, -1, labels)
    adata.obs[key_added] = pd.Categorical.from_codes(codes, categories=names)
    adata.uns[f"{key_added}_colors"] = list(itertools.islice(itertools.cycle(PALETTE), len(names)))
    adata.obsm[f"X_{key_added}"] = np.asarray(embedding)
    if posterior is not None:
        adata.obsm[f"{key_added}_posterior"] = posterior.astype(np.float32)
    elif f"{key_added}_posterior" in adata.obsm:  # of an estimator that wrote here before
        del adata.obsm[f"{key_added}_posterior"]
    adata.uns[key_added] = dict(record)


def record_of(estimator: Any, found_in: str) -> dict[str, Any]:
    """How an estimator found what it found, in texts and numbers that files of HDF5 and zarr can hold.

    Parameters
    ----------
    estimator : estimator
        As it is when it is fitted.
    found_in : str
        Hash of the data of ``fit``.

    Returns
    -------
    dict
        "estimator", "params" (name to text), "n_clusters", "data_hash" and "versions".
    """
    parameters = estimator.get_params(deep=True)
    return {
        "estimator": type(estimator).__name__,
        "params": {name: _told(value) for name, value in parameters.items()},
        "n_clusters": int(estimator.n_clusters_),
        "data_hash": found_in,
        "versions": _versions(),
    }


def _told(value):
    """A parameter as text; what is long by its type and length, an object with parameters of its own by its name."""
    if hasattr(value, "get_params"):
        return type(value).__name__
    if np.ndim(value) or len(text := repr(value)) > 200:
        return f"{type(value).__name__} of length {np.size(value)}"
    return text


def _versions():
    found = {"skst": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        if {"scikit-learn": "sklearn"}.get(name, name.replace("-", "_")) in sys.modules:
            found[name] = _version(name)
    return found


@cache
def _version(name):
    # Kept: reading the description of a package takes as long as fitting a small tissue.
    try:
        return version(name)
    except PackageNotFoundError:  # loaded from a checkout
        return "unknown"


def every_item(adata: Any, key_added: str, **places: Any) -> list[Any]:
    """Each AnnData of a list, or the one given, once all are known to take results.

    Parameters
    ----------
    adata : AnnData or list of AnnData
    key_added : str
    **places
        Places of spots, None where they are in the AnnData.

    Returns
    -------
    list of AnnData

    Raises
    ------
    TypeError
        If one is no AnnData, or places are told of several.
    ValueError
        If there is none, or one twice.
    """
    adata = tables_of(adata)
    items = list(adata) if isinstance(adata, (list, tuple)) else [adata]
    keys = [id(item) for item in items]
    if len(set(keys)) < max(len(keys), 1):
        fault = "names one AnnData twice" if keys else "is a list of nothing"
        raise ValueError(f"adata {fault}; give each slice once.")
    told = [name for name, values in places.items() if values is not None]
    if told and isinstance(adata, (list, tuple)):
        raise TypeError(f"{told[0]}= goes with one AnnData, and adata is a list of {len(items)}; write one at a time.")
    for item in items:
        check_writable(item, key_added)
    return items


def _keeping_warnings(fit):
    """The method ``fit`` of an estimator, made to keep in its record what was warned of."""

    @functools.wraps(fit)
    def keeping(self, *args, **kwargs):
        caller, kept = sys._getframe(1), []
        with warnings.catch_warnings():
            show = warnings.showwarning

            def keep(message, category, filename, lineno, file=None, line=None):
                if issubclass(category, UserWarning):  # libraries that speak of their next versions are left out
                    kept.append(str(message))
                if filename == __file__:  # whoever called this function is meant
                    filename, lineno = caller.f_code.co_filename, caller.f_lineno
                show(message, category, filename, lineno, file, line)

            warnings.showwarning = keep
            fitted = fit(self, *args, **kwargs)
        self._record["warnings"] = list(dict.fromkeys(kept))
        return fitted

    return keeping


class WritesResults:
    """Methods of an estimator that can put what it found into an AnnData.

    It sets ``labels_``, ``embedding_``, ``n_clusters_``, ``clusterer_``, ``_numbers`` and ``_record`` in ``fit``.
    """

    # Rows of each slice of ``fit`` by what tells it from others, where slices were read one at a time.
    _marked: Mapping[str, NDArray[np.integer]] | None = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "fit" in vars(cls):
            cls.fit = _keeping_warnings(vars(cls)["fit"])

    def _beside(self, X):
        """What is read of X beside counts, places, slices and a graph of this estimator's own."""
        return ()

    def _posterior_of(self, embedding):
        """Posterior of each cluster in the numbers of ``labels_``, None where the clusterer has none."""
        if not hasattr(self.clusterer_, "predict_proba"):
            return None
        posterior = np.asarray(self.clusterer_.predict_proba(embedding))
        numbered = np.zeros_like(posterior)
        numbered[:, renumber(np.arange(posterior.shape[1]), self._numbers)] = posterior
        return numbered

    def _write(self, items, rows, X, key_added, spots, embed, settle=None):
        """Write what was found of `spots`, those of X, into AnnData of which each holds some of its `rows`.

        Others than those of ``fit`` are embedded by `embed`; `settle` turns labels of the clusterer into final ones.
        """
        known = self._rows_of_fit(X, spots)
        if known is not None:
            embedding, labels = self.embedding_[known], self.labels_[known]
        else:
            embedding = embed(X)
            raw = self._partition_of(embedding)
            labels = renumber(raw if settle is None else settle(raw), self._numbers)
        record = {**self._record, "predicted": known is None}
        posterior = self._posterior_of(embedding)
        for adata, own in zip(items, rows, strict=True):
            told = None if posterior is None else posterior[own]
            write_results(adata, key_added, labels[own], self.n_clusters_, embedding[own], told, record)

    def _rows_of_fit(self, X, spots):
        """Rows of the data of ``fit`` that `spots` are, None if they are others."""
        if self._marked is None:
            return slice(None) if data_hash(spots, *self._beside(X)) == self._record["data_hash"] else None
        sums = telling_sums(spots.X)
        codes = np.zeros(len(sums), dtype=int) if spots.batch is None else spots.batch
        places = np.zeros((len(sums), 0)) if spots.coordinates is None else spots.coordinates
        known = np.empty(len(sums), dtype=int)
        for code in range(codes.max(initial=-1) + 1):
            rows = np.flatnonzero(codes == code)
            found = self._marked.get(mark_of(sums[rows], places[rows]))
            if found is None:
                return None
            known[rows] = found
        return known
