"""Calls in processes of their own, for their memory and so that one cannot take the others down."""

import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from itertools import islice
from multiprocessing.connection import wait

# A server that has loaded the libraries and forks a process for each call: fresh memory at no start-up cost.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["anndata", "sklearn.pipeline", "skst.datasets", "skst.metrics", "skst.spallm"])


def run_apart(function, arguments, jobs=1):
    """Call `function` on each argument in a process of its own.

    Parameters
    ----------
    function : callable
        Of one argument, at the top level of a module.
    arguments : iterable
    jobs : int, default=1
        Processes at the same time.

    Yields
    ------
    argument, result
        As they are done; the result is an exception where the call raised or its process died.
    """
    waiting, running = iter(arguments), {}
    while True:
        for argument in islice(waiting, jobs - len(running)):
            receiver, sender = _PROCESSES.Pipe(duplex=False)
            process = _PROCESSES.Process(
                target=_answer, args=(sender, dict(os.environ), function, argument), daemon=True
            )
            process.start()
            sender.close()
            running[receiver] = process, argument
        if not running:
            return
        for receiver in wait(list(running)):
            process, argument = running.pop(receiver)
            try:
                result = receiver.recv()
                process.join()
            except EOFError:
                process.join()
                result = RuntimeError(f"the process ended with exit code {process.exitcode}")
            yield argument, result


def _answer(sender, environment, function, argument):
    os.environ.update(environment)  # that of the server may be older
    try:
        with warnings.catch_warnings():
            # Cells have no coordinates, and every run would say so.
            warnings.filterwarnings("ignore", message="X has no coordinates")
            result = function(argument)
    except Exception:
        result = RuntimeError(traceback.format_exc())
    sender.send(result)


def limit(seconds, gib):
    """End this process after so many seconds, and let it have no more than so many GiB."""
    import resource

    signal.alarm(seconds)  # not handled: ends the process wherever it is
    resource.setrlimit(resource.RLIMIT_DATA, (gib * 2**30,) * 2)


def out_of_memory(error):
    """Whether an exception says that there was no memory left; torch raises a RuntimeError."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


def peak_mib():
    """Largest resident size of this process so far, in MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
