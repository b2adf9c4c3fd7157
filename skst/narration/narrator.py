"""A tissue told as text: each spot, its neighbourhood and its region."""

import numbers
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse

from skst._constraints import Interval, StrOptions
from skst._parameters import Settings
from skst.expression.counts import library_sizes
from skst.expression.specificity import SpecificGenes
from skst.genes.pseudowords import pseudowords
from skst.inputs.types import Matrix
from skst.narration import phrases as wording
from skst.narration.inputs import read_tissue
from skst.narration.position import expression_axis, members_of_slices, tissue_depth
from skst.narration.regions import survey_regions
from skst.text.tokens import count_tokens

NAMES = ("symbol", "nonsense")
FEWEST_TOKENS = 60
"""Least budget of a text: below it there is no room for a gene beside the place of a spot."""

# Share of the spots, those least like their neighbours, of which is said how they differ, and by how many genes.
_UNLIKE, _N_DIFFERENCES = 0.25, 2
# Most other regions that the text of a neighbourhood names.
_N_OTHERS = 2
# Up to which depth, and distance from the middle of the axis, a step reaches.
_DEPTH_STEPS = (0.0, 0.35, 0.7)
_AXIS_STEPS = (0.3, 0.65)


class TissueNarrator(Settings):
    r"""Write about a tissue at three levels: a spot, its neighbourhood and its region.

    A gene is named where it is specific (see :class:`skst.expression.specificity.SpecificGenes`): its score is how far
    the square root of its share in the counts is above the mean of the slice, times the part of its variation that
    neighbouring spots have in common.  So genes that are high everywhere have no score, and noise has little.
    Neighbours share a gene if nearly all of them score; a gene marks a region if the mean score of its spots is three
    standard errors above the tissue.

    Places are told in few words on purpose, so that texts recur: how deep a spot lies below the outer edge of its
    slice (see :func:`skst.narration.position.tissue_depth`), and at which end of the direction along which its
    expression changes most, an end being called by the gene that marks it.

    Parameters
    ----------
    k_g : int, default=10
        Most genes named of a spot, and of its neighbours.
    n_markers : int, default=8
        Most genes named of a region.
    n_functions : int, default=3
        Of how many of them a text says what they do.
    max_tokens : int, default=200
        Most tokens of a text, estimated by :func:`skst.text.tokens.count_tokens`; at least 60.  What does
        not fit is left out: first what genes do, then genes, of each the least specific first.
    names : {"symbol", "nonsense"}, default="symbol"
        "nonsense" calls every gene by a word without meaning (:func:`skst.genes.pseudowords.pseudowords`) and says of
        none what it does: what such texts still tell apart is the pattern of their words, not biology.

    Attributes
    ----------
    regions_ : ndarray of shape (n_regions,)
        Codes of the regions in the order of :meth:`region_texts`, which is that of their numbers: largest first,
        whatever their codes.
    region_names_ : list of str of length n_regions
        What the texts call them.
    region_index_ : ndarray of int of shape (n_spots,)
        Region of each spot, as an index into `regions_`.
    depth_ : ndarray of shape (n_spots,), float64, or None
        Depth below the edge, from 0 to 1; None without coordinates.
    position_ : ndarray of shape (n_spots,), float64, or None
        Position along the axis of expression, from -1 to 1, its sign arbitrary; NaN in a slice without such an axis,
        None without coordinates.
    weights_ : Series of shape (n_named,), float64
        Weight of each gene that could be named, by symbol.

    See Also
    --------
    skst.genes.templates.cell_texts : Texts of spots without a place.

    Notes
    -----
    Texts do not depend on the order of spots and genes, on the total counts of a spot, on the codes of regions, or on
    where the tissue lies, how it is turned and in what unit it is measured.  Regions of the same size are numbered by
    depth, then by expression.

    Examples
    --------
    >>> import numpy as np
    >>> from skst.graph import spatial_graph
    >>> from skst.narration.narrator import TissueNarrator
    >>> x, y = np.repeat(np.arange(8), 8), np.tile(np.arange(8), 8)
    >>> coordinates, regions = np.column_stack([x, y]), (x > 3).astype(int)
    >>> counts = np.column_stack([1 + x, 8 - x])
    >>> symbols = np.array(["MBP", "SNAP25"], dtype=object)
    >>> functions = np.array(["myelin basic protein", "synaptosome associated protein 25"], dtype=object)
    >>> narrator = TissueNarrator().fit(
    ...     counts,
    ...     spatial_graph(coordinates),
    ...     regions,
    ...     symbols=symbols,
    ...     functions=functions,
    ...     coordinates=coordinates,
    ... )
    >>> narrator.spot_texts()[63]
    'This spot stands out by MBP (myelin basic protein). It lies at the edge of the tissue, at the end rich in MBP.'
    >>> narrator.neighborhood_texts()[0].split(". ")[1]
    'All its neighbours lie within region 1 (SNAP25).'
    >>> narrator.region_names_
    ['region 1 (SNAP25)', 'region 2 (MBP)']
    """

    _parameter_constraints = {
        "k_g": [Interval(numbers.Integral, 1, None, closed="left")],
        "n_markers": [Interval(numbers.Integral, 1, None, closed="left")],
        "n_functions": [Interval(numbers.Integral, 0, None, closed="left")],
        "max_tokens": [Interval(numbers.Integral, FEWEST_TOKENS, None, closed="left")],
        "names": [StrOptions(set(NAMES))],
    }

    def __init__(self, *, k_g=10, n_markers=8, n_functions=3, max_tokens=200, names="symbol"):
        self.k_g = k_g
        self.n_markers = n_markers
        self.n_functions = n_functions
        self.max_tokens = max_tokens
        self.names = names

    def fit(
        self,
        X: Matrix,
        graph: Matrix,
        regions: ArrayLike,
        *,
        symbols: ArrayLike,
        functions: ArrayLike | None = None,
        coordinates: ArrayLike | None = None,
        batch: ArrayLike | None = None,
    ) -> Self:
        """Find out what there is to tell.

        Parameters
        ----------
        X : ndarray, sparse matrix or sparse array of shape (n_spots, n_genes)
            Raw counts.
        graph : sparse matrix or sparse array of shape (n_spots, n_spots)
            Row i holds the neighbours of spot i; what is stored there but zeros and the diagonal is an edge.
        regions : array-like of int of shape (n_spots,)
            Community or domain of each spot.
        symbols : array-like of str of shape (n_genes,)
            What the genes are called; "" where that is not known.  Counts of genes of the same symbol are added.
        functions : array-like of str of shape (n_genes,), default=None
            What each gene does in a few words, such as its full name; "" where that is not known.
        coordinates : array-like of shape (n_spots, 2) or (n_spots, 3), default=None
            Positions; without them the texts leave out places.
        batch : array-like of shape (n_spots,), default=None
            Slice of each spot.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range, lengths differ, or values are negative or not finite.
        """
        self.check()
        X, edges, codes, symbols, functions, coordinates, slices = read_tissue(
            X, graph, regions, symbols, functions, coordinates, batch
        )
        self._counted = library_sizes(X) > 0
        genes = SpecificGenes(X, edges, symbols, slices)
        self.weights_ = pd.Series(genes.weights, index=genes.symbols, name="weight")
        self._phrases = self._phrases_of(genes.symbols, symbols, functions)
        self._locate(genes, coordinates, slices)
        self._regions, self.region_index_ = survey_regions(
            codes,
            edges,
            genes,
            self._phrases.names,
            self.n_markers,
            slices=slices,
            depth=self.depth_,
            depth_words=self._depth_words,
            end_words=self._end_words,
        )
        self.regions_ = np.array([region.code for region in self._regions])
        self.region_names_ = [region.name for region in self._regions]
        self._survey_spots(genes, edges)
        return self

    def spot_texts(self) -> list[str]:
        """The text of each spot: its most specific genes, and where it lies.

        Returns
        -------
        list of str of length n_spots
        """
        return [self._spot_text(i) for i in range(len(self._counted))]

    def neighborhood_texts(self) -> list[str]:
        """The text of the neighbourhood of each spot: what its neighbours share, their regions, how the spot differs.

        Only the quarter of the spots least like their neighbours is said to differ from them.

        Returns
        -------
        list of str of length n_spots
        """
        return [self._neighborhood_text(i) for i in range(len(self._counted))]

    def region_texts(self) -> list[str]:
        """The text of each region: its markers, size, shape and place, and the regions that it borders.

        Returns
        -------
        list of str of length n_regions
            In the order of `regions_`: ``region_texts()[region_index_[i]]`` is that of spot i.
        """
        return [self._region_text(region) for region in self._regions]

    def describe(self, i: int) -> str:
        """What is written about one spot, at all three levels.

        Parameters
        ----------
        i : int
            Its index; from the end, if negative.

        Returns
        -------
        str
            A paragraph a level, for people to read.

        Raises
        ------
        IndexError
            If there is no such spot.
        """
        i = range(len(self._counted))[i]
        levels = {
            "Spot": self._spot_text(i),
            "Neighbourhood": self._neighborhood_text(i),
            "Region": self._region_text(self._regions[self.region_index_[i]]),
        }
        return "\n\n".join(f"{level}\n{text}" for level, text in levels.items())

    def table(self) -> pd.DataFrame:
        """The regions as a table.

        Returns
        -------
        DataFrame
            One row a region, in the order of `regions_`: "region" (its code), "name", "n_spots", "share" (of the
            spots), "depth" (median of its spots; NaN without coordinates), "place", "shape", "markers" and
            "neighbors" (in words, and "" where there is nothing to tell).
        """
        return pd.DataFrame(
            {
                "region": self.regions_,
                "name": self.region_names_,
                "n_spots": [region.n_spots for region in self._regions],
                "share": [region.share for region in self._regions],
                "depth": [region.depth for region in self._regions],
                "place": [region.place for region in self._regions],
                "shape": [region.shape for region in self._regions],
                "markers": [", ".join(self._phrases.names[region.columns]) for region in self._regions],
                "neighbors": [", ".join(region.borders) for region in self._regions],
            }
        )

    def _phrases_of(self, named, symbols, functions):
        """What the genes that have a score are called."""
        if self.names == "nonsense":
            return wording.gene_phrases(pseudowords(named), np.full(len(named), "", dtype=object))
        # Genes called alike do the same, so any of their functions serves; the order of columns must not choose.
        known = dict(sorted(zip(symbols, functions, strict=True)))
        return wording.gene_phrases(named, np.array([known[symbol] for symbol in named], dtype=object))

    def _locate(self, genes, coordinates, slices):
        self.depth_ = self.position_ = self._depth_words = self._end_words = None
        if coordinates is None:
            return
        self.depth_ = tissue_depth(coordinates, batch=slices)
        self._depth_words = np.array(wording.DEPTHS_V1, dtype=object)[np.searchsorted(_DEPTH_STEPS, self.depth_)]
        self.position_ = np.full(len(coordinates), np.nan)
        self._end_words = np.full(len(coordinates), "", dtype=object)
        for members in members_of_slices(slices, len(slices)):
            axis = expression_axis(coordinates[members], genes.values[members], genes.weights)
            ends = [None, None] if axis is None else [axis.end_gene(sign, genes.weights) for sign in (-1, 1)]
            if ends != [None, None]:
                self.position_[members] = axis.along
                self._end_words[members] = self._words_along(axis.along, ends)

    def _words_along(self, along, ends):
        """Words for positions on an axis, of which one end has a gene or both have."""
        words = [wording.MIDDLE_V1]
        for gene, opposite in (ends, ends[::-1]):
            rich = gene is not None
            name = self._phrases.names[gene if rich else opposite]
            words += [
                template[0 if rich else 1].format(gene=name) for template in (wording.TOWARDS_END_V1, wording.AT_END_V1)
            ]
        step = np.searchsorted(_AXIS_STEPS, np.abs(along))
        return np.array(words, dtype=object)[np.where(step == 0, 0, step + 2 * (along > 0))]

    def _survey_spots(self, genes, edges):
        self._spot_genes = genes.of_spots(self.k_g)
        self._shared_genes, likeness = genes.of_neighbors(self.k_g)
        self._has_neighbors = np.diff(edges.indptr) > 0
        comparable = self._counted & self._has_neighbors
        likeness = np.round(likeness, 6)
        limit = np.quantile(likeness[comparable], _UNLIKE) if comparable.any() else 0.0
        unlike = np.flatnonzero(comparable & (likeness < limit))
        more, less = genes.differences(unlike, _N_DIFFERENCES)
        self._differences = dict(zip(unlike.tolist(), zip(more, less, strict=True), strict=True))
        n_spots = len(self._counted)
        members = sparse.csr_array((np.ones(n_spots), (np.arange(n_spots), self.region_index_)))
        around = sparse.csr_array(edges @ members)
        around.sort_indices()
        self._surroundings = [
            self._surroundings_of(own, around.indices[start:end], around.data[start:end])
            for own, start, end in zip(self.region_index_, around.indptr[:-1], around.indptr[1:], strict=True)
        ]

    def _surroundings_of(self, own, regions, numbers):
        """What is said of the regions of a spot and its neighbours."""
        name = self.region_names_[own]
        if len(regions) == 0:
            return wording.NEIGHBORHOOD_NONE_V1.format(region=name)
        foreign = regions != own
        if not foreign.any():
            return wording.NEIGHBORHOOD_WITHIN_V1.format(region=name)
        others = regions[foreign][np.argsort(-numbers[foreign], kind="stable")[:_N_OTHERS]]
        among = 2 * numbers[foreign].sum() > numbers.sum()
        template = wording.NEIGHBORHOOD_AMONG_V1 if among else wording.NEIGHBORHOOD_BORDER_V1
        return template.format(region=name, others=" and ".join(self.region_names_[other] for other in others))

    def _spot_text(self, i):
        return self._compose(
            wording.SPOT_GENES_V1,
            self._spot_genes[i],
            wording.SPOT_NO_GENE_V1 if self._counted[i] else wording.SPOT_EMPTY_V1,
            [wording.SPOT_PLACE_V1.format(place=place) for place in self._place_of(i)],
        )

    def _place_of(self, i):
        if self.depth_ is None:
            return []
        words = self._depth_words[i], self._end_words[i]
        return [", ".join(word for word in words if word)]

    def _neighborhood_text(self, i):
        return self._compose(
            wording.NEIGHBORHOOD_GENES_V1,
            self._shared_genes[i],
            wording.NEIGHBORHOOD_NO_GENE_V1 if self._has_neighbors[i] else "",
            [self._surroundings[i], self._unlike(i)],
        )

    def _unlike(self, i):
        rows = self._differences.get(i, ())
        more, less = (" and ".join(self._phrases.names[row[row >= 0]]) for row in rows) if rows else ("", "")
        return wording.NEIGHBORHOOD_UNLIKE_V1[bool(more), bool(less)].format(more=more, less=less)

    def _region_text(self, region):
        sentences = [
            wording.REGION_SHAPE_V1.format(share=wording.rounded_share(region.share), shape=region.shape),
            wording.REGION_PLACE_V1.format(place=region.place) if region.place else "",
            wording.REGION_BORDERS_V1.format(others=wording.enumerated(region.borders))
            if region.borders
            else wording.REGION_ALONE_V1,
        ]
        return self._compose(wording.REGION_GENES_V1, region.columns, wording.REGION_NO_GENE_V1, sentences)

    def _compose(self, template, columns, without_genes, sentences):
        """A sentence about genes, or one that says that there are none, and after it what else there is to say."""
        rest = wording.joined(sentences, self.max_tokens)
        room = self.max_tokens - count_tokens(rest)
        columns = columns[columns >= 0]
        if len(columns):
            genes = wording.listing(template, columns, self._phrases, self.n_functions, room)
        else:
            genes = wording.joined([without_genes], room)
        return f"{genes} {rest}".strip()
