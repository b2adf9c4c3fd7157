"""Lessons as notebooks: `python course/notebooks.py FOLDER` writes two of each, with and without the solutions.

A lesson is a script in cells (``# %%``).  A cell tagged "answer" is what students write; in the notebook of exercises
the lines between ``### BEGIN SOLUTION`` and ``### END SOLUTION`` are left to them.  Text is read as Markdown in
notebooks and as reStructuredText on the pages: of both, it uses what they have in common.
"""

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
LESSONS = tuple(sorted(HERE.glob("lesson_*.py")))
_HEAD = re.compile(r"^# %%(.*)$", flags=re.M)
_SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION\n?", flags=re.M | re.S)


class Cell(NamedTuple):
    """One cell: its text without marks, what it is ("text", "code", "sizes", "answer" or "check"), and its figure."""

    source: str
    kind: str
    alt: str

    @property
    def unanswered(self):
        """The cell as students get it."""
        return _SOLUTION.sub(r"\1...  # your answer\n", self.source).strip()

    @property
    def answered(self):
        """The cell as teachers get it."""
        return re.sub(r"^ *### (BEGIN|END) SOLUTION\n?", "", self.source, flags=re.M).strip()


def read_cells(path):
    """Cells of a lesson, in order."""
    _, *parts = _HEAD.split(Path(path).read_text("utf-8"))
    return [_cell(head.strip(), body.strip("\n") + "\n") for head, body in zip(parts[::2], parts[1::2], strict=True)]


def _cell(head, body):
    if head.startswith("[markdown]"):
        return Cell(re.sub(r"^# ?", "", body, flags=re.M).strip(), "text", "")
    told = {key: json.loads(value) for key, value in re.findall(r'(\w+)=(\[[^]]*\]|"[^"]*")', head)}
    return Cell(body, told.get("tags", ["code"])[0], told.get("alt", ""))


def as_notebook(cells, *, solved):
    """Notebook of a lesson, as what a file of format 4.5 holds."""
    return {
        "cells": [_as_json(number, cell, solved) for number, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _as_json(number, cell, solved):
    lines = (cell.answered if solved else cell.unanswered).splitlines(keepends=True)
    if cell.kind == "text":
        return {"cell_type": "markdown", "id": f"cell-{number}", "metadata": {}, "source": lines}
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": f"cell-{number}",
        "metadata": {"tags": [cell.kind]},
        "outputs": [],
        "source": lines,
    }


def write_notebooks(folder):
    """Write both notebooks of each lesson into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path in LESSONS:
        cells = read_cells(path)
        for name, solved in {path.stem: False, f"{path.stem}_solutions": True}.items():
            text = json.dumps(as_notebook(cells, solved=solved), ensure_ascii=False, indent=1) + "\n"
            (folder / f"{name}.ipynb").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    write_notebooks(sys.argv[1])
