"""The benchmarks: each declared table is made of tiny tissue and has the rows and columns of the committed one."""

import os
import re
import sys
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from skorch import NeuralNet

from skst.datasets import make_spatial_domains
from skst.partition import ConsensusMixture
from skst.settings import CellNetwork, GraphNetwork
from skst.text import named_models

ROOT = Path(__file__).parents[1]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are not part of this installation", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from benchmarks import __main__ as command  # noqa: E402
from benchmarks import data, processes, runner  # noqa: E402
from benchmarks.tables import llmdsc_cost, max_texts, search, semst, study  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
ONE = ["--data", "osmFISH"]
# Rows of Harmony are made where that is installed.
N_HARMONY = int(find_spec("harmonypy") is not None)
# Name -> options, rows of its tables, and sections of the committed page that these options do not make.
TINY = {
    "accuracy": (ONE, {"accuracy": 9}, set()),
    "annotation": (ONE, {"annotation": 3 * 2 * 15}, {"Names, Baron mouse", "Names, PBMC3k", "Names, PBMC68k reduced"}),
    "batches": (
        ["--data", "osmFISH, halves"],
        {"batches": (2 + N_HARMONY) * 8 + 4},
        set(),
    ),
    "cell_batches": (["--data", "sc_mixology, plates"], {"cell_batches": (2 + N_HARMONY) * 3}, set()),
    "consensus": ([*ONE, "--quality", "Q0", "Q4"], {"consensus": 2 * 8}, set(data.SPATIAL) - {"osmFISH"}),
    "cuda": (
        ["--device", "cpu", "--method", "SemSTClusterer", "LLMDSCClusterer", "--data", "simulated"],
        {"cuda": 2},
        set(),
    ),
    "cuda_cost": (
        ["--device", "cpu", "--sizes", "100", "--epochs", "2", "--texts", "8", "--tiny"],
        {"cuda_cost": 3 + 2},
        set(),
    ),
    "domains": (ONE, {"domains": 2 + 3}, set()),
    "encoders": ([*ONE, "--sizes", "80", "--epochs", "2"], {"encoders": 5 + 8 + 5}, set()),
    "in_place": (ONE, {"in_place": 6}, set()),
    "large": (["--sizes", "100", "--shapes", "--networks", "90"], {"large": 3 + 4}, {"Other shapes"}),
    "learned_graph": (ONE, {"learned_graph": 1}, set()),
    "likeness": (ONE, {"likeness": 6 * 6}, set()),
    "llmdsc": (["--data", "PBMC3k", "--recall"], {"llmdsc": 21, "llmdsc_recall": 2 * 4 * 3}, set()),
    "llmdsc_cost": (["--sizes", "100", "150"], {"llmdsc_cost": 6 + 4}, set()),
    "max_texts": (ONE, {"max_texts": 2}, set()),
    "models": (["--data", "osmFISH", "PBMC3k", "--models", "lexical"], {"models": 4}, set()),
    "panel_text": (
        ["--data", "osmFISH, halves"],
        {"panel_text": 2 + 4 * 6 + 3},
        {"DLPFC 151673, 151674", "DLPFC 151507, 151510"},
    ),
    "panels": (
        ["--data", "osmFISH, halves"],
        {"panels": 1 + 6 * 4 + 4},
        {"STARmap, halves", "DLPFC 151673, 151674", "DLPFC 151507, 151510"},
    ),
    "quality": ([*ONE, "--quality", "Q0", "Q4"], {"quality": 2 * 6}, set(data.THINNED) - {"osmFISH"}),
    "scale": (["--sizes", "100"], {"scale": 4}, set()),
    "search": (["--spots", "90", "--jobs", "1"], {"search": 2 * 3}, set()),
    "semst": (ONE, {"semst": 28, "semst_oracle": 1}, set()),
    "semst_cost": (
        ["--peer-sizes", "100", "--sizes", "100", "--epochs", "2", "--model", "lexical"],
        {"semst_cost": 2 + 2},
        set(),
    ),
    "stllm": (ONE, {"stllm": 5 + 3 + 4 + 3 + 5}, set()),
    "stllm_cost": ([*ONE, "--sizes", "100"], {"stllm_cost": 2 * 3 + 8}, set()),
    "study": (
        [*ONE, "--encoder", "smooth", "stagate", "--quality", "Q0", "Q3"],
        {"study": 6 + 8 + 5 + 7 + 2 * 2 * 5},
        set(),
    ),
    "text_kernel": (["--data", "osmFISH", "HER2ST H1", "--quality", "Q3"], {"text_kernel": 2 * 9}, set()),
}


def simulated(n_samples=80):
    return data.DataSet(partial(labelled, n_samples))


def labelled(n_samples):
    """Tissue whose domains are called as cell types are."""
    adata = make_spatial_domains(n_samples, n_genes=40, n_domains=3, effect=4.0, random_state=0)
    adata.obs["cell_type"] = adata.obs["label"].map(
        {"domain1": "Astrocyte", "domain2": "Microglia", "domain3": "Ependymal"}
    )
    return adata


