"""How estimators read ``X``, and hand it on to transformers of their own."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils.validation import validate_data

from skst._constraints import StrOptions
from skst.inputs.columns import Columns
from skst.inputs.containers import how_to_join
from skst.inputs.joined import in_one
from skst.inputs.named_rows import NamedRows
from skst.inputs.slices import Slices, is_listed, open_slices, stays_in_file
from skst.inputs.spots import Spots, Where, read_spots
from skst.inputs.tables import tables_of
from skst.inputs.types import Expression

# What parameters of the same name may be, on every estimator, and on most.
READING: dict[str, list] = {
    "gene_names": ["array-like", None],
    "layer": [str, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}
ON_MISSING: dict[str, list] = {"on_missing": [StrOptions({"warn", "error"})]}


class Opened(NamedTuple):
    """`X` as an estimator goes on with it.

    Attributes
    ----------
    X : object
        A list of slices that is read whole has become one AnnData.
    places : dict
        Arguments ``coordinates`` and ``batch`` that go with it.
    slices : Slices or None
        What is read one slice at a time; None where `X` is read whole.
    listed : Slices or None
        Those of a list.
    """

    X: Any
    places: dict[str, Any]
    slices: Slices | None
    listed: Slices | None

    @property
    def source(self) -> Any:
        """The slices where they are read one at a time, else X."""
        return self.X if self.slices is None else self.slices

    @property
    def rows(self) -> list[Any]:
        """Which spots are those of each item of a list; all, where `X` is none."""
        return [slice(None)] if self.listed is None else self.listed.rows

    def given_back(self, values: Any) -> Any:
        """What is told of all spots in the form of the X that was given: a list of arrays where that is a list."""
        return values if self.listed is None else self.listed.given_back(values)


class ReadsSpots(NamedRows):
    """Methods of an estimator that reads ``X`` as its parameters say.

    These are ``layer``, ``use_rep``, ``spatial_key``, ``batch_key``, ``graph`` and ``gene_names``, as far as it has
    them.
    """

    def _read_spots(
        self,
        X: Expression,
        *,
        coordinates: ArrayLike | None = None,
        batch: ArrayLike | None = None,
        reset: bool = False,
        unknown: bool = False,
    ) -> Spots:
        """Read `X` as :func:`skst.inputs.spots.read_spots` does.

        Parameters
        ----------
        X, coordinates, batch
            As there.
        reset : bool, default=False
            True in ``fit``: ``n_features_in_`` and ``feature_names_in_`` are set, else heeded.
        unknown : bool, default=False
            Whether fitted genes that `X` lacks are unknown, and no error.

        Returns
        -------
        Spots
        """
        seen = self._columns_seen(unknown)
        spots, names = read_spots(
            X,
            where_of(vars(self)),
            coordinates=coordinates,
            batch=batch,
            fitted=None if reset else seen,
            reader=type(self).__name__,
            check_names=lambda table: validate_data(self, table, reset=reset, skip_check_array=True),
        )
        if names is not False and reset:
            self._set_features(spots.X.shape[1], names)
        return spots

    def _reads_whole(self) -> str | None:
        """What keeps this estimator from reading one slice at a time; None if nothing does."""
        return type(self).__name__

    def _holds(self, slices: Slices) -> bool:
        """Whether slices that could be read one at a time are put together all the same, as they are small."""
        return False

    def _open(
        self,
        X: Expression,
        coordinates: ArrayLike | None = None,
        batch: ArrayLike | None = None,
        *,
        reset: bool = False,
        whole: bool = False,
    ) -> Opened:
        """Open `X`, whose slices are read one at a time or, if the estimator cannot, put together from a list.

        Parameters
        ----------
        X, coordinates, batch, reset
            As in :meth:`_read_spots`.
        whole : bool, default=False
            Whether slices are put together though they could be read one at a time.

        Returns
        -------
        Opened
        """
        table, where, whole = tables_of(X), where_of(vars(self)), whole or self._reads_whole() is not None
        places: dict[str, Any] = {"coordinates": coordinates, "batch": batch}
        listed = is_listed(table)
        told = coordinates is not None or batch is not None
        if not listed and (whole or told or not stays_in_file(table, where)):
            return Opened(X, places, None, None)
        if whole and (beyond := _beyond_counts(self)):
            raise TypeError(
                f"X is a list of {len(X)} {type(X[0]).__name__}, of which counts and places are read, and "
                f"{beyond} asks for more; put them together, X = {how_to_join(X)}."
            )
        fitted = None if reset else self._columns_seen(unknown=True)
        slices = open_slices(table, where, **places, fitted=fitted, reader=type(self).__name__)
        if not listed and self._holds(slices):
            return Opened(X, places, None, None)
        if whole or self._holds(slices):
            joined = in_one(slices, layer=where.layer, spatial_key=where.spatial_key)
            return Opened(joined, {"coordinates": None, "batch": slices.spots().batch}, None, slices)
        if reset:
            self._set_features(slices.n_genes, slices.names)
        return Opened(X, places, slices, slices)

    def _columns_seen(self, unknown):
        return Columns(getattr(self, "feature_names_in_", None), getattr(self, "n_features_in_", None), unknown)

    def _set_features(self, n_genes, names):
        self.n_features_in_ = n_genes
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = (
            bool(getattr(self, "normalize", True)) and getattr(self, "use_rep", None) is None
        )
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _handed_on(self, transformer, seed):
        """A copy of a transformer that reads the same `X`, with `seed` if this estimator has one.

        Takes the parameters ``gene_names``, ``layer`` and ``random_state``; see :func:`inherit`.
        """
        seed = None if self.random_state is None else int(seed)
        return inherit(transformer, gene_names=self.gene_names, layer=self.layer, random_state=seed)


def where_of(parameters: Mapping[str, Any]) -> Where:
    """Where in ``X`` things are, by those parameters of an estimator that say so.

    Parameters
    ----------
    parameters : dict
        Parameters by name, others among them.

    Returns
    -------
    Where
    """
    known = {name: parameters[name] for name in Where._fields if name in parameters}
    return Where(**known, sliced="batch_key" in known)


def inherit(transformer: Any, **handed: Any) -> Any:
    """A copy of a transformer with parameters of whoever uses it, where it has none of its own.

    Parameters
    ----------
    transformer : estimator
    **handed
        Values of such of its parameters as are None; others, and those that it does not have, are left.

    Returns
    -------
    estimator
        Not fitted.
    """
    transformer = clone(transformer)
    unset = {name for name, value in transformer.get_params(deep=False).items() if value is None}
    return transformer.set_params(**{name: value for name, value in handed.items() if name in unset})


def _beyond_counts(estimator):
    """Which parameter of an estimator, or of one in it, reads of an AnnData what no slice of a list is asked for."""
    own = getattr(estimator, "layer", None)
    for name, value in estimator.get_params(deep=True).items():
        asks = {"use_rep": value is not None, "layer": value is not None and value != own}
        if asks.get(name.rpartition("__")[2], False):
            return f"{name}={value!r}"
    return None


_TOLD_BEFORE = r"\d+ gene names are duplicated|X has no gene names, unlike that of fit"


@contextmanager
def names_told() -> Iterator[None]:
    """Leave out warnings about names of genes that whoever hands X on has given before."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _TOLD_BEFORE, UserWarning)
        yield


def missing(lack: str, goes_on: str, fix: str, *, strict: bool) -> None:
    """Say that `X` lacks something: a warning, or an error where ``on_missing="error"``.

    Parameters
    ----------
    lack : str
        What is lacking, the beginning of a sentence.
    goes_on : str
        What is done all the same.
    fix : str
        What would help.
    strict : bool
        Whether it is an error.
    """
    if strict:
        raise ValueError(f'{lack}; {fix}, or set on_missing="warn" to go on without.')
    warnings.warn(f"{lack}, so {goes_on}; {fix}.", UserWarning, stacklevel=3)
