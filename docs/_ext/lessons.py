"""The directive ``lesson``: a lesson of ``course`` with what its cells say and draw, and its notebooks to download."""

import contextlib
import hashlib
import io
import json
import sys
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
COURSE = ROOT / "course"
FOLDER = ROOT / "docs" / "_generated" / "course"
_DPI = 200
sys.path.insert(0, str(COURSE))

from notebooks import read_cells, write_notebooks  # noqa: E402


class Lesson(SphinxDirective):
    """Shows the lesson of a name; its title is that of the page and left out."""

    required_arguments = 1

    def run(self):
        name = self.arguments[0]
        path = COURSE / f"{name}.py"
        self.env.note_dependency(str(path))
        cells = read_cells(path)
        # as for the gallery: -D plot_gallery=0 runs nothing
        wanted = str(self.config.plot_gallery).lower() not in ("0", "false")
        lines = as_rst(name, cells, outcomes(path, cells, run=wanted))
        return self.parse_text_to_nodes(StringList(lines, source=str(path)), allow_section_headings=True)


def outcomes(path, cells, *, run=True):
    """What each cell says, and the width of the figure that it draws; solved, and run when the lesson has changed."""
    kept = FOLDER / f"{path.stem}.json"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if kept.exists():
        known = json.loads(kept.read_text("utf-8"))
        if known["lesson"] == digest:
            return {int(number): found for number, found in known["found"].items()}
    if not run:
        return {}
    found, names = {}, {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        if cell.kind != "text":
            found[number] = _outcome(cell, names, FOLDER / f"{path.stem}_{number}.png")
    kept.write_text(json.dumps({"lesson": digest, "found": found}), encoding="utf-8")
    return found


def _outcome(cell, names, picture):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(cell.answered, picture.stem, "exec"), names)
    numbers = plt.get_fignums()
    if len(numbers) > 1 or bool(numbers) != bool(cell.alt):
        raise ValueError(f"{picture.stem} draws {len(numbers)} figures; draw one at most, and give it words with alt=.")
    width = 0
    if numbers:
        figure = plt.figure(numbers[0])
        figure.savefig(picture, dpi=_DPI, bbox_inches="tight")
        width = round(100 * figure.get_figwidth())
        plt.close(figure)
    return {"said": said.getvalue().rstrip(), "width": width}


def as_rst(name, cells, found):
    """Lines of a lesson in the language of these pages."""
    files = {"Notebook": name, "Notebook with solutions": f"{name}_solutions"}
    links = [f":download:`{label} </_generated/course/{file}.ipynb>`" for label, file in files.items()]
    blocks = [".. container:: lesson-downloads\n\n   " + " ".join(links)]
    for number, cell in enumerate(cells):
        after = _after(name, number, cell, found.get(number, {"said": "", "width": 0}))
        if cell.kind == "text":
            # the title, and the line under it, are those of the page
            blocks.append("\n".join(cell.source.splitlines()[2 if number == 0 else 0 :]).strip())
        elif cell.kind == "answer":
            solution = "\n\n".join([_block("python", cell.answered), *after])
            blocks += [_block("python", cell.unanswered), ".. dropdown:: A solution\n\n" + _indented(solution)]
        else:
            blocks += [_block("python", cell.answered), *after]
    return "\n\n".join(blocks).splitlines()


def _after(name, number, cell, outcome):
    if outcome["said"]:
        yield _block("none", outcome["said"], "   :class: lesson-said\n")
    if outcome["width"]:
        picture = f".. image:: /_generated/course/{name}_{number}.png"
        yield f"{picture}\n   :alt: {cell.alt}\n   :width: {outcome['width']}px"


def _block(language, text, options=""):
    return f".. code-block:: {language}\n{options}\n{_indented(text)}"


def _indented(text):
    return textwrap.indent(text, "   ")


def setup(app):
    """Called by Sphinx."""
    app.add_directive("lesson", Lesson)
    app.connect("builder-inited", lambda app: write_notebooks(FOLDER))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
