"""The one command: ``python -m benchmarks NAME``, and ``--help`` after a name for its options."""

import sys
from importlib import import_module
from pathlib import Path

from benchmarks.runner import run

NAMES = sorted(path.stem for path in Path(__file__).with_name("tables").glob("[a-z]*.py"))
USAGE = "usage: python -m benchmarks NAME [options], python -m benchmarks NAME --help, or python -m benchmarks --list"


def main(argv=None):
    """Run a benchmark, or list them all; return the exit status."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name == "--list":
        for name in NAMES:
            print(f"{name:<16} {module_of(name).BENCHMARK.question}")
        return 0
    if name in NAMES:
        return run(name, module_of(name), rest)
    if name not in ("-h", "--help"):
        print(f"NAME={name!r} is not one of {', '.join(NAMES)}; --list tells what they are.", file=sys.stderr)
        return 2
    print(USAGE)
    return 0


def module_of(name):
    """The module of a benchmark."""
    return import_module(f"benchmarks.tables.{name}")


if __name__ == "__main__":
    sys.exit(main())
