"""Torch modules that let a text vector of each spot act on its features.

All share one constructor, ``(n_features, n_semantic, n_out=None, *, ...)``, and one call,
``module(features, semantic)``, so that they can stand in for each other (SemST, Table 2).
"""

import torch
import torch.nn.functional as F
from torch import nn

from skst.nn.surroundings import linear_layer

# A hidden layer of few ReLUs can be dead from the start, and text then never acts.
_FEWEST_HIDDEN = 32


class _Fusion(nn.Module):
    """Sizes, the projection W, and the checks that all fusions share."""

    def __init__(self, n_features, n_semantic, n_out=None, *, n_projected=None, generator=None):
        super().__init__()
        n_out = n_features if n_out is None else n_out
        for name, size in {"n_features": n_features, "n_semantic": n_semantic, "n_out": n_out}.items():
            if size is None or size < 1:
                raise ValueError(f"{name}={size} is not a size; pass an integer of at least 1.")
        self.n_features = n_features
        self.n_semantic = n_semantic
        self.n_out = n_out
        self.project = linear_layer(
            n_features if n_projected is None else n_projected, n_out, bias=False, generator=generator
        )

    @torch.no_grad()
    def start_silent(self):
        """Begin with the first `n_out` features as the output: the text adds nothing until it is trained."""
        nn.init.zeros_(self.project.weight)
        nn.init.eye_(self.project.weight[:, : self.n_out])
        if (last := self._last_of_text()) is not None:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def without_text(self, features):
        """What the projection makes of the features alone, a tensor of shape (n_spots, n_out)."""
        return F.linear(features, self.project.weight[:, : self.n_features])

    def _last_of_text(self):
        """Linear layer through which text reaches the features; None where the projection alone decides that."""
        return None

    def _check(self, features, semantic):
        self._check_columns("features", features, self.n_features)
        self._check_columns("semantic", semantic, self.n_semantic)
        if len(features) != len(semantic):
            raise ValueError(
                f"semantic has {len(semantic)} rows but features have {len(features)}; give one text vector a spot."
            )

    def _check_columns(self, name, values, n_columns):
        if values is None or values.ndim != 2 or values.shape[1] != n_columns:
            found = None if values is None else f"of shape {tuple(values.shape)}"
            raise ValueError(
                f"{name} is {found} but {type(self).__name__} was built for {n_columns} columns; give a tensor of "
                f"shape (n_spots, {n_columns})."
            )


