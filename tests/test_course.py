"""The course: solutions solve, exercises fail until they are solved, and numbers typed into it are those measured."""

import json
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from skst.partition import ConsensusMixture

ROOT = Path(__file__).parents[1]
LESSONS = sorted((ROOT / "course").glob("lesson_*.py"))
# What stands in the place of the cell of sizes.
SMALL = {
    "lesson_1_graph": "SPOTS = 600",
    "lesson_2_text": 'SPOTS, TISSUES, MODEL = 120, 3, "lexical"',
    "lesson_3_search": "SPOTS, STARTS = 600, 10",
}


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """Both notebooks of each lesson, as they are downloaded."""
    monkeypatch.syspath_prepend(str(ROOT / "course"))
    import notebooks

    notebooks.write_notebooks(tmp_path / "written")
    yield {path.stem: json.loads(path.read_text("utf-8")) for path in (tmp_path / "written").glob("*.ipynb")}
    sys.modules.pop("notebooks")


@pytest.fixture
def in_class(monkeypatch, tmp_path):
    """A laptop with neither network nor data, in a hurry."""

    def refuse(*arguments, **options):
        raise OSError("no network in class")

    monkeypatch.setenv("SKST_DATA_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("skst.datasets.fetch_osmfish", refuse)
    fit = ConsensusMixture.fit
    monkeypatch.setattr(ConsensusMixture, "fit", lambda self, *rest: fit(self.set_params(n_init=1, n_keep=1), *rest))
    yield
    plt.close("all")


def _code(notebook):
    """Kind and text of each cell of code."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [(cell["metadata"]["tags"][0], "".join(cell["source"])) for cell in cells]


def _run(text, names):
    exec(compile(text, "cell", "exec"), names)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_solutions_solve_and_nothing_else_does(path, notebooks, in_class):
    exercises, solutions = _code(notebooks[path.stem]), _code(notebooks[f"{path.stem}_solutions"])
    names = {"__name__": "__main__"}
    n_exercises = 0
    for place, (kind, text) in enumerate(solutions):
        if kind == "answer":
            # what a student finds fails its check, with words that help
            n_exercises += 1
            assert solutions[place + 1][0] == "check", "a check follows each answer"
            unanswered = dict(names)
            with pytest.raises((AssertionError, NameError)) as error:
                _run(exercises[place][1], unanswered)
                _run(exercises[place + 1][1], unanswered)
            assert str(error.value), "an assertion tells what is wrong"
        _run(SMALL[path.stem] if kind == "sizes" else text, names)
        plt.close("all")
    assert 4 <= n_exercises <= 6


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_exercises_are_the_solutions_without_the_answers(path, notebooks):
    exercises, solutions = notebooks[path.stem], notebooks[f"{path.stem}_solutions"]
    tags = [cell["metadata"].get("tags") for cell in exercises["cells"]]
    assert tags.count(["sizes"]) == 1
    for mine, solved in zip(exercises["cells"], solutions["cells"], strict=True):
        text = "".join(mine["source"])
        assert "SOLUTION" not in text + "".join(solved["source"])
        if mine["metadata"].get("tags") == ["answer"]:
            assert "...  # your answer" in text and "# your answer" not in "".join(solved["source"])
            mine["source"] = solved["source"]
    assert exercises == solutions


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_figures_have_words_and_the_page_its_title(path, notebooks):
    import notebooks as course

    cells = course.read_cells(path)
    title = cells[0].source.splitlines()[0]
    page = (ROOT / "docs" / "course" / f"{path.stem}.rst").read_text("utf-8")
    assert page.startswith(f"{title}\n{'=' * len(title)}\n") and f".. lesson:: {path.stem}\n" in page
    assert f"<course/{path.stem}>\n" in (ROOT / "docs" / "teach.rst").read_text("utf-8")
    drawing = [cell for cell in cells if cell.kind != "text" and re.search(r"^figure\b.* = ", cell.answered, re.M)]
    assert len(drawing) > 2
    for cell in cells:
        assert bool(cell.alt) == (cell in drawing), f"a figure needs words: {cell.source[:80]}"
    # what rst or Markdown alone would understand
    for cell in cells:
        if cell.kind == "text":
            plain = re.sub(r"``[^`]+``", "", cell.source)
            assert not re.search(r"`|:\w+:|^#|\]\(|^\.\. ", plain, re.M), cell.source


def test_scores_in_the_second_lesson_are_those_of_the_report():
    lesson = (ROOT / "course" / "lesson_2_text.py").read_text("utf-8")
    report = (ROOT / "benchmarks" / "results" / "accuracy.md").read_text("utf-8")
    lines = report.partition("## Adjusted Rand index")[2].partition("\n## ")[0].splitlines()
    head, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    columns = [head.index(name) for name in ("SpaLLMFusion", "expression", "text permuted", "text Gaussian")]
    known = {row[0]: [float(row[column].split()[0]) for column in columns] for row in rows if row[0][0].isalpha()}
    typed = {name: json.loads(f"[{scores}]") for name, scores in re.findall(r'"([\w ]+)": \[([\d., ]+)\]', lesson)}
    assert len(typed) == 7
    assert typed == {name: known[name] for name in typed}
