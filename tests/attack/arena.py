"""Runs attacks where a crash is seen: in a forked child with limits, replaced when it dies."""

import faulthandler
import gc
import json
import math
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np

from .verdict import CRASHED, Tally, judged

# Twice what a file of any size may unfold to, and room for the tables that are made of it.
_MEMORY = 3 * 2**30
# Attacks that a child handles at most, as libraries leak some memory over damaged files.
_MOST = 500


@dataclass(frozen=True)
class Kind:
    """One kind of attack.

    Attributes
    ----------
    name : str
    attempt : callable
        Takes a random generator, an empty folder and what `prepare` returned; returns HELD or REFUSED, or raises.
    prepare : callable
        Takes a folder that stays; called once, before any child is forked.
    seconds : int
        Of CPU time that an attempt may take; three times as many may pass on the clock.
    share : float
        Part of a longer run, beside the shares of the others.
    rounds : int
        How often the suite of tests tries it.
    can_refuse : bool
        Whether there is anything that can be refused.
    """

    name: str
    attempt: callable
    prepare: callable = lambda folder: None
    seconds: int = 10
    share: float = 1.0
    rounds: int = 60
    can_refuse: bool = True


def run(kind, seed, *, numbers=None, seconds=None, tally=None):
    """Try a kind of attack over and over.

    Parameters
    ----------
    kind : Kind
    seed : int
        With the number of an attack, and its kind, decides all that is random in it.
    numbers : iterable of int, default=None
        Which attacks to try; without end by default.
    seconds : float, default=None
        When to stop on the clock, counted from the end of preparations, whatever is left.
    tally : Tally, default=None
        Where to count; a new one by default.

    Returns
    -------
    Tally
    """
    tally = Tally() if tally is None else tally
    numbers = iter(range(sys.maxsize) if numbers is None else numbers)
    with _folder() as folder, _at_home_in(folder), one_thread():
        (folder / "kept").mkdir()
        given = kind.prepare(folder / "kept")
        child = None
        until = math.inf if seconds is None else time.monotonic() + seconds
        try:
            while time.monotonic() < until and (number := next(numbers, None)) is not None:
                child = child or _Child(kind, seed, folder, given)
                outcome, words = child.try_one(number)
                tally.add(kind.name, number, outcome, words)
                if child.alive and (number + 1) % _MOST == 0:
                    child.end()
                child = child if child.alive else None
        finally:
            if child is not None:
                child.end()
    return tally


@contextmanager
def _folder():
    """A folder in memory where there is one, as writing through to a disk takes long."""
    home = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="skst-attack-", dir=home))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _at_home_in(folder):
    """Neither the user's cache nor tables that take long to read, whoever has them."""
    names = "SKST_DATA_HOME", "SKST_CACHE_HOME"
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ.update((name, str(folder / "home")) for name in names)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


class _Child:
    """A forked process that is told numbers of attacks and tells what they came to."""

    def __init__(self, kind, seed, folder, given):
        self.kind = kind
        self.alive = True
        asked, self.asking = os.pipe()
        self.told, telling = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.asking)
            os.close(self.told)
            try:
                _serve(kind, seed, folder, given, asked, telling)
            finally:
                os._exit(1)
        os.close(asked)
        os.close(telling)

    def try_one(self, number):
        """What one attack comes to; afterwards the child may be dead."""
        with suppress(BrokenPipeError):
            os.write(self.asking, f"{number}\n".encode())
        answer, until = b"", time.monotonic() + 3 * self.kind.seconds
        while not answer.endswith(b"\n"):
            if not select.select([self.told], [], [], max(0.0, until - time.monotonic()))[0]:
                self.end()
                return CRASHED, f"no end after {3 * self.kind.seconds} s"
            part = os.read(self.told, 2**16)
            if not part:
                return CRASHED, self.end()
            answer += part
        return json.loads(answer)

    def end(self):
        """Kill the child; words about what it had died of."""
        self.alive = False
        os.close(self.asking)
        os.close(self.told)
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        for _ in range(200):  # one that has closed its pipes is about to die by itself
            if ended:
                break
            time.sleep(0.001)
            ended, status = os.waitpid(self.pid, os.WNOHANG)
        if not ended:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            return "killed"
        if os.WIFSIGNALED(status):
            return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
        return f"ended with status {os.waitstatus_to_exitcode(status)}"


def _serve(kind, seed, folder, given, asked, telling):
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    faulthandler.disable()
    gc.freeze()
    keep_quiet()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_used_memory() + _MEMORY,) * 2)
    with os.fdopen(asked) as numbers, os.fdopen(telling, "w") as answers, one_thread():
        for line in numbers:
            number = int(line)
            allow_seconds(kind.seconds)
            place = Path(tempfile.mkdtemp(dir=folder))
            rng = np.random.default_rng([seed, crc32(kind.name.encode()), number])
            outcome = judged(kind.attempt, rng, place, given)
            shutil.rmtree(place, ignore_errors=True)
            gc.collect()  # errors keep what their frames held
            answers.write(json.dumps(outcome) + "\n")
            answers.flush()
    os._exit(0)


def keep_quiet():
    """Send to nowhere what libraries print."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def allow_seconds(seconds):
    """Let this process use so many more seconds of CPU time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + seconds, hard))


@contextmanager
def one_thread():
    """Have no more than one thread, as those that a library has started before a fork are gone after it."""
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")
    before = torch and torch.get_num_threads()
    with threadpool_limits(1):
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


def _used_memory():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
