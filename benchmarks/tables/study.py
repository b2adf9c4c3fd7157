"""SpaLLM's study, with controls: four encoders and averaging, with and without text."""

from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import t as student
from sklearn.neighbors import NearestNeighbors

from benchmarks.data import LEVELS, THINNED
from benchmarks.declare import Benchmark, run_of
from benchmarks.fits import scores, thinned, timed
from benchmarks.methods import ENCODERS, PLUGGED, STRATEGIES, VARIANTS, study_variant

# Parts of osmFISH, each the cells nearest to one drawn at random (SpaLLM, Table 7).
N_REGIONS, REGION_SIZE = 10, 1000
WHOLE = -1
STRATEGY_DATA = ("osmFISH", "DLPFC 151507")
AXES = {"data": THINNED, "quality": LEVELS, "encoder": ENCODERS}
UNIT = ["data", "quality", "region", "encoder", "seed"]


def runs(options):
    """What names the columns `UNIT`, the encoder trained once for each: whole tissues, and parts of one."""
    units = list(product(options.data, options.quality, [WHOLE], options.encoder, range(options.seeds)))
    if options.regions and "osmFISH" in options.data:
        units += product(["osmFISH"], ["Q0"], range(N_REGIONS), options.encoder, [0])
    units.sort(key=lambda unit: unit[-1])  # seed by seed, the first soon
    return [run_of(dict(zip(UNIT, unit, strict=True)), THINNED, {}, steps=(execute,)) for unit in units]


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


def execute(run):
    """Rows of one unit; the spatial embedding is made once and kept for all variants."""
    adata, truth = thinned(run)
    unit, rows = run.names, []
    if unit["region"] != WHOLE:
        members = region_of(adata, unit["region"])
        adata, truth = adata[members].copy(), truth.iloc[members]
    k = int(truth.nunique())
    for name, parameters in variants(unit).items():
        model = study_variant(k, unit["seed"], encoder=unit["encoder"], memory=run.folder, **parameters)
        found, seconds = timed(model.fit_predict, adata)
        row = {"method": name, "k": k, "n_spots": adata.n_obs, **scores(truth, found, ("ari", "nmi", "acc"))}
        rows.append({**row, "trained": not model.from_cache_["spatial"], "seconds": round(seconds, 2)})
    return rows


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
    return list(tables.values())


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


def seeds_by_encoder(whole):
    """How many seeds each encoder has, in words."""
    return ", ".join(f"{name} {n}" for name, n in whole.groupby("encoder")["seed"].nunique().items())


def plugged(whole):
    """Mean over tissues with text that modulates and without, and the interval of the difference."""
    rows = whole[whole["method"].isin(("expression", *PLUGGED)) & (whole["quality"] == "Q0")]
    if "FSM" not in set(rows["method"]):
        return pd.DataFrame()
    means = rows.groupby(["encoder", "method", "data"], sort=False)["ari"].mean().unstack("method")
    table = means.groupby("encoder", sort=False).mean().map("{:.3f}".format)
    table["FSM minus expression"] = [
        interval(part["FSM"] - part["expression"]) for _, part in means.dropna().groupby("encoder", sort=False)
    ]
    return table


def with_strategies(whole):
    """The rows that have other strategies beside them."""
    return whole[(whole["encoder"] == "stagate") & whole["data"].isin(STRATEGY_DATA)]


def seconds(whole):
    """Median of the trainings of each encoder on each tissue."""
    trained = whole[(whole["method"] == "expression") & whole["trained"]]
    return trained.groupby(["data", "encoder"], sort=False)["seconds"].median().unstack().round(1)


def by_level(whole):
    """Means over tissues, one table a level."""
    rows = whole[whole["method"].isin(VARIANTS)]
    means = rows.groupby(["encoder", "quality", "method"], sort=False)["ari"].mean()
    return [
        part.droplevel("quality")
        .unstack("method")
        .map("{:.3f}".format)
        .reindex(columns=[name for name in VARIANTS if name in set(rows["method"])])
        .rename_axis(level)
        for level, part in means.groupby(level="quality", sort=False)
    ]


def plot(rows, path):
    """ARI as counts are lost, one panel an encoder."""
    from matplotlib.figure import Figure

    rows = rows[(rows["region"] == WHOLE) & rows["method"].isin(VARIANTS)]
    means = rows.groupby(["encoder", "method", "quality", "data"], sort=False)["ari"].mean()
    means = means.groupby(level=["encoder", "method", "quality"], sort=False).mean().unstack("quality")
    encoders = rows["encoder"].unique()
    figure = Figure(figsize=(2.6 * len(encoders) + 1.2, 3.2), layout="constrained")
    axes = figure.subplots(1, len(encoders), sharey=True, squeeze=False)
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


BENCHMARK = Benchmark(
    title="SpaLLM's study",
    question="SpaLLM's study with controls: does text help each encoder, at each quality?",
    takes="hours; `--dask ADDRESS` runs it on a cluster",
    runs=runs,
    draw=plot,
    order={**AXES, "method": (*VARIANTS, *STRATEGIES, *PLUGGED), "region": None, "seed": None},
    axes=AXES,
    seeds=10,
    options={
        "--no-regions": {"dest": "regions", "action": "store_false", "help": "whole tissues only"},
    },
)
