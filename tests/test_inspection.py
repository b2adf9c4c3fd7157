import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from skst import GeneTextEncoder, SpaLLMFusion, SpatialGraphTransformer
from skst.genes import GeneDescriptions
from skst.inspection import modulation_genes, modulation_report, semantic_permutation_test
from skst.inspection._statistics import holm, mean_interval, sign_flip_p
from skst.inspection.semantic import _tests, _verdict
from skst.metrics import agreement_matrix, pas_score, score_partition
from skst.text import TextModel

N_SPOTS, N_MODULES, MODULE = 90, 3, 12
DOMAINS = np.repeat(np.arange(N_MODULES), N_SPOTS // N_MODULES)
GENES = [f"MOD{m}GENE{i:02d}" for m in range(N_MODULES) for i in range(MODULE)]


class ModuleVectors:
    """A language model that knows which genes work together: one axis a module."""

    def encode(self, texts):
        return np.array([[f"MOD{m}" in text for m in range(N_MODULES)] for text in texts], dtype=np.float32)


class SameVectors:
    """A language model to which all genes are alike."""

    def encode(self, texts):
        return np.ones((len(texts), 4), dtype=np.float32)


@pytest.fixture(scope="module")
def modules():
    """Counts in which every gene says next to nothing, and the sum over its module says much."""
    rng = np.random.default_rng(0)
    rate = np.where(np.arange(N_MODULES).repeat(MODULE) == DOMAINS[:, None], 1.6, 1.0)
    return pd.DataFrame(rng.poisson(rate).astype(float), columns=GENES)


PLACES = np.column_stack([DOMAINS * 10.0 + np.arange(N_SPOTS) % 5, np.arange(N_SPOTS) % 6])


class TextClusterer(ClusterMixin, BaseEstimator):
    """k-means on text vectors; keeps what each fit was given."""

    seen = []

    def __init__(self, text=None, random_state=None, interrupt_at=None):
        self.text = text
        self.random_state = random_state
        self.interrupt_at = interrupt_at

    def part(self, name):
        return {"text": encoder(ModuleVectors()) if self.text is None else self.text}[name]

    def fit(self, X, y=None, *, coordinates=None):
        if len(self.seen) == self.interrupt_at:
            raise KeyboardInterrupt
        self.seen.append({"y": y, "coordinates": coordinates, "seed": self.random_state, **self.text.get_params()})
        vectors = self.text.fit_transform(X)
        self.labels_ = KMeans(N_MODULES, n_init=1, random_state=self.random_state).fit_predict(vectors)
        return self


@pytest.fixture(autouse=True)
def _forget(bare_home):
    TextClusterer.seen.clear()


def encoder(model):
    return GeneTextEncoder(descriptions=GeneDescriptions(detail="symbol"), model=TextModel(model, cache=False))


def fusion(model, strategy):
    return SpaLLMFusion(
        SpatialGraphTransformer(n_components=5),
        encoder(model),
        strategy=strategy,
        n_clusters=N_MODULES,
        clusterer="kmeans",
        n_vote_neighbors=0,
    )


def rows_of(result, score):
    return result.tests[result.tests["score"] == score].set_index("control")


def test_text_that_carries_the_domains_beats_its_controls(modules):
    model = fusion(ModuleVectors(), "functional")
    with pytest.warns(UserWarning, match="coordinates"):
        result = semantic_permutation_test(model, modules, DOMAINS, n_permutations=8, n_seeds=1, random_state=0)
    ari = rows_of(result, "ari")
    assert ari.loc["permuted", "p"] == ari.loc["gaussian", "p"] == 2**-8
    assert ari.loc["permuted", "verdict"] == "text beats the permuted control"
    assert ari.loc["permuted", "n_as_good"] == 0 and ari.loc["permuted", "low"] > 0.2
    assert "The text mattered by: ari." in result.summary()
    assert list(ari.index) == ["permuted", "gaussian", "none"] and np.isnan(ari.loc["none", "p_rank"])
    assert set(result.scores["text"]) == {"real", "permuted", "gaussian", "none"}


@pytest.mark.filterwarnings("ignore:model='SameVectors' makes the same vector")
@pytest.mark.parametrize("model", [fusion(ModuleVectors(), "expression"), fusion(SameVectors(), "weighted")])
def test_text_without_a_say_makes_no_difference(modules, model):
    result = semantic_permutation_test(
        model, modules, DOMAINS, coordinates=PLACES, n_permutations=3, n_gaussian=0, random_state=0
    )
    permuted = result.tests[result.tests["control"] == "permuted"]
    assert permuted["score"].tolist() == ["stability", "coherence", "ari"]
    assert (permuted["difference"] == 0).all() and (permuted["p"] == 1).all() and (permuted["p_rank"] == 1).all()
    assert (permuted["verdict"] == "no difference seen").all()
    assert result.summary().endswith("No score shows that the text mattered.")
    assert "gaussian" not in set(result.tests["control"])


def test_fits_differ_in_text_alone_and_never_see_labels(modules):
    result = semantic_permutation_test(
        TextClusterer(), modules, DOMAINS, coordinates=PLACES, n_permutations=3, n_gaussian=2, random_state=0
    )
    seen = pd.DataFrame(TextClusterer.seen).drop(columns=["model"])
    assert seen["y"].isna().all() and all(given is PLACES for given in seen["coordinates"])
    seen["control"] = seen["control"].fillna("real")
    seeds = seen.groupby("control")["seed"].agg(list)
    assert seeds["permuted"] == seeds["real"] and seeds["gaussian"] == seeds["real"][:4]
    assert len(set(seeds["real"])) == 6
    draws = seen.groupby("control")["random_state"].agg(list)["permuted"]
    assert draws[0::2] == draws[1::2] and len(set(draws)) == 3  # one permutation a replicate, under two seeds
    assert TextClusterer().get_params()["text"] is None
    assert "none" not in set(result.tests["control"])
    assert rows_of(result, "ari")["n"].to_dict() == {"permuted": 3, "gaussian": 2}


def test_scores_are_those_of_the_fits(modules):
    result = semantic_permutation_test(
        TextClusterer(), modules, DOMAINS, coordinates=PLACES, n_permutations=2, n_seeds=3, random_state=1
    )
    assert result.scores.shape == (3 * 2 * 3 * 3, 5) and not result.interrupted
    real = result.scores[(result.scores["text"] == "real") & (result.scores["replicate"] == 0)]
    fits = [TextClusterer(TextClusterer().part("text"), int(s)).fit(modules).labels_ for s in real["seed"].unique()]
    values = real.groupby("score")["value"].agg(list)
    assert values["ari"] == [score_partition(DOMAINS, labels)["ari"] for labels in fits]
    assert values["coherence"] == [1 - pas_score(labels, PLACES) for labels in fits]
    assert np.allclose(values["stability"], (agreement_matrix(fits).sum(axis=0) - 1) / 2)
    means = result.scores.groupby(["text", "score"])["value"].mean()
    for row in result.tests.itertuples():
        assert row.difference == pytest.approx(means["real", row.score] - means[row.control, row.score])


def test_unlabelled_spots_do_not_count(modules):
    truth = DOMAINS.astype(object)
    truth[::3], truth[1::6], truth[2::9] = None, "NA", np.nan
    options = {"n_permutations": 2, "n_seeds": 1, "metrics": "ari", "random_state": 0}
    result = semantic_permutation_test(TextClusterer(), modules, truth, **options)
    known = pd.notna(truth) & (truth != "NA")
    labels = TextClusterer(TextClusterer().part("text"), int(result.scores["seed"][0])).fit(modules).labels_
    assert result.scores["value"][0] == pytest.approx(adjusted_rand_score(truth[known].astype(int), labels[known]))


def test_results_do_not_depend_on_the_number_of_jobs(modules):
    options = {"coordinates": PLACES, "n_permutations": 2, "random_state": 3}
    one, two = (semantic_permutation_test(TextClusterer(), modules, DOMAINS, n_jobs=n, **options) for n in (1, 2))
    pd.testing.assert_frame_equal(one.scores, two.scores)
    pd.testing.assert_frame_equal(one.tests, two.tests)


def test_an_interrupt_keeps_what_is_done(modules):
    options = {"coordinates": PLACES, "n_permutations": 4, "random_state": 0}
    whole = semantic_permutation_test(TextClusterer(), modules, DOMAINS, **options)
    TextClusterer.seen.clear()
    # Six fits make a replicate; at the 17th the third one lacks half of its Gaussian fits.
    with pytest.warns(UserWarning, match="Interrupted after 17 of 24 fits"):
        part = semantic_permutation_test(TextClusterer(interrupt_at=17), modules, DOMAINS, **options)
    assert part.interrupted and rows_of(part, "ari")["n"].to_dict() == {"permuted": 3, "gaussian": 2}
    assert "interrupted" in part.summary() and not whole.interrupted
    pd.testing.assert_frame_equal(part.scores, whole.scores[: len(part.scores)])
    TextClusterer.seen.clear()
    with pytest.raises(KeyboardInterrupt):
        semantic_permutation_test(TextClusterer(interrupt_at=5), modules, DOMAINS, **options)


class Untexted(TransformerMixin, BaseEstimator):
    pass


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"estimator": GeneTextEncoder()}, "GeneTextEncoder is no clusterer"),
        ({"estimator": KMeans()}, "KMeans has no parameter 'text'"),
        ({"estimator": TextClusterer(Untexted())}, "text=Untexted has no controls"),
        ({"estimator": TextClusterer(GeneTextEncoder(control="gaussian"))}, "control='gaussian', but the test sets"),
        ({"n_permutations": 0}, "leave nothing to compare"),
        ({"n_permutations": -1}, "n_permutations == -1"),
        ({"n_gaussian": -1}, "n_gaussian == -1"),
        ({"n_seeds": 0}, "n_seeds == 0"),
        ({"n_seeds": 1}, "nothing to score by"),
        ({"metrics": ["nmi"]}, r"metrics=\['nmi'\] must be some of"),
        ({"metrics": []}, r"metrics=\[\] must be some of"),
        ({"metrics": "ari"}, "'ari', which needs known labels y"),
        ({"metrics": "coherence"}, "'coherence', which needs coordinates"),
        ({"metrics": "stability", "n_seeds": 1}, "'stability', which needs n_seeds of at least 2"),
        ({"y": DOMAINS[:5]}, "y_true has 5 labels"),
    ],
)
def test_wrong_input_is_named_before_the_first_fit(modules, changed, match):
    with pytest.raises(ValueError, match=match):
        semantic_permutation_test(**{"estimator": TextClusterer(), "X": modules, **changed})
    assert not TextClusterer.seen


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
@settings(deadline=None, max_examples=50)
def test_sign_flip_p_is_exact_when_there_are_few(differences):
    signed = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    expected = sum(total >= sum(differences) for total in signed) / len(signed)
    assert sign_flip_p(np.array(differences) / 7, None) == expected


