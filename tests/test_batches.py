"""Tiles and halos, against the full graph and brute force."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from skst.graph import averaging_operator, nearest_neighbors, spatial_graph
from skst.nn.batches import Halo, epoch_batches, tiles

# Few distinct places: duplicates, lines and ties are common.
few_places = arrays(np.float64, st.tuples(st.integers(0, 40), st.integers(1, 3)), elements=st.integers(0, 4).map(float))


def _points(n=400, dims=2, seed=0):
    return np.random.default_rng(seed).uniform(size=(n, dims))


def _spatial(n=400, seed=0):
    graph = spatial_graph(_points(n, seed=seed), n_neighbors=6)
    return averaging_operator(graph).astype(np.float64)


def _weighted(n=400, n_neighbors=12, seed=1):
    """Neighbours in a feature space, weighted unequally: rows sum to 1, not symmetric, with a diagonal."""
    rng = np.random.default_rng(seed)
    found = nearest_neighbors(rng.normal(size=(n, 8)), n_neighbors)
    weights = rng.uniform(0.5, 1.5, size=found.shape)
    rows = np.repeat(np.arange(n), found.shape[1])
    graph = sparse.coo_array((weights.ravel(), (rows, found.ravel())), shape=(n, n)).tocsr() + 2 * sparse.eye_array(n)
    return sparse.csr_array(sparse.diags_array(1 / graph.sum(axis=1)) @ graph)


def _gcn(operator, X, layers):
    """Stacked graph convolutions with ReLU between them."""
    for i, weights in enumerate(layers):
        X = operator @ X @ weights
        if i < len(layers) - 1:
            X = np.maximum(X, 0)
    return X


def _layers(n_layers=2, n_features=5, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n_features, n_features)) for _ in range(n_layers)]


@settings(max_examples=200, deadline=None)
@given(points=few_places, size=st.integers(1, 12), data=st.data())
def test_tiles_are_an_even_partition_of_each_slice(points, size, data):
    n = len(points)
    batch = data.draw(st.none() | arrays(np.int64, n, elements=st.integers(0, 3)))
    found = tiles(points, size, batch=batch)
    assert sorted(np.concatenate([np.empty(0, int), *found]).tolist()) == list(range(n))
    codes = np.zeros(n, dtype=int) if batch is None else batch
    for code in np.unique(codes):
        own = [tile for tile in found if code in codes[tile]]
        assert all((codes[tile] == code).all() for tile in own)
        lengths = [len(tile) for tile in own]
        assert len(own) == max(1, round(sum(lengths) / size))
        assert max(lengths) - min(lengths) <= 1
    assert all((np.diff(tile) > 0).all() for tile in found)


def test_tiles_are_deterministic_and_know_slices_by_any_name():
    points, names = _points(), np.repeat(["b", "a", "c"], [150, 210, 40])
    first = tiles(points, 30, batch=names)
    assert [t.tolist() for t in first] == [t.tolist() for t in tiles(points, 30, batch=names)]
    assert len(first) == 5 + 7 + 1
    assert all(len(set(names[tile])) == 1 for tile in first)


@pytest.mark.parametrize("dims", [2, 3])
def test_tiles_are_compact(dims):
    points = _points(4096, dims)
    found = tiles(points, 64)
    spread = np.mean([points[tile].var(axis=0).sum() for tile in found])
    # A cube that holds 1 / 64 of the unit cube has this variance; halving makes boxes of at most 2 : 1.
    cube = dims * (1 / 64) ** (2 / dims) / 12
    assert spread < 1.35 * cube
    for tile in found:
        sides = np.ptp(points[tile], axis=0)
        assert sides.max() < 3.5 * sides.min()


def test_few_edges_leave_a_tile():
    graph = spatial_graph(_points(2000), n_neighbors=6).tocoo()
    tile_of = np.empty(2000, dtype=int)
    for i, tile in enumerate(tiles(_points(2000), 100)):
        tile_of[tile] = i
    assert np.mean(tile_of[graph.row] != tile_of[graph.col]) < 0.3


def test_the_two_halves_of_a_line():
    assert [t.tolist() for t in tiles(np.arange(10.0)[::-1, None], 5)] == [[5, 6, 7, 8, 9], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("points", "size", "batch", "message"),
    [
        (np.zeros(5), 2, None, r"points have shape \(5,\)"),
        (np.zeros((5, 2)), 0, None, "size=0, but a tile holds at least 1 spot"),
        (np.zeros((5, 2)), 2, [0, 1], r"batch has shape \(2,\) but points 5 rows"),
    ],
)
def test_bad_tiles(points, size, batch, message):
    with pytest.raises(ValueError, match=message):
        tiles(points, size, batch=batch)


@settings(max_examples=50, deadline=None)
@given(n_tiles=st.integers(0, 20), most=st.integers(1, 25), seed=st.integers(0, 100))
def test_an_epoch_visits_each_spot_once_in_even_batches(n_tiles, most, seed):
    cut = [np.array([2 * i, 2 * i + 1]) for i in range(n_tiles)]
    found = list(epoch_batches(cut, most, np.random.default_rng(seed)))
    assert sorted(np.concatenate([np.empty(0, int), *found]).tolist()) == list(range(2 * n_tiles))
    assert len(found) == -(-n_tiles // most)
    lengths = [len(batch) // 2 for batch in found]
    assert not lengths or max(lengths) <= min(most, min(lengths) + 1)


def test_batches_are_drawn_anew_and_by_seed():
    cut = tiles(_points(), 20)

    def epoch(rng):
        return [batch.tolist() for batch in epoch_batches(cut, 4, rng)]

    rng = np.random.default_rng(0)
    first = epoch(rng)
    assert first == epoch(np.random.default_rng(0)) != epoch(rng)
    assert epoch(np.random.RandomState(0)) == epoch(np.random.RandomState(0))
    with pytest.raises(ValueError, match="tiles_per_batch=0"):
        next(epoch_batches(cut, 0, rng))


def test_a_batch_of_tiles_sees_the_whole_tissue():
    points = _points(2000)
    cut = tiles(points, 25)
    batch = next(epoch_batches(cut, 8, np.random.default_rng(0)))
    assert points[batch].std() > 0.8 * points.std()
    assert points[np.concatenate(cut[:8])].std(axis=0).min() < 0.6 * points.std()  # what tiles in a row would see


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("core", [[7], [3, 399, 0, 250], range(400)], ids=len)
def test_core_spots_get_their_values_in_the_whole_tissue(core, hops):
    X, layers, operator = np.random.default_rng(0).normal(size=(400, 5)), _layers(hops), _spatial()
    patch = Halo([operator], hops=hops)(core)
    assert patch.nodes[: patch.n_core].tolist() == list(core)
    assert patch.operators[0].dtype == np.float64
    cut = _gcn(patch.operators[0], X[patch.nodes], layers)[: patch.n_core]
    np.testing.assert_allclose(cut, _gcn(operator, X, layers)[list(core)], rtol=0, atol=1e-10)


def test_two_graphs_each_get_their_values_in_the_whole_tissue():
    X, layers = np.random.default_rng(0).normal(size=(400, 5)), _layers()
    operators = [_spatial(), _weighted()]
    core = np.random.default_rng(2).choice(400, 6, replace=False)
    patch = Halo(operators)(core)
    assert len(patch.nodes) < 400
    for operator, cut in zip(operators, patch.operators, strict=True):
        assert cut.shape == (len(patch.nodes),) * 2
        values = _gcn(cut, X[patch.nodes], layers)[: patch.n_core]
        np.testing.assert_allclose(values, _gcn(operator, X, layers)[core], rtol=0, atol=1e-10)


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_a_patch_holds_what_is_within_reach_and_no_more(hops):
    operator = _spatial()
    steps = sparse.csgraph.shortest_path(operator != 0, unweighted=True)
    core = [10, 200]
    distance = steps[core].min(axis=0)
    patch = Halo([operator], hops=hops)(core)
    assert sorted(patch.nodes) == np.flatnonzero(distance <= hops).tolist()
    assert (np.diff(patch.nodes[2:]) > 0).all()
    # A row is whole where a core spot depends on it, and empty elsewhere.
    expected = np.where(distance[patch.nodes] < hops, 1.0, 0.0)
    np.testing.assert_allclose(patch.operators[0].sum(axis=1), expected, atol=1e-6)


def test_edges_are_followed_in_the_direction_of_the_operator():
    chain = sparse.diags_array(np.ones(9), offsets=1, shape=(10, 10)).tocsr()  # spot i looks at spot i + 1
    assert Halo([chain])([4]).nodes.tolist() == [4, 5, 6]
    assert Halo([chain.T])([4]).nodes.tolist() == [4, 2, 3]


def test_patches_do_not_touch_one_another_or_the_operators():
    operators = [_spatial(), _weighted()]
    copies = [operator.copy() for operator in operators]
    halo = Halo(operators, fanout=(None, 3))
    alone = halo([5, 6], np.random.default_rng(0))
    halo(np.arange(300), np.random.default_rng(1))
    again = halo([5, 6], np.random.default_rng(0))
    np.testing.assert_array_equal(alone.nodes, again.nodes)
    for a, b in zip(alone.operators, again.operators, strict=True):
        np.testing.assert_array_equal(a.toarray(), b.toarray())
    for a, b in zip(operators, copies, strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.indices, b.indices)


@pytest.mark.parametrize("fanout", [1, 3, 11])
def test_drawn_rows_are_small_keep_their_sum_and_their_diagonal(fanout):
    operator = _weighted().astype(np.float32)
    core = np.arange(50)
    patch = Halo([operator], fanout=fanout)(core, np.random.default_rng(0))
    cut = patch.operators[0]
    assert cut.dtype == np.float32
    rows = np.flatnonzero(np.diff(cut.indptr))
    np.testing.assert_allclose(cut[rows].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(cut.diagonal()[:50], operator.diagonal()[:50])
    assert (np.diff(cut.indptr)[:50] - 1 <= fanout).all()
    assert cut.data.min() > 0
    # Only edges of the graph, and those of the hop that follows too.
    row, col = cut.nonzero()
    assert (np.asarray(operator[patch.nodes[row], patch.nodes[col]]).ravel() > 0).all()
    assert len(rows) > 50


@settings(max_examples=60, deadline=None)
@given(degree=st.integers(1, 9), fanout=st.integers(1, 9), seed=st.integers(0, 10_000), heavy=st.floats(0.01, 50))
def test_drawing_keeps_row_sums_for_any_weights(degree, fanout, seed, heavy):
    rng = np.random.default_rng(seed)
    columns = np.array([rng.choice(30, degree, replace=False) for _ in range(30)])
    weights = rng.uniform(0.01, 1, size=columns.shape)
    weights[:, 0] *= heavy
    rows = np.repeat(np.arange(30), degree)
    operator = sparse.coo_array((weights.ravel(), (rows, columns.ravel())), shape=(30, 30)).tocsr()
    cut = Halo([operator], hops=1, fanout=fanout)(np.arange(30), rng).operators[0]
    np.testing.assert_allclose(cut.sum(axis=1), operator.sum(axis=1), rtol=1e-12)
    off = (cut - sparse.diags_array(cut.diagonal())).tocsr()
    off.eliminate_zeros()
    assert np.diff(off.indptr).max() <= fanout
    few = np.flatnonzero(np.array([(columns[i] != i).sum() for i in range(30)]) <= fanout)
    np.testing.assert_array_equal(cut[few].toarray(), operator[few].toarray())


@pytest.mark.parametrize("fanout", [1, 4])
def test_the_mean_of_many_draws_is_the_operator(fanout):
    operator, n_draws, n_copies = _weighted(60, 10), 3000, 30  # of which copies are drawn at once
    halo = Halo([sparse.csr_array(sparse.block_diag([operator] * n_copies))], hops=1, fanout=fanout)
    rng, total, square = np.random.default_rng(0), np.zeros((60, 60)), np.zeros((60, 60))
    for _ in range(n_draws // n_copies):
        drawn = halo(np.arange(60 * n_copies), rng).operators[0].tocoo()
        at = drawn.row % 60, drawn.col % 60
        np.add.at(total, at, drawn.data)
        np.add.at(square, at, drawn.data**2)
    mean = total / n_draws
    neighbors = (operator - sparse.diags_array(operator.diagonal())).toarray() > 0
    np.testing.assert_allclose(mean[~neighbors], operator.toarray()[~neighbors], atol=1e-10)
    error = np.sqrt((square / n_draws - mean**2)[neighbors] / n_draws)
    z = (mean - operator.toarray())[neighbors] / error
    assert np.abs(z).max() < 5 and 0.8 < z.std() < 1.2


def test_any_pair_of_neighbors_can_be_drawn_together():
    operator = sparse.csr_array(np.full((6, 6), 1 / 6))
    halo, rng, pairs = Halo([operator], hops=1, fanout=2), np.random.default_rng(0), set()
    for _ in range(300):
        drawn = halo([0], rng).operators[0]
        assert np.diff(drawn.indptr)[0] == 3  # equal weights: two distinct ones, and the spot itself
        pairs.add(tuple(sorted(set(halo([0], rng).nodes.tolist()) - {0})))
    assert len(pairs) == 10


def test_row_sums_survive_a_ruler_that_starts_at_the_very_edge():
    class Edge:
        random = staticmethod(np.zeros)

    operator = _weighted()
    cut = Halo([operator], hops=1, fanout=3)(np.arange(400), Edge()).operators[0]
    np.testing.assert_allclose(cut.sum(axis=1), 1, atol=1e-12)


def test_a_fanout_bounds_the_patch_and_leaves_the_other_graph_exact():
    operators = [_spatial(3000), _weighted(3000, 20)]
    core = np.arange(5)
    full = Halo(operators)(core)
    bounded = Halo(operators, fanout=(None, 3))(core, np.random.default_rng(0))
    spatial_alone = Halo(operators[:1])(core)
    assert len(bounded.nodes) <= len(spatial_alone.nodes) + 5 * (3 + 9) < len(full.nodes)
    X, layers = np.random.default_rng(0).normal(size=(3000, 5)), _layers()
    cut = _gcn(bounded.operators[0], X[bounded.nodes], layers)[:5]
    np.testing.assert_allclose(cut, _gcn(operators[0], X, layers)[:5], rtol=0, atol=1e-10)


def test_draws_follow_the_seed():
    halo = Halo([_weighted()], fanout=3)

    def draw(rng):
        return halo([0, 1], rng).operators[0].toarray()

    np.testing.assert_array_equal(draw(np.random.default_rng(0)), draw(np.random.default_rng(0)))
    np.testing.assert_array_equal(draw(np.random.RandomState(0)), draw(np.random.RandomState(0)))
    assert Halo([_weighted()], fanout=[3])([0], np.random.default_rng(0)).n_core == 1


def test_an_isolated_spot_and_an_empty_core():
    isolated = sparse.csr_array((5, 5))
    patch = Halo([isolated], fanout=2)([3], np.random.default_rng(0))
    assert patch.nodes.tolist() == [3] and patch.operators[0].nnz == 0
    empty = Halo([_spatial()])([])
    assert empty.n_core == 0 and empty.operators[0].shape == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operators": []}, "at least one"),
        ({"operators": [sparse.eye_array(3), sparse.eye_array(4)]}, r"shapes \[\(3, 3\), \(4, 4\)\]"),
        ({"operators": [sparse.csr_array((3, 4))]}, "give square ones"),
        ({"operators": [sparse.eye_array(3)], "hops": 0}, "hops=0"),
        ({"operators": [sparse.eye_array(3)], "fanout": (1, 2)}, "fanout has 2 entries for 1 operators"),
        ({"operators": [sparse.eye_array(3)], "fanout": 0}, "fanout=0 keeps no neighbour"),
    ],
)
def test_bad_halos(arguments, message):
    with pytest.raises(ValueError, match=message):
        Halo(**arguments)


@pytest.mark.parametrize(
    ("core", "message"),
    [([0, 400], "core spans spots 0 to 400 of a tissue of 400"), ([-1], "core spans spots -1"), ([3, 3], "repeats 1")],
)
def test_bad_cores(core, message):
    with pytest.raises(ValueError, match=message):
        Halo([_spatial()])(core)


def test_drawing_needs_a_generator_and_positive_weights():
    with pytest.raises(ValueError, match="rng is None"):
        Halo([_spatial()], fanout=3)([0])
    negative = sparse.csr_array(np.full((6, 6), -1.0))
    with pytest.raises(ValueError, match="weight -1"):
        Halo([negative], fanout=3)([0], np.random.default_rng(0))


def test_memory_is_linear():
    """Tiles and patches of 50,000 spots within a few hundred bytes a spot; n x n bytes would be 2.5 GB."""
    n, rng = 50_000, np.random.default_rng(0)
    points = _points(n)
    spatial = averaging_operator(spatial_graph(points, n_neighbors=6))
    rows, columns = np.repeat(np.arange(n), 15), rng.integers(n, size=15 * n)
    features = sparse.coo_array((np.full(15 * n, 1 / 15, np.float32), (rows, columns)), shape=(n, n)).tocsr()
    tracemalloc.start()
    try:
        cut = tiles(points, 128)
        core = next(epoch_batches(cut, 16, rng))
        patch = Halo([spatial, features], fanout=(None, 4))(core, rng)
        bounded = tracemalloc.get_traced_memory()[1]
        Halo([spatial, features])(core)
        reached = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 1900 < patch.n_core < 2200 and len(patch.nodes) < 0.8 * n
    assert bounded < 200 * n
    assert reached < 600 * n  # all 800,000 edges of the expression graph
