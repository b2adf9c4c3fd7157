"""What single benchmarks measure, against plain loops and known answers, and what their methods are."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from skst import GeneTextEncoder, SpaLLMFusion
from skst.datasets import make_spatial_domains
from skst.graph import spatial_graph
from skst.inspection import load_cell_types
from skst.nn import NormalizedCut
from skst.text import TextModel

from benchmarks import methods  # isort: skip
from benchmarks.__main__ import main  # isort: skip
from benchmarks.data import LEVELS  # isort: skip
from benchmarks.tables import annotation, encoders, learned_graph, likeness, llmdsc_cost, naming, study  # isort: skip


@pytest.mark.parametrize("name", methods.METHODS)
@pytest.mark.parametrize("normalize", [True, False])
def test_methods_follow_k_the_seed_and_the_data(name, normalize):
    model = methods.METHODS[name](4, 17, normalize)
    parameters = model.get_params()
    counts = {v for key, v in parameters.items() if key.endswith("n_clusters") and v is not None}
    assert counts == {4}
    seeds = {v for key, v in parameters.items() if key.endswith("random_state") and v is not None}
    assert seeds == {17}
    if getattr(model, "text", None) is not None and model.text.control is not None:
        assert model.text.random_state == 17
    normalized = [v for key, v in parameters.items() if key.endswith("__normalize")]
    assert normalize or (normalized and not any(normalized)) or name == "PCA + k-means"


@pytest.mark.parametrize("name", ["text permuted", "text Gaussian"])
def test_controls_differ_from_the_default_in_the_control_alone(name):
    control, default = methods.METHODS[name](4, 0, True), methods.METHODS["SpaLLMFusion"](4, 0, True)
    known = default.text.get_params()
    changed = {k for k, v in control.text.get_params().items() if repr(v) != repr(known[k])}
    assert changed == {"control", "random_state"}
    assert repr(default.text) == repr(GeneTextEncoder(model=TextModel(dtype="float32")))
    for model in (control, default):
        assert repr(model.set_params(text=None)) == repr(SpaLLMFusion(n_clusters=4, random_state=0))


TABLES = {**methods.SEMST, **methods.LLMDSC, **methods.STLLM, "all methods": methods.METHODS}


@pytest.mark.parametrize("table", TABLES)
def test_scores_do_not_depend_on_what_the_processor_reads_in(table):
    models = {
        name: make(4, 0).get_params() for name, make in TABLES[table].items() if name not in ("no text", "lexical")
    }
    models = {name: told for name, told in models.items() if told.get("align_to", "shared") is not None}
    found = {(name, told[key]) for name, told in models.items() for key in told if key.endswith("model__dtype")}
    assert {dtype for _, dtype in found} <= {"float32"}, found
    assert found or table == "Ablations", "no method reads"


def test_scaled_genes_even_out_depth_and_drop_the_rare():
    adata = make_spatial_domains(90, n_genes=40, n_domains=2, random_state=0)
    deeper, rare = adata.copy(), adata.copy()
    deeper.X = deeper.X.multiply(np.arange(1, 91)[:, None]).tocsr()
    X = methods.scaled_genes(adata)
    np.testing.assert_allclose(methods.scaled_genes(deeper), X, atol=1e-4)
    assert X.shape == (90, 40) and X.max() <= 10
    few = rare.X.tolil()
    few[:, 5] = 0
    few[:2, 5] = 1
    rare.X = few.tocsr()
    assert methods.scaled_genes(rare).shape == (90, 39)


def test_genes_are_chosen_among_those_of_like_mean():
    rng = np.random.default_rng(0)
    mean = np.repeat([0.5, 50.0], 100)
    X = rng.poisson(mean, (400, 200)).astype(float)
    # Weak genes that vary, which the variance of the strong ones, that do not, would hide.
    X[:, :5] = rng.poisson(0.5 * rng.gamma(0.5, 2.0, (400, 5)))
    assert set(np.argsort(-methods.relative_dispersion(X))[:5]) == set(range(5))
    assert not set(np.argsort(-X.var(axis=0))[:5]) & set(range(5))


def test_the_dense_cut_is_the_same_loss():
    X = np.random.default_rng(0).poisson(1.0, (60, 20)).astype(np.float32)
    z = torch.randn(60, 4, generator=torch.manual_seed(0))
    dense = llmdsc_cost.dense_cut(sparse.csr_array(X))(z)
    assert float(dense) == pytest.approx(float(NormalizedCut(X)(z)), rel=1e-5)


LABELS = pd.Series(["a", "a", "b", None, "b", "a"], dtype="category")


def test_homophily_counts_edges_between_labelled_spots():
    graph = sparse.coo_array((np.ones(4), ([0, 0, 2, 3], [1, 2, 4, 5])), shape=(6, 6))
    assert learned_graph.homophily(graph, LABELS) == pytest.approx(2 / 3)  # the edge 3-5 does not count


@pytest.mark.parametrize("n_edges", [25, 40, 60])
def test_each_spot_keeps_its_best_edge_and_the_best_of_all_follow(n_edges):
    points = np.random.default_rng(0).random((30, 2))
    candidates = spatial_graph(points, n_neighbors=8)

    graph = learned_graph.first_edges(candidates, points, n_edges)
    chosen = {tuple(sorted(edge)) for edge in zip(*graph.coords, strict=True)}
    ends = np.array(sparse.triu(candidates, format="coo").coords)
    lengths = {tuple(edge): np.linalg.norm(points[edge[0]] - points[edge[1]]) for edge in ends.T}
    best = {min((edge for edge in lengths if spot in edge), key=lengths.get) for spot in range(30)}
    others = sorted((edge for edge in lengths if edge not in best), key=lengths.get)
    assert len(best) < 25 and chosen == best | set(others[: n_edges - len(best)])


@pytest.mark.parametrize("name", ["nonsense, alone", "learned, composed spots, regions", "w/o region"])
def test_methods_differ_by_what_they_are_called(name):
    control, graph = {"nonsense, alone": ("unrelated", "knn"), "w/o region": (None, "knn")}.get(name, (None, "learned"))
    model = methods.factories(methods.STLLM)[name](3, 1)
    assert (model.text and model.text.control) == control and model.graph == graph and model.random_state == 1
    assert (model.alpha == 0) == ("alone" in name)
    assert ("region" in model.part("narration").levels) == (name != "w/o region")


def test_both_steps_find_domains_whatever_the_scale():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 100)
    # Stretched: a mixture of one covariance sees through it, unless 1e-6 is added to variances of 1e-8.
    noise = rng.standard_normal((300, 3)) * [30.0, 1.0, 1.0]
    Z = (noise + 8 * np.eye(3)[truth][:, [2, 0, 1]] * [0, 1, 1]).astype(np.float32)
    for scale in (1.0, 1e-4):
        found = encoders.domains(Z * scale, 3, 0)
        assert list(found) == list(encoders.STEPS)
        assert adjusted_rand_score(truth, found["mixture"]) > 0.95
    assert adjusted_rand_score(truth, encoders.domains(Z[:, 1:], 3, 0)["k-means"]) > 0.95


@pytest.mark.parametrize(
    ("data", "label", "name", "right"),
    [
        ("PBMC3k", "Naive CD4 T", "T cell", True),
        ("PBMC3k", "Naive CD4 T", "CD8 cytotoxic T cell", False),
        ("PBMC3k", "Naive CD4 T", None, False),
        ("osmFISH", "Oligodendrocyte Precursor cells", "oligodendrocyte", False),
        ("osmFISH", "Oligodendrocyte Mature", "oligodendrocyte", True),
        ("osmFISH", "pyramidal L4", "excitatory neuron", True),
    ],
)
def test_a_name_is_right_at_the_level_of_the_label_or_above(data, label, name, right):
    assert annotation.is_right(data, label, name) == right


@pytest.mark.parametrize(
    ("label", "name", "level"),
    [
        ("Naive CD4 T", "naive CD4 T cell", "right"),
        ("Naive CD4 T", "T cell", "broad"),
        ("Naive CD4 T", "naive CD8 T cell", "wrong"),
        ("Naive CD4 T", None, "none"),
        ("NK", "CD56 dim natural killer cell", "right"),
    ],
)
def test_a_name_is_judged_by_the_tree(label, name, level):
    assert naming.level("cell", "PBMC3k", label, name) == level


def test_labels_of_the_naming_benchmark_are_types_of_the_package():
    for (kind, data), labels in naming.TRUE.items():
        known = set(load_cell_types(kind=kind)["cell_type"])
        assert all(set(types) <= known for types in labels.values()), data


def test_texts_find_the_cells_whose_genes_they_are_about():
    rng = np.random.default_rng(0)
    themes = rng.standard_normal((5, 8))
    of_gene, of_cell = np.repeat(np.arange(5), 20), np.repeat(np.arange(5), 30)
    vectors = np.repeat(themes, 20, axis=0) + 0.3 * rng.standard_normal((100, 8))
    Z = (of_cell[:, None] == of_gene) + 0.5 * rng.standard_normal((150, 100))
    models, Z = [likeness.relevance(vectors, themes)] * 2, Z - Z.mean(axis=0)
    together = np.maximum(np.corrcoef(Z.T), 0)
    for way, scores in likeness.ways(Z, together, models, np.arange(100)):
        assert (scores.argmax(axis=1) == of_cell).mean() > 0.9, way
    for way, scores in likeness.ways(Z, together, models, rng.permutation(100)):
        assert (scores.argmax(axis=1) == of_cell).mean() < 0.6, way


def test_leading_values_are_what_they_are_beyond_the_next():
    assert likeness.leading(np.arange(12.0)[:, None], 10).ravel().tolist() == [0.0] * 9 + [1, 2, 3]
    assert np.count_nonzero(likeness.leading(np.arange(100.0)[:, None], 10)) == 10


def test_models_in_folders_that_are_called_alike_are_refused(tmp_path, capsys):
    folders = [tmp_path / parent / "model" for parent in "ab"]
    for folder in folders:
        folder.mkdir(parents=True)
    with pytest.raises(SystemExit):
        main(["models", "--models", *map(str, folders), "--output", str(tmp_path)])
    assert "--models has two folders that are called alike; rename one." in capsys.readouterr().err


def _rows(effect):
    """Fabricated runs of one encoder: text adds `effect(quality, region)`, the controls nothing."""
    rng = np.random.default_rng(0)
    rows = []
    for data in ("osmFISH", "DLPFC 151673", "DLPFC 151507"):
        for quality in LEVELS:
            for region in (-1, 0, 1, 2) if (data, quality) == ("osmFISH", "Q0") else (-1,):
                for seed in range(2):
                    base = rng.uniform(0.2, 0.8)
                    for method in ("expression", "SpaLLM", "permuted", "Gaussian"):
                        ari = base + (effect(quality, region) if method == "SpaLLM" else 0)
                        rows.append((data, quality, region, "smooth", seed, method, ari, True, 1.0))
    return pd.DataFrame(rows, columns=[*study.UNIT, "method", "ari", "trained", "seconds"])


def test_claims_are_paired():
    tables = study.claims(_rows(lambda quality, region: 0.1 + 0.05 * (quality in ("Q3", "Q4")) + 0.2 * (region >= 0)))
    assert [table.index.name for table in tables] == [
        f"against {name}" for name in ("expression", "permuted", "Gaussian")
    ]
    for table in tables:
        column = table["smooth"]
        assert column["SpaLLM minus it"] == "+0.120 [+0.120, +0.120]"
        assert column["Q3, Q4 minus Q0, Q1"] == "+0.050 [+0.050, +0.050]"
        assert column["regions minus whole"] == "+0.200 [+0.200, +0.200]"


def test_encoders_are_paired_with_averaging_by_seed():
    smooth = _rows(lambda quality, region: 0.0)
    higher = smooth.assign(encoder="graphst", ari=smooth["ari"] + 0.1 * (smooth["quality"] == "Q0"))
    higher.loc[higher["method"] == "SpaLLM", "ari"] = 0
    # A seed that averaging lacks is no pair.
    lone = higher[higher["seed"] == 1].assign(seed=2, ari=0.5)
    table = study.encoders(pd.concat([smooth, higher, lone]))
    assert table.loc["graphst", "minus smooth"] == "+0.020 [+0.020, +0.020]" and pd.isna(table.loc["smooth"].iloc[1])
    whole = smooth[(smooth["region"] == -1) & (smooth["method"] == "expression")]
    assert table.loc["smooth", "ARI"] == f"{whole['ari'].mean():.3f}"
    assert study.encoders(lone)["ARI"].tolist() == ["0.500"]


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        low, high = study.interval(rng.normal(0.3, 1, size=5)).split("[")[1].rstrip("]").split(", ")
        covered += float(low) <= 0.3 <= float(high)
    assert 0.92 < covered / 400 < 0.98
    assert study.interval([0.5]) == "+0.500"
