"""SpaLLM's study, with controls: four encoders and averaging, with and without text: ``python benchmarks/study.py``."""

import argparse
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from harness import read
from methods import fusion
from quality import DATA, LEVELS
from records import RESULTS, append, current_rows, provenance
from scipy.stats import t as student
from sklearn.neighbors import NearestNeighbors
from tables import by_method, head, section

from skst import GeneTextEncoder, SpatialGraphTransformer
from skst.datasets import mask_counts
from skst.metrics import score_partition

ENCODERS = ("smooth", "stagate", "graphst", "spaceflow", "stcluster")
# Parts of osmFISH, each the cells nearest to one drawn at random (SpaLLM, Table 7).
N_REGIONS, REGION_SIZE = 10, 1000
WHOLE = -1
# What follows the encoder: parameters of SpaLLMFusion and of its text.
VARIANTS = {
    "expression": {"strategy": "expression"},
    "SpaLLM": {},
    "permuted": {"text": {"control": "permuted"}},
    "Gaussian": {"text": {"control": "gaussian"}},
    "as published": {"align": "none", "alpha": 0.5, "beta": 0.5, "text": {"weighting": "abundance"}},
}
# Table 5 of the paper, for one encoder on two tissues.
STRATEGIES = {"concat": {"strategy": "concat"}, "functional": {"strategy": "functional"}}
STRATEGY_DATA = ("osmFISH", "DLPFC 151507")
# Table 3 of SemST, at full quality: text modulates the embedding instead of being added to it.
PLUGGED = {"FSM": {"strategy": "expression", "semantic": {"mode": "prompt", "max_texts": 500, "random_state": 0}}}
UNIT = ["data", "quality", "region", "encoder", "seed"]


def units(arguments):
    """What is to be run: dicts of the columns `UNIT`, the encoder trained once for each."""
    found = []
    for seed in range(arguments.seeds):
        for encoder in arguments.encoder:
            for data in arguments.data:
                for quality in arguments.quality:
                    found.append(dict(zip(UNIT, (data, quality, WHOLE, encoder, seed), strict=True)))
    if arguments.regions and "osmFISH" in arguments.data:
        for region in range(N_REGIONS):
            for encoder in arguments.encoder:
                found.append(dict(zip(UNIT, ("osmFISH", "Q0", region, encoder, 0), strict=True)))
    return found


def variants(unit):
    """Names and settings of what follows the encoder in a unit."""
    found = dict(VARIANTS)
    if unit["region"] == WHOLE and unit["encoder"] == "stagate" and unit["data"] in STRATEGY_DATA:
        found |= STRATEGIES
    if unit["region"] == WHOLE and unit["quality"] == "Q0":
        found |= PLUGGED
    return found


def region_of(adata, number):
    """The cells nearest to one of them, drawn at random."""
    centre = np.random.default_rng(number).integers(adata.n_obs)
    places = adata.obsm["spatial"]
    nearest = NearestNeighbors(n_neighbors=REGION_SIZE).fit(places).kneighbors(places[[centre]], return_distance=False)
    return np.sort(nearest.ravel())


def execute(unit, data, settings):
    """Rows of one unit; the spatial embedding is made once and kept for all variants.

    Parameters
    ----------
    unit : dict
        Columns `UNIT`.
    data : DataSet
    settings : dict
        From :func:`variants`.

    Returns
    -------
    list of dict
    """
    adata, truth = read(data)
    seed, rows = unit["seed"], []
    if unit["quality"] != "Q0":
        adata = mask_counts(adata, LEVELS[unit["quality"]], random_state=seed)
    if unit["region"] != WHOLE:
        members = region_of(adata, unit["region"])
        adata, truth = adata[members].copy(), truth.iloc[members]
    k = int(truth.nunique())
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for name, parameters in settings.items():
            text = parameters.get("semantic")
            spatial = SpatialGraphTransformer(
                unit["encoder"], semantic=None if text is None else GeneTextEncoder(**text)
            )
            rest = {key: value for key, value in parameters.items() if key != "semantic"}
            model = fusion(k, seed, spatial=spatial, memory=folder, **rest)
            start = time.perf_counter()
            found = model.fit_predict(adata)
            seconds = time.perf_counter() - start
            scores = score_partition(truth, found)
            rows.append(
                {
                    **unit,
                    "method": name,
                    "k": k,
                    "n_spots": adata.n_obs,
                    **{score: round(scores[score], 5) for score in ("ari", "nmi", "acc")},
                    "trained": not model.from_cache_["spatial"],
                    "seconds": round(seconds, 2),
                }
            )
    return rows


