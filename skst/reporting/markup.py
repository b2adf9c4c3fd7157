"""HTML of which nothing that came from outside can become code."""

import html
from collections.abc import Iterable
from typing import Any

# Longest text that is shown of a name; no gene and no file needs more.
_LONGEST = 120


class Markup(str):
    """HTML that was made here; any other text is escaped where it is put in."""

    __slots__ = ()


def element(tag: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element; children that are no `Markup`, and all values of attributes, are escaped.

    Parameters
    ----------
    tag : str
        Of the element.
    *children : object
        What is in it; lists and tuples are several.
    **attributes : object
        An underscore at the end of a name is left out, ``class_`` for one.

    Returns
    -------
    Markup

    Examples
    --------
    >>> from skst.reporting.markup import element
    >>> print(element("p", "a < b", class_='"x"'))
    <p class="&quot;x&quot;">a &lt; b</p>
    """
    told = "".join(f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"' for key, value in attributes.items())
    if tag in ("img", "meta"):
        return Markup(f"<{tag}{told}>")
    return Markup(f"<{tag}{told}>{''.join(map(_shown, children))}</{tag}>")


def escaped(value: Any) -> str:
    """A value as text without the signs that HTML reads, and without control characters.

    Parameters
    ----------
    value : object

    Returns
    -------
    str

    Examples
    --------
    >>> from skst.reporting.markup import escaped
    >>> escaped("<script>")
    '&lt;script&gt;'
    """
    # lone surrogates have no bytes, and a page with a zero byte is none
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return html.escape(
        "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in text)
    )


def name(value: Any) -> Markup:
    """A name from outside: cut where it is too long, and its direction of writing kept to itself.

    Parameters
    ----------
    value : object

    Returns
    -------
    Markup

    Examples
    --------
    >>> from skst.reporting.markup import name
    >>> print(name("Gad1"))
    <bdi>Gad1</bdi>
    """
    text = str(value)
    return element("bdi", text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def table(head: Iterable[Any], rows: Iterable[Iterable[Any]], class_: str = "") -> Markup:
    """A table that scrolls by itself where a screen is too narrow.

    Parameters
    ----------
    head : iterable of object
        Cells of the first row.
    rows : iterable of iterable of object
        Cells of the others.
    class_ : str, default=""
        Of the table.

    Returns
    -------
    Markup

    Examples
    --------
    >>> from skst.reporting.markup import table
    >>> "<td>&amp;</td>" in table(["sign"], [["&"]])
    True
    """
    body = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    first = element("tr", *(element("th", cell, scope="col") for cell in head))
    whole = element("table", element("thead", first), element("tbody", *body), class_=class_)
    return element("div", whole, class_="wide", tabindex="0", role="region", aria_label="table")


def _shown(child):
    if isinstance(child, (list, tuple)):
        return "".join(map(_shown, child))
    return child if isinstance(child, Markup) else escaped(child)
