"""What parameters may be, in scikit-learn's words.

scikit-learn keeps these in a private module, and sklearn-compat does not pass them on.  They are imported here and
nowhere else, so that a release which moves them is followed in one place.
"""

from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

__all__ = ["HasMethods", "Interval", "StrOptions"]
