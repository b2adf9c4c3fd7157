"""Networks that come out the same whatever else a session does with torch, and leave it as it was.

Modes and a default device belong to a thread, and :func:`skst._modes.undisturbed` puts them aside.  The default dtype
and the global random state belong to all threads and can be neither trusted nor changed: what networks are made of
names its dtype, and each network is drawn by a generator of its own.
"""

import math
from typing import Any

import torch
from torch import nn


def options(generator: torch.Generator | None) -> dict[str, Any]:
    """What parameters that `generator` draws are made with, as keywords.

    Parameters
    ----------
    generator : torch.Generator or None
        None leaves everything to torch's defaults, as modules that stand alone do.

    Returns
    -------
    dict
        "dtype", which is float32, and "device"; empty for None.
    """
    return {} if generator is None else {"dtype": torch.float32, "device": generator.device}


def linear_layer(n_in: int, n_out: int, *, bias: bool = True, generator: torch.Generator | None = None) -> nn.Linear:
    """A linear layer with the start that torch gives it, from a generator of one's own.

    Parameters
    ----------
    n_in, n_out : int
        Columns of the input and of the output.
    bias : bool, default=True
        Whether a constant is added to each column.
    generator : torch.Generator, default=None
        Draws the parameters, which are float32 then; by default torch's own.

    Returns
    -------
    torch.nn.Linear

    Examples
    --------
    >>> import torch
    >>> from skst.nn.surroundings import linear_layer
    >>> first, again = (linear_layer(3, 2, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    >>> torch.equal(first.weight, again.weight)
    True
    """
    if generator is None:
        return nn.Linear(n_in, n_out, bias=bias)
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out, bias=bias, **options(generator))
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    if bias:
        bound = 1 / math.sqrt(n_in)
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer
