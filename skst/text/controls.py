"""What takes the place of a gene's text, so that a claim about text can be tested.

Three controls: the texts of other genes ("permuted"), texts that are not about genes ("unrelated", from Table 2 of
SemST), and no text at all ("gaussian").  Unrelated texts are put together from the word lists below by a hash of the
gene's symbol, so they are the same in every session and data set.  The lists are versioned as templates are: a change
gets a new name.  No word of a name is a symbol or alias of a human or mouse gene, and the three words of a name take
about as many tokens as a symbol.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skst.genes.pseudowords import distinct_names

LOOKS_V1 = (
    "amber ancient bent blue broad bulky carved cheap chilly clean colourful crooked curved damp dark deep dented "
    "dull dusty empty faded fancy folded foreign framed fresh green handmade heavy hollow huge jagged long loose "
    "lost modern muddy narrow neat old orange painted patched plain polished purple ragged round rusty scratched "
    "shiny smooth soft spotless square striped sturdy tall thick wet wide worn wrinkled yellow"
).split()
"""How an everyday thing looks."""

STUFFS_V1 = (
    "bamboo brass brick bronze canvas cardboard carpet cement ceramic chalk china clay concrete copper cord cork "
    "cotton crystal denim enamel felt flannel foam glass gold granite gravel ivory jute lace leather linen marble "
    "metal nylon oak paper pewter pine plaster plastic plywood porcelain quartz rattan rope rubber satin silk silver "
    "slate stone straw suede teak tile tin velvet walnut wax wicker willow wood wool"
).split()
"""What an everyday thing is made of."""

THINGS_V1 = (
    "anchor apron armchair balcony barrel basket bell bench bicycle blanket bookshelf bottle bowl bridge broom "
    "bucket button candle carriage ceiling chimney cupboard curtain doorstep drawer envelope fence fireplace "
    "flagpole fountain gate glove hammer jacket kettle kite ladder lantern locomotive mailbox mirror mug necklace "
    "notebook paddle pillow pitcher rowboat saddle sailboat shovel spoon stool suitcase table teapot telescope tower "
    "trumpet umbrella violin wagon wheel windmill"
).split()
"""Things of the house, the street and the harbour."""

DEEDS_V1 = (
    "borrowed bought carried cleaned dropped forgot found lent mended noticed photographed returned sold stole "
    "washed wrapped"
).split()
"""What may be done to a thing."""

PEOPLE_V1 = (
    "actor baker barber bricklayer butcher captain carpenter clerk coachman cook dancer farmer fisherman gardener "
    "grocer guitarist hotelier innkeeper janitor juggler lawyer librarian lighthousekeeper mayor painter pianist "
    "plumber postman sailor shepherd tailor waiter"
).split()
"""By whom."""

PLACES_V1 = (
    "abbey airport alley attic bakery barn beach castle cellar church cottage ferry garage garden harbour hotel "
    "kitchen laundry library market meadow museum orchard park pier playground square stadium station theatre "
    "vineyard workshop"
).split()
"""Near what."""

TIMES_V1 = (
    "in a snowstorm,in a thunderstorm,in autumn,in early winter,in midwinter,in warm sunshine,late on Saturday,"
    "on Friday morning,on Monday evening,on Thursday afternoon,on a cloudy day,on a foggy day,on a public holiday,"
    "one long summer,one windy night,shortly before lunch"
).split(",")
"""When."""

UNRELATED_V1 = "The {person} {deed} the {look} {stuff} {thing} near the {place} {time}, beside another {other}."
"""What is said of a gene under "unrelated"; `other` is a second thing."""


def unrelated_text(symbol: str) -> str:
    """A sentence about everyday things that stands for a gene.

    Parameters
    ----------
    symbol : str
        Symbol of the gene.

    Returns
    -------
    str
        Chosen by the SHA-256 of `symbol` among 2**54 sentences (:data:`UNRELATED_V1`): the chance that any two of
        30,000 genes share one is below 1e-7.

    Examples
    --------
    >>> from skst.text.controls import unrelated_text
    >>> unrelated_text("SST") == unrelated_text("SST") != unrelated_text("VIP")
    True
    >>> "SST" in unrelated_text("SST")
    False
    """
    draw = _draws(symbol)
    return UNRELATED_V1.format(
        look=draw(LOOKS_V1),
        stuff=draw(STUFFS_V1),
        thing=draw(THINGS_V1),
        deed=draw(DEEDS_V1),
        person=draw(PEOPLE_V1),
        place=draw(PLACES_V1),
        time=draw(TIMES_V1),
        other=f"{draw(LOOKS_V1)} {draw(STUFFS_V1)} {draw(THINGS_V1)}",
    )


def unrelated_names(symbols: NDArray[np.object_]) -> NDArray[np.object_]:
    """Three everyday words in place of each gene symbol.

    There are 2**18 such names, so that a few of many thousand genes would share one; of these the later in the
    alphabet gets the next name that its hash gives.  All others have the same name in every data set.

    Parameters
    ----------
    symbols : ndarray of str of shape (n_genes,), dtype object
        Symbols; "" stays "".

    Returns
    -------
    ndarray of str of shape (n_genes,), dtype object
        Equal for equal symbols, distinct for distinct ones, in whatever order they come.

    Raises
    ------
    ValueError
        If there are more distinct symbols than half of the names.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.text.controls import unrelated_names
    >>> names = unrelated_names(np.array(["SST", "VIP", "", "SST"], dtype=object))
    >>> [len(name.split()) for name in names], bool(names[0] == names[3])
    ([3, 3, 0, 3], True)
    """
    n_distinct = len(set(symbols) - {""})
    n_names = len(LOOKS_V1) * len(STUFFS_V1) * len(THINGS_V1)
    if n_distinct > n_names // 2:
        raise ValueError(
            f"X has {n_distinct} distinct gene symbols but control='unrelated' has {n_names} names; drop genes."
        )
    return distinct_names(symbols, _everyday_name)


def _everyday_name(symbol, attempt):
    draw = _draws(symbol if attempt == 0 else f"{symbol}#{attempt}")
    return f"{draw(LOOKS_V1)} {draw(STUFFS_V1)} {draw(THINGS_V1)}"


def permuted_order(groups: Sequence[NDArray[np.bool_]], rng: np.random.RandomState) -> NDArray[np.integer]:
    """Which gene gets the text of which: a permutation that keeps to groups.

    Parameters
    ----------
    groups : sequence of ndarray of bool of shape (n_genes,)
        Disjoint groups; genes in none of them keep their text.
    rng : RandomState
        Source of the permutation.

    Returns
    -------
    ndarray of int of shape (n_genes,)
    """
    order = np.arange(len(groups[0]))
    for group in groups:
        order[group] = rng.permutation(order[group])
    return order


def gaussian_like(vectors: np.ndarray, rng: np.random.RandomState) -> NDArray[np.float64]:
    """Gaussian vectors of the shape and root mean square of `vectors`.

    Parameters
    ----------
    vectors : ndarray of shape (n_genes, d)
        The vectors to be replaced.
    rng : RandomState
        Source of the numbers.

    Returns
    -------
    ndarray of shape (n_genes, d), float64
    """
    return rng.standard_normal(vectors.shape) * np.sqrt(np.mean(np.square(vectors)))


def gaussian_of_texts(texts: Sequence[str], seed: int, d: int) -> NDArray[np.float32]:
    """A Gaussian vector for each text that depends on the text and `seed` alone, so that new spots get theirs too.

    Parameters
    ----------
    texts : list of str of length n_spots
        Equal texts get equal vectors.
    seed : int
        Seed, not negative.
    d : int
        Length of the vectors.

    Returns
    -------
    ndarray of shape (n_spots, d), float32
        Of about unit length.
    """
    rows = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    noise = np.empty((len(rows), d), dtype=np.float32)
    for text, i in rows.items():
        rng = np.random.default_rng([seed, int.from_bytes(_digest(text), "big")])
        noise[i] = rng.standard_normal(d) / np.sqrt(d)
    return noise[[rows[text] for text in texts]]


def _digest(text):
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _draws(symbol):
    """A function that takes one entry of a list after another, as the digits of the hash say."""
    digits = int.from_bytes(_digest(symbol), "big")

    def draw(words):
        nonlocal digits
        digits, place = divmod(digits, len(words))
        return words[place]

    return draw
