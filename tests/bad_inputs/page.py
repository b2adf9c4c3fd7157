"""The page of the guide that shows all cases."""

import textwrap
from pathlib import Path

from . import TOPICS

PATH = Path(__file__).parents[2] / "docs" / "guide" / "bad_inputs.rst"

_INTRODUCTION = """\
Bad inputs
==========

Data come in other orders, with other names and from other tools than a method expects. This page lists what people
do, what skst makes of it, and what helps. An **error** comes before anything is trained. A **warning** comes once, and
work goes on. Each is one sentence that names the argument, what was found, and the fix; values of parameters, columns
of DataFrames that were not fitted, and estimators that were not, are told in the words of scikit-learn. Where it says
**works**, nothing is said.

Every row is a test: the input is made, the message is compared, and its advice is followed. The page is written from
these tests by ``python -m tests.bad_inputs``.
"""
_KINDS = {"error": "**Error**:", "warning": "**Warning**:", "nothing": "**Works**:"}


def render():
    """The text of the page."""
    parts = [_INTRODUCTION]
    for topic in TOPICS:
        parts += [f"\n{topic.TITLE}\n{'-' * len(topic.TITLE)}\n", _table(topic.CASES)]
    return "\n".join(parts)


def _table(cases):
    lines = [".. list-table::", "    :header-rows: 1", "    :widths: 30 40 30", ""]
    lines += _row("Situation", "What skst does", "What to do")
    for case in cases:
        lines += _row(case.situation, f"{_KINDS[case.says]} {case.does}", case.do)
    return "\n".join(lines) + "\n"


def _row(*cells):
    lines = []
    for mark, cell in zip(("    * - ", *["      - "] * (len(cells) - 1)), cells, strict=True):
        lines += textwrap.wrap(
            cell, 120, initial_indent=mark, subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False
        )
    return lines
