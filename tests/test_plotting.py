import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from skst import SpaLLMFusion
from skst.datasets import make_spatial_domains
from skst.plotting import (
    PALETTE,
    plot_domain_comparison,
    plot_domains,
    plot_k_curve,
    plot_modulation,
    plot_slices,
    plot_text_scores,
)

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    matplotlib.pyplot.close("all")


def drawn(ax):
    """Name -> (colour, positions) of what was scattered."""
    return {c.get_label(): (to_hex(c.get_facecolor()[0]).upper(), c.get_offsets().data) for c in ax.collections}


GRID = np.array([[x, y] for x in range(4) for y in range(3)], dtype=float)
TRUTH = np.repeat(["a", "b", "c"], 4)


def test_each_spot_is_drawn_once_in_the_colour_of_its_label():
    labels = TRUTH.astype(object)
    labels[[0, 5, 6]] = [None, np.nan, "NA"]
    ax = plot_domains(GRID, labels)
    shown = drawn(ax)
    assert list(shown) == ["unlabelled", "a", "b", "c"]
    assert shown["unlabelled"][0] == "#D9D9D9" and len(shown["unlabelled"][1]) == 3
    assert [shown[k][0] for k in "abc"] == list(PALETTE[:3])
    assert np.array_equal(shown["c"][1], GRID[8:])
    assert sum(len(places) for _, places in shown.values()) == 12
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(shown)


def test_axes_are_those_of_an_image():
    ax = plot_domains(GRID, TRUTH, title="t", legend=False)
    low, high = sorted(ax.get_ylim()), sorted(ax.get_xlim())
    assert ax.get_ylim()[0] > ax.get_ylim()[1] and ax.get_aspect() == 1
    assert low[0] < 0 and low[1] > 2 and high[0] < 0 and high[1] > 3
    assert ax.get_legend() is None and ax.get_title() == "t"


def test_colours_follow_the_reference_whatever_the_names():
    reference = np.repeat(["a", "b", "c"], [6, 3, 3])
    labels = np.repeat([2, 0, 1], [6, 3, 3])
    labels[5] = 0  # a minority does not change the match
    shown = drawn(plot_domains(GRID, labels, reference=reference))
    assert [shown[k][0] for k in "201"] == list(PALETTE[:3])
    assert list(shown) == ["2", "0", "1"]  # listed in the order of the reference


def test_clusters_left_over_get_colours_of_their_own():
    labels = np.array([0] * 4 + [1, 1, 1, 2] + [3] * 4)
    shown = drawn(plot_domains(GRID, labels, reference=TRUTH))
    colours = [shown[k][0] for k in "0132"]
    assert colours[:3] == list(PALETTE[:3]) and colours[3] not in PALETTE[:3]
    assert len(set(colours)) == 4


def test_unlabelled_spots_have_no_say_in_the_match():
    reference = np.array(["a"] * 4 + ["b"] * 2 + [None] * 6, dtype=object)
    labels = np.array([0] * 4 + [1] * 2 + [0] * 6)
    shown = drawn(plot_domains(GRID, labels, reference=reference))
    assert shown["0"][0] == PALETTE[0] and shown["1"][0] == PALETTE[1]
    nothing = drawn(plot_domains(GRID, labels, reference=[None] * 12))
    assert {colour for colour, _ in nothing.values()} == set(PALETTE[:2])


def test_palettes():
    assert len({c.upper() for c in PALETTE}) == 20
    shown = drawn(plot_domains(GRID, TRUTH, palette={"a": "#FF0000", "b": "#00FF00", "c": "#0000FF"}))
    assert [shown[k][0] for k in "abc"] == ["#FF0000", "#00FF00", "#0000FF"]
    shown = drawn(plot_domains(GRID, np.arange(12), palette=["#FF0000", "#00FF00"]))
    assert {colour for colour, _ in shown.values()} == {"#FF0000", "#00FF00"}
    with pytest.raises(ValueError, match=r"palette has no colour for the labels \['b', 'c'\]"):
        plot_domains(GRID, TRUTH, palette={"a": "red"})


def test_spots_shrink_as_they_become_more():
    sizes = []
    for n in (200, 2000):
        adata = make_spatial_domains(n, n_genes=10, random_state=0)
        sizes.append(plot_domains(adata, "label").collections[0].get_sizes()[0])
    assert sizes[0] / sizes[1] == pytest.approx(10, rel=0.3)
    assert plot_domains(adata, "label", spot_size=3).collections[0].get_sizes()[0] == 3