def test_drawn_sign_flips_agree_with_all_of_them():
    rng = np.random.default_rng(0)
    differences = rng.normal(0.4, 1, size=18)
    signs = 1 - 2 * ((np.arange(2**18)[:, None] >> np.arange(18)) & 1)
    expected = (signs @ differences >= differences.sum() - 1e-12).mean()
    assert sign_flip_p(differences, rng) == pytest.approx(expected, abs=4 * np.sqrt(expected / 9999))
    assert sign_flip_p(np.ones(40), rng) == 1e-4


def test_p_is_uniform_when_real_and_control_can_be_swapped():
    rng = np.random.default_rng(0)
    p = [sign_flip_p(rng.standard_t(2, size=10), rng) for _ in range(1500)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert 0.035 < np.mean(np.array(p) <= 0.05) < 0.065


def test_a_real_text_that_is_one_more_draw_does_not_count_as_meaning():
    """Draws of a control differ by luck; the mean over replicates is fooled, the verdict is not."""
    rng = np.random.default_rng(0)
    small, beats = [], []
    for _ in range(300):
        real = rng.normal() + 0.3 * rng.normal(size=20)
        control = rng.normal(size=20) + 0.3 * rng.normal(size=20)
        scores = pd.DataFrame({"replicate": np.arange(20), "real": real, "permuted": control})
        scores = scores.melt("replicate", var_name="text").assign(score="ari")
        row = _tests(scores, rng).iloc[0]
        small.append(row["p"] <= 0.05)
        beats.append(row["verdict"] == "text beats the permuted control")
        assert row["n_as_good"] == (control >= real).sum()
    assert np.mean(small) > 0.2
    assert np.mean(beats) < 0.09  # 1 / 21, and two and a half standard errors


@pytest.mark.parametrize(
    "numbers, verdict",
    [
        ((0.01, 0, 1 / 6, 0.1), "text beats the permuted control"),
        ((0.01, 2, 3 / 61, 0.1), "text beats the permuted control"),
        ((0.01, 2, 3 / 21, 0.1), "text beats the permuted control on average, but 2 of 20 draws did as well"),
        ((0.06, 0, 1 / 21, 0.1), "no difference seen"),
        ((1.00, 20, 1.00, -0.1), "text does worse than the permuted control"),
    ],
)
def test_verdicts(numbers, verdict):
    names = ["p_holm", "n_as_good", "p_rank", "high"]
    row = pd.Series({"control": "permuted", "n": 20, **dict(zip(names, numbers, strict=True))})
    assert _verdict(row) == verdict


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).round(6).tolist() == [0.03, 0.06, 0.06, 0.02]
    assert holm([0.9, 0.8]).tolist() == [1, 1]