def cells_of(page, title):
    """Rows of the first table of a section, as lists of cells."""
    section = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def titles_of(page):
    return [line[3:] for line in page.splitlines() if line.startswith("## ")]


def home_of(name):
    """Where a page shows its sections: what needs a GPU waits for one, and has a layout alone until then."""
    return RESULTS if (RESULTS / f"{name}.md").exists() else RESULTS.with_name("layouts")


@pytest.fixture
def tiny(monkeypatch, tmp_path, bare_home):
    """One simulated tissue for all data, words for a language model, one network, two epochs, all in this process."""
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    tissue, cells = simulated(), simulated()
    for module in [data, *map(command.module_of, command.NAMES)]:
        registries = [module.BENCHMARK.axes.get("data", {})] if module is not data else []
        for registry in [*registries, *vars(module).values()]:
            if isinstance(registry, dict) and any(isinstance(found, data.DataSet) for found in registry.values()):
                for name in registry:
                    monkeypatch.setitem(registry, name, cells if name in data.MICE else tissue)
    monkeypatch.setattr(named_models, "find_spec", lambda name: None)
    monkeypatch.setattr(named_models, "_hub_fault", lambda name: "none in a test")
    fit_loop = NeuralNet.fit_loop
    monkeypatch.setattr(NeuralNet, "fit_loop", lambda self, X, y=None, epochs=None, **rest: fit_loop(self, X, y, 2))
    for network in (CellNetwork, GraphNetwork):
        monkeypatch.setitem(network.__init__.__kwdefaults__, "n_networks", 1)
    fit = ConsensusMixture.fit
    monkeypatch.setattr(ConsensusMixture, "fit", lambda self, *rest: fit(self.set_params(n_init=1, n_keep=1), *rest))
    monkeypatch.setattr(runner, "call_apart", processes.call_here)
    smaller = {study: {"N_REGIONS": 2, "REGION_SIZE": 60}, llmdsc_cost: {"MOST_DENSE": 100, "N_GENES": 50}}
    smaller[semst] = {"EVERY": 1}
    smaller[max_texts] = {"NUMBERS": (10, 20)}
    smaller[search] = {"GRID": {"beta": [0.5], "text__k_g": [5]}, "WEIGHTS": {"beta": [0.3, 0.5]}}
    for module, names in smaller.items():
        for name, value in names.items():
            monkeypatch.setattr(module, name, value)
    return tmp_path


@pytest.mark.filterwarnings("ignore:Attempt to set", "ignore:divide by zero")  # figures of one size, and no time
@pytest.mark.parametrize("name", TINY)
def test_a_table_is_made_as_it_was_committed(name, tiny, capsys):
    options, n_rows, absent = TINY[name]
    axes = command.module_of(name).BENCHMARK
    seeds = ["--seeds", "1"] if axes.seeds else []
    seeds += [] if axes.alone else ["--jobs", "1"]
    assert command.main([name, *options, *seeds, "--output", str(tiny)]) == 0, capsys.readouterr().out
    for file, n in n_rows.items():
        rows = pd.read_csv(tiny / f"{file}.csv")
        assert len(rows) == n
        if (RESULTS / f"{file}.csv").exists():
            assert set(rows) == set(pd.read_csv(RESULTS / f"{file}.csv", nrows=0))
    page, committed = ((folder / f"{name}.md").read_text("utf-8") for folder in (tiny, home_of(name)))
    assert set(titles_of(committed)) - set(titles_of(page)) == absent
    for title in set(titles_of(committed)) & set(titles_of(page)):
        assert len(cells_of(page, title)) >= 3, title
    assert (tiny / f"{name}.png").exists() == (RESULTS / f"{name}.png").exists()


@pytest.fixture
def model_folder(tmp_path):
    """A model of one layer with random weights, that knows letters."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "small-one"
    folder.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=512, **sizes)
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_what_a_model_has_to_read_is_told_before_and_read_once(tiny, model_folder, monkeypatch, capsys):
    read, plain = [], named_models._sentence_vectors

    def reads(model, texts, *rest):
        read.extend(texts)
        return plain(model, texts, *rest)

    monkeypatch.setattr(named_models, "_sentence_vectors", reads)
    told = ["models", "--data", "osmFISH", "PBMC3k", "--output", str(tiny), "--models", str(model_folder)]
    assert command.main([*told, str(tiny / "absent"), "--seeds", "1"]) == 1, "a model that is asked for is missing"
    said = capsys.readouterr().out
    assert re.search(r"absent is left out: .*absent' is not a directory; check the path\.", said)
    assert int(re.search(r"small-one has (\d+) texts to read, [\d.e-]+ s each", said)[1]) == len(read) == len(set(read))
    assert said.index("texts to read") < said.index("[1/4]"), "before the first run"

    assert command.main([*told, "--seeds", "2"]) == 0
    assert "texts to read" not in capsys.readouterr().out and len(read) == len(set(read))
    rows = pd.read_csv(tiny / "models.csv")
    made = product(("PBMC3k", "osmFISH"), ("no text", "small-one"))
    assert rows.groupby(["data", "method"]).size().to_dict() == dict.fromkeys(made, 2)
    assert (rows["text_model"].isna() == (rows["method"] == "no text")).all()