class SemanticModulation(_Fusion):
    r"""Fine-grained semantic modulation (FSM): text scales and shifts each feature of each spot.

    .. math:: (\alpha, \beta) = \mathrm{MLP}(T), \qquad Z = ((1 + \alpha) \odot H + \beta)\, W

    with H the features and T the text vectors of the spots (SemST, Sec. "Fine-grained semantic modulation").

    Parameters
    ----------
    n_features : int
        Columns of the features.
    n_semantic : int
        Columns of the text vectors.
    n_out : int, default=None
        Columns of the result; `n_features` by default.
    ratio : float, default=0.5
        Width of the last hidden layer of the MLP, as a multiple of `hidden`.
    hidden : int, default=None
        Width to which the text is compressed before the factors are made; half of `n_features` by default, and at
        least 32.
    generator : torch.Generator, default=None
        Draws the first weights, which are float32 and on its device then; by default torch's own generator and
        defaults.

    Attributes
    ----------
    mlp : torch.nn.Sequential
        Linear layers of n_semantic, n_semantic // 2, hidden, ratio * hidden and 2 * n_features columns.
    project : torch.nn.Linear
        W, without bias.

    Raises
    ------
    ValueError
        If a size is below 1, or `ratio` not positive.

    Notes
    -----
    The last layer of the MLP starts at zero, so that training begins with the features unmodulated (a deviation: the
    published code starts it at random).  Its other layers receive a gradient from the second step on.  W is a
    single matrix, as in the paper; the published code has a two-layer network in its place.

    References
    ----------
    .. [1] J. Long et al., "When genes speak: a semantic-guided framework for spatially resolved transcriptomics data
       clustering", arXiv:2511.11380.

    Examples
    --------
    Modulation as a layer of a classifier of one's own:

    >>> import torch
    >>> from skst.nn import SemanticModulation
    >>> class Classifier(torch.nn.Module):
    ...     def __init__(self, n_genes, n_text, n_classes):
    ...         super().__init__()
    ...         self.encode = torch.nn.Linear(n_genes, 16)
    ...         self.modulate = SemanticModulation(16, n_text, n_classes)
    ...
    ...     def forward(self, expression, text):
    ...         return self.modulate(self.encode(expression).relu(), text)
    >>> model = Classifier(n_genes=50, n_text=384, n_classes=4)
    >>> model(torch.randn(10, 50), torch.randn(10, 384)).shape
    torch.Size([10, 4])
    >>> alpha, beta = model.modulate.factors(torch.randn(10, 384))
    >>> alpha.shape, alpha.abs().max().item()
    (torch.Size([10, 16]), 0.0)
    """

    def __init__(self, n_features, n_semantic, n_out=None, *, ratio=0.5, hidden=None, generator=None):
        super().__init__(n_features, n_semantic, n_out, generator=generator)
        hidden = max(_FEWEST_HIDDEN, n_features // 2) if hidden is None else hidden
        if hidden < 1 or ratio <= 0:
            raise ValueError(f"hidden={hidden} and ratio={ratio} make an empty layer; both must be positive.")
        widths = n_semantic, max(1, n_semantic // 2), hidden, max(1, int(ratio * hidden)), 2 * n_features
        self.mlp = _mlp(*widths, generator=generator)
        nn.init.zeros_(self.mlp[-1].weight)
        nn.init.zeros_(self.mlp[-1].bias)

    def _last_of_text(self):
        return self.mlp[-1]

    def factors(self, semantic: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and shift of each feature of each spot.

        Parameters
        ----------
        semantic : Tensor of shape (n_spots, n_semantic)
            Text vectors.

        Returns
        -------
        alpha, beta : Tensor of shape (n_spots, n_features)
        """
        self._check_columns("semantic", semantic, self.n_semantic)
        return self.mlp(semantic).chunk(2, dim=1)

    def forward(self, features: torch.Tensor, semantic: torch.Tensor) -> torch.Tensor:
        """Modulate and project.

        Parameters
        ----------
        features : Tensor of shape (n_spots, n_features)
            Features of the spots.
        semantic : Tensor of shape (n_spots, n_semantic)
            Text vectors of the same spots.

        Returns
        -------
        Tensor of shape (n_spots, n_out)
        """
        self._check(features, semantic)
        alpha, beta = self.factors(semantic)
        return self.project((1 + alpha) * features + beta)


class SemanticConcatenation(_Fusion):
    """Compressed text beside the features, then a projection: ``[features, MLP(text)] W``.

    Parameters
    ----------
    n_features, n_semantic, n_out
        As in :class:`SemanticModulation`.
    hidden : int, default=None
        Columns to which the text is compressed; `n_features` by default.
    generator : torch.Generator, default=None
        As in :class:`SemanticModulation`.

    Raises
    ------
    ValueError
        If a size is below 1.

    Examples
    --------
    >>> import torch
    >>> from skst.nn import SemanticConcatenation
    >>> SemanticConcatenation(16, 384, 8)(torch.randn(5, 16), torch.randn(5, 384)).shape
    torch.Size([5, 8])
    """

    def __init__(self, n_features, n_semantic, n_out=None, *, hidden=None, generator=None):
        hidden = n_features if hidden is None else hidden
        if hidden < 1:
            raise ValueError(f"hidden={hidden} is not a size; pass an integer of at least 1.")
        super().__init__(n_features, n_semantic, n_out, n_projected=n_features + hidden, generator=generator)
        self.mlp = _mlp(n_semantic, max(1, n_semantic // 2), hidden, generator=generator)

    def forward(self, features: torch.Tensor, semantic: torch.Tensor) -> torch.Tensor:
        """Concatenate and project; parameters and result as in :meth:`SemanticModulation.forward`."""
        self._check(features, semantic)
        return self.project(torch.cat([features, self.mlp(semantic)], dim=1))


class SemanticAddition(_Fusion):
    """Text added to the features, then a projection: ``(features + MLP(text)) W``.

    Parameters
    ----------
    n_features, n_semantic, n_out, generator
        As in :class:`SemanticModulation`.

    Raises
    ------
    ValueError
        If a size is below 1.

    Examples
    --------
    >>> import torch
    >>> from skst.nn import SemanticAddition
    >>> SemanticAddition(16, 384, 8)(torch.randn(5, 16), torch.randn(5, 384)).shape
    torch.Size([5, 8])
    """

    def __init__(self, n_features, n_semantic, n_out=None, *, generator=None):
        super().__init__(n_features, n_semantic, n_out, generator=generator)
        self.mlp = _mlp(n_semantic, max(1, n_semantic // 2), n_features, generator=generator)

    def _last_of_text(self):
        return self.mlp[-1]

    def forward(self, features: torch.Tensor, semantic: torch.Tensor) -> torch.Tensor:
        """Add and project; parameters and result as in :meth:`SemanticModulation.forward`."""
        self._check(features, semantic)
        return self.project(features + self.mlp(semantic))


class SemanticCrossAttention(_Fusion):
    """Features that query the tokens of their spot's text: ``(features + attention) W``.

    Parameters
    ----------
    n_features, n_semantic, n_out
        As in :class:`SemanticModulation`.
    n_tokens : int, default=8
        Tokens into which a text vector is cut.
    n_heads : int, default=4
        Heads of the attention; the largest divisor of `n_features` that is not above it is used.
    generator : torch.Generator, default=None
        As in :class:`SemanticModulation`.

    Raises
    ------
    ValueError
        If a size is below 1.

    Notes
    -----
    A spot has one text vector, and a softmax over one token is constant.  The vector is therefore projected to
    `n_tokens` tokens of `n_features` columns, and the spot's features attend to these: each spot to its own text, so
    that time and memory are linear in the number of spots.

    Examples
    --------
    >>> import torch
    >>> from skst.nn import SemanticCrossAttention
    >>> SemanticCrossAttention(16, 384, 8)(torch.randn(5, 16), torch.randn(5, 384)).shape
    torch.Size([5, 8])
    """

    def __init__(self, n_features, n_semantic, n_out=None, *, n_tokens=8, n_heads=4, generator=None):
        super().__init__(n_features, n_semantic, n_out, generator=generator)
        if n_tokens < 1 or n_heads < 1:
            raise ValueError(f"n_tokens={n_tokens} and n_heads={n_heads}; both must be at least 1.")
        self.n_tokens = n_tokens
        self.n_heads = next(n for n in range(min(n_heads, n_features), 0, -1) if n_features % n == 0)
        self.tokens = linear_layer(n_semantic, n_tokens * n_features, generator=generator)
        self.query = linear_layer(n_features, n_features, generator=generator)
        self.key = linear_layer(n_features, n_features, generator=generator)
        self.value = linear_layer(n_features, n_features, generator=generator)

    def _last_of_text(self):
        return self.value

    def forward(self, features: torch.Tensor, semantic: torch.Tensor) -> torch.Tensor:
        """Attend and project; parameters and result as in :meth:`SemanticModulation.forward`."""
        self._check(features, semantic)
        tokens = self.tokens(semantic).unflatten(1, (self.n_tokens, self.n_features))
        query, key, value = (
            part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for part in (self.query(features)[:, None], self.key(tokens), self.value(tokens))
        )
        attended = F.scaled_dot_product_attention(query, key, value).flatten(1)
        return self.project(features + attended)


class NoSemantics(_Fusion):
    """Features projected as they are: ``features W``, whatever the text.

    Parameters
    ----------
    n_features, n_semantic, n_out, generator
        As in :class:`SemanticModulation`; `n_semantic` may be None.

    Raises
    ------
    ValueError
        If a size is below 1.

    Examples
    --------
    >>> import torch
    >>> from skst.nn import NoSemantics
    >>> NoSemantics(16, None, 8)(torch.randn(5, 16), None).shape
    torch.Size([5, 8])
    """

    def __init__(self, n_features, n_semantic=None, n_out=None, *, generator=None):
        super().__init__(n_features, 1 if n_semantic is None else n_semantic, n_out, generator=generator)

    def forward(self, features: torch.Tensor, semantic: torch.Tensor | None = None) -> torch.Tensor:
        """Project the features; `semantic` is ignored and may be None."""
        self._check_columns("features", features, self.n_features)
        return self.project(features)


FUSIONS = {
    "fsm": SemanticModulation,
    "concat": SemanticConcatenation,
    "add": SemanticAddition,
    "cross_attention": SemanticCrossAttention,
    None: NoSemantics,
}


def make_fusion(
    fusion: str | None,
    n_features: int,
    n_semantic: int,
    n_out: int | None = None,
    *,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """Build a fusion of features and text by name.

    Parameters
    ----------
    fusion : {"fsm", "concat", "add", "cross_attention", None}
        Modulation, concatenation, addition, cross-attention, or no text at all.
    n_features, n_semantic, n_out, generator
        As in :class:`SemanticModulation`.

    Returns
    -------
    torch.nn.Module
        Called with features (n_spots, n_features) and text vectors (n_spots, n_semantic).

    Raises
    ------
    ValueError
        If `fusion` is none of these.

    Examples
    --------
    >>> from skst.nn import make_fusion
    >>> type(make_fusion("fsm", 16, 384, 8)).__name__
    'SemanticModulation'
    """
    if fusion not in list(FUSIONS):  # a list asks for equality only, so that what cannot be hashed is named too
        raise ValueError(f"fusion={fusion!r} is unknown; choose one of {', '.join(map(repr, FUSIONS))}.")
    return FUSIONS[fusion](n_features, n_semantic, n_out, generator=generator)


def _mlp(*widths, generator):
    """Linear layers with a ReLU between each two."""
    layers = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [linear_layer(n_in, n_out, generator=generator), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
