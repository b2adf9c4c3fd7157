"""Simulated tissue with known domains."""

import math
import os
from importlib import resources
from itertools import chain, islice
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial import cKDTree
from sklearn.utils import check_random_state, check_scalar

from skst.datasets._base import pack
from skst.datasets._written import FILE_FORMATS, write_slice
from skst.inputs.rows import is_anndata
from skst.inputs.types import Expression, RandomState

if TYPE_CHECKING:
    from anndata import AnnData

# What the summary of a gene says when it belongs to a programme; a gene joins the first that fits.
_THEMES = (
    "myelin|oligodendrocyte",
    "excitatory|glutamat|cortical layer",
    "T cell|natural killer|cytotoxic",
    "keratin|epitheli",
    "endotheli|blood vessel|pericyte",
    "microglia|macrophage|monocyte|neutrophil",
    "B cell|plasma cell|antibod|immunoglobulin",
    "pancrea|islet|insulin",
    "inhibitory|interneuron|GABA",
    "astrocyte",
    "airway|lung|mucus|mucin",
    "muscle|contract",
    "fibroblast|collagen",
    "cell cycle|division|mitosis|DNA",
)
_SPACING = 100.0  # micrometres between neighbours, as on a Visium slide
_CHUNK = 1 << 20  # matrix entries drawn at once; the result does not depend on it


