"""Where half the precision is several times as fast."""

import re
from functools import cache
from pathlib import Path

_FLAGS = Path("/proc/cpuinfo")


@cache
def has_tiles() -> bool:
    """Whether the processor multiplies matrices in bfloat16 by instructions of its own (AMX), as torch does with them.

    Asked of Linux and not of torch, which need not be loaded where all vectors are kept.  Processors that know bfloat16
    without tiles gain little, and are not meant.

    Examples
    --------
    >>> from skst.text.precision import has_tiles
    >>> has_tiles() in (True, False)
    True
    """
    try:
        return re.search(r"^flags\b.*\bamx_bf16\b", _FLAGS.read_text(), flags=re.M) is not None
    except OSError:
        return False
