"""The pages: every example has its place in the gallery, every report its page, and every release its version."""

import json
import re
import sys
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _extensions(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    yield
    for name in ("gallery_scripts", "inventories", "report_text", "versions"):
        sys.modules.pop(name, None)


def test_every_example_has_a_place_in_the_gallery():
    import gallery_scripts

    held = {
        folder: {path.stem for path in (ROOT / "examples" / folder).glob("*.py")} for folder in gallery_scripts.ORDER
    }
    assert held == {folder: set(scripts) for folder, scripts in gallery_scripts.ORDER.items()}
    folders = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(held)
    assert gallery_scripts.section_place("../examples/tissue/") == 0
    assert gallery_scripts.example_place("plot_bad_slice.py") == 1


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.py")), ids=lambda path: path.stem)
def test_an_example_says_which_data_it_reads(path):
    text = path.read_text("utf-8")
    assert re.match(r'"""\n(.+)\n(=+)\n\n\S', text), "an example begins with its title, underlined, and what it shows"
    title, line = text.splitlines()[1:3]
    assert len(title) == len(line)
    if re.search(r"\bfetch_\w+\(", text):
        assert "except OSError" in text and 'adata.uns["source"]' in text


def test_every_report_has_a_page_and_every_page_a_report():
    reports = {path.stem for path in (ROOT / "benchmarks" / "results").glob("*.md")}
    pages = {path.stem: path.read_text("utf-8") for path in (ROOT / "docs" / "benchmarks").glob("*.rst")}
    assert reports == pages.keys()
    contents = (ROOT / "docs" / "benchmarks.rst").read_text("utf-8")
    for name, text in pages.items():
        assert f".. benchmark:: {name}\n" in text and f"    benchmarks/{name}\n" in contents
        drawn = (ROOT / "benchmarks" / "results" / f"{name}.png").exists()
        assert drawn == (":alt:" in text), f"{name}: a figure needs words for those who do not see it"


def test_reports_become_tables():
    from report_text import as_rst

    rows = "".join(f"| a_{n} | +0.{n} [-1, 2] |\n" for n in range(6))
    head = "# Title\n\n- Command: `python -m x`\n- skst\n\n## Part\n\nOf `k*`, 2 * 3.\n\n"
    text = f"{head}| data | ARI |\n| --- | --: |\n{rows}"
    lines = as_rst(text)
    assert lines[:6] == [".. container:: made-by", "", "   - Command: ``python -m x``", "   - skst", "", "Part"]
    assert "Of ``k*``, 2 \\* 3." in lines and "Title" not in lines
    assert "   :class: benchmark sortable" in lines
    assert lines[-2:] == ["   * - a\\_5", "     - \\+0.5 [-1, 2]"]
    assert "   :class: benchmark" in as_rst(text.replace(rows, rows[:25]))


def test_links_to_other_packages_need_no_network(tmp_path):
    from inventories import local_inventories

    mapping = local_inventories(ROOT / "docs" / "_inventories", tmp_path / "new")
    for name, (address, packed) in mapping.items():
        *head, body = Path(packed).read_bytes().split(b"\n", 4)
        assert head[0] == b"# Sphinx inventory version 2" and head[1].endswith(name.encode()) and len(head) == 4
        entries = zlib.decompress(body).decode().splitlines()
        assert address.startswith("https://") and entries
        for entry in entries:
            assert re.fullmatch(r"\S+ py:\w+ -?1 \S+ -", entry)


def test_versions_that_are_built_lead_to_each_other(tmp_path):
    from versions import versions_at_hand

    listed = [{"version": version, "name": version, "url": url} for version, url in (("dev", ""), ("1.0", "1.0/"))]
    assert versions_at_hand(listed, "dev", tmp_path) == [{"name": "dev", "own": True, "folder": ""}]
    release = tmp_path / "1.0"
    release.mkdir()
    for folder in (tmp_path, release):
        (folder / "index.html").touch()
    assert [entry["folder"] for entry in versions_at_hand(listed, "dev", tmp_path)] == ["", "1.0/"]
    of_release = versions_at_hand(listed, "1.0", release)
    assert [(entry["own"], entry["folder"]) for entry in of_release] == [(False, "../"), (True, "")]
    with pytest.raises(ValueError, match="'2.0' is not in"):
        versions_at_hand(listed, "2.0", release)


def test_every_release_has_its_version_of_the_pages():
    listed = json.loads((ROOT / "docs" / "_static" / "versions.json").read_text("utf-8"))
    released = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert [entry["version"] for entry in listed] == ["dev", *released]
    assert [entry["url"] for entry in listed] == ["", *(f"{version}/" for version in released)]
    assert [entry["name"].endswith(" (stable)") for entry in listed] == [place == 1 for place in range(len(listed))]


def test_scores_of_the_readme_are_those_of_the_report():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 120
    report = (ROOT / "benchmarks" / "results" / "accuracy.md").read_text("utf-8")
    shown, known = (_rows(text.partition("## ")[0]) for text in (readme.partition("ARI,")[2], _section(report)))
    assert len(shown) == 6
    columns = {method: known["data"].index(method) for method in shown.pop(next(iter(shown)))}
    for data, scores in shown.items():
        assert scores == [known[data][column] for column in columns.values()], data


def _section(report):
    return report.partition("## Adjusted Rand index")[2].partition("\n## ")[0]


def _rows(text):
    """First cell of each row of a table to the others."""
    lines = [line for line in text.splitlines() if "|" in line and "---" not in line]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    return {first: rest for first, *rest in rows}
