"""What clusters are: one name each from markers and text, as deep as both go, with how sure it is."""

import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit

from skst.inspection.annotation import _by_cluster, _fold, _specific
from skst.inspection.cell_types import _EVERYWHERE, _check_columns, _within, load_cell_types
from skst.inspection.evidence import overlap, posterior, standardised
from skst.inspection.text_scores import text_scores
from skst.inspection.type_tree import TypeTree


class Weights(NamedTuple):
    """What each source counts for, in log-odds."""

    # The signed root of the overlap; the same of the type above, as a share of it; and an SD of the likeness of texts.
    overlap: float = 2.0
    inherited: float = 0.4
    text: float = 0.5


WEIGHTS = Weights()
# Intercept, and weights of the `features` of a name; fitted by ``python -m benchmarks naming``.
CALIBRATION = (-3.56, 0.97, 4.56)
# Markers hardly tell a tumour from the tissue that it comes from, which is the likelier of the two.
_TUMOUR = -1.0
# A kind that shares none of the markers that it has beside those of its broader types says no more than they do.
_NOTHING_OWN = -1.0
# Genes of each cluster that are read, and how many are told.
_N_READ, _N_TOLD = 20, 10


def annotate(
    markers: pd.DataFrame,
    table: pd.DataFrame | None = None,
    *,
    text: Any = "lexical",
    species: str | Sequence[str] | None = None,
    tissue: str | Sequence[str] | None = None,
    kind: Literal["cell", "domain"] = "cell",
    min_confidence: float = 0.35,
    background: ArrayLike | None = None,
    descriptions: Any = None,
) -> pd.DataFrame:
    r"""Name each cluster, by its markers and by what is written about its genes, and say how sure the name is.

    Names come from a tree of types and are as deep as the evidence goes: where two kinds of T cell are as likely, the
    name is "T cell".  A cluster that neither source tells apart is left without a name.

    Parameters
    ----------
    markers : DataFrame
        Genes of each cluster as from :func:`marker_genes`: columns "cluster" and "gene", in order of importance.  With
        its columns "score", "fraction_in" and "fraction_out" they are first put in order of specificity, as by
        :func:`annotate_by_markers`.
    table : DataFrame, default=None
        Known types, by default those of :func:`load_cell_types`: "cell_type" with "markers", parted by ``|``, or with
        "gene", one a row (and "sign": rows of "-" are not used); and, where there are any, "parent", "description",
        "tissue" and "species".  Genes are compared without regard to case, so that human symbols serve for mouse.
    text : None, str, object or TextModel, default="lexical"
        What reads the descriptions of genes and types: "lexical", which compares words and needs no model, any other
        model of :class:`~skst.GeneTextEncoder`, or None to go by markers alone, which is quickest.
    species, tissue : str or list of str, default=None
        Use only types of these; types of tissue "any" stay.
    kind : {"cell", "domain"}, default="cell"
        Name types of cells, or domains of tissue such as layers and parts of a tumour.  It chooses among the types of
        the package.
    min_confidence : float, default=0.35
        Leave clusters without a name whose best one is less sure than this.
    background : array-like of str, default=None
        Names of all genes that were measured; by default ``markers.attrs["genes"]``, else the genes of `markers` and
        `table`.
    descriptions : DataFrame, str, path-like or GeneDescriptions, default=None
        Whose genes they are and what is said of them, as in :class:`~skst.GeneTextEncoder`.

    Returns
    -------
    DataFrame
        One row a cluster (the index): "cell_type" (None if unknown), "confidence" (the chance that the name is true,
        or, without a name, that the best one would have been), "runner_up" (the likeliest name that is neither a kind
        of the first nor broader; without a name the one that was withheld, None if nothing speaks for any), "genes"
        (those of the cluster that speak for the name, the most specific first, separated by commas), "broader" (the
        type of which the name is a kind), and the first choice of each source alone: "by_markers" and "by_text".

    Raises
    ------
    ValueError
        If columns are missing, a number is out of range, no type is left, none of its genes was measured, or a type is
        among its own parents.

    Warns
    -----
    UserWarning
        If no gene of `markers` is a marker of any type, as where genes are called by other names than in `table`.

    See Also
    --------
    annotate_by_markers, annotate_by_text : Each source alone, with its numbers.

    Notes
    -----
    **Markers.**  Genes of a cluster count :math:`w = 1 / (1 + r / h)` by their rank r, with h = 20 or a tenth of the
    genes measured, whichever is less.  For a type with k known markers that sum up to s, :math:`I = \max_t\, (t s - k
    \log \overline{e^{t w}})` bounds minus the logarithm of the chance of such a sum from k genes drawn blindly; with
    weights of 0 and 1 it would be close to the hypergeometric score of :func:`annotate_by_markers`.  It is negative for
    a sum below the expected one.  Its signed root counts 2, plus 0.4 times that of the strongest broader
    type if it is positive for the markers that no broader type has; if not, 1 is taken off.

    **Text.**  The cosine of :func:`annotate_by_text`, in standard deviations from its mean over types, counts 0.5; less
    if fewer than 20 genes have a text.

    **Tissue.**  Unless `tissue` is given, types of tissues that the other clusters are not from lose up to log 20.

    **Tumours.**  Of two types that fit as well, a tumour is less likely than the tissue that it comes from, by 1.

    The sum is a log-odds.  From the top of the tree the name goes down as long as one kind has half of the chance of
    the type that it is a kind of.

    **Confidence** is :math:`1 / (1 + e^{-(a + b x + c y)})`, with x the log-odds of the name and y the root of the
    largest I of its kinds, over that of one marker at the top of the list.  Its three numbers were fitted to 63
    clusters of four labelled data sets and, at two fifths of the weight, as many of shuffled genes.
    ``python -m benchmarks naming`` fits them again, and scores them on data sets that they were not fitted to.  A name
    that is broader than the truth counts as true.  It is an average over such data, and knows nothing of types that the
    table lacks.

    Examples
    --------
    >>> import pandas as pd
    >>> from skst.inspection import annotate
    >>> listed = {0: ["CD3D", "CD3E", "TRAC", "CD2", "IL7R"], 1: ["MBP", "PLP1", "MOG", "MAG"], 2: ["ACTB", "MALAT1"]}
    >>> markers = pd.DataFrame([(c, gene) for c, of in listed.items() for gene in of], columns=["cluster", "gene"])
    >>> found = annotate(markers, text=None)
    >>> found["cell_type"].tolist()
    ['T cell', 'oligodendrocyte', None]
    """
    least: Any = min_confidence
    if not isinstance(least, Real) or not 0 <= float(least) <= 1:
        raise ValueError(f"min_confidence={min_confidence!r} is not within 0 and 1; give a probability.")
    seen = gather(markers, table, text, species, tissue, kind, background, descriptions)
    chances, settled = settle(seen, WEIGHTS)
    names, rows = seen.names, []
    for number, (of, (place, chance, relative)) in enumerate(zip(seen.found.values(), settled, strict=True)):
        shared, likeness = seen.shared[number], seen.likeness[number]
        told = shared.max() > 0 or likeness.any()
        confidence = confidence_of(chance, relative) if told else 0.0
        named = told and confidence >= min_confidence
        within, broader = seen.tree.within[:, place], seen.tree.parent[place]
        other = np.where(seen.tree.apart(place), chances[number], 0)
        second = names[np.argmax(other)] if other.any() else None
        speak = seen.known[place] | seen.known[np.argmax(np.where(within, chances[number], -1))]
        rows.append(
            {
                "cell_type": names[place] if named else None,
                "confidence": confidence,
                "runner_up": second if named else names[place] if told else None,
                "genes": ", ".join(of.loc[of["folded"].isin(speak), "gene"].astype(str)[:_N_TOLD]) if told else "",
                "broader": names[broader] if named and broader >= 0 else None,
                "by_markers": names[np.argmax(shared)] if shared.max() > 0 else None,
                "by_text": names[np.argmax(likeness)] if likeness.any() else None,
            }
        )
    return _by_cluster(rows, seen.found)


