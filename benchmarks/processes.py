"""Calls in processes of their own, for their memory and so that one cannot take the others down."""

import multiprocessing
import os
import resource
import signal
import sys
import traceback
import warnings

# A server that has loaded the libraries and forks a process for each call: fresh memory at no start-up cost.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["anndata", "skst.datasets", "skst.metrics", "benchmarks.methods"])


class Ended(RuntimeError):
    """A call was ended for its cost; says which limit it reached."""


def call_apart(function, argument, limits=None):
    """What `function` returns when called in a process of its own, or an exception where it raised or that died.

    The exception is an `Ended` where the call reached one of the `limits`, seconds and GiB.
    """
    receiver, sender = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_answer, args=(sender, dict(os.environ), function, argument, limits))
    process.start()
    sender.close()
    try:
        result = receiver.recv()
        process.join()
    except EOFError:
        process.join()
        result = _death(process.exitcode, limits)
    return result


def call_here(function, argument, limits=None):
    """The same in this process, without limits."""
    try:
        with warnings.catch_warnings():
            # Cells have no coordinates, networks stop early: every run would say so.
            warnings.simplefilter("ignore", UserWarning)
            return function(argument)
    except Exception as error:
        ended = limits and _is_of_memory(error)
        return Ended(f"over {limits[1]} GiB") if ended else RuntimeError(traceback.format_exc())


def _answer(sender, environment, function, argument, limits):
    os.environ.update(environment)  # that of the server may be older
    if limits:
        seconds, gib = limits
        signal.alarm(seconds)  # not handled: ends the process wherever it is
        resource.setrlimit(resource.RLIMIT_DATA, (gib * 2**30,) * 2)
    sender.send(call_here(function, argument, limits))


def _death(code, limits):
    outcomes = {}
    if limits:
        outcomes = {-signal.SIGALRM: f"over {limits[0] // 60} minutes", -signal.SIGKILL: "killed for its memory"}
    return Ended(outcomes[code]) if code in outcomes else RuntimeError(f"the process ended with exit code {code}")


def _is_of_memory(error):
    """Whether an exception says that there was no memory left; torch raises a RuntimeError."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


def peak_mib():
    """Largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