def test_interval_is_that_of_the_t_test():
    values = np.random.default_rng(0).normal(size=12)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((expected.low, expected.high))
    assert np.isnan(mean_interval([1.0])).all()


@pytest.fixture
def factors():
    rng = np.random.default_rng(0)
    return rng.normal(0.2, 1, (200, 4)) * [0.5, 0.2, 0.1, 0.3], rng.normal(size=(200, 4)) * [0.1, 0.4, 0.1, 0.0]


def test_report_by_hand(factors):
    alpha, beta = factors
    features = np.random.default_rng(1).normal(size=(200, 4)) * [1, 2, 3, 4]
    report = modulation_report(alpha, beta, features=features)
    square = np.mean(features**2, axis=0)
    change = alpha.var(axis=0) * square + beta.var(axis=0)
    assert np.allclose(report["share"], change / change.sum()) and report["share"].sum() == pytest.approx(1)
    assert np.allclose(report["relative"] ** 2, change / square / np.mean((1 + alpha) ** 2, axis=0))
    assert np.allclose(report[["alpha_mean", "beta_sd"]].T, [alpha.mean(axis=0), beta.std(axis=0)])
    assert not report["collapsed"].any()


def test_what_counts_is_modulation_relative_to_the_features(factors):
    alpha, beta = factors
    report = modulation_report(alpha, beta, features=np.ones((200, 4)))
    pd.testing.assert_frame_equal(report, modulation_report(alpha, beta))
    scaled = modulation_report(alpha, 1e3 * beta, features=np.full((200, 4), -1e3))
    assert np.allclose(scaled["relative"], report["relative"]) and np.allclose(scaled["share"], report["share"])
    # A shift that is small against its features has collapsed, the same shift of small features has not.
    shift = np.zeros((200, 4))
    shift[:, 0] = beta[:, 0]
    with pytest.warns(UserWarning, match="collapsed in 4 of 4"):
        assert modulation_report(np.zeros((200, 4)), shift, features=np.full((200, 4), 1e3))["collapsed"].all()
    with pytest.warns(UserWarning, match="collapsed in 3 of 4 dimensions"):
        assert modulation_report(np.zeros((200, 4)), shift)["collapsed"].tolist() == [False, True, True, True]


