"""A tissue as the data of torch-geometric, and its graphs as ours."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse import csr_array

from skst.files.untrusted import check_sparse
from skst.graph.neighbors import GivenGraph, as_graph
from skst.inputs.rows import detached, match_rows, row_names
from skst.inputs.spots import Where, read_spots
from skst.inputs.types import Expression

if TYPE_CHECKING:
    from torch_geometric.data import Data


def to_pyg(
    X: Expression,
    coordinates: ArrayLike | None = None,
    *,
    features: ArrayLike | None = None,
    text: ArrayLike | None = None,
    graph: Any = "knn",
    batch: ArrayLike | None = None,
    per_slice: bool = False,
    layer: str | None = None,
    spatial_key: str = "spatial",
    batch_key: str | None = None,
    gene_names: ArrayLike | None = None,
) -> Any:
    """A tissue as ``torch_geometric.data.Data``, for networks of one's own.

    Parameters
    ----------
    X : AnnData, DataFrame, ndarray, sparse matrix or sparse array of shape (n_spots, n_genes)
        Expression, taken as it is: nothing is scaled.
    coordinates : array-like of shape (n_spots, 2) or (n_spots, 3), default=None
        Positions; by default ``X.obsm[spatial_key]``.
    features : array-like of shape (n_spots, n_features), default=None
        What the network reads in place of the expression, such as an embedding.
    text : array-like of shape (n_spots, n_text), default=None
        Text vectors of the spots, such as :class:`skst.GeneTextEncoder` makes.
    graph : {"knn", "delaunay"}, SpatialNeighbors, fitted SpatialGraphLearner or sparse matrix, default="knn"
        Who is whose neighbour; or any graph of shape (n_spots, n_spots), whose entry (i, j) is the weight of what spot
        i hears of spot j.
    batch : array-like of shape (n_spots,), default=None
        Slice of each spot; by default ``X.obs[batch_key]`` if there is a `batch_key`.
    per_slice : bool, default=False
        Whether to make a list, with the data of one slice each, in order of appearance.
    layer : str, default=None
        Layer of an AnnData to read in place of its ``X``.
    spatial_key, batch_key : str, default="spatial" and None
        Where an AnnData has positions and slices.
    gene_names : array-like of str of shape (n_genes,), default=None
        Names of the columns of an `X` that carries none.

    Returns
    -------
    torch_geometric.data.Data or list of it
        With these fields, those in brackets where they are known:

        - ``x``: `features` or the expression, dense, float32;
        - ``edge_index``: each edge from a neighbour to who hears it, sorted by the latter, int64;
        - (``edge_weight``): float32, if the graph has other weights than 1;
        - (``pos``): positions, float32;
        - (``text``): text vectors, float32;
        - (``batch``): codes of slices from 0, int64; not in a list, where the ``DataLoader`` of torch-geometric counts
          them;
        - ``n_id``: row of X of each spot, int64, which says what is whose in parts and lists;
        - (``spot_names``): list of str;
        - (``gene_names``): Index, if ``x`` is the expression.

    Raises
    ------
    ValueError
        If the graph needs coordinates and there are none, is no graph of these spots, or joins slices that are to
        be separate; if `features` or `text` are no finite numbers, one row a spot; or if X cannot be read.

    See Also
    --------
    from_pyg : The way back.
    skst.nn.SemanticModulation : Text as a layer beside those of torch-geometric.
    skst.partition.ConsensusMixture : Domains from what a network has learnt.

    Notes
    -----
    Time and memory are linear in spots and edges, but ``x`` is dense: 50,000 spots with 20,000 genes take 4 GB.  Choose
    genes, or pass `features`, where that is too much.

    Examples
    --------
    >>> from skst.datasets import make_spatial_domains
    >>> from skst.graph import to_pyg
    >>> adata = make_spatial_domains(300, random_state=0)
    >>> data = to_pyg(adata)
    >>> data.x.shape, data.pos.shape, data.is_undirected(), data.has_self_loops()
    (torch.Size([300, 200]), torch.Size([300, 2]), True, False)
    >>> from torch_geometric.nn import SAGEConv
    >>> SAGEConv(200, 16)(data.x, data.edge_index).shape
    torch.Size([300, 16])
    """
    # Before reading, which would no longer know the names of rows.
    features, text = match_rows(X, features=features, text=text)
    where = Where(layer, spatial_key, batch_key, gene_names, graph=graph, sliced=True)
    spots, _ = read_spots(X, where, coordinates=coordinates, batch=batch)
    n_spots = spots.X.shape[0]
    builder = graph if sparse.issparse(graph) else as_graph(graph)
    if isinstance(builder, GivenGraph):
        graph = builder.of(spots)
    elif hasattr(builder, "build"):
        if spots.coordinates is None:
            raise ValueError(f"graph={graph!r} needs coordinates and X has none; pass coordinates=, or a sparse graph.")
        graph = builder.build(spots.X, spots.coordinates, batch=spots.batch)
    else:
        graph = _given_graph(graph, n_spots)
    weighted = bool((graph.data != 1).any())
    fields = {"x": spots.X if features is None else _read_rows("features", features, n_spots)}
    if sparse.issparse(fields["x"]):
        fields["x"] = fields["x"].toarray()
    if spots.coordinates is not None:
        fields["pos"] = spots.coordinates.astype(np.float32)
    if text is not None:
        fields["text"] = _read_rows("text", text, n_spots)
    genes = None if features is not None or spots.genes is None else pd.Index(spots.genes)
    names = row_names(X)
    names = None if names is None else names.astype(str).to_numpy()
    if not per_slice:
        fields |= {} if spots.batch is None else {"batch": spots.batch.astype(np.int64)}
        return _data(np.arange(n_spots), graph, weighted, fields, names, genes)
    codes = np.zeros(n_spots, dtype=np.int64) if spots.batch is None else spots.batch
    ends = graph.tocoo()
    n_across = np.count_nonzero(codes[ends.row] != codes[ends.col])
    if n_across:
        raise ValueError(
            f"graph has {n_across} edges between slices, which per_slice=True would lose; leave them out, or use "
            "per_slice=False."
        )
    slices = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    return [_data(rows, graph[rows][:, rows], weighted, fields, names, genes) for rows in slices]


def _data(rows, graph, weighted, fields, names, genes):
    """Data of the spots in `rows`, among which is `graph`."""
    import torch
    from torch_geometric.data import Data

    # Rows hear columns, and torch-geometric lists who speaks first.
    heard = np.repeat(np.arange(len(rows)), np.diff(graph.indptr))
    edge_index = np.stack([graph.indices.astype(np.int64), heard])
    data = Data(edge_index=torch.from_numpy(edge_index), n_id=torch.from_numpy(rows))
    for name, values in fields.items():
        data[name] = torch.from_numpy(values[rows])
    if weighted:
        data.edge_weight = torch.from_numpy(graph.data)
    if names is not None:
        data.spot_names = names[rows].tolist()
    if genes is not None:
        # Neither list nor array, as torch-geometric takes those for values of spots if there are as many.
        data.gene_names = genes
    return data


def _given_graph(graph, n_spots):
    if not sparse.issparse(graph):
        raise ValueError(
            f"graph is of type {type(graph).__name__}; name a kind of graph, or pass a sparse matrix, such as graph_ "
            "of a fitted SpatialGraphLearner."
        )
    check_sparse(graph, "graph")
    if graph.shape != (n_spots, n_spots):
        raise ValueError(f"graph has shape {graph.shape} but X has {n_spots} rows; pass one of these spots.")
    graph = sparse.csr_array(graph, dtype=np.float32, copy=True)
    if not np.isfinite(graph.data).all():
        raise ValueError("graph has weights that are NaN or infinite; leave these edges out.")
    graph.sum_duplicates()
    graph.eliminate_zeros()
    return graph


def _read_rows(name, values, n_spots):
    """Vectors of the spots as float32."""
    values = values.toarray() if sparse.issparse(values) else detached(values)
    try:
        values = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"{name} holds something else than numbers; pass one vector a spot.") from None
    if values.ndim != 2 or len(values) != n_spots:
        raise ValueError(f"{name} has shape {values.shape} but X has {n_spots} rows; pass one vector a spot.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds values that are NaN or infinite; replace them or leave these spots out.")
    return values


def from_pyg(data: "Data") -> csr_array:
    """The graph of a ``torch_geometric.data.Data`` as those that skst makes: undirected, without loops.

    Parameters
    ----------
    data : torch_geometric.data.Data or Batch
        With ``edge_index``, and ``edge_weight`` if edges have weights, on any device.

    Returns
    -------
    csr_array of shape (n_spots, n_spots), float32
        Symmetric adjacency with an empty diagonal, of zeros and ones if there are no weights.  An edge either way joins
        two spots, with the larger weight of the two ways; weights of an edge that is listed twice add up.

    Raises
    ------
    ValueError
        If there is no ``edge_index``, it leads out of the spots, or weights are negative or not finite.

    See Also
    --------
    to_pyg : The way there.
    averaging_operator : Means over the neighbours in such a graph.

    Examples
    --------
    >>> import torch
    >>> from torch_geometric.data import Data
    >>> from skst.graph import from_pyg
    >>> data = Data(pos=torch.rand(3, 2), edge_index=torch.tensor([[0, 1, 1], [1, 0, 2]]))
    >>> from_pyg(data).toarray()
    array([[0., 1., 0.],
           [1., 0., 1.],
           [0., 1., 0.]], dtype=float32)
    """
    edge_index = detached(getattr(data, "edge_index", None))
    if edge_index is None:
        raise ValueError("data has no edge_index; pass a Data whose graph has not been made a matrix.")
    n_spots = data.num_nodes
    if edge_index.ndim != 2 or len(edge_index) != 2 or edge_index.dtype.kind not in "iu":
        raise ValueError(
            f"edge_index has shape {edge_index.shape} and dtype {edge_index.dtype}; give integers, one column an edge."
        )
    if edge_index.size and not 0 <= edge_index.min() <= edge_index.max() < n_spots:
        raise ValueError(
            f"edge_index has spots from {edge_index.min()} to {edge_index.max()}, but data has {n_spots}; number them "
            "from 0."
        )
    spoken, heard = edge_index
    weights = detached(getattr(data, "edge_weight", None))
    if weights is None:
        values = np.ones(len(heard), dtype=np.float32)
    else:
        values = np.asarray(weights, dtype=np.float32)
        if values.shape != heard.shape:
            raise ValueError(f"edge_weight has shape {values.shape} for {len(heard)} edges; give one number an edge.")
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError("edge_weight holds values that are negative, NaN or infinite; leave these edges out.")
    others = spoken != heard
    graph = sparse.coo_array((values[others], (heard[others], spoken[others])), shape=(n_spots, n_spots)).tocsr()
    graph.eliminate_zeros()
    if weights is None:
        graph.data[:] = 1.0
    return sparse.csr_array(graph.maximum(graph.T))
