"""What is written about places in a tissue: a spot, its neighbourhood and its region.

Every template is a versioned constant.  A change of wording changes the vectors, so it gets a new name
instead of a new value, and vectors cached for the old wording stay valid.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skst.text.tokens import count_tokens

SPOT_GENES_V1 = "This spot stands out by {genes}."
"""The genes that a spot has more of than its tissue, most specific first."""

SPOT_PLACE_V1 = "It lies {place}."
"""Where a spot lies; see :data:`DEPTHS_V1` and the constants that follow it."""

SPOT_NO_GENE_V1 = "No gene stands out in this spot."
"""A spot that has more of no gene than its tissue."""

SPOT_EMPTY_V1 = "No gene is counted in this spot."
"""A spot without a single count."""

NEIGHBORHOOD_GENES_V1 = "The neighbours of this spot share {genes}."
"""The genes of which all neighbours have much."""

NEIGHBORHOOD_NO_GENE_V1 = "The neighbours of this spot share no gene that stands out."
"""Neighbours without such a gene."""

NEIGHBORHOOD_NONE_V1 = "This spot has no neighbours and belongs to {region}."
"""An isolated spot."""

NEIGHBORHOOD_UNLIKE_V1 = {
    (True, True): "Unlike its neighbours, the spot is high in {more} and low in {less}.",
    (True, False): "Unlike its neighbours, the spot is high in {more}.",
    (False, False): "",
    (False, True): "Unlike its neighbours, the spot is low in {less}.",
}
"""How a spot differs from its neighbours, by whether it has genes that they lack and the other way round."""

NEIGHBORHOOD_WITHIN_V1 = "All its neighbours lie within {region}."
"""A spot whose neighbours are of its own region."""

NEIGHBORHOOD_BORDER_V1 = "The spot belongs to {region} and borders {others}."
"""A spot of whose neighbours at least half are of its own region."""

NEIGHBORHOOD_AMONG_V1 = "The spot belongs to {region} but lies among spots of {others}."
"""A spot of whose neighbours fewer than half are of its own region."""

REGION_GENES_V1 = "This region of the tissue is marked by {genes}."
"""The genes that a region has more of than the tissue, most specific first."""

REGION_NO_GENE_V1 = "No gene marks this region of the tissue."
"""A region that has more of no gene than the tissue."""

REGION_SHAPE_V1 = "It takes up {share} of the tissue, {shape}."
"""Size and shape of a region."""

REGION_PLACE_V1 = "It lies {place}."
"""Where the spots of a region lie."""

REGION_BORDERS_V1 = "It borders {others}."
"""The regions that a region touches, longest border first."""

REGION_ALONE_V1 = "It borders no other region."
"""A region that touches no other."""

SHAPES_V1 = ("in one piece", "in several patches", "scattered")
"""Shapes of a region: one piece holds most of it, most neighbours of its spots are its own, or neither."""

BORDERS_V1 = ("only {region}", "mostly {region}", "partly {region}", "slightly {region}")
"""Parts of the border of a region: nearly all, at least a half, at least a fifth, at least a twentieth."""

REGION_NAME_V1 = ("region {number}", "region {number} ({gene})")
"""What a region is called, without and with a gene that marks it."""

DEPTHS_V1 = ("at the edge of the tissue", "just below the edge", "midway to the core", "deep inside the tissue")
"""Steps of depth."""

EVERY_DEPTH_V1 = "at all depths"
"""A region of which no step of depth holds half."""

MIDDLE_V1 = "half-way between the ends"
"""The middle of the axis along which expression changes most."""

TOWARDS_END_V1 = ("towards the end rich in {gene}", "towards the end poor in {gene}")
"""Between the middle and an end; the second where only the other end has a gene."""

AT_END_V1 = ("at the end rich in {gene}", "at the end poor in {gene}")
"""At an end."""


class GenePhrases(NamedTuple):
    """What genes are called in a listing, alone and with what they do.

    Attributes
    ----------
    names, explained : ndarray of str of shape (n_genes,), dtype object
        "MBP", and "MBP (myelin basic protein)"; equal where it is not known what the gene does.
    name_tokens, explained_tokens : ndarray of int of shape (n_genes,)
        Their lengths, a comma included.
    """

    names: np.ndarray
    explained: np.ndarray
    name_tokens: np.ndarray
    explained_tokens: np.ndarray


def gene_phrases(names: NDArray[np.object_], functions: NDArray[np.object_]) -> GenePhrases:
    """Phrases for genes.

    Parameters
    ----------
    names, functions : ndarray of str of shape (n_genes,), dtype object
        What each gene is called, and what it does; "" where that is not known.

    Returns
    -------
    GenePhrases

    Examples
    --------
    >>> import numpy as np
    >>> from skst.narration.phrases import gene_phrases
    >>> genes = np.array(["MBP", "C1orf1"], dtype=object), np.array(["myelin basic protein.", ""], dtype=object)
    >>> gene_phrases(*genes).explained.tolist()
    ['MBP (myelin basic protein)', 'C1orf1']
    """
    functions = [" ".join(function.split()).rstrip(" .") for function in functions]
    explained = [f"{name} ({does})" if does else name for name, does in zip(names, functions, strict=True)]
    return GenePhrases(
        np.asarray(names, dtype=object),
        np.array(explained, dtype=object),
        np.array([count_tokens(name) + 1 for name in names], dtype=np.int64),
        np.array([count_tokens(phrase) + 1 for phrase in explained], dtype=np.int64),
    )


def listing(
    template: str, columns: Sequence[int] | NDArray[np.integer], phrases: GenePhrases, n_explained: int, max_tokens: int
) -> str:
    """A sentence that lists as many genes as fit, the first of them with what they do.

    What fits is found by leaving out first what the last genes do, then the last genes.

    Parameters
    ----------
    template : str
        The sentence, with ``{genes}`` in it.
    columns : sequence of int
        The genes, most specific first.
    phrases : GenePhrases
        What all genes are called.
    n_explained : int
        Most genes of which to say what they do.
    max_tokens : int
        Most tokens of the sentence, by :func:`count_tokens`.

    Returns
    -------
    str
        "" if not even one gene fits.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.narration.phrases import SPOT_GENES_V1, gene_phrases, listing
    >>> names = np.array(["MBP", "PLP1"], dtype=object)
    >>> phrases = gene_phrases(names, np.array(["myelin basic protein", "proteolipid protein 1"], dtype=object))
    >>> listing(SPOT_GENES_V1, [0, 1], phrases, 2, 40)
    'This spot stands out by MBP (myelin basic protein), PLP1 (proteolipid protein 1).'
    >>> listing(SPOT_GENES_V1, [0, 1], phrases, 2, 30)
    'This spot stands out by MBP (myelin basic protein), PLP1.'
    """
    room = max_tokens - count_tokens(template.format(genes=""))
    needed = sum(phrases.name_tokens[column] for column in columns)
    n_named = len(columns)
    while n_named and needed > room:
        n_named -= 1
        needed -= phrases.name_tokens[columns[n_named]]
    n_told = 0
    for column in columns[: n_explained if n_named == len(columns) else 0]:
        needed += phrases.explained_tokens[column] - phrases.name_tokens[column]
        if needed > room:
            break
        n_told += 1
    if n_named == 0:
        return ""
    named = [*phrases.explained[columns[:n_told]], *phrases.names[columns[n_told:n_named]]]
    return template.format(genes=", ".join(named))


def joined(sentences: Iterable[str], max_tokens: int) -> str:
    """The sentences that fit, earlier ones first served.

    Parameters
    ----------
    sentences : iterable of str
        Sentences; "" is left out.
    max_tokens : int
        Most tokens, by :func:`count_tokens`.

    Returns
    -------
    str

    Examples
    --------
    >>> from skst.narration.phrases import joined
    >>> joined(["It lies midway.", "", "It borders region 2."], 100)
    'It lies midway. It borders region 2.'
    """
    kept, room = [], max_tokens
    for sentence in sentences:
        tokens = count_tokens(sentence)
        if sentence and tokens <= room:
            kept.append(sentence)
            room -= tokens
    return " ".join(kept)


def enumerated(items: Sequence[str]) -> str:
    """Items of a sentence: "a", "a and b", "a, b and c"."""
    *head, last = items
    return f"{', '.join(head)} and {last}" if head else last


def rounded_share(share: float) -> str:
    """A share in few words: to 5 % above 7.5 %, to 1 % below.

    Parameters
    ----------
    share : float
        From 0 to 1.

    Returns
    -------
    str

    Examples
    --------
    >>> from skst.narration.phrases import rounded_share
    >>> [rounded_share(share) for share in (1, 0.62, 0.031, 0.0004)]
    ['all', 'about 60%', 'about 3%', 'less than 1%']
    """
    if share >= 1:
        return "all"
    percent = 100 * share
    if percent < 1:
        return "less than 1%"
    return f"about {5 * round(percent / 5) if percent > 7.5 else round(percent)}%"