def test_constant_modulation_has_collapsed_however_large(recwarn):
    constant = np.broadcast_to([3.0, -0.5, -1.0], (50, 3))
    report = modulation_report(constant, 10 * constant)
    assert report["collapsed"].all() and report["share"].isna().all()
    assert len(recwarn) == 1 and "collapsed in 3 of 3" in str(recwarn[0].message)
    silent = np.full((50, 1), -1.0)
    assert not modulation_report(silent, np.arange(50.0)[:, None])["collapsed"].any()


@pytest.mark.parametrize("change", [lambda a: a[:, :2], lambda a: a[:5], lambda a: a.ravel(), lambda a: a * np.nan])
def test_report_names_wrong_arrays(factors, change):
    alpha, beta = factors
    with pytest.raises(ValueError, match="shape|2D|NaN"):
        modulation_report(alpha, change(beta))


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(1, 3, size=30), size=(120, 30)).astype(float)
    counts[:, 7], counts[5] = 0, 0
    return counts


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csr_array, sparse.csc_array])
def test_correlations_are_those_of_numpy(counts, kind):
    factor = np.random.default_rng(1).normal(5, 1, size=(120, 3))
    genes = [f"g{i}" for i in range(30)]
    found = modulation_genes(factor, kind(counts), gene_names=genes, n_top=30).genes
    sizes = counts.sum(axis=1)
    depth = np.median(sizes[sizes > 0])
    Y = np.sqrt(counts * np.divide(depth, sizes, out=np.zeros(120), where=sizes > 0)[:, None])
    varying = {g for g, column in zip(genes, counts.T, strict=True) if column.any()}
    assert len(found) == 3 * len(varying) and set(found["gene"]) == varying and "g7" not in varying
    for row in found.itertuples():
        expected = np.corrcoef(factor[:, row.dimension], Y[:, genes.index(row.gene)])[0, 1]
        assert row.r == pytest.approx(expected, abs=1e-5)
        assert (row.direction == "positive") == (expected > 0)
    for _, rows in found.groupby(["dimension", "direction"]):
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1)) and rows["r"].abs().is_monotonic_decreasing


