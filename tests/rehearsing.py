"""Rehearsals of HDF5 files in forks of one process that has loaded h5py: to start a program for each takes far longer.

This file is also the program of that process.
"""

import json
import os
import subprocess
import sys
import threading

from skst.files import rehearsal

STARTS_A_PROGRAM = rehearsal._words_of


class Rehearser:
    """Says what the program of a rehearsal would say, from a fork that runs the same."""

    def __init__(self):
        self._process, self._owner, self._lock = None, os.getpid(), threading.Lock()

    def words_of(self, command, seconds):
        """What ``rehearsal._words_of`` returns; a fork of the tests themselves starts a program, as users do."""
        if os.getpid() != self._owner or not hasattr(os, "fork"):
            return STARTS_A_PROGRAM(command, seconds)
        with self._lock:
            if self._process is None:
                self._process = self._start()
            self._process.stdin.write(json.dumps([*command][-3:]) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def _start(self):
        alone = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([sys.executable, "-P", __file__], env=alone, text=True, **pipes)

    def end(self):
        if self._process is not None:
            self._process.communicate()


def _serve():
    import h5py  # noqa: F401  # forks find it loaded

    for line in sys.stdin:
        print(json.dumps(_words_of_fork(*json.loads(line))), flush=True)


def _words_of_fork(path, n_bytes, seconds):
    told, telling = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(telling, 1)
            rehearsal._rehearse(path, int(n_bytes), int(seconds))
        finally:
            os._exit(0)
    os.close(telling)
    with os.fdopen(told) as words:
        said = words.read()
    os.waitpid(child, 0)
    return said


if __name__ == "__main__":
    _serve()