class Gathered(NamedTuple):
    """What there is to weigh."""

    # Cluster -> its genes; type -> those of its markers that were measured.
    found: dict
    known: list
    names: np.ndarray
    tree: TypeTree
    # Of clusters (rows) and types (columns).
    shared: np.ndarray
    likeness: np.ndarray
    # Whether a type shares a marker beyond those of its broader types; and what it is less likely to begin with.
    own: np.ndarray
    handicap: np.ndarray
    # Of types: where they are found, if that counts.
    tissues: np.ndarray | None
    n_measured: int


def gather(markers, table, text, species, tissue, kind, background=None, descriptions=None):
    """What speaks for each type in each cluster."""
    parents, types = _types(table, species, tissue, kind)
    tree = TypeTree(parents, types.index)
    found = {cluster: of.assign(folded=_fold(of["gene"])) for cluster, of in _specific(markers).items()}
    found = {cluster: of.drop_duplicates("folded") for cluster, of in found.items()}
    if not found:
        raise ValueError("markers has no rows; pass what marker_genes gives, with one gene of a cluster or more.")
    if isinstance(background, str):
        raise ValueError(f"background={background!r} is one text; give the names of all genes that were measured.")
    if background is None:
        background = markers.attrs.get("genes", [*types["genes"].explode(), *markers["gene"]])
    measured = set(_fold(pd.Series(background, dtype=object)))
    known = [set(_fold(pd.Series(of, dtype=object))) & measured for of in types["genes"]]
    if not any(known):
        raise ValueError("table has no gene that was measured; give markers and background by symbols, as in table.")
    listed = [[gene for gene in of["folded"] if gene in measured] for of in found.values()]
    if not set().union(*known) & set().union(*listed):
        warnings.warn(
            "No gene of markers is a marker of any type in table, which has symbols such as "
            f"{types['genes'].explode().iloc[0]!r}; give the genes by such names.",
            UserWarning,
            stacklevel=3,
        )
    shared = overlap(listed, known, len(measured))
    read = text is not None and "description" in types
    likeness = _likeness(found, types, text, descriptions) if read else np.zeros_like(shared)
    own = (overlap(listed, tree.own(known), len(measured)) > 0) | (shared <= 0) | (tree.parent < 0)
    handicap = np.where(own, 0.0, _NOTHING_OWN)
    tissues = None
    if tissue is None and "tissue" in types:
        tissues = _tissues(types["tissue"])
        if kind == "cell":
            named = types["tissue"].fillna("").astype(str).str.casefold().str.split("|")
            handicap[:, named.map(lambda of: "tumour" in of)] += _TUMOUR
    names = types.index.to_numpy(dtype=object)
    return Gathered(found, known, names, tree, shared, likeness, own, handicap, tissues, len(measured))


