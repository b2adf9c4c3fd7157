"""Makes the runs that are missing, each written down as soon as it is done, and the page of them all."""

import argparse
import os
import shlex
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmarks.fits import encode
from benchmarks.pages import head, in_order, page
from benchmarks.processes import Ended, call_apart, call_here
from benchmarks.records import RESULTS, append, current_rows, latest_rows, provenance

# Columns that are printed as runs end.
SHOWN = ("stage", "what", "ari", "k-means", "mixture", "seconds", "peak_mib", "oracle epoch", "last epoch", "outcome")


def parser_of(name, benchmark):
    """The options of a benchmark."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=benchmark.question)
    for axis, names in benchmark.axes.items():
        parser.add_argument(f"--{axis}", nargs="*", choices=[*names], default=[*names], metavar="NAME")
    seeds = "seeds 0, 1, ... of each method"
    if isinstance(benchmark.seeds, dict):
        usual = ", ".join(f"{number} for {table}" for table, number in benchmark.seeds.items())
        parser.add_argument("--seeds", type=int, help=f"{seeds} (default: {usual}, else 3)")
    elif benchmark.seeds:
        parser.add_argument("--seeds", **_parameters(benchmark.seeds, seeds))
    if not benchmark.alone:
        parser.add_argument("--jobs", **_parameters(benchmark.jobs, "runs at the same time"))
        parser.add_argument("--dask", metavar="ADDRESS", help="run on this Dask scheduler, such as tcp://10.0.0.1:8786")
    for flag, (default, what) in benchmark.options.items():
        parser.add_argument(flag, **_parameters(default, what))
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    parser.add_argument("--earlier", action="store_true", help="show runs that earlier code made and this has not, too")
    return parser


def _parameters(default, what):
    """Of ``add_argument``, as the default of an option tells them."""
    if default is Path:
        return {"help": what, "type": Path, "metavar": "PATH"}
    if isinstance(default, bool):
        return {"help": what, "default": default, "action": argparse.BooleanOptionalAction}
    sizes = {"nargs": "*", "type": type(default[0])} if isinstance(default, tuple) else {"type": type(default)}
    return {"help": f"{what} (default: {default})", "default": default, **sizes}


def run(name, module, argv):
    """Make the runs of a benchmark that are missing, write its tables, page and figure; return the exit status.

    That is 1 if a run has failed, which is tried again by the next call.  `module` holds the `BENCHMARK`, and what else
    its layout calls.
    """
    benchmark = module.BENCHMARK
    parser = parser_of(name, benchmark)
    options = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", str(benchmark.threads))
    if benchmark.alone and not benchmark.gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    options.output.mkdir(parents=True, exist_ok=True)
    stamp = provenance()
    try:
        runs = [run if run.file else replace(run, file=name) for run in (benchmark.runs or benchmark.grid)(options)]
    except FileNotFoundError as error:
        parser.error(str(error))
    files = {file: options.output / f"{file}.csv" for file in (name, *(run.file for run in runs))}
    for file in {run.file for run in runs} if options.fresh else ():
        files[file].unlink(missing_ok=True)
    failed = _make(benchmark, runs, files, stamp, options)
    order = {**benchmark.axes, "seed": None} if benchmark.order is None else benchmark.order
    tables = {
        file: latest_rows(path, order) if options.earlier else current_rows(path, stamp) for file, path in files.items()
    }
    if any(len(rows) for rows in tables.values()):
        rows = in_order(tables[name], order)
        made = next((table for table in tables.values() if "code" in table and len(table)), pd.DataFrame([stamp]))
        command = f"{name} {_told(argv, options)}".strip()
        context = {**vars(module), "head": head(made, command), "rows": rows, "options": options}
        files[name].with_suffix(".md").write_text(page(name, context), encoding="utf-8")
        if benchmark.draw and len(rows):
            benchmark.draw(rows, files[name].with_suffix(".png"))
    return int(failed > 0)


def _make(benchmark, runs, files, stamp, options):
    """Append the rows of all runs that have none; return how many failed."""
    done = {file: current_rows(path, stamp) for file, path in files.items()}
    runs = _at_hand([run for run in runs if not (run.kept and _is_done(run, done[run.file]))])
    failed, rest = 0, {}
    if benchmark.survey and runs:
        failed, runs = len(runs), benchmark.survey(runs, call_apart)
        failed -= len(runs)
    jobs = 1 if benchmark.alone else options.jobs
    _encode(runs, options.output / "encoding.csv", stamp)
    for number, (run, rows) in enumerate(_results(runs, jobs, getattr(options, "dask", None)), 1):
        label = f"[{number}/{len(runs)}] {', '.join(map(str, run.names.values()))}"
        if isinstance(rows, Exception):
            failed += 1
            print(f"{label} FAILED: {rows}", flush=True)
            continue
        if run.kept:
            append(files[run.file], [{**row, **stamp, "code": run.known.get("code", stamp["code"])} for row in rows])
        else:
            rest.setdefault(run.file, {})[runs.index(run)] = rows
        for row in rows[:1] if len(rows) > 4 else rows:
            told = ", ".join(f"{name} {row[name]}" for name in SHOWN if name in row and row[name] == row[name])
            print(f"{label}: {told or 'done'}", flush=True)
    for file, found in rest.items():
        pd.DataFrame([row for _, rows in sorted(found.items()) for row in rows]).to_csv(files[file], index=False)
    return failed


def _is_done(run, rows):
    return len(rows) and tuple(run.names.values()) in set(rows[[*run.names]].itertuples(index=False, name=None))


def _at_hand(runs):
    """The runs whose data are there; says which are not."""
    absent = set()
    for data, run in {run.data: run for run in runs if run.data}.items():
        try:
            data.load()
        except OSError as error:
            absent.add(data)
            print(f"{run.names['data']} is left out: {error}", flush=True)
    return [run for run in runs if run.data not in absent]


def _encode(runs, path, stamp):
    """Have the texts of all data sets encoded, one at a time: they share genes, and no text is to be encoded twice."""
    for data, run in {run.data: run for run in runs if run.reads}.items():
        row = call_apart(encode, data)
        if isinstance(row, Exception):
            print(f"encoding the genes of {run.names['data']} FAILED: {row}", flush=True)
        elif row["encoded"]:
            append(path, [{"data": run.names["data"], **row, **stamp}])
            print(f"encoded {row['encoded']} texts of {run.names['data']} in {row['seconds']} s", flush=True)


def _results(runs, jobs, dask):
    """Pairs of a run and its rows, or what went wrong, as they are done."""
    with _pool(jobs, dask) as (pool, call):
        futures = {pool.submit(carry_out, run, call): run for run in runs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()


@contextmanager
def _pool(jobs, dask):
    """An executor, and how it is to call the steps."""
    if dask:
        from dask.distributed import Client

        with Client(dask) as client:
            # Workers import the benchmarks from the same folder: the file system is shared.
            client.run(sys.path.insert, 0, str(Path(__file__).resolve().parents[1]))
            yield client.get_executor(), call_here
    else:
        with ThreadPoolExecutor(jobs) as pool:
            yield pool, call_apart


def carry_out(run, call):
    """The rows of a run, whose steps are called by `call` one after the other, or what went wrong."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        run = replace(run, folder=folder)
        for step in run.steps:
            found = call(step, run, run.limits if step is run.steps[-1] else None)
            if isinstance(found, Ended) and "outcome" in run.known:
                found = {"outcome": str(found)}
            if isinstance(found, Exception):
                return found
            rows += [] if found is None else [found] if isinstance(found, dict) else found
    return [{**run.names, **run.known, **row} for row in rows]


def _told(argv, options):
    """The options as the page tells them: where published code lies is nobody's concern."""
    places = {str(value) for name, value in vars(options).items() if isinstance(value, Path) and name != "output"}
    return shlex.join("PATH" if value in places else value for value in argv)
