"""Try attacks for some minutes, and tell what they came to."""

import argparse
import sys

from . import KINDS
from .arena import run
from .verdict import Tally


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to try all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this kind; may be given more than once")
    parser.add_argument("--number", type=int, help="only this attack of the kind, as a line about a failure says it")
    options = parser.parse_args()
    kinds = [KINDS[name] for name in options.kind or KINDS]
    shares = sum(kind.share for kind in kinds)
    tally = Tally()
    for kind in kinds:
        numbers = None if options.number is None else [options.number]
        run(kind, options.seed, numbers=numbers, seconds=60 * options.minutes * kind.share / shares, tally=tally)
    print(tally.table())
    for name, number, outcome, words in tally.failures:
        print(f"{outcome}: {words} (--kind {name!r} --seed {options.seed} --number {number})")
    return 1 if tally.failures else 0


sys.exit(main())
