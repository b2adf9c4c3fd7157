"""What parameters and arguments may be, and the containers that ``set_output`` asks for.

scikit-learn keeps its words for it in private modules, and sklearn-compat does not pass them on.  They are imported
here and nowhere else, so that a release which moves them is followed in one place.
"""

from numbers import Integral
from typing import Any

from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils._set_output import _wrap_data_with_container as wrap_output

__all__ = ["HasMethods", "Interval", "StrOptions", "check_integer", "is_integer", "wrap_output"]


def is_integer(value: Any, least: int) -> bool:
    """Whether `value` is an integer of at least `least`; True and False are none."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= least


def check_integer(name: str, value: Any, least: int) -> None:
    """Raise a ValueError that names the argument if `value` is no integer of at least `least`."""
    if not is_integer(value, least):
        raise ValueError(f"{name}={value!r} is not an integer of at least {least}; give one.")
