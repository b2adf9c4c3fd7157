"""Attacks with a seed: what is damaged, hostile, killed or full ends in a right result or in one clear sentence.

``python -m tests.attack --minutes 10 --seed 0`` tries more of them than the suite of tests does.
"""

from . import answers, cached, disks, folders, hdf5, kills, matrices, tables

_ROOMS = (cached, tables, hdf5, matrices, answers, folders, kills, disks)
KINDS = {kind.name: kind for room in _ROOMS for kind in room.KINDS}
