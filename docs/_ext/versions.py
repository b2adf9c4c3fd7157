"""The list of versions at the head of each page: those of _static/versions.json whose pages lie beside these.

Pages of a release are in a folder of its name within those of the development.  Links are relative and made when pages
are built, so that they lead there from a folder on disk as from a server.
"""

import json
from pathlib import Path

DEVELOPMENT = "dev"


def versions_at_hand(listed, own, folder):
    """Entries of the list that are built, the first the pages of the development.

    Each has the keys "name", "own" (whether it is this one) and, relative to the pages in `folder`, "folder".
    """
    to_site = "" if own == DEVELOPMENT else "../"
    found = []
    for entry in listed:
        there = f"{to_site}{entry['url']}"
        if entry["version"] == own:
            found.append({"name": entry["name"], "own": True, "folder": ""})
        elif (Path(folder) / there / "index.html").exists():
            found.append({"name": entry["name"], "own": False, "folder": there})
    if not any(entry["own"] for entry in found):
        raise ValueError(f"docs_version={own!r} is not in docs/_static/versions.json; add its line.")
    return found


def _find(app, config):
    listed = json.loads(Path(app.srcdir, "_static", "versions.json").read_text("utf-8"))
    # what is in html_context has all pages written again when it changes
    config.html_context["versions"] = versions_at_hand(listed, config.docs_version, app.outdir)


def _lead(app, pagename, templatename, context, doctree):
    """The same page of another version, or its front where it has no such page."""

    def version_link(entry):
        exists = Path(app.outdir, entry["folder"], f"{pagename}.html").exists()
        return f"{context['content_root']}{entry['folder']}{pagename if exists else 'index'}.html"

    context["version_link"] = version_link


def setup(app):
    """Called by Sphinx."""
    app.add_config_value("docs_version", DEVELOPMENT, "html", str)
    app.connect("config-inited", _find)
    app.connect("html-page-context", _lead)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
