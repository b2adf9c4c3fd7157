"""Reports of benchmarks, which are written in Markdown, in the language of these pages."""

import re

# Rows from which on a table is worth sorting.
_LONG = 6


def as_rst(markdown):
    """Lines of a report in the language of these pages; its title is that of the page and left out."""
    _, *blocks = re.split(r"\n\n+", markdown.strip())
    return "\n\n".join(map(_block, blocks)).splitlines()


def _block(text):
    if text.startswith("## "):
        return _underlined(text[3:], "-")
    if text.startswith("### "):
        return _underlined(text[4:], "~")
    if text.startswith("|"):
        return _table(text.splitlines())
    if text.startswith("- "):
        items = "\n".join(f"   - {_inline(line[2:])}" for line in text.splitlines())
        return f".. container:: made-by\n\n{items}"
    return _inline(text)


def _underlined(title, sign):
    # wide enough whatever the escapes add
    title = _inline(title)
    return f"{title}\n{sign * len(title)}"


def _table(lines):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head, _, *body = rows
    classes = "benchmark sortable" if len(body) >= _LONG else "benchmark"
    out = [".. list-table::", "   :header-rows: 1", f"   :class: {classes}", ""]
    for row in (head, *body):
        marks = ["   * -", *["     -"] * (len(row) - 1)]
        out += [f"{mark} {_inline(cell)}".rstrip() for mark, cell in zip(marks, row, strict=True)]
    return "\n".join(out)


def _inline(text):
    """Code in two backticks, and all else as it stands."""
    parts = re.split(r"(`[^`]+`|\*\*[^*]+\*\*)", text)
    return "".join(f"`{part}`" if part.startswith("`") else _plain(part) for part in parts)


def _plain(part):
    if part.startswith("**"):
        return part
    # a sign at the head would make a list
    return re.sub(r"^([-+])", r"\\\1", re.sub(r"([*_|\\])", r"\\\1", part))
