"""Whether an expression matrix holds counts of molecules."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse

from skst.inputs.blocks import is_whole
from skst.inputs.containers import in_memory
from skst.inputs.rows import is_anndata, layer_names
from skst.inputs.spots import Spots
from skst.inputs.tables import table_of
from skst.inputs.types import Expression

# log(1 + 10**7): more molecules than that are in no spot.
_LARGEST_LOG = 16
# A slice of a quarter of the depth of others takes nothing from them, one of a tenth half of their adjusted Rand index.
_SHALLOW = 6


def check_counts(spots: Spots, X: Expression, *, unless: str | None = None) -> None:
    """Check that ``spots.X`` can be raw counts.

    Parameters
    ----------
    spots : Spots
    X : object
        What they were read from, which may hold counts elsewhere.
    unless : str, default=None
        Name of the estimator that can be told to do without counts, by ``normalize=False``.

    Raises
    ------
    ValueError
        If a value is negative.

    Warns
    -----
    UserWarning
        If the values look log-transformed; see :func:`looks_logarithmic`.
    """
    values = spots.X.data if sparse.issparse(spots.X) else spots.X
    if values.size:
        fractions = values.max() <= _LARGEST_LOG and not is_whole(values)
        check_range(values.min(), values.max(), fractions, lambda: _where_counts_are(X, unless))


def check_depths(spots: Spots) -> None:
    """Warn of a slice that has lost nearly all of its molecules, as :func:`warn_of_shallow` does."""
    if spots.batch is not None and spots.batch.max() > 0:
        sizes = np.asarray(spots.X.sum(axis=1)).ravel()
        rows = [np.flatnonzero(spots.batch == code) for code in range(spots.batch.max() + 1)]
        names = [f"The slice that begins at spot {part[0]} of X" for part in rows]
        warn_of_shallow(names, [float(np.median(sizes[part])) for part in rows])


def warn_of_shallow(names: Sequence[str], depths: Sequence[float]) -> None:
    """Warn of a slice whose spots hold far fewer molecules than those of the others.

    Parameters
    ----------
    names : sequence of str
        How each slice is called at the beginning of a sentence.
    depths : sequence of float
        Median library size of each.

    Warns
    -----
    UserWarning
        If one has less than a sixth of what is usual among them.
    """
    usual = float(np.median(depths))
    for name, depth in zip(names, depths, strict=True):
        if depth * _SHALLOW < usual:
            warnings.warn(
                f"{name} has a median of {depth:.4g} molecules a spot, and slices have {usual:.4g}; noise of that size "
                "can spoil the domains of all: fit without it, and predict it.",
                UserWarning,
                stacklevel=4,
            )


def check_range(lowest: float, highest: float, fractions: bool, fix: Callable[[], str]) -> None:
    """Check what is known of values that can be raw counts, as :func:`check_counts` does.

    Parameters
    ----------
    lowest, highest : float
        The least and the largest of them.
    fractions : bool
        Whether some are no whole numbers.
    fix : callable
        Says what to do.
    """
    if lowest < 0:
        raise ValueError(f"Negative values in data: X holds {lowest:.3g} where raw counts are expected; {fix()}.")
    if fractions and highest <= _LARGEST_LOG:
        warnings.warn(
            f"X holds fractions and nothing above {highest:.3g}, so it looks log-transformed; {fix()}.",
            UserWarning,
            stacklevel=5,
        )


def _where_counts_are(X, unless):
    """What to do about an X that holds no counts."""
    X, fix = table_of(X), "pass raw counts"
    if is_anndata(X):
        layers = [name for name in layer_names(X) if _can_be_counts(X.layers[name])]
        if layers:
            fix += f", which layer={layers[0]!r} seems to hold"
        elif X.raw is not None and _can_be_counts(X.raw.X):
            fix += ", which X.raw.to_adata() seems to hold"
    return fix if unless is None else f"{fix}, or set normalize=False of {unless} to use X as it is"


def _can_be_counts(matrix):
    matrix = in_memory(matrix)
    values = matrix.data if sparse.issparse(matrix) else np.asarray(matrix)
    return values.size > 0 and values.dtype.kind in "buif" and values.min() >= 0 and not looks_logarithmic(values)


def looks_logarithmic(values: np.ndarray) -> bool:
    """Tell logarithms from counts: fractions among them, and none above 16, which is ``log(1 + 10**7)``.

    Parameters
    ----------
    values : ndarray
        Entries of an expression matrix, of any shape; of a sparse one, those that are stored.

    Returns
    -------
    bool
        False if there are no values.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.inputs.counting import looks_logarithmic
    >>> counts = np.array([[9, 0], [3, 1]])
    >>> looks_logarithmic(counts), looks_logarithmic(np.log1p(counts)), looks_logarithmic(counts * 7.5)
    (False, True, False)
    """
    return values.size > 0 and bool(values.max() <= _LARGEST_LOG) and not is_whole(values)
