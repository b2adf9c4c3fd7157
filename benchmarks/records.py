"""Tables of runs on disk: one row a run, with the code that made it."""

import csv
import hashlib
import subprocess
from datetime import datetime
from pathlib import Path

import pandas as pd

import skst

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


def provenance():
    """What makes the rows of this process.

    Returns
    -------
    dict of str to str
        "date", "version" of the package, "commit", and "code", a hash of the sources that numbers depend on: a
        commit does not tell one state of uncommitted work from another.
    """
    digest = hashlib.sha256()
    package = Path(skst.__file__).parent
    sources = sorted(path for path in package.rglob("*") if path.suffix in (".py", ".tsv"))
    for path in [*sources, HERE / "methods.py"]:
        digest.update(path.name.encode() + path.read_bytes())
    return {
        "date": f"{datetime.now():%Y-%m-%d}",
        "version": skst.__version__,
        "commit": _commit(),
        "code": digest.hexdigest()[:12],
    }


def _commit():
    """Short hash of the commit, with a mark if sources differ from it (results may)."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return f"{commit}-dirty" if _git("status", "--porcelain", "--", "../skst", "*.py") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments):
    command = ["git", "--no-optional-locks", *arguments]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()


def append(path, row):
    """Add a row to a CSV, which is begun if it is not there."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def current_rows(path, stamp):
    """Rows of a CSV that the current code has made; those of other code stay in the file.

    Parameters
    ----------
    path : pathlib.Path
    stamp : dict
        As from :func:`provenance`.

    Returns
    -------
    DataFrame
    """
    if not path.exists():
        return pd.DataFrame()
    rows = pd.read_csv(path, dtype={"version": str, "commit": str, "code": str})
    return rows[(rows["version"] == stamp["version"]) & (rows["code"] == stamp["code"])]
