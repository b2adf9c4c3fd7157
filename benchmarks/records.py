"""Tables of runs on disk: one row a run, with the code that made it."""

import hashlib
import subprocess
from datetime import datetime
from pathlib import Path

import pandas as pd

import skst

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
# The column "code" of rows that do not depend on the code of skst: they are kept when it changes.
PUBLISHED = "published code"


def provenance():
    """Columns that say what makes the rows of this process.

    "code" is a hash of the sources that numbers depend on: a commit does not tell one state of uncommitted work from
    another.
    """
    digest = hashlib.sha256()
    package = Path(skst.__file__).parent
    sources = sorted(path for path in package.rglob("*") if path.suffix in (".py", ".tsv"))
    for path in [*sources, HERE / "methods.py", HERE / "data.py"]:
        digest.update(path.name.encode() + path.read_bytes())
    return {
        "date": f"{datetime.now():%Y-%m-%d}",
        "version": skst.__version__,
        "commit": commit_of(HERE, "../skst", "*.py"),
        "code": digest.hexdigest()[:12],
    }


def commit_of(checkout, *sources):
    """Short hash of the commit of a checkout, with a mark if `sources` in it differ; "unknown" without git."""

    def git(*arguments):
        command = ["git", "--no-optional-locks", *arguments]
        return subprocess.check_output(command, cwd=checkout, stderr=subprocess.DEVNULL, text=True).strip()

    try:
        dirty = sources and git("status", "--porcelain", "--", *sources)
        return git("rev-parse", "--short", "HEAD") + ("-dirty" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def append(path, rows):
    """Add rows to a CSV; those that lack a column, or bring a new one, have nothing in it."""
    rows = pd.DataFrame(rows, dtype=object)
    old = pd.read_csv(path, dtype=str, keep_default_na=False) if path.exists() else rows.head(0)
    if path.exists() and set(rows) <= set(old):
        rows.reindex(columns=old.columns).to_csv(path, mode="a", header=False, index=False)
    else:
        pd.concat([old, rows]).to_csv(path, index=False)


def rows_of(path):
    """Rows of a CSV, none without a file."""
    return pd.read_csv(path, dtype={"version": str, "commit": str, "code": str}) if path.exists() else pd.DataFrame()


def current_rows(path, stamp=None):
    """Rows of a CSV that the current code has made, or published code; those of other code stay in the file.

    All rows of a file that does not say what made them, and none without a file.
    """
    rows = rows_of(path)
    if "code" not in rows:
        return rows
    stamp = stamp or provenance()
    return rows[(rows["version"] == stamp["version"]) & rows["code"].isin([stamp["code"], PUBLISHED])]


def latest_rows(path, names):
    """Rows of a CSV by whatever code; of those that are alike in `names`, the ones of the code that came last."""
    rows = rows_of(path)
    names = [name for name in names if name in rows]
    return rows[rows["code"] == rows.groupby(names, dropna=False)["code"].transform("last")] if names else rows
