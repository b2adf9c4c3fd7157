"""The regions of a tissue in few words: how large, where, of what shape, marked by what and next to whom."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from skst.expression.specificity import SpecificGenes
from skst.narration import phrases as wording

# Least share of a border that is called only, mostly, partly, slightly.
_BORDER_STEPS = (0.95, 0.5, 0.2, 0.05)
# Least share of a region in one piece, and of neighbours of its spots that are its own for it to be in patches.
_ONE_PIECE, _PATCHES = 0.8, 0.5


class Region(NamedTuple):
    """What is told of one region.

    Attributes
    ----------
    code : object
        Its code, as it was given.
    name : str
        What texts call it.
    n_spots : int
        Number of its spots.
    share : float
        Of the spots of the tissue.
    depth : float
        Median depth of its spots; NaN where that is not known.
    place, shape : str
        In words; "" where the place is not known.
    columns : ndarray of int
        Genes that mark it, most specific first.
    borders : list of str
        The regions that it borders, longest border first, with a word for how much.
    """

    code: object
    name: str
    n_spots: int
    share: float
    depth: float
    place: str
    shape: str
    columns: np.ndarray
    borders: list[str]


def survey_regions(
    codes: np.ndarray,
    edges: csr_array,
    genes: SpecificGenes,
    gene_names: NDArray[np.object_],
    n_markers: int,
    *,
    slices: NDArray[np.integer],
    depth: NDArray[np.float64] | None = None,
    depth_words: NDArray[np.object_] | None = None,
    end_words: NDArray[np.object_] | None = None,
) -> tuple[list[Region], NDArray[np.integer]]:
    """Put regions in an order that does not depend on their codes, and find out what there is to tell of them.

    Parameters
    ----------
    codes : ndarray of shape (n_spots,)
        Region of each spot.
    edges : csr_array of shape (n_spots, n_spots)
        Ones where spots (rows) have neighbours (columns).
    genes : SpecificGenes
        Scores of the genes.
    gene_names : ndarray of str of shape (n_genes,), dtype object
        What texts call them.
    n_markers : int
        Most genes that mark a region.
    slices : ndarray of int of shape (n_spots,)
        Slice of each spot.
    depth : ndarray of shape (n_spots,), default=None
        Depth of each spot.
    depth_words, end_words : ndarray of str of shape (n_spots,), dtype object, default=None
        Where spots lie; None where that is not known, "" in `end_words` for spots of a slice without an axis.

    Returns
    -------
    regions : list of Region
        Largest first; equally large ones by their mean depth, then by their expression, and at last by their codes.
    index : ndarray of int of shape (n_spots,)
        Region of each spot, as an index into `regions`.
    """
    codes, index = np.unique(codes, return_inverse=True)
    n_spots = np.bincount(index)
    columns, heights = genes.of_regions(_membership(index), n_markers)
    table = pd.DataFrame({"region": index, "depth": np.nan if depth is None else depth})
    depths = table.groupby("region")["depth"].median().to_numpy()
    mean_depths = np.nan_to_num(table.groupby("region")["depth"].mean().to_numpy().round(9))
    order = np.lexsort((heights, mean_depths, -n_spots))
    index = np.argsort(order)[index]
    codes, n_spots, columns, depths = codes[order], n_spots[order], columns[order], depths[order]
    columns = [row[row >= 0] for row in columns]
    names = _names(columns, gene_names)
    members = _membership(index)
    spots = np.split(members.indices, members.indptr[1:-1])
    contacts = sparse.csr_array(members @ edges @ members.T)
    contacts.sort_indices()
    shapes = _shapes(index, edges, slices, contacts)
    return [
        Region(
            code=codes[i],
            name=names[i],
            n_spots=int(n_spots[i]),
            share=n_spots[i] / len(index),
            depth=depths[i],
            place=_place(spots[i], depth_words, end_words),
            shape=shapes[i],
            columns=columns[i],
            borders=_borders(i, contacts, names),
        )
        for i in range(len(codes))
    ], index


def _membership(index):
    n_spots = len(index)
    return sparse.csr_array((np.ones(n_spots), (index, np.arange(n_spots))), shape=(index.max(initial=-1) + 1, n_spots))


def _names(columns, gene_names):
    """Each region by its number and the first of its markers that no larger region is called by."""
    names, taken = [], set()
    for number, markers in enumerate(columns, 1):
        if len(markers) == 0:
            names.append(wording.REGION_NAME_V1[0].format(number=number))
            continue
        marker = next((column for column in markers if column not in taken), markers[0])
        taken.add(marker)
        names.append(wording.REGION_NAME_V1[1].format(number=number, gene=gene_names[marker]))
    return names


def _place(members, depth_words, end_words):
    if depth_words is None:
        return ""
    depth = _most_common(depth_words[members]) or wording.EVERY_DEPTH_V1
    end = _most_common(end_words[members])
    return f"{depth}, {end}" if end else depth


def _most_common(words):
    """What is said of at least half of the spots, else ""."""
    distinct, numbers = np.unique(words.astype(str), return_counts=True)
    return str(distinct[np.argmax(numbers)]) if 2 * numbers.max() >= len(words) else ""


def _shapes(index, edges, slices, contacts):
    edges = edges.tocoo()
    own = index[edges.row] == index[edges.col]
    inner = sparse.coo_array((edges.data[own], (edges.row[own], edges.col[own])), shape=edges.shape)
    spots = pd.DataFrame({"region": index, "slice": slices, "piece": connected_components(inner, directed=False)[1]})
    pieces = spots.groupby(["region", "slice", "piece"]).size()
    largest = pieces.groupby(["region", "slice"]).max().groupby("region").sum().to_numpy()
    in_one = largest >= _ONE_PIECE * np.bincount(index)
    in_patches = contacts.diagonal() >= _PATCHES * contacts.sum(axis=1)
    return [
        wording.SHAPES_V1[0 if one else 1 if patches else 2] for one, patches in zip(in_one, in_patches, strict=True)
    ]


def _borders(i, contacts, names):
    row = slice(*contacts.indptr[i : i + 2])
    outward = contacts.indices[row] != i
    others, shares = contacts.indices[row][outward], contacts.data[row][outward]
    shares = shares / max(shares.sum(), 1)
    words = []
    for k in np.argsort(-shares, kind="stable"):
        step = next((step for step, least in enumerate(_BORDER_STEPS) if shares[k] >= least), None)
        if step is not None:
            words.append(wording.BORDERS_V1[step].format(region=names[others[k]]))
    return words