def settle(seen, weights):
    """Chances of the types, and for each cluster the place of its name, the chance of that and the relative overlap."""
    root = np.sign(seen.shared) * np.sqrt(np.abs(seen.shared))
    inherited = weights.inherited * np.where(seen.own, seen.tree.above(root), 0)
    energy = weights.overlap * (root + inherited) + weights.text * seen.likeness
    chances = posterior(energy + seen.handicap, seen.tissues)
    # That of one marker at the top of the list is 1.
    relative = root / np.sqrt(np.log(max(seen.n_measured, 3)))
    settled = []
    for chance, overlaps in zip(chances, relative, strict=True):
        place, total = seen.tree.settle(chance)
        settled.append((place, total, overlaps[seen.tree.within[:, place]].max()))
    return chances, settled


def features(chance, relative):
    """What confidence is made of: the log-odds of the name, and the relative overlap."""
    odds = np.log(np.maximum(chance, 1e-9)) - np.log(np.maximum(1 - chance, 1e-9))
    return np.clip(odds, -5, 5), np.clip(relative, 0, 1.5)


def confidence_of(chance, relative, calibration=CALIBRATION):
    """How sure a name is."""
    odds, overlaps = features(chance, relative)
    return expit(calibration[0] + calibration[1] * odds + calibration[2] * overlaps)


def _types(table, species, tissue, kind):
    """The broader type of each in the whole table, and the types that can be named, with the genes of each."""
    if table is None:
        table = load_cell_types(kind=kind)
    _check_columns(table, "table", ("cell_type",))
    # What pandas reads as categories would be neither compared nor joined as text.
    table = table.astype({name: object for name in table if isinstance(table[name].dtype, pd.CategoricalDtype)})
    if "markers" in table:
        for given in table["markers"].dropna():
            if not isinstance(given, str):
                raise ValueError(
                    f"table holds markers of type {type(given).__name__}; give one text a type, 'CD3D|CD3E'."
                )
        table = table.assign(genes=table["markers"].str.split("|"))
    else:
        _check_columns(table, "table", ("cell_type", "gene"))
        if "sign" in table:
            table = table[table["sign"] != "-"]
    parents = dict(zip(table["cell_type"], table["parent"].fillna(""), strict=True)) if "parent" in table else {}
    table = _within(_within(table, "species", species), "tissue", tissue)
    if "genes" not in table:
        genes = table.groupby("cell_type")["gene"].agg(list)
        table = table.drop_duplicates("cell_type").assign(genes=lambda types: types["cell_type"].map(genes))
    if table["cell_type"].duplicated().any():
        twice = table.loc[table["cell_type"].duplicated(), "cell_type"].iloc[0]
        raise ValueError(f"table has {twice!r} twice; give each type one row, or one row for each of its genes.")
    # By name, so that the order of a table decides no tie.
    return parents, table.sort_values("cell_type", kind="stable").set_index("cell_type", drop=False)


def _tissues(column):
    """For each type and tissue whether it is found there."""
    of = column.fillna(_EVERYWHERE).astype(str).str.casefold().str.get_dummies("|").astype(bool)
    everywhere = of.pop(_EVERYWHERE).to_numpy() if _EVERYWHERE in of else np.zeros(len(of), dtype=bool)
    return of.to_numpy() | everywhere[:, None] if of.shape[1] else None


def _likeness(found, types, text, descriptions):
    with warnings.catch_warnings():
        # Genes without a text are no fault here: the markers speak for them.
        warnings.simplefilter("ignore", UserWarning)
        scores, read = text_scores(found, types, _N_READ, text, descriptions)
    return standardised(scores, [len(of) for of in read], _N_READ)