def make_spatial_domains(
    n_samples: int = 1000,
    *,
    n_genes: int = 200,
    n_domains: int = 5,
    n_slices: int = 1,
    pattern: str = "layers",
    n_cell_types: int | None = None,
    depth: float = 300.0,
    zero_inflation: float = 0.1,
    dispersion: float = 0.5,
    effect: float = 2.5,
    random_state: RandomState = None,
    to: str | os.PathLike[str] | None = None,
    file_format: str = "h5ad",
) -> "AnnData | list[Path]":
    """Simulate counts of a tissue whose spatial domains are known.

    Every domain has a programme of marker genes that are `effect` times as abundant in it.  Programmes are
    made of real, functionally related genes (myelin, T cells, epithelium, ...), so that text about genes can
    tell them apart.  Each spot belongs to one domain, all spots of a domain share one expression profile, and
    counts are drawn from a zero-inflated negative binomial (ZINB).

    Parameters
    ----------
    n_samples : int, default=1000
        Number of spots of all slices together.
    n_genes : int, default=200
        Number of genes.  Beyond the bundled symbols, genes are called GENE00001 and so on.
    n_domains : int, default=5
        Number of domains; each is present in each slice.
    n_slices : int, default=1
        Number of slices.  They share the domains' profiles and differ in shape and, by a log-normal factor,
        in depth.
    pattern : {"layers", "rings", "patches"}, default="layers"
        Curved bands and wavy rings have equal numbers of spots; patches are Voronoi cells, three a domain.
    n_cell_types : int, default=None
        If given, each spot is a cell of one of these types, which have programmes of their own and are mixed
        in different shares in each domain (column "cell_type" of ``obs``).
    depth : float, default=300.0
        Median expected counts of a spot, before the factor of its slice.
    zero_inflation : float, default=0.1
        Probability, in [0, 1), that an entry is set to zero.
    dispersion : float, default=0.5
        Overdispersion phi of the negative binomial, at least 0; 0 gives the Poisson distribution.
    effect : float, default=2.5
        Fold change, at least 1, of the markers in their own domain or cell type; 1 leaves no signal.
    random_state : int, RandomState instance or None, default=None
        Makes the data reproducible.
    to : path-like, default=None
        Folder to write the slices to, one a file, of which one at a time is in memory; made if it is not there.
    file_format : {"h5ad", "zarr"}, default="h5ad"
        What is written there; a file of that name is replaced.

    Returns
    -------
    AnnData of shape (n_samples, n_genes), or list of Path
        With `to`, the files of the slices, which hold what the rows of the AnnData would.
        ``X`` counts (csr, float32); ``obs["label"]`` the domain, ``obs["batch"]`` the slice,
        ``obs["library_size"]`` the expected counts; ``obsm["spatial"]`` float64 in micrometres, on a jittered
        lattice of spacing 100; ``var["programme"]`` what a gene marks, "" for none; ``uns["truth"]`` the
        parameters and the profiles, an array of shape (n_domains, max(1, n_cell_types), n_genes) whose rows
        sum to 1.

    Raises
    ------
    ValueError
        If a parameter is out of range, or there are fewer spots or genes than domains need.

    Notes
    -----
    With library size :math:`L_i`, profile :math:`p`, zero inflation :math:`\\pi` and
    :math:`m_{ig} = L_i p_{ig} / (1 - \\pi)`, an entry has the mean :math:`L_i p_{ig}`, the variance
    :math:`(1 - \\pi)(m + \\phi m^2) + \\pi (1 - \\pi) m^2` and is zero with probability
    :math:`\\pi + (1 - \\pi)(1 + \\phi m)^{-1/\\phi}`.

    Examples
    --------
    >>> from skst.datasets import make_spatial_domains
    >>> adata = make_spatial_domains(300, n_slices=2, random_state=0)
    >>> adata.shape, adata.obs["label"].nunique(), adata.obs["batch"].nunique()
    ((300, 200), 5, 2)

    A tissue that need not fit into memory:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = make_spatial_domains(300, n_slices=2, random_state=0, to=folder)
    ...     [path.name for path in paths]
    ['slice1.h5ad', 'slice2.h5ad']
    """
    check_scalar(n_domains, "n_domains", Integral, min_val=1)
    check_scalar(n_slices, "n_slices", Integral, min_val=1)
    n_types = 0 if n_cell_types is None else check_scalar(n_cell_types, "n_cell_types", Integral, min_val=1)
    check_scalar(n_samples, "n_samples", Integral, min_val=n_domains * n_slices)
    check_scalar(n_genes, "n_genes", Integral, min_val=n_domains + n_types)
    check_scalar(depth, "depth", Real, min_val=0, include_boundaries="neither")
    check_scalar(zero_inflation, "zero_inflation", Real, min_val=0, max_val=1, include_boundaries="left")
    check_scalar(dispersion, "dispersion", Real, min_val=0)
    check_scalar(effect, "effect", Real, min_val=1)
    if pattern not in _FIELDS:
        raise ValueError(f"pattern={pattern!r} is not known; choose one of {', '.join(_FIELDS)}.")
    if file_format not in FILE_FORMATS:
        raise ValueError(f"file_format={file_format!r} is not known; choose one of {', '.join(FILE_FORMATS)}.")
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    # Streams of their own, so that an option of one part does not change what another part draws.
    layout, mixing, library, *counts = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(6))

    genes, programmes = _programmes(n_genes, n_domains + n_types)
    profiles = _profiles(genes, programmes, n_domains, n_types, effect, layout)
    shift = np.exp(library.normal(0, 0.3, n_slices)) if n_slices > 1 else np.ones(1)
    shares = mixing.dirichlet(np.full(n_types, 0.5), size=n_domains).cumsum(axis=1) if n_types else None
    states = profiles.reshape(-1, n_genes)

    def draw(number, n_spots):
        """Spots of one slice; each stream goes on where the slice before has left it."""
        spatial, domain = _tissue(n_spots, n_domains, pattern, layout)
        size = depth * shift[number] * np.exp(library.normal(0, 0.4, n_spots))
        cell_type = np.zeros(n_spots, dtype=np.intp)
        if shares is not None:
            cell_type = (mixing.random(n_spots)[:, None] > shares[domain]).sum(axis=1).clip(max=n_types - 1)
        X = _zinb(size, states, domain * profiles.shape[1] + cell_type, zero_inflation, dispersion, counts)
        return _Drawn(X, spatial, domain, np.full(n_spots, number), size, cell_type)

    marks = np.full(n_genes, "", dtype=object)
    names = [f"domain{d}" for d in range(1, n_domains + 1)] + [f"type{t}" for t in range(1, n_types + 1)]
    for name, members in zip(names, programmes, strict=True):
        marks[members] = name
    slice_names = [f"slice{s}" for s in range(1, n_slices + 1)]

    def packed(drawn, first):
        obs = {"batch": pd.Categorical.from_codes(drawn.batch, slice_names), "library_size": drawn.size}
        if n_types:
            obs["cell_type"] = pd.Categorical.from_codes(drawn.cell_type, names[n_domains:])
        adata = pack(
            drawn.X,
            genes=genes,
            label=np.asarray(names[:n_domains], dtype=object)[drawn.domain],
            spots=[f"spot{i}" for i in range(first + 1, first + len(drawn.size) + 1)],
            obs=obs,
            var={"programme": marks},
            spatial=drawn.spatial,
            source=f"simulated by skst.datasets.make_spatial_domains, pattern {pattern}",
            species="human",
        )
        adata.uns["truth"] = {
            "pattern": pattern,
            "depth": float(depth),
            "zero_inflation": float(zero_inflation),
            "dispersion": float(dispersion),
            "effect": float(effect),
            "slice_factors": shift,
            "profiles": profiles,
        }
        return adata

    sizes = [len(part) for part in np.array_split(np.arange(n_samples), n_slices)]
    drawn = (draw(number, n_spots) for number, n_spots in enumerate(sizes))
    if to is None:
        return packed(_Drawn.joined([*drawn]), 0)
    firsts = np.cumsum([0, *sizes])
    slices = (packed(one, first) for one, first in zip(drawn, firsts, strict=False))
    return [write_slice(one, to, name, file_format) for one, name in zip(slices, slice_names, strict=True)]


