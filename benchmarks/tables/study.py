"""SpaLLM's study, with controls: four encoders and averaging, with and without text."""

from itertools import product

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial import cKDTree

from benchmarks.data import LEVELS, THINNED
from benchmarks.declare import Benchmark, run_of
from benchmarks.fits import scores, thinned, timed
from benchmarks.methods import ENCODERS, PLUGGED, STRATEGIES, VARIANTS, on_encoder
from benchmarks.pages import averaged

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


def execute(run):
    """Rows of one unit; the spatial embedding is made once and kept for all variants."""
    adata, truth = thinned(run)
    unit, variants, rows = run.names, dict(VARIANTS), []
    if unit["region"] != WHOLE:
        centre = np.random.default_rng(unit["region"]).integers(adata.n_obs)
        nearest = cKDTree(adata.obsm["spatial"]).query(adata.obsm["spatial"][centre], REGION_SIZE)[1]
        adata, truth = adata[np.sort(nearest)].copy(), truth.iloc[np.sort(nearest)]
    elif unit["encoder"] == "stagate" and unit["data"] in STRATEGY_DATA:
        variants |= STRATEGIES
    if unit["region"] == WHOLE and unit["quality"] == "Q0":
        variants |= PLUGGED
    k = int(truth.nunique())
    for name, parameters in variants.items():
        model = on_encoder(k, unit["seed"], encoder=unit["encoder"], memory=run.folder, **parameters)
        found, seconds = timed(model.fit_predict, adata)
        row = {"method": name, "k": k, "n_spots": adata.n_obs, **scores(truth, found, ("ari", "nmi", "acc"))}
        rows.append({**row, "trained": not model.from_cache_["spatial"], "seconds": round(seconds, 2)})
    return rows


def differences(rows, one, other, of="method"):
    """ARI of one method minus that of another after the same trained encoder, one entry a unit; or of one encoder."""
    wide = rows.set_index([*UNIT, "method"])["ari"].unstack(of)
    return (wide[one] - wide[other]).dropna()


def interval(values, level=0.95):
    """Mean and confidence interval by Student's t, as text."""
    if len(values) < 2:
        return f"{np.mean(values):+.3f}" if len(values) else "-"
    mean, half = np.mean(values), stats.t.ppf(0.5 + level / 2, len(values) - 1) * stats.sem(values)
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def claims(rows):
    """The claims of the paper, each as a difference with its confidence interval over tissues or regions."""
    tables = []
    for other in ("expression", "permuted", "Gaussian"):
        table = {encoder: claim(part, other) for encoder, part in rows.groupby("encoder", sort=False)}
        tables.append(pd.DataFrame(table).rename_axis(f"against {other}"))
    return tables


def claim(rows, other):
    """Intervals of the differences of one encoder."""
    whole = rows["region"] == WHOLE
    by_level = differences(rows[whole], "SpaLLM", other).groupby(["data", "quality"]).mean().unstack()
    found = {"SpaLLM minus it": interval(by_level.mean(axis=1))}
    high, low = (by_level.columns.intersection(levels) for levels in (["Q0", "Q1"], ["Q3", "Q4"]))
    if len(high) and len(low):
        found["Q3, Q4 minus Q0, Q1"] = interval(by_level[low].mean(axis=1) - by_level[high].mean(axis=1))
    if not whole.all() and "osmFISH" in by_level.index and "Q0" in by_level:
        regions = differences(rows[~whole], "SpaLLM", other)
        found["regions minus whole"] = interval(regions - by_level.loc["osmFISH", "Q0"])
    return found


def encoders(rows):
    """ARI of each encoder on whole tissues without text, and by how much averaging is better or worse."""
    rows = rows[(rows["method"] == "expression") & (rows["region"] == WHOLE)]
    table = {}
    for encoder, part in rows.groupby("encoder", sort=False):
        table[encoder] = {"ARI": f"{part.groupby(['data', 'quality'])['ari'].mean().mean():.3f}"}
        if encoder != "smooth" and "smooth" in set(rows["encoder"]):
            paired = differences(rows, encoder, "smooth", "encoder").groupby(["data", "quality"]).mean()
            table[encoder]["minus smooth"] = interval(paired.groupby("data").mean())
    return pd.DataFrame.from_dict(table, "index").rename_axis("encoder")


def plugged(whole):
    """Mean over tissues with text that modulates and without, and the interval of the difference."""
    rows = whole[whole["method"].isin(("expression", *PLUGGED)) & (whole["quality"] == "Q0")]
    if "FSM" not in set(rows["method"]):
        return pd.DataFrame()
    means = rows.groupby(["encoder", "method", "data"], sort=False)["ari"].mean().unstack("method")
    by_encoder = means.groupby("encoder", sort=False)
    gaps = by_encoder.apply(lambda part: interval((part["FSM"] - part["expression"]).dropna()))
    return by_encoder.mean().map("{:.3f}".format).assign(**{"FSM minus expression": gaps})


def draw(rows, path):
    """ARI as counts are lost, one panel an encoder."""
    from matplotlib.figure import Figure

    rows = rows[(rows["region"] == WHOLE) & rows["method"].isin(VARIANTS)]
    by_tissue = averaged(rows, "ari", "encoder", "method", "quality", "data")
    means = averaged(by_tissue, "ari", "encoder", "method", "quality")
    encoders = means["encoder"].unique()
    figure = Figure(figsize=(2.6 * len(encoders) + 1.2, 3.2), layout="constrained")
    axes = figure.subplots(1, len(encoders), sharey=True, squeeze=False)
    styles = dict(zip(VARIANTS, ("-o", "-s", "--^", "--v", ":x"), strict=True))
    for axis, encoder in zip(axes[0], encoders, strict=True):
        for name, line in means[means["encoder"] == encoder].groupby("method", sort=False):
            axis.plot(line["quality"], line["ari"], styles[name], label=name, markersize=4, linewidth=1.3)
        axis.set(title=encoder, xlabel="quality level")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("ARI, mean over tissues")
    axes[0, -1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


BENCHMARK = Benchmark(
    question="SpaLLM's study with controls: does text help each encoder, at each quality?",
    runs=runs,
    draw=draw,
    order={**AXES, "method": (*VARIANTS, *STRATEGIES, *PLUGGED), "region": None, "seed": None},
    axes=AXES,
    seeds=10,
    options={"--regions": (True, "parts of osmFISH, too")},
)
