"""What parameters may be, in scikit-learn's words, and the containers that ``set_output`` asks for.

scikit-learn keeps these in private modules, and sklearn-compat does not pass them on.  They are imported here and
nowhere else, so that a release which moves them is followed in one place.
"""

from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils._set_output import _wrap_data_with_container as wrap_output

__all__ = ["HasMethods", "Interval", "StrOptions", "wrap_output"]