def attempt(unit, data, settings):
    """A unit, its rows, and what went wrong."""
    try:
        return unit, execute(unit, data, settings), None
    except Exception:
        return unit, [], traceback.format_exc()


def run_all(wanted, path, *, jobs, fresh=False):
    """Execute the units whose rows the file at `path` lacks, and append theirs; return all rows and failed units."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if fresh:
        path.unlink(missing_ok=True)
    stamp = provenance()
    rows = current_rows(path, stamp)
    done = set() if rows.empty else set(rows[[*UNIT, "method"]].itertuples(index=False, name=None))
    missing = [unit for unit in wanted if any((*unit.values(), name) not in done for name in variants(unit))]
    failed = []
    calls = (joblib.delayed(attempt)(unit, DATA[unit["data"]], variants(unit)) for unit in missing)
    results = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(calls)
    for number, (unit, found, error) in enumerate(results, 1):
        label = ", ".join(str(value) for value in unit.values())
        if error:
            failed.append(unit)
            print(f"[{number}/{len(missing)}] {label} FAILED: {error}", flush=True)
            continue
        for row in found:
            if (*unit.values(), row["method"]) not in done:
                append(path, {**row, **stamp})
        print(
            f"[{number}/{len(missing)}] {label}: " + ", ".join(f"{r['method']} {r['ari']:.3f}" for r in found),
            flush=True,
        )
    return current_rows(path, stamp), failed


def main(argv=None):
    """Run what has not been run yet, write ``study.csv``, ``study.md`` and ``study.png``; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0, 1, ... of each encoder (default: 10)")
    parser.add_argument("--data", nargs="+", choices=list(DATA), default=list(DATA), metavar="NAME")
    parser.add_argument("--quality", nargs="+", choices=list(LEVELS), default=list(LEVELS), metavar="LEVEL")
    parser.add_argument("--encoder", nargs="+", choices=ENCODERS, default=list(ENCODERS), metavar="NAME")
    parser.add_argument("--no-regions", dest="regions", action="store_false", help="whole tissues only")
    parser.add_argument("--jobs", type=int, default=2, help="units at the same time (default: 2)")
    parser.add_argument("--dask", metavar="ADDRESS", help="run on this Dask scheduler, such as tcp://10.0.0.1:8786")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    arguments = parser.parse_args(argv)
    path = arguments.output / "study.csv"
    options = {"jobs": arguments.jobs, "fresh": arguments.fresh}
    if arguments.dask:
        from dask.distributed import Client

        with Client(arguments.dask) as client:
            # Workers import the benchmarks from the same folder: the file system is shared.
            client.run(sys.path.insert, 0, str(Path(__file__).resolve().parent))
            with joblib.parallel_config("dask"):
                rows, failed = run_all(units(arguments), path, **{**options, "jobs": -1})
    else:
        rows, failed = run_all(units(arguments), path, **options)
    if not rows.empty:
        rows = in_order(rows)
        path.with_suffix(".md").write_text(
            head("SpaLLM's study", rows, "study.py", argv) + report(rows), encoding="utf-8"
        )
        plot(rows, path.with_suffix(".png"))
    return 1 if failed else 0


