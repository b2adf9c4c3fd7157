"""Whether the parameters of a GeneTextEncoder are of use."""

import os
from numbers import Integral, Real

from skst.genes.ranking import K_RULES

_CHOICES = {
    "mode": ("aggregate", "sentence", "prompt", "dual"),
    "text": ("symbol", "name", "summary", "card"),
    "weighting": ("contrast", "abundance"),
    "control": (None, "permuted", "unrelated", "gaussian"),
    "species": ("auto", "human", "mouse"),
    "on_missing": ("warn", "error"),
}
# The least of each number, and what else it may be.
_NUMBERS = {"k_g": (1, K_RULES), "max_texts": (10, (None,)), "n_top_genes": (1, (None,))}


def check_settings(encoder):
    """Raise what is wrong with the parameters of an encoder.

    Parameters
    ----------
    encoder : GeneTextEncoder

    Raises
    ------
    ValueError
        If a parameter has a value that it cannot have, alone or beside another.
    """
    for name, choices in _CHOICES.items():
        value = getattr(encoder, name)
        if value is not None and not isinstance(value, str) or value not in choices:
            raise ValueError(f"{name}={value!r} is not one of {choices}.")
    for name, (least, others) in _NUMBERS.items():
        value = getattr(encoder, name)
        whole = isinstance(value, Integral) and not isinstance(value, bool) and value >= least
        if not whole and not ((value is None or isinstance(value, str)) and value in others):
            raise ValueError(
                f"{name}={value!r} is not a positive integer from {least} on, nor one of {others}; give one."
            )
    if isinstance(encoder.normalize, str):  # "no" would count as true
        raise ValueError(f"normalize={encoder.normalize!r} is neither True nor False; give one of these.")
    if not isinstance(encoder.cache, (bool, str, os.PathLike)) and encoder.cache is not None:
        raise ValueError(f"cache={encoder.cache!r} is neither True nor False nor a directory; give one of these.")
    if not isinstance(encoder.omega, Real) or not 0 <= encoder.omega <= 1:
        raise ValueError(f"omega={encoder.omega!r} is not a number from 0 to 1.")
    if encoder.vectors is not None and encoder.mode in ("sentence", "prompt"):
        raise ValueError(
            f"vectors are given but mode={encoder.mode!r} uses no gene vectors; use mode='aggregate' or "
            "'dual', or leave vectors out."
        )
    if encoder.vectors is not None and encoder.control == "unrelated":
        raise ValueError(
            "vectors are given but control='unrelated' replaces texts, of which there are none; use "
            "control='permuted' or 'gaussian', or leave vectors out."
        )
