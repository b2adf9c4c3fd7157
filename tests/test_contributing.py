"""What contributors and releases rely on: versions that agree, bounds that hold nothing back, a guide that works."""

import ast
import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

import skst

ROOT = Path(skst.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SOURCES = sorted((ROOT / "skst").rglob("*.py"))


def test_the_newest_release_is_the_same_everywhere():
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## \[(.+?)\](.*)$", changelog, flags=re.M)
    assert headings[0] == ("Unreleased", "")
    version, date = headings[1][0], headings[1][1].removeprefix(" - ")
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert skst.__version__ == version
    assert f"\nversion: {version}\n" in citation and f"\ndate-released: {date}\n" in citation


def test_no_dependency_has_an_upper_bound():
    assert len(PROJECT["dependencies"]) > 10
    for requirement in PROJECT["dependencies"]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement), requirement


def test_pre_commit_has_the_pinned_versions():
    pinned = dict(requirement.split("==") for requirement in PROJECT["optional-dependencies"]["dev"])
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    found = dict(re.findall(r"repo: https://github\.com/[\w-]+/([a-z]+)\S*\n    rev: v(\S+)", hooks))
    assert found == {name: pinned[name] for name in ("ruff", "codespell")}


def _is_private(name):
    package, *parts = name.split(".")
    return package == "sklearn" and any(part.startswith("_") for part in parts)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_of_sklearn_have_one_door(path):
    if path.match("skst/_constraints.py"):
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not any(_is_private(f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            assert not any(_is_private(alias.name) for alias in node.names)


def test_the_guide_to_an_encoder_works_to_the_letter(tmp_path, monkeypatch):
    from skst.embedding import encoders

    guide = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## Add an encoder")[1].split("\n## ")[0]
    (code, name, test, page, line) = re.findall(r"```\w+\n(.*?)```", guide, flags=re.S)
    assert sum(block.count("\n") for block in (code, name, test, page, line)) < 60
    # The files stand where they would, as far as an import can tell.
    for place, text in {"linear.py": code, "test_linear.py": test}.items():
        (tmp_path / place).write_text(text, "utf-8")
    monkeypatch.setattr(encoders, "__path__", [*encoders.__path__, str(tmp_path)])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(encoders, "__all__", [*encoders.__all__])
    try:
        exec(compile(name, "__init__.py", "exec"), vars(encoders))
        importlib.import_module("test_linear").test_it_learns_and_embeds_alike()
    finally:
        for made in ("skst.embedding.encoders.linear", "test_linear"):
            sys.modules.pop(made, None)
        for made in ("Linear", "linear"):
            vars(encoders).pop(made, None)
