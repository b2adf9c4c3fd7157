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
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty"]
    try:
        described = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
        commit = described.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return {
        "date": f"{datetime.now():%Y-%m-%d}",
        "version": skst.__version__,
        "commit": commit,
        "code": digest.hexdigest()[:12],
    }


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