def test_comparison_puts_truth_first_and_scores_the_rest():
    adata = make_spatial_domains(300, n_genes=10, random_state=0)
    adata.obs["other"] = np.roll(adata.obs["label"].to_numpy(), 1)
    renamed = adata.obs["label"].cat.codes.to_numpy() * 10
    truth = adata.obs["label"].astype(object).where(np.arange(300) > 20)
    figure = plot_domain_comparison(adata, truth=truth, predictions={"exact": renamed, "poor": "other"})
    known, exact, poor = figure.axes
    assert known.get_title() == "known" and exact.get_title() == "exact\nARI 1.00"
    assert float(poor.get_title().split()[-1]) < 0.2
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["unlabelled", *(f"domain{d}" for d in range(1, 6))]
    for d in range(5):
        assert drawn(exact)[str(10 * d)][0] == drawn(known)[f"domain{d + 1}"][0]
    many = plot_domain_comparison(adata, truth="label", predictions={f"m{i}": renamed for i in range(5)})
    assert len(many.axes) == 6


def test_k_curve_marks_the_chosen():
    curve = pd.DataFrame({"n_clusters": [4, 2, 3], "criterion": [0.1, 0.2, 0.9], "chosen": [False, False, True]})
    ax = plot_k_curve(curve)
    line, point = ax.lines
    assert line.get_xdata().tolist() == [2, 3, 4] and line.get_ydata().tolist() == [0.2, 0.9, 0.1]
    assert point.get_xdata().tolist() == [3] and point.get_ydata().tolist() == [0.9]
    with pytest.raises(ValueError, match=r"curve lacks the columns \['chosen'\]"):
        plot_k_curve(curve.drop(columns="chosen"))


def test_k_curve_of_an_estimator():
    adata = make_spatial_domains(120, n_genes=20, n_domains=3, effect=4.0, random_state=0)
    fitted = SpaLLMFusion(strategy="expression", clusterer="kmeans", random_state=0).fit(adata)
    line, point = plot_k_curve(fitted).lines
    np.testing.assert_array_equal(line.get_ydata(), fitted.n_clusters_curve_["criterion"])
    assert point.get_xdata().tolist() == [fitted.n_clusters_]
    fix = "pass a table with n_clusters, criterion and chosen, or an estimator fitted with n_clusters=None"
    with pytest.raises(ValueError, match=f"curve is of type SpaLLMFusion where a DataFrame is expected; {fix}"):
        plot_k_curve(fitted.set_params(n_clusters=3).fit(adata))


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"labels": TRUTH[:5]}, "labels has 5 entries but there are 12 spots"),
        ({"labels": TRUTH, "reference": TRUTH[:5]}, "reference has 5 entries"),
        ({"labels": "label"}, "labels='label' names no column of obs"),
        ({"adata_or_coordinates": GRID[:, :1], "labels": TRUTH}, r"coordinates have shape \(12, 1\)"),
    ],
)
def test_wrong_input_is_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        plot_domains(**{"adata_or_coordinates": GRID, **arguments})


def test_wrong_keys_are_named():
    adata = make_spatial_domains(50, n_genes=10, random_state=0)
    with pytest.raises(ValueError, match=r"spatial_key='where' is not in obsm, which holds \['spatial'\]"):
        plot_domains(adata, "label", spatial_key="where")
    with pytest.raises(ValueError, match="predictions is empty"):
        plot_domain_comparison(adata, truth="label", predictions={})


def test_modulation_draws_the_dimensions_that_vary_most():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(12, 7)) * [0, 3, 1, 0.1, 2, 5, 4] + 100
    figure = plot_modulation(GRID, factor, n_factors=5, name="alpha")
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title().splitlines()[0] for ax in panels] == [f"alpha {d}" for d in (5, 6, 1, 4, 2)]
    assert len(figure.axes) == 6  # and the colour bar; no empty panel is left
    points = [ax.collections[0] for ax in panels]
    assert len({p.get_clim() for p in points}) == 1 and points[0].get_clim()[0] == -points[0].get_clim()[1]
    assert np.array_equal(points[2].get_offsets(), GRID)
    assert np.allclose(points[2].get_array(), factor[:, 1] - factor[:, 1].mean())
    assert panels[0].get_ylim()[0] > panels[0].get_ylim()[1] and panels[0].get_aspect() == 1


def test_modulation_that_is_constant_can_be_drawn():
    figure = plot_modulation(GRID, np.ones((12, 2)), spot_size=3)
    assert figure.axes[0].collections[0].get_clim() == (-1, 1)
    assert figure.axes[0].collections[0].get_sizes()[0] == 3


