"""Parameters that are objects with parameters of their own."""

from collections.abc import Callable
from typing import Any, Self

from sklearn.base import BaseEstimator


class Settings(BaseEstimator):
    """Parameters that belong together, with defaults of their own; checked by whoever is given them."""

    _parameter_constraints: dict = {}

    def check(self) -> Self:
        """Raise a ValueError if a parameter is out of range.

        Returns
        -------
        self
        """
        self._validate_params()
        return self


def or_new(make: Callable[[], Any]) -> Callable[[Any], Any]:
    """A function that leaves values as they are, but makes an object where there is None."""
    return lambda value: make() if value is None else value


class NestedParameters:
    """Reaches into parameters that are left at a short form, such as None or a name, as into objects.

    ``get_params`` tells ``network__lr`` and ``set_params`` sets it whether ``network`` is an object or not, so that a
    search over it needs no object.  A class says in ``_parts`` by which functions the values of parameters become
    objects; such a function leaves objects as they are.
    """

    def _parts(self):
        return {}

    def part(self, name: str) -> Any:
        """The object that a parameter stands for.

        Parameters
        ----------
        name : str
            Name of a parameter, such as "network".

        Returns
        -------
        object
            Its value, or what is meant by a short form such as None.
        """
        return self._parts()[name](getattr(self, name))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of this estimator.

        Parameters
        ----------
        deep : bool, default=True
            Whether to tell those of objects among them, too, under names such as ``network__lr``.

        Returns
        -------
        dict
        """
        params = super().get_params(deep=deep)  # type: ignore[misc]
        for name, made in self._made(params).items() if deep else ():
            params.update({f"{name}__{key}": value for key, value in made.get_params().items()})
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of objects among them by names such as ``network__lr``.

        Parameters
        ----------
        **params
            New values.

        Returns
        -------
        self
        """
        asked = {key.partition("__")[0] for key in params if "__" in key}
        values = {name: params.get(name, getattr(self, name)) for name in self._parts() if name in asked}
        return super().set_params(**params | self._made(values))  # type: ignore[misc]

    def _made(self, values):
        """Objects for those values that are none yet, but stand for one; `fit` says what is of no use."""
        found = {}
        for name, as_object in self._parts().items():
            if name not in values or hasattr(values[name], "get_params"):
                continue
            try:
                made = as_object(values[name])
            except (TypeError, ValueError):
                continue
            if hasattr(made, "get_params"):
                found[name] = made
        return found