class _Drawn(NamedTuple):
    """What was drawn of some spots."""

    X: sparse.csr_matrix
    spatial: np.ndarray
    domain: np.ndarray
    batch: np.ndarray
    size: np.ndarray
    cell_type: np.ndarray

    @classmethod
    def joined(cls, parts):
        X, *rest = zip(*parts, strict=True)
        return cls(sparse.vstack(X, format="csr"), *map(np.concatenate, rest))


def mask_counts(X: Expression, fraction: float, *, random_state: RandomState = None) -> Expression:
    """Set a random share of the non-zero counts to zero, as SpaLLM does to imitate low quality.

    SpaLLM's levels Q1 to Q4 are the fractions 0.5, 0.75, 0.875 and 0.9375.

    Parameters
    ----------
    X : AnnData, ndarray, sparse matrix or sparse array of shape (n_spots, n_genes)
        Counts; never changed.  Of an AnnData only ``X`` is masked, its layers and ``raw`` are kept.
    fraction : float
        Share of the non-zero entries to remove, in [0, 1]; exactly ``round(fraction * n_nonzero)`` go.
    random_state : int, RandomState instance or None, default=None
        Makes the choice reproducible.

    Returns
    -------
    AnnData, ndarray, sparse matrix or sparse array
        A masked copy of the kind of `X`; of another sparse format than csr or csc, a csr.  A sparse result
        stores no zeros.

    Raises
    ------
    ValueError
        If `fraction` is outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from skst.datasets import mask_counts
    >>> int(np.count_nonzero(mask_counts(np.ones((10, 8)), 0.75, random_state=0)))
    20
    """
    check_scalar(fraction, "fraction", Real, min_val=0, max_val=1)
    if is_anndata(X):
        adata = X.copy()
        adata.X = mask_counts(X.X, fraction, random_state=random_state)
        return adata
    if not sparse.issparse(X):
        masked = np.array(X)
        kept = np.flatnonzero(masked)
        masked.flat[kept[_removed(len(kept), fraction, random_state)]] = 0
        return masked
    masked = X.copy() if X.format in ("csr", "csc") else X.tocsr(copy=True)
    masked.sum_duplicates()
    masked.eliminate_zeros()
    masked.data[_removed(masked.nnz, fraction, random_state)] = 0
    masked.eliminate_zeros()
    return masked


def _removed(n_nonzero, fraction, random_state):
    rng = check_random_state(random_state)
    return rng.permutation(n_nonzero)[: round(fraction * n_nonzero)]


