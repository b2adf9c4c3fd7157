"""Fitting a transformer to slices that are read one at a time, and embedding such slices."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import check_random_state

from skst.embedding.methods import make_axes
from skst.embedding.panels import check_slices
from skst.embedding.sliced import Passes, TextAxes
from skst.expression.in_place import InPlace
from skst.expression.views import AveragedViews
from skst.graph.neighbors import SpatialNeighbors, as_graph
from skst.graph.operators import setting_of, warn_if_alike
from skst.inputs.counting import check_range
from skst.inputs.places import warn_of_degrees, warn_of_places
from skst.inputs.slices import Slices


class SlicedViews(NamedTuple):
    """Embeddings of the spots of slices, in the order of the rows of X.

    Attributes
    ----------
    structure : ndarray of shape (n_spots, n_columns), float32
        By expression.
    meaning : ndarray of shape (n_spots, n_text), float32, or None
        By text, on its own axes and of unit total variance.
    text_axes : TextAxes or None
    sizes : ndarray of shape (n_spots,) or None
        Library sizes; not of slices that nothing was fitted to.
    marks : list of str or None
        What tells each slice from others; likewise.
    from_memory : bool
        Whether all scores were kept from an earlier fit.
    """

    structure: NDArray[np.float32]
    meaning: NDArray[np.float32] | None
    text_axes: TextAxes | None = None
    sizes: NDArray[np.float64] | None = None
    marks: list[str] | None = None
    from_memory: bool = False


def reads_whole(transformer: Any) -> str | None:
    """What keeps a :class:`~skst.SpatialGraphTransformer` from reading one slice at a time; None if nothing does."""
    if transformer.method not in ("smooth", "views"):
        return f"method={transformer.method!r}"
    if transformer.semantic is not None:
        return "semantic="
    if transformer.use_rep is not None:
        return f"use_rep={transformer.use_rep!r}"
    if transformer.spatial_weight < 1:
        return f"spatial_weight={transformer.spatial_weight}"
    graph = as_graph(transformer.graph)
    return None if isinstance(graph, SpatialNeighbors) else f"graph={transformer.graph!r}"


def views_read_whole(spatial: Any, text: Any) -> str | None:
    """The same of such a transformer and of one of text, which may be None, side by side."""
    for part in (spatial, text) if text is not None else (spatial,):
        given = {name for name, value in part.get_params(deep=False).items() if value is not None}
        if elsewhere := {"layer", "gene_names"} & given:
            return f"{min(elsewhere)}= of {type(part).__name__}"
    if text is not None and getattr(text, "mode", None) != "aggregate":
        return f"text={text!r}"
    return reads_whole(spatial)


def fit_slices(
    transformer: Any, slices: Slices, *, text: Any = None, memory: Any = None, verbose: int = 0
) -> SlicedViews:
    """Fit a transformer to slices, and an encoder of text beside it.

    Parameters
    ----------
    transformer : SpatialGraphTransformer
        Of which :func:`reads_whole` is None; all that its own ``fit`` sets is set but ``embedding_``.
    slices : Slices
    text : GeneTextEncoder, default=None
        In mode "aggregate"; fitted, too.
    memory : joblib.Memory, default=None
        Keeps what is found in each slice.
    verbose : int, default=0
        Whether there are bars of progress.

    Returns
    -------
    SlicedViews
    """
    places, batch = slices.spots()[2:4]
    told = warn_of_places(places, batch)  # type: ignore[arg-type]
    settings = {name: getattr(transformer, name) for name in ("n_hops", "n_top_genes", "normalize")}
    graph, pca = clone(as_graph(transformer.graph)), make_axes(transformer.method, transformer.n_components, **settings)
    passes = Passes(slices, graph, pca, memory=memory, verbose=verbose)
    weighing = None if text is None else (text.weighting, text.normalize)
    seen, sums = passes.look(weighing)
    if not told:
        warn_of_degrees(passes.faults, places, batch, setting_of(graph))  # type: ignore[arg-type]
    del places, batch
    fix = f"pass raw counts, or set normalize=False of {type(transformer).__name__} to use X as it is"
    if transformer.normalize:
        check_range(seen.lowest.min(), seen.highest.max(), seen.fractions, lambda: fix)
    warn_if_alike(np.stack([seen.lowest, seen.highest]), slices.n_spots)
    maker = None
    if text is not None and sums is not None:
        text.learn_sums(slices.genes, seen.counts, sums.mean, sums.variance)
        maker = text.gene_sums() if text.has_text_ else None
    text_axes = passes.find_axes(maker, transformer.n_components)
    structure, meaning = passes.scores(text_axes)
    if isinstance(pca, AveragedViews):
        pca.learn_scales(structure)
    transformer.graph_, transformer.encoder_ = graph, None
    transformer.n_pool_, transformer.hop_weights_ = pca.n_pool_, pca.hop_weights_
    transformer.components_ = pca.components(slices.n_genes)
    transformer.n_views_ = getattr(pca, "n_views_", 1)
    transformer.semantic_ = transformer.modulation_ = transformer.history_ = None
    transformer._pca, transformer._head = pca, None
    transformer._in_place = InPlace(1.0, transformer.n_components)
    transformer.n_passes_ = passes.n_passes
    structure = pca.settle(structure)
    transformer.n_components_ = structure.shape[1]
    rng = check_random_state(transformer.random_state)
    structure = transformer._fit_batches(structure, slices.spots().batch, rng)
    return SlicedViews(structure, meaning, text_axes, seen.sizes, passes.marks, passes.from_memory)


def embed_slices(
    transformer: Any, slices: Slices, *, text_axes: TextAxes | None = None, verbose: int = 0
) -> SlicedViews:
    """Embed slices by what a transformer was fitted to, one at a time.

    Parameters
    ----------
    transformer : SpatialGraphTransformer
        Fitted to slices or to a whole.
    slices : Slices
    text_axes : TextAxes, default=None
        Where text is wanted, too.
    verbose : int, default=0
        Whether there is a bar of progress.

    Returns
    -------
    SlicedViews
    """
    check_slices(transformer._pca, slices.slices)
    passes = Passes(slices, transformer.graph_, transformer._pca, verbose=verbose)
    structure, meaning = passes.scores(text_axes)
    structure = transformer._without_batches(transformer._pca.settle(structure), slices.spots().batch)
    return SlicedViews(structure, meaning)
