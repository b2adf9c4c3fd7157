"""Tissues as data of torch-geometric and back, and modulation beside its convolutions."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.metrics import adjusted_rand_score
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader, RandomNodeLoader
from torch_geometric.nn import GCNConv, SAGEConv

from skst.datasets import make_spatial_domains
from skst.graph import averaging_operator, from_pyg, spatial_graph, to_pyg
from skst.nn import SemanticModulation
from skst.partition import ConsensusMixture


@pytest.fixture(scope="module")
def adata():
    """Two slices, with their spots in any order."""
    found = make_spatial_domains(240, n_genes=60, n_slices=2, n_domains=3, depth=1000, random_state=0)
    return found[np.random.default_rng(0).permutation(found.n_obs)].copy()


@pytest.fixture(scope="module")
def text(adata):
    return np.random.default_rng(0).normal(size=(adata.n_obs, 7)).astype(np.float32)


def _same(first, second):
    return first.shape == second.shape and abs(first - second).sum() == 0


def test_fields_hold_the_tissue(adata, text):
    data = to_pyg(adata, text=text, batch_key="batch")
    data.validate(raise_on_error=True)
    np.testing.assert_array_equal(data.x, adata.X.toarray())
    np.testing.assert_allclose(data.pos, adata.obsm["spatial"], rtol=1e-6)
    np.testing.assert_array_equal(data.text, text)
    assert data.spot_names == list(adata.obs_names) and list(data.gene_names) == list(adata.var_names)
    assert (pd.factorize(adata.obs["batch"])[0] == data.batch.numpy()).all()
    assert "edge_weight" not in data
    assert _same(from_pyg(data), spatial_graph(adata.obsm["spatial"], batch=adata.obs["batch"].to_numpy()))
    assert {data.x.dtype, data.pos.dtype, data.text.dtype} == {torch.float32}


def test_features_take_the_place_of_expression_and_gene_names(adata, text):
    data = to_pyg(adata, features=torch.from_numpy(text).requires_grad_())
    np.testing.assert_array_equal(data.x, text)
    assert "gene_names" not in data and not data.x.requires_grad


def test_the_data_share_no_memory_with_what_they_were_made_of(text):
    X, given = np.ones((5, 2), dtype=np.float32), text[:5].copy()
    graph = sparse.csr_array(np.eye(5, k=1, dtype=np.float32) * 2)
    data = to_pyg(X, features=given, text=given, graph=graph)
    for values in (data.x, data.text, data.edge_weight):
        values += 1
    assert (given == text[:5]).all() and (X == 1).all() and (graph.data == 2).all()


def test_messages_go_as_the_matrix_says():
    """Also where what spots hear of each other differs."""
    graph = sparse.random_array((30, 30), density=0.2, random_state=np.random.default_rng(0), dtype=np.float32)
    x = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    data = to_pyg(x, graph=graph)
    layer = GCNConv(4, 4, add_self_loops=False, normalize=False, bias=False)
    torch.nn.init.eye_(layer.lin.weight)
    np.testing.assert_allclose(
        layer(data.x, data.edge_index, data.edge_weight).detach(), graph @ x, rtol=1e-4, atol=1e-5
    )


def test_an_averaging_operator_comes_back_weighted():
    points = np.random.default_rng(0).random((40, 2))
    operator = averaging_operator(spatial_graph(points))
    data = to_pyg(points, points, graph=operator)
    assert data.has_self_loops()
    found = from_pyg(data)
    largest = operator.maximum(operator.T).tolil()
    largest.setdiag(0)
    assert _same(found, largest.tocsr()) and found.diagonal().sum() == 0


@pytest.mark.parametrize("weights", [None, [0.5, 0.25, 2.0, 1.0, 0.0]])
def test_graphs_of_others_become_undirected_without_loops(weights):
    data = Data(x=torch.zeros(5, 1), edge_index=torch.tensor([[0, 1, 2, 3, 3], [1, 0, 2, 1, 0]]))
    if weights is not None:
        data.edge_weight = torch.tensor(weights)
    graph = from_pyg(data)
    assert graph.dtype == np.float32 and isinstance(graph, sparse.csr_array)
    found = {(i, j): v for i, j, v in zip(*graph.tocoo().coords, graph.data.tolist(), strict=True) if i < j}
    assert found == ({(0, 1): 1, (1, 3): 1, (0, 3): 1} if weights is None else {(0, 1): 0.5, (1, 3): 1})
    assert _same(graph, graph.T)


def test_slices_are_data_of_their_own(adata, text):
    whole = from_pyg(to_pyg(adata, batch_key="batch"))
    parts = to_pyg(adata, text=text, batch_key="batch", per_slice=True)
    assert [part.num_nodes for part in parts] == adata.obs["batch"].value_counts(sort=False).tolist()
    for part in parts:
        rows = part.n_id.numpy()
        np.testing.assert_array_equal(part.text, text[rows])
        assert part.spot_names == list(adata.obs_names[rows])
        assert _same(from_pyg(part), whole[rows][:, rows])
    both = next(iter(DataLoader(parts, batch_size=2)))
    assert both.batch.bincount().tolist() == [part.num_nodes for part in parts]
    rows = both.n_id.numpy()
    assert sorted(rows) == list(range(adata.n_obs)) and _same(from_pyg(both), whole[rows][:, rows])


def test_one_slice_with_weights_does_not_part_it_from_the_others():
    graph = sparse.block_diag([sparse.coo_array(np.full((2, 2), weight)) for weight in (1, 0.5)], format="csr")
    parts = to_pyg(np.ones((4, 1)), graph=graph, batch=[0, 0, 1, 1], per_slice=True)
    assert next(iter(DataLoader(parts, batch_size=2))).edge_weight.tolist() == [1] * 4 + [0.5] * 4


def test_parts_keep_what_belongs_together(adata, text):
    square = adata[:60].copy()  # as many genes as spots
    data = to_pyg(square, text=text[:60])
    seen = []
    for part in RandomNodeLoader(data, num_parts=4, shuffle=True):
        rows = part.n_id.numpy()
        np.testing.assert_array_equal(part.text, text[rows])
        np.testing.assert_array_equal(part.x, square.X[rows].toarray())
        assert part.spot_names == list(square.obs_names[rows])
        assert list(part.gene_names) == list(square.var_names)
        assert _same(from_pyg(part), from_pyg(data)[rows][:, rows])
        seen.extend(rows)
    assert sorted(seen) == list(range(60))


def test_tables_are_matched_by_name(adata, text):
    table = pd.DataFrame(text, index=adata.obs_names)
    data = to_pyg(adata, features=table.iloc[::-1], text=table.sample(frac=1, random_state=0))
    np.testing.assert_array_equal(data.x, text)
    np.testing.assert_array_equal(data.text, text)


def test_nothing_of_spots_by_spots_is_made(largest_tensor):
    rng = np.random.default_rng(0)
    with largest_tensor() as seen:
        data = to_pyg(rng.random((20_000, 3)), rng.random((20_000, 2)))
    assert data.num_edges < 12 * 20_000 and seen.numel <= 2 * data.num_edges


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"coordinates": None}, "graph='knn' needs coordinates"),
        ({"graph": "nearest"}, "graph='nearest' is none of"),
        ({"graph": np.eye(6)}, "graph is of type ndarray"),
        ({"graph": sparse.eye_array(5)}, r"graph has shape \(5, 5\) but X has 6 rows"),
        ({"graph": sparse.eye_array(6) * np.nan}, "graph has weights that are NaN"),
        ({"graph": sparse.csr_array(np.ones((6, 6))), "per_slice": True}, "graph has 18 edges between slices"),
        ({"text": np.ones((5, 2))}, r"text has shape \(5, 2\) but X has 6 rows"),
        ({"text": np.ones(6)}, r"text has shape \(6,\)"),
        ({"text": [["a"]] * 6}, "text holds something else than numbers"),
        ({"features": np.full((6, 2), np.inf)}, "features holds values that are NaN or infinite"),
        ({"layer": "counts"}, "layer='counts' asks for a part of an AnnData"),
    ],
)
def test_wrong_input_is_named(changed, match):
    given = {"coordinates": np.random.default_rng(0).random((6, 2)), "batch": [0, 1, 0, 1, 0, 1]}
    with pytest.raises(ValueError, match=match):
        to_pyg(np.ones((6, 3)), **{**given, **changed})


@pytest.mark.parametrize(
    "fields, match",
    [
        ({"edge_index": None}, "data has no edge_index"),
        ({"edge_index": torch.tensor([[0, 3], [1, 0]])}, "spots from 0 to 3, but data has 3"),
        ({"edge_index": torch.tensor([[0, -1], [1, 0]])}, "spots from -1 to 1"),
        ({"edge_index": torch.rand(2, 2)}, "dtype float32"),
        ({"edge_index": torch.zeros(3, 2, dtype=torch.int64)}, r"shape \(3, 2\)"),
        ({"edge_weight": torch.ones(3)}, r"edge_weight has shape \(3,\) for 2 edges"),
        ({"edge_weight": torch.tensor([1.0, -1.0])}, "edge_weight holds values that are negative"),
        ({"edge_weight": torch.tensor([1.0, torch.nan])}, "edge_weight holds values that are negative, NaN"),
    ],
)
def test_graphs_that_are_none_are_named(fields, match):
    fields = {"x": torch.zeros(3, 1), "edge_index": torch.tensor([[0, 1], [1, 0]]), **fields}
    with pytest.raises(ValueError, match=match):
        from_pyg(Data(**fields))


class _Network(torch.nn.Module):
    """A convolution of torch-geometric whose output is modulated by text, and one that reads that."""

    def __init__(self, n_in, n_text, n_hidden, n_out):
        super().__init__()
        self.first = SAGEConv(n_in, n_hidden)
        self.modulate = SemanticModulation(n_hidden, n_text)
        self.second = GCNConv(n_hidden, n_out)

    def forward(self, data):
        hidden = self.modulate(self.first(data.x, data.edge_index).relu(), data.text)
        return self.second(hidden, data.edge_index)


def _train(predict, parameters, target, n_steps):
    """Losses of the steps."""
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    losses = []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(predict(), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_modulation_works_between_convolutions_of_torch_geometric(adata, text):
    """What the text alone decides is learnt from it, and not from a text that is the same for all."""
    data = to_pyg(adata, features=np.sqrt(adata.X.toarray()), text=text, batch_key="batch")
    average = torch.from_numpy(averaging_operator(from_pyg(data)).toarray())
    target = average @ torch.sign(data.text[:, :1])
    last = {}
    for name, words in {"told": data.text, "untold": torch.zeros_like(data.text)}.items():
        torch.manual_seed(0)
        read = data.clone()
        read.text = words
        network = _Network(60, 7, 16, 1)
        losses = _train(lambda network=network, read=read: network(read), network.parameters(), target, 100)
        last[name] = losses[-1] / target.var().item()
        alpha, beta = network.modulate.factors(read.text)
        spread = max(alpha.std(dim=0).max().item(), beta.std(dim=0).max().item())
        assert spread > 0.1 if name == "told" else spread == 0
    assert last["told"] < 0.3 and last["untold"] > 0.5


def test_what_a_network_has_learnt_is_partitioned():
    """And the domains are better than those of spots without their neighbours."""
    adata = make_spatial_domains(400, n_genes=60, n_domains=3, depth=3000, effect=5, random_state=1)
    counts = adata.X.toarray()
    features = np.sqrt(counts / counts.sum(axis=1, keepdims=True))
    features = (features - features.mean(axis=0)) / features.std()
    data = to_pyg(adata, features=features)
    torch.manual_seed(0)
    encoder, decoder = GCNConv(60, 8), torch.nn.Linear(8, 60)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    losses = _train(lambda: decoder(encoder(data.x, data.edge_index)), parameters, data.x, 80)
    assert losses[-1] < 0.8 * losses[0]
    with torch.no_grad():
        embedding = encoder(data.x, data.edge_index).numpy()
    scores = {}
    for name, values in {"network": embedding, "alone": features}.items():
        labels = ConsensusMixture(3, random_state=0).fit_predict(values)
        scores[name] = adjusted_rand_score(adata.obs["label"], labels)
    assert scores["network"] > max(0.85, scores["alone"] + 0.05)
