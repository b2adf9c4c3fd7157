"""One name for a cluster: the tree of types, what speaks for them, and how sure a name is."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from skst.genes import GeneDescriptions
from skst.inspection import annotate, load_cell_types
from skst.inspection.evidence import overlap, posterior, standardised
from skst.inspection.naming import CALIBRATION, confidence_of
from skst.inspection.type_tree import TypeTree


@pytest.fixture(autouse=True)
def no_descriptions(bare_home):
    """What is told of genes is the small table of the package, on every machine."""


def listed(**genes):
    return pd.DataFrame([(cluster, gene) for cluster, of in genes.items() for gene in of], columns=["cluster", "gene"])


def table_of(**types):
    """Types whose eight markers begin with their letter, by name and parent."""
    rows = [(name, parent, "|".join(f"{name[0].upper()}{i}" for i in range(8))) for name, parent in types.items()]
    return pd.DataFrame(rows, columns=["cell_type", "parent", "markers"])


TABLE = table_of(glia="", astro="glia", oligo="glia", neuron="", pyramid="neuron", basket="neuron")
BACKGROUND = [gene for of in TABLE["markers"] for gene in of.split("|")] + [f"x{i}" for i in range(300)]


def named(markers, **parameters):
    return annotate(markers, TABLE, background=BACKGROUND, **parameters)


def test_a_name_is_as_deep_as_the_evidence_goes():
    markers = listed(
        deep=["a1", "a2", "g1", "a3", "a4"],
        both=["g1", "a1", "o1", "g2", "a2", "o2", "g3"],
        top=["g1", "g2", "g3", "g4"],
        none=["x1", "x2", "x3", "x4"],
    )
    found = named(markers)
    assert found["cell_type"].tolist() == ["astro", "glia", "glia", None]
    assert found["broader"].tolist() == ["glia", None, None, None]
    assert found.loc["deep", ["runner_up", "by_markers", "by_text"]].tolist() == ["oligo", "astro", None]
    assert found.loc["deep", "genes"].split(", ")[:2] == ["a1", "a2"] and "x1" not in found.loc["top", "genes"]
    assert (found["confidence"].drop("none") > 0.5).all() and found.loc["none", "confidence"] == 0


def test_nothing_is_named_by_genes_of_no_type():
    found = annotate(listed(p=["nogene1", "nogene2"], q=["CD3D", "CD3E", "TRAC", "CD2"]))
    assert found.loc["p", ["cell_type", "runner_up"]].isna().all() and found.loc["q", "cell_type"] == "T cell"


def test_what_is_withheld_is_told_as_runner_up():
    markers = listed(p=["x1", "x2", "x3", "x4", "x5", "x6", "a1"])
    sure = named(markers, min_confidence=0)
    found = named(markers, min_confidence=1)
    assert sure.loc["p", "cell_type"] == found.loc["p", "runner_up"] and found.loc["p", "cell_type"] is None
    assert sure.loc["p", "confidence"] == found.loc["p", "confidence"] < 0.5


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(4)), st.permutations(range(len(TABLE))))
def test_order_of_clusters_and_types_and_case_do_not_matter(clusters, types):
    genes = {"p": ["a1", "a2", "x1"], "q": ["b1", "g1", "b2"], "r": ["x2", "x3"], "s": ["n1", "p2", "p3"]}
    there = TABLE.assign(tissue=["brain", "brain", "nerve", "any", "brain", "gut|brain"])
    found = annotate(listed(**genes), there, background=BACKGROUND)
    turned = listed(**{key: [gene.upper() for gene in genes[key]] for key in np.array([*genes])[list(clusters)]})
    again = annotate(turned, there.iloc[list(types)], background=BACKGROUND).loc[[*genes]]
    pd.testing.assert_frame_equal(again.assign(genes=again["genes"].str.lower()), found, check_exact=False)


class Topics:
    """A language model to which a text is one of two topics."""

    def encode(self, texts):
        return np.array([[0.1 + (word in text.lower()) for word in ("myelin", "insulin")] for text in texts])


def test_text_decides_where_markers_cannot_and_is_outweighed_where_they_can():
    types = pd.DataFrame({"cell_type": ["islet", "glia", "other"], "markers": ["I1|I2|S1", "G1|G2|S1", "O1|O2|O3"]})
    types["description"] = ["makes insulin", "wraps in myelin", "does both, insulin and myelin"]
    said = pd.DataFrame({"symbol": ["S1", "I1", "I2", "Q1"], "summary": ["myelin", "myelin", "myelin", "insulin"]})
    options = {"table": types, "descriptions": GeneDescriptions(said, species="human")}
    options |= {"background": [*"S1 Q1 I1 I2 G1 G2 O1 O2 O3".split(), *map(str, range(200))], "min_confidence": 0}
    markers = listed(tie=["S1"], clear=["I1", "I2"], rest=["Q1", "1"])
    found = annotate(markers, text=Topics(), **options)
    assert found["cell_type"].tolist()[:2] == ["glia", "islet"] and found.loc["clear", "by_text"] == "glia"
    without = annotate(markers, text=None, **options)
    assert without["by_text"].isna().all()
    assert without.loc["clear", "confidence"] > found.loc["clear", "confidence"]


def test_a_kind_needs_a_marker_that_the_broader_type_lacks():
    kinds = TABLE.replace({"markers": {TABLE["markers"][1]: "G0|G1|G2|G3|A1|A2"}})
    for genes, name in ((["g0", "g1", "g2", "g3"], "glia"), (["g0", "g1", "g2", "a1", "a2"], "astro")):
        assert annotate(listed(p=genes), kinds, background=BACKGROUND)["cell_type"].tolist() == [name]


def test_rows_of_single_genes_are_a_table_too():
    rows = TABLE.assign(gene=TABLE["markers"].str.split("|")).explode("gene").drop(columns="markers")
    markers = listed(p=["a1", "a2", "a3"], q=["b1", "b2", "b3"])
    pd.testing.assert_frame_equal(annotate(markers, rows, background=BACKGROUND), named(markers))
    lacking = rows.assign(sign=np.where(rows["cell_type"] == "astro", "-", "+"))
    assert annotate(markers, lacking, background=BACKGROUND)["cell_type"].tolist() == [None, "basket"]


def test_tissue_of_the_other_clusters_decides_between_types_that_fit_alike():
    table = pd.DataFrame({"cell_type": ["one", "two", "three"], "tissue": ["gut", "brain", "gut|lung"]})
    table["markers"] = ["A1|A2|S1|S2", "B1|B2|S1|S2", "C1|C2|C3|C4"]
    background = [*"A1 A2 B1 B2 S1 S2 C1 C2 C3 C4".split(), *map(str, range(200))]
    for gene, name in (("A", "one"), ("B", "two")):
        markers = listed(p=["S1", "S2"], q=[f"{gene}1", f"{gene}2"])
        assert annotate(markers, table, background=background)["cell_type"].tolist() == [name, name]
    kept = annotate(listed(p=["S1", "S2"]), table, tissue="brain", background=background)
    assert kept["cell_type"].tolist() == ["two"]


def test_a_type_whose_parent_is_left_out_hangs_on_the_next_above():
    tree = TypeTree({"a": "", "b": "a", "c": "b", "d": "a"}, ["a", "c", "d"])
    assert tree.parent.tolist() == [-1, 0, 0]
    assert tree.within.tolist() == [[True, False, False], [True, True, False], [True, False, True]]
    assert tree.apart(1).tolist() == [False, False, True]
    assert tree.above(np.array([[3.0, 1, 2]])).tolist() == [[0, 3, 3]]
    assert tree.own([{"x", "y"}, {"x", "z"}, {"y"}]) == [{"x", "y"}, {"z"}, set()]


@pytest.mark.parametrize(
    ("chances", "place", "total"),
    [([0.1, 0.6, 0.3], 1, 0.6), ([0.2, 0.4, 0.4], 0, 1.0), ([0.6, 0.3, 0.1], 0, 1.0)],
)
def test_siblings_of_which_neither_is_clearly_better_give_their_parent(chances, place, total):
    tree = TypeTree({"a": "", "c": "a", "d": "a"}, ["a", "c", "d"])
    found, chance = tree.settle(np.array(chances))
    assert (found, chance) == (place, pytest.approx(total))


def test_overlap_bounds_the_chance_of_a_blind_draw():
    rng = np.random.default_rng(0)
    genes = [f"g{i}" for i in range(400)]
    top, known = genes[:40], [*genes[:4], *genes[100:104]]
    (rate,) = overlap([top], [known], 400)[0]
    weights = np.zeros(400)
    weights[:40] = 1 / (1 + np.arange(40) / 20)
    sums = np.array([rng.choice(weights, 8, replace=False).sum() for _ in range(20000)])
    chance = (sums >= weights[:4].sum()).mean()
    assert -np.log(chance) * 0.6 < rate < -np.log(chance)
    # More shared genes, and shared genes of higher rank, speak louder; fewer than expected speak against.
    more = overlap([top], [[*genes[:5], *genes[100:103]], [*genes[20:24], *genes[100:104]], genes[100:400]], 400)[0]
    assert more[0] > rate > more[1] > 0 > more[2]


def test_likeness_counts_less_where_few_genes_are_read():
    scores = np.array([[0.1, 0.2, 0.6], [0.1, 0.2, 0.6], [0, 0, 0]])
    found = standardised(scores, [20, 5, 0], 20)
    np.testing.assert_allclose(found[0], stats.zscore(scores[0]))
    np.testing.assert_allclose(found[1], found[0] / 2)
    assert not found[2].any()


def test_a_cluster_does_not_vouch_for_its_own_tissue():
    tissues = np.array([[True, False], [False, True], [True, True]])
    energy = np.array([[2.0, 1.9, -5], [2.0, 1.9, -5]])
    alone = posterior(energy[:1], tissues)
    np.testing.assert_allclose(alone, posterior(energy[:1]))
    turned = posterior(np.array([[2.0, 1.9, -5], [-5, 3, -5]]), tissues)
    assert turned[0].argmax() == 1 and posterior(energy)[0].argmax() == 0
    np.testing.assert_allclose(turned.sum(axis=1), 1)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 0.98), st.floats(0, 3), st.floats(0, 0.5))
def test_confidence_rises_with_either_of_its_sources(chance, relative, step):
    here = confidence_of(chance, relative)
    assert 0 < here < 1
    assert confidence_of(min(chance + step, 0.99), relative) >= here
    assert confidence_of(chance, relative + step) >= here
    assert CALIBRATION[1] > 0 and CALIBRATION[2] > 0


def test_domains_have_names_of_their_own():
    markers = listed(a=["MBP", "PLP1", "MOBP", "MAG", "CLDN11"], b=["KRT1", "KRT10", "FLG", "LORICRIN", "IVL"])
    found = annotate(markers, kind="domain", background=_symbols())
    assert found["cell_type"].tolist() == ["white matter", "upper layers of epidermis"]
    cells = annotate(markers, background=_symbols())["cell_type"]
    assert cells["a"].endswith("oligodendrocyte") and cells["b"].endswith("keratinocyte")


def _symbols():
    known = load_cell_types(kind=None)["markers"].str.split("|").explode().unique()
    return [*known, *(f"OTHER{i}" for i in range(5000))]


def test_types_of_the_package_are_told_apart_by_half_of_their_markers():
    types = load_cell_types().set_index("cell_type")
    leaves = types.index.difference(types["parent"])
    rng = np.random.default_rng(0)
    genes = {name: types.loc[name, "markers"].split("|") for name in leaves[::6]}
    markers = listed(**{name: rng.permutation(of)[: len(of) // 2 + 1] for name, of in genes.items()})
    found = annotate(markers, text=None, background=_symbols(), min_confidence=0)
    parents = types["parent"].to_dict()
    true = [name in _lineage(cluster, parents) for cluster, name in found["cell_type"].items()]
    assert np.mean(true) > 0.9 and (found["cell_type"] == found.index).mean() > 0.6


def _lineage(name, parents):
    found = [name]
    while parents[found[-1]]:
        found.append(parents[found[-1]])
    return found


def test_the_table_is_a_tree_of_described_types_with_a_source():
    types = load_cell_types(kind=None)
    names, parents = set(types["cell_type"]), dict(zip(types["cell_type"], types["parent"], strict=True))
    assert len(load_cell_types()) >= 250 and len(load_cell_types(kind="domain")) >= 60
    assert types["cell_type"].is_unique and set(types["parent"]) <= names | {""}
    assert all(len(_lineage(name, parents)) <= 8 for name in names)  # a loop would not end
    kinds = types.set_index("cell_type")["kind"]
    within = types[types["parent"] != ""]
    assert (kinds[within["cell_type"]].to_numpy() == kinds[within["parent"]].to_numpy()).all()
    assert set(types["species"].str.split("|").explode()) <= {"human", "mouse"}
    assert types["source"].str.fullmatch(r"CL:\d{7}|[\w. -]+").all()
    ids = types.loc[types["source"].str.startswith("CL:"), "source"]
    assert len(ids) > 150 and ids.is_unique
    assert types["markers"].str.split("|").map(len).min() >= 8 and types["description"].is_unique
    words = types["description"].map(lambda said: set(re.findall(r"[a-z]{4,}", said.lower())))
    pairs = [(a, b) for i, a in enumerate(words) for b in words[:i] if len(a & b) > 0.75 * len(a | b)]
    assert not pairs
    markers = types.loc[types["kind"] == "cell", "markers"].str.split("|").map(frozenset)
    assert markers.is_unique


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_confidence": 1.5}, "min_confidence=1.5 is not within 0 and 1"),
        ({"min_confidence": "high"}, "min_confidence='high' is not within 0 and 1"),
        ({"background": "A1"}, "background='A1' is one text"),
        ({"table": TABLE.assign(markers=[["G1"]] * len(TABLE))}, "table holds markers of type list; give"),
        ({"kind": "organ"}, "kind='organ' is neither 'cell' nor 'domain'"),
        ({"table": TABLE.assign(parent="glia")}, "table has 'glia' among its own parents"),
        ({"table": pd.concat([TABLE, TABLE])}, "table has 'glia' twice"),
        ({"table": TABLE.drop(columns="markers")}, r"table lacks the columns \['gene'\]"),
        ({"table": TABLE, "background": ["z"]}, "no gene that was measured"),
        ({"table": TABLE, "tissue": "gut"}, r"table lacks the columns \['tissue'\]"),
        ({"markers": pd.DataFrame({"gene": ["A1"]})}, r"markers lacks the columns \['cluster'\]"),
        ({"markers": listed(p=["A1"])[:0]}, "markers has no rows"),
    ],
)
def test_naming_refuses(change, message):
    given = {"markers": listed(p=["A1", "A2"])} | change
    with pytest.raises(ValueError, match=message):
        annotate(**given)


def test_a_table_of_categories_is_one_of_text():
    table = TABLE.assign(tissue="brain")
    expected = annotate(listed(a=["G1", "G2"]), table, background=BACKGROUND, text=None)
    found = annotate(listed(a=["G1", "G2"]), table.astype("category"), background=BACKGROUND, text=None)
    pd.testing.assert_frame_equal(found, expected)
    single = pd.DataFrame({"cell_type": ["glia", "glia", "neuron"], "gene": ["G1", "G2", "N1"]}, dtype="category")
    assert annotate(listed(a=["G1", "G2"]), single, text=None)["cell_type"].tolist() == ["glia"]


def test_a_table_may_know_no_tissue_at_all():
    found = annotate(listed(a=["G1", "G2"]), TABLE.assign(tissue=None), background=BACKGROUND, text=None)
    assert found["by_markers"].tolist() == ["glia"]


def test_without_a_description_markers_decide():
    empty = pd.DataFrame({"symbol": ["ZZZ1"], "description": ["of no gene here"]})
    markers = listed(a=["CD3D", "CD3E", "TRAC"], b=["MBP", "PLP1", "MOG"])
    found = annotate(markers, text="lexical", descriptions=empty)
    assert found["cell_type"].tolist() == annotate(markers, text=None)["cell_type"].tolist()
    assert found["by_text"].isna().all()


def test_genes_by_names_that_no_type_has_are_told():
    markers = pd.DataFrame({"cluster": [0, 0, 1], "gene": ["ENSG00000167286", "ENSG00000198851", "ENSG00000197971"]})
    with pytest.warns(UserWarning, match="No gene of markers is a marker of any type in table"):
        assert annotate(markers, text=None)["cell_type"].tolist() == [None, None]