def _programmes(n_genes, n_programmes):
    """Gene names, and the columns of each programme's markers (a third of all genes at most)."""
    path = resources.files("skst").joinpath("genes", "marker_descriptions.tsv")
    with path.open(encoding="utf-8") as lines:
        table = pd.read_csv(lines, sep="\t", keep_default_na=False)
    symbols, about = table["symbol"].to_numpy(dtype=object), table["name"] + " " + table["summary"]
    theme = np.full(len(symbols), -1)
    for number, words in enumerate(_THEMES):
        theme[(theme < 0) & about.str.contains(words).to_numpy()] = number
    others = iter([*symbols[theme < 0], *(f"GENE{i:05d}" for i in range(1, n_genes + 1))])
    size = max(1, n_genes // (3 * n_programmes))
    genes, programmes = [], []
    for number in range(n_programmes):
        members = [*symbols[theme == number][:size]]
        members += [next(others) for _ in range(size - len(members))]
        programmes.append(np.arange(len(genes), len(genes) + size))
        genes += members
    # The rest is background: related genes first, so that text about them is as real as text about the
    # markers.
    taken = set(genes)
    spare = (symbol for symbol in symbols[theme >= 0] if symbol not in taken)
    genes += islice(chain(spare, others), n_genes - len(genes))
    return np.asarray(genes, dtype=object), programmes


def _profiles(genes, programmes, n_domains, n_types, effect, rng):
    """Relative abundance, of shape (n_domains, max(1, n_types), n_genes)."""
    log_base = rng.normal(0, 1, len(genes))
    log_profiles = np.tile(log_base, (n_domains, max(1, n_types), 1))
    for number, members in enumerate(programmes):
        if number < n_domains:
            log_profiles[number, :, members] += math.log(effect)
        else:
            log_profiles[:, number - n_domains, members] += math.log(effect)
    profiles = np.exp(log_profiles)
    return profiles / profiles.sum(axis=2, keepdims=True)


def _tissue(n_spots, n_domains, pattern, rng):
    """Coordinates, in random order, and domain codes of one slice."""
    side = math.ceil(1.2 * math.sqrt(n_spots)) + 1
    row, column = np.divmod(np.arange(side * side), side)
    lattice = np.column_stack([column + 0.5 * (row % 2), row * math.sqrt(0.75)])  # hexagonal
    lattice -= lattice.mean(axis=0)
    # The outline of a tissue: the lattice points nearest the centre in the 4-norm, a square with round
    # corners.
    inside = np.argsort(np.power(lattice, 4).sum(axis=1), kind="stable")[:n_spots]
    places = lattice[rng.permutation(inside)] + rng.uniform(-0.2, 0.2, (n_spots, 2))
    domain = _FIELDS[pattern](places / np.abs(places).max(), n_domains, rng)
    return (places - places.min(axis=0)) * _SPACING, domain


def _layers(unit, n_domains, rng):
    phase, bend = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.25)
    return _equal_parts(unit[:, 1] + bend * np.sin(2.5 * unit[:, 0] + phase), n_domains)


def _rings(unit, n_domains, rng):
    offset = unit - rng.uniform(-0.15, 0.15, 2)
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    wave = 1 + 0.12 * np.sin(3 * angle + rng.uniform(0, 2 * np.pi))
    return _equal_parts(np.hypot(offset[:, 0], offset[:, 1]) * wave, n_domains)


def _patches(unit, n_domains, rng):
    n_seeds = min(3 * n_domains, len(unit))
    seeds = unit[rng.choice(len(unit), n_seeds, replace=False)]
    return cKDTree(seeds).query(unit)[1] % n_domains


def _equal_parts(field, n_domains):
    rank = np.empty(len(field), dtype=np.intp)
    rank[np.argsort(field, kind="stable")] = np.arange(len(field))
    return rank * n_domains // len(field)


_FIELDS = {"layers": _layers, "rings": _rings, "patches": _patches}


def _zinb(size, states, state, zero_inflation, dispersion, streams):
    """Draw counts a few rows at a time; each kind of draw reads a stream of its own, entry by entry."""
    gamma, poisson, uniform = streams
    step = max(1, _CHUNK // states.shape[1])
    chunks = []
    for start in range(0, len(size), step):
        rows = slice(start, start + step)
        mean = states[state[rows]] * (size[rows, None] / (1 - zero_inflation))
        if dispersion > 0:
            mean *= gamma.standard_gamma(1 / dispersion, mean.shape) * dispersion
        count = poisson.poisson(mean).astype(np.float32)
        if zero_inflation > 0:
            count[uniform.random(count.shape, dtype=np.float32) < zero_inflation] = 0
        chunks.append(sparse.csr_matrix(count))
    return sparse.vstack(chunks, format="csr")
