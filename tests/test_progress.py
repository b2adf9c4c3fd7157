"""Bars of progress: drawn or not, and no process hangs for another that was killed."""

import os
import subprocess
import sys

import pytest

from skst._progress import progress_bar

# A backend may make a bar of its own, as SentenceTransformer does, shown or not.
_FORKING = """
import os, signal, sys, threading
from tqdm import tqdm
from skst.text.vectors import encode_texts
from skst._progress import _bar_class

class Backend:
    def encode(self, texts):
        with tqdm(texts, disable=True):
            return [[1.0]] * len(texts)

def encode(verbose):
    assert encode_texts(["a", "b"], Backend(), verbose=verbose).shape == (2, 1)

def forked(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        work()
        os._exit(0)
    return os.waitpid(pid, 0)[1]

def die_within():
    tqdm.get_lock().acquire()
    _bar_class().get_lock().acquire()
    os.kill(os.getpid(), signal.SIGKILL)

encode(1)
signal.alarm(20)
assert forked(die_within) == signal.SIGKILL
for verbose in (0, 1):
    encode(verbose)

held, done = threading.Event(), threading.Event()

def hold():
    with tqdm.get_lock(), _bar_class().get_lock():
        held.set()
        done.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
assert forked(lambda: encode(1)) == 0
done.set()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_killed_child_hangs_no_bar_of_its_parent():
    done = subprocess.run([sys.executable, "-c", _FORKING], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_bar_counts_where_it_is_shown(capsys):
    for shown in (False, True):
        with progress_bar(3, "reading", "texts", shown=shown) as advance:
            advance()
            advance(2)
        drawn = capsys.readouterr()
        assert drawn.out == "" and ("reading: 100%" in drawn.err and "3/3" in drawn.err) == shown
        assert shown or not drawn.err


def test_no_bar_is_made_where_none_is_shown(monkeypatch):
    from tqdm import tqdm

    def refuse(*args, **kwargs):
        raise AssertionError("a bar was made")

    monkeypatch.setattr(tqdm, "__init__", refuse)
    with progress_bar(3, "reading", "texts", shown=False) as advance:
        advance(3)