def test_the_genes_and_sets_behind_a_factor_are_found(tissue):
    programmes = tissue.var["programme"]
    sets = {name: [s.upper() for s in rows.index] for name, rows in programmes[programmes != ""].groupby(programmes)}
    sets["absent"] = ["NOSUCHGENE"]
    in_domain = tissue.obs["label"].cat.codes.to_numpy()[:, None] == np.arange(4)
    found = modulation_genes(in_domain * [1.0, 1.0, -1.0, 0.0], tissue, gene_sets=sets, n_top=4)
    best = found.genes[found.genes["rank"] == 1].set_index(["dimension", "direction"])["gene"]
    names = sorted(tissue.obs["label"].unique())
    assert programmes[best[0, "positive"]] == names[0] and programmes[best[2, "negative"]] == names[2]
    assert 3 not in set(found.genes["dimension"])  # a constant factor goes with nothing
    top = found.gene_sets.groupby("dimension").first()
    assert top["gene_set"].tolist() == names[:3] and (top["q"] < 1e-4).all()
    assert (np.sign(top["z"]) == [1, 1, -1]).all() and (np.sign(top["mean_r"] - top["mean_r_rest"]) == [1, 1, -1]).all()
    assert "absent" not in set(found.gene_sets["gene_set"])
    assert np.allclose(found.gene_sets["q"], stats.false_discovery_control(found.gene_sets["p"]))


def test_modulation_genes_reads_the_layer_of_counts(tissue):
    logs = tissue.copy()
    logs.layers["counts"] = logs.X.copy()
    logs.X = logs.X.log1p() if sparse.issparse(logs.X) else np.log1p(logs.X)
    factor = np.random.default_rng(0).normal(size=(tissue.n_obs, 2))
    expected = modulation_genes(factor, tissue).genes
    pd.testing.assert_frame_equal(modulation_genes(factor, logs, layer="counts").genes, expected)
    with pytest.warns(UserWarning, match="looks log-transformed"):
        assert not modulation_genes(factor, logs).genes.equals(expected)


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"gene_names": None}, "X has no gene names"),
        ({"gene_names": ["a"]}, r"gene_names has shape \(1,\) but X has 30 columns"),
        ({"factor": np.zeros((3, 2))}, "factor has 3 rows but X has 120"),
        ({"factor": np.full((120, 2), np.nan)}, "NaN"),
        ({"gene_sets": {"s": ["nothing"]}}, "none of 1 sets has a gene"),
        ({"X": -np.ones((120, 30))}, "X holds -1 where raw counts"),
    ],
)
def test_wrong_input_of_modulation_genes_is_named(counts, changed, match):
    arguments = {"factor": np.ones((120, 2)), "X": counts, "gene_names": [f"g{i}" for i in range(30)], **changed}
    with pytest.raises(ValueError, match=match):
        modulation_genes(**arguments)
