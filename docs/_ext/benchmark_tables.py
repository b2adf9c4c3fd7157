"""The directive ``benchmark``: a report of ``benchmarks/results`` as sections and tables."""

from pathlib import Path

from docutils.statemachine import StringList
from report_text import as_rst
from sphinx.util.docutils import SphinxDirective

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


class Benchmark(SphinxDirective):
    """Shows the report of a name: how it was made, its figure if there is one, its tables, and its runs as CSV."""

    required_arguments = 1
    option_spec = {"alt": str}

    def run(self):
        name = self.arguments[0]
        report = RESULTS / f"{name}.md"
        self.env.note_dependency(str(report))
        picture = RESULTS / f"{name}.png"
        lines = as_rst(report.read_text("utf-8"))
        if picture.exists():
            figure = [f".. figure:: /../benchmarks/results/{name}.png", f"   :alt: {self.options['alt']}", ""]
            lines = [*figure, *lines]
        if (RESULTS / f"{name}.csv").exists():
            lines += ["", f":download:`All runs as a table <../../benchmarks/results/{name}.csv>`", ""]
        return self.parse_text_to_nodes(StringList(lines, source=str(report)), allow_section_headings=True)


def setup(app):
    """Called by Sphinx."""
    app.add_directive("benchmark", Benchmark)
    return {"parallel_read_safe": True}
