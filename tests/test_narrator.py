"""A tissue told as text: what is named, where it is said to lie, and what must not change a word of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from told_tissues import FUNCTIONS, GENES, lattice, tissue, told

from skst.graph import spatial_graph
from skst.narration import phrases as wording
from skst.narration.narrator import TissueNarrator

# What must not change a word


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n_slices=st.sampled_from([1, 2]), angle=st.floats(0, 7), mirror=st.booleans())
def test_texts_do_not_depend_on_order_depth_codes_or_frame(seed, n_slices, angle, mirror):
    data = tissue(50, seed, n_slices)
    expected = told(data)
    rng = np.random.default_rng(seed + 1)
    spots, genes = rng.permutation(50), rng.permutation(len(GENES))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag(
        [1, -1 if mirror else 1]
    )
    changed = {
        "X": sparse.csr_array((data["X"] * rng.integers(1, 9, (50, 1)))[spots][:, genes]),
        "graph": data["graph"][spots][:, spots],
        "regions": -3 * data["regions"][spots],
        "symbols": GENES[genes],
        "functions": FUNCTIONS[genes],
        "coordinates": (data["coordinates"] @ turn * 250 + [1e3, -7e2])[spots],
        "batch": np.array(["b", "a"])[data["batch"]][spots],
    }
    np.testing.assert_array_equal(told(changed), expected[:, spots])


def test_slices_are_told_by_themselves():
    one = tissue(80, seed=5)
    two = {key: np.concatenate([one[key]] * 2) for key in ("X", "regions", "coordinates")}
    two |= {"batch": np.repeat([0, 1], 80), "graph": sparse.block_diag([one["graph"]] * 2, format="csr")}
    two["X"][80:] = two["X"][80:, ::-1]  # other genes in the second slice
    narrator, alone = TissueNarrator().fit(**(one | two)), TissueNarrator().fit(**one)
    np.testing.assert_array_equal(narrator.depth_[80:], alone.depth_)
    # The second slice changes the weights of the genes and so, a little, the axis; which end is which stays.
    assert abs(np.corrcoef(narrator.position_[:80], alone.position_)[0, 1]) > 0.95


def test_words_for_places():
    points = lattice(31, 31)
    counts = np.column_stack([points[:, 0] + 1, 31 - points[:, 0]])
    narrator = TissueNarrator().fit(
        counts, spatial_graph(points), points[:, 0] > 9, symbols=np.array(["B", "A"], dtype=object), coordinates=points
    )
    texts = dict(zip(map(tuple, points.astype(int).tolist()), narrator.spot_texts(), strict=True))
    assert texts[0, 15].endswith("It lies at the edge of the tissue, at the end rich in A.")
    assert texts[30, 15].endswith("It lies at the edge of the tissue, at the end rich in B.")
    assert texts[15, 15].endswith("It lies deep inside the tissue, half-way between the ends.")
    assert texts[8, 15].endswith("It lies midway to the core, towards the end rich in A.")
    assert texts[15, 2].endswith("It lies just below the edge, half-way between the ends.")
    larger, smaller = narrator.table().to_dict("records")
    assert (larger["name"], smaller["name"]) == ("region 1 (B)", "region 2 (A)")
    assert (larger["n_spots"], larger["shape"], larger["neighbors"]) == (21 * 31, "in one piece", "only region 2 (A)")
    assert larger["region"] and not smaller["region"]
    assert "It takes up about 30% of the tissue, in one piece." in narrator.region_texts()[1]
    around = dict(zip(map(tuple, points.astype(int).tolist()), narrator.neighborhood_texts(), strict=True))
    assert "All its neighbours lie within region 2 (A)." in around[3, 15]
    assert "The spot belongs to region 2 (A) and borders region 1 (B)." in around[9, 15]


def test_shapes_and_foreign_spots():
    points = lattice(24, 24)
    regions = np.zeros(576, dtype=int)
    x, y = points.T.astype(int)
    regions[(x < 6) | (x > 17)] = 1
    # In pairs: one of four neighbours is of the same region.
    scattered = (x % 4 == 0) & (y % 4 < 2) & (x > 7) & (x < 17)
    regions[scattered] = 2
    symbols = np.array(["A"], dtype=object)
    narrator = TissueNarrator().fit(np.ones((576, 1)), spatial_graph(points, n_neighbors=4), regions, symbols=symbols)
    table = narrator.table().set_index("region")
    assert table["shape"].to_dict() == {0: "in one piece", 1: "in several patches", 2: "scattered"}
    assert table.loc[2, "neighbors"] == f"only {table.loc[0, 'name']}"
    texts = np.array(narrator.neighborhood_texts())[scattered]
    assert all("belongs to region 3 but lies among spots of region " in text for text in texts)


def test_words_for_an_end_without_a_gene_and_for_all_depths():
    points = lattice(21, 21)
    counts = np.column_stack([points[:, 0] + 1, 21 - points[:, 0]])
    data = {"X": counts, "graph": spatial_graph(points), "symbols": ["B", ""], "coordinates": points}
    narrator = TissueNarrator().fit(**data, regions=points[:, 0] > 15)
    texts = narrator.spot_texts()
    assert [texts[i].rpartition(", ")[2] for i in (210, 230)] == ["at the end poor in B.", "at the end rich in B."]
    assert narrator.table()["place"].iloc[1].endswith(", at the end rich in B")
    assert TissueNarrator().fit(**data, regions=np.zeros(441)).table()["place"].tolist() == ["at all depths"]


def test_borders_and_surroundings_are_told_in_order():
    regions = np.repeat([*"abcde"], [100, 4, 3, 2, 1])
    a, b, c, d, e = (np.flatnonzero(regions == region) for region in "abcde")
    graph = np.zeros((110, 110))
    graph[a, np.repeat([b[0], c[0], d[0], e[0]], [60, 30, 8, 2])] = 1
    graph[0, [a[1], b[0], *c[:2], *d]] = 1
    graph[2, [a[1], b[0]]] = 1  # half of its neighbours are of its own region
    narrator = TissueNarrator().fit(np.ones((110, 1)), sparse.csr_array(graph), regions, symbols=[""])
    around = narrator.neighborhood_texts()
    assert around[0].endswith("belongs to region 1 but lies among spots of region 3 and region 4.")
    assert around[2].endswith("The spot belongs to region 1 and borders region 2.")
    borders = "It borders mostly region 2, partly region 3 and slightly region 4."
    assert narrator.region_texts()[0].endswith(borders)


def test_a_region_is_in_one_piece_if_it_is_so_in_each_slice():
    graph = sparse.block_diag([spatial_graph(lattice(6, 6))] * 2, format="csr")
    data = {"X": np.ones((72, 1)), "graph": graph, "regions": np.zeros(72), "symbols": ["A"]}
    for batch, shape in ((np.repeat([0, 1], 36), "in one piece"), (None, "in several patches")):
        assert TissueNarrator().fit(**data, batch=batch).table()["shape"].tolist() == [shape]


def test_differences_are_told_of_the_quarter_least_like_its_neighbours():
    points = lattice(20, 20)
    counts = np.where((points[:, :1] < 10) == [[True, False]], 50, 2)
    odd = np.flatnonzero((points[:, 0] == 4) & (points[:, 1] % 5 == 2))
    counts[odd] = counts[odd, ::-1]
    narrator = TissueNarrator().fit(
        counts, spatial_graph(points), np.zeros(400), symbols=np.array(["MBP", "SNAP25"], dtype=object)
    )
    texts = narrator.neighborhood_texts()
    assert all(texts[i].endswith("Unlike its neighbours, the spot is high in SNAP25 and low in MBP.") for i in odd)
    varied = told(tissue(200))[1]
    assert 40 <= sum("Unlike" in text for text in varied) <= 50


# Odd tissues


def test_one_spot():
    graph = sparse.csr_array((1, 1))
    data = {"X": [[3.0, 1.0]], "graph": graph, "regions": [7], "symbols": ["A", "B"], "coordinates": [[5.0, 5.0]]}
    narrator = TissueNarrator().fit(**data)
    assert narrator.spot_texts() == ["No gene stands out in this spot. It lies at the edge of the tissue."]
    assert narrator.neighborhood_texts() == ["This spot has no neighbours and belongs to region 1."]
    assert narrator.region_texts() == [
        "No gene marks this region of the tissue. It takes up all of the tissue, in one piece. "
        "It lies at the edge of the tissue. It borders no other region."
    ]
    assert narrator.table()["region"].tolist() == [7]


def test_isolated_spots_empty_spots_and_no_symbols():
    data = tissue(30)
    data["X"][:3] = 0
    data["graph"] = sparse.diags_array((np.arange(30) > 9).astype(float)) @ data["graph"]
    data["graph"] = sparse.csr_array(data["graph"] @ sparse.diags_array((np.arange(30) > 9).astype(float)))
    spots, around, _ = told(data)
    assert all(text.startswith(wording.SPOT_EMPTY_V1) for text in spots[:3])
    assert all(text.startswith("This spot stands out by ") for text in spots[3:])
    assert all(text.startswith("This spot has no neighbours and belongs to region ") for text in around[:10])
    nameless = told(data | {"symbols": np.full(len(GENES), "", dtype=object)})
    assert nameless[0, 9].startswith(wording.SPOT_NO_GENE_V1 + " It lies ")
    assert all("(" not in text and "end" not in text for text in nameless.ravel())
    no_edges = told(data | {"graph": sparse.csr_array((30, 30))})
    assert all(text.startswith("This spot stands out by ") for text in no_edges[0, 3:])


def test_without_coordinates_places_are_left_out():
    data = tissue() | {"coordinates": None}
    narrator = TissueNarrator().fit(**data)
    assert narrator.depth_ is None and narrator.position_ is None
    assert not any("lies" in text for text in narrator.spot_texts() + narrator.region_texts())
    assert narrator.table()["depth"].isna().all() and (narrator.table()["place"] == "").all()


def test_space():
    data = tissue(60)
    rng = np.random.default_rng(1)
    data["coordinates"] = np.column_stack([data["coordinates"], rng.random(60)])
    narrator = TissueNarrator().fit(**data)
    assert abs(np.corrcoef(narrator.position_, data["coordinates"][:, 0])[0, 1]) > 0.9
    assert 0 < (narrator.depth_ > 0).sum() < 60


def test_weights_zeros_loops_and_repeats_of_a_graph_are_ignored():
    data = tissue()
    graph = data["graph"].tocoo()
    values = np.random.default_rng(0).uniform(0.5, 2, graph.nnz)
    far = np.argwhere(data["graph"].toarray()[0] == 0)[-1]
    rows = np.concatenate([graph.row, graph.row[:5], [0, *range(60)]])
    columns = np.concatenate([graph.col, graph.col[:5], [*far, *range(60)]])
    values = np.concatenate([values, values[:5], [0], np.full(60, 4.0)])
    stored = sparse.coo_array((values, (rows, columns)), shape=(60, 60))
    np.testing.assert_array_equal(told(data | {"graph": stored}), told(data))


def test_description_and_table_agree_with_the_texts():
    data = tissue(90)
    narrator = TissueNarrator().fit(**data)
    np.testing.assert_array_equal(narrator.regions_[narrator.region_index_], data["regions"])
    texts = narrator.spot_texts(), narrator.neighborhood_texts(), narrator.region_texts()
    for i in (0, 41, -1):
        parts = [paragraph.split("\n")[1] for paragraph in narrator.describe(i).split("\n\n")]
        assert parts == [texts[0][i], texts[1][i], texts[2][narrator.region_index_[i]]]
    table = narrator.table()
    assert table["n_spots"].tolist() == [int((data["regions"] == code).sum()) for code in table["region"]]
    assert table["n_spots"].is_monotonic_decreasing
    for row, text in zip(table.to_dict("records"), texts[2], strict=True):
        depths = narrator.depth_[data["regions"] == row["region"]]
        assert row["depth"] == pytest.approx(np.median(depths))
        assert row["share"] == row["n_spots"] / 90
        assert all(gene in text for gene in row["markers"].split(", "))
    # Both are marked by the same genes: the smaller is called by the second.
    counts = np.column_stack([np.repeat([1, 90, 80], 30), np.repeat([1, 40, 50], 30), np.full(90, 200)])
    regions, symbols = np.repeat([0, 1, 1, 2], [30, 25, 5, 30]), np.array(["A", "B", "C"], dtype=object)
    line = sparse.diags_array([np.ones(89)] * 2, offsets=[-1, 1])
    table = TissueNarrator().fit(counts, line, regions, symbols=symbols).table().set_index("region")
    assert table.loc[[1, 2], "markers"].tolist() == ["A, B", "A, B"]
    assert sorted(name.split("(")[1] for name in table.loc[[1, 2], "name"]) == ["A)", "B)"]


# Faults


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"k_g": 0}, r"'k_g' parameter .* int in the range \[1, inf\)"),
        ({"n_functions": -1}, "'n_functions' parameter"),
        ({"max_tokens": 20}, r"'max_tokens' parameter .* int in the range \[60, inf\)"),
        ({"names": "latin"}, "'names' parameter .* Got 'latin'"),
    ],
)
def test_parameters_are_checked(parameters, message):
    with pytest.raises(ValueError, match=message):
        TissueNarrator(**parameters).fit(**tissue(10))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"regions": np.zeros(9)}, "regions has 9 entries but X has 10 spots"),
        ({"symbols": GENES[:4]}, "symbols has 4 entries but X has 8 genes"),
        ({"graph": sparse.csr_array((9, 9))}, r"graph has the shape \(9, 9\) but X has 10 spots"),
        ({"X": np.full((10, 8), -1.0)}, "X holds values that are negative"),
        ({"coordinates": np.full((10, 2), np.nan)}, "coordinates hold values that are not finite"),
    ],
)
def test_data_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        TissueNarrator().fit(**(tissue(10) | wrong))
