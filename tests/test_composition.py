"""What samples are made of, and whether that differs between conditions."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skst.datasets import make_spatial_domains
from skst.inspection import composition_test, domain_composition
from skst.plotting import PALETTE, plot_composition


def spots(shares, conditions, n=60, seed=0):
    """Samples whose spots have domains of these shares."""
    rng = np.random.default_rng(seed)
    parts = [
        pd.DataFrame({"sample": f"s{i}", "condition": condition, "domain": rng.choice(list("xyz"), n, p=share)})
        for i, (share, condition) in enumerate(zip(shares, conditions, strict=True))
    ]
    return pd.concat(parts, ignore_index=True)


def compared(obs, **parameters):
    return composition_test(obs, obs["domain"], sample=obs["sample"], condition=obs["condition"], **parameters)


FLAT, TILTED = (0.4, 0.3, 0.3), (0.1, 0.6, 0.3)


def test_p_is_that_of_all_deals_counted_by_hand():
    obs = spots([FLAT] * 3 + [TILTED] * 2, ["a"] * 3 + ["b"] * 2)
    found = compared(obs).set_index("domain")
    counts = pd.crosstab(obs["sample"], obs["domain"]).to_numpy()
    shares = counts / counts.sum(axis=1, keepdims=True)
    for number, domain in enumerate("xyz"):
        values = shares[:, number]

        def gap(chosen, values=values):
            rest = [i for i in range(5) if i not in chosen]
            return abs(values[list(chosen)].mean() - values[rest].mean())

        gaps = [gap(chosen) for chosen in itertools.combinations(range(5), 2)]
        assert found.loc[domain, "p"] == pytest.approx(np.mean([g >= gap((3, 4)) - 1e-12 for g in gaps]))
        assert found.loc[domain, "effect"] == pytest.approx(values[3:].mean() - values[:3].mean())
    assert (found["p_least"] == 1 / 10).all() and (found["p_holm"] >= found["p"]).all()


def test_more_spots_of_the_same_samples_prove_no_more():
    obs = spots([FLAT] * 4 + [TILTED] * 4, ["a"] * 4 + ["b"] * 4)
    many = pd.concat([obs] * 50, ignore_index=True)
    few_p, many_p = compared(obs)["p"], compared(many)["p"]
    assert few_p.min() == many_p.min() == pytest.approx(2 / 70)
    assert (compared(many)["p_least"] == 2 / 70).all()


def test_without_a_difference_p_is_uniform():
    rng = np.random.default_rng(0)
    p = []
    for seed in range(60):
        obs = spots(rng.dirichlet((8, 6, 6), size=8), ["a"] * 4 + ["b"] * 4, seed=seed)
        p.append(compared(obs)["p"].iloc[0])
    assert 0.35 < np.mean(p) < 0.7 and np.mean(np.array(p) <= 0.1) < 0.2


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_orders_and_names_do_not_matter(seed):
    obs = spots([FLAT, FLAT, TILTED, TILTED, FLAT, TILTED], ["a", "a", "b", "b", "c", "c"], seed=seed)
    moved = obs.sample(frac=1, random_state=seed).reset_index(drop=True)
    moved["sample"] = moved["sample"].map(lambda name: f"t{9 - int(name[1:])}")
    pd.testing.assert_frame_equal(compared(obs), compared(moved))


def test_drawn_deals_agree_with_all():
    obs = spots([FLAT] * 5 + [TILTED] * 3, ["a"] * 5 + ["b"] * 3)
    exact, drawn = compared(obs), compared(obs.copy(), n_permutations=50, random_state=0)
    assert (exact["p_least"] == 1 / 56).all() and (drawn["p_least"] == 1 / 51).all()
    np.testing.assert_allclose(exact["p"], drawn["p"], atol=0.15)


def test_columns_of_an_anndata_and_spots_without_a_label():
    adata = make_spatial_domains(n_samples=300, n_domains=3, n_slices=4, random_state=0)
    adata.obs["condition"] = adata.obs["batch"].map({"slice1": "a", "slice2": "a", "slice3": "b", "slice4": "b"})
    shares = domain_composition(adata, "label", "batch")
    assert shares.shape == (4, 3) and np.allclose(shares.sum(axis=1), 1)
    found = composition_test(adata, "label", sample="batch", condition="condition")
    assert list(found["domain"]) == list(shares.columns)
    np.testing.assert_allclose(found["share a"], shares.iloc[:2].mean())
    unlabelled = adata.obs["label"].astype(object).where(np.arange(adata.n_obs) % 2 == 0)
    assert sum(domain_composition(adata, unlabelled, "batch").attrs["n_spots"].values()) == (adata.n_obs + 1) // 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"condition": "a"}, r"6 sample\(s\) of 1 condition"),
        ({"sample": "one", "condition": "a"}, r"1 sample\(s\) of 1 condition"),
        ({"sample": "one"}, "condition has 2 values in sample 'one'"),
        ({"domain": None}, "told together of none of the 360 spots"),
    ],
)
def test_faults_are_one_sentence(changed, message):
    obs = spots([FLAT] * 6, ["a"] * 3 + ["b"] * 3).assign(**changed)
    with pytest.raises(ValueError, match=message):
        compared(obs)


def test_permutations_are_a_number():
    with pytest.raises(ValueError, match="n_permutations=0 is not a positive integer"):
        compared(spots([FLAT] * 4, list("aabb")), n_permutations=0)


def test_bars_are_shares_in_the_colours_of_domains():
    obs = spots([FLAT, TILTED], ["a", "b"])
    shares = domain_composition(obs, obs["domain"], obs["sample"])
    ax = plot_composition(shares)
    widths = np.array([[bar.get_width() for bar in bars] for bars in ax.containers]).T
    np.testing.assert_allclose(widths, shares.to_numpy())
    from matplotlib.colors import to_hex

    assert [to_hex(bars[0].get_facecolor()).upper() for bars in ax.containers] == list(PALETTE[:3])
    with pytest.raises(ValueError, match="shares is of type list"):
        plot_composition([1, 2])
    with pytest.raises(ValueError, match="no numbers to draw"):
        plot_composition(shares.astype(str))


def test_samples_of_unlike_size_are_not_told_apart_by_it():
    p = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        obs = pd.concat(
            [
                pd.DataFrame(
                    {
                        "sample": f"s{i}",
                        "condition": "ab"[i >= 4],
                        "domain": rng.choice(list("xyzr"), n, p=[0.4, 0.3, 0.298, 0.002]),
                    }
                )
                for i, n in enumerate([100] * 4 + [2000] * 4)
            ],
            ignore_index=True,
        )
        p.append(compared(obs).set_index("domain")["p"])
    p = pd.DataFrame(p)
    assert p["r"].isna().all()
    assert (p[["x", "y", "z"]] <= 0.05).mean().max() < 0.2
