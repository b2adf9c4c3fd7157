"""Links to other packages from lists kept here, so that a build asks nothing of the network."""

import zlib
from pathlib import Path

_HEAD = """# Sphinx inventory version 2
# Project: {name}
# Version:
# The remainder of this file is compressed using zlib.
"""


def local_inventories(lists, built):
    """Value of ``intersphinx_mapping`` for the lists ``NAME.txt`` in a folder, which are packed into another.

    The first line of a list is the address of the pages, each other line an entry as inventories have them.
    """
    built.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for path in sorted(Path(lists).glob("*.txt")):
        address, *entries = path.read_text("utf-8").splitlines()
        packed = built / f"{path.stem}.inv"
        content = _HEAD.format(name=path.stem).encode() + zlib.compress("".join(f"{e}\n" for e in entries).encode())
        if not packed.exists() or packed.read_bytes() != content:
            packed.write_bytes(content)
        mapping[path.stem] = (address, str(packed))
    return mapping