@pytest.mark.parametrize(
    "factor, n_factors, match",
    [
        (np.ones(12), 1, r"factor has shape \(12,\)"),
        (np.ones((5, 2)), 1, "there are 12 spots"),
        (np.ones((12, 0)), 1, r"factor has shape \(12, 0\)"),
        (np.full((12, 1), np.nan), 1, "factor is NaN"),
        (np.ones((12, 2)), 0, "n_factors=0 must be at least 1"),
    ],
)
def test_wrong_modulation_is_named(factor, n_factors, match):
    with pytest.raises(ValueError, match=match):
        plot_modulation(GRID, factor, n_factors=n_factors)


@pytest.mark.filterwarnings("error")
def test_text_scores_show_each_replicate_under_each_text():
    rows = [
        (text, replicate, seed, score, base + replicate + seed)
        for score, base in (("stability", 0), ("ari", 10))
        for text, n in (("real", 3), ("permuted", 3), ("none", 1))
        for replicate in range(n)
        for seed in (0, 1)
    ]
    scores = pd.DataFrame(rows, columns=["text", "replicate", "seed", "score", "value"])
    scores = scores[(scores["score"] != "ari") | (scores["text"] != "none")]
    left, right = plot_text_scores(scores).axes
    assert [left.get_xlabel(), right.get_xlabel()] == ["stability", "ari"]
    shown = drawn(right)
    assert shown["permuted"][1][:, 0].tolist() == [10.5, 11.5, 12.5] and len(shown["none"][1]) == 0
    assert [name.get_text() for name in left.get_yticklabels()] == ["real", "permuted", "none"]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the real text on top
    assert list(left.lines[0].get_xdata()) == [1.5, 1.5]
    with pytest.raises(ValueError, match=r"scores lacks the columns \['value'\]"):
        plot_text_scores(scores.drop(columns="value"))
    with pytest.raises(ValueError, match="scores lacks rows"):
        plot_text_scores(scores[:0])


def test_names_are_drawn_as_they_are(tmp_path):
    names = ["$x$", "US$5 and US$6", "$\\input{x}$", "G\ud800", "_hidden", "x" * 10_000, "a\x1b[2J"]
    ax = plot_domains(np.arange(14.0).reshape(7, 2), np.array(names, dtype=object), title="$t$")
    ax.figure.savefig(tmp_path / "labels.png", dpi=30)
    shown = {text.get_text() for text in ax.get_legend().get_texts()}
    assert shown == {"$x$", "US$5 and US$6", "$\\input{x}$", "G?", "_hidden", "x" * 40 + "...", "a[2J"}
    assert not any(text.get_parse_math() for text in (*ax.get_legend().get_texts(), ax.title))


@pytest.mark.parametrize(
    ("width", "micrometers", "told", "length"),
    [
        (3000.0, 1, "500 \N{MICRO SIGN}m", 500),
        (12_000.0, 1, "2 mm", 2000),
        (1000.0, 0.65, "100 \N{MICRO SIGN}m", 100 / 0.65),
    ],
)
def test_a_scale_bar_is_of_a_round_length_below_the_tissue(width, micrometers, told, length):
    places = GRID * [width / 3, width / 4]
    ax = plot_domains(places, TRUTH, micrometers=micrometers)
    (bar,) = ax.get_lines()
    assert np.ptp(bar.get_xdata()) == pytest.approx(length)
    assert [text.get_text() for text in ax.texts] == [told]
    assert places[:, 1].max() < bar.get_ydata()[0] < ax.get_ylim()[0]
    assert not plot_domains(places, TRUTH).get_lines()


def test_a_comparison_has_one_scale_bar():
    figure = plot_domain_comparison(GRID * 100, truth=TRUTH, predictions={"x": TRUTH}, micrometers=2)
    assert [len(ax.get_lines()) for ax in figure.axes] == [1, 0]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


@pytest.mark.parametrize("micrometers", [0, -1, np.inf, np.nan, "1"])
def test_a_unit_has_a_length(micrometers):
    with pytest.raises(ValueError, match="micrometers"):
        plot_domains(GRID, TRUTH, micrometers=micrometers)


