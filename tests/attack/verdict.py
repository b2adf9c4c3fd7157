"""What an attack can come to, how errors are judged, and how many attacks of each kind came to what."""

import re
import traceback
from collections import Counter
from pathlib import Path

import skst
from skst.files.untrusted import RefusedError

HELD, REFUSED = "held", "refused"
LOST, WRONG, CRASHED = "lost", "wrong", "crashed"
FAILURES = (LOST, WRONG, CRASHED)
OUTCOMES = (REFUSED, HELD, *FAILURES)

_SKST = str(Path(skst.__file__).parent)
_KINDS = (ValueError, TypeError, RuntimeError, OSError)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


class Failure(Exception):
    """An attack went through: one of FAILURES, and what was seen."""

    def __init__(self, outcome, words):
        super().__init__(outcome, words)
        self.outcome = outcome
        self.words = words


def require(holds, words, outcome=WRONG):
    """Raise a Failure unless something holds."""
    if not holds:
        raise Failure(outcome, words)


def judged(attempt, *args):
    """The outcome of an attempt and words about it, whatever it raises.

    Parameters
    ----------
    attempt : callable
        Returns HELD or REFUSED.
    *args
        Handed to it.
    """
    try:
        return attempt(*args), ""
    except Failure as failure:
        return failure.outcome, failure.words
    except Exception as error:
        if _lacked_memory(error):
            return CRASHED, f"memory over the limit: {_told(error)}"
        fault = _fault_of_refusal(error)
        return (WRONG, f"{fault}: {_told(error)}") if fault else (REFUSED, "")


def _fault_of_refusal(error):
    """Why an error is no clear refusal; empty if it is one."""
    if not isinstance(error, _KINDS):
        return "an error of an undocumented kind"
    where = traceback.extract_tb(error.__traceback__)[-1].filename
    # What reads a stream for another library is called by that library.
    if not where.startswith(_SKST) and not isinstance(error, RefusedError):
        return f"an error that {Path(where).name} raised"
    words = _QUOTED.sub("''", str(error))
    if "\n" in words or not words.endswith(".") or words.endswith("..") or ". " in words:
        return "an error that is not one sentence"
    return ""


def _lacked_memory(error):
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _told(error):
    places = [f"{Path(at.filename).name}:{at.lineno}" for at in traceback.extract_tb(error.__traceback__)[-3:]]
    return f"{type(error).__name__} at {' > '.join(places)}: {' '.join(str(error).split())[:300]}"


class Tally:
    """Counts of outcomes by kind, and the failures."""

    def __init__(self):
        self.counts = {}
        self.failures = []

    def add(self, kind, number, outcome, words):
        self.counts.setdefault(kind, Counter())[outcome] += 1
        if outcome in FAILURES:
            self.failures.append((kind, number, outcome, words))

    def count(self, kind, outcome):
        return self.counts.get(kind, Counter())[outcome]

    def table(self):
        """The counts as lines of text."""
        columns = ("tried", *OUTCOMES)
        rows = [("kind", *columns)]
        for kind, counts in self.counts.items():
            rows.append((kind, *(str(n) for n in (counts.total(), *(counts[outcome] for outcome in OUTCOMES)))))
        width = max(len(row[0]) for row in rows)
        return "\n".join(row[0].ljust(width) + "".join(cell.rjust(9) for cell in row[1:]) for row in rows)
