"""The AnnData in a SpatialData, which is read and written in its place; spatialdata itself is never loaded."""

from collections.abc import Mapping
from typing import Any


def is_spatialdata(X: object) -> bool:
    """True if `X` is a SpatialData, by the name of its class."""
    return any(
        cls.__name__ == "SpatialData" and cls.__module__.partition(".")[0] == "spatialdata" for cls in type(X).__mro__
    )


def table_of(X: Any) -> Any:
    """The only table of a SpatialData; anything else as it is.

    Parameters
    ----------
    X : object
        What a user passed.

    Returns
    -------
    AnnData or object

    Raises
    ------
    ValueError
        If a SpatialData has no table, or several.

    Examples
    --------
    >>> from skst.inputs.tables import table_of
    >>> table_of([[1, 0], [2, 5]])
    [[1, 0], [2, 5]]
    """
    return X.tables[_name_of_table(X)] if is_spatialdata(X) else X


def tables_of(X: Any) -> Any:
    """The same of each item, where `X` is a list with a SpatialData in it."""
    if isinstance(X, (list, tuple)) and any(map(is_spatialdata, X)):
        return [table_of(item) for item in X]
    return table_of(X)


def _name_of_table(sdata):
    names = list(sdata.tables)
    if len(names) == 1:
        return names[0]
    if not names:
        raise ValueError(
            "The SpatialData has no table, and counts are read from one; make it, "
            "sdata.aggregate(values=POINTS, by=SHAPES, value_key=GENE)."
        )
    raise ValueError(f"The SpatialData has several tables, {names}; pass one, such as sdata.tables[{names[0]!r}].")


def check_placed(X: Any, spatial_key: str | None) -> None:
    """Raise if the table of a SpatialData does not say where its spots lie: its shapes do.

    Parameters
    ----------
    X : object
        What a user passed.
    spatial_key : str or None
        Key of ``obsm`` that is looked for; None if places are not needed.

    Raises
    ------
    ValueError
        If it is a SpatialData, and there is no such key.
    """
    if spatial_key is None or not is_spatialdata(X):
        return
    name = _name_of_table(X)
    table = X.tables[name]
    if spatial_key in table.obsm:
        return
    told = table.uns.get("spatialdata_attrs")
    told = told if isinstance(told, Mapping) else {}
    region = told.get("region")
    where = region if isinstance(region, str) else next(iter([] if region is None else region), None)
    shapes = "SHAPES" if where is None else f"sdata[{str(where)!r}]"
    matched = f"in the order of obs[{told['instance_key']!r}]" if "instance_key" in told else "in the order of its rows"
    raise ValueError(
        f"The table {name!r} of the SpatialData has no obsm[{spatial_key!r}]; put centroids there, "
        f"spatialdata.get_centroids({shapes}).compute(), {matched}, or pass coordinates=."
    )
