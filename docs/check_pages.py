"""What `make test-docs` asks of the built pages, in headless Chromium: `python docs/check_pages.py docs/_build/html`.

Every page, and a report of skst.report, is opened in a light and a dark theme, as wide as a desk and as a phone.  A
page fails by an error in the console, something that is not found, sideways scrolling, a picture that is missing, text
of too little contrast (WCAG AA), or a link within the pages that leads nowhere.
"""

import argparse
import contextlib
import functools
import http.server
import os
import shutil
import sys
import tempfile
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlparse

WIDTHS = (1280, 390)
THEMES = ("light", "dark")
# Pages of names alone.
SKIPPED = ("genindex.html", "py-modindex.html", "search.html")
SCRIPT = Path(__file__).with_suffix(".js").read_text("utf-8").partition("\n")[2].strip()


class _Links(HTMLParser):
    """Where a page leads, and the places in it that can be led to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.places = set(), {""}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "a" and found.get("href"):
            self.links.add(found["href"])
        self.places |= {found[key] for key in ("id", "name") if found.get(key)}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Say nothing."""


@contextlib.contextmanager
def served(folder):
    """Address of a folder on this machine."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def dead_links(folder):
    """Links within the pages of a folder that lead nowhere."""
    pages = {path.relative_to(folder).as_posix(): _Links(path.read_text("utf-8")) for path in folder.rglob("*.html")}
    for page, read in pages.items():
        for link in read.links:
            target = urlparse(urljoin(f"//here/{page}", link))
            if target.netloc != "here" or target.scheme:
                continue
            path, place = unquote(target.path).lstrip("/"), unquote(target.fragment)
            path = f"{path}index.html" if path.endswith("/") or not path else path
            if not (folder / path).exists():
                yield f"{page}: {link} leads nowhere"
            elif path in pages and place not in pages[path].places:
                yield f"{page}: {link} has no such place"


def faults(browser, address, pages):
    """What is wrong with pages, one sentence each."""
    for theme in THEMES:
        context = browser.new_context(color_scheme=theme)
        context.set_default_timeout(60_000)
        for name in pages:
            page = context.new_page()
            said = []
            page.on(
                "console", lambda message, said=said: said.append(message.text) if message.type == "error" else None
            )
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on(
                "response", lambda got, said=said: said.append(f"{got.status} {got.url}") if got.status >= 400 else None
            )
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                if width == WIDTHS[0]:
                    page.goto(address + name, wait_until="load")
                found = page.evaluate(f"{SCRIPT}.layout()")
                where = f"{name} ({theme}, {width} px)"
                yield from (f"{where}: picture {source} is missing" for source in found["missing"])
                if found["wide"]:
                    yield f"{where}: scrolls sideways by {found['culprit']}"
                yield from (f"{where}: contrast {what}" for what in page.evaluate(f"{SCRIPT}.contrast()"))
            yield from (f"{name} ({theme}): {what}" for what in dict.fromkeys(said))
            page.close()
        context.close()


def listen(page, said):
    """Add what goes wrong in a page to a list."""
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("response", lambda got: said.append(f"{got.status} {got.url}") if got.status >= 400 else None)


def search(browser, address):
    """What is wrong with the search."""
    page = browser.new_page()
    page.goto(f"{address}search.html?q=SpaLLMFusion")
    try:
        page.wait_for_selector("#search-results li a", timeout=30_000)
    except Exception:  # of playwright, which is not imported here
        yield "the search does not find SpaLLMFusion"
    else:
        links = page.eval_on_selector_all("#search-results li a", "found => found.map((link) => link.href)")
        if not any("skst.SpaLLMFusion" in link for link in links):
            yield "the search does not find the page of SpaLLMFusion"
    page.close()


def sorting(browser, address):
    """What is wrong with tables that sort."""
    page = browser.new_page()
    page.goto(f"{address}benchmarks/accuracy.html")
    column = (
        "[...document.querySelector('table.sortable').tBodies[0].rows].map((row) => parseInt(row.cells[1].innerText))"
    )
    button = page.locator("table.sortable th button").nth(1)
    for down in (False, True):
        button.click()
        numbers = page.evaluate(column)
        if numbers != sorted(numbers, reverse=down) or len(set(numbers)) < 2:
            yield f"a click on a heading leaves the column as {numbers}"
    page.close()


def make_report(folder):
    """A report like those that readers make."""
    import skst
    from skst.datasets import make_spatial_domains

    adata = make_spatial_domains(900, n_domains=4, n_slices=2, random_state=0)
    model = skst.SpaLLMFusion(strategy="expression", n_clusters=4, batch_key="batch", random_state=0).fit(adata)
    skst.report(model, adata, folder / "report.html", truth="label", names={0: "a name " * 20}, seconds={"fit": 3.2})


def main():
    """Check, and say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the built pages")
    parser.add_argument("--page", nargs="*", help="check these pages alone")
    arguments = parser.parse_args()
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    program = program or shutil.which("google-chrome")
    if program is None:
        sys.exit("No Chromium is installed: install one (apt-get install chromium), or name it in CHROMIUM.")
    from playwright.sync_api import sync_playwright

    pages = sorted(path.relative_to(arguments.folder).as_posix() for path in arguments.folder.rglob("*.html"))
    pages = arguments.page or [page for page in pages if page not in SKIPPED and not page.startswith("_")]
    found = [] if arguments.page else list(dead_links(arguments.folder))
    with tempfile.TemporaryDirectory() as other, sync_playwright() as playwright:
        make_report(Path(other))
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        with served(arguments.folder) as address:
            found += [] if arguments.page else [*search(browser, address), *sorting(browser, address)]
            found += list(faults(browser, address, pages))
        with served(other) as address:
            found += list(faults(browser, address, ["report.html"]))
        browser.close()
    print("\n".join(found))
    print(f"{len(pages) + 1} pages, {len(found)} faults")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