def test_small_domains_of_a_large_slice_are_pictures_too(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(20, size=60_000)
    ax = plot_domains(rng.random((60_000, 2)), labels, legend=False)
    ax.figure.savefig(tmp_path / "large.svg")
    assert (tmp_path / "large.svg").stat().st_size < 3_000_000


def test_no_figure_is_wider_than_a_page_can_show():
    for shape in ((1, 1), (9, 1), (1, 9)):
        figure = plot_domain_comparison(GRID * shape, truth=TRUTH, predictions=dict.fromkeys("abcde", TRUTH))
        assert len(figure.axes) == 6 and figure.get_figwidth() <= 17


def rows_of(figure, n_slices):
    return [figure.axes[start : start + n_slices] for start in range(0, len(figure.axes), n_slices)]


def test_slices_lie_side_by_side_in_one_set_of_colours():
    places, batch = np.tile(GRID, (2, 1)), np.repeat(["second", "first"], 12)
    before = np.concatenate([TRUTH, np.repeat(["a", "a", "b"], 4)])
    # other names, and of the first slice alone "x" would rather be "b"
    after = pd.Series(before).map({"a": "x", "b": "y", "c": "z"}).to_numpy()
    after[12:18] = "y"
    figure = plot_slices(places, {"before": before, "after": after}, batch=batch)
    upper, lower = rows_of(figure, 2)
    assert [ax.get_title() for ax in figure.axes] == ["first", "second", "", ""]
    assert [ax.get_ylabel() for ax in figure.axes] == ["before", "", "after", ""]
    assert {k: c for k, (c, _) in drawn(upper[1]).items()} == dict(zip("abc", PALETTE, strict=False))
    colours = {k: c for ax in lower for k, (c, _) in drawn(ax).items()}
    assert sorted(colours.values()) == sorted(PALETTE[:3]) and colours["x"] == PALETTE[0]
    for row in (upper, lower):
        assert [sum(len(p) for _, p in drawn(ax).values()) for ax in row] == [12, 12]
        assert row[0].get_legend() is None
    # a legend lists what any slice has, by the colours of the row
    listed = {text.get_text(): to_hex(dot.get_color()).upper() for text, dot in legend_of(lower[1])}
    assert listed == colours


def legend_of(ax):
    legend = ax.get_legend()
    return zip(legend.get_texts(), legend.legend_handles, strict=True)


def test_slices_take_the_colours_of_a_reference_and_columns_by_name():
    adata = make_spatial_domains(240, n_genes=10, n_domains=3, n_slices=3, random_state=0)
    adata.obs["renamed"] = adata.obs["label"].cat.codes.to_numpy() * 10.0
    adata.obs.loc[adata.obs_names[:5], "renamed"] = np.nan
    figure = plot_slices(adata, {"found": "renamed"}, reference="label")
    assert len(figure.axes) == 3
    assert list(drawn(figure.axes[0]))[0] == "unlabelled"
    colours = {k: c for ax in figure.axes for k, (c, _) in drawn(ax).items()}
    assert [colours[k] for k in ("0.0", "10.0", "20.0")] == list(PALETTE[:3])
    assert [text.get_text() for text, _ in legend_of(figure.axes[2])] == ["unlabelled", "0.0", "10.0", "20.0"]
    mixed = adata.obs["label"].sample(frac=1, random_state=0)
    same = plot_slices(adata, {"by name": mixed, "as it is": "label"})
    upper, lower = rows_of(same, 3)
    for above, below in zip(upper, lower, strict=True):
        assert {k: p.tolist() for k, (_, p) in drawn(above).items()} == {
            k: p.tolist() for k, (_, p) in drawn(below).items()
        }
    wide = plot_slices(np.tile(GRID, (30, 1)), {"all": np.tile(TRUTH, 30)}, batch=np.repeat(np.arange(30), 12))
    assert wide.get_size_inches()[0] < 17


def test_slices_of_no_label_at_all_are_drawn():
    figure = plot_slices(GRID, {"known": TRUTH, "none": np.full(12, np.nan)}, batch=np.repeat(["a", "b"], 6))
    assert [list(drawn(ax)) for ax in figure.axes[2:]] == [["unlabelled"]] * 2


def test_wrong_slices_are_named():
    with pytest.raises(ValueError, match="labelings is empty"):
        plot_slices(GRID, {}, batch=TRUTH)
    with pytest.raises(ValueError, match="batch='batch' names no column of obs"):
        plot_slices(GRID, {"a": TRUTH})
    with pytest.raises(ValueError, match="batch is missing for 1 spots"):
        plot_slices(GRID, {"a": TRUTH}, batch=[*TRUTH[:11], None])
    with pytest.raises(ValueError, match=r"labelings\['a'\] has 3 entries but there are 12 spots"):
        plot_slices(GRID, {"a": TRUTH[:3]}, batch=TRUTH)