def in_order(rows):
    """Rows in the order of the registries."""
    names = [*DATA, *LEVELS, *ENCODERS, *VARIANTS, *STRATEGIES, *PLUGGED]
    place = {name: number for number, name in enumerate(names)}
    columns = ["data", "quality", "encoder", "method", "region", "seed"]
    return rows.sort_values(columns, key=lambda column: column.map(lambda x: place.get(x, x)), kind="stable")


def differences(rows, other, *, method="SpaLLM"):
    """ARI of one method minus that of another after the same trained encoder, one entry a unit."""
    wide = rows.set_index([*UNIT, "method"])["ari"].unstack()
    return (wide[method] - wide[other]).dropna()


def interval(values, level=0.95):
    """Mean and confidence interval by Student's t, as text."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return f"{values.mean():+.3f}" if len(values) else "-"
    half = student.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.3f} [{values.mean() - half:+.3f}, {values.mean() + half:+.3f}]"


def claims(rows):
    """The claims of the paper, each as a difference with its confidence interval over tissues or regions."""
    whole = rows[rows["region"] == WHOLE]
    tables = {}
    for other in ("expression", "permuted", "Gaussian"):
        columns = {}
        for encoder in whole["encoder"].unique():
            found = differences(whole[whole["encoder"] == encoder], other)
            by_level = found.groupby(["data", "quality"]).mean().unstack()
            column = {"SpaLLM minus it": interval(by_level.mean(axis=1))}
            high, low = (by_level.columns.intersection(levels) for levels in (["Q0", "Q1"], ["Q3", "Q4"]))
            if len(high) and len(low):
                column["Q3, Q4 minus Q0, Q1"] = interval(by_level[low].mean(axis=1) - by_level[high].mean(axis=1))
            parts = rows[(rows["region"] != WHOLE) & (rows["encoder"] == encoder)]
            if len(parts) and ("osmFISH", "Q0") in found.groupby(["data", "quality"]).groups:
                full = found.loc["osmFISH", "Q0"].mean()
                column["regions minus whole"] = interval(differences(parts, other) - full)
            columns[encoder] = column
        tables[other] = pd.DataFrame(columns).rename_axis(f"against {other}")
    return tables


def encoders(rows):
    """ARI of each encoder on whole tissues without text, and by how much averaging is better or worse."""
    rows = rows[(rows["method"] == "expression") & (rows["region"] == WHOLE)]
    wide = rows.set_index(["data", "quality", "seed", "encoder"])["ari"].unstack()
    table = {}
    for encoder in rows["encoder"].unique():
        table[encoder] = {"ARI": f"{wide[encoder].groupby(['data', 'quality']).mean().mean():.3f}"}
        if encoder != "smooth" and "smooth" in wide:
            paired = (wide[encoder] - wide["smooth"]).dropna().groupby(["data", "quality"]).mean()
            table[encoder]["minus smooth"] = interval(paired.groupby("data").mean())
    return pd.DataFrame.from_dict(table, "index").rename_axis("encoder")


def report(rows):
    """The tables of a table of runs, as Markdown."""
    whole, parts = rows[rows["region"] == WHOLE], rows[rows["region"] != WHOLE]
    shares = ", ".join(f"{level} {masked:.2%}" for level, masked in LEVELS.items())
    seeds = whole.groupby("encoder")["seed"].nunique()
    sections = [
        f"\nShare of the non-zero counts that is set to zero, drawn anew for each seed: {shares}.  Every encoder has "
        "its default settings, the same for all tissues, is trained once a tissue, level and seed, and is followed by "
        "the partition of SpaLLMFusion alone (`expression`), with text, and with two controls: the same vectors "
        "permuted over genes, and Gaussian vectors.  `as published` adds principal components as they come.  Every "
        "partition is told the number of labels.  Adjusted Rand index, mean ± standard deviation over seeds "
        f"({', '.join(f'{name} {n}' for name, n in seeds.items())}).  The tables show all rows of this code, whichever "
        "command made them.\n"
    ]
    plugged = whole[whole["method"].isin(("expression", *PLUGGED)) & (whole["quality"] == "Q0")]
    frames = [
        by_method(part, "ari", index="encoder").rename_axis(f"{data}, {level}")
        for (data, level), part in whole.groupby(["data", "quality"], sort=False)
    ]
    text = "Differences between runs that share an encoder.  Mean and 95 % confidence interval over tissues"
    text += ", or over regions; text has helped where it is above 0 against all three." if len(parts) else "."
    sections.append(section("The claims", text, *claims(rows).values()))
    text = (
        "Without text: mean over tissues and levels, and its difference from that of averaging, seed by seed, with the "
        "95 % confidence interval over tissues."
    )
    sections.append(section("The encoders", text, encoders(rows)))
    means = whole[whole["method"].isin(VARIANTS)].groupby(["encoder", "quality", "method"], sort=False)["ari"].mean()
    sections.append(section("Means over tissues", "One table a level.", *_by_level(means)))
    if "FSM" in set(plugged["method"]):
        means = plugged.groupby(["encoder", "method", "data"], sort=False)["ari"].mean().unstack("method")
        table = means.groupby("encoder", sort=False).mean().map("{:.3f}".format)
        table["FSM minus expression"] = [
            interval(part["FSM"] - part["expression"]) for _, part in means.dropna().groupby("encoder", sort=False)
        ]
        text = (
            "Prompts of spots modulate the embedding (SemST, Table 3), full quality; means and interval over tissues."
        )
        sections.append(section("Plugged in", text, table))
    if len(parts):
        text = f"{N_REGIONS} regions of {REGION_SIZE} cells of osmFISH; mean ± standard deviation over regions."
        sections.append(section("Small regions", text, by_method(parts, "ari", index="encoder")))
    kept = whole[(whole["encoder"] == "stagate") & whole["data"].isin(STRATEGY_DATA)]
    tables = [
        by_method(part, "ari", index="quality").rename_axis(data) for data, part in kept.groupby("data", sort=False)
    ]
    if tables:
        sections.append(section("Strategies", "SpaLLM's Table 5, for STAGATE.", *tables))
    sections.append(section("Each tissue and level", "", *frames))
    trained = rows[(rows["method"] == "expression") & rows["trained"] & (rows["region"] == WHOLE)]
    seconds = trained.groupby(["data", "encoder"], sort=False)["seconds"].median().unstack().round(1)
    text = (
        "Of a fit without text, training and partition: median over seeds and levels, as other programs may have run."
    )
    sections.append(section("Seconds", text, seconds))
    return "".join(sections)


def _by_level(means):
    for level, part in means.groupby(level="quality", sort=False):
        table = part.droplevel("quality").unstack("method")
        yield (
            table.map(lambda value: f"{value:.3f}")
            .reindex(columns=[n for n in VARIANTS if n in table])
            .rename_axis(level)
        )


def plot(rows, path):
    """ARI as counts are lost, one panel an encoder."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = rows[(rows["region"] == WHOLE) & rows["method"].isin(VARIANTS)]
    means = rows.groupby(["encoder", "method", "quality", "data"], sort=False)["ari"].mean()
    means = means.groupby(level=["encoder", "method", "quality"], sort=False).mean().unstack("quality")
    encoders = rows["encoder"].unique()
    figure, axes = plt.subplots(
        1, len(encoders), figsize=(2.6 * len(encoders) + 1.2, 3.2), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, encoder in zip(axes[0], encoders, strict=True):
        for name, style in zip(VARIANTS, ("-o", "-s", "--^", "--v", ":x"), strict=False):
            if (encoder, name) in means.index:
                line = means.loc[(encoder, name)]
                axis.plot(line.index, line, style, label=name, markersize=4, linewidth=1.3)
        axis.set(title=encoder, xlabel="quality level")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("ARI, mean over tissues")
    axes[0, -1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
